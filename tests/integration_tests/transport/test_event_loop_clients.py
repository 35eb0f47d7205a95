"""Clients on event loops: connections with unsolicited replies, and loops that are never closed."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

import pytest
import redis

from langchain_bailian_app.emulator import App
from langchain_bailian_app.errors import BailianConnectionError
from langchain_bailian_app.redis_sessions import RedisSessionStore
from tests.call_styles import ainvoke, astream, invoke, make_model_at, parametrize_call_styles
from tests.fixtures import encode_sse, frame_body
from tests.raw_server import encode_response, run_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator
    from tests.call_styles import CallStyle
    from tests.raw_server import Connection

    MakeModel = Callable[..., BailianAppChatModel]
    Wait = Callable[[Callable[[], bool]], Awaitable[None]]

STRAY_REPLY = encode_response(encode_sse(frame_body("别人的答案", "stop")))
REQUEST_TIMEOUT_REPLY = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"


class StrayReplies:
    """A handler that answers each request with its number, and then sends unsolicited bytes.

    The bytes are sent after `delay` seconds, or together with the reply if it is None.
    """

    def __init__(self, stray_bytes: bytes, delay: float | None = 0.01) -> None:
        self._stray_bytes = stray_bytes
        self._delay = delay
        self._numbers = count(1)
        self.connections: list[Connection] = []
        self.sent_numbers: list[int] = []

    def __call__(self, connection: Connection) -> None:
        self.connections.append(connection)
        while connection.receive_request():
            number = next(self._numbers)
            try:
                self._reply(connection, encode_numbered_reply(number))
            finally:
                self.sent_numbers.append(number)

    def _reply(self, connection: Connection, reply: bytes) -> None:
        if self._delay is None:
            connection.send(reply + self._stray_bytes)
        else:
            # The end of the body arrives together with the stray bytes if the delay is 0.
            connection.send(reply[:-1])
            time.sleep(0.005)
            connection.send(reply[-1:])
            time.sleep(self._delay)
            connection.send(self._stray_bytes)


def encode_numbered_reply(number: int) -> bytes:
    return encode_response(encode_sse(frame_body(f"答案{number}", "stop")))


async def abatch(model: BailianAppChatModel) -> str:
    return "\n".join(answer.text for answer in await model.abatch(["?", "?", "?"]))


async def wait_idle(is_over: Callable[[], bool]) -> None:
    """Wait for the stray bytes to be sent, and for the loop to read them."""
    while not is_over():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)


async def block_the_loop(is_over: Callable[[], bool]) -> None:
    """Wait for the stray bytes to be sent, but let the loop not read them."""
    while not is_over():
        time.sleep(0.001)  # noqa: ASYNC251
    time.sleep(0.01)  # noqa: ASYNC251


all_waits = pytest.mark.parametrize("wait", [wait_idle, block_the_loop])


async def call_repeatedly(
    call_style: CallStyle, replies: StrayReplies, wait: Wait = wait_idle
) -> list[str]:
    """Call the model three times and return the answers; wait for the stray bytes in between."""
    texts: list[str] = []
    with run_server(replies) as base_url:
        model = make_model_at(base_url)
        for _ in range(3):
            texts.extend((await call_style(model)).split("\n"))
            await wait(lambda: len(replies.sent_numbers) == len(texts))
    return texts


def number_answers(texts: list[str]) -> list[str]:
    return [f"答案{number}" for number in range(1, len(texts) + 1)]


@pytest.mark.slow
@all_waits
@pytest.mark.parametrize("delay", [None, 0.0, 0.01], ids=["with it", "with its end", "afterwards"])
@parametrize_call_styles(invoke, ainvoke, astream, abatch)
async def test_unsolicited_replies_are_no_answers(
    call_style: CallStyle, delay: float | None, wait: Wait
) -> None:
    texts = await call_repeatedly(call_style, StrayReplies(STRAY_REPLY, delay), wait)

    assert sorted(texts) == number_answers(texts)


@pytest.mark.slow
@all_waits
@pytest.mark.parametrize("delay", [None, 0.0, 0.01], ids=["with it", "with its end", "afterwards"])
@pytest.mark.parametrize(
    "stray_bytes",
    [STRAY_REPLY[:30], REQUEST_TIMEOUT_REPLY, b"\r\n"],
    ids=["a part of a reply", "a status 408", "a line end"],
)
async def test_unsolicited_bytes_do_not_become_part_of_an_answer(
    stray_bytes: bytes, delay: float | None, wait: Wait
) -> None:
    texts = await call_repeatedly(ainvoke, StrayReplies(stray_bytes, delay), wait)

    assert texts == number_answers(texts)


@pytest.mark.slow
@parametrize_call_styles(invoke, ainvoke, astream, abatch)
async def test_a_connection_that_has_received_garbage_is_not_reused(call_style: CallStyle) -> None:
    replies = StrayReplies(b"x")
    texts = await call_repeatedly(call_style, replies)

    assert sorted(texts) == number_answers(texts)
    assert len(replies.connections) == len(texts)


async def test_a_connection_without_unsolicited_bytes_is_reused() -> None:
    replies = StrayReplies(b"")

    assert len(await call_repeatedly(ainvoke, replies)) == 3
    assert len(replies.connections) == 1


@pytest.mark.slow
@all_waits
async def test_the_late_reply_to_a_cancelled_call_is_no_answer(wait: Wait) -> None:
    def handle(connection: Connection) -> None:
        while connection.receive_request():
            number = next(numbers)
            if number == 1:
                received.set()
                cancelled.wait()
            with suppress(OSError):  # the client has disconnected
                connection.send(encode_numbered_reply(number))
            sent_numbers.append(number)

    numbers = count(1)
    sent_numbers: list[int] = []
    received, cancelled = threading.Event(), threading.Event()
    with run_server(handle) as base_url:
        model = make_model_at(base_url)
        task = asyncio.create_task(model.ainvoke("?"))
        await asyncio.to_thread(received.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        cancelled.set()
        await wait(lambda: sent_numbers == [1])
        texts = [await ainvoke(model) for _ in range(3)]

    assert texts == ["答案2", "答案3", "答案4"]


async def test_bytes_on_a_new_connection_are_a_protocol_error() -> None:
    def greet(connection: Connection) -> None:
        connections.append(connection)
        connection.send(b"220 mail.example ESMTP\r\n\r\n")
        connection.wait()

    connections: list[Connection] = []
    with run_server(greet) as base_url:
        with pytest.raises(BailianConnectionError, match="220 mail"):
            await ainvoke(make_model_at(base_url, max_retries=1))
        assert len(connections) == 1


LOOP_SCRIPT = """
import asyncio, gc, logging, os, resource, sys, warnings, weakref
from langchain_bailian_app import BailianAppChatModel

