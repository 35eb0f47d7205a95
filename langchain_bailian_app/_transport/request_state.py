"""State of one call: its request, retry decisions, received frames and errors.

All decisions of the transport are made here. The two loops that wait for the service are in
`transport`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from typing import TYPE_CHECKING, Any, TypeVar, assert_never

import httpx
from dashscope.v2 import errors as ds
from dashscope.version import __version__ as dashscope_version

from langchain_bailian_app._answer.frames import ErrorFrame, Frame, FrameReader, InvalidFrame
from langchain_bailian_app._transport.error_codes import (
    error_from_response,
    was_rejected_before_running,
)
from langchain_bailian_app._transport.error_messages import (
    error_from_httpx,
    protocol_error,
    read_timeout_error,
    redirect_error,
    total_timeout_error,
)
from langchain_bailian_app._transport.http_aiohttp import NETWORK_ERRORS, NetworkError, to_httpx_error
from langchain_bailian_app._version import __version__

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from langchain_bailian_app import errors
    from langchain_bailian_app._request.service_request import ServiceRequest
    from langchain_bailian_app._settings.connection import ConnectionFields
    from langchain_bailian_app._transport.credentials import Connection

T = TypeVar("T")

_logger = logging.getLogger("langchain_bailian_app")
_USER_AGENT = f"langchain-bailian-app/{__version__} dashscope/{dashscope_version}"
_END_OF_BODY_TIMEOUT = 0.1  # seconds; a connection is only reusable after the end of its response
_INITIAL_RETRY_DELAY, _MAX_RETRY_DELAY, _MAX_RETRY_AFTER = 0.5, 8.0, 60.0  # seconds
# Raised if no connection was established: the service received nothing.
_NOT_SENT_ERRORS = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class RequestState:
    """The state of one call."""

    def __init__(
        self, fields: ConnectionFields, connection: Connection, request: ServiceRequest
    ) -> None:
        self._fields = fields
        self._connection = connection
        self._request = request
        self._request_id: str | None = None
        self._reader = FrameReader()
        self._started_at = time.monotonic()
        self._first_frame_at: float | None = None
        self._last_activity = self._started_at
        self._deadline = self._started_at + (fields.total_timeout or math.inf)
        self._frame_count = 0
        self._retries = 0
        self._finished = False
        self._has_unconsumed_frames = False
        self._pending_error: errors.BailianError | None = None

    def open_stream_kwargs(self) -> dict[str, Any]:
        """Return the arguments for dashscope's `open_stream`."""
        headers = {"User-Agent": _USER_AGENT, "Accept": "application/json"}
        if self._request.stream:
            headers |= {"Accept": "text/event-stream", "X-DashScope-SSE": "enable"}
        fields = self._fields
        read_timeout = fields.timeout
        if fields.total_timeout is not None:
            read_timeout = min(read_timeout, max(0.001, self._time_left() or 0))
        return {
            "method": self._request.method,
            "path": self._request.path,
            "json": self._request.body,
            "params": self._request.params,
            "headers": headers,
            "base_url": self._connection.base_url,
            "timeout": httpx.Timeout(read_timeout, connect=fields.connect_timeout),
            "api_key": self._connection.api_key(),
            "workspace": self._connection.workspace,
            "sdk_module": "app",
        }

    def retry_delay(self, exc: Exception) -> float:
        """Return the delay in seconds before the request is sent again.

        Raises:
            BailianError: The request may have run, or no retries or time are left.
        """
        error = self._to_bailian_error(exc)
        delay = error.retry_after
        if delay is None:
            backoff = min(_MAX_RETRY_DELAY, _INITIAL_RETRY_DELAY * 2**self._retries)
            delay = backoff * random.uniform(0.5, 1)  # noqa: S311  # jitter
        time_left = self._time_left()
        if (
            not error.is_retryable
            or httpx.PoolTimeout in (type(exc), type(exc.__cause__))  # already waited for `timeout`
            or self._retries >= self._fields.max_retries
            or delay > _MAX_RETRY_AFTER
            or (time_left is not None and delay >= time_left)
        ):
            raise error from exc
        self._retries += 1
        _logger.debug("%s: %s; retrying in %.2f s", self._request.path, error, delay)
        return delay

    def on_headers(self, response: httpx.Response) -> None:
        """Record the arrival of the response headers and their request id.

        Raises:
            BailianConnectionError: The response is a redirect.
        """
        self._request_id = response.headers.get("x-request-id")
        self._last_activity = time.monotonic()
        if response.is_redirect or response.history:
            target = response.url.join(response.headers.get("location", "")).host
            base_url = self._connection.base_url
            raise redirect_error(base_url, target, response.status_code, self._request_id)

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that these bytes complete; call `on_consumed` after consuming the frames.

        Raises:
            BailianError: `timeout` or `total_timeout` has expired.
        """
        now = time.monotonic()
        if now >= self._deadline and not self._finished:
            raise total_timeout_error(self._fields, self._request_id)
        # `timeout` limits the time between frames, so a heartbeat does not restart it.
        if now - self._last_activity > self._fields.timeout and not self._finished:
            raise read_timeout_error(self._fields, self._connection.base_url, self._request_id)
        return self._accept_frames(self._reader.feed(data), "sent a frame that is not JSON")

    def on_consumed(self) -> None:
        """Restart the read timeout: the time that a slow consumer needs does not count.

        Raises:
            BailianError: The newest frames were followed by an error or an invalid frame.
        """
        if self._pending_error is not None:
            raise self._pending_error
        if self._has_unconsumed_frames:
            self._last_activity, self._has_unconsumed_frames = time.monotonic(), False

    def end(self) -> list[Frame]:
        """Return the frames that the end of the response completes; call `on_consumed` afterwards."""
        frames = self._accept_frames(self._reader.end(), "ended the response in the middle of a frame")
        if not self._frame_count and self._pending_error is None:
            head = f": {self._reader.head!r}" if self._reader.head else ""
            self._pending_error = self._protocol_error(f"sent a response without any frames{head}")
        return frames

    def on_disconnect(self, exc: NetworkError) -> None:
        """Handle a connection that was lost in the middle of the response.

        Raises:
            BailianError: The answer was not complete.
        """
        if not self._finished:
            raise self._error_from_httpx(to_httpx_error(exc)) from exc

    async def with_deadline(self, awaitable: Awaitable[T]) -> T:
        """Await an awaitable, for at most the rest of `total_timeout`."""
        time_left = self._time_left()
        if time_left is None:
            return await awaitable
        try:
            async with asyncio.timeout(time_left):
                return await awaitable
        except TimeoutError:
            raise total_timeout_error(self._fields, self._request_id) from None

    async def read_chunk(self, awaitable: Awaitable[bytes | None]) -> bytes | None:
        """Await the next bytes of the response; after the answer, wait only briefly for its end."""
        if not self._finished:
            return await self.with_deadline(awaitable)
        try:
            async with asyncio.timeout(_END_OF_BODY_TIMEOUT):
                return await awaitable
        except TimeoutError:
            return None

    @property
    def read_timeout(self) -> float | None:
        """Timeout for the next bytes in seconds; None if it is unchanged."""
        if self._finished:
            return _END_OF_BODY_TIMEOUT
        time_left = self._time_left()
        return None if time_left is None else max(0.001, min(self._fields.timeout, time_left))

    def log(self) -> None:
        """Log a summary of this call, without message texts or secrets."""
        if _logger.isEnabledFor(logging.DEBUG):
            first_frame_at = self._first_frame_at
            _logger.debug(
                "%s, request %s: %d frames, first after %s s, %.3f s in total",
                self._request.path,
                self._request_id,
                self._frame_count,
                None if first_frame_at is None else round(first_frame_at - self._started_at, 3),
                time.monotonic() - self._started_at,
            )

    def _time_left(self) -> float | None:
        return None if self._deadline == math.inf else self._deadline - time.monotonic()

    def _error_from_httpx(self, cause: BaseException) -> errors.BailianError:
        time_left = self._time_left()
        return error_from_httpx(
            cause,
            self._fields,
            self._connection.base_url,
            request_id=self._request_id,
            frame_received=self._frame_count > 0,
            deadline_passed=time_left is not None and time_left <= 0,
        )

    def _protocol_error(self, problem: str) -> errors.BailianStreamError:
        return protocol_error(self._connection.base_url, problem, self._request_id)

    def _accept_frames(
        self, parsed_frames: list[Frame | ErrorFrame | InvalidFrame], problem: str
    ) -> list[Frame]:
        """Return the frames until the answer ends or an error occurs. The error becomes pending."""
        frames: list[Frame] = []
        for frame in parsed_frames:
            if self._finished:
                break  # later frames do not belong to the answer
            match frame:
                case Frame():
                    frames.append(frame)
                    self._finished = frame.finish_reason is not None
                    continue
                case InvalidFrame():
                    self._pending_error = self._protocol_error(f"{problem}: {frame.head!r}")
                case ErrorFrame():
                    self._pending_error = error_from_response(
                        code=frame.code,
                        message=frame.message,
                        status=frame.status,
                        request_id=frame.request_id or self._request_id,
                        body=frame.body,
                    )
                case _:
                    assert_never(frame)
            break
        if frames:
            self._frame_count += len(frames)
            self._has_unconsumed_frames = True
            self._first_frame_at = self._first_frame_at or time.monotonic()
        return frames

    def _to_bailian_error(self, exc: Exception) -> errors.BailianError:
        if isinstance(exc, ds.APIStatusError):
            error = error_from_response(
                code=str(exc.code or ""),
                message=str(exc.message),
                status=exc.status_code or 0,
                request_id=None if exc.request_id is None else str(exc.request_id),
                body=exc.body,
                headers=exc.headers,
            )
            error.is_retryable = was_rejected_before_running(error)
            return error
        cause = exc if isinstance(exc, NETWORK_ERRORS) else exc.__cause__
        if isinstance(cause, NETWORK_ERRORS):
            cause = to_httpx_error(cause)
        error = self._error_from_httpx(cause or exc)
        error.is_retryable = isinstance(cause, _NOT_SENT_ERRORS)
        return error
