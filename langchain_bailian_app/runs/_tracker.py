"""Requests about one run, and its newest state.

Starting a run is only repeated if nothing ran. All other requests change nothing that a repetition
would change again, so they are repeated after any failure that may pass.
"""

from __future__ import annotations

import asyncio
import copy
import math
import time
from typing import TYPE_CHECKING, Any, Literal

from langchain_bailian_app._request.run_request import build_run_request
from langchain_bailian_app._settings.base_url import check_offers_runs
from langchain_bailian_app._settings.connection import ConnectionFields
from langchain_bailian_app._transport.redaction import Redactor
from langchain_bailian_app._transport.transport import Transport
from langchain_bailian_app.errors import (
    BailianConnectionError,
    BailianError,
    BailianNotFoundError,
    BailianRequestError,
    BailianServerError,
    BailianTimeoutError,
)
from langchain_bailian_app.runs._polling import Backoff
from langchain_bailian_app.runs._result import error_from_state, invalid_reply_error, message_from_state
from langchain_bailian_app.runs._state import InvalidStateError, RunState, RunStatus, parse_state

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

    from langchain_bailian_app._request.service_request import ServiceRequest
    from langchain_bailian_app._transport.credentials import Connection
    from langchain_bailian_app.runs._settings import RunSettings

_MAX_REPLY_SECONDS = 30.0  # for the state of a run, which the service has at hand
_FIRST_SERVER_ERROR = 500
_RUN_MAY_EXIST = (
    "the request was sent, so a run may exist, and may cost money; its id is unknown, and it was not "
    "started again"
)


