"""Tests of the fields that the emulator's Agent 2.0 and legacy applications use or ignore."""

from collections.abc import Iterator
from typing import Any

import pytest

from langchain_bailian_app.emulator import App, BailianEmulator, Document, KnowledgeBase, Reply
from langchain_bailian_app.emulator._apps.samples import CUSTOMS_APP_ID
from tests.integration_tests.emulator.test_completion import call_app, get_output, parse_frames

MESSAGES = [{"role": "user", "content": "我叫小明"}]


@pytest.fixture
def bailian() -> Iterator[BailianEmulator]:
    with BailianEmulator() as emulator:
        yield emulator


@pytest.fixture
def teas() -> KnowledgeBase:
    green = Document("绿茶", "绿茶不发酵。龙井是绿茶。", tags=("green",))
    black = Document("红茶", "红茶全发酵。祁红是红茶。", tags=("black",))
    return KnowledgeBase("茶", [green, black])


def add_app(bailian: BailianEmulator, kind: Any, **fields: Any) -> str:
    return bailian.add_app(App(kind, kind=kind, **fields))


def test_agent_2_ignores_messages(bailian: BailianEmulator) -> None:
    app_id = add_app(bailian, "agent2")

    without_prompt = call_app(bailian, {"messages": MESSAGES}, app_id=app_id)
    with_prompt = get_output(
        call_app(bailian, {"messages": MESSAGES, "prompt": "我叫什么"}, app_id=app_id)
    )

    assert (without_prompt.status_code, without_prompt.json()["code"]) == (400, "BadRequest.EmptyInput")
    assert "小明" not in with_prompt["text"]
    assert bailian.requests[-1].body["input"]["messages"] == MESSAGES


def test_agent_2_may_refuse_messages(bailian: BailianEmulator) -> None:
    app_id = add_app(bailian, "agent2", messages_in_agent2="refused")

    response = call_app(bailian, {"messages": MESSAGES, "prompt": "我叫什么"}, app_id=app_id)

    assert (response.status_code, response.json()["code"]) == (400, "InvalidParameter")
    assert "messages" in response.json()["message"]
    assert get_output(call_app(bailian, "我叫什么", app_id=app_id))["text"]


def test_agent_2_ignores_undocumented_fields(bailian: BailianEmulator, teas: KnowledgeBase) -> None:
    bailian.add_knowledge_base(teas)
    app_id = add_app(bailian, "agent2", long_term_memory=True)
    parameters: dict[str, Any] = {
        "rag_options": {"pipeline_ids": [teas.pipeline_id]},
        "dialog_round": 0,
        "enable_web_search": True,
        "has_thoughts": True,
    }

    first = get_output(
        call_app(bailian, {"prompt": "我叫小明", "memory_id": "a"}, app_id=app_id, **parameters)
    )
    input_fields = {"prompt": "龙井？", "memory_id": "b", "session_id": first["session_id"]}
    second = get_output(call_app(bailian, input_fields, app_id=app_id, **parameters))

    # The app's own memory is used, and all earlier rounds are kept.
    assert [thought["action"] for thought in second["thoughts"]] == ["memory"]
    assert "小明" in second["text"]
    assert "你的上一句是" in second["text"]
    assert "绿茶" not in second["text"]


@pytest.mark.parametrize("sse", [True, False])
def test_agent_2_cites_nothing(bailian: BailianEmulator, teas: KnowledgeBase, sse: bool) -> None:
    unscripted = add_app(bailian, "agent2", knowledge_bases=[teas])
    scripted = add_app(
        bailian,
        "agent2",
        answer=lambda _: Reply(
            "绿茶<ref>[1]</ref>。", pieces=["绿茶<re", "f>[1]</ref>。"], references=[{"index_id": "1"}]
        ),
    )

    for app_id in (unscripted, scripted):
        response = call_app(bailian, "龙井是什么茶？", app_id=app_id, sse=sse)
        outputs = (
            [frame["output"] for frame in parse_frames(response)] if sse else [get_output(response)]
        )
        assert "绿茶" in outputs[-1]["text"]
        assert "ref" not in outputs[-1]["text"]
        assert all("doc_references" not in output for output in outputs)


def test_agent_2_uses_its_documented_fields(bailian: BailianEmulator) -> None:
    app_id = add_app(bailian, "agent2", system="你在${city}。", thinking="hybrid")
    input_fields = {
        "prompt": "你好",
        "image_list": ["https://files.example/a.png"],
        "file_list": ["https://files.example/a.pdf"],
        "biz_params": {"user_prompt_params": {"city": "杭州"}},
    }
    parameters: dict[str, Any] = {"has_thoughts": True, "enable_thinking": True, "model_id": "qwen-max"}

    body = call_app(bailian, input_fields, app_id=app_id, **parameters).json()

    assert "你在杭州。" in body["output"]["text"]
    assert "1张图片和1个文件" in body["output"]["text"]
    assert body["output"]["thoughts"][0]["action"] == "reasoning"
    assert body["usage"]["models"][0]["model_id"] == "qwen-max"


