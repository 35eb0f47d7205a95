"""Tests of the in-memory session store."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app.sessions import InMemorySessionStore, SessionStore
from langchain_bailian_app.sessions._store import KEY_LIFETIME, SESSION_LIFETIME, SHARED_STORE
from tests.interrupts import TooFewLinesError, interrupt_at

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

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


# -- abandoned streams and Ctrl-C ------------------------------------------------------------------


def stream(store: InMemorySessionStore, token: str) -> Generator[None]:
    """Release a claim when closed, as a stream of an answer does."""
    try:
        yield
    finally:
        store.release(token)


def abandon_stream(store: InMemorySessionStore, name: str) -> None:
    """Claim a session in a stream that only the garbage collector can close."""
    store.open(name, "d1")
    cycle: list[Any] = [stream(store, claim_session(store, name))]
    next(cycle[0])
    cycle.append(cycle)


OPERATIONS: dict[str, Callable[[InMemorySessionStore], object]] = {
    "open": lambda store: store.open("new", "d1"),
    "open, evicting": lambda store: [store.open(f"new {number}", "d1") for number in range(2)],
    "claim": lambda store: store.claim("s", 1, "d1"),
    "complete": lambda store: store.complete("unknown", 1, "d1"),
    "release": lambda store: store.release("unknown"),
    "get": lambda store: store.get("key"),
    "put": lambda store: store.put("key", "s"),
}


def run_in_thread(function: Callable[[], object]) -> None:
    """Run a function in a thread, so that a deadlock fails the test."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive(), "deadlock"


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_collector_may_close_a_stream_in_the_middle_of_an_operation(name: str) -> None:
    collects = False

    def collecting_clock() -> float:
        if collects:
            gc.collect(0)
        return 0.0

    store = InMemorySessionStore(max_sessions=3, clock=collecting_clock)
    store.open("s", "d1")
    gc.disable()
    try:
        for session in ("a", "b"):
            abandon_stream(store, session)
        collects = True
        run_in_thread(lambda: OPERATIONS[name](store))
        collects = False
    finally:
        gc.enable()

    for session in ("a", "b"):
        store.open(session, "d1")  # it may have been evicted after its release
        assert store.claim(session, 1, "d1")


@contextmanager
def constant_collections() -> Iterator[None]:
    """Collect garbage as often as possible."""
    thresholds = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def test_no_claim_of_an_abandoned_stream_is_lost_however_often_garbage_is_collected() -> None:
    store = InMemorySessionStore()

    def abandon_streams(thread: int) -> None:
        for number in range(100):
            name = f"{thread}.{number}"
            abandon_stream(store, name)
            store.put(name, "s")
            store.get(name)

    with constant_collections():
        threads = [
            threading.Thread(target=abandon_streams, args=(number,), daemon=True) for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert not any(thread.is_alive() for thread in threads), "deadlock"
    gc.collect()

    assert all(
        store.claim(f"{thread}.{number}", 1, "d1") for thread in range(4) for number in range(100)
    )


def test_a_release_counts_from_its_own_time(store: InMemorySessionStore, clock: Clock) -> None:
    store.open("s", "d1")
    token = claim_session(store)
    clock.now += SESSION_LIFETIME - 1
    store.release(token)
    clock.now += SESSION_LIFETIME - 1  # no operation meanwhile

    assert store.claim("s", 1, "d1")


@pytest.mark.parametrize("trust_unknown", [False, True])
def test_ctrl_c_in_any_line_of_the_store_leaves_no_claim(*, trust_unknown: bool) -> None:
    line = 0
    with suppress(TooFewLinesError):
        while True:
            line += 1
            store = InMemorySessionStore(trust_unknown=trust_unknown)
            if not trust_unknown:
                store.open("s", "d1")
            tokens: list[str | None] = []
            # As in `Claim.run` and `stream_deltas`: the token is stored in the same line, and a release
            # that was interrupted is repeated.
            with suppress(KeyboardInterrupt), interrupt_at(line, "sessions/_store.py"):
                try:
                    tokens.append(store.claim("s", 1, "d1"))
                    store.get("key")
                finally:
                    try:
                        release_all(store, tokens)
                    finally:
                        release_all(store, tokens)

            store.open("s", "d1")
            assert store.claim("s", 1, "d1"), line
    assert line > 20


def release_all(store: InMemorySessionStore, tokens: list[str | None]) -> None:
    for token in filter(None, tokens):
        store.release(token)


def test_ctrl_c_in_complete_never_frees_a_session_at_its_old_turn() -> None:
    line = 0
    with suppress(TooFewLinesError):
        while True:
            line += 1
            store = InMemorySessionStore()
            store.open("s", "d1")
            token = claim_session(store)
            with suppress(KeyboardInterrupt), interrupt_at(line, "sessions/_store.py"):
                store.complete(token, 2, "d2")

            assert store.claim("s", 1, "d1") is None, line
    assert line > 10


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
