"""Tests of faults below HTTP: what is on the wire, read from raw sockets."""

import gzip
import json
import re
import select
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest

from langchain_bailian_app.emulator import FAULTS, App, BailianEmulator, Faults, Reply, Turn
from langchain_bailian_app.emulator._http.server_thread import ServerThread

QUICK = 0.0005  # seconds between two bytes
LAST_CHUNK = b"0\r\n\r\n"
INTERIM_RESPONSE = b"HTTP/1.1 102 Processing\r\n\r\n"
ANSWER = "你好，世界。"


@pytest.fixture
def bailian() -> Iterator[BailianEmulator]:
    with BailianEmulator(seed_apps=False) as emulator:
        yield emulator


class RawClient:
    """A connection that shows the bytes as they arrive."""

    def __init__(self, bailian: BailianEmulator, app: App, *, port: int | None = None) -> None:
        self._path = f"/api/v1/apps/{bailian.add_app(app)}/completion"
        self._key = bailian.api_key
        address = ("127.0.0.1", port or httpx.URL(bailian.base_url).port or 0)
        self._socket = socket.create_connection(address, timeout=5)

    def close(self) -> None:
        self._socket.close()

    def send_request(self, *, stream: bool = True, count: int = 1) -> None:
        """Send a request, or several at once without waiting for their responses."""
        body = json.dumps({"input": {"prompt": "你好"}, "parameters": {}}).encode()
        headers = [
            f"POST {self._path} HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {self._key}",
            f"Content-Length: {len(body)}",
            *(["X-DashScope-SSE: enable"] if stream else []),
        ]
        self._socket.sendall(("\r\n".join([*headers, "", ""]).encode() + body) * count)

    def read(self) -> bytes:
        """Return the bytes of one read; an empty value if the connection was closed."""
        return self._socket.recv(100_000)

    def read_until(self, end: bytes) -> bytes:
        data = b""
        while end not in data:
            piece = self.read()
            assert piece, "the connection was closed"
            data += piece
        return data

    def read_all(self) -> bytes:
        """Return all bytes until the connection is closed."""
        return b"".join(iter(self.read, b""))

    def is_silent(self, seconds: float) -> bool:
        readable, _, _ = select.select([self._socket], [], [], seconds)
        return not readable


def make_app(fault: str, *, interval: float = QUICK) -> App:
    return App(fault, answer=ANSWER, faults=Faults.always(fault, interval=interval))


def read_saved_answers(bailian: BailianEmulator) -> list[str]:
    """Return the answers in the only session, after the only response has ended."""
    assert bailian.requests[0].wait()
    (rounds,) = bailian.sessions().values()
    return [turn.answer for turn in rounds]


def split_response(data: bytes) -> tuple[bytes, bytes]:
    """Return the head and the decoded body of a chunked response, without chunk extensions."""
    head, _, rest = data.partition(b"\r\n\r\n")
    body = b""
    while rest:
        size_line, _, rest = rest.partition(b"\r\n")
        size = int(size_line.split(b";")[0], 16)
        body, rest = body + rest[:size], rest[size + 2 :]
    return head, body


def read_text(body: bytes) -> str:
    documents = [line.removeprefix(b"data:") for line in body.splitlines() if line.startswith(b"data:")]
    return "".join(json.loads(document)["output"]["text"] for document in documents or [body])


def test_the_head_of_a_response_can_drip(bailian: BailianEmulator) -> None:
    with closing(RawClient(bailian, make_app("drip-head"))) as client:
        started_at = time.monotonic()
        client.send_request()
        data = client.read_all()
    head, body = split_response(data)

    assert time.monotonic() - started_at > len(head) * QUICK
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nconnection: close" in head
    assert ANSWER in read_text(body)
    assert read_saved_answers(bailian) == [ANSWER]
    assert bailian.requests[0].finished


def test_the_interval_is_the_time_between_two_bytes(bailian: BailianEmulator) -> None:
    with closing(RawClient(bailian, make_app("drip-head", interval=0.03))) as client:
        started_at = time.monotonic()
        client.send_request()
        client.read_until(b"HTTP")

        assert time.monotonic() - started_at > 4 * 0.03
    assert bailian.requests[0].wait()
    assert not bailian.requests[0].finished


