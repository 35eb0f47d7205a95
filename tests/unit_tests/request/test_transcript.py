"""Conversations for applications that do not support `messages`."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage

from langchain_bailian_app._request import body
from langchain_bailian_app._request.body import build_transcript_request, turns_from_messages
from langchain_bailian_app._request.fields import CompletionFields
from langchain_bailian_app._request.transcript import (
    count_unsent_turns,
    find_last_question,
    split_new_turns,
)

SYSTEM = SystemMessage("简短。")
ROUND = [HumanMessage("什么是绿茶？"), AIMessage("不发酵的茶。")]
QUESTION = HumanMessage("红茶呢？")


def build_input(messages: list[BaseMessage], app_id: str = "app", **fields: Any) -> dict[str, Any]:
    """Return the input of the request."""
    result: dict[str, Any] = build_transcript_request(
        app_id, turns_from_messages(messages), CompletionFields(**fields)
    ).body["input"]
    return result


def test_agent_2_gets_a_transcript_as_one_prompt() -> None:
    assert build_input([*ROUND, QUESTION], agent_version="2.0") == {
        "prompt": "用户：什么是绿茶？\n\n助手：不发酵的茶。\n\n用户：红茶呢？"
    }


def test_labels_are_in_the_language_of_the_question_and_system_messages_come_first() -> None:
    messages = [HumanMessage("茶？"), AIMessage("叶子。"), SYSTEM, HumanMessage("What is tea?")]

    assert build_input(messages, agent_version="2.0") == {
        "prompt": "System: 简短。\n\nUser: 茶？\n\nAssistant: 叶子。\n\nUser: What is tea?"
    }


@pytest.mark.parametrize("fields", [{"agent_version": "2.0"}, {"legacy_history": True}, {}])
def test_one_question_is_a_prompt(fields: dict[str, Any]) -> None:
    assert build_input([QUESTION], **fields) == {"prompt": "红茶呢？"}


@pytest.mark.parametrize("version", [None, "1.0"])
def test_agent_1_gets_messages(version: str | None) -> None:
    assert [m["role"] for m in build_input([*ROUND, QUESTION], agent_version=version)["messages"]] == [
        "user",
        "assistant",
        "user",
    ]


def test_agent_2_warns_once_about_undocumented_parameters() -> None:
    fields: dict[str, Any] = {"agent_version": "2.0", "memory_id": "m", "top_k": 1, "app_model": "q"}

    body._warn_about_undocumented.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        build_input([QUESTION], "warned", **fields)
    assert [str(warning.message) for warning in caught] == [
        f"`{name}` is sent to application warned, but is not documented for Agent 2.0"
        for name in ("memory_id", "top_k")
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_input([QUESTION], "warned", **fields)
        build_input(
            [QUESTION], "other", agent_version="2.0", enable_thinking=True, image_list="https://x/y"
        )


def test_legacy_applications_get_rounds() -> None:
    messages = [SYSTEM, *ROUND, HumanMessage("一"), HumanMessage("二"), AIMessage("三"), QUESTION]

    assert build_input(messages, legacy_history=True) == {
        "prompt": "简短。\n\n红茶呢？",
        "history": [
            {"user": "什么是绿茶？", "bot": "不发酵的茶。"},
            {"user": "一", "bot": ""},
            {"user": "二", "bot": "三"},
        ],
    }


def test_legacy_applications_get_no_history_without_earlier_rounds() -> None:
    assert build_input([SYSTEM, QUESTION], legacy_history=True) == {"prompt": "简短。\n\n红茶呢？"}


def test_answers_in_a_row_are_one_round() -> None:
    messages = [AIMessage("欢迎。"), AIMessage("请问。"), QUESTION]

    assert build_input(messages, legacy_history=True)["history"] == [
        {"user": "", "bot": "欢迎。\n\n请问。"}
    ]


@pytest.mark.parametrize("fields", [{"agent_version": "2.0"}, {"legacy_history": True}])
def test_agent_2_and_legacy_applications_need_a_question_at_the_end(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^the last message must be a human message"):
        build_input([*ROUND, QUESTION, AIMessage("也是茶。")], **fields)


@pytest.mark.parametrize(
    ("messages", "index"),
    [
        ([*ROUND, QUESTION, SYSTEM], 2),
        ([QUESTION, ChatMessage("红茶呢？", role="user"), AIMessage("也是茶。")], 1),
        ([QUESTION, ChatMessage("红茶呢？", role="human")], 1),
        ([QUESTION, ChatMessage("红茶呢？", role="assistant")], 0),
        ([SYSTEM], None),
    ],
)
def test_the_last_question_is_the_last_human_message(
    messages: list[BaseMessage], index: int | None
) -> None:
    assert find_last_question(messages) == index


# -- turns without text ------------------------------------------------------------------------------

PICTURE = HumanMessage([{"type": "image", "url": "https://x.example/1.png"}])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {},
            {
                "messages": [
                    {"role": "user", "content": "什么是绿茶？"},
                    {"role": "assistant", "content": "不发酵的茶。"},
                    {"role": "user", "content": "一"},
                    {"role": "user", "content": "红茶呢？"},
                ]
            },
        ),
        (
            {"agent_version": "2.0"},
            {
                "prompt": "用户：什么是绿茶？\n\n助手：不发酵的茶。\n\n用户：一\n\n用户：红茶呢？",
            },
        ),
        (
            {"legacy_history": True},
            {
                "prompt": "红茶呢？",
                "history": [
                    {"user": "什么是绿茶？", "bot": "不发酵的茶。"},
                    {"user": "一", "bot": ""},
                ],
            },
        ),
    ],
)
def test_turns_without_text_are_omitted_but_not_their_attachments(
    fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    messages = [SystemMessage(""), PICTURE, *ROUND, AIMessage("\n"), HumanMessage("一")]
    messages += [AIMessage(""), QUESTION]

    assert build_input(messages, **fields) == expected | {"image_list": ["https://x.example/1.png"]}


@pytest.mark.parametrize("fields", [{}, {"agent_version": "2.0"}, {"legacy_history": True}])
@pytest.mark.parametrize("others", [[AIMessage(" ")], [SystemMessage("")], [PICTURE]])
def test_one_question_among_turns_without_text_is_a_prompt(
    fields: dict[str, Any], others: list[BaseMessage]
) -> None:
    sent = build_input([*others, QUESTION], **fields)

    assert (sent["prompt"], sent.keys() - {"image_list"}) == ("红茶呢？", {"prompt"})


@pytest.mark.parametrize("fields", [{}, {"agent_version": "2.0"}, {"legacy_history": True}])
def test_a_question_is_repeated_after_an_answer_without_text(fields: dict[str, Any]) -> None:
    assert build_input([QUESTION, AIMessage("")], **fields) == {"prompt": "红茶呢？"}


@pytest.mark.parametrize(
    ("messages", "prompt", "count"),
    [
        ([QUESTION], "红茶呢？", 0),
        ([SYSTEM, QUESTION], "简短。\n\n红茶呢？", 0),
        ([SystemMessage(" "), QUESTION], "红茶呢？", 0),
        ([HumanMessage(""), PICTURE, QUESTION], "红茶呢？", 0),
        ([AIMessage(""), QUESTION], "红茶呢？", 0),
        ([*ROUND, QUESTION], "红茶呢？", 2),
        ([*ROUND, SystemMessage(""), QUESTION], "红茶呢？", 2),
        ([SYSTEM, *ROUND, SYSTEM, QUESTION], "红茶呢？", 4),
        ([PICTURE, AIMessage(""), QUESTION], "红茶呢？", 1),
        ([QUESTION, AIMessage(""), PICTURE, QUESTION], "红茶呢？", 1),
    ],
)
def test_a_session_gets_the_new_question_and_the_unsent_turns_are_counted(
    messages: list[BaseMessage], prompt: str, count: int
) -> None:
    turns = turns_from_messages(messages)

    assert split_new_turns(turns)[0] == prompt
    assert count_unsent_turns(turns) == count


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([QUESTION, PICTURE], "^missing text"),
        ([*ROUND, QUESTION, HumanMessage("")], "^missing text"),
        ([*ROUND, QUESTION, PICTURE, QUESTION], "got 2: omit"),
        ([*ROUND, SYSTEM], "got 0: omit"),
        ([QUESTION, AIMessage("")], "got 0: omit"),
    ],
)
def test_a_session_rejects_other_turns(messages: list[BaseMessage], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        split_new_turns(turns_from_messages(messages))
    with pytest.raises(ValueError, match=problem):
        count_unsent_turns(turns_from_messages(messages))
