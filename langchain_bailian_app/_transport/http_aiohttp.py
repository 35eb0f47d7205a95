"""aiohttp's connections for httpx's asynchronous client, and what their failures mean.

httpx's own pool looks at every connection whenever one is taken or given back, and collapses beyond a
few hundred streams. httpx-aiohttp puts aiohttp in its place; what it leaves open is settled here: how
many calls may be in flight, a body that nobody takes, cookies, and failures by their right names.
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

_MAX_IDLE_SECONDS = 5.0  # for which an unused connection is kept, as in httpx
_MAX_SINGLE_WRITE_BYTES = 2**20  # aiohttp warns of a larger body that is sent at once

NETWORK_ERRORS = (httpx.RequestError, aiohttp.ClientError)
"""What a lost connection raises; httpx-aiohttp lets some of aiohttp's own errors through."""

NetworkError = httpx.RequestError | aiohttp.ClientError

# The first that fits. httpx-aiohttp calls refused, reset and broken connections alike a ConnectTimeout,
# but only of some of them it is certain that nothing was sent.
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
    """Return the error that httpx itself would have raised."""
    cause = error if isinstance(error, aiohttp.ClientError) else error.__cause__
    for aiohttp_class, httpx_class in _HTTPX_CLASS_BY_CAUSE:
        if isinstance(cause, aiohttp_class):
            # The text of a refused connection speaks of TLS, also where there is none.
            os_error = getattr(cause, "os_error", None)
            return httpx_class(str(os_error or cause))
    if isinstance(error, httpx.RequestError):
        return error
    raise AssertionError(error)  # the last entry fits all


class AiohttpClient(NoCookiesMixin, HttpxAiohttpClient):
    """An `httpx.AsyncClient` over aiohttp, with at most so many calls in flight."""

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
    """Keep them from where aiohttp deprecates to take them; it calls them Proxy-Authorization."""
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
        # No limit of its own: it would count connections, silently, and wait for the wrong timeout.
        connector = aiohttp.TCPConnector(
            limit=0, ssl=self.ssl_context, keepalive_timeout=_MAX_IDLE_SECONDS
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeouts: dict[str, float] = request.extensions["timeout"]
        await self._acquire_slot(timeouts["pool"])
        try:
            # aiohttp's name for the whole way to a connection, name resolution included.
            request.extensions["timeout"] = timeouts | {"pool": timeouts["connect"]}
            # The loop gets the chance to notice which idle connections the service has closed.
            await asyncio.sleep(0)
            # aiohttp waits for ever for a service that takes no more of the body.
            async with asyncio.timeout(timeouts["connect"] + timeouts["write"] + timeouts["read"]):
                response = await super().handle_async_request(_chunk_body(request))
        except TimeoutError as exc:
            self._slots.release()
            message = "the request was not taken in time"
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
            message = "too many calls in flight"
            raise httpx.PoolTimeout(message) from exc


def _chunk_body(request: httpx.Request) -> httpx.Request:
    """Return a request whose body, an image in it for instance, does not hold up the loop."""
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
    """The body of a reply; its end makes room for another call."""

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
