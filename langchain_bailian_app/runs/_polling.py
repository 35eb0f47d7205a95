"""Times of the queries for the states of runs.

This module decides when a run is queried next, and which errors of a query end the wait. It neither
waits nor sends anything.
"""

from __future__ import annotations

import heapq
import itertools
import random
from typing import Generic, TypeVar

from langchain_bailian_app.errors import (
    BailianConnectionError,
    BailianError,
    BailianRateLimitError,
    BailianTimeoutError,
)

K = TypeVar("K")

_FIRST_DELAY, _MAX_DELAY, _BACKOFF = 0.25, 10.0, 1.6  # seconds; the service's example waits 2 s
MAX_FAILURES = 8
"""Number of queries that may fail in succession; the last of them fails about 24 s after the first."""

_FIRST_SERVER_ERROR = 500


def is_transient(error: BailianError) -> bool:
    """Return whether a query, which changes nothing, can succeed if it is repeated."""
    return (
        error.is_retryable
        or isinstance(error, BailianConnectionError | BailianTimeoutError | BailianRateLimitError)
        or (error.status_code or 0) >= _FIRST_SERVER_ERROR
    )


class Backoff:
    """Delays between the requests about one run: from 0.25 s to 10 s, with jitter.

    Args:
        max_failures: Number of failures in succession after which the last error is raised.
    """

    def __init__(self, max_failures: int = MAX_FAILURES) -> None:
        self._max_failures = max_failures
        self._delay = _FIRST_DELAY
        self.failures = 0

    def next_delay(self) -> float:
        """Return the seconds until the next query, and lengthen the one after it."""
        delay, self._delay = self._delay, min(_MAX_DELAY, self._delay * _BACKOFF)
        return delay * random.uniform(0.5, 1)  # noqa: S311 - jitter

    def record_reply(self) -> None:
        """Record that the service has replied."""
        self.failures = 0

    def delay_after(self, error: BailianError) -> float:
        """Return the seconds until the next request after a failed one.

        Raises:
            BailianError: The error is permanent, or it is the last one that is accepted.
        """
        self.failures += 1
        if not is_transient(error) or self.failures >= self._max_failures:
            raise error
        return max(self.next_delay(), error.retry_after or 0.0)


class PollQueue(Generic[K]):
    """Keys of runs, ordered by the time of their next query.

    Args:
        keys: The runs; all of them are due immediately.
        queries_per_second: Limit for all runs together.
        now: The current time in seconds.
    """

    def __init__(self, keys: list[K], *, queries_per_second: float, now: float) -> None:
        self._interval = 1 / queries_per_second
        self._numbers = itertools.count()
        self._heap = [(now, next(self._numbers), key) for key in keys]
        self._next_query_at = now

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, key: K, due_at: float) -> None:
        """Add a run that is due at this time."""
        heapq.heappush(self._heap, (due_at, next(self._numbers), key))

    def seconds_until_due(self, now: float) -> float | None:
        """Return the seconds until a run can be queried; None if no run is waiting."""
        if not self._heap:
            return None
        return max(0.0, self._heap[0][0] - now, self._next_query_at - now)

    def pop_due(self, now: float) -> K | None:
        """Return a run to query now; None if none is due or the limit is reached."""
        if self.seconds_until_due(now) != 0:
            return None
        # Time without queries is not made up for.
        self._next_query_at = max(self._next_query_at + self._interval, now)
        return heapq.heappop(self._heap)[2]