def test_history_of_the_legacy_application_overrides_its_session(bailian: BailianEmulator) -> None:
    app_id = add_app(bailian, "rag")
    session_id = get_output(call_app(bailian, "我叫小红", app_id=app_id))["session_id"]
    history = [{"user": "我叫小明", "bot": "你好"}]

    input_fields = {"prompt": "我叫什么", "session_id": session_id, "history": history}
    by_history = get_output(call_app(bailian, input_fields, app_id=app_id))
    by_session = get_output(call_app(bailian, input_fields | {"history": []}, app_id=app_id))

    assert "小明" in by_history["text"]
    assert "小红" not in by_history["text"]
    assert by_history["session_id"] != session_id
    assert "小红" in by_session["text"]


def test_only_the_legacy_application_reads_its_fields(bailian: BailianEmulator) -> None:
    input_fields = {"prompt": "我叫什么", "history": [{"user": "我叫小明", "bot": "你好"}]}
    input_fields |= {"doc_reference_type": "simple", "doc_tag_codes": ["nothing"]}

    for kind in ("agent", "agent2", "workflow"):
        assert (
            "小明"
            not in get_output(call_app(bailian, input_fields, app_id=add_app(bailian, kind)))["text"]
        )
    cited = get_output(
        call_app(bailian, input_fields | {"prompt": "什么是滞报金？"}, app_id=CUSTOMS_APP_ID)
    )
    assert "<ref>[1]</ref>" in cited["text"]


def test_tags_filter_the_references_of_the_legacy_application(
    bailian: BailianEmulator, teas: KnowledgeBase
) -> None:
    app_id = add_app(bailian, "rag", knowledge_bases=[teas])

    input_fields = {"prompt": "哪种茶发酵？", "doc_tag_codes": ["black"]}
    references = get_output(call_app(bailian, input_fields, app_id=app_id))["doc_references"]

    assert {reference["doc_name"] for reference in references} == {"红茶"}


@pytest.mark.parametrize("sse", [True, False])
@pytest.mark.parametrize("reference_type", ["simple", "indexed"])
def test_references_of_the_legacy_application_are_simple_or_indexed(
    bailian: BailianEmulator, teas: KnowledgeBase, reference_type: str, sse: bool
) -> None:
    unscripted = add_app(bailian, "rag", knowledge_bases=[teas], show_references=False)
    reply = Reply("绿茶<ref>[1]</ref>。", references=[{"index_id": "1", "doc_name": "绿茶"}])
    scripted = add_app(bailian, "rag", answer=lambda _: reply)

    for app_id in (unscripted, scripted):
        input_fields = {"prompt": "龙井是什么茶？", "doc_reference_type": reference_type}
        response = call_app(bailian, input_fields, app_id=app_id, sse=sse)
        last = parse_frames(response)[-1]["output"] if sse else get_output(response)
        assert ("<ref>[1]</ref>" in last["text"]) == (reference_type == "indexed")
        assert last["doc_references"][0]["doc_name"] == "绿茶"


def test_the_legacy_application_follows_its_console_by_default(
    bailian: BailianEmulator, teas: KnowledgeBase
) -> None:
    app_id = add_app(bailian, "rag", knowledge_bases=[teas])
    with_references = get_output(
        call_app(bailian, "龙井？", app_id=app_id, temperature=0.5, top_p=0.5, top_k=5, seed=1)
    )
    bailian.apps[app_id].show_references = False
    without_references = get_output(call_app(bailian, "龙井？", app_id=app_id))

    assert "<ref>" in with_references["text"]
    assert with_references["doc_references"]
    assert "<ref>" not in without_references["text"]
    assert "doc_references" not in without_references


@pytest.mark.parametrize(
    "input_fields",
    [
        {"history": "x"},
        {"history": [1]},
        {"history": [{"user": "x"}]},
        {"doc_reference_type": "best"},
        {"doc_reference_type": 1},
        {"doc_tag_codes": "x"},
    ],
)
def test_invalid_legacy_fields_are_refused(
    bailian: BailianEmulator, input_fields: dict[str, Any]
) -> None:
    response = call_app(bailian, {"prompt": "x", **input_fields}, app_id=add_app(bailian, "rag"))

    assert (response.status_code, response.json()["code"]) == (400, "InvalidParameter")


def test_an_unknown_kind_is_rejected_at_once() -> None:
    with pytest.raises(ValueError, match="got 'legacy'"):
        App("x", kind="legacy")
