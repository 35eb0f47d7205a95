"""Semaphore for threads that limits concurrent calls and serves waiting calls in order."""

from __future__ import annotations

from collections import deque
from threading import Lock, RLock


class FairSemaphore:
    """A semaphore that is fair, like asyncio's.

    With `threading.Semaphore`, a thread that releases a slot and acquires the next one can overtake
    waiting threads, some of which then time out.
    """

    def __init__(self, value: int) -> None:
        self._available = value
        self._waiters: deque[Lock] = deque()
        # Reentrant, because the garbage collector may close an abandoned stream, which releases a slot,
        # in the very thread that holds the lock.
        self._lock = RLock()

    def acquire(self, timeout: float) -> bool:
        """Wait for a slot for up to `timeout` seconds; return whether it was acquired."""
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
        """Release a slot and wake the thread that has waited longest, if any."""
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
                self.release()  # the slot was granted just after the timeout
