"""Conversations for applications that know no `messages`."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage
from pydantic import ValidationError

from langchain_bailian_app._request import body
from langchain_bailian_app._request.body import turns_of, whole_request
from langchain_bailian_app._request.transcript import last_question
from langchain_bailian_app._settings.application import ApplicationFields

RULES = SystemMessage("简短。")
EARLIER = [HumanMessage("什么是绿茶？"), AIMessage("不发酵的茶。")]
QUESTION = HumanMessage("红茶呢？")


def told(messages: list[BaseMessage], app_id: str = "app", **fields: Any) -> dict[str, Any]:
    """Return the input of the request."""
    found: dict[str, Any] = whole_request(app_id, turns_of(messages), ApplicationFields(**fields)).body[
        "input"
    ]
    return found


def test_agent_2_gets_a_transcript_as_one_prompt() -> None:
    assert told([*EARLIER, QUESTION], agent_version="2.0") == {
        "prompt": "用户：什么是绿茶？\n\n助手：不发酵的茶。\n\n用户：红茶呢？"
    }


def test_the_labels_are_in_the_language_of_the_question_and_rules_come_first() -> None:
    messages = [HumanMessage("茶？"), AIMessage("叶子。"), RULES, HumanMessage("What is tea?")]

    assert told(messages, agent_version="2.0") == {
        "prompt": "System: 简短。\n\nUser: 茶？\n\nAssistant: 叶子。\n\nUser: What is tea?"
    }


@pytest.mark.parametrize("fields", [{"agent_version": "2.0"}, {"legacy_history": True}, {}])
def test_one_question_is_a_prompt(fields: dict[str, Any]) -> None:
    assert told([QUESTION], **fields) == {"prompt": "红茶呢？"}


@pytest.mark.parametrize("version", [None, "1.0"])
def test_agent_1_gets_messages(version: str | None) -> None:
    assert [m["role"] for m in told([*EARLIER, QUESTION], agent_version=version)["messages"]] == [
        "user",
        "assistant",
        "user",
    ]


def test_agent_2_warns_once_of_what_its_document_does_not_have() -> None:
    fields: dict[str, Any] = {"agent_version": "2.0", "memory_id": "m", "top_k": 1, "app_model": "q"}

    body._warn_of_undocumented.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        told([QUESTION], "warned", **fields)
    assert [str(warning.message) for warning in caught] == [
        f"`{name}` is sent to application warned, but no document of Agent 2.0 has it"
        for name in ("memory_id", "top_k")
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told([QUESTION], "warned", **fields)
        told([QUESTION], "other", agent_version="2.0", enable_thinking=True, image_list="https://x/y")


def test_legacy_applications_get_rounds() -> None:
    messages = [RULES, *EARLIER, HumanMessage("一"), HumanMessage("二"), AIMessage("三"), QUESTION]

    assert told(messages, legacy_history=True) == {
        "prompt": "简短。\n\n红茶呢？",
        "history": [
            {"user": "什么是绿茶？", "bot": "不发酵的茶。"},
            {"user": "一", "bot": ""},
            {"user": "二", "bot": "三"},
        ],
    }


def test_legacy_applications_get_no_history_where_there_is_none() -> None:
    assert told([RULES, QUESTION], legacy_history=True) == {"prompt": "简短。\n\n红茶呢？"}


def test_answers_in_a_row_are_one_round() -> None:
    messages = [AIMessage("欢迎。"), AIMessage("请问。"), QUESTION]

    assert told(messages, legacy_history=True)["history"] == [{"user": "", "bot": "欢迎。\n\n请问。"}]


@pytest.mark.parametrize("fields", [{"agent_version": "2.0"}, {"legacy_history": True}])
def test_these_transcripts_end_with_a_question(fields: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r"^this kind of application takes a human message as the last"
    ):
        told([*EARLIER, QUESTION, AIMessage("也是茶。")], **fields)


def test_an_application_is_one_kind_or_the_other() -> None:
    with pytest.raises(ValidationError, match="legacy RAG applications"):
        ApplicationFields(legacy_history=True, agent_version="2.0")


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ([*EARLIER, QUESTION, RULES], 2),
        ([QUESTION, ChatMessage("红茶呢？", role="user"), AIMessage("也是茶。")], 1),
        ([QUESTION, ChatMessage("红茶呢？", role="human")], 1),
        ([QUESTION, ChatMessage("红茶呢？", role="assistant")], 0),
        ([RULES], None),
    ],
)
def test_the_last_question_is_the_last_word_of_a_human(
    messages: list[BaseMessage], place: int | None
) -> None:
    assert last_question(messages) == place
