"""Deadlines of a call: the end of the call and the point in time of the next expected frame."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")

_MIN_SECONDS = 0.001  # sockets with a timeout of 0 do not wait at all


class Deadline:
    """The point in time by which a call must make progress.

    Args:
        seconds: The time for the entire call; without it, the call is not limited.

    Attributes:
        ends_at: The end of the entire call, or of the wait for its first token if that is earlier, on
            the clock `time.monotonic`.
        expires_at: The point in time by which the call must make progress, at most `ends_at`.
        limits_first_token: Whether `ends_at` is the end of the wait for the first token.
    """

    __slots__ = ("_end_of_call", "ends_at", "expires_at", "limits_first_token")

    def __init__(self, seconds: float | None = None) -> None:
        self._end_of_call = math.inf if seconds is None else time.monotonic() + seconds
        self.ends_at = self.expires_at = self._end_of_call
        self.limits_first_token = False

    def remaining(self) -> float:
        """Return the seconds that are left, at least a millisecond; infinite without a limit."""
        return max(_MIN_SECONDS, self.expires_at - time.monotonic())

    def has_passed(self) -> bool:
        """Return whether no time is left."""
        return time.monotonic() >= self.expires_at

    def limit(self, seconds: float) -> None:
        """End the call in `seconds` at the latest."""
        self.ends_at = min(self.ends_at, time.monotonic() + seconds)
        self.expires_at = min(self.expires_at, self.ends_at)

    def restart(self, seconds: float) -> None:
        """Expect the next progress within `seconds`, but not after the end of the call."""
        self.expires_at = min(self.ends_at, time.monotonic() + seconds)

    def limit_first_token(self, seconds: float) -> None:
        """End the call in `seconds`, unless `lift_first_token_limit` is called before."""
        ends_at = time.monotonic() + seconds
        if ends_at < self.ends_at:
            self.ends_at = self.expires_at = ends_at
            self.limits_first_token = True

    def lift_first_token_limit(self) -> None:
        """Let the call go on until its own end; `restart` then sets `expires_at`."""
        self.ends_at = self._end_of_call
        self.limits_first_token = False


class ReadTimer:
    """Interrupts a read on an event loop when a deadline passes.

    It cancels the task and converts the cancellation, as `asyncio.timeout` does. But a call has one
    timer, which is set again only if it fires too early or would fire too late. Setting and cancelling
    one for each read would take as long as parsing a frame.
    """

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = math.inf  # on the clock `time.monotonic`
        self._task: asyncio.Task[Any] | None = None  # set during a read
        self._has_expired = False

    async def wait_for(self, awaitable: Awaitable[T]) -> T:
        """Await the next bytes.

        Raises:
            TimeoutError: The deadline has passed.
        """
        if self._deadline.expires_at < self._fires_at:
            self._start()
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        cancellations = task.cancelling()
        self._task = task
        try:
            return await awaitable
        except asyncio.CancelledError:
            if self._has_expired and task.cancelling() <= cancellations + 1:
                raise TimeoutError from None
            raise  # somebody else has cancelled the task too
        finally:
            self._task = None
            if self._has_expired:
                task.uncancel()
                self._has_expired = False

    def cancel(self) -> None:
        """Cancel the timer at the end of the call."""
        if self._timer is not None:
            self._timer.cancel()

    def _start(self) -> None:
        self.cancel()
        self._fires_at = self._deadline.expires_at
        seconds = self._deadline.remaining()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._check)

    def _check(self) -> None:
        self._fires_at = math.inf
        if self._task is None:
            return  # the next read starts the timer again
        if self._deadline.has_passed():
            self._has_expired = True
            self._task.cancel()
        else:
            self._start()
