"""Behavior of all HTTP transports where urllib3 and aiohttp differ from httpx."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest
from httpx_aiohttp import HttpxAiohttpClient

from langchain_bailian_app import errors
from langchain_bailian_app._transport import http_urllib3
from langchain_bailian_app.emulator import App
from tests.fixtures import encode_sse, frame_body
from tests.proxy_server import ProxyServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

    MakeModel = Callable[..., BailianAppChatModel]

BODY = encode_sse(frame_body("好", "stop"))
HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
RESPONSE = HEADERS + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


@contextmanager
def run_server(handle: Callable[[socket.socket], None]) -> Iterator[str]:
    """Handle connections one after the other with `handle`; yield the base URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    handle(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def receive_request(connection: socket.socket) -> bytes:
    buffer = b""
    while b"\r\n\r\n" not in buffer or not buffer.endswith(b"}"):
        data = connection.recv(65536)
        if not data:
            break  # the client has disconnected
        buffer += data
    return buffer


def respond_with(*chunks: bytes) -> Callable[[socket.socket], None]:
    """Return a handler that answers each request with these pieces, one after the other."""

    def handle(connection: socket.socket) -> None:
        receive_request(connection)
        for chunk in chunks:
            connection.sendall(chunk)
            time.sleep(0.02)

    return handle


async def invoke(model: BailianAppChatModel) -> str:
    return model.invoke("?").text


async def ainvoke(model: BailianAppChatModel) -> str:
    return (await model.ainvoke("?")).text


async def invoke_over_httpx(model: BailianAppChatModel) -> str:
    with httpx.Client(trust_env=False) as client:
        return await invoke(model.model_copy(update={"http_client": client}))


async def ainvoke_over_httpx(model: BailianAppChatModel) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await ainvoke(model.model_copy(update={"http_async_client": client}))


async def ainvoke_over_injected_aiohttp_client(model: BailianAppChatModel) -> str:
    async with HttpxAiohttpClient(trust_env=False) as client:
        return await ainvoke(model.model_copy(update={"http_async_client": client}))


def parametrize_call_styles(*call_styles: object) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "call_style", call_styles, ids=lambda call_style: call_style.__name__
    )


own_clients = parametrize_call_styles(invoke, ainvoke)
all_clients = parametrize_call_styles(
    invoke,
    invoke_over_httpx,
    ainvoke,
    ainvoke_over_httpx,
    ainvoke_over_injected_aiohttp_client,
)


@pytest.mark.slow
@own_clients
async def test_a_pool_timeout_names_its_setting(
    bailian: BailianEmulator, make_model: MakeModel, call_style: Callable[[BailianAppChatModel], object]
) -> None:
    slow = bailian.add_app(App("slow", answer=lambda _: "慢" * 20, pace=0.2))
    first = make_model(slow, max_connections=1)
    second = make_model(slow, max_connections=1, timeout=0.1, max_retries=0)
    sync_chunks, chunks = first.stream("?"), first.astream("?")
    next(sync_chunks)
    await anext(chunks)
    with pytest.raises(errors.BailianTimeoutError, match="`max_connections` is 1") as caught:
        await call_style(second)  # type: ignore[misc]

    assert caught.value.is_retryable
    short_deadline = make_model(slow, max_connections=1, total_timeout=0.1)
    with pytest.raises(errors.BailianTimeoutError, match="`total_timeout`"):
        await call_style(short_deadline)  # type: ignore[misc]
    sync_chunks.close()
    await chunks.aclose()  # type: ignore[attr-defined]
    third = make_model(max_connections=1)
    assert await call_style(third)  # type: ignore[misc]


@pytest.mark.slow
async def test_failed_and_cancelled_calls_free_their_slots(
    bailian: BailianEmulator, make_model: MakeModel
) -> None:
    slow = bailian.add_app(App("slow", answer=lambda _: "慢" * 20, pace=0.2))
    model = make_model(slow, max_connections=2)
    with socket.socket() as unused_socket:
        unused_socket.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused_socket.getsockname()[1]}/api/v1"
        unreachable = make_model(base_url=url, max_connections=2, max_retries=0)
        for _ in range(3):
            with pytest.raises(errors.BailianConnectionError):
                await unreachable.ainvoke("?")
            task = asyncio.create_task(model.ainvoke("?"))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async for _ in model.astream("?"):
                break

    assert (await make_model(max_connections=2, timeout=1).ainvoke("?")).text


