"""HTTP transport over aiohttp for calls on event loops.

httpx's own pool scans all connections whenever one is acquired or released, and collapses beyond a few
hundred streams. httpx-aiohttp replaces it with aiohttp. This module adds the features that
httpx-aiohttp lacks: a limit on concurrent calls, a timeout for a request body that the server does not
read, idle connections that accept no data, and the httpx error class that matches a failure.
"""

from __future__ import annotations

import asyncio
import base64
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from urllib3.util import wait_for_read

from langchain_bailian_app._transport.content_decoding import decode_response
from langchain_bailian_app._transport.http_base import (
    MAX_INTERIM_RESPONSES,
    AsyncClient,
    create_proxy_mounts,
    is_interim,
    iter_chunks,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterator

_MAX_IDLE_SECONDS = 5.0  # an idle connection is kept this long, as in httpx
_MAX_SINGLE_WRITE_BYTES = 2**20  # aiohttp warns if a larger body is sent at once

_head_timeout: ContextVar[float | None] = ContextVar("head_timeout", default=None)

NETWORK_ERRORS = (httpx.RequestError, aiohttp.ClientError)
"""Errors for a failed connection; httpx-aiohttp does not convert all of aiohttp's errors."""

NetworkError = httpx.RequestError | aiohttp.ClientError

# The first match counts. httpx-aiohttp raises ConnectTimeout for refused, reset and broken connections
# alike, but only some of these failures guarantee that nothing was sent.
_HTTPX_CLASS_BY_CAUSE: tuple[tuple[type[aiohttp.ClientError], type[httpx.RequestError]], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ClientHttpProxyError, httpx.ProxyError),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError),
    (aiohttp.ClientConnectionError, httpx.ReadError),
    (aiohttp.ClientError, httpx.RemoteProtocolError),
)


def to_httpx_error(error: NetworkError) -> httpx.RequestError:
    """Return the error that httpx's own transport would have raised."""
    cause = error if isinstance(error, aiohttp.ClientError) else error.__cause__
    for aiohttp_class, httpx_class in _HTTPX_CLASS_BY_CAUSE:
        if isinstance(cause, aiohttp_class):
            # aiohttp's text for a refused connection mentions TLS even if TLS is not used.
            os_error = getattr(cause, "os_error", None)
            return httpx_class(str(os_error or cause))
    if isinstance(error, httpx.RequestError):
        return error
    raise AssertionError(error)  # the last entry matches every error


class AiohttpClient(AsyncClient):
    """An `httpx.AsyncClient` over aiohttp with at most `max_connections` concurrent calls."""

    def __init__(
        self, *, max_connections: int, verify: ssl.SSLContext, trust_env: bool = True, **settings: Any
    ) -> None:
        create_transport = partial(LimitedAiohttpTransport, asyncio.Semaphore(max_connections), verify)
        super().__init__(
            transport=create_transport(),
            mounts=create_proxy_mounts(create_transport) if trust_env else None,
            **settings,
        )


def _move_credentials_to_header(proxy: httpx.Proxy) -> httpx.Proxy:
    """Move credentials to a header, which aiohttp sends as Proxy-Authorization.

    httpx-aiohttp would pass them as `proxy_auth`, which aiohttp deprecates.
    """
    if proxy.auth is None:
        return proxy
    credentials = base64.b64encode(":".join(proxy.auth).encode()).decode()
    headers = {**proxy.headers, "Authorization": f"Basic {credentials}"}
    return httpx.Proxy(proxy.url, headers=headers)


class LimitedAiohttpTransport(AiohttpTransport):
    """A transport whose calls wait for a free slot; several transports can share the slots."""

    def __init__(
        self, slots: asyncio.Semaphore, verify: ssl.SSLContext, proxy: httpx.Proxy | None = None
    ) -> None:
        super().__init__(
            verify=verify,
            proxy=None if proxy is None else _move_credentials_to_header(proxy),
            client=partial(_create_session, verify),
        )
        self._slots = slots

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeouts: dict[str, float] = request.extensions["timeout"]
        await self._acquire_slot(timeouts["pool"])
        try:
            # aiohttp applies `pool` to the entire connection setup, including name resolution.
            request.extensions["timeout"] = timeouts | {"pool": timeouts["connect"]}
            # aiohttp sends a large body while it waits for the head of the response.
            is_large = len(request.content) > _MAX_SINGLE_WRITE_BYTES
            token = _head_timeout.set(timeouts["read"] + timeouts["write"] * is_large)
            try:
                # aiohttp waits indefinitely for a server that stops reading the body.
                async with asyncio.timeout(timeouts["connect"] + timeouts["write"] + timeouts["read"]):
                    response = await super().handle_async_request(_chunk_body(request))
            finally:
                _head_timeout.reset(token)
        except TimeoutError as exc:
            self._slots.release()
            message = "the request could not be sent in time"
            raise httpx.WriteTimeout(message) from exc
        except BaseException:
            self._slots.release()
            raise
        response.stream = _ResponseBody(response.stream, self._slots)
        return decode_response(response)

    async def _acquire_slot(self, pool_timeout: float) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(pool_timeout):
                await self._slots.acquire()
        except TimeoutError as exc:
            message = "too many concurrent calls"
            raise httpx.PoolTimeout(message) from exc


