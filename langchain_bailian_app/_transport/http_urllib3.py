"""HTTP transport over urllib3 for calls from threads.

httpx's own pool may close a connection that it has just assigned to another thread. The call on that
thread then hangs until it times out (https://github.com/encode/httpcore/issues/1110). Reading through
the pool also costs twice as much.

This module passes responses from urllib3 to httpx, converts errors to httpx's classes and limits
concurrent calls.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPException, HTTPResponse
from queue import Empty
from typing import TYPE_CHECKING, Any

import httpx
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util import make_headers

from langchain_bailian_app._transport.fair_semaphore import FairSemaphore
from langchain_bailian_app._transport.http_base import Client, iter_chunks

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterator

_MAX_POOLS = 100  # one for each host; urllib3's default is 10
_MAX_READ_BYTES = 2**16
_MIN_FINAL_STATUS = 200  # lower statuses are interim responses


class Urllib3Client(Client):
    """An `httpx.Client` over urllib3 with at most `max_connections` concurrent calls.

    It closes a connection that has been idle for `max_idle_seconds`. The default is that of httpx.
    """

    def __init__(self, *, max_connections: int, max_idle_seconds: float = 5.0, **settings: Any) -> None:
        self._slots = FairSemaphore(max_connections)
        self._max_idle_seconds = max_idle_seconds
        super().__init__(**settings)

    def _init_transport(self, verify: Any = True, **_: Any) -> httpx.BaseTransport:  # type: ignore[override]
        return _Transport(_create_pool_manager(verify, self._max_idle_seconds), self._slots)

    def _init_proxy_transport(  # type: ignore[override]
        self, proxy: httpx.Proxy, verify: Any = True, **_: Any
    ) -> httpx.BaseTransport:
        return _Transport(_create_pool_manager(verify, self._max_idle_seconds, proxy), self._slots)


class _Transport(httpx.BaseTransport):
    def __init__(self, pool_manager: urllib3.PoolManager, slots: FairSemaphore) -> None:
        self._pool_manager = pool_manager
        self._slots = slots

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        timeouts: dict[str, float] = request.extensions["timeout"]
        content = request.read()
        if not self._slots.acquire(timeouts["pool"]):
            message = "too many concurrent calls"
            raise httpx.PoolTimeout(message)
        try:
            with _translate_errors():
                raw = self._pool_manager.urlopen(
                    request.method,
                    str(request.url),
                    headers={name.decode("ascii"): value for name, value in request.headers.raw},
                    body=_BodySlices(content, timeouts["write"]) if content else None,
                    timeout=urllib3.Timeout(connect=timeouts["connect"], read=timeouts["read"]),
                    retries=False,
                    redirect=False,
                    preload_content=False,
                )
        except BaseException:
            self._slots.release()
            raise
        body = _ResponseBody(raw, self._slots)
        return httpx.Response(
            raw.status,
            headers=[
                (name.encode("latin-1"), value.encode("latin-1"))
                for name, value in raw.headers.iteritems()
            ],
            stream=body,
            extensions={"set_read_timeout": body.set_read_timeout},
        )

    def close(self) -> None:
        self._pool_manager.clear()


class _ResponseBody(httpx.SyncByteStream):
    """The body of a response; closing it frees the slot of its call."""

    _slots: FairSemaphore | None = None

    def __init__(self, raw: urllib3.BaseHTTPResponse, slots: FairSemaphore) -> None:
        self._raw = raw
        connection: Any = raw.connection
        self._socket: socket.socket = connection.response_socket
        self._slots = slots

    def __iter__(self) -> Iterator[bytes]:
        with _translate_errors():
            while data := self._raw.read1(_MAX_READ_BYTES, decode_content=False):
                yield data

    def set_read_timeout(self, seconds: float) -> None:
        """Set the timeout for the next bytes."""
        # After the end of the response, another call may use the connection.
        if not self._raw.closed:
            self._socket.settimeout(seconds)

    def close(self) -> None:
        slots, self._slots = self._slots, None
        if slots is not None:
            try:
                self._raw.close()
                self._raw.release_conn()
            finally:
                slots.release()

    def __del__(self) -> None:
        # If Ctrl-C interrupts httpx before the response reaches its consumer, nothing else closes it.
        self.close()


class _BodySlices:
    """A body that is sent in chunks, because a socket's timeout covers all data of one send call."""

    def __init__(self, content: bytes, timeout: float) -> None:
        self._content = content
        self.timeout = timeout

    def __iter__(self) -> Iterator[bytes]:
        return iter_chunks(self._content)


