"""Session stores, through which models, threads and processes coordinate the use of sessions.

A cloud session is linear: it cannot be forked, and after an interrupted call its content is unknown. A
call therefore claims the session first. The claim ends only after a complete answer, or if the request
certainly did not run.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections import OrderedDict, deque
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable

SESSION_LIFETIME = 3600.0
"""Seconds after which the service forgets a session without requests (user guide)."""

KEY_LIFETIME = 24 * 3600.0
"""Seconds for which the store keeps the session id of a key. The id outlives the session, so that the
end of the session is detected and reported."""


class BailianSessionWarning(UserWarning):
    """Warning that a session could not be continued: all messages are sent, or a new session starts."""


@runtime_checkable
class SessionStore(Protocol):
    """Protocol for stores that track the state of each session, and the call that is continuing it.

    Each method has an async version with the prefix `a`. `session_id` and `key` are opaque strings,
    which also identify the service, workspace and application.
    """

    def open(self, session_id: str, digest: str) -> None:
        """Record a session after its first answer; leave a known session unchanged."""

    def claim(self, session_id: str, turn: int, digest: str) -> str | None:
        """Claim a session; return a token, or None if it is in use or not at this turn and digest."""

    def complete(self, token: str, turn: int, digest: str) -> bool:
        """End a claim after a complete answer, and record the new turn and digest.

        Returns:
            False if the claim no longer exists.
        """

    def release(self, token: str) -> None:
        """End a claim without recording a new turn.

        This is called if the request certainly did not run, and at the end of each call on a thread.
        """

    def get(self, key: str) -> str | None:
        """Return the session id stored for a key, or None."""

    def put(self, key: str, session_id: str) -> None:
        """Store the session id of a key."""

    async def aopen(self, session_id: str, digest: str) -> None:
        """Async version of `open`."""

    async def aclaim(self, session_id: str, turn: int, digest: str) -> str | None:
        """Async version of `claim`."""

    async def acomplete(self, token: str, turn: int, digest: str) -> bool:
        """Async version of `complete`."""

    async def arelease(self, token: str) -> None:
        """Async version of `release`."""

    async def aget(self, key: str) -> str | None:
        """Async version of `get`."""

    async def aput(self, key: str, session_id: str) -> None:
        """Async version of `put`."""


@dataclass(slots=True)
class _Entry:
    turn: int
    digest: str
    expires_at: float
    token: str | None = None


class InMemorySessionStore:
    """Session store for the threads and event loops of one process.

    Models without a `session_store` share one store per process. Pass a store if only the cloud keeps
    the conversation (`history="thread"`), or to set your own limits.

    Instantiate:
        ```python
        from langchain_bailian_app import BailianAppChatModel, InMemorySessionStore

        store = InMemorySessionStore(max_sessions=10_000)
        ```

    Use:
        ```python
        bot = BailianAppChatModel(history="thread", session_store=store)
        bot.invoke("我叫小明。", {"configurable": {"thread_id": "1"}})
        ```

    Args:
        max_sessions: Maximum number of sessions to keep. The least recently used session is evicted
            first; claimed sessions are not evicted. For an unknown session, all messages are sent.
        trust_unknown: Whether to continue an unknown session, for instance after a restart. The store
            then cannot detect a fork, a second tab or a crash in another process. If the session was
            evicted, it cannot detect them in this process either. The application may then answer from
            turns that the messages do not contain.
        clock: Function that returns the time in seconds, used for expiry.
    """

    def __init__(
        self,
        *,
        max_sessions: int = 100_000,
        trust_unknown: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_sessions = max_sessions
        self._trust_unknown = trust_unknown
        self._clock = clock
        self._reset()

    def _reset(self) -> None:
        self._mutex = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._sessions_by_token: dict[str, str] = {}
        self._sessions_by_key: OrderedDict[str, tuple[str, float]] = OrderedDict()
        # Tokens and times of releases that the next operation applies.
        self._releases: deque[tuple[str, float]] = deque()
        self._pid = os.getpid()  # last, because other threads may use the new lock from here on

    @property
    def _lock(self) -> threading.Lock:
        if self._pid != os.getpid():
            # This is a forked child. The parent continues these sessions and may have held the lock.
            self._reset()
        return self._mutex

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings only: a copy in another process starts without sessions."""
        create_empty = partial(
            InMemorySessionStore,
            max_sessions=self._max_sessions,
            trust_unknown=self._trust_unknown,
        )
        return create_empty, ()

    def open(self, session_id: str, digest: str) -> None:
        """Record a session after its first answer; leave a known session unchanged."""
        with self._lock:
            self._apply_releases()
            if self._find_entry(session_id) is None:
                self._add_entry(session_id, 1, digest)

    def claim(self, session_id: str, turn: int, digest: str) -> str | None:
        """Claim a session; return a token, or None if it is in use or not at this turn and digest."""
        token = uuid.uuid4().hex
        try:
            with self._lock:
                self._apply_releases()
                entry = self._find_entry(session_id)
                if entry is None and self._trust_unknown:
                    entry = self._add_entry(session_id, turn, digest)
                if entry is None or entry.token or (entry.turn, entry.digest) != (turn, digest):
                    return None
                self._sessions_by_token[token] = session_id
                entry.expires_at = self._clock() + SESSION_LIFETIME
                entry.token = token
                return token
        except BaseException:  # Ctrl-C: the caller does not receive the token
            self.release(token)
            raise

    def complete(self, token: str, turn: int, digest: str) -> bool:
        """End a claim after a complete answer; return False if the claim no longer exists."""
        with self._lock:
            self._apply_releases()
            return self._end_claim(token, self._clock(), turn, digest)

    def release(self, token: str) -> None:
        """End a claim without recording a new turn."""
        # The garbage collector may close an abandoned stream, which releases its claim, in the middle
        # of any other operation of the same thread. So this takes no lock and changes no session.
        self._releases.append((token, self._clock()))

    def get(self, key: str) -> str | None:
        """Return the session id stored for a key, or None."""
        with self._lock:
            self._apply_releases()
            session_id, expires_at = self._sessions_by_key.get(key, (None, 0.0))
            return session_id if expires_at > self._clock() else None

    def put(self, key: str, session_id: str) -> None:
        """Store the session id of a key."""
        with self._lock:
            self._apply_releases()
            self._sessions_by_key[key] = session_id, self._clock() + KEY_LIFETIME
            self._sessions_by_key.move_to_end(key)
            if len(self._sessions_by_key) > self._max_sessions:
                self._sessions_by_key.popitem(last=False)

    def _apply_releases(self) -> None:
        while self._releases:
            self._end_claim(*self._releases[0])
            self._releases.popleft()  # only now: Ctrl-C may interrupt the line above

    def _find_entry(self, session_id: str) -> _Entry | None:
        entry = self._entries.get(session_id)
        if entry is not None and entry.expires_at <= self._clock():
            self._remove_entry(session_id)
            return None
        return entry

    def _add_entry(self, session_id: str, turn: int, digest: str) -> _Entry:
        entry = _Entry(turn, digest, self._clock() + SESSION_LIFETIME)
        self._entries[session_id] = entry
        excess = len(self._entries) - self._max_sessions
        if excess > 0:
            now = self._clock()
            unclaimed = (
                candidate_id
                for candidate_id, candidate in self._entries.items()
                if candidate is not entry and (candidate.token is None or candidate.expires_at <= now)
            )
            for candidate_id in list(islice(unclaimed, excess)):
                self._remove_entry(candidate_id)
        return entry

    def _remove_entry(self, session_id: str) -> None:
        entry = self._entries.pop(session_id)
        if entry.token is not None:
            self._sessions_by_token.pop(entry.token, None)

    def _end_claim(
        self, token: str, ended_at: float, turn: int | None = None, digest: str = ""
    ) -> bool:
        """End a claim and record the turn, if any; return False if the claim no longer exists.

        If Ctrl-C interrupts this method, the session is still claimed, and a release can be repeated.
        """
        session_id = self._sessions_by_token.get(token)
        entry = None if session_id is None else self._entries.get(session_id)
        if entry is None or session_id is None or entry.token != token:
            self._sessions_by_token.pop(token, None)
            return False
        if entry.expires_at <= ended_at:
            self._remove_entry(session_id)
            return False
        self._entries.move_to_end(session_id)
        entry.expires_at = ended_at + SESSION_LIFETIME
        if turn is not None:
            entry.turn, entry.digest = turn, digest
        entry.token = None
        self._sessions_by_token.pop(token, None)
        return True

    async def aopen(self, session_id: str, digest: str) -> None:
        """Async version of `open`."""
        self.open(session_id, digest)

    async def aclaim(self, session_id: str, turn: int, digest: str) -> str | None:
        """Async version of `claim`."""
        return self.claim(session_id, turn, digest)

    async def acomplete(self, token: str, turn: int, digest: str) -> bool:
        """Async version of `complete`."""
        return self.complete(token, turn, digest)

    async def arelease(self, token: str) -> None:
        """Async version of `release`."""
        self.release(token)

    async def aget(self, key: str) -> str | None:
        """Async version of `get`."""
        return self.get(key)

    async def aput(self, key: str, session_id: str) -> None:
        """Async version of `put`."""
        self.put(key, session_id)


SHARED_STORE = InMemorySessionStore()
"""Store for all models of this process that have no `session_store`."""
