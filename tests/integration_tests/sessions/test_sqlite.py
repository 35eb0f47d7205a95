"""Tests of the SQLite session store."""

from __future__ import annotations

import asyncio
import copy
import gc
import itertools
import multiprocessing
import os
import pickle
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from langchain_bailian_app.sessions._store import KEY_LIFETIME
from langchain_bailian_app.sqlite_sessions import SqliteSessionStore
from tests.clock import Clock
from tests.integration_tests.sessions.test_store_contract import OTHER_SESSION, SESSION, THREAD
from tests.interrupts import TooFewLinesError, interrupt_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

    MakeModel = Callable[..., BailianAppChatModel]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteSessionStore]:
    session_store = SqliteSessionStore(path)
    yield session_store
    session_store.close()


def wait_until_free(store: SqliteSessionStore) -> str:
    ends_at = time.monotonic() + 10
    while (token := store.claim(SESSION, 1, "first")) is None:
        assert time.monotonic() < ends_at
        time.sleep(0.01)
    return token


# -- the file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", ":memory:", "missing/sessions.db", "."])
def test_a_path_that_is_no_file_is_rejected(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="invalid `path`: expected a file"):
        SqliteSessionStore(path)


def test_the_file_is_created_on_first_use_for_its_owner_only(
    store: SqliteSessionStore, path: Path
) -> None:
    assert not path.exists()
    store.put(THREAD, "session-id")

    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = SqliteSessionStore("sessions.db")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    store.put(THREAD, "session-id")
    store.close()

    assert (tmp_path / "sessions.db").exists()


def test_nothing_in_the_file_reveals_services_or_threads(store: SqliteSessionStore, path: Path) -> None:
    store.open(SESSION, "first")
    store.put(THREAD, "session-id")
    store.close()
    content = path.read_bytes()

    assert b"session-id" in content
    for text in ("dashscope", "workspace", "Alice", "session-1"):
        assert text.encode() not in content


def test_expired_rows_are_deleted(path: Path) -> None:
    clock = Clock()
    store = SqliteSessionStore(path, clock=clock)
    store.open(SESSION, "first")
    store.put(THREAD, "session-id")
    clock.now += KEY_LIFETIME + 1
    store.open(OTHER_SESSION, "first")
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT count(*) FROM bailian_sessions UNION ALL SELECT count(*) FROM bailian_threads"
        counts = connection.execute(query).fetchall()

    assert counts == [(1,), (0,)]


def test_a_store_can_be_closed_and_used_again(store: SqliteSessionStore) -> None:
    store.open(SESSION, "first")
    store.close()
    store.close()

    assert store.claim(SESSION, 1, "first")


def test_copies_and_pickles_use_the_same_file(store: SqliteSessionStore, path: Path) -> None:
    assert copy.copy(store) is copy.deepcopy(store) is store
    store.open(SESSION, "first")
    loaded = pickle.loads(pickle.dumps(store))  # noqa: S301

    assert loaded.claim(SESSION, 1, "first")
    assert store.claim(SESSION, 1, "first") is None
    assert repr(loaded) == f"SqliteSessionStore({str(path)!r})"
    loaded.close()


def test_sessions_survive_a_restart(path: Path) -> None:
    for turn in range(1, 4):
        store = SqliteSessionStore(path)
        store.open(SESSION, "turn 1")
        token = store.claim(SESSION, turn, f"turn {turn}")
        assert token
        assert store.complete(token, turn + 1, f"turn {turn + 1}")
        store.close()


# -- failures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_style", ["sync", "async"])
def test_a_locked_file_fails_a_call_before_anything_is_sent(
    bailian: BailianEmulator, make_model: MakeModel, path: Path, call_style: str
) -> None:
    store = SqliteSessionStore(path, timeout=0.05)
    store.put(THREAD, "session-id")
    model = make_model(history="thread", session_key="key", session_store=store)
    sent = len(bailian.requests)
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")  # also for those who only read
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            model.invoke("?") if call_style == "sync" else asyncio.run(model.ainvoke("?"))

    assert len(bailian.requests) == sent
    assert model.invoke("?").text
    store.close()


def test_a_file_that_is_no_database_fails_a_call(make_model: MakeModel, path: Path) -> None:
    path.write_text("not a database" * 100, encoding="utf-8")
    model = make_model(
        history="thread", session_key="key", session_store=SqliteSessionStore(path, timeout=0.05)
    )
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        model.invoke("?")


def test_a_release_that_fails_is_repeated_in_the_background(path: Path) -> None:
    store = SqliteSessionStore(path, timeout=0.05)
    store.open(SESSION, "first")
    token = store.claim(SESSION, 1, "first")
    assert token
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            store.release(token)
        other.execute("ROLLBACK")

    wait_until_free(store)
    store.close()


