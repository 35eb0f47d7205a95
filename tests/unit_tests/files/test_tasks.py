"""Tests of the requests of one task without a network; the tests supply the results."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app.errors import (
    BailianConnectionError,
    BailianError,
    BailianFileError,
    BailianRateLimitError,
    BailianRequestError,
    BailianServerError,
    BailianTimeoutError,
)
from langchain_bailian_app.options._session_files import LocalFile, SessionFile
from tests.unit_tests.files.scripted_coordinator import FILE, READY, TARGET, ScriptedCoordinator

if TYPE_CHECKING:
    from langchain_bailian_app.files._cache import UploadCache
    from tests.clock import Clock


def run_upload(
    cache: UploadCache, clock: Clock, script: list[tuple[str, Any]], file: LocalFile = FILE
) -> tuple[list[str], Any]:
    """Upload a file, and return the names of the requests and the file or the error.

    `script` contains the unusual results in order, as pairs of a request and its result or error.
    """
    coordinator = ScriptedCoordinator(cache, clock, script)
    try:
        outcome: Any = asyncio.run(coordinator.make_upload_task(file).run())
    except BailianError as exc:
        outcome = exc
    return coordinator.performed, outcome


def file_with_status(status: str) -> SessionFile:
    return SessionFile("file_session_1", "note.md", 3, status, reason="because")


HAPPY_PATH = ["compute_md5", "request_lease", "upload_bytes", "add_file", "describe_file"]


def test_an_upload_without_failures_sends_each_request_once(
    upload_cache: UploadCache, clock: Clock
) -> None:
    assert run_upload(upload_cache, clock, []) == (HAPPY_PATH, READY)
    # The status of bytes that were recently ready is not queried.
    assert run_upload(upload_cache, clock, []) == (["compute_md5"], READY)


@pytest.mark.parametrize("request_name", ["request_lease", "upload_bytes", "add_file", "describe_file"])
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
    upload_cache: UploadCache, clock: Clock, request_name: str, error: Exception
) -> None:
    performed, outcome = run_upload(upload_cache, clock, [(request_name, error)])
    index = HAPPY_PATH.index(request_name)

    assert outcome == READY
    assert performed == [*HAPPY_PATH[: index + 1], "sleep", *HAPPY_PATH[index:]]


def test_throttling_is_waited_out_and_server_errors_are_not(
    upload_cache: UploadCache, clock: Clock
) -> None:
    throttled = BailianRateLimitError("slow down")
    throttled.retry_after = 2.0
    performed, outcome = run_upload(upload_cache, clock, [("request_lease", throttled)] * 30)
    assert outcome == READY
    assert performed.count("request_lease") == 31
    assert clock.now == 60.0

    other_file = LocalFile("other.md", 4, data=b"abcd")
    performed, outcome = run_upload(
        upload_cache,
        clock,
        [("request_lease", BailianServerError("broken"))] * 30,
        other_file,
    )
    assert isinstance(outcome, BailianServerError)
    assert performed.count("request_lease") == 6


@pytest.mark.parametrize(
    ("request_name", "error", "renewed"),
    [
        ("upload_bytes", BailianRequestError("expired", status_code=403), True),
        ("upload_bytes", BailianRequestError("what is this", status_code=400), False),
        ("add_file", BailianRequestError("The lease does not exist", code="InvalidParameter"), True),
        ("add_file", BailianRequestError("租约已过期"), True),
        ("add_file", BailianRequestError("no such category"), False),
    ],
)
def test_only_an_expired_lease_is_renewed(
    upload_cache: UploadCache, clock: Clock, request_name: str, error: Exception, renewed: bool
) -> None:
    performed, outcome = run_upload(upload_cache, clock, [(request_name, error)])

    assert (outcome == READY) is renewed
    assert performed.count("request_lease") == 1 + renewed


def test_a_refusal_after_a_lost_reply_means_that_the_lease_was_used(
    upload_cache: UploadCache, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    lost_reply = [("add_file", BailianConnectionError("lost")), ("add_file", BailianRequestError("no"))]
    performed, outcome = run_upload(upload_cache, clock, lost_reply)
    assert outcome == READY
    assert performed.count("upload_bytes") == 2
    assert "the response to AddFile was lost" in caplog.text

    # A throttled request certainly did not use up the lease.
    other_file = LocalFile("other.md", 4, data=b"abcd")
    throttled = [("add_file", BailianRateLimitError("slow")), ("add_file", BailianRequestError("no"))]
    performed, outcome = run_upload(upload_cache, clock, throttled, other_file)
    assert isinstance(outcome, BailianRequestError)


def test_every_status_is_waited_for_and_every_failure_is_reported(
    upload_cache: UploadCache, clock: Clock
) -> None:
    statuses = [
        ("describe_file", file_with_status(name))
        for name in ("INIT", "PARSING", "INDEX_BUILDING", "NEW_ONE")
    ]
    performed, outcome = run_upload(upload_cache, clock, statuses)
    assert outcome == READY
    assert performed == [*HAPPY_PATH, *["sleep", "describe_file"] * 4]
    assert clock.now == 1 + 1.5 + 2.25 + 3.375

    for name in ("PARSE_FAILED", "SAFE_CHECK_FAILED", "INDEX_BUILDING_FAILED", "INDEX_DELETED"):
        other_file = LocalFile(f"{name}.md", len(name), data=name.encode())
        _, outcome = run_upload(
            upload_cache, clock, [("describe_file", file_with_status(name))], other_file
        )
        assert isinstance(outcome, BailianFileError)
        assert (outcome.status, outcome.file_id) == (name, "file_session_1")
        assert "because" in outcome.message
        # The next attempt uploads the file again.
        performed, outcome = run_upload(
            upload_cache, clock, [("describe_file", file_with_status(name))], other_file
        )
        assert performed[:3] == ["compute_md5", "describe_file", "request_lease"]


def test_a_timeout_names_the_last_status(upload_cache: UploadCache, clock: Clock) -> None:
    _, outcome = run_upload(upload_cache, clock, [("describe_file", file_with_status("PARSING"))] * 99)
    assert isinstance(outcome, BailianTimeoutError)
    assert "PARSING" in outcome.message
    assert clock.now < 100

    coordinator = ScriptedCoordinator(upload_cache, clock)
    late_task = coordinator.make_upload_task(LocalFile("late.md", 1, data=b"x"))
    clock.now += 101
    with pytest.raises(BailianTimeoutError, match="took longer than 100 s"):
        asyncio.run(late_task.run())


async def test_a_waiting_task_takes_over_an_interrupted_upload(
    upload_cache: UploadCache, clock: Clock
) -> None:
    blocked, coordinator = (ScriptedCoordinator(upload_cache, clock) for _ in range(2))
    started = asyncio.Event()

    async def request_lease(*_: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    blocked.request_lease = request_lease  # type: ignore[method-assign]
    first = asyncio.create_task(blocked.make_upload_task().run())
    await started.wait()
    second = asyncio.create_task(coordinator.make_upload_task().run())
    for _ in range(5):
        await asyncio.sleep(0)
    performed_while_waiting = list(coordinator.performed)
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first

    assert performed_while_waiting == ["compute_md5"]
    assert await second == READY
    assert coordinator.performed == HAPPY_PATH


def test_signed_urls_are_in_no_repr() -> None:
    assert "planted" not in repr(TARGET)
