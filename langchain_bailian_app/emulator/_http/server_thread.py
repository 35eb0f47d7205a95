"""Server thread that runs uvicorn and can stop it at once. Nothing here is specific to Bailian.

uvicorn's own shutdown waits for clients and polls ten times a second, which would delay every test
that starts an emulator.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

_START_TIMEOUT = 10.0
_STOP_TIMEOUT = 0.5
_KEEP_ALIVE_SECONDS = 3600
_ACCEPT_YIELDS = 5


class ClientConnection:
    """Direct access to a client's connection, for what ASGI cannot send; only for the server thread.

    If the connection is already closed, the methods do nothing.
    """

    def __init__(self, server: "_ImmediateStopServer", client: tuple[str, int]) -> None:
        self._server = server
        self._client = client

    def close(self) -> None:
        """Close the connection once all written bytes are sent, without ending the response."""
        for protocol in self._find_protocols():
            protocol.transport.close()

    def write(self, data: bytes) -> None:
        """Write these bytes, unchanged."""
        for protocol in self._find_protocols():
            protocol.transport.write(data)

    async def drain(self) -> None:
        """Wait while the client does not read what was written."""
        for protocol in self._find_protocols():
            await protocol.flow.drain()

    def close_unless_reused(self, data: bytes, delay: float) -> None:
        """After `delay` seconds, write these bytes and close the connection.

        Call it right after the end of a response. It has no effect if the next request has arrived.
        """
        loop = asyncio.get_running_loop()
        for protocol in self._find_protocols():
            cycle = protocol.cycle
            if cycle.response_complete:  # otherwise, it is already that of the next request
                loop.call_later(delay, _close_if_same_cycle, protocol, cycle, data)

    def _find_protocols(self) -> list[H11Protocol]:
        return [
            protocol
            for protocol in self._server.server_state.connections
            if isinstance(protocol, H11Protocol)
            and protocol.transport.get_extra_info("peername") == self._client
        ]


FindConnection: TypeAlias = Callable[[tuple[str, int]], ClientConnection]
"""Function that takes the address and port of a client and returns its connection."""


def _close_if_same_cycle(protocol: H11Protocol, cycle: RequestResponseCycle, data: bytes) -> None:
    if protocol.cycle is cycle and not protocol.transport.is_closing():
        protocol.transport.write(data)
        protocol.transport.close()


class _ImmediateStopServer(uvicorn.Server):
    """Runs until `stop` is called, then drops all connections."""

    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self._ready.set()

    async def main_loop(self) -> None:
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        # asyncio leaks a connection if the server closes after accepting it, before `connection_made`.
        for listener in sockets or []:
            with suppress(NotImplementedError):  # on Windows
                loop.remove_reader(listener)
        for _ in range(_ACCEPT_YIELDS):
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        deadline = loop.time() + _STOP_TIMEOUT
        state = self.server_state
        while state.connections or state.tasks:
            for connection in list(state.connections):
                connection.transport.abort()
            if loop.time() > deadline:
                for task in state.tasks:
                    task.cancel()
                break
            await asyncio.sleep(0.001)

    def stop(self) -> None:
        """Make the server stop; may be called from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)


def _bind_listener(port: int) -> socket.socket:
    # asyncio disables Nagle's algorithm only for sockets with an explicit protocol. With the
    # algorithm, each response on a reused connection would be delayed by 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        raise
    return listener


class ServerThread:
    """A loopback server in a daemon thread. It accepts requests when the constructor returns.

    Args:
        build_app: Function that builds the application; it receives `find_connection`.
        port: Port on the loopback interface; 0 selects a free port.
    """

    def __init__(self, build_app: Callable[[FindConnection], ASGIApp], port: int) -> None:
        self._listener = _bind_listener(port)
        self.port: int = self._listener.getsockname()[1]
        ready = threading.Event()
        config = uvicorn.Config(
            build_app(self._find_connection),
            loop="asyncio",
            # The same parser everywhere, regardless of which packages are installed.
            http="h11",
            ws="none",
            lifespan="off",
            # uvicorn's loggers belong to the process, which may run another uvicorn server.
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        self._server = _ImmediateStopServer(config, ready)
        self._thread = threading.Thread(
            target=self._server.run,
            args=([self._listener],),
            name=f"bailian-emulator-{self.port}",
            daemon=True,
        )
        self._thread.start()
        if not ready.wait(_START_TIMEOUT):
            message = f"the emulator did not start within {_START_TIMEOUT} s"
            raise RuntimeError(message)

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._server.server_state.connections)

    def stop(self) -> None:
        """Drop all connections and wait for the thread to end."""
        self._server.stop()
        self._thread.join(_START_TIMEOUT)

    def _find_connection(self, client: tuple[str, int]) -> ClientConnection:
        return ClientConnection(self._server, client)
