"""Server on loopback that sends any bytes, for responses that the emulator does not send."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import contextmanager, suppress
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator

    Handler = Callable[["Connection"], None]

SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED_SSE_HEAD = SSE_HEAD + b"transfer-encoding: chunked\r\n\r\n"


def encode_chunk(data: bytes) -> bytes:
    """Return data as a chunk of a body in chunks."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode_response(body: bytes, head: bytes = SSE_HEAD) -> bytes:
    """Return a response with a body of known length."""
    return head + b"content-length: %d\r\n\r\n%b" % (len(body), body)


class Connection:
    """A connection that a client has opened."""

    def __init__(self, client: socket.socket, stopped: threading.Event) -> None:
        self.socket = client
        self._reader = client.makefile("rb")
        self._stopped = stopped

    def receive_request(self) -> bytes:
        """Return the next request, or nothing if the client disconnects before it is complete."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self._reader.readline()
            if not line:
                return b""
            head += line
        match = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
        length = int(match[1]) if match else 0
        body = self._reader.read(length)
        return head + body if len(body) == length else b""

    def send(self, data: bytes) -> None:
        """Send data."""
        self.socket.sendall(data)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait; return early, and return whether it is so, if the server stops."""
        return self._stopped.wait(seconds)

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()
        self.socket.close()


@contextmanager
def run_server(handle: Handler, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Handle each connection in its own thread; yield the base URL.

    A connection is closed after it was handled. At the end, all of them are.
    """
    stopped = threading.Event()
    connections: list[Connection] = []
    threads: list[threading.Thread] = []

    def accept() -> None:
        with suppress(OSError):  # the server stops
            while True:
                client, _ = listener.accept()
                if tls is not None:
                    client = tls.wrap_socket(client, server_side=True)
                connections.append(Connection(client, stopped))
                threads.append(threading.Thread(target=serve, args=(connections[-1],)))
                threads[-1].start()

    def serve(connection: Connection) -> None:
        try:
            with suppress(OSError):  # the client has disconnected
                handle(connection)
        finally:
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            scheme = "http" if tls is None else "https"
            yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/api/v1"
        finally:
            stopped.set()
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for connection in connections:
                with suppress(OSError):  # it is closed already
                    connection.socket.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def respond_with(
    *pieces: bytes, then: Iterable[bytes] = (), pause: float = 0.0, keep_open: bool = False
) -> Handler:
    """Return a handler that answers one request with these pieces, and pauses after each.

    Then it closes the connection, or keeps it open until the server stops.
    """

    def handle(connection: Connection) -> None:
        if not connection.receive_request():
            return
        for piece in chain(pieces, then):
            connection.send(piece)
            if pause and connection.wait(pause):
                return
        if keep_open:
            connection.wait()

    return handle


def respond_using(respond: Callable[[bytes], bytes]) -> Handler:
    """Return a handler that answers one request with what a function returns for it."""

    def handle(connection: Connection) -> None:
        if request := connection.receive_request():
            connection.send(respond(request))

    return handle
