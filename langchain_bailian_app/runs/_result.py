"""Result of a finished run: the message, or the error that matches its failure."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage

from langchain_bailian_app._answer import wire_json
from langchain_bailian_app._answer.answer import PROVIDER
from langchain_bailian_app._answer.assembler import AnswerAssembler
from langchain_bailian_app._answer.frames import Frame
from langchain_bailian_app._transport.error_codes import error_from_response, readable_message
from langchain_bailian_app.errors import (
    BailianError,
    BailianRunCancelledError,
    BailianServerError,
    BailianStreamError,
)
from langchain_bailian_app.runs._state import parse_failure, parse_output

if TYPE_CHECKING:
    from langchain_bailian_app.runs._settings import RunSettings
    from langchain_bailian_app.runs._state import RunState

_SERVER_ERROR = 500


def message_from_state(state: RunState, settings: RunSettings) -> AIMessage:
    """Return the answer of a completed run.

    Raises:
        BailianStreamError: The output has no complete message; `partial` has what it contains.
    """
    output = parse_output(state.body)
    message = _build_message(state, settings)
    if output.is_complete:
        return message
    problem = f"run {state.run_id} is completed, but its output contains no complete message"
    error = BailianStreamError(problem, body=state.body)
    if output.text or output.reasoning:
        message.response_metadata.pop("finish_reason")
        error.partial = message
    raise error


def error_from_state(state: RunState) -> BailianError:
    """Return the error for a run that failed or was cancelled; its reply contains no secrets.

    The class follows from the code in the details, as for other calls. A failure without a known code
    is a `BailianServerError`.
    """
    if state.status == "cancelled":
        return BailianRunCancelledError(f"run {state.run_id} was cancelled", body=state.body)
    code, message, status = parse_failure(state.body)
    error = error_from_response(
        code=code,
        message=readable_message(message) or "the service gave no reason",
        status=status or _SERVER_ERROR,  # without a known code, it decides the class
        body=state.body,
    )
    error.status_code = status
    error.message = f"run {state.run_id} failed: {error.message}"
    error.args = (error.message,)
    return error


def invalid_reply_error(problem: str, body: dict[str, Any]) -> BailianError:
    """Return the error for a reply that is not the state of a run; the arguments have no secrets."""
    message = f"the service sent an invalid reply about a background run: {problem}"
    return BailianServerError(message, body=body)


def _build_message(state: RunState, settings: RunSettings) -> AIMessage:
    output = parse_output(state.body)
    assembler = AnswerAssembler(markers=settings.citation_markers, stop=settings.stop)
    assembler.feed(Frame(output.text, "stop"))
    answer = assembler.build_answer()
    kwargs = {}
    if output.reasoning:
        kwargs["reasoning_content"] = wire_json.join_surrogates(output.reasoning)
    request_id = state.body.get("request_id")
    metadata = {
        "model_provider": PROVIDER,
        "model_name": state.body.get("model") or settings.app_id,
        "app_id": settings.app_id,
        "run_id": state.run_id,
        "finish_reason": answer.finish_reason,
        "created_at": state.body.get("created_at"),
        "request_id": request_id and str(request_id),
        "extra": copy.deepcopy(output.extra),  # the state is read again
    }
    return AIMessage(
        content=answer.text,
        id=state.run_id,
        additional_kwargs=kwargs,
        response_metadata={name: value for name, value in metadata.items() if value},
    )
