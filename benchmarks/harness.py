"""Harness of the benchmarks: server and workers are separate processes, pinned to cores if possible."""

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
Metrics = dict[str, float]


class BenchmarkHarness:
    """Context manager that starts the server, and workers that measure."""

    def __enter__(self) -> Self:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self.is_pinned = len(cores) > 1
        self._worker_core = str(cores[0]) if self.is_pinned else ""
        self._server = _start_process("server", str(cores[1]) if self.is_pinned else "")
        self._origin = f"http://127.0.0.1:{int(_read_line(self._server))}"
        self._workers: dict[str, subprocess.Popen[str]] = {}
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self._workers.values(), self._server):
            _stop_process(process)

    def measure(self, name: str, benchmark: str, reply_name: str, count: int) -> Metrics:
        """Return the metrics of a worker that is reused, with its imports and open connections."""
        if name not in self._workers:
            self._workers[name] = self._start_worker(name)
        return _request_metrics(self._workers[name], benchmark, reply_name, count)

    def measure_in_new_process(self, name: str, benchmark: str, reply_name: str, count: int) -> Metrics:
        """Return the metrics of a new worker."""
        worker = self._start_worker(name)
        try:
            return _request_metrics(worker, benchmark, reply_name, count)
        finally:
            _stop_process(worker)

    def measure_interleaved(
        self,
        names: Iterable[str],
        benchmark: str,
        reply_name: str,
        count: int,
        *,
        repeats: int,
        new_process: bool = False,
    ) -> dict[str, Metrics]:
        """Return the medians of several rounds; each round measures every contender once."""
        measure = self.measure_in_new_process if new_process else self.measure
        names = list(names)
        rounds = [
            {name: measure(name, benchmark, reply_name, count) for name in names}
            for _ in range(repeats)
        ]
        return {name: compute_medians([metrics[name] for metrics in rounds]) for name in names}

    def _start_worker(self, name: str) -> subprocess.Popen[str]:
        return _start_process("worker", name, self._origin, self._worker_core)


def compute_medians(rounds: list[Metrics]) -> Metrics:
    """Return the median of each metric."""
    return {name: statistics.median(metrics[name] for metrics in rounds) for name in rounds[0]}


def run_program(program: str, *arguments: str) -> Metrics:
    """Run a program in a new process and return the metrics that it prints as JSON."""
    command = [sys.executable, str(HERE / f"{program}.py"), *arguments]
    completed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    metrics: Metrics = json.loads(completed.stdout)
    return metrics


def _start_process(program: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / f"{program}.py"), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _request_metrics(
    worker: subprocess.Popen[str], benchmark: str, reply_name: str, count: int
) -> Metrics:
    assert worker.stdin is not None  # noqa: S101
    worker.stdin.write(f"{json.dumps([benchmark, reply_name, count])}\n")
    worker.stdin.flush()
    metrics: Metrics = json.loads(_read_line(worker))
    return metrics


def _read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None  # noqa: S101
    line = process.stdout.readline()
    if not line:
        message = f"process {process.args!r} has exited"
        raise RuntimeError(message)
    return line


def _stop_process(process: subprocess.Popen[str]) -> None:
    process.communicate()
