"""Partial answers of calls that continue a session and fail before a frame names the session.

Such frames are withheld until it is known that they belong to the session (`SessionGuard`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from langchain_core.messages import AIMessage, HumanMessage

from langchain_bailian_app import errors
from langchain_bailian_app.sessions import BailianSessionWarning, InMemorySessionStore
from tests.call_styles import CALL_STYLES, collect_message, make_model_at
from tests.fixtures import encode_sse
from tests.raw_server import CHUNKED_SSE_HEAD, SSE_HEAD, Connection, encode_chunk, run_server

if TYPE_CHECKING:
    from collections.abc import Callable


CLOSE = b"connection: close\r\n"
SESSION_ID = "of-the-user"
OTHER_ID = "of-someone-else"

each_call_style = pytest.mark.parametrize("style", [style.__name__ for style in CALL_STYLES])
each_history = pytest.mark.parametrize("history", ["session", "thread"])


def frame(text: str = "", session_id: str | None = None, **output: Any) -> dict[str, Any]:
    ids = {} if session_id is None else {"session_id": session_id}
    return {"output": {"text": text, "finish_reason": "null"} | ids | output, "usage": {}}


def complete(text: str, session_id: str) -> list[dict[str, Any]]:
    return [frame(text, session_id), frame("", session_id, finish_reason="stop")]


def answer_session_with(*bodies: dict[str, Any], ending: str) -> Callable[[Connection], None]:
    """Return a handler that sends these frames to the session, and complete answers otherwise."""
    content = encode_sse(*bodies)

    def handle(connection: Connection) -> None:
        request = connection.receive_request()
        if not request:
            return
        request_input = orjson.loads(request.partition(b"\r\n\r\n")[2])["input"]
        if request_input.get("session_id") != SESSION_ID:
            text, session_id = ("好。", SESSION_ID) if "prompt" in request_input else ("重答", OTHER_ID)
            body = encode_sse(*complete(text, session_id))
            connection.send(SSE_HEAD + CLOSE + b"content-length: %d\r\n\r\n%b" % (len(body), body))
        elif ending == "end":
            connection.send(
                SSE_HEAD + CLOSE + b"content-length: %d\r\n\r\n%b" % (len(content), content)
            )
        else:
            connection.send(CHUNKED_SSE_HEAD + encode_chunk(content))
            if ending == "silence":
                connection.wait()

    return handle


async def ask_twice(base_url: str, style: str, history: Any, **fields: Any) -> AIMessage:
    """Start a session, and return the answer to the next question."""
    model = make_model_at(base_url, history=history, session_store=InMemorySessionStore(), **fields)
    config = {"configurable": {"thread_id": "t"}}
    question = HumanMessage("一")
    first = await collect_message(model, style, [question], config)
    assert first.response_metadata["session_id"] == SESSION_ID
    earlier = [question, first] if history == "session" else []
    return await collect_message(model, style, [*earlier, HumanMessage("二")], config)


@each_call_style
@each_history
@pytest.mark.parametrize(
    ("ending", "last_frames", "error_class"),
    [
        ("end", [{"code": "SystemError", "message": "x"}], errors.BailianServerError),
        ("end", ["{not JSON"], errors.BailianStreamError),
        ("end", [], errors.BailianStreamError),
        ("lost connection", [], errors.BailianStreamError),
        pytest.param("silence", [], errors.BailianTimeoutError, marks=pytest.mark.slow),
    ],
)
async def test_the_partial_answer_has_the_text_before_the_session_is_named(
    style: str, history: str, ending: str, last_frames: list[Any], error_class: type[Exception]
) -> None:
    reasoning = {"action_type": "reasoning", "thought": "想"}
    bodies = [frame(thoughts=[reasoning]), frame("半"), frame("句"), *last_frames]

    with (
        run_server(answer_session_with(*bodies, ending=ending)) as base_url,
        pytest.raises(errors.BailianError) as caught,
    ):
        await ask_twice(base_url, style, history, timeout=0.6 if ending == "silence" else 30)

    assert type(caught.value) is error_class
    partial = caught.value.partial
    assert partial is not None
    assert partial.text == "半句"
    assert partial.additional_kwargs["reasoning_content"] == "想"
    assert "session_id" not in partial.response_metadata
    assert "finish_reason" not in partial.response_metadata


@each_call_style
@each_history
@pytest.mark.parametrize("output", [{"output": {"session_id": OTHER_ID}}, {"session_id": OTHER_ID}])
async def test_the_partial_answer_has_no_text_of_a_session_that_the_error_names(
    style: str, history: str, output: dict[str, Any]
) -> None:
    error = {"code": "SystemError", "message": "x", **output}

    with (
        run_server(answer_session_with(frame("别人的"), error, ending="end")) as base_url,
        pytest.raises(errors.BailianServerError) as caught,
    ):
        await ask_twice(base_url, style, history)

    assert caught.value.partial is None


@each_call_style
@each_history
@pytest.mark.parametrize(
    "last_frame",
    [
        pytest.param(frame("别人的", OTHER_ID), id="another session"),
        pytest.param({"code": "InvalidParameter", "message": "session not found"}, id="error"),
    ],
)
async def test_the_text_before_another_session_is_never_shown(
    style: str, history: str, last_frame: dict[str, Any]
) -> None:
    bodies = [frame("别"), frame("人"), last_frame]

    with (
        run_server(answer_session_with(*bodies, ending="lost connection")) as base_url,
        pytest.warns(BailianSessionWarning),
    ):
        answer = await ask_twice(base_url, style, history)

    assert answer.text == ("重答" if history == "session" else "好。")
