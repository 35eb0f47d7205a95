"""Transport that sends service requests and yields frames, in threads and on event loops.

It has two loops that wait for the service. Both serve every route. A response that is not a stream is
one frame. For a new route, build a `ServiceRequest` next to the public class, as `retrievers._queries`
does.

dashscope's client sends the request, with our HTTP client, retries and timeouts. Its response parser is
not used, because it loses text at U+2028 and accepts a truncated stream as a complete answer.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

import httpx
from dashscope.v2.errors import DashScopeError

from langchain_bailian_app._settings.base_url import is_loopback
from langchain_bailian_app._transport import client_pool
from langchain_bailian_app._transport.call_context import CallContext
from langchain_bailian_app._transport.deadline import ReadTimer
from langchain_bailian_app._transport.http_aiohttp import NETWORK_ERRORS
from langchain_bailian_app._transport.request_state import OnSend, RequestState
from langchain_bailian_app.errors import BailianError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from langchain_bailian_app._answer.frames import Frame
    from langchain_bailian_app._request.service_request import ServiceRequest
    from langchain_bailian_app._settings.connection import ConnectionFields
    from langchain_bailian_app._transport.credentials import Connection

_MAX_SINGLE_FRAMES = 5
# Calls on event loops that wait for their first frame. Weak: a loop may be closed during a call.
_awaiting_first_frame: WeakSet[RequestState] = WeakSet()


def _split_into_batches(frames: list[Frame]) -> list[list[Frame]]:
    """Split the frames of one read into batches, between which other calls can run.

    Otherwise, an event loop that cannot keep up with a thousand streams would yield all frames of the
    earliest streams before it reads the others. There are few batches, because each switch costs time.
    """
    if len(frames) == 1 or not _awaiting_first_frame:
        return [frames]
    batches = [[frame] for frame in frames[:_MAX_SINGLE_FRAMES]]
    return [*batches, frames[_MAX_SINGLE_FRAMES:]] if len(frames) > _MAX_SINGLE_FRAMES else batches


class Transport:
    """Sends requests with the settings of one model; cheap to create and safe to share."""

    def __init__(self, fields: ConnectionFields, connection: Connection) -> None:
        self._fields = fields
        self.connection = connection

    def stream(self, request: ServiceRequest, on_send: OnSend | None = None) -> Generator[list[Frame]]:
        """Send a request and yield the frames of the response as they arrive.

        Each list contains the frames that one read completes, usually one frame. Closing the iterator
        closes the response. `on_send` receives True before the request is sent, and False before a
        retry of a request that did not run.

        Raises:
            BailianError: The service or the network failed.
            ValueError: The settings are invalid; nothing was sent.
        """
        state = RequestState(self._fields, self.connection, request, on_send)
        context = CallContext(state.deadline)
        response: httpx.Response | None = None
        try:
            response = self._open(state, context)
            state.on_headers(response)
            for data in response.iter_bytes():
                if frames := state.feed(data):
                    yield frames
                state.on_consumed()
                if state.grace_period_over:
                    break
            if frames := state.end():
                yield frames
            state.on_consumed()
        except httpx.RequestError as exc:
            state.on_disconnect(exc)
        finally:
            data = b""  # error trackers record variables, and the service may repeat the request
            if response is not None:
                response.close()
                state.log()
            context.close_body()
        state.on_consumed()

    def fetch(self, request: ServiceRequest, on_send: OnSend | None = None) -> Frame:
        """Send a request and return the only frame of its response; see `stream`.

        Raises:
            BailianError: The service or the network failed.
        """
        with closing(self.stream(request, on_send)) as batches:
            return next(batches)[0]

    async def afetch(self, request: ServiceRequest, on_send: OnSend | None = None) -> Frame:
        """Async version of `fetch`."""
        async with aclosing(self.astream(request, on_send)) as batches:
            return (await anext(batches))[0]

    async def astream(
        self, request: ServiceRequest, on_send: OnSend | None = None
    ) -> AsyncGenerator[list[Frame]]:
        """Async version of `stream`."""
        state = RequestState(self._fields, self.connection, request, on_send)
        _awaiting_first_frame.add(state)
        try:
            response = await self._aopen(state)
        except BaseException:
            _awaiting_first_frame.discard(state)
            raise
        timer = ReadTimer(state.deadline)
        try:
            state.on_headers(response)
            async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_bytes())) as chunks:
                while (data := await state.read_chunk(chunks, timer)) is not None:
                    if frames := state.feed(data):
                        _awaiting_first_frame.discard(state)
                        for batch in _split_into_batches(frames):
                            yield batch
                            if batch is not frames:
                                await asyncio.sleep(0)
                    state.on_consumed()
            if frames := state.end():
                yield frames
            state.on_consumed()
        except NETWORK_ERRORS as exc:
            state.on_disconnect(exc)
        finally:
            data = b""
            timer.cancel()
            _awaiting_first_frame.discard(state)
            await response.aclose()
            state.log()
        state.on_consumed()

    def _open(self, state: RequestState, context: CallContext) -> httpx.Response:
        if self._fields.http_client is not None:
            transport: Any = client_pool.create_dashscope_transport(self._fields.http_client)
        else:
            transport = client_pool.get_dashscope_transport(
                loopback=is_loopback(self.connection.base_url),
                max_connections=self._fields.max_connections,
            )
        while True:
            try:
                with context.apply():
                    response: httpx.Response = transport.open_stream(**state.open_stream_kwargs())
            except (DashScopeError, httpx.RequestError) as exc:
                state.on_failure(exc)
            else:
                return response
            time.sleep(state.retry_delay())

    async def _aopen(self, state: RequestState) -> httpx.Response:
        if self._fields.http_async_client is not None:
            transport: Any = client_pool.create_async_dashscope_transport(
                self._fields.http_async_client
            )
        else:
            transport = client_pool.get_async_dashscope_transport(
                loopback=is_loopback(self.connection.base_url),
                max_connections=self._fields.max_connections,
            )
        while True:
            try:
                response: httpx.Response = await state.with_deadline(
                    transport.open_stream(**state.open_stream_kwargs())
                )
            except BailianError:
                raise  # `total_timeout` has expired
            except (DashScopeError, *NETWORK_ERRORS) as exc:
                state.on_failure(exc)
            else:
                return response
            await asyncio.sleep(state.retry_delay())