class RunTracker:
    """One run of an application.

    Args:
        settings: The application, its connection, and how its answers are processed.
        run_id: Id of the run.
        state: Newest known state.
        redactor: Removes the secrets of the request that started the run from errors.
    """

    def __init__(
        self,
        settings: RunSettings,
        run_id: str,
        state: RunState | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self.settings = settings
        self.run_id = run_id
        self.state = state
        self._redactor = redactor or Redactor([])

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without secrets."""
        return vars(self) | {"_redactor": Redactor([])}

    @property
    def is_final(self) -> bool:
        """Whether the run is known to have ended."""
        return self.state is not None and self.state.is_final

    @property
    def status(self) -> RunStatus | None:
        """Newest known status; None if there was no reply yet."""
        return None if self.state is None else self.state.status

    def query(self, time_left: float = math.inf) -> RunState:
        """Query the state once, in at most `time_left` seconds; a final state is not queried again.

        Raises:
            BailianError: The query failed.
        """
        if self.state is not None and self.state.is_final:
            return self.state
        request = build_run_request(self.settings.app_id, self.run_id, "retrieve")
        return self.record(self._create_transport(time_left).fetch(request).extra)

    async def aquery(self, time_left: float = math.inf) -> RunState:
        """Async version of `query`."""
        if self.state is not None and self.state.is_final:
            return self.state
        request = build_run_request(self.settings.app_id, self.run_id, "retrieve")
        return self.record((await self._create_transport(time_left).afetch(request)).extra)

    def refresh(self) -> RunState:
        """Query the state, with retries.

        Raises:
            BailianError: The last query failed.
        """
        return self.state if self.state and self.is_final else self.record(self._send("retrieve"))

    async def arefresh(self) -> RunState:
        """Async version of `refresh`."""
        return (
            self.state if self.state and self.is_final else self.record(await self._asend("retrieve"))
        )

    def cancel(self) -> RunState:
        """Cancel the run and return its state, which is another one if it had ended before.

        Raises:
            BailianError: The request failed, or the service rejected it for another reason.
        """
        rejection = None
        if not self.is_final:
            try:
                if self._is_cancelled(self._send("cancel")):
                    return self.refresh()
            except BailianRequestError as error:
                rejection = error
        return self._check_rejection(self.refresh(), rejection)

    async def acancel(self) -> RunState:
        """Async version of `cancel`."""
        rejection = None
        if not self.is_final:
            try:
                if self._is_cancelled(await self._asend("cancel")):
                    return await self.arefresh()
            except BailianRequestError as error:
                rejection = error
        return self._check_rejection(await self.arefresh(), rejection)

    def delete(self) -> None:
        """Delete the run.

        Raises:
            BailianError: The run has not ended, or the request failed.
        """
        self._check_deleted(self._send("delete"))

    async def adelete(self) -> None:
        """Async version of `delete`."""
        self._check_deleted(await self._asend("delete"))

    def build_result(self) -> AIMessage:
        """Return the answer of a run that has ended.

        Raises:
            BailianError: The run failed, was cancelled, or is completed without an answer.
        """
        state = self.refresh() if self.state is None else self.state
        if state.status == "completed":
            return message_from_state(state, self.settings)
        raise error_from_state(state)

    def _send(self, action: Literal["retrieve", "cancel", "delete"]) -> dict[str, Any]:
        request = build_run_request(self.settings.app_id, self.run_id, action)
        backoff = Backoff(self.settings.max_retries + 1)
        while True:
            try:
                return self._create_transport().fetch(request).extra
            except BailianError as error:
                if action == "delete" and self._is_deleted(error, backoff):
                    return {}
                delay = backoff.delay_after(error)
            time.sleep(delay)

    async def _asend(self, action: Literal["retrieve", "cancel", "delete"]) -> dict[str, Any]:
        request = build_run_request(self.settings.app_id, self.run_id, action)
        backoff = Backoff(self.settings.max_retries + 1)
        while True:
            try:
                return (await self._create_transport().afetch(request)).extra
            except BailianError as error:
                if action == "delete" and self._is_deleted(error, backoff):
                    return {}
                delay = backoff.delay_after(error)
            await asyncio.sleep(delay)

    def _create_transport(self, time_left: float = math.inf) -> Transport:
        settings = self.settings
        total_timeout = min(settings.total_timeout or math.inf, time_left)
        values = {name: getattr(settings, name) for name in ConnectionFields.model_fields} | {
            "max_retries": 0,  # the caller repeats the request
            "timeout": min(settings.timeout, _MAX_REPLY_SECONDS),
            "total_timeout": None if total_timeout == math.inf else total_timeout,
        }
        return Transport(ConnectionFields.model_construct(**values), resolve_run_connection(settings))

    def record(self, body: dict[str, Any]) -> RunState:
        """Record the state in a reply and return the newest one; a final state stays."""
        try:
            state = parse_state(body, self.run_id)
        except InvalidStateError as error:
            redactor = _with_key(self._redactor, self.settings)
            problem = redactor.text(str(error))
            raise invalid_reply_error(problem, redactor.body(body)) from None
        if state.status == "failed":  # its body becomes part of an error
            body = _with_key(self._redactor, self.settings).body(body)
            state = RunState(state.run_id, state.status, body)
        if self.state is None or not self.state.is_final:
            self.state = state
        return self.state

    def _is_cancelled(self, body: dict[str, Any]) -> bool:
        """Record the state in the reply to a cancellation, unless it may not be that of the run.

        For a run that has ended, the service replies with `failed`, which is not the run's state.
        """
        try:
            is_cancelled = parse_state(body, self.run_id).status == "cancelled"
        except InvalidStateError:
            return False
        if is_cancelled:
            self.record(body)
        return is_cancelled

    def _check_rejection(self, state: RunState, rejection: BailianError | None) -> RunState:
        if rejection is not None and not state.is_final:
            raise rejection
        return state

    def _is_deleted(self, error: BailianError, backoff: Backoff) -> bool:
        """Return whether an error means that the run existed before and does not any more.

        An attempt whose reply was lost may have deleted it. aiohttp repeats such a request by itself.
        """
        has_existed = self.state is not None or backoff.failures > 0
        return has_existed and isinstance(error, BailianNotFoundError)

    def _check_deleted(self, body: dict[str, Any]) -> None:
        if body.get("deleted") is False:
            message = f"run {self.run_id} was not deleted"
            redactor = _with_key(self._redactor, self.settings)
            raise BailianServerError(message, body=redactor.body(body))


def submit_run(settings: RunSettings, request: ServiceRequest) -> RunTracker:
    """Start a run.

    Raises:
        BailianError: The request failed. If a run may exist nevertheless, the message contains this.
    """
    transport = Transport(settings, resolve_run_connection(settings))
    try:
        frame = transport.fetch(request)
    except BailianError as exc:
        error = _explain_submit_error(exc)
    else:
        return _tracker_from_reply(settings, request, frame.extra)
    raise error  # outside of the `except` clause, so that it does not refer to the original


async def asubmit_run(settings: RunSettings, request: ServiceRequest) -> RunTracker:
    """Async version of `submit_run`."""
    transport = Transport(settings, resolve_run_connection(settings))
    try:
        frame = await transport.afetch(request)
    except BailianError as exc:
        error = _explain_submit_error(exc)
    else:
        return _tracker_from_reply(settings, request, frame.extra)
    raise error


def resolve_run_connection(settings: RunSettings) -> Connection:
    """Return the connection of the settings.

    Raises:
        ValueError: The API key is missing, or the region does not offer background runs.
    """
    connection = settings._resolve_connection()  # noqa: SLF001 - for this package
    check_offers_runs(connection.base_url)
    return connection


def _tracker_from_reply(
    settings: RunSettings, request: ServiceRequest, body: dict[str, Any]
) -> RunTracker:
    redactor = Redactor.for_request("", request.body)
    try:
        run_id = parse_state(body).run_id
    except InvalidStateError as exc:
        redactor = _with_key(redactor, settings)
        error = invalid_reply_error(redactor.text(str(exc)), redactor.body(body))
    else:
        tracker = RunTracker(settings, run_id, redactor=redactor)
        tracker.record(body)
        return tracker
    raise _append(error, _RUN_MAY_EXIST)


def _with_key(redactor: Redactor, settings: RunSettings) -> Redactor:
    return redactor.with_secret(resolve_run_connection(settings).api_key())


def _explain_submit_error(error: BailianError) -> BailianError:
    """Return the error for a request that was to start a run, with the hint that a run may exist."""
    is_lost = isinstance(error, BailianConnectionError | BailianTimeoutError)
    is_from_server = (error.status_code or 0) >= _FIRST_SERVER_ERROR
    if error.is_retryable or not (is_lost or is_from_server):
        return error  # nothing was sent, or the service rejected the request
    return _append(error, _RUN_MAY_EXIST)


def _append(error: BailianError, text: str) -> BailianError:
    appended = copy.copy(error)
    appended.message = f"{error.message}: {text}"
    appended.args = (appended.message,)
    appended.__cause__ = error.__cause__
    return appended
