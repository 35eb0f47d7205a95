"""Semaphore for threads that limits concurrent calls and serves waiting calls in order."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from threading import Lock, RLock
from weakref import ref


class FairSemaphore:
    """A semaphore that is fair, like asyncio's, and loses no slot when Ctrl-C interrupts it.

    With `threading.Semaphore`, a thread that releases a slot and acquires the next one can overtake
    waiting threads, some of which then time out.

    Ctrl-C may interrupt a thread between any two operations, so there is no counter that would have to
    change together with something else. A slot is taken while it is an element of `_holders`. The
    semaphore only has weak references: a slot that its owner has lost is free.
    """

    def __init__(self, value: int) -> None:
        self._value = value
        self._holders: set[ref[Slot]] = set()
        self._waiters: deque[ref[Slot]] = deque()
        # Reentrant, because the garbage collector may close an abandoned stream, which releases a slot,
        # in the very thread that holds the lock.
        self._lock = RLock()

    @property
    def free_slots(self) -> int:
        """Number of free slots."""
        return self._value - sum(holder() is not None for holder in list(self._holders))

    def acquire(self, slot: Slot, timeout: float) -> bool:
        """Wait for a new slot for up to `timeout` seconds; return whether it was acquired."""
        with self._lock:
            self._waiters.append(slot.reference)
            if len(self._holders) >= self._value:
                self._free_lost_slots()
            self._grant_slots()
        if slot.granted.acquire(timeout=timeout):
            return True
        with self._lock:
            self._free_lost_slots()
            self._grant_slots()
            if slot.reference in self._holders:
                return True  # granted just after the timeout
            self.release(slot)
        return False

    def release(self, slot: Slot) -> None:
        """Release a slot, if it is acquired, and wake the thread that has waited longest, if any."""
        if slot.is_released or slot.pid != os.getpid():
            return  # a forked child has no calls in progress, and the lock may have been held
        with self._lock:
            # A slot waits until it is granted, or longer if its grant was interrupted.
            is_first = bool(self._waiters) and self._waiters[0] is slot.reference
            if is_first or slot.reference not in self._holders:
                with suppress(ValueError):
                    self._waiters.remove(slot.reference)
            self._holders.discard(slot.reference)
            self._grant_slots()
        slot.is_released = True

    def _grant_slots(self) -> None:
        """Grant the free slots; a grant that was interrupted is completed by the next call."""
        while self._waiters:
            waiter = self._waiters[0]
            if waiter not in self._holders:
                if len(self._holders) >= self._value:
                    return
                self._holders.add(waiter)
            slot = waiter()
            if slot is None:
                self._holders.discard(waiter)
            else:
                with suppress(RuntimeError):  # an interrupted grant is repeated
                    slot.granted.release()
            with suppress(ValueError):  # the garbage collector may have released a slot meanwhile
                self._waiters.remove(waiter)

    def _free_lost_slots(self) -> None:
        for holder in list(self._holders):
            if holder() is None:
                self._holders.discard(holder)


class Slot:
    """A slot for one call: create it, then acquire it in a `try` statement that releases it."""

    def __init__(self, semaphore: FairSemaphore) -> None:
        self._semaphore = semaphore
        self.is_released = False
        self.pid = os.getpid()
        self.reference = ref(self)
        hash(self.reference)  # cached now, because a reference to a lost slot has no hash
        self.granted = Lock()
        self.granted.acquire()

    def acquire(self, timeout: float) -> bool:
        """Wait for the slot for up to `timeout` seconds; return whether it was acquired."""
        return self._semaphore.acquire(self, timeout)

    def release(self) -> None:
        """Release the slot; further calls have no effect."""
        self._semaphore.release(self)

    def __del__(self) -> None:
        # If Ctrl-C interrupts httpx before a response reaches its consumer, nothing else releases it.
        self.release()
