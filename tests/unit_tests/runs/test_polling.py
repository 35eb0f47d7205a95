"""Times of the queries for runs, and the errors that end a wait."""

from __future__ import annotations

import pytest

from langchain_bailian_app import errors
from langchain_bailian_app.runs._polling import MAX_FAILURES, Backoff, PollQueue, is_transient


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.BailianConnectionError("lost"), True),
        (errors.BailianStreamError("cut"), True),
        (errors.BailianTimeoutError("late"), True),
        (errors.BailianRateLimitError("slow down", status_code=429), True),
        (errors.BailianServerError("broken", status_code=500), True),
        (errors.BailianServerError("no state"), False),
        (errors.BailianAuthenticationError("key", status_code=401), False),
        (errors.BailianPermissionError("no", status_code=403), False),
        (errors.BailianNotFoundError("gone", status_code=404), False),
        (errors.BailianRequestError("bad", status_code=400), False),
    ],
)
def test_failures_that_may_pass_are_recognized(error: errors.BailianError, *, expected: bool) -> None:
    assert is_transient(error) is expected


def test_delays_grow_to_ten_seconds() -> None:
    backoff = Backoff()
    delays = [backoff.next_delay() for _ in range(20)]

    assert 0.125 <= delays[0] <= 0.25
    assert all(5 <= delay <= 10 for delay in delays[-5:])
    assert delays[6] > delays[0]


def test_the_last_of_several_failures_in_succession_is_raised() -> None:
    backoff, error = Backoff(), errors.BailianConnectionError("lost")
    for _ in range(MAX_FAILURES - 1):
        backoff.delay_after(error)
    backoff.record_reply()
    for _ in range(MAX_FAILURES - 1):
        backoff.delay_after(error)
    with pytest.raises(errors.BailianConnectionError, match="lost"):
        backoff.delay_after(error)


def test_a_permanent_error_is_raised_at_once() -> None:
    with pytest.raises(errors.BailianAuthenticationError):
        Backoff().delay_after(errors.BailianAuthenticationError("key"))


def test_the_pause_that_the_service_asks_for_is_respected() -> None:
    error = errors.BailianRateLimitError("slow down", headers={"Retry-After": "30"})

    assert Backoff().delay_after(error) == 30


def test_runs_are_queried_in_the_order_of_their_times_and_not_too_often() -> None:
    queue = PollQueue(["a", "b", "c"], queries_per_second=2, now=0)

    assert queue.pop_due(0) == "a"
    assert queue.pop_due(0) is None
    assert queue.seconds_until_due(0.2) == pytest.approx(0.3)
    assert queue.pop_due(0.5) == "b"
    queue.put("a", 0.6)
    assert queue.pop_due(5) == "c"
    assert queue.pop_due(5) == "a"  # no more than one query that is late is made up for
    queue.put("b", 9)
    assert queue.pop_due(5.1) is None
    assert queue.seconds_until_due(5.1) == pytest.approx(3.9)
    assert queue.pop_due(9) == "b"
    assert queue.seconds_until_due(9) is None
