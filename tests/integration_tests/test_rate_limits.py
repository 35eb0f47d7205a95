"""Tests of a rate limit in Redis, shared by processes, threads and event loops."""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import pickle
import socket
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import redis
import redis.asyncio as aioredis

from langchain_bailian_app.rate_limits import RedisRateLimiter
from tests.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

    MakeModel = Callable[..., BailianAppChatModel]

PER_SECOND = 100
PER_MINUTE = PER_SECOND * 60
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload([__name__])


@pytest.fixture
def admin(redis_url: str) -> Iterator[redis.Redis]:
    """Return a client of an empty server."""
    # No timeout: a client that monitors the server waits until the other processes have started.
    with redis.Redis.from_url(redis_url, decode_responses=True, socket_timeout=None) as client:
        client.flushall()
        yield client


@pytest.fixture
def make_limiter(redis_url: str, admin: redis.Redis) -> Iterator[Callable[..., RedisRateLimiter]]:
    """Return a function that creates limiters on an empty server."""
    limiters = []

    def create(per_minute: int = PER_MINUTE, **arguments: int | str) -> RedisRateLimiter:
        limiters.append(
            RedisRateLimiter.from_url(
                redis_url, **{"key": "app", "requests_per_minute": per_minute} | arguments
            )
        )
        return limiters[-1]

    yield create
    for limiter in limiters:
        limiter.close()


@contextmanager
def record_permissions(admin: redis.Redis) -> Iterator[list[float]]:
    """Record the times of permissions, from the commands of the script that the server logs."""
    times: list[float] = []
    with admin.monitor() as monitor:

        def listen() -> None:
            while True:
                command = monitor.next_command()
                if command["command"] == "ECHO over":
                    return
                if command["command"].upper().startswith("LPUSH"):
                    times.append(command["time"])

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            yield times
        finally:
            admin.echo("over")
            listener.join()


def acquire_all(url: str, threads: int, tasks: int) -> bool:
    """Acquire once in each thread and task; return whether the tasks finished in order."""
    limiter = RedisRateLimiter.from_url(url, key="app", requests_per_minute=PER_MINUTE)

    order = []

    async def acquire_one(number: int) -> None:
        await limiter.aacquire()
        order.append(number)

    async def all_tasks() -> None:
        await asyncio.gather(*map(acquire_one, range(tasks)))

    with ThreadPoolExecutor(threads + 1) as pool:
        waiting = [pool.submit(limiter.acquire) for _ in range(threads)]
        pool.submit(asyncio.run, all_tasks()).result()
        assert all(future.result() for future in waiting)
    limiter.close()
    return order == list(range(tasks))


@pytest.mark.slow
@pytest.mark.no_cover  # measuring coverage would take longer than the waiting
def test_processes_threads_and_loops_together_keep_the_limit_and_all_get_through(
    redis_url: str, admin: redis.Redis, make_limiter: Callable[..., RedisRateLimiter]
) -> None:
    with (
        pytest.MonkeyPatch.context() as environment,
        ProcessPoolExecutor(2, mp_context=FORKSERVER) as pool,
        record_permissions(admin) as times,
    ):
        environment.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        futures = [pool.submit(acquire_all, redis_url, 20, 60) for _ in range(2)]
        while len(times) < PER_SECOND and not futures[0].done():
            time.sleep(0.01)
        make_limiter().acquire()  # a late one in another process

        assert all(future.result(30) for future in futures)
    assert len(times) == 2 * (20 + 60) + 1
    assert all(times[n + PER_SECOND] - times[n] > 1 for n in range(len(times) - PER_SECOND))
    assert times[-1] - times[0] < 3  # one second would be ideal


async def test_non_blocking_calls_return_at_once(make_limiter: Callable[..., RedisRateLimiter]) -> None:
    limiter = make_limiter(per_minute=180)

    assert [limiter.acquire(blocking=False) for _ in range(2)] == [True, True]
    assert await limiter.aacquire(blocking=False) is True
    start = time.monotonic()
    assert limiter.acquire(blocking=False) is False
    assert await limiter.aacquire(blocking=False) is False
    assert time.monotonic() - start < 0.3
    assert make_limiter(per_minute=180, key="another").acquire(blocking=False)
    assert make_limiter(per_minute=180, prefix="another:").acquire(blocking=False)
    await limiter.aclose()


