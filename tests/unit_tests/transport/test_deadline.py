"""Deadlines of a call."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from langchain_bailian_app._transport.call_context import CallContext, current_context
from langchain_bailian_app._transport.deadline import Deadline, ReadTimer


async def test_a_deadline_without_a_limit_never_passes() -> None:
    deadline = Deadline()

    assert deadline.remaining() == math.inf
    assert not deadline.has_passed()


def test_a_limit_only_shortens_a_deadline() -> None:
    deadline = Deadline(10)
    deadline.limit(20)
    assert 9 < deadline.remaining() <= 10
    deadline.limit(5)
    assert 4 < deadline.remaining() <= 5
    deadline.limit(0)
    assert deadline.has_passed()
    assert deadline.remaining() == 0.001


def test_progress_restarts_a_deadline_until_the_end_of_the_call() -> None:
    deadline = Deadline(10)
    deadline.restart(1)
    assert 0 < deadline.remaining() <= 1
    deadline.restart(5)
    assert 4 < deadline.remaining() <= 5
    deadline.restart(20)
    assert 9 < deadline.remaining() <= 10


def test_the_limit_of_the_first_token_ends_the_call_until_it_is_lifted() -> None:
    deadline = Deadline(10)
    deadline.limit_first_token(1)
    deadline.restart(5)
    assert 0 < deadline.remaining() <= 1
    assert deadline.limits_first_token
    deadline.lift_first_token_limit()
    deadline.restart(20)
    assert 9 < deadline.remaining() <= 10
    assert not deadline.limits_first_token


def test_the_limit_of_the_first_token_does_not_extend_the_call() -> None:
    deadline = Deadline(1)
    deadline.limit_first_token(10)
    assert 0 < deadline.remaining() <= 1
    assert not deadline.limits_first_token


def test_a_context_applies_inside_its_with_statement() -> None:
    outer, inner = CallContext(Deadline(1)), CallContext(Deadline(1))
    with outer.apply():
        with inner.apply():
            assert current_context() is inner
        assert current_context() is outer

    assert current_context().deadline.remaining() == math.inf


async def test_a_read_timer_interrupts_a_read_at_the_deadline() -> None:
    deadline = Deadline()
    deadline.restart(0.02)
    timer = ReadTimer(deadline)
    assert await timer.wait_for(asyncio.sleep(0, "data")) == "data"
    started_at = time.monotonic()
    deadline.restart(0.06)
    with pytest.raises(TimeoutError):
        await timer.wait_for(asyncio.sleep(10))

    assert 0.05 < time.monotonic() - started_at < 1


async def test_a_read_timer_starts_again_if_it_has_fired_between_two_reads() -> None:
    deadline = Deadline()
    deadline.restart(0.01)
    timer = ReadTimer(deadline)
    await timer.wait_for(asyncio.sleep(0))
    await asyncio.sleep(0.03)
    deadline.restart(0.01)
    with pytest.raises(TimeoutError):
        await timer.wait_for(asyncio.sleep(10))


async def test_a_task_that_was_interrupted_can_go_on() -> None:
    async def read_twice() -> str:
        with pytest.raises(TimeoutError):
            await ReadTimer(Deadline(0)).wait_for(asyncio.sleep(10))
        await asyncio.sleep(0)
        return "data"

    task = asyncio.create_task(read_twice())

    assert await task == "data"
    assert task.cancelling() == 0


async def test_a_read_that_is_cancelled_at_its_deadline_stays_cancelled() -> None:
    timer = ReadTimer(Deadline(0.01))
    task = asyncio.create_task(timer.wait_for(asyncio.sleep(10)))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.01, task.cancel)
    time.sleep(0.03)  # noqa: ASYNC251  # both are due in the same turn
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_read_is_no_timeout() -> None:
    timer = ReadTimer(Deadline(10))
    task = asyncio.create_task(timer.wait_for(asyncio.sleep(10)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    timer.cancel()
