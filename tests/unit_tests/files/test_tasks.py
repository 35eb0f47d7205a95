"""Tests of the actions of one task without a network; the tests supply the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app.errors import (
    BailianConnectionError,
    BailianFileError,
    BailianRateLimitError,
    BailianRequestError,
    BailianServerError,
    BailianTimeoutError,
)
from langchain_bailian_app.files._actions import (
    AddFile,
    DescribeFile,
    RequestLease,
    Sleep,
    UploadBytes,
)
from langchain_bailian_app.options._session_files import LocalFile, SessionFile
from tests.unit_tests.files.scripted_tasks import FILE, READY, RESULTS, TARGET, make_upload_task

if TYPE_CHECKING:
    from langchain_bailian_app.files._actions import Action
    from langchain_bailian_app.files._cache import UploadCache
    from langchain_bailian_app.files._tasks import FileTask
    from tests.clock import Clock


def run_task(task: FileTask, script: list[Any], clock: Clock | None = None) -> tuple[list[str], Any]:
    """Run a task, and return the names of its actions and its result or error.

    `script` contains the unusual results in order, as pairs of an action class and its result or error.
    """
    actions, performed = task.iter_actions(), []
    script = list(script)
    result: Any = None
    error: BaseException | None = None
    while True:
        try:
            action = actions.send(result) if error is None else actions.throw(error)
        except StopIteration as stop:
            return performed, stop.value
        except Exception as exc:  # noqa: BLE001
            return performed, exc
        performed.append(type(action).__name__)
        if isinstance(action, Sleep) and clock is not None:
            clock.now += action.seconds
        if isinstance(action, AddFile):
            task._cache.store_file_id(action.key, "file_session_1")  # type: ignore[attr-defined]
        result, error = RESULTS[type(action)], None
        if script and type(action) is script[0][0]:
            scripted = script.pop(0)[1]
            result, error = (None, scripted) if isinstance(scripted, Exception) else (scripted, None)


def file_with_status(status: str) -> SessionFile:
    return SessionFile("file_session_1", "note.md", 3, status, reason="because")


HAPPY_PATH = ["ComputeMd5", "RequestLease", "UploadBytes", "AddFile", "DescribeFile"]


def test_an_upload_without_failures_performs_each_action_once(
    upload_cache: UploadCache, clock: Clock
) -> None:
    assert run_task(make_upload_task(upload_cache, clock), []) == (HAPPY_PATH, READY)
    # The status of bytes that were recently ready is not queried.
    assert run_task(make_upload_task(upload_cache, clock), []) == (["ComputeMd5"], READY)


@pytest.mark.parametrize("action", [RequestLease, UploadBytes, AddFile, DescribeFile])
@pytest.mark.parametrize(
    "error",
    [
        BailianRateLimitError("slow down"),
        BailianServerError("broken"),
        BailianConnectionError("lost"),
        BailianTimeoutError("silent"),
    ],
)
def test_transient_failures_are_retried(
    upload_cache: UploadCache, clock: Clock, action: type[Action], error: Exception
) -> None:
    performed, outcome = run_task(make_upload_task(upload_cache, clock), [(action, error)])
    index = HAPPY_PATH.index(action.__name__)

    assert outcome == READY
    assert performed == [*HAPPY_PATH[: index + 1], "Sleep", *HAPPY_PATH[index:]]


def test_throttling_is_waited_out_and_server_errors_are_not(
    upload_cache: UploadCache, clock: Clock
) -> None:
    throttled = BailianRateLimitError("slow down")
    throttled.retry_after = 2.0
    performed, outcome = run_task(
        make_upload_task(upload_cache, clock), [(RequestLease, throttled)] * 30, clock
    )
    assert outcome == READY
    assert performed.count("RequestLease") == 31
    assert clock.now == 60.0

    other_file = LocalFile("other.md", 4, data=b"abcd")
    performed, outcome = run_task(
        make_upload_task(upload_cache, clock, other_file),
        [(RequestLease, BailianServerError("broken"))] * 30,
    )
    assert isinstance(outcome, BailianServerError)
    assert performed.count("RequestLease") == 6


@pytest.mark.parametrize(
    ("action", "error", "renewed"),
    [
        (UploadBytes, BailianRequestError("expired", status_code=403), True),
        (UploadBytes, BailianRequestError("what is this", status_code=400), False),
        (AddFile, BailianRequestError("The lease does not exist", code="InvalidParameter"), True),
        (AddFile, BailianRequestError("租约已过期"), True),
        (AddFile, BailianRequestError("no such category"), False),
    ],
)
def test_only_an_expired_lease_is_renewed(
    upload_cache: UploadCache, clock: Clock, action: type[Action], error: Exception, renewed: bool
) -> None:
    performed, outcome = run_task(make_upload_task(upload_cache, clock), [(action, error)])

    assert (outcome == READY) is renewed
    assert performed.count("RequestLease") == 1 + renewed


def test_a_refusal_after_a_lost_reply_means_that_the_lease_was_used(
    upload_cache: UploadCache, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    lost_reply = [(AddFile, BailianConnectionError("lost")), (AddFile, BailianRequestError("no"))]
    performed, outcome = run_task(make_upload_task(upload_cache, clock), lost_reply)
    assert outcome == READY
    assert performed.count("UploadBytes") == 2
    assert "the response to AddFile was lost" in caplog.text

    # A throttled request certainly did not use up the lease.
    other_file = LocalFile("other.md", 4, data=b"abcd")
    throttled = [(AddFile, BailianRateLimitError("slow")), (AddFile, BailianRequestError("no"))]
    performed, outcome = run_task(make_upload_task(upload_cache, clock, other_file), throttled)
    assert isinstance(outcome, BailianRequestError)


def test_every_status_is_waited_for_and_every_failure_is_reported(
    upload_cache: UploadCache, clock: Clock
) -> None:
    statuses = [
        (DescribeFile, file_with_status(name))
        for name in ("INIT", "PARSING", "INDEX_BUILDING", "NEW_ONE")
    ]
    performed, outcome = run_task(make_upload_task(upload_cache, clock), statuses, clock)
    assert outcome == READY
    assert performed == [*HAPPY_PATH, *["Sleep", "DescribeFile"] * 4]
    assert clock.now == 1 + 1.5 + 2.25 + 3.375

    for name in ("PARSE_FAILED", "SAFE_CHECK_FAILED", "INDEX_BUILDING_FAILED", "INDEX_DELETED"):
        other_file = LocalFile(f"{name}.md", len(name), data=name.encode())
        _, outcome = run_task(
            make_upload_task(upload_cache, clock, other_file), [(DescribeFile, file_with_status(name))]
        )
        assert isinstance(outcome, BailianFileError)
        assert (outcome.status, outcome.file_id) == (name, "file_session_1")
        assert "because" in outcome.message
        # The next attempt uploads the file again.
        performed, outcome = run_task(
            make_upload_task(upload_cache, clock, other_file), [(DescribeFile, file_with_status(name))]
        )
        assert performed[:3] == ["ComputeMd5", "DescribeFile", "RequestLease"]


def test_a_timeout_names_the_last_status(upload_cache: UploadCache, clock: Clock) -> None:
    _, outcome = run_task(
        make_upload_task(upload_cache, clock), [(DescribeFile, file_with_status("PARSING"))] * 99, clock
    )
    assert isinstance(outcome, BailianTimeoutError)
    assert "PARSING" in outcome.message
    assert clock.now < 100

    late_task = make_upload_task(upload_cache, clock, LocalFile("late.md", 1, data=b"x"))
    clock.now += 101
    _, outcome = run_task(late_task, [])
    assert isinstance(outcome, BailianTimeoutError)


def test_a_waiting_task_takes_over_an_interrupted_upload(
    upload_cache: UploadCache, clock: Clock
) -> None:
    first, second = (
        make_upload_task(upload_cache, clock).iter_actions(),
        make_upload_task(upload_cache, clock).iter_actions(),
    )
    next(first)
    next(second)
    first.send("0" * 32)
    waiting = second.send("0" * 32)
    first.close()

    assert waiting.future.result(0) is None
    assert isinstance(second.send(None), RequestLease)


def test_signed_urls_are_in_no_repr() -> None:
    assert "planted" not in repr(TARGET) + repr(UploadBytes(FILE, TARGET))
