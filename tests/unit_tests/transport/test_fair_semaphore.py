"""Order in which slots are granted, and slots of interrupted waits."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from langchain_bailian_app._transport.fair_semaphore import FairSemaphore


def wait_for_waiters(semaphore: FairSemaphore, number: int) -> None:
    while len(semaphore._waiters) < number:
        time.sleep(0.001)


def test_no_more_than_the_limit_can_be_acquired() -> None:
    semaphore = FairSemaphore(2)

    assert semaphore.acquire(0)
    assert semaphore.acquire(0)
    assert not semaphore.acquire(0.01)
    semaphore.release()
    assert semaphore.acquire(0)


def test_the_longest_waiter_is_served_next() -> None:
    order: list[int] = []
    semaphore = FairSemaphore(1)
    semaphore.acquire(0)

    def take(number: int) -> None:
        assert semaphore.acquire(10)
        order.append(number)
        semaphore.release()

    with ThreadPoolExecutor(5) as threads:
        for number in range(5):
            threads.submit(take, number)
            wait_for_waiters(semaphore, number + 1)
        semaphore.release()
        assert not semaphore.acquire(0) or len(order) == 5  # a new thread must not overtake them

    assert order == [0, 1, 2, 3, 4]


def test_a_waiter_that_timed_out_takes_no_slot() -> None:
    semaphore = FairSemaphore(1)
    semaphore.acquire(0)
    with ThreadPoolExecutor(1) as threads:
        assert not threads.submit(semaphore.acquire, 0.01).result()
    semaphore.release()

    assert semaphore.acquire(0)


def test_a_slot_granted_during_a_timeout_is_passed_on() -> None:
    semaphore = FairSemaphore(1)
    semaphore.acquire(0)
    with ThreadPoolExecutor(1) as threads:
        pending = threads.submit(semaphore.acquire, 0.05)
        wait_for_waiters(semaphore, 1)
        # The slot is granted, but the wait times out before the thread wakes.
        waiter = semaphore._waiters.popleft()
        assert not pending.result()
    semaphore._cancel_wait(waiter)

    assert semaphore.acquire(0)


def test_a_slot_can_be_released_in_the_thread_that_acquires_one() -> None:
    """The garbage collector may close an abandoned stream at any point of its thread."""
    results: list[bool] = []
    semaphore = FairSemaphore(1)
    semaphore.acquire(0)

    def release_and_acquire() -> None:
        with semaphore._lock:
            semaphore.release()
        results.append(semaphore.acquire(0))

    thread = threading.Thread(target=release_and_acquire, daemon=True)
    thread.start()
    thread.join(5)

    assert results == [True]
