"""What urllib3 and aiohttp under httpx leave open, and how it is settled: alike for every transport."""

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
from tests.fixtures import reply, sse
from tests.proxy_server import Forwarder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

    Make = Callable[..., BailianAppChatModel]

WHOLE = sse(reply("好", "stop"))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
REPLY = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(WHOLE), WHOLE)


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve connections one after the other, each in the way of `answer`; give the base URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/api/v1"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def receive(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received or not received.endswith(b"}"):
        data = connection.recv(65536)
        if not data:
            break  # the client has gone
        received += data
    return received


def replying(*pieces: bytes) -> Callable[[socket.socket], None]:
    """Answer each request with these pieces, one after the other."""

    def answer(connection: socket.socket) -> None:
        receive(connection)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.02)

    return answer


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


async def ainvoke_over_an_aiohttp_client_of_ones_own(model: BailianAppChatModel) -> str:
    async with HttpxAiohttpClient(trust_env=False) as client:
        return await ainvoke(model.model_copy(update={"http_async_client": client}))


def ways(*called: object) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("way", called, ids=lambda way: way.__name__)


own_clients = ways(invoke, ainvoke)
every_client = ways(
    invoke,
    invoke_over_httpx,
    ainvoke,
    ainvoke_over_httpx,
    ainvoke_over_an_aiohttp_client_of_ones_own,
)


@own_clients
async def test_waiting_for_a_connection_ends_with_the_name_of_the_field(
    bailian: BailianEmulator, make_model: Make, way: Callable[[BailianAppChatModel], object]
) -> None:
    slow = bailian.add_app(App("slow", answer=lambda _: "慢" * 20, pace=0.2))
    first = make_model(slow, max_connections=1)
    second = make_model(slow, max_connections=1, timeout=0.1, max_retries=0)
    sync_chunks, chunks = first.stream("?"), first.astream("?")
    next(sync_chunks)
    await anext(chunks)
    with pytest.raises(errors.BailianTimeoutError, match="`max_connections` is 1") as caught:
        await way(second)  # type: ignore[misc]

    assert caught.value.is_retryable
    hurried = make_model(slow, max_connections=1, total_timeout=0.1)
    with pytest.raises(errors.BailianTimeoutError, match="`total_timeout`"):
        await way(hurried)  # type: ignore[misc]
    sync_chunks.close()
    await chunks.aclose()  # type: ignore[attr-defined]
    patient = make_model(max_connections=1)
    assert await way(patient)  # type: ignore[misc]


async def test_broken_and_cancelled_calls_make_room(bailian: BailianEmulator, make_model: Make) -> None:
    slow = bailian.add_app(App("slow", answer=lambda _: "慢" * 20, pace=0.2))
    model = make_model(slow, max_connections=2)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/api/v1"
        dead = make_model(base_url=url, max_connections=2, max_retries=0)
        for _ in range(3):
            with pytest.raises(errors.BailianConnectionError):
                await dead.ainvoke("?")
            task = asyncio.create_task(model.ainvoke("?"))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async for _ in model.astream("?"):
                break

    assert (await make_model(max_connections=2, timeout=1).ainvoke("?")).text


def test_in_threads_too_broken_and_closed_calls_make_room(
    bailian: BailianEmulator, make_model: Make
) -> None:
    slow = make_model(
        bailian.add_app(App("slow", answer=lambda _: "慢" * 20, pace=0.2)), max_connections=2
    )
    refused = make_model("no-such-app", max_connections=2)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/api/v1"
        dead = make_model(base_url=url, max_connections=2, max_retries=0)
        for _ in range(3):
            with pytest.raises(errors.BailianConnectionError):
                dead.invoke("?")
            with pytest.raises(errors.BailianPermissionError):
                refused.invoke("?")
            next(slow.stream("?"))

    assert make_model(max_connections=2, timeout=1).invoke("?").text


async def test_more_calls_than_connections_take_turns(make_model: Make) -> None:
    model = make_model(max_connections=3)
    answers = await asyncio.gather(*(model.ainvoke(str(number)) for number in range(30)))

    assert all(answer.text for answer in answers)


def test_more_threads_than_connections_take_turns(bailian: BailianEmulator, make_model: Make) -> None:
    port = urlsplit(bailian.base_url).port or 0
    with Forwarder(port) as relay, ThreadPoolExecutor(30) as threads:
        model = make_model(base_url=f"http://127.0.0.1:{relay.port}/api/v1", max_connections=5)
        answers = list(threads.map(model.invoke, map(str, range(150))))

        assert all(answer.text for answer in answers)
        assert relay.connections <= 5


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the socket
def test_a_reply_that_nobody_closes_makes_room_when_it_is_dropped(bailian: BailianEmulator) -> None:
    url = bailian.base_url.removesuffix("/api/v1")
    context = ssl.create_default_context()
    with http_urllib3.Urllib3Client(max_connections=1, verify=context, trust_env=False) as client:
        for _ in range(2):  # as if Ctrl-C came, which httpx does not expect behind its transport
            client.send(client.build_request("GET", url, timeout=1), stream=True)
            gc.collect()


