"""Tests of the in-memory session store."""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from langchain_bailian_app.sessions import InMemorySessionStore, SessionStore
from langchain_bailian_app.sessions._store import KEY_LIFETIME, SESSION_LIFETIME, SHARED_STORE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clock import Clock


@pytest.fixture
def store(clock: Clock) -> InMemorySessionStore:
    return InMemorySessionStore(clock=clock)


def claim_session(
    store: InMemorySessionStore, session_id: str = "s", turn: int = 1, digest: str = "d1"
) -> str:
    token = store.claim(session_id, turn, digest)
    assert token is not None
    return token


def test_it_is_a_session_store() -> None:
    assert isinstance(InMemorySessionStore(), SessionStore)
    assert isinstance(SHARED_STORE, SessionStore)


# -- claims ----------------------------------------------------------------------------------------


def test_a_session_is_claimed_at_its_exact_turn_and_digest_only(store: InMemorySessionStore) -> None:
    store.open("s", "d1")
    mismatches = [("s", 1, "d0"), ("s", 0, "d1"), ("s", 2, "d1"), ("t", 1, "d1")]

    assert [store.claim(*arguments) for arguments in mismatches] == [None] * 4
    assert store.claim("s", 1, "d1")


def test_a_complete_answer_advances_the_session(store: InMemorySessionStore) -> None:
    store.open("s", "d1")

    assert store.complete(claim_session(store), 2, "d2")
    assert store.claim("s", 1, "d1") is None
    assert store.claim("s", 2, "d2")


def test_a_released_session_can_be_claimed_again(store: InMemorySessionStore) -> None:
    store.open("s", "d1")
    store.release(claim_session(store))

    assert store.claim("s", 1, "d1")


def test_a_claim_is_never_taken_over(store: InMemorySessionStore, clock: Clock) -> None:
    store.open("s", "d1")
    claim_session(store)
    clock.now += SESSION_LIFETIME - 1

    assert store.claim("s", 1, "d1") is None
    clock.now += 2
    # The session is removed, not unclaimed, because its current turn is unknown.
    assert store.claim("s", 1, "d1") is None


@pytest.mark.parametrize("token", ["", "nonsense"])
def test_an_unknown_token_ends_nothing(store: InMemorySessionStore, token: str) -> None:
    store.open("s", "d1")
    claim_session(store)
    store.release(token)

    assert not store.complete(token, 2, "d2")
    assert store.claim("s", 1, "d1") is None


@pytest.mark.parametrize("method", ["complete", "release"])
def test_a_claim_ends_once(store: InMemorySessionStore, method: str) -> None:
    store.open("s", "d1")
    first = claim_session(store)
    store.release(first)
    second = claim_session(store)
    if method == "complete":
        assert not store.complete(first, 2, "d2")
    else:
        store.release(first)

    assert store.claim("s", 1, "d1") is None
    assert store.complete(second, 2, "d2")
    assert not store.complete(second, 3, "d3")


def test_opening_a_known_session_changes_nothing(store: InMemorySessionStore) -> None:
    store.open("s", "d1")
    token = claim_session(store)
    store.open("s", "other")

    assert store.claim("s", 1, "other") is None
    assert store.complete(token, 2, "d2")
    store.open("s", "other")
    assert store.claim("s", 1, "other") is None


def test_tokens_are_unique(store: InMemorySessionStore) -> None:
    tokens = set()
    for number in range(50):
        store.open(f"s{number}", "d1")
        tokens.add(claim_session(store, f"s{number}"))

    assert len(tokens) == 50


# -- expiry ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", ["open", "complete", "release"])
def test_a_session_is_forgotten_an_hour_after_its_last_use(
    store: InMemorySessionStore, clock: Clock, last: str
) -> None:
    store.open("s", "d1")
    if last != "open":
        clock.now += SESSION_LIFETIME - 1
        token = claim_session(store)
        clock.now += SESSION_LIFETIME - 1
        if last == "complete":
            assert store.complete(token, 1, "d1")
        else:
            store.release(token)
    clock.now += SESSION_LIFETIME - 1
    token = claim_session(store)
    store.release(token)
    clock.now += SESSION_LIFETIME

    assert store.claim("s", 1, "d1") is None


def test_a_claim_older_than_its_session_is_void(store: InMemorySessionStore, clock: Clock) -> None:
    store.open("s", "d1")
    token = claim_session(store)
    clock.now += SESSION_LIFETIME
    store.open("s", "d1")
    new_token = claim_session(store)

    assert not store.complete(token, 2, "d2")
    assert store.complete(new_token, 2, "d2")


# -- bounds ----------------------------------------------------------------------------------------


def test_the_session_unused_for_the_longest_time_is_forgotten_first(clock: Clock) -> None:
    store = InMemorySessionStore(max_sessions=3, clock=clock)
    for name in "abc":
        store.open(name, "d1")
    store.release(claim_session(store, "a"))
    store.open("d", "d1")

    assert {name for name in "abcd" if store.claim(name, 1, "d1")} == {"a", "c", "d"}


def test_no_session_that_is_claimed_is_forgotten(clock: Clock) -> None:
    store = InMemorySessionStore(max_sessions=3, clock=clock)
    tokens = []
    for name in "abc":
        store.open(name, "d1")
        tokens.append(claim_session(store, name))
    for name in "def":
        store.open(name, "d1")

    assert [store.complete(token, 2, "d2") for token in tokens] == [True] * 3
    assert [store.claim(name, 2, "d2") is not None for name in "abc"] == [True] * 3


