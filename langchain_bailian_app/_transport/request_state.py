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
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, assert_never, cast

import httpx
from dashscope.v2 import errors as ds
from dashscope.version import __version__ as dashscope_version

from langchain_bailian_app._answer.first_token import has_token
from langchain_bailian_app._answer.frames import ErrorFrame, Frame, FrameReader, InvalidFrame
from langchain_bailian_app._answer.sse import MAX_EVENT_BYTES
from langchain_bailian_app._transport.content_decoding import check_content_encoding
from langchain_bailian_app._transport.deadline import Deadline, ReadTimer
from langchain_bailian_app._transport.error_codes import (
    error_from_response,
    readable_message,
    was_rejected_before_running,
)
from langchain_bailian_app._transport.error_messages import (
    error_from_httpx,
    find_redirect_target,
    first_token_timeout_error,
    protocol_error,
    read_timeout_error,
    redirect_error,
    total_timeout_error,
)
from langchain_bailian_app._transport.http_aiohttp import NETWORK_ERRORS, NetworkError, to_httpx_error
from langchain_bailian_app._transport.redaction import Redactor, copy_cause
from langchain_bailian_app._version import __version__
from langchain_bailian_app.errors import (
    BailianConnectionError,
    BailianRateLimitError,
    BailianServerError,
    BailianTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping

    from langchain_bailian_app import errors
    from langchain_bailian_app._request.service_request import ServiceRequest
    from langchain_bailian_app._settings.connection import ConnectionFields
    from langchain_bailian_app._transport.credentials import Connection

T = TypeVar("T")

_logger = logging.getLogger("langchain_bailian_app")
_USER_AGENT = f"langchain-bailian-app/{__version__} dashscope/{dashscope_version}"
_TOO_MANY_REQUESTS, _FIRST_SERVER_ERROR = 429, 500
_END_OF_BODY_TIMEOUT = 0.1  # seconds; a connection is only reusable after the end of its response
_INITIAL_RETRY_DELAY, _MAX_RETRY_DELAY, _MAX_RETRY_AFTER = 0.5, 8.0, 60.0  # seconds
# Raised if no connection was established: the service received nothing.
_NOT_SENT_ERRORS = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class OnSend(Protocol):
    """Function that receives whether a request may have run."""

    def __call__(self, *, may_have_run: bool) -> None: ...


class RequestState:
    """The state of one call."""

    def __init__(
        self,
        fields: ConnectionFields,
        connection: Connection,
        request: ServiceRequest,
        on_send: OnSend | None = None,
    ) -> None:
        self._fields = fields
        self._connection = connection
        self._request = request
        self._on_send = on_send
        self._api_key = ""
        self._request_id: str | None = None
        self._reader = FrameReader()
        self._started_at = time.monotonic()
        self._first_frame_at: float | None = None
        self.deadline = Deadline(fields.total_timeout)
        self.grace_period_over = False
        """Whether the answer is complete and the wait for the end of the response is over."""
        self._frame_count = 0
        self._retries = 0
        self._finished = False
        self._has_unconsumed_frames = False
        self._pending_error: errors.BailianError | None = None

    def open_stream_kwargs(self) -> dict[str, Any]:
        """Return the arguments for dashscope's `open_stream`."""
        headers = {
            "User-Agent": _USER_AGENT,
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # a compressed body may grow a thousandfold
        }
        if self._request.stream:
            headers |= {"Accept": "text/event-stream", "X-DashScope-SSE": "enable"}
        self._api_key = self._connection.api_key()
        fields = self._fields
        time_left = self.deadline.remaining()
        if self._on_send is not None:
            self._on_send(may_have_run=True)  # not earlier: `api_key` may be a function that fails
        if fields.first_token_timeout is not None:
            # Not in the timeouts below, some of which apply until the end of the response.
            self.deadline.limit_first_token(fields.first_token_timeout)
        return {
            "method": self._request.method,
            "path": self._request.path,
            "json": self._request.body,
            "params": self._request.params,
            "headers": headers,
            "base_url": self._request.find_root(self._connection.base_url),
            "timeout": httpx.Timeout(
                min(fields.timeout, time_left), connect=min(fields.connect_timeout, time_left)
            ),
            "api_key": self._api_key,
            "workspace": self._connection.workspace,
            "sdk_module": "app",
        }

    def on_failure(self, exc: Exception) -> None:
        """Record that the request failed; call `retry_delay` after the `except` clause."""
        self._pending_error = self._to_bailian_error(exc)
        if httpx.PoolTimeout in (type(exc), type(exc.__cause__)):
            self._retries = self._fields.max_retries  # it has already waited for `timeout`
        if self.deadline.limits_first_token and not self.deadline.has_passed():
            # A retry has the whole time again.
            self.deadline.lift_first_token_limit()
            self.deadline.restart(math.inf)

    def retry_delay(self) -> float:
        """Return the delay in seconds before the request is sent again.

        Raises:
            BailianError: The request may have run, or no retries or time are left. Outside of the
                `except` clause, it does not refer to the exception that holds the request and its key.
        """
        error, self._pending_error = cast("errors.BailianError", self._pending_error), None
        delay = error.retry_after
        if delay is None:
            backoff = min(_MAX_RETRY_DELAY, _INITIAL_RETRY_DELAY * 2**self._retries)
            delay = backoff * random.uniform(0.5, 1)  # noqa: S311  # jitter
        if (
            not (error.is_retryable or self._may_run_twice(error))
            or self._retries >= self._fields.max_retries
            or delay > _MAX_RETRY_AFTER
            or delay >= self.deadline.remaining()
        ):
            raise error
        self._retries += 1
        if self._on_send is not None and error.is_retryable:
            self._on_send(may_have_run=False)
        _logger.debug("%s: %s; retrying in %.2f s", self._request.path, error, delay)
        return delay

    def _may_run_twice(self, error: errors.BailianError) -> bool:
        """Return whether to repeat a request that may have run, because running it twice is harmless.

        A request that exceeded `timeout` is not repeated: it has had its time.
        """
        return self._request.retry_on == "failure" and (
            isinstance(error, BailianConnectionError)
            or (
                isinstance(error, BailianServerError | BailianTimeoutError)
                and (error.status_code or 0) >= _FIRST_SERVER_ERROR
            )
        )

    def on_headers(self, response: httpx.Response) -> None:
        """Record the arrival of the response headers and their request id.

        Raises:
            BailianConnectionError: The response is a redirect.
            httpx.DecodingError: Its encoding is not supported.
        """
        self._request_id = response.headers.get("x-request-id")
        self.deadline.restart(self._fields.timeout)
        if response.is_redirect or response.history:
            target = self._redactor.truncated_text(find_redirect_target(response))
            base_url = self._connection.base_url
            raise redirect_error(base_url, target, response.status_code, self._request_id)
        check_content_encoding(response)

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that these bytes complete; call `on_consumed` after consuming the frames.

        Raises:
            BailianError: `timeout`, `first_token_timeout` or `total_timeout` has expired.
        """
        # `timeout` limits the time between frames, so a heartbeat does not restart it.
        if time.monotonic() >= self.deadline.expires_at:
            if not self._finished:
                raise self._timeout_error()
            self.grace_period_over = True
        return self._accept_frames(self._reader.feed(data), "sent a frame that is not JSON")

    def on_consumed(self) -> None:
        """Restart the read timeout: the time that a slow consumer needs does not count.

        Raises:
            BailianError: The newest frames were followed by an error or an invalid frame.
        """
        if self._pending_error is not None:
            raise self._pending_error
        if self._has_unconsumed_frames:
            self._has_unconsumed_frames = False
            if self._finished:
                self.deadline.limit(_END_OF_BODY_TIMEOUT)
                self.deadline.restart(_END_OF_BODY_TIMEOUT)
            else:
                self.deadline.restart(self._fields.timeout)

    def end(self) -> list[Frame]:
        """Return the frames that the end of the response completes; call `on_consumed` afterwards."""
        frames = self._accept_frames(self._reader.end(), "ended the response in the middle of a frame")
        if not self._frame_count and self._pending_error is None:
            head = (
                f": {self._redactor.truncated_text(self._reader.head)!r}" if self._reader.head else ""
            )
            self._pending_error = self._protocol_error(f"sent a response without any frames{head}")
        return frames

    def on_disconnect(self, exc: NetworkError) -> None:
        """Handle a connection that was lost in the middle of the response.

        If the answer is not complete, `on_consumed` raises the error. As with `retry_delay`, call it
        after the `except` clause.
        """
        if not self._finished:
            self._pending_error = self._error_from_httpx(to_httpx_error(exc), exc)

    async def with_deadline(self, awaitable: Awaitable[T]) -> T:
        """Await an awaitable, for at most the rest of `total_timeout` and `first_token_timeout`."""
        if self.deadline.ends_at == math.inf:
            return await awaitable
        with suppress(TimeoutError):
            async with asyncio.timeout(self.deadline.remaining()):
                return await awaitable
        raise self._end_error()

    async def read_chunk(self, chunks: AsyncIterator[bytes], timer: ReadTimer) -> bytes | None:
        """Await the next bytes of the response; after the answer, wait only briefly for its end.

        Raises:
            BailianError: `timeout`, `first_token_timeout` or `total_timeout` has expired.
        """
        if self.grace_period_over:
            return None
        with suppress(TimeoutError):
            return await timer.wait_for(anext(chunks, None))
        if self._finished:
            return None
        raise self._timeout_error()

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

    def _timeout_error(self) -> errors.BailianTimeoutError:
        if self._has_ended:
            return self._end_error()
        return read_timeout_error(self._fields, self._connection.base_url, self._request_id)

    @property
    def _has_ended(self) -> bool:
        """Whether `total_timeout` or `first_token_timeout` has expired."""
        return time.monotonic() >= self.deadline.ends_at

    def _end_error(self) -> errors.BailianTimeoutError:
        if self.deadline.limits_first_token:
            base_url = self._connection.base_url
            return first_token_timeout_error(self._fields, base_url, self._request_id)
        return total_timeout_error(self._fields, self._request_id)

    @property
    def _redactor(self) -> Redactor:
        return Redactor.for_request(self._api_key, self._request.body)

    def _error_from_httpx(
        self, cause: httpx.RequestError, origin: BaseException
    ) -> errors.BailianError:
        """Return the error for a failed request, caused by a copy of `cause` without the request."""
        clean_cause = copy_cause(cause, origin, self._redactor)
        error: errors.BailianError
        if isinstance(cause, httpx.TimeoutException) and self._has_ended:
            error = self._end_error()
        else:
            error = error_from_httpx(
                clean_cause,
                self._fields,
                self._connection.base_url,
                request_id=self._request_id,
                frame_received=self._frame_count > 0,
            )
        error.__cause__ = clean_cause
        return error

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
                case InvalidFrame(is_too_large=True):
                    self._pending_error = self._protocol_error(
                        f"sent a frame of more than {MAX_EVENT_BYTES // 2**20} MiB"
                    )
                case InvalidFrame():
                    self._pending_error = self._protocol_error(
                        f"{problem}: {self._redactor.truncated_text(frame.head)!r}"
                    )
                case ErrorFrame():
                    self._pending_error = self._error_from_response(
                        code=frame.code,
                        message=frame.message,
                        status=frame.status,
                        request_id=frame.request_id or self._request_id,
                        body=frame.body,
                    )
                case _:
                    assert_never(frame)
            break
        if self.deadline.limits_first_token and any(map(has_token, frames)):
            self.deadline.lift_first_token_limit()
        if frames:
            self._frame_count += len(frames)
            self._has_unconsumed_frames = True
            self._first_frame_at = self._first_frame_at or time.monotonic()
        return frames

    def _to_bailian_error(self, exc: Exception) -> errors.BailianError:
        if isinstance(exc, ds.APIStatusError):
            error = self._error_from_response(
                code=str(exc.code or ""),
                message=str(exc.message),
                status=exc.status_code or 0,
                request_id=exc.request_id,
                body=exc.body,
                headers=exc.headers,
            )
            error.is_retryable = was_rejected_before_running(error) or (
                self._request.retry_on != "rejection"
                and error.status_code == _TOO_MANY_REQUESTS
                and isinstance(error, BailianRateLimitError)
            )
            return error
        cause = exc if isinstance(exc, NETWORK_ERRORS) else exc.__cause__
        cause = to_httpx_error(cause) if isinstance(cause, NETWORK_ERRORS) else _unknown_error(exc)
        error = self._error_from_httpx(cause, exc)
        error.is_retryable = isinstance(cause, _NOT_SENT_ERRORS)
        return error

    def _error_from_response(
        self,
        *,
        code: str,
        message: str,
        status: int,
        request_id: str | None,
        body: Any,
        headers: Mapping[str, str] | None = None,
    ) -> errors.BailianError:
        """Return the exception for an error response, without secrets that the response repeats."""
        redactor = self._redactor
        return error_from_response(
            code=redactor.text(code),
            message=redactor.text(readable_message(message)),
            status=status,
            request_id=None if request_id is None else redactor.text(request_id),
            body=redactor.body(body),
            headers={name: redactor.text(value) for name, value in (headers or {}).items()},
        )


def _unknown_error(exc: Exception) -> httpx.RequestError:
    return httpx.RequestError(str(exc))