@pytest.mark.parametrize("hours", [-1, 1])
async def test_the_clock_of_the_server_counts_where_that_of_the_machine_is_wrong(
    make_limiter: Callable[..., RedisRateLimiter], monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    limiter, real_time = make_limiter(per_minute=1), time.time
    assert [limiter.acquire(blocking=False) for _ in range(3)] == [True, False, False]
    monkeypatch.setattr(time, "time", lambda: real_time() + hours * 3600)

    assert limiter.acquire(blocking=False) is False
    assert await limiter.aacquire(blocking=False) is False
    await limiter.aclose()


@pytest.mark.slow
async def test_a_model_waits_for_its_limiter(
    make_model: MakeModel, make_limiter: Callable[..., RedisRateLimiter], admin: redis.Redis
) -> None:
    limiter = make_limiter(per_minute=120)
    model = make_model(rate_limiter=limiter)
    with record_permissions(admin) as times:
        model.invoke("?")
        list(model.stream("?"))
        await model.ainvoke("?")

    assert len(times) == 3
    assert times[2] - times[0] > 1
    assert 0 < admin.ttl(admin.keys("bailian:*")[0]) <= 1  # the key expires
    await limiter.aclose()


async def test_an_unreachable_server_fails_a_call_before_anything_is_sent(
    bailian: BailianEmulator, make_model: MakeModel
) -> None:
    with redis_server() as url:
        pass  # stops the server
    model = make_model(rate_limiter=RedisRateLimiter.from_url(url, key="app", requests_per_minute=60))
    sent = len(bailian.requests)
    with pytest.raises(redis.ConnectionError):
        model.invoke("?")
    with pytest.raises(redis.ConnectionError):
        await model.ainvoke("?")

    assert len(bailian.requests) == sent


async def test_when_the_server_hangs_all_waiters_fail_with_the_first() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        limiter = RedisRateLimiter.from_url(
            f"redis://127.0.0.1:{silent_server.getsockname()[1]}",
            key="app",
            requests_per_minute=60,
            socket_timeout=0.2,
            retry=None,
        )
        start = time.monotonic()
        errors = await asyncio.gather(*(limiter.aacquire() for _ in range(20)), return_exceptions=True)
        with ThreadPoolExecutor(20) as pool:
            waiting = [pool.submit(limiter.acquire) for _ in range(20)]
            errors += [future.exception() for future in waiting]

        assert time.monotonic() - start < 2  # one after the other would take eight
        assert all(isinstance(error, redis.RedisError) for error in errors)
        assert "an earlier request in the queue" in str(errors[19])
        limiter.close()
        await limiter.aclose()


@pytest.mark.parametrize("decode_responses", [False, True])
async def test_clients_of_the_caller_are_used_and_left_open(
    redis_url: str, admin: redis.Redis, *, decode_responses: bool
) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=decode_responses) as client:
        async with aioredis.from_url(redis_url, decode_responses=decode_responses) as async_client:
            limiter = RedisRateLimiter(
                key="app", requests_per_minute=1, client=client, async_client=async_client
            )

            assert limiter.acquire(blocking=False)
            admin.script_flush()  # as after a restart
            assert not await limiter.aacquire(blocking=False)
            limiter.close()
            await limiter.aclose()
            assert client.ping()
            assert await async_client.ping()


async def test_a_missing_client_is_an_error(redis_url: str) -> None:
    with (
        redis.Redis.from_url(redis_url) as client,
        pytest.raises(ValueError, match="missing `async_client`"),
    ):
        await RedisRateLimiter(key="app", requests_per_minute=60, client=client).aacquire()
    async with aioredis.from_url(redis_url) as async_client:
        with pytest.raises(ValueError, match="missing `client`"):
            RedisRateLimiter(key="app", requests_per_minute=60, async_client=async_client).acquire()


def test_one_limiter_serves_one_loop_after_the_other_and_leaves_no_connection(
    admin: redis.Redis, make_limiter: Callable[..., RedisRateLimiter]
) -> None:
    limiter, connected_clients = make_limiter(), admin.info("clients")["connected_clients"]

    async def acquire_many() -> None:
        await asyncio.gather(*(limiter.aacquire() for _ in range(20)))

    for _ in range(3):
        asyncio.run(acquire_many())
    deadline = time.monotonic() + 5
    while (
        admin.info("clients")["connected_clients"] > connected_clients and time.monotonic() < deadline
    ):
        time.sleep(0.01)

    assert admin.info("clients")["connected_clients"] == connected_clients


def test_a_limiter_shows_no_password_and_cannot_be_pickled(make_model: MakeModel) -> None:
    limiter = RedisRateLimiter.from_url(
        "redis://user:planted@127.0.0.1", key="app", requests_per_minute=60
    )
    model = make_model(rate_limiter=limiter)

    assert "planted" not in repr(limiter) + repr(model)
    with pytest.raises(TypeError, match="create another one"):
        pickle.dumps(model)


def test_without_the_package_the_import_error_names_the_extra_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, RedisRateLimiter.__module__)
    monkeypatch.setitem(sys.modules, "limits", None)
    with pytest.raises(ImportError, match=r"pip install 'langchain-bailian-app\[redis\]'"):
        importlib.import_module(RedisRateLimiter.__module__)
