"""Tests of workflows, Agent 2.0 and legacy applications through the public API."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from langchain_bailian_app import BizParams, workflow_file
from langchain_bailian_app.emulator import App, Document, KnowledgeBase, Node, Reply
from langchain_bailian_app.errors import BailianRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import BaseMessage

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

    MakeModel = Callable[..., BailianAppChatModel]

POEM, LETTER = "春眠不觉晓，处处闻啼鸟。", "见字如面，展信舒颜。"
MODES = ["full_thoughts", "agent_format", "message_format", "message_format_plus", None]


def writer(**fields: Any) -> App:
    """Return a workflow that writes a poem and a letter, and answers with both."""
    nodes = [
        Node("开始", "Start"),
        Node("写诗", text=POEM, reasoning="先想韵脚。", returns=False),
        Node("写信", text=LETTER, returns=False),
        Node("结束", "End", text="${写诗}${写信}"),
    ]
    return App("writer", kind="workflow", nodes=nodes, **fields)


def text_chunks(chunks: list[Any]) -> list[str]:
    return [chunk.text for chunk in chunks if chunk.text]


@pytest.mark.parametrize("has_thoughts", [True, None])
@pytest.mark.parametrize("mode", MODES)
async def test_a_workflow_answers_once_in_every_mode(
    make_model: MakeModel, bailian: BailianEmulator, mode: str | None, has_thoughts: bool | None
) -> None:
    model = make_model(bailian.add_app(writer()), flow_stream_mode=mode, has_thoughts=has_thoughts)

    message = await asyncio.to_thread(model.invoke, "写")
    chunks = [chunk async for chunk in model.astream("写")]

    assert message.text == POEM + LETTER
    assert reduce(add, chunks).text == POEM + LETTER
    assert (await model.ainvoke("写")).usage_metadata == message.usage_metadata
    assert len(message.response_metadata["model_usage"]) == 2
    if mode in {"message_format", "message_format_plus"}:
        assert len(text_chunks(chunks)) > 3


@pytest.mark.parametrize("streaming", [None, False])
def test_a_workflow_answers_once_without_a_stream(
    make_model: MakeModel, bailian: BailianEmulator, streaming: bool | None
) -> None:
    model = make_model(bailian.add_app(writer()), streaming=streaming, has_thoughts=True)

    answer = model.invoke("写")

    assert answer.text == POEM + LETTER
    assert [node["name"] for node in answer.additional_kwargs["nodes"] if "output" in node] == [
        "写诗",
        "写信",
        "结束",
    ]


@pytest.mark.parametrize("answer_node", ["写诗", "LLM_2"])
def test_the_answer_node_streams(
    make_model: MakeModel, bailian: BailianEmulator, answer_node: str
) -> None:
    model = make_model(bailian.add_app(writer(final_text=f"{POEM}完。")), answer_node=answer_node)

    chunks = list(model.stream("写"))

    assert bailian.requests[-1].body["parameters"]["flow_stream_mode"] == "message_format_plus"
    assert "".join(text_chunks(chunks)) == f"{POEM}完。"
    assert len(text_chunks(chunks)) > 3
    assert reduce(add, chunks).additional_kwargs["reasoning_content"] == "先想韵脚。"


def test_a_different_final_text_is_kept_with_a_warning(
    make_model: MakeModel, bailian: BailianEmulator
) -> None:
    model = make_model(bailian.add_app(writer(final_text="完。")), answer_node="写诗")

    with pytest.warns(UserWarning, match="final_text"):
        answer = model.invoke("写")

    assert answer.text == POEM
    assert answer.response_metadata["final_text"] == "完。"


@pytest.mark.parametrize("status", ["failed", "paused"])
def test_nodes_that_stop_a_workflow_are_passed_through(
    make_model: MakeModel, bailian: BailianEmulator, status: Any
) -> None:
    nodes = [Node("开始", "Start"), Node("提问", "Interaction", text="几位？", status=status)]
    app_id = bailian.add_app(App("asks", kind="workflow", nodes=nodes))

    answer = make_model(app_id, flow_stream_mode="message_format_plus").invoke("订位")

    assert answer.text == ""
    assert answer.additional_kwargs["nodes"][-1]["status"] == status


def test_variables_keep_their_types(make_model: MakeModel, bailian: BailianEmulator) -> None:
    report = workflow_file("https://example.com/report.pdf")
    variables = {"city": "杭州", "days": 3, "tags": ["茶"], "report": report, "all": [report]}

    make_model(bailian.add_app(writer())).invoke("写", biz_params=BizParams(**variables))

    assert bailian.requests[-1].body["input"]["biz_params"] == variables


def test_variables_in_the_form_of_agents_get_a_hint(
    make_model: MakeModel, bailian: BailianEmulator
) -> None:
    with pytest.raises(BailianRequestError, match="pass workflow variables directly"):
        make_model(bailian.add_app(writer())).invoke(
            "写", biz_params=BizParams(user_prompt_params={"city": "杭州"})
        )


@pytest.mark.parametrize("history", ["messages", "session"])
def test_a_dialog_workflow_gets_the_previous_rounds(
    make_model: MakeModel, bailian: BailianEmulator, history: Any
) -> None:
    nodes = [
        Node("开始", "Start"),
        Node("大模型", text=lambda turn: f"第{len(turn.history) + 1}轮：{turn.prompt}"),
        Node("结束", "End"),
    ]
    model = make_model(bailian.add_app(App("talks", kind="workflow", nodes=nodes)), history=history)
    messages: list[BaseMessage] = []
    for number in (1, 2, 3):
        messages.append(HumanMessage(f"话{number}"))
        messages.append(model.invoke(messages))

    assert messages[-1].text == "第3轮：话3"
    sent = bailian.requests[-1].body["input"]
    assert ("messages" in sent) == (history == "messages")
    assert ("session_id" in sent) == (history == "session")


@pytest.mark.slow
async def test_a_thought_may_take_longer_than_any_timeout(
    make_model: MakeModel, bailian: BailianEmulator
) -> None:
    """Ten minutes of thinking, sped up 400 times: `timeout` limits pauses, not the total time."""
    thinker = App(
        "thinker", thinking="on", answer=lambda _: Reply("好。", reasoning="想" * 400), pace=0.01
    )
    model = make_model(bailian.add_app(thinker), timeout=0.4, has_thoughts=True)

    start = time.monotonic()
    answer = await model.ainvoke("想")

    assert time.monotonic() - start > 1
    assert (answer.text, len(answer.additional_kwargs["reasoning_content"])) == ("好。", 400)


@pytest.mark.parametrize("switch", ["ignored", "refused"])
def test_agent_2_takes_a_transcript_as_one_prompt(
    make_model: MakeModel, bailian: BailianEmulator, switch: Any
) -> None:
    app_id = bailian.add_app(App("two", kind="agent2", messages_in_agent2=switch))
    conversation = [HumanMessage("我叫小明。"), AIMessage("你好。"), HumanMessage("我叫什么？")]

    with pytest.raises(BailianRequestError):
        make_model(app_id).invoke(conversation)
    answer = make_model(app_id, agent_version="2.0").invoke(conversation)

    assert "用户：我叫小明。\n\n助手：你好。\n\n用户：我叫什么？" in answer.text
    assert set(bailian.requests[-1].body["input"]) == {"prompt"}


def test_agent_2_keeps_sessions(make_model: MakeModel, bailian: BailianEmulator) -> None:
    model = make_model(
        bailian.add_app(App("two", kind="agent2")), agent_version="2.0", history="session"
    )
    messages: list[BaseMessage] = [HumanMessage("我叫小明。")]
    messages += [model.invoke(messages), HumanMessage("我叫什么？")]

    answer = model.invoke(messages)

    assert "小明" in answer.text
    assert answer.response_metadata["session_turn"] == 2
    edited = [*messages[:1], AIMessage("改过。"), messages[-1]]
    model.invoke(edited)
    assert bailian.requests[-1].body["input"]["prompt"].endswith("用户：我叫什么？")


def test_legacy_applications_take_rounds_tags_and_sampling(
    make_model: MakeModel, bailian: BailianEmulator
) -> None:
    base = KnowledgeBase(
        "茶",
        [Document("绿茶", "绿茶不发酵。", tags=["绿"]), Document("红茶", "红茶全发酵。", tags=["红"])],
    )
    app_id = bailian.add_app(App("old", kind="rag", knowledge_bases=[base]))
    model = make_model(
        app_id,
        legacy_history=True,
        doc_tag_codes="红",
        doc_reference_type="indexed",
        temperature=0.5,
        top_k=3,
        extra_parameters={"cip_service_codes": {"text": {"input": "query_security_check"}}},
    )

    answer = model.invoke(
        [SystemMessage("简短。"), HumanMessage("茶？"), AIMessage("叶子。"), HumanMessage("茶发酵吗？")]
    )

    sent = bailian.requests[-1].body
    assert sent["input"]["history"] == [{"user": "茶？", "bot": "叶子。"}]
    assert sent["parameters"]["cip_service_codes"] == {"text": {"input": "query_security_check"}}
    assert "红茶全发酵" in answer.text
    assert "绿茶" not in answer.text
    assert [c["title"] for c in answer.additional_kwargs["citations"]] == ["红茶"]


def test_an_unknown_answer_node_is_logged_once(
    make_model: MakeModel, bailian: BailianEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_model(bailian.add_app(writer()), answer_node="写歌")

    with caplog.at_level(logging.WARNING, logger="langchain_bailian_app"):
        assert model.invoke("写").text == POEM + LETTER
        model.invoke("写")

    assert caplog.text.count("has no node '写歌'; its nodes are 开始, 写诗, 写信, 结束") == 1
