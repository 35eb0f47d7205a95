"""Wait for the end of several runs, in threads and on event loops.

One object decides what is queried when. The two loops only send the queries.
"""

from __future__ import annotations

import asyncio
import math
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from langchain_bailian_app.errors import (
    BailianError,
    BailianNotFoundError,
    BailianRequestError,
    BailianTimeoutError,
)
from langchain_bailian_app.runs._polling import Backoff, PollQueue
from langchain_bailian_app.runs._progress import RunProgress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

    from langchain_bailian_app.runs._state import RunState
    from langchain_bailian_app.runs._tracker import RunTracker

QUERIES_PER_SECOND = 20.0
"""Default limit of the queries for all runs of one wait.

The service documents it for tasks of models, and documents none for background runs."""

_MAX_CONCURRENT_QUERIES = 16


def iter_ended(
    trackers: Sequence[RunTracker],
    *,
    timeout: float | None = None,
    progress: bool | None = False,
    queries_per_second: float = QUERIES_PER_SECOND,
) -> Generator[int]:
    """Yield the index of each run when it has ended, or when the service does not know it any more.

    Raises:
        BailianTimeoutError: Some runs have not ended within `timeout` seconds.
        BailianError: A query failed for a reason that concerns all runs, or too often in succession.
        ValueError: An argument or a setting is invalid.
    """
    polling = _Polling(trackers, timeout, progress, queries_per_second)
    pool = ThreadPoolExecutor(_MAX_CONCURRENT_QUERIES, thread_name_prefix="bailian-runs")
    queries: dict[Future[object], int] = {}
    try:
        yield from polling.ended_before
        while polling.has_unfinished:
            while len(queries) < _MAX_CONCURRENT_QUERIES and (index := polling.pop_due()) is not None:
                queries[pool.submit(trackers[index].query, polling.time_left())] = index
            seconds = polling.seconds_to_wait(is_full=len(queries) == _MAX_CONCURRENT_QUERIES)
            if not queries:
                time.sleep(seconds)
                continue
            done, _ = wait(queries, None if seconds == math.inf else seconds, FIRST_COMPLETED)
            for query in done:
                index = queries.pop(query)
                if polling.record(index, query.exception()):
                    yield index
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        polling.close()


async def aiter_ended(
    trackers: Sequence[RunTracker],
    *,
    timeout: float | None = None,  # noqa: ASYNC109  # as in the sync version
    progress: bool | None = False,
    queries_per_second: float = QUERIES_PER_SECOND,
) -> AsyncGenerator[int]:
    """Async version of `iter_ended`."""
    polling = _Polling(trackers, timeout, progress, queries_per_second)
    queries: dict[asyncio.Task[RunState], int] = {}
    try:
        for index in polling.ended_before:
            yield index
        while polling.has_unfinished:
            while (
                len(queries) < _MAX_CONCURRENT_QUERIES and (index_due := polling.pop_due()) is not None
            ):
                query = asyncio.create_task(trackers[index_due].aquery(polling.time_left()))
                queries[query] = index_due
            seconds = polling.seconds_to_wait(is_full=len(queries) == _MAX_CONCURRENT_QUERIES)
            if not queries:
                await asyncio.sleep(seconds)
                continue
            limit = None if seconds == math.inf else seconds
            done, _ = await asyncio.wait(queries, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            for query in done:
                index = queries.pop(query)
                if polling.record(index, query.exception()):
                    yield index
    finally:
        for query in queries:
            query.cancel()
        await asyncio.gather(*queries, return_exceptions=True)
        polling.close()


class _Polling:
    """Decisions of one wait: which run is queried next, and whether it has ended."""

    def __init__(
        self,
        trackers: Sequence[RunTracker],
        timeout: float | None,
        progress: bool | None,
        queries_per_second: float,
    ) -> None:
        for name, value in (("timeout", timeout), ("queries_per_second", queries_per_second)):
            if value is not None and not value > 0:
                message = f"invalid `{name}`: expected a number greater than 0, got {value!r}"
                raise ValueError(message)
        now = time.monotonic()
        self._trackers = trackers
        self._timeout = timeout
        self._ends_at = math.inf if timeout is None else now + timeout
        self.ended_before = [index for index, tracker in enumerate(trackers) if tracker.is_final]
        self._unfinished = set(range(len(trackers))) - set(self.ended_before)
        self._backoffs = {index: Backoff() for index in self._unfinished}
        self._queue = PollQueue(
            sorted(self._unfinished), queries_per_second=queries_per_second, now=now
        )
        statuses = [tracker.status for tracker in trackers]
        self._progress = RunProgress(statuses, enabled=progress)
        for index in self.ended_before:
            self._progress.set_status(index, statuses[index], has_ended=True)

    @property
    def has_unfinished(self) -> bool:
        """Whether a run has not ended."""
        return bool(self._unfinished)

    def pop_due(self) -> int | None:
        """Return the index of a run to query now, or None."""
        return self._queue.pop_due(time.monotonic())

    def time_left(self) -> float:
        """Return the seconds until the deadline.

        Raises:
            BailianTimeoutError: The deadline has passed.
        """
        seconds = self._ends_at - time.monotonic()
        if seconds <= 0:
            count, total = len(self._unfinished), len(self._trackers)
            runs = (
                f"run {self._trackers[0].run_id} has" if total == 1 else f"{count} of {total} runs have"
            )
            message = (
                f"{runs} not ended within {self._timeout:g} s (`timeout`): runs go on, and you can "
                "wait for them again"
            )
            raise BailianTimeoutError(message)
        return seconds

    def seconds_to_wait(self, *, is_full: bool) -> float:
        """Return the seconds until the next query or the deadline; infinite without either.

        Args:
            is_full: Whether the next query must wait for another one.
        """
        due = None if is_full else self._queue.seconds_until_due(time.monotonic())
        return min(self.time_left(), math.inf if due is None else due)

    def record(self, index: int, error: BaseException | None) -> bool:
        """Record the outcome of a query and return whether the run has ended.

        Raises:
            BailianError: Waiting for longer is of no use.
        """
        tracker, backoff = self._trackers[index], self._backoffs[index]
        # Deleted, or kept no longer. Which code an unknown id has is unverified.
        is_unknown = isinstance(error, BailianNotFoundError | BailianRequestError)
        if error is None:
            backoff.record_reply()
        elif not isinstance(error, BailianError):
            raise error
        has_ended = tracker.is_final or is_unknown
        if has_ended:
            self._unfinished.discard(index)
        else:
            delay = backoff.next_delay() if error is None else backoff.delay_after(error)
            self._queue.put(index, time.monotonic() + delay)
        status = tracker.status
        self._progress.set_status(index, status, has_ended=has_ended)
        return has_ended

    def close(self) -> None:
        """Close the progress bar."""
        self._progress.close()
