"""Calls an application as a user would, and tells what is wrong."""

from __future__ import annotations

import functools
import operator
import os
import time
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from langchain_bailian_app._doctor import checks
from langchain_bailian_app._doctor.checks import Finding, Heard
from langchain_bailian_app._settings.connection import ConnectionFields, check_id
from langchain_bailian_app.chat_models._model import BailianAppChatModel
from langchain_bailian_app.errors import BailianError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langchain_core.messages import AIMessage, AIMessageChunk

CALLS = 2
"""How often the application is asked at most."""

_FOLLOW_UP = "请换一种说法，再简短地回答一次。"


def examine(
    question: str, *, ask: Mapping[str, Any], connection: Mapping[str, Any]
) -> Iterator[Finding]:
    """Check everything, and yield what was found as soon as it is known.

    Args:
        question: What to ask; one that needs the application's documents shows most.
        ask: Keywords of the calls, `biz_params` for instance.
        connection: Fields of the model; what is not given comes from the environment.
    """
    found: list[Finding] = []
    for finding in _examined(question, dict(ask), dict(connection)):
        found.append(finding)
        yield finding
    yield from checks.skipped(found)


def _examined(question: str, ask: dict[str, Any], connection: dict[str, Any]) -> Iterator[Finding]:
    wrong = list(_wrong_settings(connection))
    yield from wrong
    if wrong:
        return
    model = BailianAppChatModel(**{"max_retries": 0} | connection)  # whatever fails is to be seen
    try:
        heard = _heard(model, question, ask)
    except BailianError as error:
        yield from checks.of_failure(error)
        return
    except ValueError as problem:  # of the environment: a SOCKS proxy without its package
        yield checks.of_settings("address", problem)
        return
    resolved = model._connection()  # noqa: SLF001  # of our own
    yield from checks.of_answer(heard, resolved.base_url, resolved.workspace)
    yield checks.of_second_turn(heard.message, _second_turn(model, heard.message, ask))


def _wrong_settings(connection: dict[str, Any]) -> Iterator[Finding]:
    """Yield what cannot work, without asking anybody."""
    from langchain_bailian_app._transport.credentials import resolve  # noqa: PLC0415  # knows dashscope

    names = connection.keys() & ConnectionFields.model_fields.keys()
    fields = ConnectionFields(**{name: connection[name] for name in names})
    try:
        resolve(fields.model_copy(update={"api_key": SecretStr("any")}))
    except ValueError as problem:
        yield checks.of_settings("address", problem)
    else:
        try:
            resolve(fields)
        except ValueError as problem:
            yield checks.of_settings("key", problem)
    app_id = connection.get("app_id") or os.environ.get("BAILIAN_APP_ID")
    if not app_id:
        told = (
            "none given: set the variable BAILIAN_APP_ID (应用 ID, in the console's application list)"
        )
        yield Finding("application", "wrong", told)
        return
    try:
        check_id(app_id)
    except ValueError as problem:
        yield checks.of_settings("application", problem)


def _heard(model: BailianAppChatModel, question: str, ask: dict[str, Any]) -> Heard:
    began = time.monotonic()
    times: list[float] = []
    chunks: list[AIMessageChunk] = []
    for chunk in model.stream(question, has_thoughts=True, **ask):
        chunks.append(chunk)
        times.append(time.monotonic() - began)
    return Heard(
        message=functools.reduce(operator.add, chunks),
        pieces=sum(bool(chunk.text) for chunk in chunks),
        first=times[0],
        seconds=times[-1],
    )


def _second_turn(
    model: BailianAppChatModel, first: AIMessage, ask: dict[str, Any]
) -> AIMessage | BailianError | None:
    session_id = first.response_metadata.get("session_id")
    if session_id is None:
        return None
    try:
        return model.invoke(_FOLLOW_UP, session_id=session_id, **ask)
    except BailianError as error:
        return error
