"""Soak: mixed calls for ten minutes, in which memory, descriptors, threads and tasks must not grow.

The calls run with `-X dev -W error` against an emulator and a Redis server in other processes. Every
few seconds, all callers pause, and the resources of this process are measured. A line is fitted to the
measurements of each resource in the second half.

The exit status is 1 if a line rises by more than its limit, if a call fails with an unexpected error
(with `-W error`, every warning is an error), if anything logs a warning or an error, or if Python
cannot raise an error, for example in a finalizer.

It requires Linux and glibc, since it reads `/proc` and the counters of the allocator.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import logging
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from results_file import RESULTS, SOAK_HEADING, get_commit, split_results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from soak_calls import Caller, Objects

HERE = Path(__file__).parent
THREADS = 3  # callers in threads
TASKS = 6  # callers on the event loop
SETTLE_SECONDS = 5.0
MAX_PRINTED_PROBLEMS = 20
PYTHON_OPTIONS = ("-X", "dev", "-W", "error")
# All of Python's memory comes from the C library, which counts it exactly.
ALLOCATOR = {"PYTHONMALLOC": "malloc_debug"}


class Sample(NamedTuple):
    """Resources of this process while no call is running."""

    seconds: float
    calls: int
    allocated: int
    """Bytes that are in use, according to the C library."""
    resident: int
    """Bytes of resident memory, which also contains free gaps between the bytes in use."""
    objects: int
    """Objects that the garbage collector tracks."""
    descriptors: int
    threads: int
    tasks: int


class Growth(NamedTuple):
    """Growth over the second half of the soak, according to the fitted lines."""

    allocated_bytes_per_call: float
    resident_bytes_per_call: float
    descriptors: float
    threads: float
    tasks: float


LIMITS = Growth(
    allocated_bytes_per_call=50,
    resident_bytes_per_call=300,
    descriptors=8,  # the number of idle connections varies
    threads=0.5,
    tasks=0.5,
)


class Problems:
    """Unexpected errors, counted by their text, with the traceback of the first of each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._details: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, source: str, error: BaseException | str) -> None:
        """Record an error or a logged message."""
        if isinstance(error, BaseException):
            summary = f"{source}: {type(error).__name__}: {error}"[:300]
            detail = "".join(traceback.format_exception(error))
        else:
            summary = detail = f"{source}: {error}"
            summary = summary[:300]
        with self._lock:
            if len(self.counts) < MAX_PRINTED_PROBLEMS:
                self._details.setdefault(summary, detail)
                self.counts[summary] += 1
            else:
                self.counts["further problems"] += 1

    def watch(self) -> None:
        """Record warnings and errors that no call can raise."""
        sys.unraisablehook = lambda args: self.add(
            f"unraisable, in {args.object!r}", args.exc_value or str(args.exc_type)
        )
        threading.excepthook = lambda args: self.add("thread", args.exc_value or str(args.exc_type))
        logging.getLogger().addHandler(_ProblemHandler(self))

    def __str__(self) -> str:
        return "\n".join(
            f"{count} × {summary}\n{self._details.get(summary, '')}"
            for summary, count in self.counts.most_common()
        )


class _ProblemHandler(logging.Handler):
    def __init__(self, problems: Problems) -> None:
        super().__init__(logging.WARNING)
        self._problems = problems

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        text = record.getMessage()
        if error is not None:
            text += "\n" + "".join(traceback.format_exception(error))
        self._problems.add(f"log {record.name}", text)


# -- servers -------------------------------------------------------------------------------------------


@contextmanager
def run_emulator(seed: int) -> Iterator[dict[str, str]]:
    """Run the emulator in another process; yield its address and key."""
    command = [sys.executable, str(HERE / "soak_emulator.py"), str(seed)]
    environment = {name: value for name, value in os.environ.items() if name not in ALLOCATOR}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    )
    try:
        assert process.stdout is not None  # noqa: S101
        yield json.loads(process.stdout.readline())
    finally:
        process.communicate(timeout=30)


@contextmanager
def run_redis() -> Iterator[str | None]:
    """Run a Redis server on a socket in a temporary folder; yield its URL, or None without Redis."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder, "redis.sock")
        options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
        process = subprocess.Popen([program, *options], cwd=folder, stdout=subprocess.DEVNULL)
        try:
            while not socket.exists():
                if process.poll() is not None:
                    message = f"redis-server has exited with status {process.returncode}"
                    raise RuntimeError(message)
                time.sleep(0.01)
            yield f"unix://{socket}"
        finally:
            process.terminate()
            process.wait()


# -- measurement ---------------------------------------------------------------------------------------


class _Mallinfo(ctypes.Structure):
    """`struct mallinfo2` of glibc."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    )


def find_mallinfo() -> Callable[[], _Mallinfo] | None:
    """Return glibc's function for the state of its allocator, or None."""
    function = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if function is not None:
        function.restype = _Mallinfo
    return function


