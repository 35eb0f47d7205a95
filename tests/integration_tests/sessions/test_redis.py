"""Tests of the Redis session store."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import pickle
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import redis
import redis.asyncio as aioredis

from langchain_bailian_app import (
    BailianAppChatModel,
    SessionStore,
)
from langchain_bailian_app.redis_sessions import RedisSessionStore
from langchain_bailian_app.sessions._store import KEY_LIFETIME, SESSION_LIFETIME
from tests.integration_tests.sessions.test_processes import add_hashing_app
from tests.integration_tests.sessions.test_store_contract import OTHER_SESSION, SESSION, THREAD
from tests.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app.emulator import BailianEmulator

    MakeModel = Callable[..., BailianAppChatModel]


def use_every_method(store: SessionStore, session: str = SESSION) -> None:
    store.open(session, "first")
    token = store.claim(session, 1, "first")
    assert token
    store.release(token)
    token = store.claim(session, 1, "first")
    assert token
    assert store.complete(token, 2, "second")
    store.put(session, "s")
    assert store.get(session) == "s"


async def use_every_async_method(store: SessionStore, session: str = SESSION) -> None:
    await store.aopen(session, "first")
    token = await store.aclaim(session, 1, "first")
    assert token
    await store.arelease(token)
    token = await store.aclaim(session, 1, "first")
    assert token
    assert await store.acomplete(token, 2, "second")
    await store.aput(session, "s")
    assert await store.aget(session) == "s"


async def test_each_method_is_one_round_trip(store: RedisSessionStore, admin: redis.Redis) -> None:
    use_every_method(store, OTHER_SESSION)
    await use_every_async_method(store, THREAD)
    admin.config_resetstat()
    use_every_method(store)
    await use_every_async_method(store, f"{SESSION} again")
    command_stats = admin.info("commandstats")
    within_scripts = {"cmdstat_exists", "cmdstat_hset", "cmdstat_hdel", "cmdstat_pexpire"}
    within_scripts |= {"cmdstat_hget", "cmdstat_hmget", "cmdstat_config|resetstat", "cmdstat_info"}
    sent = {
        name: numbers["calls"] for name, numbers in command_stats.items() if name not in within_scripts
    }

    assert sent == {"cmdstat_evalsha": 10, "cmdstat_get": 2, "cmdstat_set": 2}


def test_nothing_in_redis_reveals_services_or_threads(
    store: RedisSessionStore, admin: redis.Redis
) -> None:
    use_every_method(store)
    store.claim(SESSION, 2, "second")
    store.put(THREAD, "session-id")
    sessions, threads = admin.keys("bailian:session:*"), admin.keys("bailian:thread:*")
    values = [admin.hgetall(key) for key in sessions] + [admin.get(key) for key in threads]

    assert len(sessions) == 1
    assert len(threads) == 2
    for key in admin.scan_iter():
        assert re.fullmatch(r"bailian:\w+:[0-9a-f]{64}", key)
        assert 0 < admin.ttl(key) <= (KEY_LIFETIME if key in threads else SESSION_LIFETIME)
    assert not re.search(r"dashscope|workspace|app|Alice", json.dumps(values))


def test_prefixes_keep_stores_apart(
    redis_url: str, store: RedisSessionStore, admin: redis.Redis
) -> None:
    other_store = RedisSessionStore.from_url(redis_url, prefix="another:")
    store.open(SESSION, "first")
    store.put(THREAD, "s")

    assert other_store.claim(SESSION, 1, "first") is None
    assert other_store.get(THREAD) is None
    use_every_method(other_store)
    other_store.close()
    assert store.claim(SESSION, 1, "first")


def test_a_store_survives_a_server_that_forgot_its_scripts(
    store: RedisSessionStore, admin: redis.Redis
) -> None:
    use_every_method(store)
    admin.script_flush()

    use_every_method(store, OTHER_SESSION)


def test_a_claim_repeated_after_a_lost_reply_succeeds(redis_url: str, admin: redis.Redis) -> None:
    class RepeatingRedis(redis.Redis):
        def evalsha(self, *arguments: Any) -> Any:
            super().evalsha(*arguments)
            return super().evalsha(*arguments)

    with RepeatingRedis.from_url(redis_url) as client:
        store = RedisSessionStore(client=client)
        store.open(SESSION, "first")

        assert store.claim(SESSION, 1, "first")
        assert store.claim(SESSION, 1, "first") is None


@pytest.mark.parametrize("decode_responses", [False, True])
async def test_clients_of_the_caller_are_used_and_left_open(
    redis_url: str, admin: redis.Redis, *, decode_responses: bool
) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=decode_responses) as client:
        async with aioredis.from_url(redis_url, decode_responses=decode_responses) as async_client:
            store = RedisSessionStore(client=client, async_client=async_client)
            use_every_method(store)
            await use_every_async_method(store, OTHER_SESSION)
            connected_clients = admin.info("clients")["connected_clients"]
            store.close()
            await store.aclose()

            assert admin.info("clients")["connected_clients"] == connected_clients
            assert isinstance(store, SessionStore)


async def test_a_missing_client_is_an_error(redis_url: str) -> None:
    with (
        redis.Redis.from_url(redis_url) as client,
        pytest.raises(ValueError, match="missing `async_client`"),
    ):
        await RedisSessionStore(client=client).aget(THREAD)
    async with aioredis.from_url(redis_url) as async_client:
        with pytest.raises(ValueError, match="missing `client`"):
            RedisSessionStore(async_client=async_client).get(THREAD)
    with pytest.raises(ValueError, match="from_url"):
        RedisSessionStore()


def test_a_store_shows_no_password_and_cannot_be_pickled(make_model: MakeModel) -> None:
    store = RedisSessionStore.from_url("redis://user:planted@127.0.0.1")
    model = make_model(session_store=store)

    assert "planted" not in repr(store) + repr(model)
    assert copy.deepcopy(model).session_store is store
    with pytest.raises(TypeError, match="create another one"):
        pickle.dumps(model)


@pytest.mark.slow
def test_one_store_on_many_loops_at_once_leaves_no_connection(
    redis_url: str, admin: redis.Redis
) -> None:
    store = RedisSessionStore.from_url(redis_url)
    connected_clients = admin.info("clients")["connected_clients"]

    async def use_concurrently(loop: int) -> None:
        await asyncio.gather(
            *(use_every_async_method(store, f"{SESSION} {loop} {n}") for n in range(60))
        )

    for _ in range(2):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda loop: asyncio.run(use_concurrently(loop)), range(4)))
        admin.flushall()
    for _ in range(2):  # after `close`, it reconnects
        use_every_method(store)
        store.close()
        admin.flushall()
    deadline = time.monotonic() + 5
    while (
        admin.info("clients")["connected_clients"] > connected_clients and time.monotonic() < deadline
    ):
        time.sleep(0.01)

    assert admin.info("clients")["connected_clients"] == connected_clients


@pytest.mark.slow
@pytest.mark.parametrize("closing", [True, False])
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the client is not closed
async def test_a_manually_closed_loop_is_forgotten(
    redis_url: str, admin: redis.Redis, *, closing: bool
) -> None:
    store = RedisSessionStore.from_url(redis_url)

    def run_loop() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(use_every_async_method(store))
        if closing:
            loop.run_until_complete(store.aclose())
            loop.run_until_complete(store.aclose())  # has no effect
        loop.close()

    await asyncio.to_thread(run_loop)
    await use_every_async_method(store, OTHER_SESSION)
    await store.aclose()
    gc.collect()  # here, where the warning is expected


@pytest.mark.slow
async def test_a_store_works_on_a_cluster() -> None:
    with redis_server(cluster=True) as url, redis.RedisCluster.from_url(url) as client:
        async with aioredis.RedisCluster.from_url(url) as async_client:
            store = RedisSessionStore(client=client, async_client=async_client)
            for number in range(10):  # in as many slots
                use_every_method(store, f"{SESSION}{number}")
                await use_every_async_method(store, f"{OTHER_SESSION}{number}")


@pytest.mark.slow
def test_without_the_package_the_import_error_names_the_extra_to_install() -> None:
    script = """
