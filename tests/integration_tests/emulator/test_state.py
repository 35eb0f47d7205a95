"""Tests of the emulator's sessions, memories, prompt variables and knowledge bases."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from langchain_bailian_app.emulator import (
    App,
    BailianEmulator,
    Document,
    KnowledgeBase,
    Reply,
    Round,
    Turn,
)
from langchain_bailian_app.emulator._apps.samples import ECHO_APP_ID, PHONES_APP_ID
from tests.clock import Clock
from tests.integration_tests.emulator.test_completion import call_app, get_output


@pytest.fixture
def bailian(clock: Clock) -> Iterator[BailianEmulator]:
    now = datetime(2026, 3, 1, 9, 5, 7, tzinfo=UTC)
    with BailianEmulator(clock=clock, now=lambda: now) as emulator:
        yield emulator


def send_prompt(bailian: BailianEmulator, prompt: str, session_id: str | None = None) -> dict[str, Any]:
    input_fields = {"prompt": prompt}
    if session_id:
        input_fields["session_id"] = session_id
    return get_output(call_app(bailian, input_fields, app_id=ECHO_APP_ID))


def search(bailian: BailianEmulator, query: str, **rag_options: Any) -> list[dict[str, Any]]:
    """Return the hits of a search, from the retrieval step of an answer."""
    output = get_output(call_app(bailian, query, has_thoughts=True, rag_options=rag_options))
    hits: list[dict[str, Any]] = json.loads(output["thoughts"][0]["observation"])
    return hits


def test_a_session_continues_with_its_history(bailian: BailianEmulator) -> None:
    first = send_prompt(bailian, "我叫小明。")
    session_id = first["session_id"]

    second = send_prompt(bailian, "我叫什么？", session_id)

    assert second["session_id"] == session_id
    assert "你的上一句是：「我叫小明。」" in second["text"]
    assert "你叫小明。" in second["text"]
    assert bailian.session(session_id) == [
        Round("我叫小明。", first["text"]),
        Round("我叫什么？", second["text"]),
    ]
    assert bailian.session("0" * 32) == []


def test_a_session_in_english_is_answered_in_english(bailian: BailianEmulator) -> None:
    first = send_prompt(bailian, "My name is Ann.")

    second = send_prompt(bailian, "What is my name?", first["session_id"])

    assert second["text"].startswith("(local emulator)")
    assert 'Before that you said: "My name is Ann.". ' in second["text"]
    assert "Your name is Ann." in second["text"]
    assert second["text"].isascii()


def test_questions_that_refer_back_are_searched_with_the_previous_one(
    bailian: BailianEmulator,
) -> None:
    first = get_output(call_app(bailian, "什么是滞报金？"))
    input_fields = {"prompt": "它怎么收？", "session_id": first["session_id"]}

    second = get_output(call_app(bailian, input_fields))

    assert "滞报金" in second["doc_references"][0]["title"]


@pytest.mark.parametrize("reason", ["unknown", "expired", "of another app"])
def test_a_session_that_cannot_continue_is_handled_as_configured(
    bailian: BailianEmulator, clock: Clock, reason: str
) -> None:
    session_id = send_prompt(bailian, "一")["session_id"]
    if reason == "unknown":
        session_id = "f" * 32
    elif reason == "expired":
        clock.now = 3600
    else:
        session_id = get_output(call_app(bailian, "一"))["session_id"]
    input_fields = {"prompt": "二", "session_id": session_id}

    bailian.unknown_session = "error"
    error_response = call_app(bailian, input_fields, app_id=ECHO_APP_ID)
    bailian.unknown_session = "new"
    new_session = send_prompt(bailian, "二", session_id)
    bailian.unknown_session = "same"
    same_session = send_prompt(bailian, "二", session_id)

    assert error_response.status_code == 400
    assert session_id in error_response.json()["message"]
    assert new_session["session_id"] != session_id
    assert same_session["session_id"] == session_id
    assert "上一句" not in new_session["text"] + same_session["text"]
    assert [r.prompt for r in bailian.session(session_id)] == ["二"]


def test_requests_keep_a_session_alive(bailian: BailianEmulator, clock: Clock) -> None:
    session_id = send_prompt(bailian, "一")["session_id"]
    for _ in range(3):
        clock.now += 3599
        assert send_prompt(bailian, "二", session_id)["session_id"] == session_id


def test_messages_take_precedence_over_the_session(bailian: BailianEmulator) -> None:
    session_id = send_prompt(bailian, "不要用这句")["session_id"]
    messages = [
        {"role": "system", "content": "说普通话"},
        {"role": "user", "content": "我叫小红。"},
        {"role": "assistant", "content": "好。"},
        {"role": "user", "content": "我叫什么？"},
    ]

    input_fields = {"messages": messages, "session_id": session_id, "prompt": "ignored"}
    answer = get_output(call_app(bailian, input_fields, app_id=ECHO_APP_ID))

    assert answer["session_id"] != session_id
    assert "你叫小红。" in answer["text"]
    assert "说普通话" in answer["text"]
    rounds = bailian.session(answer["session_id"])
    assert rounds == [Round("我叫小红。", "好。"), Round("我叫什么？", answer["text"])]


def test_dialog_round_limits_the_history(bailian: BailianEmulator) -> None:
    session_id = send_prompt(bailian, "一")["session_id"]
    send_prompt(bailian, "二", session_id)
    input_fields = {"prompt": "三", "session_id": session_id}

    text = get_output(call_app(bailian, input_fields, app_id=ECHO_APP_ID, dialog_round=1))["text"]

    assert "此前有1轮" in text


def test_prompt_variables_are_filled(bailian: BailianEmulator) -> None:
    app_id = bailian.add_app(App("guide", system="说${ city }话，像{{who}}，${left}"))
    input_fields = {"prompt": "x", "biz_params": {"user_prompt_params": {"city": "杭州", "who": "我"}}}

    text = get_output(call_app(bailian, input_fields, app_id=app_id))["text"]

    assert "说杭州话，像我，${left}" in text


def test_facts_are_recalled_from_long_term_memory(bailian: BailianEmulator) -> None:
    def recall(prompt: str, memory_id: str | None) -> dict[str, Any]:
        input_fields = {"prompt": prompt} | ({"memory_id": memory_id} if memory_id else {})
        answer = get_output(call_app(bailian, input_fields, app_id=ECHO_APP_ID, has_thoughts=True))
        thought: dict[str, Any] = answer["thoughts"][0]
        return thought

    assert recall("我喜欢吃面食。", "m1")["observation"] == "[]"
    thought = recall("你好", "m1")
    assert thought == {
        "action_type": "api",
        "action": "memory",
        "action_name": "长期记忆检索",
        "observation": '["[2026-3-1 09:05:07 周日] 用户喜欢吃面食。"]',
        "arguments": '{"memory_id":"m1","query":"你好"}',
        "action_input_stream": '{"memory_id":"m1","query":"你好"}',
    }
    assert recall("你好", "m2")["observation"] == "[]"
    # Without an id, the app's own memory is used.
    recall("I like tea.", None)
    assert "tea" in recall("hi", None)["observation"]


def test_images_and_files_are_counted(bailian: BailianEmulator) -> None:
    input_fields = {"prompt": "看", "image_list": ["https://x/1.png"] * 2, "file_list": ["https://x/a"]}

    text = get_output(call_app(bailian, input_fields))["text"]

    assert "2张图片和1个文件" in text


def test_a_session_file_that_was_never_uploaded_fails_the_call(bailian: BailianEmulator) -> None:
    response = call_app(bailian, "x", rag_options={"session_file_ids": ["file_session_1"]})

    assert (response.status_code, response.json()["code"]) == (400, "InvalidParameter")


def test_model_id_is_overridden(bailian: BailianEmulator) -> None:
    usage = call_app(bailian, "x", model_id="qwen-max").json()["usage"]

    assert usage["models"][0]["model_id"] == "qwen-max"


def test_a_scripted_answer_gets_the_turn(bailian: BailianEmulator) -> None:
    turns: list[Turn] = []

    def answer(turn: Turn) -> Reply:
        turns.append(turn)
        return Reply("ok", reasoning="hm")

    app_id = bailian.add_app(App("script", answer=answer, thinking="on"))

    output = get_output(call_app(bailian, "问", app_id=app_id, has_thoughts=True, temperature=0.5))

    assert output["thoughts"][0]["thought"] == "hm"
    assert turns[0].prompt == "问"
    assert turns[0].parameters["temperature"] == 0.5
    assert turns[0].session_id == output["session_id"]


@pytest.mark.parametrize(
    ("app_id", "query", "title"),
    [
        (None, "滞报金怎么计算？", "滞报金"),
        (None, "What is a certificate of origin?", "原产地证"),
        (None, "HS code digits", "HS编码"),
        (PHONES_APP_ID, "哪款手机电池最大、续航最长？", "谷雨"),
        (PHONES_APP_ID, "Which phone is for gamers?", "惊蛰"),
    ],
)
def test_sample_apps_answer_questions(
    bailian: BailianEmulator, app_id: str | None, query: str, title: str
) -> None:
    answer = get_output(call_app(bailian, query, app_id=app_id))

    assert title in answer["doc_references"][0]["title"]
    assert "<ref>[1]</ref>" in answer["text"]


def test_a_question_without_hits_has_an_answer_without_references(bailian: BailianEmulator) -> None:
    answer = get_output(call_app(bailian, "量子纠缠", has_thoughts=True))

    assert answer["thoughts"][0]["observation"] == "[]"
    assert "没有找到" in answer["text"]
    assert "doc_references" not in answer


@pytest.fixture
def library(bailian: BailianEmulator) -> KnowledgeBase:
    library = KnowledgeBase(
        "书",
        [
            Document("甲", "# 甲\n测试模式的书", "file_a", {"类型": "电子书"}, ["测试"]),
            Document("乙", "# 乙\n测试方法的书", "file_b", {"类型": "纸书"}, ["方法", "测试"]),
        ],
        pipeline_id="books00001",
    )
    bailian.add_knowledge_base(library)
    return library


@pytest.mark.parametrize(
    ("rag_options", "names"),
    [
        ({}, {"甲", "乙"}),
        ({"file_ids": ["file_b"]}, {"乙"}),
        ({"tags": ["方法"]}, {"乙"}),
        ({"tags": "方法"}, {"乙"}),
        ({"tags": ["测试"]}, {"甲", "乙"}),
        ({"metadata_filter": {"类型": "电子书"}}, {"甲"}),
        ({"metadata_filter": {"类型": "电子书", "x": "y"}}, set()),
    ],
)
@pytest.mark.usefixtures("library")
def test_rag_options_restrict_the_search(
    bailian: BailianEmulator, rag_options: dict[str, Any], names: set[str]
) -> None:
    hits = search(bailian, "测试的书", pipeline_ids=["books00001"], **rag_options)

    assert {hit["dataName"] for hit in hits} == names


def test_pipeline_ids_replace_the_bound_ones_and_only_five_are_used(
    bailian: BailianEmulator, library: KnowledgeBase
) -> None:
    assert search(bailian, "滞报金", pipeline_ids=[library.pipeline_id]) == []
    assert search(bailian, "滞报金")[0]["dataName"] == "进出口申报术语"
    six_ids = [*(f"none{n}" for n in range(5)), library.pipeline_id]
    assert search(bailian, "测试的书", pipeline_ids=six_ids) == []
    assert search(bailian, "测试的书", pipeline_ids=six_ids[1:]) != []


def test_chunk_ids_contain_workspace_pipeline_and_file(
    bailian: BailianEmulator, library: KnowledgeBase
) -> None:
    (hit, _) = search(bailian, "甲测试模式", pipeline_ids=[library.pipeline_id])

    assert hit["id"] == "llm-emulator_books00001_file_a_0_0"
    assert hit["content"] == '【文档名】:甲\n【标题】:甲\n类型:["电子书"]\n【正文】:测试模式的书\n'


def test_rows_of_a_table_are_hits(bailian: BailianEmulator) -> None:
    rows = [{"型号": "小满", "价格": 1099}, {"型号": "小暑", "价格": 1999}]
    table = KnowledgeBase("价目", rows=rows)
    pipeline_id = bailian.add_knowledge_base(table)

    all_hits = search(bailian, "小满和小暑的价格", pipeline_ids=[pipeline_id])
    filtered_hits = search(
        bailian, "价格", pipeline_ids=[pipeline_id], structured_filter={"价格": 1999}
    )

    assert len(all_hits) == 2
    assert [hit["content"] for hit in filtered_hits] == ["型号:小暑\n价格:1999"]
    assert filtered_hits[0]["dataId"].startswith("table_")
    assert not {"images", "title"} & set(filtered_hits[0])


def test_an_empty_knowledge_base_finds_nothing(bailian: BailianEmulator) -> None:
    app_id = bailian.add_app(App("empty", knowledge_bases=[KnowledgeBase("空")]))

    assert "没有找到" in get_output(call_app(bailian, "问", app_id=app_id))["text"]
