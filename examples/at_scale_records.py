"""Records of a batch of questions: answers as JSON lines, in append-only files.

This module sends no requests. Each process appends to its own file and reads the files of all
processes, so that no lock is needed and no line ever changes. A line that was cut off by a crash has no
newline and is ignored.
"""

from __future__ import annotations

import json
import os
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Record = dict[str, Any]
"""`{"id": …, "answer": …}`, `{"id": …, "error": {…}}`, or `{"id": …, "run": …}` for a background run
that has started. The answer or error of a run has its id as `run` too."""


def complete_lines(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1]


def remaining_questions(questions: Iterable[Record], done_ids: set[str]) -> list[Record]:
    return [question for question in questions if question["id"] not in done_ids]


class Records:
    """The records of all processes in a folder, and the file of this process."""

    def __init__(self, folder: Path, *, retry_failed: bool = False) -> None:
        self.done_ids: set[str] = set()
        self._run_ids: dict[str, str] = {}
        self._ended_runs: set[str] = set()
        self._folder = folder
        self._retry_failed = retry_failed
        self._offsets: Counter[Path] = Counter()
        self._file: int | None = None

    def read_new(self) -> Iterator[Record]:
        """Yield the records that were appended since the last call."""
        for path in sorted(self._folder.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._offsets[path])
                lines = complete_lines(file.read())
            self._offsets[path] += len(lines)
            yield from map(json.loads, lines.splitlines())

    def refresh(self) -> None:
        """Update `done_ids` with the records of all processes."""
        for record in self.read_new():
            self._note(record)

    def find_run(self, question_id: str) -> str | None:
        """Return the id of a run that was started for a question and has no record of its end."""
        run_id = self._run_ids.get(question_id)
        return None if run_id in self._ended_runs else run_id

    def _note(self, record: Record) -> None:
        if "answer" not in record and "error" not in record:
            self._run_ids[record["id"]] = record["run"]
            return
        self._ended_runs.add(record.get("run", ""))
        if "answer" in record or not self._retry_failed:
            self.done_ids.add(record["id"])

    def append(self, record: Record) -> None:
        """Write a line in one system call, so that readers see it complete or without a newline."""
        line = json.dumps(record).encode() + b"\n"
        if self._file is None:
            path = self._folder / f"{os.getpid()}-{uuid.uuid4().hex}.jsonl"
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
        written_bytes = os.write(self._file, line)
        if written_bytes < len(line):
            os.close(self._file)
            self._file = None  # nothing may follow a line without a newline
            message = f"wrote only {written_bytes} of {len(line)} bytes: check whether the disk is full"
            raise OSError(message)
        if "answer" in record or "error" in record:
            self.done_ids.add(record["id"])
            self._ended_runs.add(record.get("run", ""))


class Tally(NamedTuple):
    """Numbers of answered, failed, missing and repeatedly answered questions."""

    answered: int
    failed: int
    missing: int
    duplicated: int

    @property
    def is_each_answered_once(self) -> bool:
        return not (self.failed or self.missing or self.duplicated)


def count_answers(questions: Iterable[Record], records: Iterable[Record]) -> Tally:
    answer_counts: Counter[str] = Counter()
    failed_ids = set()
    for record in records:
        if "answer" in record:
            answer_counts[record["id"]] += 1
        elif "error" in record:
            failed_ids.add(record["id"])
    ids = {question["id"] for question in questions}
    return Tally(
        answered=len(ids & answer_counts.keys()),
        failed=len(ids & failed_ids - answer_counts.keys()),
        missing=len(ids - answer_counts.keys() - failed_ids),
        duplicated=sum(count > 1 for count in answer_counts.values()),
    )