@pytest.mark.slow
def test_failed_and_closed_calls_free_their_slots_in_threads(
    bailian: BailianEmulator, make_model: MakeModel
) -> None:
    slow = make_model(
        bailian.add_app(App("slow", answer=lambda _: "慢" * 20, pace=0.2)), max_connections=2
    )
    refused = make_model("no-such-app", max_connections=2)
    with socket.socket() as unused_socket:
        unused_socket.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused_socket.getsockname()[1]}/api/v1"
        unreachable = make_model(base_url=url, max_connections=2, max_retries=0)
        for _ in range(3):
            with pytest.raises(errors.BailianConnectionError):
                unreachable.invoke("?")
            with pytest.raises(errors.BailianPermissionError):
                refused.invoke("?")
            next(slow.stream("?"))

    assert make_model(max_connections=2, timeout=1).invoke("?").text


async def test_more_calls_than_connections_take_turns(make_model: MakeModel) -> None:
    model = make_model(max_connections=3)
    answers = await asyncio.gather(*(model.ainvoke(str(number)) for number in range(30)))

    assert all(answer.text for answer in answers)


@pytest.mark.slow
def test_more_threads_than_connections_take_turns(
    bailian: BailianEmulator, make_model: MakeModel
) -> None:
    port = urlsplit(bailian.base_url).port or 0
    with ProxyServer(port) as proxy, ThreadPoolExecutor(30) as threads:
        model = make_model(base_url=f"http://127.0.0.1:{proxy.port}/api/v1", max_connections=5)
        answers = list(threads.map(model.invoke, map(str, range(150))))

        assert all(answer.text for answer in answers)
        assert proxy.connection_count <= 5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # for the socket
def test_a_response_that_is_garbage_collected_frees_its_slot(bailian: BailianEmulator) -> None:
    url = bailian.base_url.removesuffix("/api/v1")
    context = ssl.create_default_context()
    with http_urllib3.Urllib3Client(max_connections=1, verify=context, trust_env=False) as client:
        for _ in range(2):  # simulates Ctrl-C, which httpx does not expect below its transport
            client.send(client.build_request("GET", url, timeout=1), stream=True)
            gc.collect()


def test_idle_connections_are_closed_in_time(bailian: BailianEmulator, make_model: MakeModel) -> None:
    client = http_urllib3.Urllib3Client(max_connections=3, max_idle_seconds=0.2)
    with client, ProxyServer(urlsplit(bailian.base_url).port or 0) as proxy:
        model = make_model(base_url=f"http://127.0.0.1:{proxy.port}/api/v1", http_client=client)
        streams = [model.stream("?") for _ in range(3)]
        for stream in streams:
            next(stream)
        for stream in streams:
            list(stream)
        assert proxy.connection_count == 3

        time.sleep(0.2)
        model.invoke("?")
        for _ in range(100):
            if proxy.open_connections > 1:
                time.sleep(0.01)
        assert (proxy.connection_count, proxy.open_connections) == (4, 1)


@pytest.mark.parametrize(("max_idle_seconds", "connections"), [(5.0, 1), (0.0, 3)])
def test_a_connection_is_reused_unless_it_was_idle_for_long(
    bailian: BailianEmulator, make_model: MakeModel, max_idle_seconds: float, connections: int
) -> None:
    client = http_urllib3.Urllib3Client(max_connections=1, max_idle_seconds=max_idle_seconds)
    with client, ProxyServer(urlsplit(bailian.base_url).port or 0) as proxy:
        model = make_model(base_url=f"http://127.0.0.1:{proxy.port}/api/v1", http_client=client)
        for _ in range(3):
            list(model.stream("?"))
        assert proxy.connection_count == connections


@pytest.mark.slow
@parametrize_call_styles(invoke, invoke_over_httpx, ainvoke, ainvoke_over_httpx)
async def test_a_service_that_does_not_read_the_body_is_a_timeout(
    make_model: MakeModel, call_style: Callable[[BailianAppChatModel], object]
) -> None:
    stopped = threading.Event()
    with run_server(lambda _: stopped.wait() and None) as url:  # type: ignore[func-returns-value]
        model = make_model(
            base_url=url, timeout=0.15, connect_timeout=0.15, extra_input={"long": "x" * 8_000_000}
        )
        try:
            with pytest.raises(errors.BailianTimeoutError) as caught:
                await asyncio.wait_for(call_style(model), 5)  # type: ignore[arg-type]
        finally:
            stopped.set()

    assert not caught.value.is_retryable


