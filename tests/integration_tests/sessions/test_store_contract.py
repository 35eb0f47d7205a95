"""Tests of the contract of all session stores."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app import (
    BailianAppChatModel,
    InMemorySessionStore,
    SessionStore,
)
from langchain_bailian_app.redis_sessions import RedisSessionStore
from langchain_bailian_app.sessions._store import KEY_LIFETIME, SESSION_LIFETIME
from langchain_bailian_app.sqlite_sessions import SqliteSessionStore
from tests.clock import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    MakeModel = Callable[..., BailianAppChatModel]

SCOPE = "https://dashscope.example/api/v1\nworkspace\napp"
SESSION, OTHER_SESSION = f"{SCOPE}\nsession-1", f"{SCOPE}\nsession-2"
THREAD = f"{SCOPE}\nthread Alice"


@dataclass
class StoreAdapter:
    """Adapter that calls the synchronous or the async methods of a store."""

    store: SessionStore
    prefix: str
    pass_time: Callable[[float], None]

    async def call(self, method: str, *arguments: str | int) -> Any:
        result = getattr(self.store, self.prefix + method)(*arguments)
        return await result if self.prefix else result


@pytest.fixture(params=["memory", "memory, async", "redis", "redis, async", "sqlite", "sqlite, async"])
async def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreAdapter]:
    kind, _, is_async = request.param.partition(", ")
    prefix = "a" if is_async else ""
    if kind != "redis":
        clock = Clock()

        def advance_clock(seconds: float) -> None:
            clock.now += seconds

        local_store = (
            InMemorySessionStore(clock=clock)
            if kind == "memory"
            else SqliteSessionStore(tmp_path / "sessions.db", clock=clock)
        )
        yield StoreAdapter(local_store, prefix, advance_clock)
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


@pytest.mark.parametrize("kind", ["memory", "redis", "sqlite"])
def test_one_of_fifty_threads_gets_the_claim(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    match kind:
        case "memory":
            store = InMemorySessionStore()
        case "sqlite":
            store = SqliteSessionStore(tmp_path / "sessions.db")
        case _:
            store = request.getfixturevalue("store")
    with ThreadPoolExecutor(50) as pool:
        for number in range(10):
            store.open(f"{SESSION}{number}", "first")
            tokens = list(
                pool.map(lambda _, n=number: store.claim(f"{SESSION}{n}", 1, "first"), range(50))
            )

            assert sum(token is not None for token in tokens) == 1
