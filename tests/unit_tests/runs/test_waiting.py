"""Decisions of a wait for several runs, and the state that a run keeps."""

from __future__ import annotations

import pytest

from langchain_bailian_app import errors
from langchain_bailian_app.runs._polling import MAX_FAILURES
from langchain_bailian_app.runs._settings import RunSettings
from langchain_bailian_app.runs._tracker import RunTracker
from langchain_bailian_app.runs._waiting import _Polling

LOST = errors.BailianConnectionError("lost")


def make_tracker(run_id: str = "run-1") -> RunTracker:
    return RunTracker(RunSettings(app_id="app", api_key="k"), run_id)


def make_polling(*trackers: RunTracker) -> _Polling:
    return _Polling(trackers, None, progress=False, queries_per_second=1000)


def test_a_reply_ends_a_succession_of_failures() -> None:
    polling = make_polling(make_tracker())
    for outcome in (*[LOST] * (MAX_FAILURES - 1), None, *[LOST] * (MAX_FAILURES - 1)):
        assert not polling.record(0, outcome)
    with pytest.raises(errors.BailianConnectionError, match="lost"):
        polling.record(0, LOST)


def test_failures_of_other_runs_do_not_count() -> None:
    polling = make_polling(make_tracker(), make_tracker("run-2"))
    for _ in range(MAX_FAILURES - 1):
        assert not polling.record(0, LOST)
        assert not polling.record(1, LOST)


def test_an_error_of_another_kind_is_raised() -> None:
    with pytest.raises(KeyError):
        make_polling(make_tracker()).record(0, KeyError("bug"))


def test_an_ended_run_is_recorded_once() -> None:
    tracker = make_tracker()
    polling = make_polling(tracker)
    assert polling.pop_due() == 0
    tracker.record({"id": "run-1", "status": "completed"})

    assert polling.record(0, None)
    assert not polling.has_unfinished
    assert polling.pop_due() is None


def test_the_first_final_state_of_a_run_stays() -> None:
    tracker = make_tracker()  # two threads may query the same run
    tracker.record({"id": "run-1", "status": "running"})
    assert not tracker.is_final
    tracker.record({"id": "run-1", "status": "completed"})
    tracker.record({"id": "run-1", "status": "failed"})
    tracker.record({"id": "run-1", "status": "running"})

    assert tracker.status == "completed"
