"""Tests of the contract of all session stores, of the Redis store, and of several processes."""

from __future__ import annotations

import asyncio
import copy
import gc
import hashlib
import json
import multiprocessing
import pickle
import re
import subprocess
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import redis
import redis.asyncio as aioredis
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    messages_from_dict,
    messages_to_dict,
)

from langchain_bailian_app import (
    BailianAppChatModel,
    BailianSessionWarning,
    InMemorySessionStore,
    SessionStore,
)
from langchain_bailian_app.emulator import App, Reply, Round
from langchain_bailian_app.redis_sessions import RedisSessionStore
from langchain_bailian_app.sessions._store import KEY_LIFETIME, SESSION_LIFETIME
from tests.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from multiprocessing.connection import Connection

    from langchain_bailian_app.emulator import BailianEmulator, Turn

    MakeModel = Callable[..., BailianAppChatModel]

SCOPE = "https://dashscope.example/api/v1\nworkspace\napp"
SESSION, OTHER_SESSION = f"{SCOPE}\nsession-1", f"{SCOPE}\nsession-2"
THREAD = f"{SCOPE}\nthread Alice"
PROCESSES, CONVERSATIONS, TURNS = 4, 100, 10
# Processes that share no state with this one. The modules are imported only once for all of them.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload([__name__])


