"""The way of one file and of many, without a network: each step is answered by hand."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app.errors import (
    BailianAuthenticationError,
    BailianConnectionError,
    BailianFileError,
    BailianRateLimitError,
    BailianRequestError,
    BailianServerError,
    BailianTimeoutError,
)
from langchain_bailian_app.files._actions import AddFile, Describe, Fingerprint, Put, TakeLease, Wait
from langchain_bailian_app.files._cache import KnownFiles
from langchain_bailian_app.files._scheduler import Fleet
from langchain_bailian_app.files._tasks import Deadline, Upload, Way
from langchain_bailian_app.options._session_files import LocalFile, SessionFile, Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from langchain_bailian_app.files._actions import Step
    from tests.clock import Clock

FILE = LocalFile("note.md", 3, data=b"abc")
TARGET = Target("lease", "PUT", "https://storage.example/?Signature=planted", {})
READY = SessionFile("file_session_1", "note.md", 3, "FILE_IS_READY")
ANSWERS: dict[type[Step], Any] = {
    Fingerprint: "0" * 32,
    TakeLease: TARGET,
    Put: None,
    AddFile: "file_session_1",
    Describe: READY,
    Wait: None,
}


@pytest.fixture
def known() -> KnownFiles:
    return KnownFiles(None, "here")


def upload(known: KnownFiles, clock: Callable[[], float], file: LocalFile = FILE) -> Upload:
    return Upload(file, known, Deadline.after(100.0, clock, 1.0))


def travel(way: Way, script: list[Any], clock: Clock | None = None) -> tuple[list[str], Any]:
    """Go a way; return its steps and how it ends.

    `script` has what goes otherwise than usual, in order: a kind of step, and what comes of it.
    """
    steps, walked = way.steps(), []
    script = list(script)
    result: Any = None
    error: BaseException | None = None
    while True:
        try:
            step = steps.send(result) if error is None else steps.throw(error)
        except StopIteration as end:
            return walked, end.value
        except Exception as exc:  # noqa: BLE001
            return walked, exc
        walked.append(type(step).__name__)
        if isinstance(step, Wait) and clock is not None:
            clock.now += step.seconds
        if isinstance(step, AddFile):
            way._known.remember(step.key, "file_session_1")  # type: ignore[attr-defined]
        result, error = ANSWERS[type(step)], None
        if script and type(step) is script[0][0]:
            outcome = script.pop(0)[1]
            result, error = (None, outcome) if isinstance(outcome, Exception) else (outcome, None)


def status(name: str) -> SessionFile:
    return SessionFile("file_session_1", "note.md", 3, name, reason="because")


STRAIGHT = ["Fingerprint", "TakeLease", "Put", "AddFile", "Describe"]


def test_the_straight_way(known: KnownFiles, clock: Clock) -> None:
    assert travel(upload(known, clock), []) == (STRAIGHT, READY)
    # Bytes that were ready a moment ago are not asked about.
    assert travel(upload(known, clock), []) == (["Fingerprint"], READY)


@pytest.mark.parametrize("step", [TakeLease, Put, AddFile, Describe])
@pytest.mark.parametrize(
    "error",
    [
        BailianRateLimitError("slow down"),
        BailianServerError("broken"),
        BailianConnectionError("lost"),
        BailianTimeoutError("silent"),
    ],
)
def test_failures_that_pass_are_tried_again(
    known: KnownFiles, clock: Clock, step: type[Step], error: Exception
) -> None:
    walked, end = travel(upload(known, clock), [(step, error)])
    place = STRAIGHT.index(step.__name__)

    assert end == READY
    assert walked == [*STRAIGHT[: place + 1], "Wait", *STRAIGHT[place:]]


def test_throttling_is_waited_out_and_a_broken_service_is_not(known: KnownFiles, clock: Clock) -> None:
    throttled = BailianRateLimitError("slow down")
    throttled.retry_after = 2.0
    walked, end = travel(upload(known, clock), [(TakeLease, throttled)] * 30, clock)
    assert end == READY
    assert walked.count("TakeLease") == 31
    assert clock.now == 60.0

    other = LocalFile("other.md", 4, data=b"abcd")
    walked, end = travel(upload(known, clock, other), [(TakeLease, BailianServerError("broken"))] * 30)
    assert isinstance(end, BailianServerError)
    assert walked.count("TakeLease") == 6


@pytest.mark.parametrize(
    ("step", "error", "renewed"),
    [
        (Put, BailianRequestError("expired", status_code=403), True),
        (Put, BailianRequestError("what is this", status_code=400), False),
        (AddFile, BailianRequestError("The lease does not exist", code="InvalidParameter"), True),
        (AddFile, BailianRequestError("租约已过期"), True),
        (AddFile, BailianRequestError("no such category"), False),
    ],
)
def test_a_dead_lease_is_renewed_and_nothing_else(
    known: KnownFiles, clock: Clock, step: type[Step], error: Exception, renewed: bool
) -> None:
    walked, end = travel(upload(known, clock), [(step, error)])

    assert (end == READY) is renewed
    assert walked.count("TakeLease") == 1 + renewed


def test_a_refusal_after_a_lost_reply_means_that_the_lease_was_used(
    known: KnownFiles, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    lost = [(AddFile, BailianConnectionError("lost")), (AddFile, BailianRequestError("no"))]
    walked, end = travel(upload(known, clock), lost)
    assert end == READY
    assert walked.count("Put") == 2
    assert "a reply was lost" in caplog.text

    # A refusal for coming too often leaves no doubt.
    other = LocalFile("other.md", 4, data=b"abcd")
    refused = [(AddFile, BailianRateLimitError("slow")), (AddFile, BailianRequestError("no"))]
    walked, end = travel(upload(known, clock, other), refused)
    assert isinstance(end, BailianRequestError)


def test_every_status_is_waited_for_and_every_failure_is_told(known: KnownFiles, clock: Clock) -> None:
    on_the_way = [(Describe, status(name)) for name in ("INIT", "PARSING", "INDEX_BUILDING", "NEW_ONE")]
    walked, end = travel(upload(known, clock), on_the_way, clock)
    assert end == READY
    assert walked == [*STRAIGHT, *["Wait", "Describe"] * 4]
    assert clock.now == 1 + 1.5 + 2.25 + 3.375

    for name in ("PARSE_FAILED", "SAFE_CHECK_FAILED", "INDEX_BUILDING_FAILED", "INDEX_DELETED"):
        other = LocalFile(f"{name}.md", len(name), data=name.encode())
        _, end = travel(upload(known, clock, other), [(Describe, status(name))])
        assert isinstance(end, BailianFileError)
        assert (end.status, end.file_id) == (name, "file_session_1")
        assert "because" in end.message
        # Another try begins anew.
        walked, end = travel(upload(known, clock, other), [(Describe, status(name))])
        assert walked[:3] == ["Fingerprint", "Describe", "TakeLease"]


def test_the_deadline_ends_it_with_the_state_it_is_in(known: KnownFiles, clock: Clock) -> None:
    _, end = travel(upload(known, clock), [(Describe, status("PARSING"))] * 99, clock)
    assert isinstance(end, BailianTimeoutError)
    assert "PARSING" in end.message
    assert clock.now < 100

    late = upload(known, clock, LocalFile("late.md", 1, data=b"x"))
    clock.now += 101
    _, end = travel(late, [])
    assert isinstance(end, BailianTimeoutError)


def test_an_interruption_hands_the_bytes_to_who_waits_for_them(known: KnownFiles, clock: Clock) -> None:
    first, second = upload(known, clock).steps(), upload(known, clock).steps()
    next(first)
    next(second)
    first.send("0" * 32)
    joined = second.send("0" * 32)
    first.close()

    assert joined.future.result(0) is None
    assert isinstance(second.send(None), TakeLease)


def test_urls_are_in_no_repr() -> None:
    assert "planted" not in repr(TARGET) + repr(Put(FILE, TARGET))


# -- many of them ------------------------------------------------------------------------------------


def done(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
    return future


def fleet_of(known: KnownFiles, clock: Clock, count: int, *, lease_gap: float = 0.0) -> Fleet:
    files = [LocalFile(f"file{n}.md", n + 1, data=b"x" * n) for n in range(count)]
    ways = [upload(known, clock, file).steps() for file in files]
    return Fleet(ways, notice=lambda _: None, clock=clock, lease_gap=lease_gap)


def test_what_is_nearly_done_comes_first_so_that_no_lease_waits(
    known: KnownFiles, clock: Clock
) -> None:
    fleet = fleet_of(known, clock, 5)
    order = []
    while fleet.is_open:
        for job in fleet.next_jobs(1):
            order.append(type(job.step).__name__)
            fleet.ended(job, done(ANSWERS[type(job.step)]))

    places = [place for place, name in enumerate(order) if name == "TakeLease"]
    assert all(order[place + 1] == "Put" for place in places)
    assert all(outcome.is_ready for outcome in fleet.outcomes)


def test_leases_are_taken_no_faster_than_allowed(known: KnownFiles, clock: Clock) -> None:
    fleet = fleet_of(known, clock, 5, lease_gap=0.1)
    leases = []
    while fleet.is_open:
        jobs = fleet.next_jobs(8)
        for job in jobs:
            if isinstance(job.step, TakeLease):
                leases.append(clock.now)
            fleet.ended(job, done(ANSWERS[type(job.step)]))
        if not jobs:
            clock.now += fleet.pause() or 0

    assert leases == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_an_error_that_would_come_of_every_file_ends_all(known: KnownFiles, clock: Clock) -> None:
    fleet = fleet_of(known, clock, 3)
    job = fleet.next_jobs(1)[0]
    fleet.ended(job, done("1" * 32))
    job = next(job for job in fleet.next_jobs(8) if isinstance(job.step, TakeLease))
    with pytest.raises(BailianAuthenticationError):
        fleet.ended(job, done(BailianAuthenticationError("who are you")))
    fleet.close()
    assert known.claim("1" * 32 + "-1.md").others is None


def test_ids_outlive_the_process_only_where_they_belong(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    first = KnownFiles(record, "here")
    first.remember("key", "file_session_1")
    first.remember("key", "file_session_2")
    with record.open("a") as file:
        file.write('[1]\n{"half')  # the process died

    second = KnownFiles(record, "here")
    assert second.claim("key").file_id == "file_session_2"
    second.remember("other", "file_session_3")
    assert KnownFiles(record, "here").claim("other").file_id == "file_session_3"
    assert KnownFiles(record, "there").claim("key").file_id is None