@pytest.mark.slow
def test_ctrl_c_anywhere_leaves_no_session_claimed(store: SqliteSessionStore) -> None:
    store.open(SESSION, "first")
    line = 0
    for line in itertools.count(1):
        token = None
        try:
            with interrupt_at(line, "_sqlite_store.py"):
                token = store.claim(SESSION, 1, "first")
                if token is not None:
                    store.release(token)
        except TooFewLinesError:
            break
        except KeyboardInterrupt:
            if token is not None:
                store.release(token)
        store.release(wait_until_free(store))

    assert line > 10


def test_a_claim_whose_task_was_cancelled_is_released(store: SqliteSessionStore) -> None:
    store.open(SESSION, "first")

    async def claim_and_cancel() -> None:
        with closing(sqlite3.connect(store._path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # the claim waits
            task = asyncio.create_task(store.aclaim(SESSION, 1, "first"))
            await asyncio.sleep(0.02)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            other.execute("ROLLBACK")

    asyncio.run(claim_and_cancel())

    wait_until_free(store)


def test_a_release_in_the_middle_of_another_operation_does_not_wait_for_itself(path: Path) -> None:
    def read_clock() -> float:
        if tokens:  # Python collects an abandoned stream, which releases its claim
            store.release(tokens.pop())
        return time.time()

    tokens: list[str] = []
    store = SqliteSessionStore(path, clock=read_clock)
    store.open(SESSION, "first")
    token = store.claim(SESSION, 1, "first")
    assert token
    tokens.append(token)
    store.put(THREAD, "session-id")

    assert not tokens
    wait_until_free(store)
    store.close()


# -- processes ---------------------------------------------------------------------------------------


@needs_fork
def test_a_forked_child_uses_its_own_connection_and_lock(store: SqliteSessionStore) -> None:
    store.open(SESSION, "first")
    with store._locked():  # as if another thread of the parent was in the middle of an operation
        pid = os.fork()
        if pid == 0:
            with suppress(BaseException):
                token = store.claim(SESSION, 1, "first")
                gc.collect()
                os._exit(0 if token and store.complete(token, 2, "second") else 1)
            os._exit(2)
        _, status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert store.claim(SESSION, 2, "second")


def race(path: str) -> int:
    """Claim each of 100 sessions that is still free, and return how many."""
    store = SqliteSessionStore(path)
    claimed = 0
    for index in range(100):
        store.open(f"{index}", "first")
        claimed += store.claim(f"{index}", 1, "first") is not None
    store.close()
    return claimed


@pytest.mark.slow
def test_one_process_gets_each_claim_of_a_new_file(path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        claimed = pool.map(race, [str(path)] * 4, chunksize=1)

    assert sum(claimed) == 100


KILLED_SCRIPT = """
import sys
from langchain_bailian_app.sqlite_sessions import SqliteSessionStore

store = SqliteSessionStore(sys.argv[1])
print("ready", flush=True)
number = 0
while True:
    number += 1
    store.open(f"{number}", "first")
    token = store.claim(f"{number}", 1, "first")
    store.complete(token, 2, "second")
    store.put("last", f"{number}")
"""


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_no_operation_half_done(
    store: SqliteSessionStore, path: Path
) -> None:
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED_SCRIPT, str(path)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(random.uniform(0.05, 0.2))  # any moment
            process.send_signal(signal.SIGKILL)
        last = int(store.get("last") or 0)

        assert last > 0
        assert store.claim(f"{last}", 1, "first") is None
        token = store.claim(f"{last}", 2, "second")
        assert token
        store.release(token)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_releases_in_the_background_are_done_before_the_process_ends(path: Path) -> None:
    script = f"""
from langchain_bailian_app.sqlite_sessions import SqliteSessionStore

store = SqliteSessionStore({str(path)!r})
store.open("s", "first")
store._background.add(store.claim("s", 1, "first"))
"""
    completed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert (completed.returncode, completed.stderr) == (0, "")
    store = SqliteSessionStore(path)
    assert store.claim("s", 1, "first")
    store.close()


def test_many_threads_share_a_store(store: SqliteSessionStore) -> None:
    def use(number: int) -> bool:
        store.open(f"{number}", "first")
        token = store.claim(f"{number}", 1, "first")
        return token is not None and store.complete(token, 2, "second")

    with ThreadPoolExecutor(20) as threads:
        assert all(threads.map(use, range(200)))
    assert threading.active_count() < 20