@pytest.mark.parametrize(("fault", "status"), [("drip-body", 200), ("drip-error-body", 500)])
def test_a_body_can_drip_in_chunks_of_one_byte(
    bailian: BailianEmulator, fault: str, status: int
) -> None:
    bailian.keep_aborted = True
    with closing(RawClient(bailian, make_app(fault, interval=0))) as client:
        client.send_request(stream=False)
        data = client.read_until(LAST_CHUNK)
    head, body = split_response(data)

    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert data.endswith(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + LAST_CHUNK)
    assert ("output" if status == 200 else "code") in json.loads(body)
    assert read_saved_answers(bailian) == [ANSWER if status == 200 else ""]


def test_only_the_frames_that_were_sent_byte_by_byte_are_saved(bailian: BailianEmulator) -> None:
    bailian.keep_aborted = True
    app = make_app("drip-body", interval=0)
    long = "三" * 30_000  # takes seconds
    app.answer = lambda _: Reply(f"一二{long}", pieces=["一", "二", long])
    with closing(RawClient(bailian, app)) as client:
        client.send_request()
        client.read_until(b"".join(b"1\r\n%c\r\n" % byte for byte in b"id:3"))

    assert read_saved_answers(bailian) == ["一二"]
    assert bailian.requests[0].frames_sent == 2


def test_a_chunk_extension_can_drip(bailian: BailianEmulator) -> None:
    with closing(RawClient(bailian, make_app("drip-chunk-extension"))) as client:
        started_at = time.monotonic()
        client.send_request()
        data = client.read_all()
    extensions = re.findall(rb"\r\n[0-9a-f]+;(.*?)\r\n", data)

    assert [len(extension) for extension in extensions] == [300]
    assert time.monotonic() - started_at > 300 * QUICK
    assert ANSWER in read_text(split_response(data)[1])
    assert read_saved_answers(bailian) == [ANSWER]


@pytest.mark.parametrize(
    ("stream", "heartbeat"), [(True, b"c\r\n:heartbeat\n\n\r\n"), (False, b"1\r\n\n\r\n")]
)
def test_heartbeats_go_on_after_the_last_frame(
    bailian: BailianEmulator, *, stream: bool, heartbeat: bytes
) -> None:
    with closing(RawClient(bailian, make_app("endless-heartbeats"))) as client:
        client.send_request(stream=stream)
        data = client.read_until(heartbeat * 20)
    _, body = split_response(data)

    assert LAST_CHUNK not in data
    assert b'"finish_reason":"stop"' in body
    assert ANSWER in read_text(body)
    assert bailian.requests[0].wait()
    assert not bailian.requests[0].finished


def test_a_response_can_be_sent_twice(bailian: BailianEmulator) -> None:
    with closing(RawClient(bailian, make_app("duplicate-response"))) as client:
        client.send_request()
        data = b""
        while data.count(LAST_CHUNK) < 2:
            data += client.read_until(LAST_CHUNK)
        assert client.is_silent(0.02)
        first, second, _ = data.split(LAST_CHUNK)
        client.send_request()
        assert client.read_until(LAST_CHUNK).startswith(b"HTTP/1.1 200 OK")

    assert split_response(first + LAST_CHUNK)[1] == split_response(second + LAST_CHUNK)[1]
    assert len(bailian.requests) == 2


def test_an_idle_connection_can_receive_a_408(bailian: BailianEmulator) -> None:
    with closing(RawClient(bailian, make_app("idle-408", interval=0.05))) as client:
        started_at = time.monotonic()
        client.send_request()
        data = client.read_all()

    assert time.monotonic() - started_at > 0.05
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert data.partition(LAST_CHUNK)[2].startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_no_408_is_sent_if_the_next_request_has_arrived(bailian: BailianEmulator) -> None:
    app = make_app("idle-408", interval=0.02)

    def answer(_: Turn) -> str:
        if len(bailian.requests) == 2:
            app.faults = None
        return ANSWER

    app.answer = answer
    with closing(RawClient(bailian, app)) as client:
        client.send_request(count=2)
        data = b""
        while data.count(LAST_CHUNK) < 2:
            data += client.read_until(LAST_CHUNK)
        assert client.is_silent(0.06)

    assert data.count(b"HTTP/1.1 200 OK") == 2


