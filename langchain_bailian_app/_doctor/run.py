"""Runner for the checks, which calls the application as a user would."""

from __future__ import annotations

import functools
import operator
import os
import time
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from langchain_bailian_app._answer.control_characters import replace_control_characters
from langchain_bailian_app._doctor import checks
from langchain_bailian_app._doctor.checks import CheckResult, TimedAnswer
from langchain_bailian_app._settings.connection import ConnectionFields, check_id
from langchain_bailian_app.chat_models._model import BailianAppChatModel
from langchain_bailian_app.errors import BailianError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langchain_core.messages import AIMessage, AIMessageChunk

MAX_CALLS = 2
"""Maximum number of calls to the application."""

_FOLLOW_UP = "请换一种说法，再简短地回答一次。"


def run_checks(
    question: str, *, call_options: Mapping[str, Any], connection: Mapping[str, Any]
) -> Iterator[CheckResult]:
    """Run all checks, and yield each result as soon as it is available.

    Args:
        question: Question to ask, ideally one that requires the documents of the application.
        call_options: Keyword arguments for the calls, for example `biz_params`.
        connection: Fields of the model; missing fields are read from the environment.
    """
    results: list[CheckResult] = []
    for result in _iter_checks(question, dict(call_options), dict(connection)):
        results.append(result)
        yield result._replace(message=_to_line(result.message))
    yield from checks.skip_remaining(results)


def _to_line(text: str) -> str:
    """Return a text as one line without control characters; it may contain names from the service."""
    return " ".join(replace_control_characters(text).split())


def _iter_checks(
    question: str, call_options: dict[str, Any], connection: dict[str, Any]
) -> Iterator[CheckResult]:
    failures = list(_check_settings(connection))
    yield from failures
    if failures:
        return
    model = BailianAppChatModel(**{"max_retries": 0} | connection)  # retries would hide failures
    try:
        answer = _measure_answer(model, question, call_options)
    except BailianError as error:
        base_url = model._resolve_connection().base_url  # noqa: SLF001  # our own class
        yield from checks.from_error(error, base_url)
        return
    except ValueError as error:  # for example, a SOCKS proxy in the environment without its package
        yield checks.from_settings_error("address", error)
        return
    resolved = model._resolve_connection()  # noqa: SLF001  # our own class
    yield from checks.from_answer(answer, resolved.base_url, resolved.workspace)
    yield checks.from_second_turn(answer.message, _ask_follow_up(model, answer.message, call_options))


def _check_settings(connection: dict[str, Any]) -> Iterator[CheckResult]:
    """Yield a failure for each invalid setting, without sending a request."""
    from langchain_bailian_app._transport.credentials import (  # noqa: PLC0415  # imports dashscope
        resolve_connection,
    )

    names = connection.keys() & ConnectionFields.model_fields.keys()
    fields = ConnectionFields(**{name: connection[name] for name in names})
    try:
        resolve_connection(fields.model_copy(update={"api_key": SecretStr("any")}))
    except ValueError as error:
        yield checks.from_settings_error("address", error)
    else:
        try:
            resolve_connection(fields)
        except ValueError as error:
            yield checks.from_settings_error("key", error)
    app_id = connection.get("app_id") or os.environ.get("BAILIAN_APP_ID")
    if not app_id:
        text = "missing application id: set BAILIAN_APP_ID (应用 ID, in the console's application list)"
        yield CheckResult("application", "fail", text)
        return
    try:
        check_id(app_id, name="app_id")
    except ValueError as error:
        yield checks.from_settings_error("application", error)


def _measure_answer(
    model: BailianAppChatModel, question: str, call_options: dict[str, Any]
) -> TimedAnswer:
    started_at = time.monotonic()
    arrival_times: list[float] = []
    chunks: list[AIMessageChunk] = []
    for chunk in model.stream(question, has_thoughts=True, **call_options):
        chunks.append(chunk)
        arrival_times.append(time.monotonic() - started_at)
    return TimedAnswer(
        message=functools.reduce(operator.add, chunks),
        text_chunks=sum(bool(chunk.text) for chunk in chunks),
        first_chunk_seconds=arrival_times[0],
        total_seconds=arrival_times[-1],
    )


def _ask_follow_up(
    model: BailianAppChatModel, first: AIMessage, call_options: dict[str, Any]
) -> AIMessage | BailianError | None:
    session_id = first.response_metadata.get("session_id")
    if session_id is None:
        return None
    try:
        return model.invoke(_FOLLOW_UP, session_id=session_id, **call_options)
    except BailianError as error:
        return error
