"""Server thread that runs uvicorn and can stop it at once. Nothing here is specific to Bailian.

uvicorn's own shutdown waits for clients and polls ten times a second, which would delay every test
that starts an emulator.
"""

import asyncio
import os
import socket
import threading
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

_START_TIMEOUT = 10.0
_STOP_TIMEOUT = 0.5
_KEEP_ALIVE_SECONDS = 3600
_ACCEPT_YIELDS = 5


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

    def drop_connection(self, client: tuple[str, int]) -> None:
        """Close a client's connection once all written bytes are sent, without ending the response."""
        for connection in list(self.server_state.connections):
            if connection.transport.get_extra_info("peername") == client:
                connection.transport.close()


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
    """A loopback server in a daemon thread. It accepts requests as soon as the constructor returns."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._listener = _bind_listener(port)
        self.port: int = self._listener.getsockname()[1]
        ready = threading.Event()
        config = uvicorn.Config(
            app,
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

    def drop_connection(self, client: tuple[str, int]) -> None:
        """Close a client's connection without ending the response; only for the server thread."""
        self._server.drop_connection(client)

    def stop(self) -> None:
        """Drop all connections and wait for the thread to end."""
        self._server.stop()
        self._thread.join(_START_TIMEOUT)
