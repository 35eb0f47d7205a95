"""Tests of store operations on an event loop: cancelled claims and releases, and errors of stores."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from langchain_bailian_app.sessions import InMemorySessionStore
from langchain_bailian_app.sessions._store_ops import (
    Claim,
    Release,
    StoreOp,
    StoreOps,
    arun_store_ops,
    run_store_ops,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class SlowStore(InMemorySessionStore):
    """Store that waits before and after each claim and release, as one in another process does."""

    def __init__(self) -> None:
        super().__init__()
        self.proceed = asyncio.Event()
        self.error: Exception | None = None
        self.open("s", "d1")

    async def aclaim(self, session_id: str, turn: int, digest: str) -> str | None:
        await asyncio.sleep(0)
        token = self.claim(session_id, turn, digest)
        await self.proceed.wait()
        return token

    async def arelease(self, token: str) -> None:
        await self.proceed.wait()
        if self.error is not None:
            raise self.error
        self.release(token)


async def cancel_with_asyncio(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Cancel the first `await` of a coroutine that waits for something."""
    task = asyncio.create_task(coroutine)
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancel_with_anyio(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Cancel each `await` of a coroutine, as FastAPI does when a client disconnects."""

    async def run() -> None:
        await coroutine

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        for _ in range(5):
            await asyncio.sleep(0)
        group.cancel_scope.cancel()


CANCELLATIONS = pytest.mark.parametrize("cancel", [cancel_with_asyncio, cancel_with_anyio])


def run_op(store: SlowStore, op: StoreOp[Any]) -> Coroutine[Any, Any, Any]:
    def ops() -> StoreOps[Any]:
        return (yield from op)

    return arun_store_ops(store, ops())


async def let_tasks_finish(store: SlowStore) -> None:
    store.proceed.set()
    for _ in range(10):
        await asyncio.sleep(0)


@CANCELLATIONS
async def test_a_cancelled_claim_is_released_when_its_token_arrives(
    cancel: Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, None]],
) -> None:
    store = SlowStore()
    claim = Claim("s", 1, "d1")
    await cancel(run_op(store, claim))
    assert store.claim("s", 1, "d1") is None
    await let_tasks_finish(store)

    assert claim.token is None
    assert store.claim("s", 1, "d1")


async def test_a_claim_cancelled_just_after_its_token_arrived_has_the_token() -> None:
    store = SlowStore()
    claim = Claim("s", 1, "d1")
    task = asyncio.create_task(run_op(store, claim))
    store.proceed.set()
    while claim.token is None:  # noqa: ASYNC110  # the task must not have been resumed yet
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert claim.token is not None
    await run_op(store, Release(claim.token))
    assert store.claim("s", 1, "d1")


@CANCELLATIONS
async def test_a_cancelled_release_is_completed(
    cancel: Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, None]],
) -> None:
    store = SlowStore()
    token = store.claim("s", 1, "d1")
    assert token is not None
    await cancel(run_op(store, Release(token)))
    await let_tasks_finish(store)

    assert store.claim("s", 1, "d1")


async def test_the_error_of_a_cancelled_release_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    store = SlowStore()
    store.error = OSError("unreachable")
    with caplog.at_level(logging.WARNING):
        await cancel_with_asyncio(run_op(store, Release("token")))
        await let_tasks_finish(store)

    [record] = caplog.records
    assert "after its call was cancelled" in record.message
    assert record.exc_info is not None
    assert record.exc_info[1] is store.error


async def test_the_store_in_memory_needs_no_task() -> None:
    store = InMemorySessionStore()
    store.open("s", "d1")
    run_op_coroutine = run_op(store, claim := Claim("s", 1, "d1"))  # type: ignore[arg-type]
    with pytest.raises(StopIteration) as stop:
        run_op_coroutine.send(None)

    assert stop.value.value == claim.token is not None


async def test_the_generator_receives_the_error_of_a_store() -> None:
    def ops() -> StoreOps[str]:
        try:
            yield from Release("token")
        except OSError as error:
            yield from Release("token 2")
            return str(error)
        return "no error"

    class FailingStore(InMemorySessionStore):
        def __init__(self) -> None:
            super().__init__()
            self.failures = 0

        def release(self, token: str) -> None:
            if token == "token":
                self.failures += 1
                message = "unreachable"
                raise OSError(message)

    store = FailingStore()

    assert run_store_ops(store, ops()) == "unreachable"
    assert await arun_store_ops(store, ops()) == "unreachable"
    assert store.failures == 2