def _create_session(ssl_context: ssl.SSLContext) -> aiohttp.ClientSession:
    # A limit here would silently count connections instead of calls, and apply the wrong timeout.
    connector = _Connector(limit=0, ssl=ssl_context, keepalive_timeout=_MAX_IDLE_SECONDS)
    session = aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), response_class=_Response
    )
    # aiohttp would repeat a GET or DELETE whose response is lost without the knowledge of the caller,
    # for whom the 404 of a second deletion is an error. There is no public option.
    session._retry_connection = False  # noqa: SLF001
    return session


class _Response(aiohttp.ClientResponse):
    """A response whose head must be complete in time, after a limited number of interim responses.

    aiohttp only limits the wait for the next byte.
    """

    async def start(self, connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        """Read the head of the response."""
        try:
            async with asyncio.timeout(_head_timeout.get()):
                with _limit_interim_responses(connection.protocol):
                    return await super().start(connection)
        except BaseException as exc:
            if connection.transport is not None:
                connection.transport.abort()  # aiohttp would first send the rest of its buffer
            if not isinstance(exc, TimeoutError):
                raise
            message = "the head of the response is incomplete"
            raise aiohttp.SocketTimeoutError(message) from exc


@contextmanager
def _limit_interim_responses(protocol: Any) -> Iterator[None]:
    """Count the heads that are read inside the `with` statement; aiohttp skips interim ones."""
    count = 0
    read = protocol.read

    async def read_and_count() -> Any:
        nonlocal count
        message, payload = await read()
        count += is_interim(message.code)
        if count > MAX_INTERIM_RESPONSES:
            text = f"more than {MAX_INTERIM_RESPONSES} interim responses"
            raise aiohttp.ClientPayloadError(text)
        return message, payload

    protocol.read = read_and_count
    try:
        yield
    finally:
        del protocol.read


class _Connector(aiohttp.TCPConnector):
    """A connector that reuses a connection only if no data has arrived on it since its last response.

    aiohttp would return such data, for example a response that the server has sent twice, as the
    response to the next request.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._event_loop = asyncio.get_running_loop()

    @property
    def closed(self) -> bool:
        """Whether the connector is closed, or belongs to a loop that has stopped.

        A session or a connector whose `closed` is false logs an error when it is collected. Here, they
        are only collected with a loop that was closed or dropped without closing its clients.
        """
        return super().closed or not self._event_loop.is_running()

    def __del__(self, *args: Any) -> None:
        if not self.closed:
            super().__del__(*args)

    async def connect(self, *args: Any, **kwargs: Any) -> aiohttp.connector.Connection:
        """Return an idle or a new connection."""
        if sys.platform == "win32":
            # Its loop reads in advance, and needs two turns to deliver the data.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        while True:
            connection = await super().connect(*args, **kwargs)
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None:
                return connection  # lost meanwhile; sending the request fails
            if isinstance(transport.get_protocol(), _IdleProtocol):
                # The loop may not have read the data yet.
                if protocol.should_close or wait_for_read(transport.get_extra_info("socket"), 0):
                    connection.close()
                    continue
                transport.set_protocol(protocol)
            connection.add_callback(partial(transport.set_protocol, _IdleProtocol(protocol)))
            return connection


class _IdleProtocol(asyncio.Protocol):
    """Protocol of an idle connection, in place of aiohttp's: it closes the connection on any data."""

    def __init__(self, aiohttp_protocol: Any) -> None:
        self._aiohttp_protocol = aiohttp_protocol

    def data_received(self, _: bytes) -> None:
        self._aiohttp_protocol.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._aiohttp_protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._aiohttp_protocol.pause_writing()

    def resume_writing(self) -> None:
        # The service may reply before it has read the complete request.
        self._aiohttp_protocol.resume_writing()


def _chunk_body(request: httpx.Request) -> httpx.Request:
    """Return a request that sends a large body, such as an image, without blocking the event loop."""
    if len(request.content) <= _MAX_SINGLE_WRITE_BYTES:
        return request
    return httpx.Request(
        request.method,
        request.url,
        headers=request.headers,
        stream=_BodySlices(request.content),
        extensions=request.extensions,
    )


class _BodySlices(httpx.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in iter_chunks(self._content):
            yield chunk


class _ResponseBody(httpx.AsyncByteStream):
    """The body of a response; closing it frees the slot of its call."""

    def __init__(self, stream: Any, slots: asyncio.Semaphore) -> None:
        self._stream = stream
        self._slots: asyncio.Semaphore | None = slots

    def __aiter__(self) -> AsyncIterator[bytes]:
        iterator: AsyncIterator[bytes] = aiter(self._stream)
        return iterator

    async def aclose(self) -> None:
        slots, self._slots = self._slots, None
        try:
            await self._stream.aclose()
        finally:
            if slots is not None:
                slots.release()
