"""Tests of the records of the at-scale example: no answer is lost or counted twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from at_scale_records import Records, Tally, complete_lines, count_answers, remaining_questions

if TYPE_CHECKING:
    from pathlib import Path

QUESTIONS = [{"id": str(number), "question": "?"} for number in range(4)]
FAILED_RECORD = {"id": "1", "error": {"type": "BailianRequestError"}}


def make_record(number: int) -> dict[str, str]:
    return {"id": str(number), "answer": "答\u2028案\n"}


@pytest.mark.parametrize(
    ("data", "complete"),
    [(b"", b""), (b"a", b""), (b"a\n", b"a\n"), (b"a\nb", b"a\n"), (b"a\nb\n", b"a\nb\n")],
)
def test_a_line_without_its_end_does_not_count(data: bytes, complete: bytes) -> None:
    assert complete_lines(data) == complete


def test_remaining_questions_keep_their_order() -> None:
    assert remaining_questions(QUESTIONS, {"0", "2"}) == [QUESTIONS[1], QUESTIONS[3]]


def test_processes_see_records_appended_by_others(tmp_path: Path) -> None:
    first, second = Records(tmp_path), Records(tmp_path)
    first.append(make_record(0))
    second.append(make_record(1))
    first.refresh()
    assert first.done_ids == {"0", "1"}
    second.append(make_record(2))
    first.refresh()

    assert first.done_ids == {"0", "1", "2"}
    assert len(list(tmp_path.iterdir())) == 2


def test_a_line_cut_off_by_a_crash_does_not_count_until_it_is_complete(tmp_path: Path) -> None:
    line = json.dumps(make_record(1)).encode() + b"\n"
    (tmp_path / "crashed.jsonl").write_bytes(json.dumps(make_record(0)).encode() + b"\n" + line[:-5])
    records = Records(tmp_path)
    records.refresh()
    assert remaining_questions(QUESTIONS, records.done_ids) == QUESTIONS[1:]
    with (tmp_path / "crashed.jsonl").open("ab") as file:
        file.write(line[-5:])
    records.refresh()

    assert remaining_questions(QUESTIONS, records.done_ids) == QUESTIONS[2:]
    assert list(Records(tmp_path).read_new()) == [make_record(0), make_record(1)]


def test_failed_questions_count_as_done_unless_they_are_to_be_retried(tmp_path: Path) -> None:
    Records(tmp_path).append(FAILED_RECORD)
    default_records, retrying_records = Records(tmp_path), Records(tmp_path, retry_failed=True)
    default_records.refresh()
    retrying_records.refresh()

    assert default_records.done_ids == {"1"}
    assert retrying_records.done_ids == set()


def test_the_tally_counts_missing_failed_and_duplicate_answers() -> None:
    assert count_answers(QUESTIONS, [make_record(0), make_record(0), FAILED_RECORD]) == Tally(
        1, 1, 2, 1
    )
    assert not count_answers(QUESTIONS, map(make_record, (0, 1, 2))).is_each_answered_once
    assert not count_answers(QUESTIONS, map(make_record, (0, 1, 2, 3, 3))).is_each_answered_once
    assert not count_answers(
        QUESTIONS, [*map(make_record, (0, 2, 3)), FAILED_RECORD]
    ).is_each_answered_once
    assert count_answers(QUESTIONS, [FAILED_RECORD, *map(make_record, range(4))]).is_each_answered_once
