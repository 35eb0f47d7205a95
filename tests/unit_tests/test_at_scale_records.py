"""What the example of many questions keeps on disk: nothing is lost, nothing counts twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from at_scale_records import Records, Tally, left, tally, whole_lines

if TYPE_CHECKING:
    from pathlib import Path

QUESTIONS = [{"id": str(number), "question": "?"} for number in range(4)]
FAILED = {"id": "1", "error": {"type": "BailianRequestError"}}


def answered(number: int) -> dict[str, str]:
    return {"id": str(number), "answer": "答\u2028案\n"}


@pytest.mark.parametrize(
    ("data", "whole"),
    [(b"", b""), (b"a", b""), (b"a\n", b"a\n"), (b"a\nb", b"a\n"), (b"a\nb\n", b"a\nb\n")],
)
def test_a_line_without_its_end_does_not_count(data: bytes, whole: bytes) -> None:
    assert whole_lines(data) == whole


def test_what_is_known_is_left_out_in_order() -> None:
    assert left(QUESTIONS, {"0", "2"}) == [QUESTIONS[1], QUESTIONS[3]]


def test_processes_see_what_others_have_appended(tmp_path: Path) -> None:
    mine, other = Records(tmp_path), Records(tmp_path)
    mine.append(answered(0))
    other.append(answered(1))
    mine.refresh()
    assert mine.known == {"0", "1"}
    other.append(answered(2))
    mine.refresh()

    assert mine.known == {"0", "1", "2"}
    assert len(list(tmp_path.iterdir())) == 2


def test_a_line_that_a_crash_has_cut_is_asked_again_and_read_once_it_is_whole(tmp_path: Path) -> None:
    line = json.dumps(answered(1)).encode() + b"\n"
    (tmp_path / "crashed.jsonl").write_bytes(json.dumps(answered(0)).encode() + b"\n" + line[:-5])
    records = Records(tmp_path)
    records.refresh()
    assert left(QUESTIONS, records.known) == QUESTIONS[1:]
    with (tmp_path / "crashed.jsonl").open("ab") as file:
        file.write(line[-5:])
    records.refresh()

    assert left(QUESTIONS, records.known) == QUESTIONS[2:]
    assert list(Records(tmp_path).new()) == [answered(0), answered(1)]


def test_what_failed_is_done_unless_it_is_to_be_asked_again(tmp_path: Path) -> None:
    Records(tmp_path).append(FAILED)
    done, again = Records(tmp_path), Records(tmp_path, retry_failed=True)
    done.refresh()
    again.refresh()

    assert done.known == {"1"}
    assert again.known == set()


def test_the_tally_tells_what_is_missing_failed_or_double() -> None:
    assert tally(QUESTIONS, [answered(0), answered(0), FAILED]) == Tally(1, 1, 2, 1)
    assert not tally(QUESTIONS, map(answered, (0, 1, 2))).each_once
    assert not tally(QUESTIONS, map(answered, (0, 1, 2, 3, 3))).each_once
    assert not tally(QUESTIONS, [*map(answered, (0, 2, 3)), FAILED]).each_once
    assert tally(QUESTIONS, [FAILED, *map(answered, range(4))]).each_once