@pytest.fixture
def admin(redis_url: str) -> Iterator[redis.Redis]:
    """Return a client of an empty server."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def store(redis_url: str, admin: redis.Redis) -> Iterator[RedisSessionStore]:
    """Return a store on an empty server."""
    session_store = RedisSessionStore.from_url(redis_url)
    yield session_store
    session_store.close()


# -- the contract ------------------------------------------------------------------------------------


@dataclass
class StoreAdapter:
    """Adapter that calls the synchronous or the async methods of a store."""

    store: SessionStore
    prefix: str
    pass_time: Callable[[float], None]

    async def call(self, method: str, *arguments: str | int) -> Any:
        result = getattr(self.store, self.prefix + method)(*arguments)
        return await result if self.prefix else result


@pytest.fixture(params=["memory", "memory, async", "redis", "redis, async"])
async def adapter(request: pytest.FixtureRequest) -> AsyncIterator[StoreAdapter]:
    kind, _, is_async = request.param.partition(", ")
    prefix = "a" if is_async else ""
    if kind == "memory":
        now = [0.0]
        yield StoreAdapter(
            InMemorySessionStore(clock=lambda: now[0]),
            prefix,
            lambda seconds: now.append(now.pop() + seconds),
        )
        return
    client = request.getfixturevalue("admin")

    def pass_time(seconds: float) -> None:
        for key in client.scan_iter():
            client.pexpire(key, client.pttl(key) - int(seconds * 1000))

    store = RedisSessionStore.from_url(request.getfixturevalue("redis_url"))
    yield StoreAdapter(store, prefix, pass_time)
    store.close()
    await store.aclose()


async def test_a_known_session_is_not_opened_again(adapter: StoreAdapter) -> None:
    await adapter.call("open", SESSION, "first")
    await adapter.call("open", SESSION, "again")

    assert await adapter.call("claim", SESSION, 1, "again") is None
    assert await adapter.call("claim", SESSION, 1, "first")


async def test_open_changes_no_session_that_has_advanced_or_is_claimed(adapter: StoreAdapter) -> None:
    await adapter.call("open", SESSION, "first")
    token = await adapter.call("claim", SESSION, 1, "first")
    await adapter.call("open", SESSION, "first")
    assert await adapter.call("claim", SESSION, 1, "first") is None
    assert await adapter.call("complete", token, 2, "second")
    await adapter.call("open", SESSION, "first")

    assert await adapter.call("claim", SESSION, 1, "first") is None
    assert await adapter.call("claim", SESSION, 2, "second")


@pytest.mark.parametrize(
    ("session", "turn", "digest"),
    [(OTHER_SESSION, 1, "first"), (SESSION, 2, "first"), (SESSION, 0, "first"), (SESSION, 1, "other")],
)
async def test_a_claim_needs_the_exact_turn_and_digest(
    adapter: StoreAdapter, session: str, turn: int, digest: str
) -> None:
    await adapter.call("open", SESSION, "first")

    assert await adapter.call("claim", session, turn, digest) is None
    assert await adapter.call("claim", SESSION, 1, "first")


async def test_a_second_claim_is_refused_until_the_first_is_completed(adapter: StoreAdapter) -> None:
    await adapter.call("open", SESSION, "first")
    token = await adapter.call("claim", SESSION, 1, "first")

    assert await adapter.call("claim", SESSION, 1, "first") is None
    assert await adapter.call("complete", token, 2, "second") is True
    assert await adapter.call("claim", SESSION, 1, "first") is None
    assert await adapter.call("claim", SESSION, 2, "second")


async def test_a_released_session_stays_where_it_was(adapter: StoreAdapter) -> None:
    await adapter.call("open", SESSION, "first")
    token = await adapter.call("claim", SESSION, 1, "first")
    await adapter.call("release", token)

    assert await adapter.call("complete", token, 2, "second") is False
    assert await adapter.call("claim", SESSION, 1, "first") not in (None, token)


async def test_only_the_token_of_the_claim_ends_it(adapter: StoreAdapter) -> None:
    await adapter.call("open", SESSION, "first")
    old = await adapter.call("claim", SESSION, 1, "first")
    await adapter.call("release", old)
    token = await adapter.call("claim", SESSION, 1, "first")
    for foreign in (old, old.partition(":")[0], "", "?", f"{token}?"):
        await adapter.call("release", foreign)

        assert await adapter.call("complete", foreign, 2, "second") is False
    assert await adapter.call("claim", SESSION, 1, "first") is None
    assert await adapter.call("complete", token, 2, "second") is True
    assert await adapter.call("complete", token, 3, "third") is False


async def test_a_session_is_forgotten_an_hour_after_its_last_use(adapter: StoreAdapter) -> None:
    almost_lifetime = SESSION_LIFETIME - 60
    await adapter.call("open", SESSION, "first")
    adapter.pass_time(almost_lifetime)
    token = await adapter.call("claim", SESSION, 1, "first")
    adapter.pass_time(almost_lifetime)
    assert await adapter.call("complete", token, 2, "second")
    adapter.pass_time(almost_lifetime)
    token = await adapter.call("claim", SESSION, 2, "second")
    adapter.pass_time(almost_lifetime)
    await adapter.call("release", token)
    adapter.pass_time(almost_lifetime)
    assert await adapter.call("claim", SESSION, 2, "second")
    adapter.pass_time(SESSION_LIFETIME + 1)

    assert await adapter.call("claim", SESSION, 2, "second") is None


async def test_a_claim_ends_with_its_session_an_hour_after_it_was_made(adapter: StoreAdapter) -> None:
    await adapter.call("open", SESSION, "first")
    token = await adapter.call("claim", SESSION, 1, "first")
    adapter.pass_time(SESSION_LIFETIME - 60)
    await adapter.call("open", SESSION, "new")  # still known, so this has no effect
    assert await adapter.call("claim", SESSION, 1, "first") is None
    adapter.pass_time(61)

    assert await adapter.call("complete", token, 2, "second") is False
    await adapter.call("release", token)
    await adapter.call("open", SESSION, "new")
    assert await adapter.call("complete", token, 2, "second") is False
    assert await adapter.call("claim", SESSION, 1, "new")


async def test_a_refused_claim_does_not_extend_the_lifetime(adapter: StoreAdapter) -> None:
    await adapter.call("open", SESSION, "first")
    await adapter.call("claim", SESSION, 1, "first")
    adapter.pass_time(SESSION_LIFETIME - 60)
    assert await adapter.call("claim", SESSION, 1, "first") is None
    adapter.pass_time(61)
    await adapter.call("open", SESSION, "new")

    assert await adapter.call("claim", SESSION, 1, "new")


async def test_the_session_of_a_key_is_remembered_for_a_day(adapter: StoreAdapter) -> None:
    assert await adapter.call("get", THREAD) is None
    await adapter.call("put", THREAD, "会话-1")
    adapter.pass_time(KEY_LIFETIME - 60)
    assert await adapter.call("get", THREAD) == "会话-1"
    await adapter.call("put", THREAD, "会话-2")
    adapter.pass_time(KEY_LIFETIME - 60)

    assert await adapter.call("get", THREAD) == "会话-2"
    assert await adapter.call("get", f"{THREAD}a") is None
    adapter.pass_time(61)
    assert await adapter.call("get", THREAD) is None


async def test_keys_and_sessions_of_the_same_name_are_separate(adapter: StoreAdapter) -> None:
    await adapter.call("put", THREAD, "session")
    assert await adapter.call("claim", THREAD, 1, "thread") is None
    await adapter.call("open", THREAD, "thread")

    assert await adapter.call("claim", THREAD, 1, "thread")
    assert await adapter.call("get", THREAD) == "session"


@pytest.mark.slow
async def test_one_of_fifty_tasks_gets_the_claim(adapter: StoreAdapter) -> None:
    await adapter.call("open", SESSION, "first")
    tokens = await asyncio.gather(*(adapter.call("claim", SESSION, 1, "first") for _ in range(50)))

    assert sum(token is not None for token in tokens) == 1


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_one_of_fifty_threads_gets_the_claim(request: pytest.FixtureRequest, kind: str) -> None:
    store = InMemorySessionStore() if kind == "memory" else request.getfixturevalue("store")
    with ThreadPoolExecutor(50) as pool:
        for number in range(10):
            store.open(f"{SESSION}{number}", "first")
            tokens = list(
                pool.map(lambda _, n=number: store.claim(f"{SESSION}{n}", 1, "first"), range(50))
            )

            assert sum(token is not None for token in tokens) == 1


# -- the Redis store ---------------------------------------------------------------------------------


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


# -- conversations across processes ------------------------------------------------------------------


def expected_answer(history: list[Round], question: str) -> str:
    """Return an answer that contains a hash of all previous messages."""
    transcript = json.dumps([*history, question], ensure_ascii=False)
    return f"{len(history) + 1}：{hashlib.sha256(transcript.encode()).hexdigest()}"


def answer(turn: Turn) -> Reply:
    text = expected_answer(list(turn.history), turn.prompt)
    return Reply(text, pieces=[text[:2], text[2:40], text[40:]])


def add_hashing_app(bailian: BailianEmulator, **fields: Any) -> str:
    return bailian.add_app(App("hashing", answer=answer, **fields))


def rounds_from_messages(messages: list[BaseMessage]) -> list[Round]:
    texts = [message.text for message in messages]
    return [Round(*pair) for pair in zip(texts[::2], texts[1::2], strict=True)]


@dataclass(frozen=True)
class Settings:
    """Settings of a process."""

    base_url: str
    api_key: str
    app_id: str
    redis_url: str

    @lru_cache(maxsize=1)  # noqa: B019 -- one for each process
    def model(self) -> BailianAppChatModel:
        return BailianAppChatModel(
            app_id=self.app_id,
            base_url=self.base_url,
            api_key=self.api_key,
            history="session",
            session_store=RedisSessionStore.from_url(self.redis_url),
        )


def continue_conversations(settings: Settings, transcripts: list[str], *, on_a_loop: bool) -> list[str]:
    """Continue conversations, given as JSON, concurrently in threads or on an event loop."""
    warnings.simplefilter("ignore", BailianSessionWarning)
    model = settings.model()
    inputs = [messages_from_dict(json.loads(transcript)) for transcript in transcripts]

    async def ainvoke_all() -> list[AIMessage]:
        return list(await asyncio.gather(*map(model.ainvoke, inputs)))

    if on_a_loop:
        answers = asyncio.run(ainvoke_all())
    else:
        with ThreadPoolExecutor(25) as pool:
            answers = list(pool.map(model.invoke, inputs))
    return [
        json.dumps(messages_to_dict([*messages, message]))
        for messages, message in zip(inputs, answers, strict=True)
    ]


@pytest.fixture(scope="module")
def without_coverage() -> Iterator[None]:
    """Turn off coverage in further processes, where it would take too long."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield


