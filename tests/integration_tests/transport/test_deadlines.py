"""Deadlines of all ways of calling: no server can keep a call waiting, whatever it sends."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import pytest

from langchain_bailian_app.errors import (
    BailianConnectionError,
    BailianError,
    BailianTimeoutError,
)
from tests.call_styles import CALL_STYLES, ainvoke, invoke, make_model_at, own_clients
from tests.raw_server import CHUNKED_SSE_HEAD as HEAD
from tests.raw_server import encode_chunk, encode_response, respond_with, run_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from tests.call_styles import CallStyle
    from tests.raw_server import Connection

T = TypeVar("T")

ERROR_HEAD = b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\n"
FRAME = b'data:{"output":{"text":"\xe5\xa5\xbd","finish_reason":"null"},"request_id":"r"}\n\n'
LAST_FRAME = b'data:{"output":{"text":"","finish_reason":"stop"},"request_id":"r"}\n\n'
DRIP_SECONDS = 0.02
LIMIT, LATENESS = 0.4, 0.7  # seconds


def repeat(*start: bytes, data: bytes) -> Iterator[bytes]:
    return itertools.chain(start, itertools.repeat(data))


def drip_head() -> Iterator[bytes]:
    return repeat(b"HTTP/1.1 200 OK\r\nX-Slow: ", data=b"a")


def drip_status_line() -> Iterator[bytes]:
    return repeat(b"HTTP/1.1 200 ", data=b"O")


def drip_interim_responses() -> Iterator[bytes]:
    return itertools.cycle([b"HTTP/1.1 103 Early Hints\r\n", b"\r\n"])


def drip_error_body() -> Iterator[bytes]:
    return repeat(ERROR_HEAD + b"content-length: 100000\r\n\r\n{", data=b" ")


def drip_chunk_extension_of_an_error() -> Iterator[bytes]:
    return repeat(ERROR_HEAD + b"transfer-encoding: chunked\r\n\r\n1;x=", data=b"a")


def drip_chunk_extension() -> Iterator[bytes]:
    return repeat(HEAD + b"1;x=", data=b"a")


def drip_chunk_extension_after_a_frame() -> Iterator[bytes]:
    return repeat(HEAD + encode_chunk(FRAME) + b"1;x=", data=b"a")


def send_heartbeats() -> Iterator[bytes]:
    return repeat(HEAD + encode_chunk(FRAME), data=encode_chunk(b":ping\n\n"))


def fall_silent_after_a_heartbeat() -> Iterator[bytes]:
    yield HEAD
    time.sleep(LIMIT * 0.75)
    yield encode_chunk(b":ping\n\n")


FAULTS = [
    drip_head,
    drip_status_line,
    drip_interim_responses,
    drip_error_body,
    drip_chunk_extension_of_an_error,
    drip_chunk_extension,
    drip_chunk_extension_after_a_frame,
    send_heartbeats,
    fall_silent_after_a_heartbeat,
]


@pytest.fixture(autouse=True, scope="module")
def first_calls() -> None:
    """Call a model, because the first call in a process takes longer."""
    response = encode_response(LAST_FRAME)
    for call_style in (invoke, ainvoke):
        with run_server(respond_with(response)) as base_url:
            asyncio.run(call_style(make_model_at(base_url)))


def run_at_once(call: Callable[[T], Awaitable[None]], cases: Iterable[T]) -> None:
    """Run `call` for all cases at once, each in its own thread."""

    def run(case: T) -> None:
        try:
            asyncio.run(call(case))  # type: ignore[arg-type]
        except BaseException as exc:
            exc.add_note(f"case: {case}")
            raise

    cases = list(cases)
    with ThreadPoolExecutor(len(cases)) as threads:
        list(threads.map(run, cases))


@contextmanager
def assert_duration(at_least: float = LIMIT - 0.05) -> Iterator[None]:
    started_at = time.monotonic()
    yield
    assert at_least < time.monotonic() - started_at < LIMIT + LATENESS


@contextmanager
def silent_listener() -> Iterator[tuple[str, int]]:
    """Yield the address of a server that accepts no connection."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = [socket.socket() for _ in range(4)]  # they fill the queue of connections
        try:
            for client in waiting:
                client.setblocking(False)  # noqa: FBT003
                client.connect_ex(listener.getsockname())
            yield listener.getsockname()
        finally:
            for client in waiting:
                client.close()


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["timeout", "total_timeout"])
@own_clients
def test_slow_responses_end_in_time(call_style: CallStyle, setting: str) -> None:
    async def call(fault: Callable[[], Iterator[bytes]]) -> None:
        handle = respond_with(then=fault(), pause=DRIP_SECONDS, keep_open=True)
        with run_server(handle) as base_url:
            model = make_model_at(base_url, **{setting: LIMIT})
            with assert_duration(), pytest.raises(BailianTimeoutError, match=f"`{setting}`") as caught:
                await call_style(model)

        assert not caught.value.is_retryable

    run_at_once(call, FAULTS)


@own_clients
async def test_the_number_of_interim_responses_is_limited(call_style: CallStyle) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50
    with run_server(respond_with(then=itertools.repeat(interim), pause=0.005)) as base_url:
        model = make_model_at(base_url, timeout=LIMIT)
        started_at = time.monotonic()
        with pytest.raises(BailianConnectionError, match="more than 20 interim responses") as caught:
            await call_style(model)

    assert not caught.value.is_retryable
    assert time.monotonic() - started_at < LIMIT + LATENESS


