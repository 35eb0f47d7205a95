"""Places for calls in flight, given to threads in the order in which they came."""

from __future__ import annotations

from collections import deque
from threading import Lock, RLock


class FairSemaphore:
    """A semaphore that is fair, as asyncio's is.

    With `threading.Semaphore` a thread that gives its place back and wants the next takes it from those
    who wait, some of them until their time is up.
    """

    def __init__(self, value: int) -> None:
        self._available = value
        self._waiters: deque[Lock] = deque()
        # The garbage collector may close a stream that was dropped, which gives a place back, in the
        # very thread that holds this.
        self._lock = RLock()

    def acquire(self, timeout: float) -> bool:
        """Return whether there was a place within so many seconds."""
        waiter = Lock()
        waiter.acquire()
        with self._lock:
            self._waiters.append(waiter)
            self._wake_waiters()
        acquired = False
        try:
            acquired = waiter.acquire(timeout=timeout)
        finally:
            if not acquired:
                self._cancel_wait(waiter)
        return acquired

    def release(self) -> None:
        """Give a place back: to who waits longest, if anybody does."""
        with self._lock:
            self._available += 1
            self._wake_waiters()

    def _wake_waiters(self) -> None:
        while self._available and self._waiters:
            self._available -= 1
            self._waiters.popleft().release()

    def _cancel_wait(self, waiter: Lock) -> None:
        with self._lock:
            try:
                self._waiters.remove(waiter)
            except ValueError:
                self.release()  # the place came at the last moment