@pytest.fixture
def settings(
    bailian: BailianEmulator, redis_url: str, admin: redis.Redis, without_coverage: None
) -> Settings:
    """Return the settings of further processes."""
    return Settings(bailian.base_url, bailian.api_key, add_hashing_app(bailian), redis_url)


@pytest.fixture(scope="module")
def processes(without_coverage: None) -> Iterator[list[ProcessPoolExecutor]]:
    """Run processes, each as a separate pool, so that a test can choose one."""
    pools = [ProcessPoolExecutor(1, mp_context=FORKSERVER) for _ in range(PROCESSES)]
    yield pools
    for pool in pools:
        pool.shutdown()


def append_question(transcript: str, question: str) -> str:
    messages = messages_from_dict(json.loads(transcript))
    return json.dumps(messages_to_dict([*messages, HumanMessage(question)]))


def run_in_processes(
    processes: list[ProcessPoolExecutor],
    settings: Settings,
    shares: list[dict[int, str]],
    *,
    on_a_loop: bool,
) -> list[dict[int, list[BaseMessage]]]:
    """Continue in each process its share of the conversations."""
    futures = [
        pool.submit(continue_conversations, settings, list(share.values()), on_a_loop=on_a_loop)
        for pool, share in zip(processes, shares, strict=True)
    ]
    return [
        {
            number: messages_from_dict(json.loads(transcript))
            for number, transcript in zip(share, future.result(60), strict=True)
        }
        for share, future in zip(shares, futures, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.no_cover  # measuring coverage would take longer than the conversations
def test_conversations_move_between_four_processes_that_race_for_them(
    bailian: BailianEmulator, settings: Settings, processes: list[ProcessPoolExecutor]
) -> None:
    """In every third turn, two processes call at once; some conversations continue from the loser."""
    transcripts = dict.fromkeys(range(CONVERSATIONS), "[]")
    sessions: dict[int, str] = {}
    expected: dict[int, list[Round]] = {}  # of each session
    for turn in range(1, TURNS + 1):
        shares: list[dict[int, str]] = [{} for _ in range(PROCESSES)]
        raced = turn % 3 == 0
        for number, transcript in transcripts.items():
            process = (number + turn) % PROCESSES
            shares[process][number] = append_question(transcript, f"对话{number}的第{turn}问")
            if raced:
                rival = (process + 1) % PROCESSES
                shares[rival][number] = append_question(transcript, f"对话{number}的第{turn}问，另问")
        answered_shares = run_in_processes(processes, settings, shares, on_a_loop=turn % 2 == 0)
        for number in transcripts:
            results = [share[number] for share in answered_shares if number in share]
            for messages in results:
                rounds = rounds_from_messages(messages)
                assert rounds[-1].answer == expected_answer(rounds[:-1], rounds[-1].prompt)
            results.sort(key=lambda messages: messages[-1].response_metadata["history"])
            histories = [messages[-1].response_metadata["history"] for messages in results]
            if number in sessions and sessions[number] == "left":
                assert set(histories) == {"replayed"}
            else:
                # Either process may win. In sorted order, "replayed" precedes "session".
                assert histories == (["replayed", "session"] if raced else ["session"])
                metadata = results[-1][-1].response_metadata
                assert metadata["session_turn"] == turn
                assert sessions.setdefault(number, metadata["session_id"]) == metadata["session_id"]
                expected[number] = rounds_from_messages(results[-1])
                if raced and number % 10 == 0 and turn > 5:
                    assert bailian.session(sessions[number]) == expected[number]
                    sessions[number] = "left"
                    results.reverse()
            transcripts[number] = json.dumps(messages_to_dict(results[-1]))
    continued_sessions = {number: session for number, session in sessions.items() if session != "left"}

    assert (
        len(continued_sessions)
        == len(set(continued_sessions.values()))
        == CONVERSATIONS - CONVERSATIONS // 10
    )
    for number, session_id in continued_sessions.items():
        assert bailian.session(session_id) == expected[number]
        assert [f"对话{number}的第{turn}问" for turn in range(1, TURNS + 1)] == [
            round_.prompt.removesuffix("，另问") for round_ in expected[number]
        ]


async def test_another_model_with_another_store_continues_the_session(
    bailian: BailianEmulator, make_model: MakeModel, settings: Settings
) -> None:
    stores = [RedisSessionStore.from_url(settings.redis_url) for _ in range(2)]
    first_model, other_model = (
        make_model(settings.app_id, history="session", session_store=store) for store in stores
    )
    messages: list[BaseMessage] = [SystemMessage("只用中文。"), HumanMessage("一")]
    messages += [first_model.invoke(messages), HumanMessage("二")]
    messages += [await other_model.ainvoke(messages), HumanMessage("三")]
    messages.append(first_model.invoke(messages))
    for store in stores:
        store.close()
        await store.aclose()
    metadata = messages[-1].response_metadata

    assert (metadata["history"], metadata["session_turn"]) == ("session", 3)
    rounds = bailian.session(metadata["session_id"])
    assert [round_.prompt for round_ in rounds] == ["只用中文。\n\n一", "二", "三"]
    assert [round_.answer for round_ in rounds] == [message.text for message in messages[2::2]]


@pytest.mark.slow
def test_a_dumped_conversation_continues_in_a_new_process(
    bailian: BailianEmulator, settings: Settings
) -> None:
    transcript = append_question(
        continue_conversations(settings, [append_question("[]", "一")], on_a_loop=False)[0], "二"
    )
    settings.model().session_store.close()
    with ProcessPoolExecutor(1, mp_context=FORKSERVER) as new:
        [dumped] = new.submit(continue_conversations, settings, [transcript], on_a_loop=False).result(
            60
        )
    messages = messages_from_dict(json.loads(dumped))
    metadata = messages[-1].response_metadata

    assert (metadata["history"], metadata["session_turn"]) == ("session", 2)
    assert bailian.session(metadata["session_id"]) == rounds_from_messages(messages)


def stream_and_stall(settings: Settings, transcript: str, parent: Connection) -> None:
    """Stream the first chunk of an answer, then wait to be killed."""
    for chunk in settings.model().stream(messages_from_dict(json.loads(transcript))):
        parent.send(chunk.text)
    parent.send("the stream ended before the process was killed")


@pytest.mark.slow
@pytest.mark.parametrize("next_question", ["二", "三"], ids=["the same", "another"])
def test_a_killed_process_leaves_its_claim_and_the_next_call_is_replayed(
    bailian: BailianEmulator, settings: Settings, store: RedisSessionStore, next_question: str
) -> None:
    model = settings.model().model_copy(update={"session_store": store})
    first = model.invoke("一")
    transcript = json.dumps(messages_to_dict([HumanMessage("一"), first, HumanMessage("二")]))
    bailian.apps[settings.app_id].pace = 0.2
    parent_end, child_end = FORKSERVER.Pipe()
    process = FORKSERVER.Process(target=stream_and_stall, args=(settings, transcript, child_end))
    process.start()
    assert parent_end.poll(60)
    partial_text = parent_end.recv()
    process.kill()
    process.join()
    for end in (parent_end, child_end):
        end.close()
    process.close()
    bailian.apps[settings.app_id].pace = 0
    messages = [HumanMessage("一"), first, HumanMessage(next_question)]
    with pytest.warns(BailianSessionWarning, match="an earlier call was interrupted") as caught:
        second = model.invoke(messages)

    assert len(caught) == 1
    assert expected_answer([Round("一", first.text)], "二").startswith(partial_text)
    assert second.text == expected_answer([Round("一", first.text)], next_question)
    assert second.response_metadata["history"] == "replayed"
    with warnings.catch_warnings(action="error"):
        third = model.invoke([*messages, second, HumanMessage("四")])
    assert third.text == expected_answer(rounds_from_messages([*messages, second]), "四")