class _Response(HTTPResponse):
    def begin(self, *args: Any, **kwargs: Any) -> None:
        """Read the head of the response and skip interim responses; Python only skips status 100."""
        super().begin(*args, **kwargs)
        while self.status < _MIN_FINAL_STATUS:
            self.headers = None  # type: ignore[assignment]  # makes `begin` read again
            super().begin(*args, **kwargs)


class _SocketConnection(HTTPConnection):
    response_class = _Response
    idle_since: float
    response_socket: socket.socket

    def connect(self) -> None:
        """Connect to the server; an error here means that nothing was sent."""
        try:
            super().connect()
        except (HTTPError, HTTPException, OSError) as exc:
            error_class: type[httpx.RequestError] = httpx.ConnectError
            if isinstance(exc.__cause__ or exc, TimeoutError):
                error_class = httpx.ConnectTimeout
            elif str(exc).startswith("Tunnel connection failed"):
                error_class = httpx.ProxyError
            raise error_class(_describe_cause(exc)) from exc

    def request(self, method: str, url: str, body: Any = None, *args: Any, **kwargs: Any) -> None:
        """Send a request; as in httpx, the write timeout applies to each chunk of the body."""
        if isinstance(body, _BodySlices):
            if self.sock is None:
                self.connect()
            self.timeout = body.timeout
        super().request(method, url, body, *args, **kwargs)

    def getresponse(self) -> Any:
        """Return the response and store its socket, which only the response may own from now on."""
        self.response_socket = self.sock
        return super().getresponse()


class _TLSConnection(_SocketConnection, HTTPSConnection):
    pass


class _LockFreeQueue:
    """Idle connections of a pool, in place of the `queue.LifoQueue` that urllib3 uses.

    A `LifoQueue` has a lock, which can cause a deadlock in two ways. The garbage collector may close an
    abandoned stream in the very thread that holds the lock, and closing a stream returns its
    connection. A fork copies the lock even if it is locked.
    """

    def __init__(self, max_idle_seconds: float, _: int) -> None:
        self._max_idle_seconds = max_idle_seconds
        self._connections: deque[_SocketConnection] = deque()

    def get(self, **_: object) -> _SocketConnection:
        self._close_expired()
        try:
            return self._connections.pop()
        except IndexError:
            raise Empty from None

    def put(self, connection: _SocketConnection | None, *_: object, **__: object) -> None:
        if connection is not None and not connection.is_closed:
            connection.idle_since = time.monotonic()
            self._connections.append(connection)
        self._close_expired()

    def _close_expired(self) -> None:
        # Gateways and NATs drop connections that are idle for long. A request that is lost this way
        # must not be sent again.
        with suppress(IndexError):
            while time.monotonic() - self._connections[0].idle_since >= self._max_idle_seconds:
                self._connections.popleft().close()


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _SocketConnection

    def __init__(self, max_idle_seconds: float, *args: Any, **kwargs: Any) -> None:
        self.QueueCls: Any = partial(_LockFreeQueue, max_idle_seconds)
        super().__init__(*args, **kwargs)


class _TLSPool(_Pool, urllib3.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


def _create_pool_manager(
    ssl_context: ssl.SSLContext, max_idle_seconds: float, proxy: httpx.Proxy | None = None
) -> urllib3.PoolManager:
    """Create the connection pools for all hosts, behind a proxy if there is one."""
    settings: dict[str, Any] = {"num_pools": _MAX_POOLS, "ssl_context": ssl_context}
    if proxy is None:
        manager = urllib3.PoolManager(**settings)
    else:
        headers = dict(proxy.headers)
        if proxy.auth is not None:
            # urllib3 encodes credentials in Latin-1; other clients use UTF-8.
            headers |= make_headers(proxy_basic_auth=":".join(proxy.auth).encode().decode("latin-1"))
        manager = urllib3.ProxyManager(str(proxy.url), proxy_headers=headers, **settings)
    pool_factories: dict[str, Any] = {
        "http": partial(_Pool, max_idle_seconds),
        "https": partial(_TLSPool, max_idle_seconds),
    }
    manager.pool_classes_by_scheme = pool_factories
    return manager


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Convert urllib3's errors to those that httpx's own transport would have raised."""
    try:
        yield
    except ReadTimeoutError as exc:
        raise httpx.ReadTimeout(_describe_cause(exc)) from exc
    except HTTPError as exc:
        cause = exc.args[-1]  # the error that urllib3 wraps
        if isinstance(cause, TimeoutError):
            raise httpx.WriteTimeout(str(cause)) from exc
        is_read_error = isinstance(cause, OSError) and not isinstance(cause, HTTPException)
        raise (httpx.ReadError if is_read_error else httpx.RemoteProtocolError)(str(cause)) from exc


def _describe_cause(exc: Exception) -> str:
    """Return the text of the original error; urllib3's text adds representations of objects."""
    return str(exc.__cause__ or exc)
