"""One call on its way: what is sent, whether it may be sent again, and what its failures mean.

All decisions of the edge, without waiting for anything: `_transport` has the two loops that wait.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
from dashscope.v2 import errors as ds
from dashscope.version import __version__ as dashscope_version

from langchain_bailian_app._answer.frames import Fault, Frame, FrameReader, Garbage
from langchain_bailian_app._transport.error_codes import from_reply, refused_at_the_door
from langchain_bailian_app._transport.error_messages import Losses
from langchain_bailian_app._transport.http_aiohttp import NETWORK_ERRORS, NetworkError, as_httpx
from langchain_bailian_app._version import __version__

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from langchain_bailian_app import errors
    from langchain_bailian_app._request.body import ServiceRequest
    from langchain_bailian_app._settings.connection import ConnectionFields
    from langchain_bailian_app._transport.credentials import Connection

T = TypeVar("T")

_logger = logging.getLogger("langchain_bailian_app")
_USER_AGENT = f"langchain-bailian-app/{__version__} dashscope/{dashscope_version}"
_LONGEST_END = 0.1  # seconds; a connection whose reply has not ended cannot be used again
_FIRST_WAIT, _LONGEST_WAIT, _LONGEST_RETRY_AFTER = 0.5, 8.0, 60.0
# Raised by httpx itself when a connection was never made: the service has seen nothing.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Call:
    """The state of one call."""

    def __init__(
        self, fields: ConnectionFields, connection: Connection, request: ServiceRequest
    ) -> None:
        self._fields = fields
        self._connection = connection
        self._request = request
        self._losses = Losses(fields, connection.base_url)
        self._reader = FrameReader()
        self._started = time.monotonic()
        self._first_frame: float | None = None
        self._newest = self._started
        self._deadline = self._started + (fields.total_timeout or math.inf)
        self._frames = 0
        self._retries = 0
        self._finished = False
        self._fresh = False
        self._error: errors.BailianError | None = None

    def arguments(self) -> dict[str, Any]:
        """Return what dashscope's `open_stream` is to be called with."""
        headers = {"User-Agent": _USER_AGENT, "Accept": "application/json"}
        if self._request.stream:
            headers |= {"Accept": "text/event-stream", "X-DashScope-SSE": "enable"}
        fields = self._fields
        read = fields.timeout
        if fields.total_timeout is not None:
            read = min(read, max(0.001, self._time_left() or 0))
        return {
            "method": self._request.method,
            "path": self._request.path,
            "json": self._request.body,
            "params": self._request.params,
            "headers": headers,
            "base_url": self._connection.base_url,
            "timeout": httpx.Timeout(read, connect=fields.connect_timeout),
            "api_key": self._connection.api_key(),
            "workspace": self._connection.workspace,
            "sdk_module": "app",
        }

    def retry_in(self, exc: Exception) -> float:
        """Return after how many seconds to send the request again.

        Raises:
            BailianError: It may have run, or has been tried often enough.
        """
        error = self._translated(exc)
        wait = error.retry_after
        if wait is None:
            wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2**self._retries) * random.uniform(0.5, 1)  # noqa: S311  # jitter
        left = self._time_left()
        if (
            not error.is_retryable
            or httpx.PoolTimeout in (type(exc), type(exc.__cause__))  # it was waited for, for `timeout`
            or self._retries >= self._fields.max_retries
            or wait > _LONGEST_RETRY_AFTER
            or (left is not None and wait >= left)
        ):
            raise error from exc
        self._retries += 1
        _logger.debug("%s: %s; again in %.2f s", self._request.path, error, wait)
        return wait

    def opened(self, response: httpx.Response) -> None:
        """Take note of the reply's head.

        Raises:
            BailianConnectionError: The reply is a redirect.
        """
        self._losses.request_id = response.headers.get("x-request-id")
        self._newest = time.monotonic()
        if response.is_redirect or response.history:
            target = response.url.join(response.headers.get("location", "")).host
            raise self._losses.redirected(target, response.status_code)

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that these bytes complete; `taken` is to be told when they were read.

        Raises:
            BailianError: The time is up.
        """
        now = time.monotonic()
        if now >= self._deadline and not self._finished:
            raise self._losses.out_of_time()
        # Heartbeats keep a connection alive; only a frame breaks the silence.
        if now - self._newest > self._fields.timeout and not self._finished:
            raise self._losses.silent()
        return self._good(self._reader.feed(data), "sent a frame that is no JSON")

    def taken(self) -> None:
        """Note that whoever reads, who may take his time, waits for more.

        Raises:
            BailianError: What came behind the newest frames reports an error, or is no frame.
        """
        if self._error is not None:
            raise self._error
        if self._fresh:
            self._newest, self._fresh = time.monotonic(), False

    def end(self) -> list[Frame]:
        """Return what was complete only with the end of the reply; then comes `taken`."""
        frames = self._good(self._reader.end(), "ended the reply in the middle of a frame")
        if not self._frames and self._error is None:
            head = f": {self._reader.head!r}" if self._reader.head else ""
            self._error = self._losses.broken(f"sent a reply without a frame{head}")
        return frames

    def lost(self, exc: NetworkError) -> None:
        """Judge the loss of the connection in the middle of the reply.

        Raises:
            BailianError: The answer was not complete.
        """
        if not self._finished:
            raise self._lost(as_httpx(exc)) from exc

    async def in_time(self, awaitable: Awaitable[T]) -> T:
        """Await something for as long as `total_timeout` allows."""
        left = self._time_left()
        if left is None:
            return await awaitable
        try:
            async with asyncio.timeout(left):
                return await awaitable
        except TimeoutError:
            raise self._losses.out_of_time() from None

    async def piece(self, awaitable: Awaitable[bytes | None]) -> bytes | None:
        """Await the next bytes of the reply; of a finished answer only its end, and not for long."""
        if not self._finished:
            return await self.in_time(awaitable)
        try:
            async with asyncio.timeout(_LONGEST_END):
                return await awaitable
        except TimeoutError:
            return None

    @property
    def patience(self) -> float | None:
        """For how many seconds to wait for the next bytes; None if that is as long as at first."""
        if self._finished:
            return _LONGEST_END
        left = self._time_left()
        return None if left is None else max(0.001, min(self._fields.timeout, left))

    def log(self) -> None:
        """Write the one record of this call: no texts, no secrets."""
        if _logger.isEnabledFor(logging.DEBUG):
            first = self._first_frame
            _logger.debug(
                "%s, request %s: %d frames, first after %s s, %.3f s in all",
                self._request.path,
                self._losses.request_id,
                self._frames,
                None if first is None else round(first - self._started, 3),
                time.monotonic() - self._started,
            )

    def _time_left(self) -> float | None:
        return None if self._deadline == math.inf else self._deadline - time.monotonic()

    def _lost(self, cause: BaseException) -> errors.BailianError:
        left = self._time_left()
        return self._losses.named(
            cause, answering=self._frames > 0, too_late=left is not None and left <= 0
        )

    def _good(self, came: list[Frame | Fault | Garbage], garbage: str) -> list[Frame]:
        """Return the frames before the end of the answer, or before the error that ends it."""
        frames: list[Frame] = []
        for frame in came:
            if self._finished:
                break  # nothing that comes now belongs to the answer
            if isinstance(frame, Frame):
                frames.append(frame)
                self._finished = frame.finish_reason is not None
                continue
            if isinstance(frame, Garbage):
                self._error = self._losses.broken(f"{garbage}: {frame.head!r}")
            else:
                self._error = from_reply(
                    code=frame.code,
                    message=frame.message,
                    status=frame.status,
                    request_id=frame.request_id or self._losses.request_id,
                    body=frame.body,
                )
            break
        if frames:
            self._frames += len(frames)
            self._fresh = True
            self._first_frame = self._first_frame or time.monotonic()
        return frames

    def _translated(self, exc: Exception) -> errors.BailianError:
        if isinstance(exc, ds.APIStatusError):
            error = from_reply(
                code=str(exc.code or ""),
                message=str(exc.message),
                status=exc.status_code or 0,
                request_id=None if exc.request_id is None else str(exc.request_id),
                body=exc.body,
                headers=exc.headers,
            )
            error.is_retryable = refused_at_the_door(error)
            return error
        cause = exc if isinstance(exc, NETWORK_ERRORS) else exc.__cause__
        if isinstance(cause, NETWORK_ERRORS):
            cause = as_httpx(cause)
        error = self._lost(cause or exc)
        error.is_retryable = isinstance(cause, _NEVER_SENT)
        return error
