"""urllib3's pools of connections, and what they leave open.

How long a connection is kept that no call uses, how long a body may take, replies before the reply, and
locks that the garbage collector may run into.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from queue import Empty
from typing import TYPE_CHECKING, Any

import httpx
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util import make_headers

from langchain_bailian_app._transport.pieces import pieces_of

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterator

_IDLE = 5.0  # seconds for which an unused connection is kept, as in httpx
_ORIGINS = 100  # pools, of one host each; urllib3 keeps ten
_FINAL = 200  # the lowest status of a reply that others do not go before


def pools(tls: ssl.SSLContext, proxy: httpx.Proxy | None = None) -> urllib3.PoolManager:
    """Return pools for all hosts, which are reached through a proxy if there is one."""
    settings: dict[str, Any] = {"num_pools": _ORIGINS, "ssl_context": tls}
    if proxy is None:
        manager = urllib3.PoolManager(**settings)
    else:
        headers = dict(proxy.headers)
        if proxy.auth is not None:
            # urllib3 writes credentials in Latin-1, everybody else in UTF-8.
            headers |= make_headers(proxy_basic_auth=":".join(proxy.auth).encode().decode("latin-1"))
        manager = urllib3.ProxyManager(str(proxy.url), proxy_headers=headers, **settings)
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
    return manager


class Pieces:
    """A body that is sent piece by piece: a timeout of a socket is one for all that is sent at once."""

    def __init__(self, content: bytes, patience: float) -> None:
        self._content = content
        self.patience = patience

    def __iter__(self) -> Iterator[bytes]:
        return pieces_of(self._content)


def reason(exc: Exception) -> str:
    """Return what the cause of an error says; urllib3 wraps it into representations of objects."""
    return str(exc.__cause__ or exc)


class _Reply(HTTPResponse):
    def begin(self, *args: Any, **options: Any) -> None:
        """Read the head of the reply, and whatever comes before it: Python skips 100 only."""
        super().begin(*args, **options)
        while self.status < _FINAL:
            self.headers = None  # type: ignore[assignment]  # not yet read
            super().begin(*args, **options)


class _Connection(HTTPConnection):
    response_class = _Reply
    idle_since: float
    reading: socket.socket

    def connect(self) -> None:
        """Connect; whatever fails here, nothing was sent to the service."""
        try:
            super().connect()
        except (HTTPError, HTTPException, OSError) as exc:
            name: type[httpx.RequestError] = httpx.ConnectError
            if isinstance(exc.__cause__ or exc, TimeoutError):
                name = httpx.ConnectTimeout
            elif str(exc).startswith("Tunnel connection failed"):
                name = httpx.ProxyError
            raise name(reason(exc)) from exc

    def request(self, method: str, url: str, body: Any = None, *args: Any, **options: Any) -> None:
        """Send a request, with as much time for each piece of its body as httpx would give."""
        if isinstance(body, Pieces):
            if self.sock is None:
                self.connect()
            self.timeout = body.patience
        super().request(method, url, body, *args, **options)

    def getresponse(self) -> Any:
        """Return a reply; it may own the socket from now on."""
        self.reading = self.sock
        return super().getresponse()


class _TLSConnection(_Connection, HTTPSConnection):
    pass


class _Unused:
    """Connections that no call uses; urllib3 takes a `queue.LifoQueue`.

    That has a lock. The garbage collector may close a stream that was dropped, which gives its
    connection back, in the very thread that holds the lock, and a fork copies it as it is.
    """

    def __init__(self, _: int) -> None:
        self._connections: deque[_Connection] = deque()

    def get(self, **_: object) -> _Connection:
        self._close_old()
        try:
            return self._connections.pop()
        except IndexError:
            raise Empty from None

    def put(self, connection: _Connection | None, *_: object, **__: object) -> None:
        if connection is not None and not connection.is_closed:
            connection.idle_since = time.monotonic()
            self._connections.append(connection)
        self._close_old()

    def _close_old(self) -> None:
        # Whatever stands between forgets a connection that is idle for long, and a request that is lost
        # there may not be sent again.
        with suppress(IndexError):
            while time.monotonic() - self._connections[0].idle_since >= _IDLE:
                self._connections.popleft().close()


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection
    QueueCls = _Unused  # type: ignore[assignment]  # whatever can get and put


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection
    QueueCls = _Unused  # type: ignore[assignment]  # whatever can get and put
