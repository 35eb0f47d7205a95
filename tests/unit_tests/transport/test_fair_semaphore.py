"""Places are given in order, and none is lost."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from langchain_bailian_app._transport.fair_semaphore import Turns


def wait_for_waiting(turns: Turns, number: int) -> None:
    while len(turns._waiting) < number:
        time.sleep(0.001)


def test_there_are_so_many_places_and_no_more() -> None:
    turns = Turns(2)

    assert turns.acquire(0)
    assert turns.acquire(0)
    assert not turns.acquire(0.01)
    turns.release()
    assert turns.acquire(0)


def test_who_waits_longest_comes_next() -> None:
    came: list[int] = []
    turns = Turns(1)
    turns.acquire(0)

    def take(number: int) -> None:
        assert turns.acquire(10)
        came.append(number)
        turns.release()

    with ThreadPoolExecutor(5) as threads:
        for number in range(5):
            threads.submit(take, number)
            wait_for_waiting(turns, number + 1)
        turns.release()
        assert not turns.acquire(0) or len(came) == 5  # nobody gets in before them

    assert came == [0, 1, 2, 3, 4]


def test_who_gave_up_gets_no_place() -> None:
    turns = Turns(1)
    turns.acquire(0)
    with ThreadPoolExecutor(1) as threads:
        assert not threads.submit(turns.acquire, 0.01).result()
    turns.release()

    assert turns.acquire(0)


def test_a_place_that_comes_at_the_last_moment_goes_on() -> None:
    turns = Turns(1)
    turns.acquire(0)
    with ThreadPoolExecutor(1) as threads:
        waits = threads.submit(turns.acquire, 0.05)
        wait_for_waiting(turns, 1)
        turn = (
            turns._waiting.popleft()
        )  # the place is given, but before the thread wakes its time is up
        assert not waits.result()
    turns._give_up(turn)

    assert turns.acquire(0)


def test_a_place_comes_back_also_in_the_thread_that_asks_for_one() -> None:
    """The garbage collector closes a dropped stream wherever its thread is."""
    came: list[bool] = []
    turns = Turns(1)
    turns.acquire(0)

    def ask() -> None:
        with turns._lock:
            turns.release()
        came.append(turns.acquire(0))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(5)

    assert came == [True]