def test_no_408_is_sent_if_the_next_request_has_been_answered(bailian: BailianEmulator) -> None:
    app = make_app("idle-408", interval=0.3)
    with closing(RawClient(bailian, app)) as client:
        client.send_request()
        client.read_until(LAST_CHUNK)
        app.faults = None
        client.send_request()
        client.read_until(LAST_CHUNK)
        assert client.is_silent(0.35)


def test_interim_responses_precede_the_response(bailian: BailianEmulator) -> None:
    with closing(RawClient(bailian, make_app("interim-responses"))) as client:
        client.send_request()
        data = client.read_until(LAST_CHUNK)

    assert data.startswith(INTERIM_RESPONSE * 3 + b"HTTP/1.1 200 OK\r\n")
    assert ANSWER in read_text(split_response(data.removeprefix(INTERIM_RESPONSE * 3))[1])


@pytest.mark.parametrize("interval", [0, QUICK])
def test_interim_responses_can_be_endless(bailian: BailianEmulator, interval: float) -> None:
    app = make_app("endless-interim-responses", interval=interval)
    with closing(RawClient(bailian, app)) as client:
        client.send_request()
        data = client.read_until(INTERIM_RESPONSE * 50)

    assert data.replace(INTERIM_RESPONSE, b"") in INTERIM_RESPONSE
    assert bailian.requests[0].wait()
    assert bailian.requests[0].status is None


@pytest.mark.parametrize("stream", [True, False])
def test_a_body_can_be_compressed_twice(bailian: BailianEmulator, *, stream: bool) -> None:
    with closing(RawClient(bailian, make_app("gzip-twice"))) as client:
        client.send_request(stream=stream)
        head, body = split_response(client.read_until(LAST_CHUNK))

    assert b"content-encoding: gzip, gzip" in head
    assert ANSWER in read_text(gzip.decompress(gzip.decompress(body)))


@pytest.mark.parametrize(
    ("fault", "encoding", "max_size"),
    [("gzip-bomb", b"gzip", 300_000), ("gzip-twice-bomb", b"gzip, gzip", 4000)],
)
@pytest.mark.slow
def test_a_small_body_can_become_64_mebibytes(
    bailian: BailianEmulator, fault: str, encoding: bytes, max_size: int
) -> None:
    with closing(RawClient(bailian, make_app(fault))) as client:
        client.send_request()
        head, body = split_response(client.read_until(LAST_CHUNK))
    compressed = body if fault == "gzip-bomb" else gzip.decompress(body)
    decompressed = zlib.decompress(compressed, wbits=31)

    assert b"content-encoding: " + encoding + b"\r\n" in head
    assert len(body) < max_size
    assert 64 * 2**20 < len(decompressed) < 65 * 2**20
    assert ANSWER in read_text(decompressed)


def test_a_fault_applies_before_start_has_returned(
    bailian: BailianEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = []
    start_server = ServerThread.__init__

    def send_request_at_once(server: ServerThread, *args: Any) -> None:
        start_server(server, *args)
        with closing(RawClient(bailian, make_app("reset"), port=server.port)) as client:
            client.send_request()
            received.append(client.read())

    bailian.stop()
    monkeypatch.setattr(ServerThread, "__init__", send_request_at_once)
    bailian.start()

    assert received == [b""]


def test_an_interval_is_validated() -> None:
    with pytest.raises(ValueError, match="invalid `interval`: expected 0 or more seconds, got -1"):
        Faults.always("drip-head", interval=-1)


def test_every_fault_is_documented() -> None:
    assert [name for name in FAULTS if f"`{name}`" not in (Faults.__doc__ or "")] == []
