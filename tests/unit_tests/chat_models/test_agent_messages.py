"""Tests of messages of other agents in a call without tools."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import invalid_tool_call, tool_call

from langchain_bailian_app.chat_models._agent_messages import has_new_results, render_without_tools

QUESTION = HumanMessage("什么是滞报金？")
SYSTEM = SystemMessage("简短。")


def render(*messages: BaseMessage) -> list[tuple[str, Any]]:
    return [(message.type, message.content) for message in render_without_tools(messages)]


def call(name: str, text: str = "", **args: Any) -> AIMessage:
    """Return a message with one call; its id is the name of the tool."""
    return AIMessage(text, tool_calls=[tool_call(name=name, args=args, id=name)])


def result(name: str, text: Any, /, **fields: Any) -> ToolMessage:
    return ToolMessage(text, tool_call_id=name, **({"name": name} | fields))


HANDOFFS: dict[str, list[BaseMessage]] = {
    "to a worker": [
        call("transfer_to_customs"),
        result(
            "transfer_to_customs",
            "Successfully transferred to customs",
            response_metadata={"__handoff_destination": "customs"},
        ),
    ],
    "back to the supervisor": [
        AIMessage(
            "Transferring back to supervisor",
            tool_calls=[tool_call(name="transfer_back_to_supervisor", args={}, id="b")],
            name="other",
            response_metadata={"__is_handoff_back": True},
        ),
        ToolMessage(
            "Successfully transferred back to supervisor",
            name="transfer_back_to_supervisor",
            tool_call_id="b",
            response_metadata={"__is_handoff_back": True},
        ),
    ],
    "in a swarm": [
        call("transfer_to_customs"),
        result("transfer_to_customs", "Successfully transferred to customs"),
    ],
    "with a tool of another name": [
        call("ask_customs"),
        result("ask_customs", "Successfully transferred to customs"),
    ],
    "with another text": [call("transfer_to_customs"), result("transfer_to_customs", "Go ahead.")],
    "with arguments and a mark": [
        call("ask", task="…"),
        result("ask", "ok", response_metadata={"__handoff_destination": "customs"}),
    ],
    "without a name in the result": [
        call("transfer_to_customs"),
        result("transfer_to_customs", "ok", name=None),
    ],
    "without its call": [result("transfer_to_customs", "Successfully transferred to customs")],
}


@pytest.mark.parametrize("handoff", HANDOFFS.values(), ids=HANDOFFS)
def test_handoffs_are_omitted(handoff: list[BaseMessage]) -> None:
    assert render(SYSTEM, QUESTION, *handoff) == [
        ("system", SYSTEM.content),
        ("human", QUESTION.content),
    ]
    assert not has_new_results([QUESTION, *handoff])


def test_the_text_before_a_handoff_is_kept() -> None:
    handoff = [call("transfer_to_customs", "我问问海关。"), result("transfer_to_customs", "ok")]

    assert render(QUESTION, *handoff) == [("ai", "我问问海关。"), ("human", QUESTION.content)]


def test_a_tool_with_arguments_is_no_handoff() -> None:
    messages = [call("transfer_to_account", amount=5), result("transfer_to_account", "ok")]

    assert render(QUESTION, *messages)[0] == (
        "ai",
        '工具 transfer_to_account({"amount": 5}) 的结果：\nok',
    )
    assert has_new_results([QUESTION, *messages])


@pytest.mark.parametrize(
    ("question", "status", "label"),
    [
        ("一加二？", "success", '工具 add({"a": 1}) 的结果：\n3'),
        ("一加二？", "error", '工具 add({"a": 1}) 出错：\n3'),
        ("1 + 2?", "success", 'Result of the tool add({"a": 1}):\n3'),
        ("1 + 2?", "error", 'The tool add({"a": 1}) failed:\n3'),
    ],
)
def test_results_are_text_with_a_label_before_the_question(
    question: str, status: str, label: str
) -> None:
    messages = [HumanMessage(question), call("add", a=1), result("add", "3", status=status)]

    assert render(*messages) == [("ai", label), ("human", question)]


def test_results_before_an_earlier_answer_stay_in_their_place() -> None:
    messages = [QUESTION, call("now"), result("now", "九点"), AIMessage("九点。"), HumanMessage("谢谢")]

    assert render(*messages) == [
        ("human", QUESTION.content),
        ("ai", "工具 now() 的结果：\n九点"),
        ("ai", "九点。"),
        ("human", "谢谢"),
    ]
    assert not has_new_results(messages)


def test_a_result_without_its_call_has_the_name_of_the_tool_or_the_id() -> None:
    messages = [result("now", "九点"), result("call_1", "晴", name=None)]

    assert render(QUESTION, *messages)[:2] == [
        ("ai", "工具 now 的结果：\n九点"),
        ("ai", "工具 call_1 的结果：\n晴"),
    ]


def test_images_and_files_of_a_result_are_kept() -> None:
    image = {"type": "image", "url": "https://example.com/a.png"}
    messages = [call("draw"), result("draw", [{"type": "text", "text": "看"}, image])]

    assert render(QUESTION, *messages) == [
        ("ai", "工具 draw() 的结果：\n看"),
        ("human", [image]),
        ("human", QUESTION.content),
    ]


def test_content_of_a_result_that_cannot_be_sent_is_an_error() -> None:
    with pytest.raises(ValueError, match="unsupported content block of type 'audio'"):
        render(QUESTION, result("speak", [{"type": "audio", "url": "https://example.com/a.mp3"}]))


def test_answers_of_other_agents_come_before_the_question() -> None:
    messages = [SYSTEM, QUESTION, AIMessage("海关说：罚款。", name="customs")]

    assert render(*messages) == [
        ("system", SYSTEM.content),
        ("ai", "海关说：罚款。"),
        ("human", QUESTION.content),
    ]


@pytest.mark.parametrize("question", [QUESTION, ChatMessage("什么是滞报金？", role="user")])
def test_the_newest_human_message_is_the_question(question: BaseMessage) -> None:
    messages = [HumanMessage("一"), question, call("now"), result("now", "九点")]

    assert render(*messages)[0] == ("human", "一")
    assert render_without_tools(messages)[-1] is question


def test_calls_without_results_are_omitted() -> None:
    invalid = AIMessage(
        "", invalid_tool_calls=[invalid_tool_call(name="a", args="", id="1", error=None)]
    )

    assert render(QUESTION, call("add"), invalid) == [("human", QUESTION.content)]


def test_messages_without_agents_are_passed_through_unchanged() -> None:
    for messages in (
        [SYSTEM, QUESTION, AIMessage("罚款。"), HumanMessage("谢谢")],
        [QUESTION, AIMessage("罚款。")],
        [AIMessage("罚款。", name="customs")],
        [],
    ):
        rendered = render_without_tools(messages)
        assert all(a is b for a, b in zip(rendered, messages, strict=True))
