"""Tests of the limits, statuses and ids of session files."""

from __future__ import annotations

import time
import warnings
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from langchain_bailian_app import RagOptions
from langchain_bailian_app.options._session_files import (
    FAILURE_REASONS,
    MAX_FILE_BYTES,
    READY_STATUS,
    FileKind,
    SessionFile,
    check_session_file_ids,
    find_file_problem,
    kind_from_name,
    parse_created_at,
    suffix_from_name,
)

DAY = 24 * 3600.0


def session_file(number: int = 1, **values: Any) -> SessionFile:
    return SessionFile(
        **{"id": f"file_session_{number}", "name": "note.md", "size": 1, "status": READY_STATUS}
        | values
    )


# -- supported files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "suffix", "kind"),
    [
        ("note.md", "md", "document"),
        ("报告.2025.PDF", "pdf", "document"),
        (".md", "md", "document"),
        ("photo.JPeG", "jpeg", "image"),
        ("talk.mp3", "mp3", "audio"),
        ("film.mp4", "mp4", "video"),
        ("film.mp", "mp", None),
        ("film.exe", "exe", None),
        ("md", "", None),
        ("name.", "", None),
        ("", "", None),
    ],
)
def test_the_suffix_of_a_name_determines_the_kind_of_the_file(
    name: str, suffix: str, kind: FileKind | None
) -> None:
    assert (suffix_from_name(name), kind_from_name(name), session_file(name=name).kind) == (
        suffix,
        kind,
        kind,
    )


@pytest.mark.parametrize(
    ("name", "size", "problem"),
    [
        ("note.md", 1, None),
        ("a.md", 1, None),
        (".md", 1, "invalid file name length: expected 4 to 128 characters, got 3"),
        ("x" * 125 + ".md", 1, None),
        (
            "x" * 126 + ".md",
            1,
            "invalid file name length: expected 4 to 128 characters, got 129",
        ),
        ("note.md", 0, "the file is empty"),
        ("a.exe", 1, "unsupported suffix 'exe': the service accepts doc, docx, wps, ppt, "),
        ("none", 1, "unsupported suffix '': the service accepts doc, "),
    ],
)
def test_a_file_that_the_service_would_reject_has_a_problem(
    name: str, size: int, problem: str | None
) -> None:
    reason = find_file_problem(name, size)

    assert reason is problem is None or (reason or "").startswith(problem or "-")


@pytest.mark.parametrize(
    ("name", "megabytes"), [("a.pdf", 100), ("a.png", 20), ("a.mp3", 512), ("a.mp4", 512)]
)
def test_each_kind_has_its_own_size_limit(name: str, megabytes: int) -> None:
    kind, max_bytes = kind_from_name(name), megabytes * 1024**2

    assert kind is not None
    assert MAX_FILE_BYTES[kind] == max_bytes
    assert find_file_problem(name, max_bytes) is None
    assert find_file_problem(name, max_bytes + 1) == (
        f"the file is {max_bytes + 1:,} bytes long, but {kind} files can be at most {max_bytes:,} bytes"
    )


# -- times and statuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "timestamp"),
    [
        ("2025-01-31 08:00:01", datetime(2025, 1, 31, 0, 0, 1, tzinfo=UTC).timestamp()),
        ("2025-01-31T08:00:01", datetime(2025, 1, 31, 0, 0, 1, tzinfo=UTC).timestamp()),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_times_of_the_service_are_in_beijing_time(text: str | None, timestamp: float | None) -> None:
    assert parse_created_at(text) == timestamp


@pytest.mark.parametrize(
    ("values", "expired"),
    [
        ({"created_at": None}, False),
        ({"created_at": None, "status": "FILE_EXPIRED"}, True),
        ({"created_at": -DAY + 60}, False),
        ({"created_at": -DAY - 60}, True),
    ],
)
def test_a_file_of_more_than_a_day_may_have_expired(values: dict[str, Any], expired: bool) -> None:
    if values["created_at"] is not None:
        values = values | {"created_at": time.time() + values["created_at"]}

    assert session_file(**values).may_have_expired is expired


def test_a_parsed_file_is_ready_only_over_the_route_for_api_keys() -> None:
    assert not session_file(status="PARSE_SUCCESS").is_ready
    assert session_file(status="PARSE_SUCCESS", ready_status="PARSE_SUCCESS").is_ready
    assert session_file(ready_status="PARSE_SUCCESS").is_ready
    assert not session_file(status="PARSING", ready_status="PARSE_SUCCESS").is_ready


def test_a_file_without_a_time_has_no_age() -> None:
    assert session_file().age is None
    assert session_file(created_at=time.time() - 100).age == pytest.approx(100, abs=10)


# -- ids in a call -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ("file_session_1", ["file_session_1"]),
        (session_file(1), ["file_session_1"]),
        ([session_file(1), "file_session_2"], ["file_session_1", "file_session_2"]),
        (["file_1", "file_session_2"], ["file_1", "file_session_2"]),
        ((session_file(2), session_file(1)), ["file_session_2", "file_session_1"]),
        # Copies of a file share the id of the one that was uploaded.
        ([session_file(1, name="a.md"), session_file(1, name="b.md")], ["file_session_1"]),
        (["file_session_1", "file_session_1"], ["file_session_1", "file_session_1"]),
    ],
)
def test_session_files_and_their_ids_are_accepted(value: Any, ids: list[str]) -> None:
    assert RagOptions(session_file_ids=value).session_file_ids == ids


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (5, "valid list"),
        ([5], "valid string"),
        ([""], "at least 1 character"),
        ([f"file_session_{number}" for number in range(11)], "at most 10"),
        (
            ["doc_1"],
            "invalid id 'doc_1' in `session_file_ids`: expected the prefix 'file_session_' or 'file_'",
        ),
        (
            session_file(status="PARSING"),
            "'note.md' with status PARSING: not ready yet; wait for it",
        ),
        *(
            ([session_file(status=status)], f"with status {status}: {reason}")
            for status, reason in FAILURE_REASONS.items()
        ),
    ],
)
def test_a_call_takes_at_most_ten_files_and_all_must_be_ready(value: Any, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        RagOptions(session_file_ids=value)


def test_ids_from_several_sources_are_counted_together() -> None:
    ids = [f"file_session_{number}" for number in range(11)]
    check_session_file_ids(ids[:10])

    with pytest.raises(ValueError, match=r"at most 10 session files \(.*user guide\), got 11"):
        check_session_file_ids(iter(ids))


def test_a_file_that_may_have_expired_gives_one_warning() -> None:
    old_file = session_file(
        7, name="old.md", created_at=time.time() - DAY - 60, id=f"file_session_{time.time_ns()}"
    )

    with pytest.warns(UserWarning, match=rf"'old.md' \({old_file.id}\) is older than 24 hours"):
        assert RagOptions(session_file_ids=[old_file]).session_file_ids == [old_file.id]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RagOptions(session_file_ids=[old_file])
