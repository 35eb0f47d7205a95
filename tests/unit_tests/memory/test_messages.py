"""Messages of a conversation in the form of the memory library."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_bailian_app.memory._messages import to_wire_messages

CALL = {"name": "book", "args": {"seat": "靠窗"}, "id": "c1", "type": "tool_call"}
INVALID_CALL = {"name": None, "args": "{", "id": "c2", "error": "e", "type": "invalid_tool_call"}
WIRE_CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "book", "arguments": '{"seat": "靠窗"}'},
}
PNG = {"type": "image_url", "image_url": {"url": "https://a.example/1.png"}}
TEXT_AND_IMAGE: list[str | dict[Any, Any]] = [{"type": "text", "text": "看"}, PNG]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ("我喜欢茶。", [{"role": "user", "content": "我喜欢茶。"}]),
        (HumanMessage("好"), [{"role": "user", "content": "好"}]),
        (
            [("human", "问"), ("ai", "答")],
            [{"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}],
        ),
        ([{"role": "human", "content": "问"}], [{"role": "user", "content": "问"}]),
        (
            [ChatMessage(content="问", role="user"), ChatMessage(content="答", role="assistant")],
            [{"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}],
        ),
        (
            [HumanMessage([{"type": "text", "text": "一"}, {"type": "text", "text": "二"}])],
            [{"role": "user", "content": "一二"}],
        ),
        ([HumanMessage(TEXT_AND_IMAGE)], [{"role": "user", "content": TEXT_AND_IMAGE}]),
        (
            [HumanMessage([{"type": "image", "base64": "AA==", "mime_type": "image/png"}])],
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
                    ],
                }
            ],
        ),
        (
            [
                AIMessage("好", tool_calls=[CALL], invalid_tool_calls=[INVALID_CALL]),
                ToolMessage("订了", tool_call_id="c1"),
            ],
            [
                {
                    "role": "assistant",
                    "content": "好",
                    "tool_calls": [
                        WIRE_CALL,
                        {"id": "c2", "type": "function", "function": {"name": "", "arguments": "{"}},
                    ],
                },
                {"role": "tool", "content": "订了", "tool_call_id": "c1"},
            ],
        ),
        # Reasoning and steps are not part of the answer.
        (
            [AIMessage([{"type": "reasoning", "reasoning": "想"}, {"type": "text", "text": "答"}])],
            [{"role": "assistant", "content": "答"}],
        ),
    ],
)
def test_messages_are_converted(messages: Any, expected: list[dict[str, Any]]) -> None:
    assert to_wire_messages(messages) == expected


def test_dicts_in_the_form_of_the_service_are_sent_as_they_are() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": TEXT_AND_IMAGE, "new_field": 1},
        {"role": "assistant", "tool_calls": [WIRE_CALL]},
        {"role": "tool", "content": "订了", "tool_call_id": "c1"},
    ]

    assert to_wire_messages(messages) == messages


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        (7, r"^invalid `messages`: expected text or a list, got int"),
        ("", "at least one message with content"),
        ([], "at least one message with content"),
        ([{"role": "user", "content": " "}, AIMessage("")], "at least one message with content"),
        ([("human", "好"), SystemMessage("规则")], r"^invalid `messages\[1\]`: .* got 'system'"),
        ([FunctionMessage(content="好", name="f")], "got 'function'"),
        ([("pilot", "好")], r"^invalid `messages\[0\]`: expected a message"),
        ([7], r"^invalid `messages\[0\]`: expected a message"),
        ([{"text": "好"}], r"^invalid `messages\[0\]`: expected a message"),
        ([{"role": "user", "content": 7}], "expected `content` as text or a list, got int"),
        ([{"role": "user", "content": ["好"]}], "parts of type text or image_url"),
        ([{"role": "user", "content": [{"type": "audio"}]}], "parts of type text or image_url"),
        ([{"role": "tool", "content": "好"}], "expected a `tool_call_id`"),
        ([HumanMessage([{"type": "image", "file_id": "f"}])], "'image' without URL or data"),
        ([HumanMessage([{"type": "file", "url": "https://a.example/a.pdf"}])], "got file"),
    ],
)
def test_what_cannot_be_sent_is_an_error(messages: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        to_wire_messages(messages)
