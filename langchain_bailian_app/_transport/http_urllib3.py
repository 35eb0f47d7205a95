"""HTTP transport over urllib3 for calls from threads.

httpx's own pool may close a connection that it has just assigned to another thread. The call on that
thread then hangs until it times out (https://github.com/encode/httpcore/issues/1110). Reading through
the pool also costs twice as much.

This module passes responses from urllib3 to httpx, converts errors to httpx's classes, limits
concurrent calls and applies the deadline of a call from connecting to the last byte.
"""

from __future__ import annotations

import io
import math
import socket
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache, partial
from http.client import HTTPException, HTTPResponse
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import httpx
import urllib3

# Not from `urllib3.connection`, whose classes vcrpy replaces while a cassette is in use.
from urllib3.connectionpool import (  # type: ignore[attr-defined]
    HTTPConnection,
    HTTPSConnection,
)
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util import make_headers

from langchain_bailian_app._transport.call_context import current_context
from langchain_bailian_app._transport.content_decoding import decode_response
from langchain_bailian_app._transport.fair_semaphore import FairSemaphore, Slot
from langchain_bailian_app._transport.http_base import (
    MAX_INTERIM_RESPONSES,
    Client,
    create_proxy_mounts,
    is_interim,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from langchain_bailian_app._transport.deadline import Deadline

_MAX_POOLS = 100  # one for each host; urllib3's default is 10
_MAX_READ_BYTES = 2**16
_MAX_SEND_BYTES = 2**14  # one TLS record: a socket's timeout covers one record, or all data without TLS
_MIN_ERROR_STATUS = 400
_NO_TIMEOUT = 86_400.0  # seconds; sockets do not accept infinity
_TIMEOUT_TOLERANCE = 0.01  # seconds


class Urllib3Client(Client):
    """An `httpx.Client` over urllib3 with at most `max_connections` concurrent calls.

    It closes a connection that has been idle for `max_idle_seconds`. The default is that of httpx.
    """

    def __init__(
        self,
        *,
        max_connections: int,
        max_idle_seconds: float = 5.0,
        verify: ssl.SSLContext | None = None,
        trust_env: bool = True,
        **settings: Any,
    ) -> None:
        self.slots = FairSemaphore(max_connections)
        create_transport = partial(Urllib3Transport, self.slots, max_idle_seconds, verify)
        super().__init__(
            transport=create_transport(),
            mounts=create_proxy_mounts(create_transport) if trust_env else None,
            **settings,
        )


class Urllib3Transport(httpx.BaseTransport):
    """A transport whose calls wait for a free slot; several transports can share the slots."""

    def __init__(
        self,
        slots: FairSemaphore,
        max_idle_seconds: float = 5.0,
        verify: ssl.SSLContext | None = None,
        proxy: httpx.Proxy | None = None,
    ) -> None:
        self._slots = slots
        self._has_proxy = proxy is not None
        self._pool_manager = _create_pool_manager(max_idle_seconds, verify, proxy)
        # The manager builds a key from all of its settings each time it looks for a pool.
        self._find_pool = lru_cache(_MAX_POOLS)(self._pool_manager.connection_from_url)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response, whose body is still to be read.

        Raises:
            httpx.TransportError: The request failed.
        """
        context = current_context()
        limits = _Limits(context.deadline, request.extensions["timeout"])
        request.read()
        # Ctrl-C may interrupt this function anywhere: the slot exists before it is acquired, and the
        # context of the call can close the body before this function ends.
        slot = Slot(self._slots)
        try:
            _acquire(slot, limits)
            token = _current_limits.set(limits)
            try:
                with _translate_errors():
                    raw = self._open_url(
                        request.method,
                        request.url,
                        headers={name.decode("ascii"): value for name, value in request.headers.raw},
                        body=request.content or None,
                        timeout=urllib3.Timeout(connect=limits.connect, read=limits.read),
                        retries=False,
                        redirect=False,
                        preload_content=False,
                        decode_content=False,
                    )
            finally:
                _current_limits.reset(token)
            # The wait for a complete error body is limited, that for a complete answer is not.
            limits.start_phase(limits.read if raw.status >= _MIN_ERROR_STATUS else math.inf)
            context.body = body = _ResponseBody(raw, slot)
            return decode_response(
                httpx.Response(
                    raw.status,
                    headers=[
                        (name.encode("latin-1"), value.encode("latin-1"))
                        for name, value in raw.headers.items()
                    ],
                    stream=body,
                )
            )
        except BaseException:
            slot.release()
            raise

    def _open_url(self, method: str, url: httpx.URL, **kwargs: Any) -> urllib3.BaseHTTPResponse:
        if self._has_proxy:
            return self._pool_manager.urlopen(method, str(url), **kwargs)
        pool = self._find_pool(f"{url.scheme}://{url.netloc.decode('ascii')}")
        return pool.urlopen(method, url.raw_path.decode("ascii"), **kwargs)

    def close(self) -> None:
        """Close the idle connections."""
        self._find_pool.cache_clear()
        self._pool_manager.clear()


def _acquire(slot: Slot, limits: _Limits) -> None:
    if not slot.acquire(min(limits.pool, limits.deadline.remaining())):
        message = "too many concurrent calls"
        raise httpx.PoolTimeout(message)


class _Limits:
    """The deadline of a call, its timeouts, and the end of its current phase.

    The phases are connecting, sending the request, and the waits for the head of the response and for
    an error body. The timeout of a socket only limits the wait for the next byte.
    """

    def __init__(self, deadline: Deadline, timeouts: dict[str, float | None]) -> None:
        self.deadline = deadline
        self.connect, self.read, self.write, self.pool = (
            _NO_TIMEOUT if (seconds := timeouts[name]) is None else seconds
            for name in ("connect", "read", "write", "pool")
        )
        self._phase_ends_at = math.inf

    def start_phase(self, seconds: float) -> None:
        """Let the next phase take at most this long."""
        self._phase_ends_at = time.monotonic() + seconds

    def time_left(self) -> float:
        """Return the seconds that are left for the current phase.

        Raises:
            TimeoutError: No time is left.
        """
        seconds = min(self._phase_ends_at, self.deadline.expires_at) - time.monotonic()
        if seconds <= 0:
            message = "timed out"
            raise TimeoutError(message)
        return min(seconds, _NO_TIMEOUT)


# urllib3 passes a connection no more than its timeout.
_current_limits: ContextVar[_Limits] = ContextVar("current_limits")


class _ResponseBody(httpx.SyncByteStream):
    """The body of a response; closing it frees the slot of its call."""

    _is_closed = True

    def __init__(self, raw: urllib3.BaseHTTPResponse, slot: Slot) -> None:
        self._raw = raw
        self._slot = slot
        self._is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        with _translate_errors():
            while data := self._raw.read1(_MAX_READ_BYTES):
                yield data

    def close(self) -> None:
        if self._is_closed:
            return
        try:
            self._raw.close()
            if isinstance(self._raw, urllib3.BaseHTTPResponse):  # vcrpy's responses have no connection
                self._raw.release_conn()
        finally:
            self._slot.release()
        self._is_closed = True

    def __del__(self) -> None:
        # If Ctrl-C interrupts httpx before the response reaches its consumer, nothing else closes it.
        self.close()


class _SocketReader(io.RawIOBase):
    """Reads a response from a socket, for at most the time that its limits leave."""

    def __init__(self, sock: socket.socket, limits: _Limits) -> None:
        super().__init__()
        self._file = sock.makefile("rb", buffering=0)  # the socket stays open until this is closed
        self._socket = sock
        self._limits = limits
        self._timeout = sock.gettimeout() or _NO_TIMEOUT

    def makefile(self, _: str) -> io.BufferedReader:
        """Return a buffered reader: `HTTPResponse` expects a socket."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        seconds = min(self._limits.read, self._limits.time_left())
        # Each change of a timeout is a system call, so a timeout may be a little late.
        if not 0 <= self._timeout - seconds <= _TIMEOUT_TOLERANCE:
            self._timeout = seconds + _TIMEOUT_TOLERANCE / 2
            self._socket.settimeout(self._timeout)
        return self._socket.recv_into(buffer)

    def close(self) -> None:
        super().close()
        self._file.close()


class _Response(HTTPResponse):
    _head_count = 0

    def begin(self, *args: Any, **kwargs: Any) -> None:
        """Read the head of the response and skip interim responses; Python only skips status 100."""
        super().begin(*args, **kwargs)
        while is_interim(self.status):
            self.headers = None  # type: ignore[assignment]  # makes `begin` read again
            super().begin(*args, **kwargs)

    def _read_status(self) -> tuple[str, int, str]:
        self._head_count += 1
        if self._head_count > MAX_INTERIM_RESPONSES + 1:
            message = f"more than {MAX_INTERIM_RESPONSES} interim responses"
            raise HTTPException(message)
        status: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
        return status


class _SocketConnection(HTTPConnection):
    idle_since: float
    _unsent: list[bytes] | None = None  # the beginning of a request that is not complete

    def response_class(  # type: ignore[override]
        self, sock: socket.socket, *args: Any, **kwargs: Any
    ) -> _Response:
        """Return a response that reads from this socket."""
        reader: Any = _SocketReader(sock, _current_limits.get())
        return _Response(reader, *args, **kwargs)

    def connect(self) -> None:
        """Connect to the server; an error here means that nothing was sent."""
        try:
            super().connect()
        except (HTTPError, HTTPException, OSError, UnicodeError) as exc:
            error_class: type[httpx.RequestError] = httpx.ConnectError
            if isinstance(exc.__cause__ or exc, TimeoutError):
                error_class = httpx.ConnectTimeout
            elif str(exc).startswith("Tunnel connection failed"):
                error_class = httpx.ProxyError
            raise error_class(_describe_cause(exc)) from exc
        limits = _current_limits.get()
        limits.start_phase(limits.write)

    def _new_conn(self) -> socket.socket:
        """Return a socket that is connected to one of the addresses of the host.

        urllib3 would apply the timeout to each address, and not to the name resolution.
        """
        limits = _current_limits.get()
        limits.start_phase(limits.connect)
        addresses = _resolve(self._dns_host, self.port, limits.time_left())
        error: OSError | None = None
        try:
            for index, (family, kind, protocol, _, address) in enumerate(addresses):
                try:
                    sock = socket.socket(family, kind, protocol)
                except OSError as exc:  # no support for IPv6
                    error = exc
                    continue
                try:
                    for option in self.socket_options or ():
                        sock.setsockopt(*option)
                    sock.settimeout(limits.time_left() / (len(addresses) - index))
                    sock.connect(address)
                    sock.settimeout(limits.time_left())  # for the TLS handshake
                except OSError as exc:
                    sock.close()
                    error = exc
                else:
                    return sock
            raise error or OSError(f"no address found for {self.host}")
        finally:
            del error  # otherwise it would refer to itself through its traceback

    def _tunnel(self) -> None:
        """Open a tunnel through the proxy."""
        super()._tunnel()
        self.sock.settimeout(_current_limits.get().time_left())  # for the TLS handshake

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request, with its head and a short body in one system call."""
        self.__dict__["is_in_use"] = True
        limits = _current_limits.get()
        limits.start_phase(limits.write)
        self._unsent = []
        super().request(*args, **kwargs)
        self._flush()

    def send(self, data: bytes) -> None:  # type: ignore[override]
        """Send data, or keep it until the request is complete."""
        if self._unsent is None:
            self._send_all(data)
            return
        self._unsent.append(data)
        if len(data) > _MAX_SEND_BYTES:
            self._flush()

    def _flush(self) -> None:
        parts, self._unsent = self._unsent, None
        if parts:
            self._send_all(b"".join(parts))

    def _send_all(self, data: bytes) -> None:
        limits = _current_limits.get()
        if self.sock is None:
            self.connect()
        for start in range(0, len(data), _MAX_SEND_BYTES):
            self.sock.settimeout(limits.time_left())
            self.sock.sendall(data[start : start + _MAX_SEND_BYTES])

    def getresponse(self) -> Any:
        """Return the response as soon as its head is complete."""
        limits = _current_limits.get()
        limits.start_phase(limits.read)
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

    def qsize(self) -> int:
        """Return the number of idle connections; vcrpy needs it."""
        return len(self._connections)

    def get(self, **_: object) -> _SocketConnection:
        """Return the connection that was used last."""
        self._close_expired()
        try:
            return self._connections.pop()
        except IndexError:
            raise Empty from None

    def put(self, connection: _SocketConnection | None, *_: object, **__: object) -> None:
        """Add a connection that is idle from now on."""
        # If Ctrl-C interrupts urllib3 here, it returns a connection twice; two calls must not get it.
        if connection is None or not connection.__dict__.pop("is_in_use", False):
            return
        if _has_unread_data(connection.sock):
            connection.close()
        if not connection.is_closed:
            connection.idle_since = time.monotonic()
            self._connections.append(connection)
        self._close_expired()

    def _close_expired(self) -> None:
        # Gateways and NATs drop connections that are idle for long. A request that is lost this way
        # must not be sent again.
        with suppress(IndexError):
            while time.monotonic() - self._connections[0].idle_since >= self._max_idle_seconds:
                self._connections.popleft().close()


def _has_unread_data(sock: Any) -> bool:
    """Return whether TLS has decrypted data that no one has read, such as a second response.

    urllib3 finds out whether data has arrived on a socket, but cannot see this.
    """
    tls = getattr(sock, "sslobj", sock)  # TLS inside TLS, to an HTTPS proxy
    return hasattr(tls, "pending") and bool(tls.pending())


class _Pool(urllib3.HTTPConnectionPool):
    def __init__(self, max_idle_seconds: float, *args: Any, **kwargs: Any) -> None:
        self.QueueCls: Any = partial(_LockFreeQueue, max_idle_seconds)
        super().__init__(*args, **kwargs)

    @property
    def ConnectionCls(self) -> Any:  # type: ignore[override]  # noqa: N802
        """Class of the connections; vcrpy replaces that of urllib3 while a cassette is in use."""
        current = urllib3.HTTPConnectionPool.ConnectionCls
        return _SocketConnection if current is HTTPConnection else current


class _TLSPool(_Pool, urllib3.HTTPSConnectionPool):
    @property
    def ConnectionCls(self) -> Any:  # type: ignore[override]  # noqa: N802
        """Class of the connections; vcrpy replaces that of urllib3 while a cassette is in use."""
        current = urllib3.HTTPSConnectionPool.ConnectionCls
        return _TLSConnection if current is HTTPSConnection else current


def _create_pool_manager(
    max_idle_seconds: float, ssl_context: ssl.SSLContext | None, proxy: httpx.Proxy | None
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


def _resolve(host: str, port: int, seconds: float) -> list[Any]:
    """Return the addresses of a host.

    `getaddrinfo` has no timeout, so another thread runs it. That thread may outlive the call.

    Raises:
        TimeoutError: The name resolution took longer than `seconds`.
        OSError: The host has no address.
    """
    results: SimpleQueue[list[Any] | Exception] = SimpleQueue()

    def resolve() -> None:
        try:
            results.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as exc:
            results.put(exc)

    try:
        threading.Thread(target=resolve, name="resolve", daemon=True).start()
    except RuntimeError:  # the interpreter shuts down, and Python 3.12 starts no more threads
        resolve()
    try:
        result = results.get(timeout=seconds)
    except Empty:
        message = f"resolving {host} timed out"
        raise TimeoutError(message) from None
    if isinstance(result, Exception):
        raise result
    return result


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