redis_url = sys.argv[1]
logging.getLogger("asyncio").setLevel("ERROR")  # no warnings about slow callbacks
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))  # 40 loops need more
gc.disable()  # Python might collect the loops too, in time or too late
fields = {}
if redis_url:
    from langchain_bailian_app.rate_limits import RedisRateLimiter
    from langchain_bailian_app.redis_sessions import RedisSessionStore
    fields["history"] = "session"
    fields["session_store"] = RedisSessionStore.from_url(redis_url)
    fields["rate_limiter"] = RedisRateLimiter.from_url(redis_url, key="a", requests_per_minute=60_000)
model = BailianAppChatModel(**fields)

async def call():
    assert (await model.ainvoke("?")).text

async def stream():
    await call()
    async for _ in model.astream("?"):
        pass
    assert len(await model.abatch(["?", "?"])) == 2

def run_loop(way, call):
    if way == "asyncio.run":
        return asyncio.run(call())
    loop = asyncio.new_event_loop()
    loop.run_until_complete(call())
    if way == "closed in order":
        loop.run_until_complete(loop.shutdown_asyncgens())
    if way in {"closed", "closed in order"}:
        loop.close()
    return weakref.ref(loop)

for way in ["dropped", "closed", "closed in order", "asyncio.run"]:
    # Python itself warns about loops that are not closed in order.
    warnings.simplefilter("ignore" if way in {"dropped", "closed"} else "error")
    count = 40 if way == "dropped" else 15
    references = [run_loop(way, stream if number % 10 == 0 else call) for number in range(count)]
    gc.collect()
    loops_left = sum(reference is not None and reference() is not None for reference in references)
    print(way, loops_left, len(os.listdir("/proc/self/fd")), sep=":")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts the open files in /proc")
@pytest.mark.parametrize("with_redis", [False, True], ids=["", "with Redis"])
def test_loops_are_collected_with_their_clients(
    bailian: BailianEmulator, request: pytest.FixtureRequest, *, with_redis: bool
) -> None:
    variables = {
        "BAILIAN_APP_ID": bailian.add_app(App("short", answer=lambda _: "好")),
        "DASHSCOPE_API_KEY": bailian.api_key,
        "DASHSCOPE_BASE_URL": bailian.base_url,
    }
    redis_url = request.getfixturevalue("redis_url") if with_redis else ""
    completed = subprocess.run(
        [sys.executable, "-c", LOOP_SCRIPT, redis_url],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    ways = [line.split(":") for line in completed.stdout.splitlines()]

    assert completed.stderr == ""
    assert [(way, int(loops_left)) for way, loops_left, _ in ways] == [
        ("dropped", 0),
        ("closed", 0),
        ("closed in order", 0),
        ("asyncio.run", 0),
    ]
    assert all(int(open_files) < 20 for _, _, open_files in ways)


def test_a_dropped_store_closes_its_connection_on_its_loop(redis_url: str) -> None:
    def is_connected() -> bool:
        return any(client["name"] == "dropped" for client in admin.client_list())

    async def wait_until_closed() -> None:
        while is_connected():  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    loop = asyncio.new_event_loop()
    with redis.Redis.from_url(redis_url) as admin:
        store = RedisSessionStore.from_url(f"{redis_url}?client_name=dropped")
        loop.run_until_complete(store.aput("thread", "session"))

        assert is_connected()

        del store
        gc.collect()
        loop.run_until_complete(asyncio.wait_for(wait_until_closed(), 10))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def test_a_store_can_be_dropped_after_its_loop_was_closed(redis_url: str) -> None:
    store = RedisSessionStore.from_url(redis_url)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(store.aput("thread", "session"))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    del store

    gc.collect()


@pytest.mark.slow
def test_the_clients_of_loops_in_use_are_kept() -> None:
    replies = StrayReplies(b"", None)
    loops = [asyncio.new_event_loop() for _ in range(40)]
    with run_server(replies) as base_url:
        model = make_model_at(base_url)
        for _ in range(2):
            for loop in loops:
                assert loop.run_until_complete(ainvoke(model))
            assert len(replies.connections) == len(loops)
        for loop in loops:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


@pytest.mark.slow
def test_loops_in_threads_are_collected_by_another_thread(
    bailian: BailianEmulator, make_model: MakeModel
) -> None:
    def run_and_drop(_: int) -> weakref.ref[asyncio.AbstractEventLoop]:
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(model.ainvoke("?")).text
        return weakref.ref(loop)

    model = make_model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Python's own, for the loops
        with ThreadPoolExecutor(4) as threads:
            references = list(threads.map(run_and_drop, range(40)))
        gc.collect()

    assert not any(reference() for reference in references)
