"""States of background runs: statuses, output, and failures in every place where they may be."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_bailian_app.runs._state import (
    FailureDetails,
    InvalidStateError,
    parse_failure,
    parse_output,
    parse_state,
)

REPLY = {
    "id": "run-1",
    "object": "response",
    "created_at": 1790000000,
    "status": "completed",
    "model": "",
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "background": None,
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "好。", "annotations": []}],
        }
    ],
}


@pytest.mark.parametrize(
    ("word", "status", "is_final"),
    [
        ("queued", "queued", False),
        ("running", "running", False),
        ("in_progress", "running", False),
        ("RUNNING", "running", False),
        ("completed", "completed", True),
        ("failed", "failed", True),
        ("cancelled", "cancelled", True),
        ("canceled", "cancelled", True),
    ],
)
def test_both_spellings_of_a_status_are_known(word: str, status: str, *, is_final: bool) -> None:
    state = parse_state({"id": "run-1", "status": word})

    assert (state.run_id, state.status, state.is_final) == ("run-1", status, is_final)


@pytest.mark.parametrize(
    ("body", "run_id", "problem"),
    [
        ({"id": "run-1", "status": "paused"}, None, "got 'paused'"),
        ({"id": "run-1"}, None, "got 'None'"),
        ({"id": "run-1", "status": 200}, None, "got '200'"),
        ({"status": "queued"}, None, "contains no id"),
        ({"id": 5, "status": "queued"}, None, "contains no id"),
        ({"id": "run-2", "status": "queued"}, "run-1", "expected the state of run run-1, got that of"),
    ],
)
def test_a_reply_that_is_no_state_is_rejected(body: Any, run_id: str | None, problem: str) -> None:
    with pytest.raises(InvalidStateError, match=problem):
        parse_state(body, run_id)


def test_a_reply_without_an_id_is_the_state_of_the_run_that_was_queried() -> None:
    assert parse_state({"status": "queued"}, "run-1").run_id == "run-1"


def test_the_repr_of_a_state_does_not_contain_its_answer() -> None:
    assert "好。" not in repr(parse_state(REPLY))


def test_the_text_is_that_of_the_message() -> None:
    assert parse_output(REPLY) == ("好。", "", True, {})


@pytest.mark.parametrize(
    "item",
    [
        {"summary": [{"type": "summary_text", "text": "想。"}]},
        {"summary": [], "content": [{"type": "reasoning_text", "text": "想。"}]},
        {"content": "想。"},
    ],
)
def test_reasoning_is_read_in_each_form(item: dict[str, Any]) -> None:
    body = REPLY | {"output": [{"type": "reasoning"} | item, *REPLY["output"]]}

    assert parse_output(body) == ("好。", "想。", True, {})


def test_several_messages_are_separated() -> None:
    second = {"type": "message", "content": "再会。"}
    output = [*REPLY["output"], second]

    assert parse_output(REPLY | {"output": output}).text == "好。\n\n再会。"


def test_several_parts_of_a_message_are_joined() -> None:
    parts = [{"type": "output_text", "text": "好"}, {"type": "output_text", "text": "。"}]

    assert parse_output({"output": [{"type": "message", "content": parts}]}).text == "好。"


@pytest.mark.parametrize(
    "output",
    [None, [], [{"type": "reasoning", "summary": []}], [REPLY["output"][0] | {"status": "incomplete"}]],
)
def test_output_without_a_complete_message_is_incomplete(output: Any) -> None:
    assert not parse_output({"output": output}).is_complete


def test_unknown_fields_items_and_parts_are_passed_on() -> None:
    image = {"type": "output_image", "url": "https://files.example/cat.png"}
    cited = {"type": "output_text", "text": "好。", "annotations": [{"type": "url_citation"}]}
    message = REPLY["output"][0] | {"content": [cited, image]}
    call = {"type": "function_call", "name": "f"}
    body = REPLY | {"output": [message, call], "usage": {"input_tokens": 1}, "empty": None}

    text, _, is_complete, extra = parse_output(body)
    assert (text, is_complete) == ("好。", True)
    assert extra == {
        "usage": {"input_tokens": 1},
        "output": [message | {"content": [cited, image]}, call],
    }


DETAILS = {"code": "AppProcessFailed", "message": "boom"}
FOUND = FailureDetails("AppProcessFailed", "boom")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"output": DETAILS}, FOUND),
        ({"output": [DETAILS]}, FOUND),
        ({"output": [{"type": "error"} | DETAILS]}, FOUND),
        ({"output": {"error": DETAILS}}, FOUND),
        ({"output": '{"code": "AppProcessFailed", "message": "boom"}'}, FOUND),
        ({"output": {"message": '{"code": "AppProcessFailed", "message": "boom"}'}}, FOUND),
        ({"error": DETAILS}, FOUND),
        ({"error": DETAILS, "output": "partial"}, FOUND),
        (DETAILS, FOUND),
        (
            {"output": {"errorCode": "E", "reason": "r", "status_code": 403}},
            FailureDetails("E", "r", 403),
        ),
        ({"output": "boom"}, FailureDetails("", "boom")),
        ({"output": [{"type": "message", "content": "boom"}]}, FailureDetails("", "boom")),
        (
            {
                "output": [
                    {"type": "reasoning", "content": "hm"},
                    {"type": "output_text", "text": "boom"},
                ]
            },
            FailureDetails("", "boom"),
        ),
        ({"incomplete_details": {"reason": "max_tokens"}}, FailureDetails("", "max_tokens")),
        ({"error": "boom"}, FailureDetails("", "boom")),
        ({"output": [], "error": None}, FailureDetails()),
        ({"output": {"status": "failed"}}, FailureDetails()),
        ({}, FailureDetails()),
    ],
)
def test_the_details_of_a_failure_are_found(fields: dict[str, Any], expected: FailureDetails) -> None:
    assert parse_failure({"id": "run-1", "status": "failed"} | fields) == expected


def test_details_that_are_nested_too_deeply_are_not_searched() -> None:
    value: Any = DETAILS
    for _ in range(2000):
        value = [value]

    assert parse_failure({"output": value}) == FailureDetails()