def test_it_returns_to_its_bound_when_abandoned_claims_expire(clock: Clock) -> None:
    store = InMemorySessionStore(max_sessions=10, clock=clock)
    for number in range(40):
        store.open(f"abandoned {number}", "d1")
        claim_session(store, f"abandoned {number}")
    clock.now += SESSION_LIFETIME
    for number in range(60):
        store.open(f"later {number}", "d1")
    remembered = [n for n in range(60) if store.claim(f"later {n}", 1, "d1")]

    assert remembered == list(range(50, 60))


def test_keys_are_bounded_and_expire(clock: Clock) -> None:
    store = InMemorySessionStore(max_sessions=2, clock=clock)
    store.put("a", "sa")
    store.put("b", "sb")
    store.put("a", "sa2")
    store.put("c", "sc")

    assert [store.get(key) for key in "abc"] == ["sa2", None, "sc"]
    clock.now += KEY_LIFETIME
    assert [store.get(key) for key in "abc"] == [None] * 3


def test_a_key_is_remembered_longer_than_its_session_so_that_its_end_is_noticed() -> None:
    assert KEY_LIFETIME > SESSION_LIFETIME


# -- trust -----------------------------------------------------------------------------------------


def test_an_unknown_session_is_trusted_only_on_request(clock: Clock) -> None:
    assert InMemorySessionStore(clock=clock).claim("s", 7, "d7") is None

    store = InMemorySessionStore(trust_unknown=True, clock=clock)
    token = claim_session(store, "s", 7, "d7")
    assert store.claim("s", 7, "d7") is None
    assert store.complete(token, 8, "d8")
    assert store.claim("s", 7, "d7") is None
    assert store.claim("s", 8, "d8")


def test_trust_does_not_extend_to_known_sessions() -> None:
    store = InMemorySessionStore(trust_unknown=True)
    store.open("s", "d1")

    assert store.claim("s", 5, "d5") is None


# -- threads and processes -------------------------------------------------------------------------


def test_one_of_several_racing_threads_gets_the_claim() -> None:
    store = InMemorySessionStore()
    with ThreadPoolExecutor(8) as pool:
        for turn in range(1, 201):
            if turn == 1:
                store.open("s", "1")
            tokens = list(pool.map(lambda _: store.claim("s", turn, str(turn)), range(8)))  # noqa: B023  # the threads end before the next iteration
            (winner,) = [token for token in tokens if token]
            assert store.complete(winner, turn + 1, str(turn + 1))


def test_threads_that_open_evict_and_complete_lose_no_claim() -> None:
    store = InMemorySessionStore(max_sessions=4)

    def complete_turns(number: int) -> int:
        completed = 0
        for turn in range(1, 101):
            name = f"{number}.{turn}"
            store.open(name, "d1")
            token = store.claim(name, 1, "d1")  # None if a session of another thread evicted this one
            completed += token is None or store.complete(token, 2, "d2")
        return completed

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(complete_turns, range(8))) == [100] * 8


async def test_the_async_methods_do_the_same() -> None:
    store = InMemorySessionStore()
    await store.aopen("s", "d1")
    token = await store.aclaim("s", 1, "d1")
    assert token is not None
    assert store.claim("s", 1, "d1") is None
    await store.arelease(token)
    token = await store.aclaim("s", 1, "d1")
    assert token is not None
    assert await store.acomplete(token, 2, "d2")
    await store.aput("k", "s")

    assert (await store.aget("k"), store.get("k"), await store.aget("l")) == ("s", "s", None)


@pytest.mark.parametrize("trust", [False, True])
def test_a_pickled_store_is_empty_and_keeps_its_trust_setting(
    store: InMemorySessionStore, *, trust: bool
) -> None:
    store = InMemorySessionStore(max_sessions=1, trust_unknown=trust)
    store.open("s", "d1")
    store.put("k", "s")
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301  # pickled by this test

    assert copy.get("k") is None
    assert (copy.claim("s", 1, "d1") is not None) == trust
    copy.put("a", "s")
    copy.put("b", "s")
    assert copy.get("a") is None


FORK = """
import os, threading
from langchain_bailian_app.sessions import InMemorySessionStore

store = InMemorySessionStore()
store.open("s", "d1")
store.put("k", "s")
lock = store._lock
if {locked}:
    lock.acquire()
pid = os.fork()
if pid == 0:
    results = [store.claim("s", 1, "d1"), store.get("k")]
    store.open("t", "d1")
    results.append(store.claim("t", 1, "d1") is not None)
    os._exit(0 if results == [None, None, True] else 1)
if {locked}:
    lock.release()
_, status = os.waitpid(pid, 0)
assert os.waitstatus_to_exitcode(status) == 0, "the child"
assert store.claim("s", 1, "d1"), "the parent"
assert store.get("k") == "s"
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="requires os.fork")
@pytest.mark.parametrize("locked", [False, True])
def test_a_forked_child_has_an_empty_store_and_the_parent_keeps_its_own(*, locked: bool) -> None:
    script = FORK.format(locked=locked)
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=20, check=False
    )

    assert (result.returncode, result.stderr.decode()) == (0, "")


@pytest.mark.parametrize(
    "call_method",
    [
        lambda store: store.open("s", "d1"),
        lambda store: store.release("t"),
        lambda store: store.put("k", "s"),
    ],
)
def test_methods_without_a_result_return_none(
    store: InMemorySessionStore, call_method: Callable[[InMemorySessionStore], object]
) -> None:
    assert call_method(store) is None