def test_connections_that_nobody_uses_are_closed_in_time(
    bailian: BailianEmulator, make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Forwarder(urlsplit(bailian.base_url).port or 0) as relay:
        model = make_model(base_url=f"http://127.0.0.1:{relay.port}/api/v1")
        streams = [model.stream("?") for _ in range(3)]
        for stream in streams:
            next(stream)
        for stream in streams:
            list(stream)
        assert relay.open == relay.connections == 3

        monkeypatch.setattr(http_urllib3, "_IDLE", 0)
        model.invoke("?")
        for _ in range(100):
            if relay.open:
                time.sleep(0.01)
        assert relay.open == 0


def test_a_connection_is_used_again_unless_it_was_idle_for_long(
    bailian: BailianEmulator, make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Forwarder(urlsplit(bailian.base_url).port or 0) as relay:
        model = make_model(base_url=f"http://127.0.0.1:{relay.port}/api/v1")
        for _ in range(3):
            list(model.stream("?"))
        assert relay.connections == 1

        monkeypatch.setattr(http_urllib3, "_IDLE", 0)
        model.invoke("?")
        assert relay.connections == 2


@ways(invoke, invoke_over_httpx, ainvoke, ainvoke_over_httpx)
async def test_a_service_that_takes_no_body_is_silent(
    make_model: Make, way: Callable[[BailianAppChatModel], object]
) -> None:
    over = threading.Event()
    with server(lambda _: over.wait() and None) as url:  # type: ignore[func-returns-value]
        model = make_model(
            base_url=url, timeout=0.15, connect_timeout=0.15, extra_input={"long": "x" * 8_000_000}
        )
        try:
            with pytest.raises(errors.BailianTimeoutError) as caught:
                await asyncio.wait_for(way(model), 5)  # type: ignore[arg-type]
        finally:
            over.set()

    assert not caught.value.is_retryable


@own_clients
async def test_a_service_may_take_its_time_before_it_takes_a_body(
    make_model: Make, way: Callable[[BailianAppChatModel], object]
) -> None:
    def answer(connection: socket.socket) -> None:
        time.sleep(0.3)
        receive(connection)
        connection.sendall(REPLY)

    with server(answer) as url:
        model = make_model(base_url=url, connect_timeout=0.1, extra_input={"long": "x" * 8_000_000})

        assert await way(model) == "好"  # type: ignore[misc]


@pytest.mark.parametrize("before", [b"102 Processing", b"103 Early Hints\r\nLink: </a>"])
@every_client
async def test_what_comes_before_a_reply_is_none(
    make_model: Make, way: Callable[[BailianAppChatModel], object], before: bytes
) -> None:
    with server(replying(b"HTTP/1.1 %b\r\n\r\n" % before, REPLY)) as url:
        assert await way(make_model(base_url=url)) == "好"  # type: ignore[misc]


@every_client
async def test_headers_may_have_any_characters(
    make_model: Make, way: Callable[[BailianAppChatModel], object]
) -> None:
    with server(replying(REPLY.replace(HEAD, HEAD + "X-Reason: 充值…\r\n".encode()))) as url:
        assert await way(make_model(base_url=url)) == "好"  # type: ignore[misc]


@every_client
async def test_a_reply_that_is_no_http_is_an_error_of_ours(
    make_model: Make, way: Callable[[BailianAppChatModel], object]
) -> None:
    def answer(connection: socket.socket) -> None:
        requests.append(receive(connection))
        connection.sendall(b"220 mail.example ESMTP\r\n\r\n")

    requests: list[bytes] = []
    with server(answer) as url, pytest.raises(errors.BailianConnectionError) as caught:
        await way(make_model(base_url=url))  # type: ignore[misc]

    assert not caught.value.is_retryable
    assert "220 mail.example" in str(caught.value)
    assert "BadStatusLine(" not in str(caught.value)
    assert len(requests) == 1


@own_clients
async def test_a_large_body_arrives_whole(
    bailian: BailianEmulator, make_model: Make, way: Callable[[BailianAppChatModel], object]
) -> None:
    assert await way(make_model(extra_input={"long": "长" * 1_000_000}))  # type: ignore[misc]
    assert bailian.requests[-1].body["input"]["long"] == "长" * 1_000_000


@own_clients
async def test_a_connection_that_was_closed_meanwhile_is_not_used_again(
    make_model: Make, way: Callable[[BailianAppChatModel], object]
) -> None:
    def answer(connection: socket.socket) -> None:
        receive(connection)
        connection.sendall(REPLY)

    with server(answer) as url:
        model = make_model(base_url=url, max_retries=0)
        for _ in range(3):
            assert await way(model) == "好"  # type: ignore[misc]
            time.sleep(0.02)  # noqa: ASYNC251  # the loop cannot see how the connection is closed


def test_connections_end_with_their_loop_without_a_trace(bailian: BailianEmulator) -> None:
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
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stderr == ""
    assert len(done.stdout.split()) == 4
