"""Tests of the Redis store with lost replies, a frozen server, Ctrl-C, forks and finalizers."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from contextlib import contextmanager, suppress
from functools import partial
from queue import LifoQueue
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import redis
import redis.asyncio as aioredis

from langchain_bailian_app.redis_sessions import RedisSessionStore
from langchain_bailian_app.sessions._background_releases import BackgroundReleases
from langchain_bailian_app.sessions._store_ops import Open, arun_store_ops
from tests.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

    MakeModel = Callable[..., BailianAppChatModel]

SESSION = "https://dashscope.example/api/v1\nworkspace\napp\nsession"


@pytest.fixture
def admin(redis_url: str) -> Iterator[redis.Redis]:
    """Return a client of an empty server."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.flushall()
        yield client


def claim_when_free(store: RedisSessionStore, turn: int = 1, digest: str = "first") -> float:
    """Wait until a session can be claimed again; return the seconds, at most 5."""
    started_at = time.monotonic()
    while time.monotonic() - started_at < 5:
        if store.claim(SESSION, turn, digest):
            return time.monotonic() - started_at
        time.sleep(0.01)
    message = "the session is still claimed"
    raise AssertionError(message)


# -- lost replies ------------------------------------------------------------------------------------


class LossyProxy:
    """Proxy to a Redis server that can drop replies: it closes the connection instead."""

    def __init__(self, url: str) -> None:
        self._server_port = int(url.rpartition(":")[2])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self.replies_to_lose = 0
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, *call: Any) -> None:
        self._threads.append(threading.Thread(target=call[0], args=call[1:], daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                lost = threading.Event()
                for ends in ((client, server), (server, client)):
                    self._start(self._copy, *ends, lost)

    def _copy(self, source: socket.socket, target: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if b"EVALSHA" in data and self.replies_to_lose > 0:
                    self.replies_to_lose -= 1
                    lost.set()
                if lost.is_set() and b"EVALSHA" not in data:
                    break
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)  # ends the other thread
        source.close()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def proxy(redis_url: str, admin: redis.Redis) -> Iterator[LossyProxy]:
    """Return a proxy to an empty server."""
    lossy = LossyProxy(redis_url)
    yield lossy
    lossy.close()


async def test_one_lost_reply_is_harmless(proxy: LossyProxy) -> None:
    store = RedisSessionStore.from_url(proxy.url)
    store.open(SESSION, "first")
    turn, digest = 1, "first"
    for _ in range(2):
        proxy.replies_to_lose = 1
        token = store.claim(SESSION, turn, digest)
        assert token
        proxy.replies_to_lose = 1
        store.release(token)
        token = await store.aclaim(SESSION, turn, digest)
        assert token
        turn, digest = turn + 1, f"{digest}+"
        proxy.replies_to_lose = 1
        assert store.complete(token, turn, digest)
        proxy.replies_to_lose = 1
        token = await store.aclaim(SESSION, turn, digest)
        assert token
        turn, digest = turn + 1, f"{digest}+"
        proxy.replies_to_lose = 1
        assert await store.acomplete(token, turn, digest)
        assert proxy.replies_to_lose == 0
    store.close()
    await store.aclose()


def test_a_repeated_complete_is_only_accepted_for_the_same_turn(redis_url: str, admin: Any) -> None:
    store = RedisSessionStore.from_url(redis_url)
    store.open(SESSION, "first")
    token = store.claim(SESSION, 1, "first")
    assert token
    assert store.complete(token, 2, "second")
    assert store.complete(token, 2, "second")
    assert not store.complete(token, 3, "third")
    next_token = store.claim(SESSION, 2, "second")
    assert next_token
    assert store.complete(next_token, 3, "third")
    assert not store.complete(token, 2, "second")
    store.close()


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_claim_whose_replies_are_all_lost_is_released_in_the_background(
    redis_url: str, proxy: LossyProxy, *, is_async: bool
) -> None:
    store, other_store = RedisSessionStore.from_url(proxy.url), RedisSessionStore.from_url(redis_url)
    store.open(SESSION, "first")
    proxy.replies_to_lose = 2  # also that of the retry
    claim = store.aclaim if is_async else partial(asyncio.to_thread, store.claim)
    with pytest.raises(redis.ConnectionError):
        await claim(SESSION, 1, "first")

    assert claim_when_free(other_store) < 4
    other_store.close()
    store.close()
    await store.aclose()


@pytest.mark.slow
async def test_a_store_with_an_async_client_only_releases_in_a_task(
    redis_url: str, proxy: LossyProxy
) -> None:
    async with aioredis.Redis.from_url(proxy.url, retry=None) as client:
        client.connection_pool.connection_kwargs["retry"] = None
        store = RedisSessionStore(async_client=client)
        await store.aopen(SESSION, "first")
        proxy.replies_to_lose = 3
        with pytest.raises(redis.ConnectionError):
            await store.aclaim(SESSION, 1, "first")
        other_store = RedisSessionStore.from_url(redis_url)
        await asyncio.sleep(0.5)

        assert await asyncio.to_thread(claim_when_free, other_store) < 2
        other_store.close()
        await asyncio.gather(*store._release_tasks)


def test_an_unreachable_server_is_reported_soon() -> None:
    with redis_server() as url:
        pass  # stops the server
    store = RedisSessionStore.from_url(url)
    started_at = time.monotonic()
    with pytest.raises(redis.ConnectionError):
        store.claim(SESSION, 1, "first")

    assert time.monotonic() - started_at < 2


async def test_the_callers_own_retry_is_used(proxy: LossyProxy) -> None:
    store = RedisSessionStore.from_url(proxy.url, retry=None)
    store.open(SESSION, "first")
    proxy.replies_to_lose = 1
    with pytest.raises(redis.ConnectionError):
        store.claim(SESSION, 1, "first")
    store.close()


# -- a frozen server ---------------------------------------------------------------------------------


@contextmanager
def frozen(admin: redis.Redis) -> Iterator[Callable[[], None]]:
    """Freeze a server; yield a function that resumes it."""
    pid = admin.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield lambda: os.kill(pid, signal.SIGCONT)
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize("use_anyio", [False, True], ids=["asyncio", "anyio"])
async def test_a_call_cancelled_while_the_server_is_frozen_ends_at_once_and_leaves_no_claim(
    bailian: BailianEmulator, make_model: MakeModel, redis_url: str, admin: Any, *, use_anyio: bool
) -> None:
    store = RedisSessionStore.from_url(redis_url)
    model = make_model(history="thread", session_key="key", session_store=store)
    first = await model.ainvoke("一")
    with frozen(admin) as resume:
        started_at = time.monotonic()
        if use_anyio:
            with anyio.move_on_after(0.3):
                await model.ainvoke("二")
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(model.ainvoke("二"), 0.3)
        seconds = time.monotonic() - started_at
        resume()
    resumed_at = time.monotonic()
    while any(admin.hexists(key, "token") for key in admin.scan_iter("*:session:*")):
        assert time.monotonic() - resumed_at < 3, "the thread is still claimed"
        await asyncio.sleep(0.01)
    with warnings.catch_warnings(action="error"):
        third = await model.ainvoke("三")
    await store.aclose()
    store.close()

    assert seconds < 2
    assert third.response_metadata["session_id"] == first.response_metadata["session_id"]


@pytest.mark.slow
def test_the_end_of_a_loop_with_an_abandoned_stream_leaks_no_connection(
    bailian: BailianEmulator, make_model: MakeModel, redis_url: str
) -> None:
    store = RedisSessionStore.from_url(redis_url)
    model = make_model(history="thread", session_key="user", session_store=store)

    async def abandon_stream() -> None:
        async for _ in model.astream("?"):
            break

    with warnings.catch_warnings(action="error"):
        for _ in range(5):
            asyncio.run(abandon_stream())
            gc.collect()  # an unclosed connection would warn
        assert model.invoke("?").response_metadata["history"] == "thread"
    store.close()


@pytest.mark.parametrize("is_connected", [False, True])
async def test_a_cancelled_operation_never_returns(redis_url: str, *, is_connected: bool) -> None:
    """On Python 3.11, redis-py may swallow the cancellation, so that the call would continue."""
    store = RedisSessionStore.from_url(redis_url)
    for turns in range(40):
        if not is_connected:
            await store.aclose()
        task = asyncio.create_task(arun_store_ops(store, iter(Open("session", "digest"))))
        for _ in range(turns):
            await asyncio.sleep(0.00005 * (turns % 2))
        if task.cancel():
            with pytest.raises(asyncio.CancelledError):
                await task
    await store.aclose()
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["claim", "release"])
def test_ctrl_c_while_the_server_is_frozen_leaves_no_claim(
    redis_url: str, admin: redis.Redis, operation: str
) -> None:
    store = RedisSessionStore.from_url(redis_url)
    store.open(SESSION, "first")
    token = store.claim(SESSION, 1, "first")
    assert token
    if operation == "claim":
        store.release(token)
    with frozen(admin) as resume:
        press_ctrl_c = partial(signal.pthread_kill, threading.get_ident(), signal.SIGINT)
        threading.Timer(0.3, press_ctrl_c).start()
        started_at = time.monotonic()
        interrupted = (
            partial(store.claim, SESSION, 1, "first")
            if operation == "claim"
            else partial(store.release, token)
        )
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        if operation == "release":
            store.release(token)  # does nothing: it is released in the background
        seconds = time.monotonic() - started_at
        resume()

    assert seconds < 3
    assert claim_when_free(store) < 4
    store.close()


EXIT = """
import os, signal, sys
import redis
from langchain_bailian_app.redis_sessions import RedisSessionStore

url, session, resumes = sys.argv[1], sys.argv[2], sys.argv[3] == "True"
store = RedisSessionStore.from_url(url, socket_timeout=0.1)
store.open(session, "first")
pid = redis.Redis.from_url(url).info("server")["process_id"]
os.kill(pid, signal.SIGSTOP)
try:
    store.claim(session, 1, "first")
except redis.TimeoutError:
    pass
if resumes:
    os.kill(pid, signal.SIGCONT)
"""


@pytest.mark.slow
@pytest.mark.parametrize("resumes", [True, False])
def test_the_end_of_the_interpreter_makes_a_last_attempt_and_waits_only_briefly(
    redis_url: str, admin: redis.Redis, *, resumes: bool
) -> None:
    pid = admin.info("server")["process_id"]
    started_at = time.monotonic()
    script = [sys.executable, "-c", EXIT, redis_url, SESSION, str(resumes)]
    try:
        subprocess.run(script, check=True, timeout=20)
    finally:
        os.kill(pid, signal.SIGCONT)

    assert time.monotonic() - started_at < 15
    if resumes:
        store = RedisSessionStore.from_url(redis_url)
        assert store.claim(SESSION, 1, "first")
        store.close()


# -- finalizers and forks ----------------------------------------------------------------------------


class CollectingQueue(LifoQueue[Any]):
    """Queue of connections in which the garbage collector runs while its lock is held."""

    collects = False

    def _get(self) -> Any:
        if self.collects:
            gc.collect(0)
        return super()._get()


def test_a_stream_may_be_closed_in_the_middle_of_an_operation_of_the_same_thread(
    redis_url: str, admin: redis.Redis
) -> None:
    store = RedisSessionStore.from_url(redis_url, queue_class=CollectingQueue)
    store.open(SESSION, "first")

    def stream() -> Iterator[None]:
        token = store.claim(SESSION, 1, "first")
        assert token
        try:
            yield
        finally:
            store.release(token)

    def drop_stream() -> None:
        cycle: list[Any] = [stream()]
        next(cycle[0])
        cycle.append(cycle)
        del cycle
        CollectingQueue.collects = True
        store.get("key")
        CollectingQueue.collects = False

    gc.disable()
    try:
        thread = threading.Thread(target=drop_stream, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive(), "deadlock"
    finally:
        CollectingQueue.collects = False
        gc.enable()

    assert claim_when_free(store) < 4
    store.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_thread_for_releases_ends_when_nothing_is_left_and_starts_again() -> None:
    released: list[str] = []

    def release(token: str) -> bool:
        released.append(token)
        return True

    releases = BackgroundReleases(release)
    for token in ("a", "b"):
        releases.add(token)
        wait_until(lambda: releases._thread is None)

        assert released[-1] == token
        assert token not in releases


@pytest.mark.slow
def test_a_failed_release_is_repeated_and_one_that_found_no_claim_is_repeated_once() -> None:
    results: list[bool | Exception] = [OSError("unreachable"), RuntimeError(), False, False]

    def release(_: str) -> bool:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    releases = BackgroundReleases(release)
    releases.add("token")
    assert "token" in releases
    wait_until(lambda: "token" not in releases)

    assert results == []


@pytest.mark.skipif(sys.platform == "win32", reason="requires os.fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_starts_its_own_thread_and_leaves_the_releases_of_its_parent() -> None:
    parent_blocks = threading.Event()
    released: list[str] = []

    def release(token: str) -> bool:
        if token == "of the parent":
            parent_blocks.wait(5)
        released.append(token)
        return True

    releases = BackgroundReleases(release)
    releases.add("of the parent")
    pid = os.fork()
    if pid == 0:
        releases.add("of the child")
        deadline = time.monotonic() + 5
        while not released and time.monotonic() < deadline:
            time.sleep(0.01)
        os._exit(0 if released == ["of the child"] and "of the parent" not in releases else 1)
    _, status = os.waitpid(pid, 0)
    parent_blocks.set()
    wait_until(lambda: "of the parent" not in releases)

    assert os.waitstatus_to_exitcode(status) == 0
    assert released == ["of the parent"]
