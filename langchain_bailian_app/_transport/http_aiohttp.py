"""HTTP transport over aiohttp for calls on event loops.

httpx's own pool scans all connections whenever one is acquired or released, and collapses beyond a few
hundred streams. httpx-aiohttp replaces it with aiohttp. This module adds the features that
httpx-aiohttp lacks: a limit on concurrent calls, a timeout for a request body that the server does not
read, a client without cookies, and the httpx error class that matches a failure.
"""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport, HttpxAiohttpClient

from langchain_bailian_app._transport.http_base import NoCookiesMixin, iter_chunks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_MAX_IDLE_SECONDS = 5.0  # an idle connection is kept this long, as in httpx
_MAX_SINGLE_WRITE_BYTES = 2**20  # aiohttp warns if a larger body is sent at once

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


class AiohttpClient(NoCookiesMixin, HttpxAiohttpClient):
    """An `httpx.AsyncClient` over aiohttp with at most `max_connections` concurrent calls."""

    def __init__(self, *, max_connections: int, **settings: Any) -> None:
        self._slots = asyncio.Semaphore(max_connections)
        super().__init__(**settings)

    def _init_transport(self, verify: Any = True, **_: Any) -> httpx.AsyncBaseTransport:  # type: ignore[override]
        return _Transport(self._slots, verify=verify)

    def _init_proxy_transport(  # type: ignore[override]
        self, proxy: httpx.Proxy, verify: Any = True, **_: Any
    ) -> httpx.AsyncBaseTransport:
        return _Transport(self._slots, verify=verify, proxy=_move_credentials_to_header(proxy))


def _move_credentials_to_header(proxy: httpx.Proxy) -> httpx.Proxy:
    """Move credentials to a header, which aiohttp sends as Proxy-Authorization.

    httpx-aiohttp would pass them as `proxy_auth`, which aiohttp deprecates.
    """
    if proxy.auth is None:
        return proxy
    credentials = base64.b64encode(":".join(proxy.auth).encode()).decode()
    headers = {**proxy.headers, "Authorization": f"Basic {credentials}"}
    return httpx.Proxy(proxy.url, headers=headers)


class _Transport(AiohttpTransport):
    def __init__(self, slots: asyncio.Semaphore, **settings: Any) -> None:
        super().__init__(**settings)
        self._slots = slots

    def get_client(self) -> aiohttp.ClientSession:
        # A limit here would silently count connections instead of calls, and apply the wrong timeout.
        connector = aiohttp.TCPConnector(
            limit=0, ssl=self.ssl_context, keepalive_timeout=_MAX_IDLE_SECONDS
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeouts: dict[str, float] = request.extensions["timeout"]
        await self._acquire_slot(timeouts["pool"])
        try:
            # aiohttp applies `pool` to the entire connection setup, including name resolution.
            request.extensions["timeout"] = timeouts | {"pool": timeouts["connect"]}
            # Lets the loop detect idle connections that the service has closed.
            await asyncio.sleep(0)
            # aiohttp waits indefinitely for a server that stops reading the body.
            async with asyncio.timeout(timeouts["connect"] + timeouts["write"] + timeouts["read"]):
                response = await super().handle_async_request(_chunk_body(request))
        except TimeoutError as exc:
            self._slots.release()
            message = "the request could not be sent in time"
            raise httpx.WriteTimeout(message) from exc
        except BaseException:
            self._slots.release()
            raise
        response.stream = _ResponseBody(response.stream, self._slots)
        return response

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
