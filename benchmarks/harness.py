"""Who measures: a server and workers, each a process of its own, if possible on a core of its own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

HERE = Path(__file__).parent
Figures = dict[str, float]


class Lab:
    """Asks workers to measure; use it as a context manager."""

    def __enter__(self) -> Self:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self.pinned = len(cores) > 1
        self._core = str(cores[0]) if self.pinned else ""
        self._server = _start("server", str(cores[1]) if self.pinned else "")
        self._origin = f"http://127.0.0.1:{int(_line(self._server))}"
        self._workers: dict[str, subprocess.Popen[str]] = {}
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self._workers.values(), self._server):
            _stop(process)

    def ask(self, name: str, measure: str, script: str, times: int) -> Figures:
        """Return what a worker finds that keeps its connections and what it has imported."""
        if name not in self._workers:
            self._workers[name] = self._worker(name)
        return _asked(self._workers[name], measure, script, times)

    def ask_anew(self, name: str, measure: str, script: str, times: int) -> Figures:
        """Return what a worker finds that has done nothing else."""
        worker = self._worker(name)
        try:
            return _asked(worker, measure, script, times)
        finally:
            _stop(worker)

    def interleaved(
        self,
        names: Iterable[str],
        measure: str,
        script: str,
        times: int,
        *,
        repeats: int,
        anew: bool = False,
    ) -> dict[str, Figures]:
        """Return medians of several rounds, in each of which all take their turn."""
        ask = self.ask_anew if anew else self.ask
        names = list(names)
        rounds = [{name: ask(name, measure, script, times) for name in names} for _ in range(repeats)]
        return {name: medians([figures[name] for figures in rounds]) for name in names}

    def _worker(self, name: str) -> subprocess.Popen[str]:
        return _start("worker", name, self._origin, self._core)


def medians(rounds: list[Figures]) -> Figures:
    """Return the median of each figure."""
    return {name: statistics.median(figures[name] for figures in rounds) for name in rounds[0]}


def run(program: str, *arguments: str) -> Figures:
    """Return what a program prints as JSON, run by itself."""
    command = [sys.executable, str(HERE / f"{program}.py"), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: Figures = json.loads(done.stdout)
    return figures


def _start(program: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / f"{program}.py"), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _asked(worker: subprocess.Popen[str], measure: str, script: str, times: int) -> Figures:
    assert worker.stdin is not None  # noqa: S101
    worker.stdin.write(f"{json.dumps([measure, script, times])}\n")
    worker.stdin.flush()
    figures: Figures = json.loads(_line(worker))
    return figures


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None  # noqa: S101
    line = process.stdout.readline()
    if not line:
        message = f"{process.args!r} has ended"
        raise RuntimeError(message)
    return line


def _stop(process: subprocess.Popen[str]) -> None:
    process.communicate()
