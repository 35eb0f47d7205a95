"""Relay in front of the emulator: an HTTP or SOCKS proxy, or a server with TLS."""

from __future__ import annotations

import asyncio
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine

T = TypeVar("T")


class ProxyServer:
    """A server that relays connections to a port on loopback, in a separate thread.

    Args:
        target_port: The port to relay to.
        tls: Act as a server with TLS.
        origin: The origin that clients of an HTTP proxy send before the path; it is removed.
        socks: Act as a SOCKS5 proxy that connects to the port, regardless of the requested address.
        connect_status: Act as an HTTP proxy for TLS that answers CONNECT with this status.
    """

    def __init__(
        self,
        target_port: int,
        *,
        tls: ssl.SSLContext | None = None,
        origin: str = "",
        socks: bool = False,
        connect_status: int | None = None,
    ) -> None:
        self._target_port = target_port
        self._tls = tls
        self._socks = socks
        self._connect_status = connect_status
        self._origin = origin.encode()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.connection_count = self.open_connections = 0

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
        self.connection_count += 1
        self.open_connections += 1
        if self._socks:
            await self._socks_handshake(reader, writer)
        if self._connect_status is not None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 %d Refused\r\n\r\n" % self._connect_status)
            if self._connect_status != HTTPStatus.OK:
                writer.close()
                return
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        try:
            await asyncio.gather(self._copy(reader, server_writer), self._copy(server_reader, writer))
        except OSError:
            pass  # one side has disconnected
        except asyncio.CancelledError:  # the loop stops: do not wait for the connections to close
            server_writer.transport.abort()
            writer.transport.abort()
            raise
        finally:
            self.open_connections -= 1
            server_writer.close()
            writer.close()

    async def _socks_handshake(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer the handshake of RFC 1928, without credentials and with a host name."""
        _version, method_count = await reader.readexactly(2)
        await reader.readexactly(method_count)
        writer.write(b"\x05\x00")
        *_command, length = await reader.readexactly(5)
        await reader.readexactly(length + 2)
        writer.write(b"\x05\x00\x00\x01" + bytes(6))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data.replace(b"POST " + self._origin, b"POST ") if self._origin else data)
            await writer.drain()
        writer.close()