@own_clients
async def test_twenty_interim_responses_are_skipped(call_style: CallStyle) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 20
    with run_server(respond_with(interim + encode_response(LAST_FRAME))) as base_url:
        assert await call_style(make_model_at(base_url, timeout=LIMIT)) == ""


@own_clients
async def test_no_response_follows_a_switch_of_protocols(call_style: CallStyle) -> None:
    response = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"
    with (
        run_server(respond_with(response, keep_open=True)) as base_url,
        assert_duration(0.0),
        pytest.raises(BailianError),
    ):
        await call_style(make_model_at(base_url))


@pytest.mark.slow
@own_clients
async def test_name_resolution_ends_in_time(
    monkeypatch: pytest.MonkeyPatch, call_style: CallStyle
) -> None:
    stopped = threading.Event()

    def resolve_slowly(*_: object, **__: object) -> list[object]:
        stopped.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", resolve_slowly)
    model = make_model_at("https://service.example/api/v1", total_timeout=LIMIT)
    try:
        with assert_duration(), pytest.raises(BailianTimeoutError):
            await call_style(model)
    finally:
        stopped.set()


@pytest.mark.slow
def test_all_addresses_of_a_host_share_the_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    with silent_listener() as (host, port):
        address = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [address] * 4)
        model = make_model_at("https://service.example/api/v1", connect_timeout=LIMIT)
        with assert_duration(), pytest.raises(BailianTimeoutError):
            model.invoke("?")


@pytest.mark.slow
def test_the_next_address_is_tried_if_one_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        silent_listener() as dead_address,
        run_server(respond_with(encode_response(LAST_FRAME))) as base_url,
    ):
        live_address = ("127.0.0.1", int(base_url.rpartition(":")[2].partition("/")[0]))
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)
            for address in (dead_address, live_address)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        model = make_model_at(base_url, connect_timeout=LIMIT)

        with assert_duration(LIMIT / 4):
            assert model.invoke("?").response_metadata["finish_reason"] == "stop"


@pytest.mark.slow
def test_the_total_timeout_limits_a_request_body_that_is_accepted_slowly() -> None:
    async def call(call_style: CallStyle) -> None:
        was_reached = threading.Event()

        def handle(connection: Connection) -> None:
            was_reached.set()
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            while not connection.wait(DRIP_SECONDS):
                connection.socket.recv(16384)

        with run_server(handle) as base_url:
            model = make_model_at(base_url, total_timeout=LIMIT, extra_input={"long": "x" * 8_000_000})
            with (
                assert_duration(),
                pytest.raises(BailianTimeoutError, match="`total_timeout`") as caught,
            ):
                await call_style(model)

        # On a busy machine, the time may be over before the call connects.
        assert caught.value.is_retryable is not was_reached.is_set()
        await asyncio.sleep(0.02)  # otherwise a connection with unsent data would still be open

    run_at_once(call, [invoke, ainvoke])


def check_connecting_ends_in_time(base_url: str) -> None:
    """Call this server in all ways, with each of the settings that limit the time to connect."""

    async def call(case: tuple[CallStyle, str]) -> None:
        call_style, setting = case
        model = make_model_at(base_url, **{setting: LIMIT})
        with assert_duration(), pytest.raises(BailianTimeoutError, match=f"`{setting}`") as caught:
            await call_style(model)

        if setting == "connect_timeout":
            assert caught.value.is_retryable

    run_at_once(call, itertools.product([invoke, ainvoke], ["connect_timeout", "total_timeout"]))


@pytest.mark.slow
def test_connecting_ends_in_time() -> None:
    with silent_listener() as (host, port):
        check_connecting_ends_in_time(f"http://{host}:{port}/api/v1")


@pytest.mark.slow
def test_a_tls_handshake_ends_in_time() -> None:
    def drip_handshake(connection: Connection) -> None:
        connection.send(b"\x16\x03\x03\x40\x00")
        while not connection.wait(DRIP_SECONDS):
            connection.send(b"\x02")

    with run_server(drip_handshake) as base_url:
        check_connecting_ends_in_time(base_url.replace("http:", "https:"))


@pytest.mark.slow
def test_the_response_of_a_proxy_to_connect_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(connection: Connection) -> None:
        respond_with(then=drip_head(), pause=DRIP_SECONDS)(connection)

    with run_server(drip) as base_url:
        monkeypatch.setenv("https_proxy", base_url.removesuffix("/api/v1"))
        check_connecting_ends_in_time("https://service.example/api/v1")


@pytest.mark.slow
@pytest.mark.parametrize("data", [encode_chunk(b":ping\n\n"), encode_chunk(b":"), b"1;x="])
def test_a_complete_answer_is_returned_although_the_body_does_not_end(data: bytes) -> None:
    async def call(call_style: CallStyle) -> None:
        pieces = [HEAD, encode_chunk(FRAME), encode_chunk(LAST_FRAME)]
        handle = respond_with(*pieces, then=itertools.repeat(data), pause=DRIP_SECONDS)
        with run_server(handle) as base_url:
            model = make_model_at(base_url)
            started_at = time.monotonic()

            assert await call_style(model) == "好"
            assert time.monotonic() - started_at < 0.1 + LATENESS

    run_at_once(call, CALL_STYLES)


@pytest.mark.slow
def test_slow_but_steady_responses_are_no_timeout() -> None:
    async def call(call_style: CallStyle) -> None:
        with run_server(
            respond_with(HEAD, *[encode_chunk(FRAME)] * 6, encode_chunk(LAST_FRAME), pause=0.15)
        ) as base_url:
            model = make_model_at(base_url, timeout=0.6)  # less than the answer takes

            assert await call_style(model) == "好" * 6

    run_at_once(call, [invoke, ainvoke])