import sys
sys.modules["redis"] = None
import langchain_bailian_app
try:
    import langchain_bailian_app.redis_sessions
except ImportError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "pip install 'langchain-bailian-app[redis]'" in result.stdout


async def test_an_unreachable_server_fails_a_call_before_anything_is_sent(
    bailian: BailianEmulator, make_model: MakeModel
) -> None:
    with redis_server() as url:
        pass  # stops the server
    store = RedisSessionStore.from_url(url)
    model = make_model(
        add_hashing_app(bailian), history="thread", session_key="key", session_store=store
    )
    sent = len(bailian.requests)
    with pytest.raises(redis.ConnectionError):
        model.invoke("?")
    with pytest.raises(redis.ConnectionError):
        await model.ainvoke("?")

    assert len(bailian.requests) == sent


async def test_a_claim_cancelled_before_its_reply_came_is_released(
    redis_url: str, admin: redis.Redis
) -> None:
    done = asyncio.Event()

    class SlowRedis(aioredis.Redis):
        async def evalsha(self, *arguments: Any) -> Any:
            result = await super().evalsha(*arguments)
            if not done.is_set():
                done.set()
                await asyncio.sleep(60)
            return result

    async with SlowRedis.from_url(redis_url) as slow, aioredis.from_url(redis_url) as quick:
        store = RedisSessionStore(async_client=quick)
        await use_every_async_method(store)  # loads the scripts into the server
        task = asyncio.create_task(RedisSessionStore(async_client=slow).aclaim(SESSION, 2, "second"))
        await done.wait()
        assert await store.aclaim(SESSION, 2, "second") is None
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert await store.aclaim(SESSION, 2, "second")


async def test_a_thread_continues_after_a_web_framework_cancelled_its_call(
    bailian: BailianEmulator, make_model: MakeModel, store: RedisSessionStore
) -> None:
    """Continue a thread after anyio (as in Starlette) has cancelled a call and all its later awaits."""
    app_id = add_hashing_app(bailian, pace=0.01)
    model = make_model(app_id, history="thread", session_key="key", session_store=store)
    first = await model.ainvoke("一")

    async def cancel_at_first_chunk() -> None:
        async for _ in model.astream("二"):
            await store.aclose()  # so that the release of the claim has to wait for a connection
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(cancel_at_first_chunk)
    await asyncio.sleep(0.1)
    third = await model.ainvoke("三")
    await store.aclose()

    assert third.response_metadata["session_id"] == first.response_metadata["session_id"]
