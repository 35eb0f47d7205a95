"""Who may continue which session: stores that several models, threads and processes share.

A session in the cloud is one line that cannot be forked, and what a call that broke off left in it
nobody knows. So a call first claims the session; the claim ends only with a whole answer, or where the
request certainly did not run.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable

SESSION_LIFETIME = 3600.0
"""Seconds after which the service forgets a session without requests (official guide)."""

KEY_LIFETIME = 24 * 3600.0
"""Seconds for which the session of a key is remembered: longer than the session itself, so that its end
is noticed and told."""


class BailianSessionWarning(UserWarning):
    """A session could not be continued; the conversation was told anew, or began anew."""


@runtime_checkable
class SessionStore(Protocol):
    """Knows how far each session is, and who is continuing it.

    Each method has a twin for event loops, its name prefixed by `a`. `session_id` and `key` are opaque:
    they name the service, workspace and application too.
    """

    def open(self, session_id: str, digest: str) -> None:
        """Note a session after its first answer; one that is known already stays as it is."""

    def claim(self, session_id: str, turn: int, digest: str) -> str | None:
        """Return a token if the session stands just there and nobody has claimed it, else None."""

    def complete(self, token: str, turn: int, digest: str) -> bool:
        """End a claim after a whole answer; False if there is no such claim (any more)."""

    def release(self, token: str) -> None:
        """End a claim whose request certainly did not run."""

    def get(self, key: str) -> str | None:
        """Return the session of a key."""

    def put(self, key: str, session_id: str) -> None:
        """Note the session of a key."""

    async def aopen(self, session_id: str, digest: str) -> None:
        """Do what `open` does."""

    async def aclaim(self, session_id: str, turn: int, digest: str) -> str | None:
        """Do what `claim` does."""

    async def acomplete(self, token: str, turn: int, digest: str) -> bool:
        """Do what `complete` does."""

    async def arelease(self, token: str) -> None:
        """Do what `release` does."""

    async def aget(self, key: str) -> str | None:
        """Do what `get` does."""

    async def aput(self, key: str, session_id: str) -> None:
        """Do what `put` does."""


@dataclass(slots=True)
class _Entry:
    turn: int
    digest: str
    expires_at: float
    token: str | None = None


class InMemorySessionStore:
    """A store for the threads and event loops of one process.

    All models of a process share one that they are not given. Give one where the cloud alone keeps the
    conversation, or for limits of your own.

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
        max_sessions: How many sessions it remembers. The one unused for the longest time goes first,
            and none that is claimed. A session that it does not know is told anew.
        trust_unknown: Continue a session that it does not know, after a restart for instance. It then
            cannot notice a fork, a second tab or a crash that happened in another process, or in this
            one to a session that it has evicted since: the application may answer from turns that the
            messages do not have.
        clock: Seconds, for expiry.
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
        self._pid = os.getpid()  # last: from here on another thread may use the new lock

    @property
    def _lock(self) -> threading.Lock:
        if self._pid != os.getpid():
            # In a forked child: the parent goes on with these sessions, and may have held the lock.
            self._reset()
        return self._mutex

    def __reduce__(self) -> tuple[Any, ...]:
        """Begin empty in another process: what this one knows is not known there."""
        create_empty = partial(
            InMemorySessionStore,
            max_sessions=self._max_sessions,
            trust_unknown=self._trust_unknown,
        )
        return create_empty, ()

    def open(self, session_id: str, digest: str) -> None:
        """Note a session after its first answer; one that is known already stays as it is."""
        with self._lock:
            if self._find_entry(session_id) is None:
                self._add_entry(session_id, 1, digest)

    def claim(self, session_id: str, turn: int, digest: str) -> str | None:
        """Return a token if the session stands just there and nobody has claimed it, else None."""
        with self._lock:
            entry = self._find_entry(session_id)
            if entry is None and self._trust_unknown:
                entry = self._add_entry(session_id, turn, digest)
            if entry is None or entry.token or (entry.turn, entry.digest) != (turn, digest):
                return None
            entry.token = uuid.uuid4().hex
            entry.expires_at = self._clock() + SESSION_LIFETIME
            self._sessions_by_token[entry.token] = session_id
            return entry.token

    def complete(self, token: str, turn: int, digest: str) -> bool:
        """End a claim after a whole answer; False if there is no such claim (any more)."""
        with self._lock:
            entry = self._end_claim(token)
            if entry is None:
                return False
            entry.turn, entry.digest = turn, digest
            return True

    def release(self, token: str) -> None:
        """End a claim whose request certainly did not run."""
        with self._lock:
            self._end_claim(token)

    def get(self, key: str) -> str | None:
        """Return the session of a key."""
        with self._lock:
            session_id, expires_at = self._sessions_by_key.get(key, (None, 0.0))
            return session_id if expires_at > self._clock() else None

    def put(self, key: str, session_id: str) -> None:
        """Note the session of a key."""
        with self._lock:
            self._sessions_by_key[key] = session_id, self._clock() + KEY_LIFETIME
            self._sessions_by_key.move_to_end(key)
            if len(self._sessions_by_key) > self._max_sessions:
                self._sessions_by_key.popitem(last=False)

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

    def _end_claim(self, token: str) -> _Entry | None:
        session_id = self._sessions_by_token.pop(token, None)
        entry = None if session_id is None else self._find_entry(session_id)
        if entry is None or session_id is None or entry.token != token:
            return None
        entry.token = None
        entry.expires_at = self._clock() + SESSION_LIFETIME
        self._entries.move_to_end(session_id)
        return entry

    async def aopen(self, session_id: str, digest: str) -> None:
        """Do what `open` does."""
        self.open(session_id, digest)

    async def aclaim(self, session_id: str, turn: int, digest: str) -> str | None:
        """Do what `claim` does."""
        return self.claim(session_id, turn, digest)

    async def acomplete(self, token: str, turn: int, digest: str) -> bool:
        """Do what `complete` does."""
        return self.complete(token, turn, digest)

    async def arelease(self, token: str) -> None:
        """Do what `release` does."""
        self.release(token)

    async def aget(self, key: str) -> str | None:
        """Do what `get` does."""
        return self.get(key)

    async def aput(self, key: str, session_id: str) -> None:
        """Do what `put` does."""
        self.put(key, session_id)


SHARED_STORE = InMemorySessionStore()
"""The store of all models of this process that are given none."""
