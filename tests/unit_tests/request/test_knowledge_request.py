"""Requests to knowledge services, and the validation of their fields."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_bailian_app._request.knowledge_fields import KnowledgeChatFields
from langchain_bailian_app._request.knowledge_request import build_chat_request, check_search_configs

IMAGE = {"type": "image", "url": "https://media.test/a.png"}


def build_messages(*messages: Any, **options: Any) -> Any:
    request = build_chat_request("aid-1", messages, KnowledgeChatFields(**options))
    assert request.body is not None
    return request.body["input"]["messages"]


@pytest.mark.parametrize(
    ("configs", "problem"),
    [
        ([{"id": "kb", "filters": []}], "got 'filters'"),
        ([{}], r"invalid `kb_search_configs\[\].id`"),
        ([{"id": ""}], r"invalid `kb_search_configs\[\].id`"),
        ([{"id": "kb"}, {"id": "kb"}], "got 'kb' twice"),
        ([{"id": "kb", "search_filters": "x"}], "a list of dicts, got str"),
        ([{"id": "kb", "search_filters": ["x"]}], "a list of dicts"),
        ([{"id": "kb", "search_filters": [{"a": float("nan")}]}], "JSON can represent"),
        (
            [{"id": "kb", "search_filters": [{"tags": ["标" * 30_000]}]}],
            "at most 80,000 bytes, got 90,",
        ),
        (
            [{"id": name, "search_filters": [{"tags": ["x" * 41_000]}]} for name in ("a", "b")],
            "at most 80,000 bytes",
        ),
    ],
)
def test_invalid_filters_are_rejected_by_name(configs: list[dict[str, Any]], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_search_configs(configs)


def test_filters_are_lists_of_groups() -> None:
    configs = [{"id": " kb ", "search_filters": {"tags": ["甲"]}}, {"id": "other"}]

    assert check_search_configs(configs) == [
        {"id": "kb", "search_filters": [{"tags": ["甲"]}]},
        {"id": "other"},
    ]


def test_the_whole_conversation_is_sent_with_the_documented_roles() -> None:
    messages = build_messages(
        SystemMessage("简短。"), HumanMessage("一"), AIMessage("二"), HumanMessage("三")
    )

    assert messages == [
        {"role": "user", "content": "一"},
        {"role": "assistant", "content": "二"},
        {"role": "user", "content": "简短。\n\n三"},
    ]


def test_images_are_parts() -> None:
    messages = build_messages(HumanMessage([{"type": "text", "text": "什么？"}, IMAGE]))

    assert messages[0]["content"] == [
        {"type": "text", "text": "什么？"},
        {"type": "image_url", "image_url": {"url": IMAGE["url"]}},
    ]


def test_session_files_come_from_options_and_messages() -> None:
    blocks = [{"type": "text", "text": "?"}, {"type": "file", "file_id": "file_session_1"}]
    options = KnowledgeChatFields(
        session_files=["file_2", "file_session_1"], agent_version="beta", enable_cache_control=True
    )
    request = build_chat_request("aid-1", [HumanMessage(blocks)], options)

    assert request.body is not None
    assert request.body["parameters"]["agent_options"] == {
        "agent_id": "aid-1",
        "agent_version": "beta",
        "session_files": ["file_session_1", "file_2"],
        "enable_cache_control": True,
    }
    assert request.body["stream"] is True
    assert (request.api_version, request.stream) == ("v2", True)


def test_extra_fields_are_merged_last() -> None:
    options = KnowledgeChatFields(
        extra_input={"request_id": "mine"}, extra_agent_options={"agent_version": "7", "new": 1}
    )
    request = build_chat_request("aid-1", [HumanMessage("?")], options)

    assert request.body is not None
    assert request.body["input"]["request_id"] == "mine"
    assert request.body["parameters"]["agent_options"] == {
        "agent_id": "aid-1",
        "agent_version": "7",
        "new": 1,
    }


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([AIMessage("好")], "missing human message"),
        ([HumanMessage(" ")], "has no text"),
        ([HumanMessage("a\ud800")], "half of a surrogate pair"),
        (
            [HumanMessage("?"), ToolMessage("1", tool_call_id="1")],
            "unsupported message type ToolMessage",
        ),
        (
            [
                HumanMessage(
                    [{"type": "text", "text": "?"}, {"type": "file", "url": "https://x.test/a.pdf"}]
                )
            ],
            "BailianFiles",
        ),
        (
            [
                HumanMessage(
                    [{"type": "text", "text": "?"}, {"type": "audio", "url": "https://x.test/a"}]
                )
            ],
            "audio",
        ),
        (
            [HumanMessage([{"type": "text", "text": "?"}, {"type": "image", "url": "a.png"}])],
            "invalid URL",
        ),
    ],
)
def test_messages_that_cannot_be_sent_are_rejected(messages: list[Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        build_messages(*messages)


def test_more_than_ten_files_are_rejected() -> None:
    with pytest.raises(ValueError, match="session_files"):
        KnowledgeChatFields(session_files=[f"file_{n}" for n in range(11)])


def test_extra_fields_must_be_json() -> None:
    with pytest.raises(ValueError, match="extra_input"):
        build_messages(HumanMessage("?"), extra_input={"a": object()})


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("rag_options", TypeError, "applies to applications"),
        ("session_id", TypeError, "applies to applications"),
        ("temperature", TypeError, "applies to applications"),
        ("tools", NotImplementedError, "accepts no others"),
        ("response_format", NotImplementedError, "accepts no others"),
        ("workspace", TypeError, "set it in the constructor"),
        ("agent_versoin", TypeError, "did you mean `agent_version`"),
    ],
)
def test_unsupported_arguments_are_rejected_by_name(
    name: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        KnowledgeChatFields().with_overrides({name: "x"})


def test_arguments_of_a_call_override_the_fields() -> None:
    options = KnowledgeChatFields(agent_version=3, stop=["a"]).with_overrides(
        {"agent_version": "beta", "stop": None, "model": "for tracing"}
    )

    assert (options.agent_version, options.stop) == ("beta", ["a"])
