"""urllib3's connections for httpx's client in threads, and what their failures mean.

httpx's own pool may close a connection that it has just promised to another thread, whose call then
hangs until it times out (https://github.com/encode/httpcore/issues/1110), and reading through it costs
twice as much. Here replies go from urllib3 to httpx, failures get httpx's names, and calls in flight
are counted.
"""

from __future__ import annotations

from contextlib import contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

import httpx
import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError

from langchain_bailian_app._transport.cookies import Client
from langchain_bailian_app._transport.turns import Turns
from langchain_bailian_app._transport.urllib3_pools import Pieces, pools, reason

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

_READ = 2**16  # bytes at most


class Urllib3Client(Client):
    """An `httpx.Client` over urllib3, with at most so many calls in flight."""

    def __init__(self, *, max_connections: int, **settings: Any) -> None:
        self._slots = Turns(max_connections)
        super().__init__(**settings)

    def _init_transport(self, verify: Any = True, **_: Any) -> httpx.BaseTransport:  # type: ignore[override]
        return _Transport(pools(verify), self._slots)

    def _init_proxy_transport(  # type: ignore[override]
        self, proxy: httpx.Proxy, verify: Any = True, **_: Any
    ) -> httpx.BaseTransport:
        return _Transport(pools(verify, proxy), self._slots)


class _Transport(httpx.BaseTransport):
    def __init__(self, connections: urllib3.PoolManager, slots: Turns) -> None:
        self._pools = connections
        self._slots = slots

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        told: dict[str, float] = request.extensions["timeout"]
        content = request.read()
        if not self._slots.acquire(told["pool"]):
            message = "too many calls in flight"
            raise httpx.PoolTimeout(message)
        try:
            with _as_httpx():
                raw = self._pools.urlopen(
                    request.method,
                    str(request.url),
                    headers={name.decode("ascii"): value for name, value in request.headers.raw},
                    body=Pieces(content, told["write"]) if content else None,
                    timeout=urllib3.Timeout(connect=told["connect"], read=told["read"]),
                    retries=False,
                    redirect=False,
                    preload_content=False,
                )
        except BaseException:
            self._slots.release()
            raise
        body = _Body(raw, self._slots)
        return httpx.Response(
            raw.status,
            headers=[
                (name.encode("latin-1"), value.encode("latin-1"))
                for name, value in raw.headers.iteritems()
            ],
            stream=body,
            extensions={"wait_at_most": body.wait_at_most},
        )

    def close(self) -> None:
        self._pools.clear()


class _Body(httpx.SyncByteStream):
    """The body of a reply; its end makes room for another call."""

    _slots: Turns | None = None

    def __init__(self, raw: urllib3.BaseHTTPResponse, slots: Turns) -> None:
        self._raw = raw
        connection: Any = raw.connection
        self._socket: socket.socket = connection.reading
        self._slots = slots

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx():
            while data := self._raw.read1(_READ, decode_content=False):
                yield data

    def wait_at_most(self, seconds: float) -> None:
        """Change how long the next bytes may take."""
        # After the end of a reply its connection may be in use by another call.
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
        # If Ctrl-C comes between here and whoever closes it, httpx drops a reply as it is.
        self.close()


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Raise the errors that httpx itself would have raised."""
    try:
        yield
    except ReadTimeoutError as exc:
        raise httpx.ReadTimeout(reason(exc)) from exc
    except HTTPError as exc:
        cause = exc.args[-1]  # what urllib3 wraps
        if isinstance(cause, TimeoutError):
            raise httpx.WriteTimeout(str(cause)) from exc
        lost = isinstance(cause, OSError) and not isinstance(cause, HTTPException)
        raise (httpx.ReadError if lost else httpx.RemoteProtocolError)(str(cause)) from exc
