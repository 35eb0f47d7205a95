"""Requests out, frames in: the two loops that wait for the service, in threads and on event loops.

dashscope's client sends the request, with our HTTP client, retries and timeouts; its response parser is
not used, since it loses text at U+2028 and takes a cut stream for a whole answer.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

import httpx
from dashscope.v2.errors import DashScopeError

from langchain_bailian_app._settings.base_url import is_loopback
from langchain_bailian_app._transport import client_pool
from langchain_bailian_app._transport.http_aiohttp import NETWORK_ERRORS
from langchain_bailian_app._transport.request_state import Call
from langchain_bailian_app.errors import BailianError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from langchain_bailian_app._answer.frames import Frame
    from langchain_bailian_app._request.body import ServiceRequest
    from langchain_bailian_app._settings.connection import ConnectionFields
    from langchain_bailian_app._transport.credentials import Connection

_TURNS = 5
# Calls on event loops whose first frame has not come; weak, as a loop may be closed under them.
_beginning: WeakSet[Call] = WeakSet()


def _shares(frames: list[Frame]) -> list[list[Frame]]:
    """Return what came at once, in shares between which other calls have their turn.

    A loop that cannot follow a thousand streams would show all that has come of those that began
    early before it looks at the others. The shares are few, since each change costs time.
    """
    if len(frames) == 1 or not _beginning:
        return [frames]
    shares = [[frame] for frame in frames[:_TURNS]]
    return [*shares, frames[_TURNS:]] if len(frames) > _TURNS else shares


class Transport:
    """Sends requests with the settings of one model; cheap to make, safe to share."""

    def __init__(self, fields: ConnectionFields, connection: Connection) -> None:
        self._fields = fields
        self._connection = connection

    def stream(self, request: ServiceRequest) -> Generator[list[Frame]]:
        """Send a request, yield the frames of the answer as they come; closing the iterator hangs up.

        A list is what one read has completed: most often one frame.

        Raises:
            BailianError: The service or the network failed.
            ValueError: The settings cannot work; nothing was sent.
        """
        call = Call(self._fields, self._connection, request)
        response = self._open(call)
        try:
            call.opened(response)
            wait_at_most = response.extensions.get("wait_at_most")
            for data in response.iter_bytes():
                if frames := call.feed(data):
                    yield frames
                call.taken()
                if wait_at_most and (patience := call.patience) is not None:
                    wait_at_most(patience)
            if frames := call.end():
                yield frames
            call.taken()
        except httpx.RequestError as exc:
            call.lost(exc)
        finally:
            response.close()
            call.log()

    async def astream(self, request: ServiceRequest) -> AsyncGenerator[list[Frame]]:
        """Do what `stream` does, on the running event loop."""
        call = Call(self._fields, self._connection, request)
        _beginning.add(call)
        try:
            response = await self._aopen(call)
        except BaseException:
            _beginning.discard(call)
            raise
        try:
            call.opened(response)
            async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_bytes())) as pieces:
                while (data := await call.piece(anext(pieces, None))) is not None:
                    if frames := call.feed(data):
                        _beginning.discard(call)
                        for share in _shares(frames):
                            yield share
                            if share is not frames:
                                await asyncio.sleep(0)
                    call.taken()
            if frames := call.end():
                yield frames
            call.taken()
        except NETWORK_ERRORS as exc:
            call.lost(exc)
        finally:
            _beginning.discard(call)
            await response.aclose()
            call.log()

    def _open(self, call: Call) -> httpx.Response:
        if self._fields.http_client is not None:
            transport: Any = client_pool.wrap(self._fields.http_client)
        else:
            transport = client_pool.transport(
                loopback=is_loopback(self._connection.base_url),
                max_connections=self._fields.max_connections,
            )
        while True:
            try:
                response: httpx.Response = transport.open_stream(**call.arguments())
            except (DashScopeError, httpx.RequestError) as exc:
                time.sleep(call.retry_in(exc))
            else:
                return response

    async def _aopen(self, call: Call) -> httpx.Response:
        if self._fields.http_async_client is not None:
            transport: Any = client_pool.awrap(self._fields.http_async_client)
        else:
            transport = await client_pool.async_transport(
                loopback=is_loopback(self._connection.base_url),
                max_connections=self._fields.max_connections,
            )
        while True:
            try:
                response: httpx.Response = await call.in_time(transport.open_stream(**call.arguments()))
            except BailianError:
                raise  # out of time, which is told already
            except (DashScopeError, *NETWORK_ERRORS) as exc:
                await asyncio.sleep(call.retry_in(exc))
            else:
                return response
