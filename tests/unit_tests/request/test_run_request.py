"""Requests of background runs: what is sent, and what is rejected by name."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from langchain_bailian_app import BizParams, RagOptions
from langchain_bailian_app._request.body import turns_from_messages
from langchain_bailian_app._request.fields import CompletionFields
from langchain_bailian_app._request.run_request import build_run_request, build_submit_request

QUESTION = HumanMessage("什么是滞报金？")
IMAGE = {"type": "image", "url": "https://files.example/cat.png"}
FILE = {"type": "file", "url": "https://files.example/a.pdf"}


def build_body(*messages: BaseMessage, **options: Any) -> dict[str, Any]:
    turns = turns_from_messages(messages or [QUESTION])
    request = build_submit_request("app", turns, CompletionFields(**options))
    assert request.path == "apps/agent/app/compatible-mode/v1/responses"
    assert (request.method, request.api_version, request.stream) == ("POST", "v2", False)
    assert request.body is not None
    return request.body


def test_a_question_is_sent_as_text() -> None:
    assert build_body() == {"input": "什么是滞报金？", "background": True}


def test_biz_params_are_at_the_top_level() -> None:
    params = BizParams(city="杭州", user_defined_tokens={"tool": "token"})

    assert build_body(biz_params=params)["biz_params"] == {
        "city": "杭州",
        "user_defined_tokens": {"tool": {"user_token": "token"}},
    }


def test_a_conversation_is_sent_as_items_with_system_messages_first() -> None:
    body = build_body(
        QUESTION, AIMessage("一种款项。"), SystemMessage("简短。"), HumanMessage("多少？")
    )

    assert body["input"] == [
        {"role": "system", "content": "简短。"},
        {"role": "user", "content": "什么是滞报金？"},
        {"role": "assistant", "content": "一种款项。"},
        {"role": "user", "content": "多少？"},
    ]


def test_images_and_files_are_parts_of_their_message() -> None:
    first = HumanMessage([IMAGE])
    second = HumanMessage([{"type": "text", "text": "这是什么？"}, FILE])
    options = {"image_list": ["https://files.example/dog.png"], "file_list": ["https://f.example/b"]}

    assert build_body(first, AIMessage(""), second, **options)["input"] == [
        {"role": "user", "content": [{"type": "input_image", "image_url": IMAGE["url"]}]},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "这是什么？"},
                {"type": "input_image", "image_url": "https://files.example/dog.png"},
                {"type": "input_file", "file_url": FILE["url"]},
                {"type": "input_file", "file_url": "https://f.example/b"},
            ],
        },
    ]


@pytest.mark.parametrize(
    "option",
    [
        {"history": "session"},
        {"history": "thread"},
        {"session_key": "k"},
        {"session_id": "s"},
        {"memory_id": "m"},
        {"rag_options": RagOptions(pipeline_ids=["p"])},
        {"has_thoughts": True},
        {"has_thoughts": False},
        {"enable_thinking": True},
        {"enable_web_search": True},
        {"enable_system_time": True},
        {"dialog_round": 1},
        {"app_model": "qwen-max"},
        {"flow_stream_mode": "agent_format"},
        {"answer_node": "End"},
        {"mcp_servers": ["m"]},
        {"doc_tag_codes": ["t"]},
        {"doc_reference_type": "simple"},
        {"legacy_history": True},
        {"temperature": 0.0},
        {"top_p": 0.5},
        {"top_k": 1},
        {"seed": 1},
        {"max_tokens": 1},
        {"extra_parameters": {"a": 1}},
        {"extra_input": {"a": 1}},
    ],
    ids=str,
)
def test_a_setting_without_a_field_is_rejected_by_name(option: dict[str, Any]) -> None:
    (name,) = option
    with pytest.raises(ValueError, match=rf"^unsupported `{name}`: .*; remove `{name}`, or call"):
        build_body(**option)


def test_every_option_is_sent_or_rejected_or_has_no_meaning_for_a_run() -> None:
    accepted = {
        "stop": ["。"],
        "citation_markers": "keep",
        "agent_version": "2.0",
        "tool_calling": "prompt",
        "streaming": False,
        "accept_missing_stop": True,
    }

    assert build_body(**accepted) == build_body()


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ({"type": "file", "file_id": "file_session_1"}, "got the id of a session file"),
        ({"type": "file", "base64": "YQ==", "mime_type": "text/plain"}, "got base64 data"),
        ({"type": "file", "url": "a.pdf"}, "invalid URL 'a.pdf' in `file_list`"),
        ({"type": "image", "url": "cat.png"}, "invalid URL 'cat.png' in `image_list`"),
    ],
)
def test_files_that_this_route_cannot_read_are_rejected(block: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        build_body(HumanMessage([{"type": "text", "text": "这是什么？"}, block]))


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([SystemMessage("简短。")], "^missing human message"),
        ([HumanMessage([IMAGE])], "^missing text"),
        ([HumanMessage("\ud83d")], "^invalid `messages`: expected Unicode text"),
    ],
)
def test_a_conversation_without_a_question_is_rejected(messages: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        build_body(*messages)


def test_values_that_json_does_not_have_are_rejected() -> None:
    options = CompletionFields(biz_params=BizParams(a="\ud83d"))
    with pytest.raises(ValueError, match=r"^invalid `biz_params`"):
        build_submit_request("app", turns_from_messages([QUESTION]), options)


def test_requests_for_a_run_have_its_id_in_the_path() -> None:
    requests = [
        build_run_request("app", "run-1", action) for action in ("retrieve", "cancel", "delete")
    ]
    path = "apps/agent/app/compatible-mode/v1/responses/run-1"

    assert [(request.method, request.path) for request in requests] == [
        ("GET", path),
        ("POST", f"{path}/cancel"),
        ("DELETE", path),
    ]
    assert {request.api_version for request in requests} == {"v2"}
    assert {request.body is None for request in requests} == {True}


@pytest.mark.parametrize(("app_id", "run_id"), [("app", "../x"), ("a/b", "run")])
def test_ids_that_would_change_the_path_are_rejected(app_id: str, run_id: str) -> None:
    with pytest.raises(ValueError, match=r"^invalid `(run|app)_id`"):
        build_run_request(app_id, run_id, "retrieve")
