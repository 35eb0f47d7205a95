"""Scheduler for concurrent upload tasks, which orders their actions and collects their outcomes.

The scheduler never waits. `run_all` waits in a thread, `arun_all` on an event loop.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_bailian_app.errors import (
    BailianAuthenticationError,
    BailianError,
    BailianPermissionError,
)
from langchain_bailian_app.files._actions import (
    Action,
    AddFile,
    AwaitSameUpload,
    ComputeMd5,
    DescribeFile,
    RequestLease,
    Sleep,
    UploadBytes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_bailian_app.files._tasks import ActionGenerator
    from langchain_bailian_app.options._session_files import SessionFile

# Nearly finished tasks come first: a lease expires within minutes, so its upload must follow at once.
_PRIORITIES: tuple[type[Action], ...] = (AddFile, UploadBytes, DescribeFile, RequestLease, ComputeMd5)
# Errors that would occur for every file.
_FATAL_ERRORS = (BailianAuthenticationError, BailianPermissionError)


class ScheduledAction(NamedTuple):
    """An action and the index of its task."""

    task_index: int
    action: Action


class UploadScheduler:
    """Scheduler for all tasks of one call.

    Args:
        action_generators: The action generator of each task.
        on_change: Called with the index of a task whenever the task has advanced.
        clock: Clock that returns seconds.
        lease_interval: Minimum seconds between two lease requests.
    """

    def __init__(
        self,
        action_generators: Sequence[ActionGenerator[SessionFile]],
        *,
        on_change: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
        lease_interval: float = 0.0,
    ) -> None:
        self.outcomes: list[Any] = [None] * len(action_generators)
        self._action_generators = action_generators
        self._on_change = on_change
        self._clock = clock
        self._lease_interval = lease_interval
        self._next_lease_at = clock()
        self._sequence = itertools.count()
        self._runnable: list[tuple[int, int, ScheduledAction]] = []
        self._delayed: list[tuple[float, int, ScheduledAction]] = []
        self._unfinished_count = len(action_generators)
        for task_index in range(len(action_generators)):
            self._advance(task_index)

    @property
    def has_unfinished_tasks(self) -> bool:
        """Whether any task is unfinished."""
        return self._unfinished_count > 0

    def take_runnable(self, free_workers: int) -> list[ScheduledAction]:
        """Return the actions to start now: at most `free_workers`, plus all waits for other uploads."""
        now = self._clock()
        while self._delayed and self._delayed[0][0] <= now:
            task_index, action = heapq.heappop(self._delayed)[2]
            if isinstance(action, Sleep):
                self._advance(task_index)
            else:
                self._enqueue(ScheduledAction(task_index, action))
        runnable: list[ScheduledAction] = []
        while self._runnable and (free_workers > 0 or self._runnable[0][0] < 0):
            priority, _, scheduled = heapq.heappop(self._runnable)
            free_workers -= priority >= 0
            runnable.append(scheduled)
        return runnable

    def seconds_until_next(self) -> float | None:
        """Return the seconds until the next delayed action, or None if no action is delayed."""
        return max(0.0, self._delayed[0][0] - self._clock()) if self._delayed else None

    def complete(self, scheduled: ScheduledAction, future: Future[Any] | asyncio.Future[Any]) -> None:
        """Pass the result or error of an action to its task.

        Raises:
            BailianError: An error that would occur for every file.
        """
        error = future.exception()
        if error is None:
            self._advance(scheduled.task_index, future.result())
        else:
            self._advance(scheduled.task_index, error=error)

    def close(self) -> None:
        """Stop all unfinished tasks."""
        for task in self._action_generators:
            task.close()

    def _advance(
        self, task_index: int, result: Any = None, *, error: BaseException | None = None
    ) -> None:
        task = self._action_generators[task_index]
        try:
            action = task.send(result) if error is None else task.throw(error)
        except StopIteration as stop:
            self._finish(task_index, stop.value)
        except _FATAL_ERRORS:
            raise
        except (BailianError, OSError) as exc:
            self._finish(task_index, exc)
        else:
            self._schedule(ScheduledAction(task_index, action), self._clock())
            self._on_change(task_index)

    def _finish(self, task_index: int, outcome: Any) -> None:
        self.outcomes[task_index] = outcome
        self._unfinished_count -= 1
        self._on_change(task_index)

    def _schedule(self, scheduled: ScheduledAction, now: float) -> None:
        if isinstance(scheduled.action, Sleep):
            self._delay(now + scheduled.action.seconds, scheduled)
        elif isinstance(scheduled.action, RequestLease):
            start_at = max(now, self._next_lease_at)
            self._next_lease_at = start_at + self._lease_interval
            self._delay(start_at, scheduled)
        else:
            self._enqueue(scheduled)

    def _enqueue(self, scheduled: ScheduledAction) -> None:
        priority = (
            -1
            if isinstance(scheduled.action, AwaitSameUpload)
            else _PRIORITIES.index(type(scheduled.action))
        )
        heapq.heappush(self._runnable, (priority, next(self._sequence), scheduled))

    def _delay(self, until: float, scheduled: ScheduledAction) -> None:
        heapq.heappush(self._delayed, (until, next(self._sequence), scheduled))


def run_all(
    scheduler: UploadScheduler, submit: Callable[[ScheduledAction], Future[Any]], *, workers: int
) -> None:
    """Run all tasks to completion.

    Args:
        scheduler: Scheduler of the tasks.
        submit: Starts an action in another thread and returns its future.
        workers: Maximum number of simultaneous actions, not counting those that only wait for another
            upload of the same bytes.

    Raises:
        BailianError: An error that would occur for every file.
    """
    running: dict[Future[Any], ScheduledAction] = {}
    try:
        while scheduler.has_unfinished_tasks:
            busy_workers = sum(
                not isinstance(scheduled.action, AwaitSameUpload) for scheduled in running.values()
            )
            for scheduled in scheduler.take_runnable(workers - busy_workers):
                running[submit(scheduled)] = scheduled
            if running:
                done, _ = wait(running, scheduler.seconds_until_next(), FIRST_COMPLETED)
                for future in done:
                    scheduler.complete(running.pop(future), future)
            elif (delay := scheduler.seconds_until_next()) is not None:
                time.sleep(delay)
    finally:
        for future in running:
            future.cancel()


async def arun_all(
    scheduler: UploadScheduler, submit: Callable[[ScheduledAction], Future[Any]], *, workers: int
) -> None:
    """Async version of `run_all`."""
    running: dict[asyncio.Future[Any], ScheduledAction] = {}
    try:
        while scheduler.has_unfinished_tasks:
            busy_workers = sum(
                not isinstance(scheduled.action, AwaitSameUpload) for scheduled in running.values()
            )
            for scheduled in scheduler.take_runnable(workers - busy_workers):
                running[asyncio.wrap_future(submit(scheduled))] = scheduled
            if running:
                done, _ = await asyncio.wait(
                    running, timeout=scheduler.seconds_until_next(), return_when=asyncio.FIRST_COMPLETED
                )
                for future in done:
                    scheduler.complete(running.pop(future), future)
            elif (delay := scheduler.seconds_until_next()) is not None:
                await asyncio.sleep(delay)
    finally:
        for future in running:
            future.cancel()
