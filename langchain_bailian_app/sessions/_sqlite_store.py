"""Session store in an SQLite file, for several processes on one machine.

`SessionStore` defines the operations. Here, each operation is one SQL statement outside of a
transaction, which SQLite runs atomically: a process that is killed leaves no half-done operation.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import threading
import time
import uuid
import weakref
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_bailian_app.sessions._background_releases import BackgroundReleases
from langchain_bailian_app.sessions._store import KEY_LIFETIME, SESSION_LIFETIME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PRIVATE_FILE = 0o600  # a session id is all that is needed to continue a conversation
_RETRY_DELAY = 0.01  # seconds
_PURGE_INTERVAL = 60.0  # seconds between two deletions of expired rows

_SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS bailian_sessions (
    session TEXT PRIMARY KEY, turn INTEGER NOT NULL, digest TEXT NOT NULL, token TEXT UNIQUE,
    expires_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bailian_threads (
    key TEXT PRIMARY KEY, session_id TEXT NOT NULL, expires_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS bailian_sessions_expiry ON bailian_sessions (expires_at);
CREATE INDEX IF NOT EXISTS bailian_threads_expiry ON bailian_threads (expires_at);
"""
_OPEN = """
INSERT INTO bailian_sessions (session, turn, digest, expires_at) VALUES (:session, 1, :digest, :end)
ON CONFLICT (session) DO UPDATE SET turn = 1, digest = :digest, token = NULL, expires_at = :end
WHERE expires_at <= :now
"""
_CLAIM = """
UPDATE bailian_sessions SET token = :token, expires_at = :end
WHERE session = :session AND turn = :turn AND digest = :digest AND token IS NULL AND expires_at > :now
"""
_COMPLETE = """
UPDATE bailian_sessions SET turn = :turn, digest = :digest, token = NULL, expires_at = :end
WHERE token = :token AND expires_at > :now
"""
_RELEASE = """
UPDATE bailian_sessions SET token = NULL, expires_at = :end WHERE token = :token AND expires_at > :now
"""
_GET = "SELECT session_id FROM bailian_threads WHERE key = :key AND expires_at > :now"
_PUT = """
INSERT INTO bailian_threads (key, session_id, expires_at) VALUES (:key, :session_id, :end)
ON CONFLICT (key) DO UPDATE SET session_id = :session_id, expires_at = :end
"""
_PURGE = (
    "DELETE FROM bailian_sessions WHERE expires_at <= :now",
    "DELETE FROM bailian_threads WHERE expires_at <= :now",
)


