"""A relay in front of the emulator: as an HTTP or SOCKS proxy, or as a server with TLS."""

from __future__ import annotations

import asyncio
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine

T = TypeVar("T")


class Forwarder:
    """Relays connections to a port on loopback, in a thread of its own.

    Args:
        port: Where to relay to.
        tls: Makes it a server with TLS.
        origin: What a client of a proxy puts in front of a path, to be taken away.
        socks: Makes it a SOCKS5 proxy, which leads to the port wherever it is asked to go.
        tunnel: Makes it a proxy for TLS, which answers CONNECT with this status.
    """

    def __init__(
        self,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        origin: str = "",
        socks: bool = False,
        tunnel: int | None = None,
    ) -> None:
        self._target = port
        self._tls = tls
        self._socks = socks
        self._tunnel = tunnel
        self._origin = origin.encode()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.connections = self.open = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._relay, "127.0.0.1", 0, ssl=self._tls))
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        if self._socks:
            await self._let_in(reader, writer)
        if self._tunnel is not None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 %d Told so\r\n\r\n" % self._tunnel)
            if self._tunnel != HTTPStatus.OK:
                writer.close()
                return
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
        except OSError:
            pass  # either side has gone
        except asyncio.CancelledError:  # the loop ends: no time for farewells
            back.transport.abort()
            writer.transport.abort()
            raise
        finally:
            self.open -= 1
            back.close()
            writer.close()

    async def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak the beginning of RFC 1928: no credentials, a host by its name."""
        _version, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        *_command, length = await reader.readexactly(5)
        await reader.readexactly(length + 2)
        writer.write(b"\x05\x00\x00\x01" + bytes(6))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data.replace(b"POST " + self._origin, b"POST ") if self._origin else data)
            await writer.drain()
        writer.close()
