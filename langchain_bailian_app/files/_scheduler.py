"""Many tasks at once: which action comes next, which task waits, and what came of each.

No waiting here either: `run_all` and `arun_all` wait, for threads and event loops, and share all the
rest.
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

# What is nearly done comes first: a lease lives for minutes, so the upload follows it at once.
_PRIORITIES: tuple[type[Action], ...] = (AddFile, UploadBytes, DescribeFile, RequestLease, ComputeMd5)
# These would come of every file.
_FATAL_ERRORS = (BailianAuthenticationError, BailianPermissionError)


class ScheduledAction(NamedTuple):
    """An action of one of the tasks."""

    task_index: int
    action: Action


class UploadScheduler:
    """All tasks of one call.

    Args:
        tasks: Their generators of actions.
        on_change: Called with the index of a task whenever it has advanced.
        clock: Seconds.
        lease_interval: Seconds between two leases.
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
        """Whether a task has not ended."""
        return self._unfinished_count > 0

    def take_runnable(self, free_workers: int) -> list[ScheduledAction]:
        """Return actions to begin now: at most so many, and all that only wait for others."""
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
        """Return the seconds until there is something to do without any action having ended."""
        return max(0.0, self._delayed[0][0] - self._clock()) if self._delayed else None

    def complete(self, scheduled: ScheduledAction, future: Future[Any] | asyncio.Future[Any]) -> None:
        """Take what came of an action.

        Raises:
            BailianError: It would come of every file.
        """
        error = future.exception()
        if error is None:
            self._advance(scheduled.task_index, future.result())
        else:
            self._advance(scheduled.task_index, error=error)

    def close(self) -> None:
        """Break off what has not ended."""
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
    """Run all tasks to their ends.

    Args:
        scheduler: The tasks.
        submit: Begins an action in another thread.
        workers: How many actions there are at once.

    Raises:
        BailianError: It would come of every file.
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
    """Do what `run_all` does, on the running event loop."""
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
