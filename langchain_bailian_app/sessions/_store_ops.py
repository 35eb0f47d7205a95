"""Operations on a session store, as values that threads and event loops run alike.

The tracker does no I/O. It yields operations, which `run_store_ops` or `arun_store_ops` runs. Each
result is sent back to the tracker. `token = yield from Claim(…)` calls `SessionStore.claim` or
`aclaim`.

On an event loop, an operation runs to its end even if the call is cancelled. Otherwise, the session
could stay claimed for an hour.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from langchain_bailian_app._transport.background_tasks import run_to_end
from langchain_bailian_app.sessions._store import InMemorySessionStore, SessionStore

T = TypeVar("T")

StoreOps = Generator["StoreOp[Any]", Any, T]
"""Generator that yields store operations and returns a result."""


class StoreOp(ABC, Generic[T]):
    """One call to a session store, with a result of type `T`."""

    @abstractmethod
    def run(self, store: SessionStore) -> T:
        """Call the store."""

    @abstractmethod
    async def arun(self, store: SessionStore) -> T:
        """Async version of `run`."""

    def abandon(self) -> None:
        """Give up the result: the call was cancelled while the operation was running."""

    def __iter__(self) -> StoreOps[T]:
        result: T = yield self
        return result


@dataclass(frozen=True)
class Open(StoreOp[None]):
    """Add a session after its first answer."""

    session_id: str
    digest: str

    def run(self, store: SessionStore) -> None:
        store.open(self.session_id, self.digest)

    async def arun(self, store: SessionStore) -> None:
        await store.aopen(self.session_id, self.digest)


@dataclass
class Claim(StoreOp[str | None]):
    """Claim a session for one call; the result is a token, or None."""

    session_id: str
    turn: int
    digest: str
    token: str | None = field(default=None, compare=False)
    """The result. It is also stored here, because Ctrl-C may arrive before the tracker receives it."""

    pid: int = field(default_factory=os.getpid, compare=False)
    """Process that claims the session; a forked child must not release its claim."""

    _is_abandoned: bool = field(default=False, compare=False)

    def run(self, store: SessionStore) -> str | None:
        self.token = store.claim(self.session_id, self.turn, self.digest)
        return self.token

    async def arun(self, store: SessionStore) -> str | None:
        token = await store.aclaim(self.session_id, self.turn, self.digest)
        if not self._is_abandoned:
            self.token = token
        elif token is not None:
            await store.arelease(token)
        return token

    def abandon(self) -> None:
        self._is_abandoned = True


@dataclass(frozen=True)
class Complete(StoreOp[bool]):
    """End a claim after a complete answer; the result is False if the claim no longer exists."""

    token: str
    turn: int
    digest: str

    def run(self, store: SessionStore) -> bool:
        return store.complete(self.token, self.turn, self.digest)

    async def arun(self, store: SessionStore) -> bool:
        return await store.acomplete(self.token, self.turn, self.digest)


@dataclass(frozen=True)
class Release(StoreOp[None]):
    """End a claim without recording a new turn."""

    token: str

    def run(self, store: SessionStore) -> None:
        store.release(self.token)

    async def arun(self, store: SessionStore) -> None:
        await store.arelease(self.token)


@dataclass(frozen=True)
class Get(StoreOp[str | None]):
    """Look up the session id of a key; the result is the id, or None."""

    key: str

    def run(self, store: SessionStore) -> str | None:
        return store.get(self.key)

    async def arun(self, store: SessionStore) -> str | None:
        return await store.aget(self.key)


@dataclass(frozen=True)
class Put(StoreOp[None]):
    """Store the session id of a key."""

    key: str
    session_id: str

    def run(self, store: SessionStore) -> None:
        store.put(self.key, self.session_id)

    async def arun(self, store: SessionStore) -> None:
        await store.aput(self.key, self.session_id)


def run_store_ops(store: SessionStore, ops: StoreOps[T]) -> T:
    """Run store operations in a thread and return the result of the generator.

    The generator receives the errors of the store.
    """
    try:
        op = next(ops)
        while True:
            try:
                result = op.run(store)
            except Exception as exc:  # noqa: BLE001  # the generator raises it again
                op = ops.throw(exc)
            else:
                op = ops.send(result)
    except StopIteration as stop:
        value: T = stop.value
        return value


async def arun_store_ops(store: SessionStore, ops: StoreOps[T]) -> T:
    """Async version of `run_store_ops`."""
    if type(store) is InMemorySessionStore:
        return run_store_ops(store, ops)  # it never waits, and so needs no tasks
    try:
        op = next(ops)
        while True:
            try:
                result = await run_to_end(op.arun(store))
            except Exception as exc:  # noqa: BLE001  # the generator raises it again
                op = ops.throw(exc)
            except BaseException:
                op.abandon()
                raise
            else:
                op = ops.send(result)
    except StopIteration as stop:
        value: T = stop.value
        return value
