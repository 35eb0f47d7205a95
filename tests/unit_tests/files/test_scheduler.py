"""Tests of the scheduler without a network: the order of actions, and errors that stop all tasks."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app.errors import BailianAuthenticationError
from langchain_bailian_app.files._actions import RequestLease
from langchain_bailian_app.files._scheduler import UploadScheduler
from langchain_bailian_app.options._session_files import LocalFile
from tests.unit_tests.files.scripted_tasks import RESULTS, make_upload_task

if TYPE_CHECKING:
    from langchain_bailian_app.files._cache import UploadCache
    from tests.clock import Clock


def completed_future(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
    return future


def make_scheduler(
    upload_cache: UploadCache, clock: Clock, count: int, *, lease_interval: float = 0.0
) -> UploadScheduler:
    files = [LocalFile(f"file{n}.md", n + 1, data=b"x" * n) for n in range(count)]
    tasks = [make_upload_task(upload_cache, clock, file).iter_actions() for file in files]
    return UploadScheduler(tasks, on_change=lambda _: None, clock=clock, lease_interval=lease_interval)


def test_nearly_finished_uploads_come_first_so_that_no_lease_waits(
    upload_cache: UploadCache, clock: Clock
) -> None:
    scheduler = make_scheduler(upload_cache, clock, 5)
    performed = []
    while scheduler.has_unfinished_tasks:
        for scheduled in scheduler.take_runnable(1):
            performed.append(type(scheduled.action).__name__)
            scheduler.complete(scheduled, completed_future(RESULTS[type(scheduled.action)]))

    lease_indexes = [index for index, name in enumerate(performed) if name == "RequestLease"]
    assert all(performed[index + 1] == "UploadBytes" for index in lease_indexes)
    assert all(outcome.is_ready for outcome in scheduler.outcomes)


def test_leases_are_requested_no_faster_than_allowed(upload_cache: UploadCache, clock: Clock) -> None:
    scheduler = make_scheduler(upload_cache, clock, 5, lease_interval=0.1)
    lease_times = []
    while scheduler.has_unfinished_tasks:
        runnable = scheduler.take_runnable(8)
        for scheduled in runnable:
            if isinstance(scheduled.action, RequestLease):
                lease_times.append(clock.now)
            scheduler.complete(scheduled, completed_future(RESULTS[type(scheduled.action)]))
        if not runnable:
            clock.now += scheduler.seconds_until_next() or 0

    assert lease_times == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_an_error_that_affects_every_file_stops_all_tasks(
    upload_cache: UploadCache, clock: Clock
) -> None:
    scheduler = make_scheduler(upload_cache, clock, 3)
    scheduled = scheduler.take_runnable(1)[0]
    scheduler.complete(scheduled, completed_future("1" * 32))
    scheduled = next(
        scheduled
        for scheduled in scheduler.take_runnable(8)
        if isinstance(scheduled.action, RequestLease)
    )
    with pytest.raises(BailianAuthenticationError):
        scheduler.complete(scheduled, completed_future(BailianAuthenticationError("who are you")))
    scheduler.close()
    assert upload_cache.claim("1" * 32 + "-1.md").in_progress is None