@pytest.mark.slow
@own_clients
async def test_a_service_may_wait_before_it_reads_the_body(
    make_model: MakeModel, call_style: Callable[[BailianAppChatModel], object]
) -> None:
    def handle(connection: socket.socket) -> None:
        time.sleep(0.3)
        receive_request(connection)
        connection.sendall(RESPONSE)

    with run_server(handle) as url:
        model = make_model(base_url=url, connect_timeout=0.1, extra_input={"long": "x" * 8_000_000})

        assert await call_style(model) == "好"  # type: ignore[misc]


@pytest.mark.slow
@pytest.mark.parametrize("informational", [b"102 Processing", b"103 Early Hints\r\nLink: </a>"])
@all_clients
async def test_informational_responses_are_skipped(
    make_model: MakeModel, call_style: Callable[[BailianAppChatModel], object], informational: bytes
) -> None:
    with run_server(respond_with(b"HTTP/1.1 %b\r\n\r\n" % informational, RESPONSE)) as url:
        assert await call_style(make_model(base_url=url)) == "好"  # type: ignore[misc]


@all_clients
async def test_headers_may_have_any_characters(
    make_model: MakeModel, call_style: Callable[[BailianAppChatModel], object]
) -> None:
    with run_server(
        respond_with(RESPONSE.replace(HEADERS, HEADERS + "X-Reason: 充值…\r\n".encode()))
    ) as url:
        assert await call_style(make_model(base_url=url)) == "好"  # type: ignore[misc]


@all_clients
async def test_a_response_that_is_not_http_is_a_connection_error(
    make_model: MakeModel, call_style: Callable[[BailianAppChatModel], object]
) -> None:
    def handle(connection: socket.socket) -> None:
        requests.append(receive_request(connection))
        connection.sendall(b"220 mail.example ESMTP\r\n\r\n")

    requests: list[bytes] = []
    with run_server(handle) as url, pytest.raises(errors.BailianConnectionError) as caught:
        await call_style(make_model(base_url=url))  # type: ignore[misc]

    assert not caught.value.is_retryable
    assert "220 mail.example" in str(caught.value)
    assert "BadStatusLine(" not in str(caught.value)
    assert len(requests) == 1


@own_clients
async def test_a_large_body_arrives_complete(
    bailian: BailianEmulator, make_model: MakeModel, call_style: Callable[[BailianAppChatModel], object]
) -> None:
    assert await call_style(make_model(extra_input={"long": "长" * 1_000_000}))  # type: ignore[misc]
    assert bailian.requests[-1].body["input"]["long"] == "长" * 1_000_000


@own_clients
async def test_a_connection_that_was_closed_meanwhile_is_not_reused(
    make_model: MakeModel, call_style: Callable[[BailianAppChatModel], object]
) -> None:
    def handle(connection: socket.socket) -> None:
        receive_request(connection)
        connection.sendall(RESPONSE)

    with run_server(handle) as url:
        model = make_model(base_url=url, max_retries=0)
        for _ in range(3):
            assert await call_style(model) == "好"  # type: ignore[misc]
            time.sleep(0.02)  # noqa: ASYNC251  # the blocked loop cannot detect the closed connection


@pytest.mark.slow
def test_connections_are_closed_with_their_loop_without_warnings(bailian: BailianEmulator) -> None:
    script = """
import asyncio
from langchain_bailian_app import BailianAppChatModel
model = BailianAppChatModel()
for end in ("just closed", "just closed", "closed in order", "left open"):
    loop = asyncio.new_event_loop()
    print(loop.run_until_complete(model.ainvoke("?")).text[:3])
    if end == "closed in order":
        loop.run_until_complete(loop.shutdown_asyncgens())
    if end != "left open":
        loop.close()
"""
    variables = {
        "BAILIAN_APP_ID": bailian.app_id,
        "DASHSCOPE_API_KEY": bailian.api_key,
        "DASHSCOPE_BASE_URL": bailian.base_url,
    }
    completed = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )

    assert completed.stderr == ""
    assert len(completed.stdout.split()) == 4
