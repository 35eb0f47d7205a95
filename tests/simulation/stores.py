"""Session stores of the simulation: one that records claims and fails, and stores with a fault."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random
from typing import TYPE_CHECKING, Any

from langchain_bailian_app.sessions import InMemorySessionStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_bailian_app.sessions import SessionStore

current_step: contextvars.ContextVar[int] = contextvars.ContextVar("current_step", default=0)
"""Number of the step whose calls are running in this thread or task."""


class StoreFailure(Exception):  # noqa: N818 - an injected failure, not an error of the simulation
    """Failure that `RecordingStore` injects."""


class RecordingStore:
    """Store around another one that records which step holds which claim, and that fails at random.

    Half of the failures happen before the operation, the others after it, so that the result is lost.
    Each operation of each step has its own random numbers, so threads do not change what fails.
    """

    def __init__(self, store: SessionStore, *, failure_share: float = 0.0, seed: int = 0) -> None:
        self.store = store
        self.claims: dict[str, int] = {}
        """Number of the step for each token of a claim that has not ended."""
        self.failed_steps: set[int] = set()
        self._failure_share = failure_share
        self._seed = seed

    def open(self, session_id: str, digest: str) -> None:
        with self._may_fail("open", current_step.get()):
            self.store.open(session_id, digest)

    def claim(self, session_id: str, turn: int, digest: str) -> str | None:
        with self._may_fail("claim", current_step.get()):
            return self._record(self.store.claim(session_id, turn, digest))

    def complete(self, token: str, turn: int, digest: str) -> bool:
        with self._may_fail("complete", self._step_of(token)):
            completed = self.store.complete(token, turn, digest)
            self.claims.pop(token, None)
            return completed

    def release(self, token: str) -> None:
        with self._may_fail("release", self._step_of(token)):
            self.store.release(token)
            self.claims.pop(token, None)

    def get(self, key: str) -> str | None:
        with self._may_fail("get", current_step.get()):
            return self.store.get(key)

    def put(self, key: str, session_id: str) -> None:
        with self._may_fail("put", current_step.get()):
            self.store.put(key, session_id)

    # The async methods wait before the operation, as a store that sends requests does, so that a
    # cancellation can interrupt them there.

    async def aopen(self, session_id: str, digest: str) -> None:
        await asyncio.sleep(0)
        with self._may_fail("open", current_step.get()):
            await self.store.aopen(session_id, digest)

    async def aclaim(self, session_id: str, turn: int, digest: str) -> str | None:
        await asyncio.sleep(0)
        with self._may_fail("claim", current_step.get()):
            return self._record(await self.store.aclaim(session_id, turn, digest))

    async def acomplete(self, token: str, turn: int, digest: str) -> bool:
        await asyncio.sleep(0)
        with self._may_fail("complete", self._step_of(token)):
            completed = await self.store.acomplete(token, turn, digest)
            self.claims.pop(token, None)
            return completed

    async def arelease(self, token: str) -> None:
        await asyncio.sleep(0)
        with self._may_fail("release", self._step_of(token)):
            await self.store.arelease(token)
            self.claims.pop(token, None)

    async def aget(self, key: str) -> str | None:
        await asyncio.sleep(0)
        with self._may_fail("get", current_step.get()):
            return await self.store.aget(key)

    async def aput(self, key: str, session_id: str) -> None:
        await asyncio.sleep(0)
        with self._may_fail("put", current_step.get()):
            await self.store.aput(key, session_id)

    def _record(self, token: str | None) -> str | None:
        if token is not None:
            self.claims[token] = current_step.get()
        return token

    def _step_of(self, token: str) -> int:
        # The garbage collector may end a call in the middle of another one.
        return self.claims.get(token, current_step.get())

    @contextlib.contextmanager
    def _may_fail(self, operation: str, step: int) -> Iterator[None]:
        share = self._failure_share
        draw = random.Random(f"{self._seed} {step} {operation}").random() if share else 1.0
        if draw < share / 2:
            self.failed_steps.add(step)
            message = f"`{operation}` failed before it ran"
            raise StoreFailure(message)
        try:
            yield
        except Exception:
            self.failed_steps.add(step)
            raise
        if draw < share:
            self.failed_steps.add(step)
            message = f"`{operation}` ran, but its result was lost"
            raise StoreFailure(message)


# -- stores with a fault, which the simulation must detect ---------------------------------------------


class AlwaysGrantingStore(InMemorySessionStore):
    """Store that grants every claim."""

    def claim(self, session_id: str, turn: int, digest: str) -> str | None:
        return super().claim(session_id, turn, digest) or "granted"

    def complete(self, token: str, turn: int, digest: str) -> bool:
        return super().complete(token, turn, digest) or token == "granted"


class ForgettingStore(InMemorySessionStore):
    """Store whose `complete` records neither the turn nor the digest."""

    def complete(self, token: str, turn: int, digest: str) -> bool:
        known = token in self._sessions_by_token
        self.release(token)
        return known


class UnlockedStore(InMemorySessionStore):
    """Store that does not refuse a session that another call is continuing, or that one interrupted."""

    def claim(self, session_id: str, turn: int, digest: str) -> str | None:
        entry = self._entries.get(session_id)
        if entry is not None and entry.token:
            self.release(entry.token)
        return super().claim(session_id, turn, digest)


class MixingStore(InMemorySessionStore):
    """Store that confuses the keys of users who differ only in the last character."""

    def get(self, key: str) -> str | None:
        return super().get(key[:-1])

    def put(self, key: str, session_id: str) -> None:
        super().put(key[:-1], session_id)


class OverreleasingStore(InMemorySessionStore):
    """Store whose `release` ends the oldest claim, whichever call holds it."""

    def release(self, token: str) -> None:
        super().release(next(iter(self._sessions_by_token), token))


class NeverReleasingStore(InMemorySessionStore):
    """Store whose `release` does nothing."""

    def release(self, token: str) -> None:
        pass


class RefusingStore(InMemorySessionStore):
    """Store that never grants a claim."""

    def claim(self, session_id: str, turn: int, digest: str) -> str | None:
        return None


class LosingStore(InMemorySessionStore):
    """Store that loses the session of every thread."""

    def put(self, key: str, session_id: str) -> None:
        pass


BROKEN_STORES: dict[str, Any] = {
    "grants every claim": AlwaysGrantingStore,
    "ignores the digest of a completed turn": ForgettingStore,
    "takes claims over": UnlockedStore,
    "mixes the keys of users": MixingStore,
    "releases the claim of another call": OverreleasingStore,
    "releases nothing": NeverReleasingStore,
    "grants no claim": RefusingStore,
    "loses the sessions of threads": LosingStore,
}