class SqliteSessionStore:
    """Session store for the processes of one machine, such as the workers of gunicorn.

    It needs no server and no further package. Use `RedisSessionStore` for several machines.

    Instantiate:
        ```python
        from langchain_bailian_app import BailianAppChatModel
        from langchain_bailian_app.sqlite_sessions import SqliteSessionStore

        store = SqliteSessionStore("sessions.db")  # opened on first use
        ```

    Use:
        ```python
        model = BailianAppChatModel(history="session", session_store=store)
        ```

    A conversation can move between processes, and continues after a restart. If several calls try to
    continue the same session at the same time, one of them claims the session and the others send all
    messages, even across processes.

    The store keeps a session for an hour after the last operation on it, by the clock of the system. A
    claim whose process died ends at the same time. The session of a thread is kept for a day.

    If the file is locked for longer than `timeout`, or cannot be used, a call fails with an error of
    `sqlite3` before anything is sent. A release that fails or is interrupted is repeated in the
    background.

    Threads share one connection, and asynchronous calls use threads. A forked process opens its own
    connection. The store can be pickled: the copy uses the same file.

    Args:
        path: Database file on a local disk; network file systems do not support its mode (write-ahead
            log). It is created for its owner only, and SQLite adds two files with the endings `-wal`
            and `-shm`. It contains hashes of the sessions and threads, and the session id of each
            thread. It may be restored from a backup only if no call was made in between, because a
            call could otherwise continue a session that already has newer turns.
        timeout: Seconds to wait for another process that is writing.
        clock: Function that returns the seconds since the epoch, used for expiry. All processes must
            use the same clock.

    Raises:
        ValueError: The path is not a file, or its folder does not exist.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = _check_path(path)
        self._timeout = timeout
        self._clock = clock
        self._thread_state = threading.local()
        self._background = BackgroundReleases(self._release)
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._close_connection: Callable[[], object] = _do_nothing
        self._purge_at = 0.0
        self._pid = os.getpid()  # last, because other threads may use the new lock from here on

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), timeout=self._timeout, clock=self._clock), (str(self._path),)

    def __copy__(self) -> SqliteSessionStore:
        """Return this store, which can be shared."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SqliteSessionStore:
        """Return this store, which can be shared."""
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._path)!r})"

    def open(self, session_id: str, digest: str) -> None:
        """Record a session after its first answer; leave a known session unchanged."""
        self._run(_OPEN, session=_hash(session_id), digest=digest)

    def claim(self, session_id: str, turn: int, digest: str) -> str | None:
        """Claim a session; return a token, or None if it is in use or not at this turn and digest."""
        return self._claim(session_id, turn, digest, uuid.uuid4().hex)

    def complete(self, token: str, turn: int, digest: str) -> bool:
        """End a claim after a complete answer; return False if the claim no longer exists."""
        return bool(self._run(_COMPLETE, token=token, turn=turn, digest=digest))

    def release(self, token: str) -> None:
        """End a claim without recording a new turn.

        If this fails or is interrupted, the claim is released in the background.
        """
        if self._is_busy:
            # The garbage collector has closed an abandoned stream in the middle of another operation of
            # this thread, which may hold the lock.
            self._background.add(token)
        elif token not in self._background:
            try:
                self._release(token)
            except BaseException:
                self._background.add(token)
                raise

    def get(self, key: str) -> str | None:
        """Return the session id stored for a key, or None."""
        session_id: str | None = self._run(_GET, key=_hash(key))
        return session_id

    def put(self, key: str, session_id: str) -> None:
        """Store the session id of a key."""
        self._run(_PUT, lifetime=KEY_LIFETIME, key=_hash(key), session_id=session_id)

    async def aopen(self, session_id: str, digest: str) -> None:
        """Async version of `open`."""
        await asyncio.to_thread(self.open, session_id, digest)

    async def aclaim(self, session_id: str, turn: int, digest: str) -> str | None:
        """Async version of `claim`."""
        token = uuid.uuid4().hex
        is_cancelled = threading.Event()

        def claim() -> str | None:
            claimed_token = self._claim(session_id, turn, digest, token)
            if is_cancelled.is_set():
                self._background.add(token)
            return claimed_token

        try:
            return await asyncio.to_thread(claim)
        except BaseException:
            is_cancelled.set()  # the thread goes on
            self._background.add(token)
            raise

    async def acomplete(self, token: str, turn: int, digest: str) -> bool:
        """Async version of `complete`."""
        return await asyncio.to_thread(self.complete, token, turn, digest)

    async def arelease(self, token: str) -> None:
        """Async version of `release`."""
        try:
            await asyncio.to_thread(self.release, token)
        except RuntimeError:  # the event loop has closed its threads
            self._background.add(token)

    async def aget(self, key: str) -> str | None:
        """Async version of `get`."""
        return await asyncio.to_thread(self.get, key)

    async def aput(self, key: str, session_id: str) -> None:
        """Async version of `put`."""
        await asyncio.to_thread(self.put, key, session_id)

    def close(self) -> None:
        """Close the connection; the next operation opens another one."""
        with self._locked():
            self._close_connection()
            self._connection = None

    def _claim(self, session_id: str, turn: int, digest: str, token: str) -> str | None:
        session = _hash(session_id)
        try:
            claimed = self._run(_CLAIM, session=session, turn=turn, digest=digest, token=token)
            return token if claimed else None  # noqa: TRY300  # Ctrl-C may also arrive here
        except BaseException:
            self._background.add(token)  # the claim may have succeeded
            raise

    def _release(self, token: str) -> bool:
        return bool(self._run(_RELEASE, token=token))

    @property
    def _is_busy(self) -> bool:
        """Whether this thread is in the middle of an operation of this store."""
        return getattr(self._thread_state, "is_busy", False)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of this process, and mark this thread as busy."""
        if self._pid != os.getpid():
            # This is a forked child. The parent may have held the lock, and SQLite forbids the use of
            # a connection in another process, even to close it.
            _connections_of_parents.append(self._connection)
            self._reset()
        self._thread_state.is_busy = True
        try:
            with self._lock:
                yield
        finally:
            self._thread_state.is_busy = False

    def _run(self, statement: str, *, lifetime: float = SESSION_LIFETIME, **values: str | int) -> Any:
        """Run a statement; return the value that it selects, or else the number of changed rows."""
        with self._locked():
            connection = self._connection or self._connect()
            now = self._clock()
            if now >= self._purge_at:
                self._purge_at = now + _PURGE_INTERVAL
                for purge in _PURGE:
                    connection.execute(purge, {"now": now})
            cursor = connection.execute(statement, {"now": now, "end": now + lifetime, **values})
            if cursor.description is None:
                return cursor.rowcount
            row = cursor.fetchone()
            return None if row is None else row[0]

    def _connect(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, _PRIVATE_FILE))
        connection = sqlite3.connect(
            self._path,
            timeout=self._timeout,
            isolation_level=None,  # no transactions
            check_same_thread=False,  # the lock is held
        )
        try:
            self._create_tables(connection)
        except BaseException:
            connection.close()
            raise
        # Not at exit, where releases in the background may still need the connection.
        self._close_connection = finalizer = weakref.finalize(self, _close, connection, os.getpid())
        finalizer.atexit = False
        self._connection = connection
        return connection

    def _create_tables(self, connection: sqlite3.Connection) -> None:
        """Create the tables if they do not exist.

        If other processes start at the same time, SQLite does not wait until it can change the mode of
        the file.
        """
        ends_at = time.monotonic() + self._timeout
        while True:
            try:
                connection.executescript(_SCHEMA)
            except sqlite3.OperationalError as exc:
                is_locked = exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # or a subtype of it
                if not is_locked or time.monotonic() >= ends_at:
                    raise
                time.sleep(_RETRY_DELAY)
            else:
                return


_connections_of_parents: list[sqlite3.Connection | None] = []


def _check_path(path: str | os.PathLike[str]) -> Path:
    checked = Path(path).absolute()
    if os.fspath(path) in {"", ":memory:"}:
        message = f"invalid `path`: expected a file, got {path!r}; use `InMemorySessionStore` instead"
    elif not checked.parent.is_dir() or checked.is_dir():
        message = f"invalid `path`: expected a file in an existing folder, got {str(path)!r}"
    else:
        return checked
    raise ValueError(message)


def _close(connection: sqlite3.Connection, pid: int) -> None:
    if pid == os.getpid():
        connection.close()


def _do_nothing() -> None:
    pass


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
