"""Many ways at once: which step comes next, which way waits, and what came of each.

No waiting here either: `run` and `arun` wait, for threads and event loops, and share all the rest.
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
    AddFile,
    Describe,
    Fingerprint,
    Join,
    Put,
    Step,
    TakeLease,
    Wait,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_bailian_app.files._tasks import Steps
    from langchain_bailian_app.options._session_files import SessionFile

# What is nearly done comes first: a lease lives for minutes, so the upload follows it at once.
_ORDER: tuple[type[Step], ...] = (AddFile, Put, Describe, TakeLease, Fingerprint)
# These would come of every file.
_COMMON = (BailianAuthenticationError, BailianPermissionError)


class Job(NamedTuple):
    """A step of one of the ways."""

    number: int
    step: Step


class Fleet:
    """All ways of one call.

    Args:
        ways: What to go.
        notice: Told the number of a way whenever it has moved.
        clock: Seconds.
        lease_gap: Seconds between two leases.
    """

    def __init__(
        self,
        ways: Sequence[Steps[SessionFile]],
        *,
        notice: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
        lease_gap: float = 0.0,
    ) -> None:
        self.outcomes: list[Any] = [None] * len(ways)
        self._ways = ways
        self._notice = notice
        self._clock = clock
        self._lease_gap = lease_gap
        self._next_lease = clock()
        self._order = itertools.count()
        self._jobs: list[tuple[int, int, Job]] = []
        self._asleep: list[tuple[float, int, Job]] = []
        self._open = len(ways)
        for number in range(len(ways)):
            self._go_on(number)

    @property
    def is_open(self) -> bool:
        """Whether a way has not ended."""
        return self._open > 0

    def next_jobs(self, free: int) -> list[Job]:
        """Return steps to begin now: at most so many, and all that only wait for others."""
        now = self._clock()
        while self._asleep and self._asleep[0][0] <= now:
            number, step = heapq.heappop(self._asleep)[2]
            if isinstance(step, Wait):
                self._go_on(number)
            else:
                self._queue(Job(number, step))
        jobs: list[Job] = []
        while self._jobs and (free > 0 or self._jobs[0][0] < 0):
            urgency, _, job = heapq.heappop(self._jobs)
            free -= urgency >= 0
            jobs.append(job)
        return jobs

    def pause(self) -> float | None:
        """Return the seconds until there is something to do without any step having ended."""
        return max(0.0, self._asleep[0][0] - self._clock()) if self._asleep else None

    def ended(self, job: Job, future: Future[Any] | asyncio.Future[Any]) -> None:
        """Take what came of a step.

        Raises:
            BailianError: It would come of every file.
        """
        error = future.exception()
        if error is None:
            self._go_on(job.number, future.result())
        else:
            self._go_on(job.number, error=error)

    def close(self) -> None:
        """Break off what has not ended."""
        for way in self._ways:
            way.close()

    def _go_on(self, number: int, result: Any = None, *, error: BaseException | None = None) -> None:
        way = self._ways[number]
        try:
            step = way.send(result) if error is None else way.throw(error)
        except StopIteration as end:
            self._end(number, end.value)
        except _COMMON:
            raise
        except (BailianError, OSError) as exc:
            self._end(number, exc)
        else:
            self._add(Job(number, step), self._clock())
            self._notice(number)

    def _end(self, number: int, outcome: Any) -> None:
        self.outcomes[number] = outcome
        self._open -= 1
        self._notice(number)

    def _add(self, job: Job, now: float) -> None:
        if isinstance(job.step, Wait):
            self._sleep(now + job.step.seconds, job)
        elif isinstance(job.step, TakeLease):
            begin = max(now, self._next_lease)
            self._next_lease = begin + self._lease_gap
            self._sleep(begin, job)
        else:
            self._queue(job)

    def _queue(self, job: Job) -> None:
        urgency = -1 if isinstance(job.step, Join) else _ORDER.index(type(job.step))
        heapq.heappush(self._jobs, (urgency, next(self._order), job))

    def _sleep(self, until: float, job: Job) -> None:
        heapq.heappush(self._asleep, (until, next(self._order), job))


def run(fleet: Fleet, begin: Callable[[Job], Future[Any]], *, workers: int) -> None:
    """Go all ways to their ends.

    Args:
        fleet: The ways.
        begin: Begins a step in another thread.
        workers: How many steps there are at once.

    Raises:
        BailianError: It would come of every file.
    """
    working: dict[Future[Any], Job] = {}
    try:
        while fleet.is_open:
            busy = sum(not isinstance(job.step, Join) for job in working.values())
            for job in fleet.next_jobs(workers - busy):
                working[begin(job)] = job
            if working:
                done, _ = wait(working, fleet.pause(), FIRST_COMPLETED)
                for future in done:
                    fleet.ended(working.pop(future), future)
            elif (pause := fleet.pause()) is not None:
                time.sleep(pause)
    finally:
        for future in working:
            future.cancel()


async def arun(fleet: Fleet, begin: Callable[[Job], Future[Any]], *, workers: int) -> None:
    """Do what `run` does, on the running event loop."""
    working: dict[asyncio.Future[Any], Job] = {}
    try:
        while fleet.is_open:
            busy = sum(not isinstance(job.step, Join) for job in working.values())
            for job in fleet.next_jobs(workers - busy):
                working[asyncio.wrap_future(begin(job))] = job
            if working:
                done, _ = await asyncio.wait(
                    working, timeout=fleet.pause(), return_when=asyncio.FIRST_COMPLETED
                )
                for future in done:
                    fleet.ended(working.pop(future), future)
            elif (pause := fleet.pause()) is not None:
                await asyncio.sleep(pause)
    finally:
        for future in working:
            future.cancel()
