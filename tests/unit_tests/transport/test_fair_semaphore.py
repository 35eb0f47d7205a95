"""Order in which slots are granted, and slots of interrupted waits."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from langchain_bailian_app._transport.fair_semaphore import FairSemaphore, Slot


def wait_for_waiters(semaphore: FairSemaphore, number: int) -> None:
    while len(semaphore._waiters) < number:
        time.sleep(0.001)


def acquire(semaphore: FairSemaphore) -> Slot:
    slot = Slot(semaphore)
    assert slot.acquire(0)
    return slot


def test_no_more_than_the_limit_can_be_acquired() -> None:
    semaphore = FairSemaphore(2)
    first, second = acquire(semaphore), acquire(semaphore)

    assert not Slot(semaphore).acquire(0.01)
    first.release()
    first.release()
    third = acquire(semaphore)
    assert not Slot(semaphore).acquire(0)
    second.release()
    third.release()
    assert semaphore.free_slots == 2


def test_the_longest_waiter_is_served_next() -> None:
    order: list[int] = []
    semaphore = FairSemaphore(1)
    first = acquire(semaphore)

    def take(number: int) -> None:
        slot = Slot(semaphore)
        assert slot.acquire(10)
        order.append(number)
        slot.release()

    with ThreadPoolExecutor(5) as threads:
        for number in range(5):
            threads.submit(take, number)
            wait_for_waiters(semaphore, number + 1)
        first.release()
        assert not Slot(semaphore).acquire(0) or len(order) == 5  # a new thread must not overtake them

    assert order == [0, 1, 2, 3, 4]


def test_a_waiter_that_timed_out_takes_no_slot() -> None:
    semaphore = FairSemaphore(1)
    first = acquire(semaphore)
    with ThreadPoolExecutor(1) as threads:
        assert not threads.submit(Slot(semaphore).acquire, 0.01).result()
    first.release()

    acquire(semaphore)


def test_a_slot_granted_just_after_the_timeout_is_acquired() -> None:
    semaphore = FairSemaphore(1)
    slot = Slot(semaphore)
    with semaphore._lock, ThreadPoolExecutor(1) as threads:
        pending = threads.submit(slot.acquire, 0)
        semaphore._holders.add(slot.reference)  # as if the thread that grants it were interrupted
        semaphore._lock.release()
        try:
            assert pending.result()
        finally:
            semaphore._lock.acquire()
    assert semaphore.free_slots == 0
    slot.release()

    acquire(semaphore)


def test_an_interrupted_grant_is_completed() -> None:
    semaphore = FairSemaphore(1)
    interrupted = Slot(semaphore)
    semaphore._waiters.append(interrupted.reference)
    semaphore._holders.add(interrupted.reference)

    assert not Slot(semaphore).acquire(0)
    interrupted.release()
    acquire(semaphore)


def test_a_slot_that_is_lost_is_free() -> None:
    semaphore = FairSemaphore(1)
    lost = acquire(semaphore)
    lost.is_released = True  # as if its finalizer were interrupted
    del lost

    assert semaphore.free_slots == 1
    acquire(semaphore)


def test_a_slot_can_be_released_in_the_thread_that_acquires_one() -> None:
    """The garbage collector may close an abandoned stream at any point of its thread."""
    results: list[bool] = []
    semaphore = FairSemaphore(1)
    first = acquire(semaphore)

    def release_and_acquire() -> None:
        with semaphore._lock:
            first.release()
        results.append(Slot(semaphore).acquire(0))

    thread = threading.Thread(target=release_and_acquire, daemon=True)
    thread.start()
    thread.join(5)

    assert results == [True]
