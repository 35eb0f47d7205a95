"""Which files the service takes, what it says of one, and how a call names them."""

from __future__ import annotations

import time
import warnings
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from langchain_bailian_app import RagOptions
from langchain_bailian_app.options._session_files import (
    FAILED,
    LARGEST,
    READY,
    Kind,
    SessionFile,
    check_ids,
    kind_of,
    problem_with,
    read_created,
    suffix_of,
)

DAY = 24 * 3600.0


def file(number: int = 1, **values: Any) -> SessionFile:
    return SessionFile(
        **{"id": f"file_session_{number}", "name": "note.md", "size": 1, "status": READY} | values
    )


# -- which are taken ---------------------------------------------------------------------------------


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
def test_the_end_of_a_name_says_how_the_service_reads_a_file(
    name: str, suffix: str, kind: Kind | None
) -> None:
    assert (suffix_of(name), kind_of(name), file(name=name).kind) == (suffix, kind, kind)


@pytest.mark.parametrize(
    ("name", "size", "problem"),
    [
        ("note.md", 1, None),
        ("a.md", 1, None),
        (".md", 1, "its name has 3 characters, not 4 to 128"),
        ("x" * 125 + ".md", 1, None),
        ("x" * 126 + ".md", 1, "its name has 129 characters, not 4 to 128"),
        ("note.md", 0, "it is empty"),
        ("a.exe", 1, "its name ends in 'exe', and the service takes doc, docx, wps, ppt, "),
        ("none", 1, "its name ends in '', and the service takes doc, "),
    ],
)
def test_what_the_service_would_not_take_has_a_reason(
    name: str, size: int, problem: str | None
) -> None:
    told = problem_with(name, size)

    assert told is problem is None or (told or "").startswith(problem or "-")


@pytest.mark.parametrize(
    ("name", "megabytes"), [("a.pdf", 100), ("a.png", 20), ("a.mp3", 512), ("a.mp4", 512)]
)
def test_each_kind_has_its_own_largest_size(name: str, megabytes: int) -> None:
    kind, most = kind_of(name), megabytes * 1024**2

    assert kind is not None
    assert LARGEST[kind] == most
    assert problem_with(name, most) is None
    assert problem_with(name, most + 1) == (
        f"it has {most + 1:,} bytes, and this kind ({kind}) at most {most:,}"
    )


# -- what the service says of one --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "created"),
    [
        ("2025-01-31 08:00:01", datetime(2025, 1, 31, 0, 0, 1, tzinfo=UTC).timestamp()),
        ("2025-01-31T08:00:01", datetime(2025, 1, 31, 0, 0, 1, tzinfo=UTC).timestamp()),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_times_of_the_service_are_those_of_beijing(text: str | None, created: float | None) -> None:
    assert read_created(text) == created


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

    assert file(**values).may_have_expired is expired


def test_a_file_without_a_time_has_no_age() -> None:
    assert file().age is None
    assert file(created_at=time.time() - 100).age == pytest.approx(100, abs=10)


# -- how a call names them ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ("file_session_1", ["file_session_1"]),
        (file(1), ["file_session_1"]),
        ([file(1), "file_session_2"], ["file_session_1", "file_session_2"]),
        ((file(2), file(1)), ["file_session_2", "file_session_1"]),
        # Copies of one file have the id of the one that was uploaded.
        ([file(1, name="a.md"), file(1, name="b.md")], ["file_session_1"]),
        (["file_session_1", "file_session_1"], ["file_session_1", "file_session_1"]),
    ],
)
def test_files_are_named_by_themselves_or_by_their_ids(given: Any, ids: list[str]) -> None:
    assert RagOptions(session_file_ids=given).session_file_ids == ids


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (5, "valid list"),
        ([5], "valid string"),
        ([""], "at least 1 character"),
        ([f"file_session_{number}" for number in range(11)], "at most 10"),
        (["file_1"], "`session_file_ids` has 'file_1', but such ids begin with 'file_session_'"),
        (file(status="PARSING"), "'note.md', of status PARSING: it is not ready yet: wait for it"),
        *(([file(status=status)], f"of status {status}: {why}") for status, why in FAILED.items()),
    ],
)
def test_a_call_names_at_most_ten_files_that_are_ready(given: Any, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        RagOptions(session_file_ids=given)


def test_ids_from_several_places_are_counted_together() -> None:
    ids = [f"file_session_{number}" for number in range(11)]
    check_ids(ids[:10])

    with pytest.raises(ValueError, match=r"at most 10 session files \(official guide\), not 11"):
        check_ids(iter(ids))


def test_a_file_that_may_have_expired_is_warned_of_once() -> None:
    old = file(7, name="old.md", created_at=time.time() - DAY - 60, id=f"file_session_{time.time_ns()}")

    with pytest.warns(UserWarning, match=rf"'old.md' \({old.id}\) is older than 24 hours"):
        assert RagOptions(session_file_ids=[old]).session_file_ids == [old.id]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RagOptions(session_file_ids=[old])