def count_allocated_bytes() -> int:
    """Return the number of bytes that this process has allocated and not freed."""
    mallinfo = find_mallinfo()
    assert mallinfo is not None  # noqa: S101 - checked at the start
    info = mallinfo()
    return info.uordblks + info.hblkhd


def take_sample(seconds: float, calls: int) -> Sample:
    """Return the resources of this process, after a garbage collection."""
    gc.collect()
    resident_pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return Sample(
        seconds=seconds,
        calls=calls,
        allocated=count_allocated_bytes(),
        resident=resident_pages * os.sysconf("SC_PAGE_SIZE"),
        objects=len(gc.get_objects()),
        descriptors=len(list(Path("/proc/self/fd").iterdir())) - 1,  # one belongs to the listing
        threads=len(list(Path("/proc/self/task").iterdir())),
        tasks=len(asyncio.all_tasks()) - 1,
    )


def compute_growth(samples: list[Sample]) -> Growth:
    """Fit a line to each resource in the second half of the samples; return by how much it rises."""
    second_half = samples[len(samples) // 2 :]
    calls = [sample.calls for sample in second_half]

    def fit(name: str) -> float:
        values = [getattr(sample, name) for sample in second_half]
        return statistics.linear_regression(calls, values).slope

    calls_in_half = calls[-1] - calls[0]
    return Growth(
        allocated_bytes_per_call=fit("allocated"),
        resident_bytes_per_call=fit("resident"),
        descriptors=fit("descriptors") * calls_in_half,
        threads=fit("threads") * calls_in_half,
        tasks=fit("tasks") * calls_in_half,
    )


class Soak:
    """One run, with callers in threads and on an event loop."""

    def __init__(
        self,
        objects: Objects,
        loop_factory: Callable[[], asyncio.AbstractEventLoop],
        seed: int,
        problems: Problems,
    ) -> None:
        from soak_calls import Caller

        callers = [
            Caller(objects, random.Random(seed * 1000 + number), loop_factory)  # noqa: S311
            for number in range(THREADS + TASKS)
        ]
        self._thread_callers, self._task_callers = callers[:THREADS], callers[THREADS:]
        self._problems = problems

    @property
    def calls(self) -> int:
        """Number of calls until now."""
        return sum(caller.calls for caller in (*self._thread_callers, *self._task_callers))

    async def run(self, duration: float, interval: float) -> list[Sample]:
        """Make calls for some time; return a sample for each interval."""
        loop = asyncio.get_running_loop()
        samples: list[Sample] = []
        started_at = time.monotonic()
        print(" ".join(f"{name:>11}" for name in Sample._fields), flush=True)
        with ThreadPoolExecutor(THREADS) as pool:
            while time.monotonic() - started_at < duration:
                end = time.monotonic() + interval
                await asyncio.gather(
                    *(
                        loop.run_in_executor(pool, self._make_calls, caller, end)
                        for caller in self._thread_callers
                    ),
                    *(self._amake_calls(caller, end) for caller in self._task_callers),
                )
                await self._settle()
                samples.append(take_sample(time.monotonic() - started_at, self.calls))
                print(" ".join(f"{round(value):>11,}" for value in samples[-1]), flush=True)
        return samples

    def _make_calls(self, caller: Caller, end: float) -> None:
        while time.monotonic() < end:
            try:
                caller.call_once()
            except Exception as exc:  # noqa: BLE001 - reported at the end
                self._problems.add("call in a thread", exc)

    async def _amake_calls(self, caller: Caller, end: float) -> None:
        while time.monotonic() < end:
            try:
                await caller.acall_once()
            except Exception as exc:  # noqa: BLE001 - reported at the end
                self._problems.add("call on the event loop", exc)

    async def _settle(self) -> None:
        """Wait for tasks that end after their call, such as those that close dropped streams."""
        deadline = time.monotonic() + SETTLE_SECONDS
        gc.collect()
        while (tasks := asyncio.all_tasks() - {asyncio.current_task()}) and time.monotonic() < deadline:
            await asyncio.wait(tasks, timeout=deadline - time.monotonic())


# -- report --------------------------------------------------------------------------------------------


def describe_python() -> str:
    """Return the version of Python, and whether it runs without the GIL."""
    is_gil_enabled: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    return platform.python_version() + ("" if is_gil_enabled() else " without GIL")


def format_growth(growth: Growth) -> str:
    """Return a line for each resource, with its limit."""
    lines = ["", "Growth in the second half:"]
    for name, value, limit in zip(Growth._fields, growth, LIMITS, strict=True):
        verdict = "ok" if value <= limit else "TOO MUCH"
        lines.append(f"  {name.replace('_', ' '):<25} {value:>9.3f}  at most {limit:<6} {verdict}")
    return "\n".join(lines)


def format_row(loop: str, samples: list[Sample], growth: Growth, problems: Problems) -> str:
    """Return a row of the table in RESULTS.md."""
    last = samples[-1]
    cells = [
        describe_python(),
        loop,
        f"{last.seconds / 60:.1f}",
        f"{last.calls:,}",
        *(
            f"{value / 1024**2:.0f} ({change:+.1f})"
            for value, change in (
                (last.allocated, growth.allocated_bytes_per_call),
                (last.resident, growth.resident_bytes_per_call),
            )
        ),
        *(
            f"{value} ({change:+.1f})"
            for value, change in (
                (last.descriptors, growth.descriptors),
                (last.threads, growth.threads),
                (last.tasks, growth.tasks),
            )
        ),
        str(problems.counts.total()),
        get_commit(),
    ]
    return f"| {' | '.join(cells)} |"


def write_row(row: str) -> None:
    """Add a row to RESULTS.md, or replace the one of the same Python and event loop."""
    before, section = split_results()
    key = row.split("|")[1:3]
    rows = [line for line in section.splitlines() if line.startswith("| 3.")]
    rows = sorted([*(line for line in rows if line.split("|")[1:3] != key), row])
    RESULTS.write_text(f"{before}\n\n{_format_section(rows)}\n", "utf-8")


_TABLE_HEAD = """\
| Python | event loop | minutes | calls | allocated (bytes per call) | resident (bytes per call) \
| descriptors | threads | tasks | problems | commit |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|"""


def _format_section(rows: list[str]) -> str:
    limits = ", ".join(f"{limit} {name.replace('_', ' ')}" for name, limit in LIMITS._asdict().items())
    return "\n".join(
        [
            SOAK_HEADING,
            "",
            "Mixed calls with `-X dev -W error`, in threads and on an event loop: all call styles,",
            "batches, interrupted and failing calls, conversations, retrievers and tools (`soak.py`,",
            "written by `make bench-soak`). Memory is in MB. Numbers in parentheses are the growth in",
            "the second half, by linear regression. Resident memory also contains free gaps between",
            "allocated bytes. Problems are unexpected errors and warnings.",
            "",
            f"Accepted growth: {limits}.",
            "",
            _TABLE_HEAD,
            *rows,
        ]
    )


# -- command line --------------------------------------------------------------------------------------


def main() -> None:
    """Run the soak; exit with status 1 if anything grows or fails."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600, help="duration, default 600")
    parser.add_argument("--interval", type=float, default=10, help="seconds between samples")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random calls")
    parser.add_argument("--write", action="store_true", help="write the result to RESULTS.md")
    options = parser.parse_args()
    if not Path("/proc/self/statm").exists() or find_mallinfo() is None:
        parser.error("the soak requires Linux with glibc 2.33 or newer")
    if not sys.flags.dev_mode:
        command = [sys.executable, *PYTHON_OPTIONS, *sys.argv]
        os.execve(sys.executable, command, os.environ | ALLOCATOR)  # noqa: S606
    raise SystemExit(run(options))


def run(options: argparse.Namespace) -> int:
    """Run the soak; print the result and return the exit status."""
    loop_factory = {"asyncio": _create_asyncio_loop, "uvloop": _create_uvloop}[options.loop]
    problems = Problems()
    problems.watch()
    print(f"Python {describe_python()}, {options.loop}, seed {options.seed}", flush=True)
    with run_emulator(options.seed) as emulator, run_redis() as redis_url:
        if redis_url is None:
            print("redis-server is not installed: no calls with sessions in Redis")
        from soak_calls import Objects, Service

        from langchain_bailian_app.sessions import BailianSessionWarning

        warnings.simplefilter("ignore", BailianSessionWarning)  # sessions end in many calls
        objects = Objects(Service(**emulator, redis_url=redis_url))
        soak = Soak(objects, loop_factory, options.seed, problems)
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            samples = runner.run(soak.run(options.seconds, options.interval))
        del objects, soak
        gc.collect()
    growth = compute_growth(samples)
    print(format_growth(growth))
    print(f"\nProblems: {problems.counts.total()}\n{problems}")
    if options.write:
        write_row(format_row(options.loop, samples, growth, problems))
    too_much = any(value > limit for value, limit in zip(growth, LIMITS, strict=True))
    return int(too_much or bool(problems.counts))


def _create_asyncio_loop() -> asyncio.AbstractEventLoop:
    return _without_slow_callbacks(asyncio.new_event_loop())


def _create_uvloop() -> asyncio.AbstractEventLoop:
    import uvloop

    return _without_slow_callbacks(uvloop.new_event_loop())


def _without_slow_callbacks(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    # How long a callback takes depends on the other processes of the machine.
    loop.slow_callback_duration = 10.0
    return loop


if __name__ == "__main__":
    main()
