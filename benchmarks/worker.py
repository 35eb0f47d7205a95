"""Measures one subject, in a process of its own: a line of JSON asks, a line of JSON answers."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from contenders import QUERY, SUBJECTS, Subject, afirst_piece, aread, first_piece, read
from peak_memory import peak

if TYPE_CHECKING:
    from collections.abc import Callable

_BEAT = 0.01  # seconds between two looks at how late the event loop is


def cpu(subject: Subject, script: str, times: int) -> dict[str, float]:
    """Return the CPU time of each piece, of streams one after the other, in threads' way."""
    read(subject, script)  # imports, connects
    gc.collect()
    before = time.process_time()
    pieces = sum(read(subject, script) for _ in range(times))
    spent = time.process_time() - before
    return {"us": spent / pieces * 1e6, "call_us": spent / times * 1e6, "pieces": pieces / times}


def acpu(subject: Subject, script: str, times: int) -> dict[str, float]:
    """Do so on an event loop."""

    async def run() -> tuple[float, int]:
        await aread(subject, script)  # as above
        gc.collect()
        before = time.process_time()
        pieces = 0
        for _ in range(times):
            pieces += (await aread(subject, script))[0]
        return time.process_time() - before, pieces

    spent, pieces = _loop().run_until_complete(run())
    return {"us": spent / pieces * 1e6, "call_us": spent / times * 1e6, "pieces": pieces / times}


def first(subject: Subject, script: str, times: int) -> dict[str, float]:
    """Return the median time to the first piece, in milliseconds, in both ways."""

    async def run() -> list[float]:
        return [await afirst_piece(subject, script) for _ in range(times)]

    late = _loop().run_until_complete(run())
    found = {"async_ms": statistics.median(late) * 1000}
    if type(subject).stream is not Subject.stream:
        found["sync_ms"] = statistics.median(first_piece(subject, script) for _ in range(times)) * 1000
    return found


def calls(subject: Any, script: str, times: int) -> dict[str, float]:
    """Return the CPU time of a whole call, without streaming, in both ways."""
    model = subject.model(script)
    model.invoke(QUERY)
    gc.collect()
    before = time.process_time()
    for _ in range(times):
        model.invoke(QUERY)
    spent = time.process_time() - before

    async def run() -> float:
        await model.ainvoke(QUERY)
        gc.collect()
        start = time.process_time()
        for _ in range(times):
            await model.ainvoke(QUERY)
        return time.process_time() - start

    return {
        "invoke_us": spent / times * 1e6,
        "ainvoke_us": _loop().run_until_complete(run()) / times * 1e6,
    }


def batches(subject: Any, script: str, times: int) -> dict[str, float]:
    """Return what a call costs among so many at once."""
    model = subject.model(script)
    queries = [QUERY] * times

    async def run() -> tuple[float, float]:
        await model.abatch(queries[:10])
        gc.collect()
        wall, before = time.perf_counter(), time.process_time()
        await model.abatch(queries)
        return time.process_time() - before, time.perf_counter() - wall

    spent, wall = _loop().run_until_complete(run())
    gc.collect()
    start, before = time.perf_counter(), time.process_time()
    model.batch(queries)
    return {
        "abatch_us": spent / times * 1e6,
        "abatch_s": wall,
        "batch_us": (time.process_time() - before) / times * 1e6,
        "batch_s": time.perf_counter() - start,
    }


def concurrent(subject: Subject, script: str, times: int) -> dict[str, float]:
    """Return how so many streams at once go."""

    async def run() -> dict[str, float]:
        await aread(subject, f"1x{script.partition('x')[2]}")  # imports what it needs
        gc.collect()
        base = peak(afresh=True)
        lags: list[float] = []
        beating = asyncio.create_task(_beat(lags))
        start, before = time.perf_counter(), time.process_time()
        done = await asyncio.gather(
            *(aread(subject, script) for _ in range(times)), return_exceptions=True
        )
        wall, spent = time.perf_counter() - start, time.process_time() - before
        beating.cancel()
        ended = [result for result in done if not isinstance(result, BaseException)]
        return {
            "wall_s": wall,
            "lag_p99_s": sorted(lags)[int(len(lags) * 0.99)] if lags else wall,
            "failed": times - len(ended),
            "peak_mb": peak() - base,
            **_of_streams(ended, start, spent),
        }

    return _loop().run_until_complete(run())


def threads(subject: Subject, script: str, times: int) -> dict[str, float]:
    """Return how so many streams at once go, each in a thread of its own."""

    def one() -> tuple[int, float]:
        pieces = iter(subject.stream(script))
        next(pieces)
        at = time.perf_counter()
        return 1 + sum(1 for _ in pieces), at

    read(subject, f"1x{script.partition('x')[2]}")  # imports what it needs
    start, before = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(times) as pool:
        begun = [pool.submit(one) for _ in range(times)]
    ended = [call.result() for call in begun if call.exception() is None]
    wall, spent = time.perf_counter() - start, time.process_time() - before
    return {"wall_s": wall, "failed": times - len(ended), **_of_streams(ended, start, spent)}


def _of_streams(ended: list[tuple[int, float]], start: float, spent: float) -> dict[str, float]:
    """Return the cost of a piece and the waits for the first, of streams of so many pieces."""
    firsts = sorted(at - start for _, at in ended) or [0.0]
    return {
        "us": spent / max(1, sum(pieces for pieces, _ in ended)) * 1e6,
        "first_p50_s": firsts[len(firsts) // 2],
        "first_p99_s": firsts[int(len(firsts) * 0.99)],
    }


async def _beat(lags: list[float]) -> None:
    while True:
        due = time.perf_counter() + _BEAT
        await asyncio.sleep(_BEAT)
        lags.append(time.perf_counter() - due)


_kept: list[asyncio.AbstractEventLoop] = []


def _loop() -> asyncio.AbstractEventLoop:
    """Return the one loop of this process, whose connections stay open."""
    if not _kept:
        _kept.append(asyncio.new_event_loop())
    return _kept[0]


MEASURES: dict[str, Callable[[Any, str, int], dict[str, float]]] = {
    "cpu": cpu,
    "acpu": acpu,
    "first": first,
    "calls": calls,
    "batches": batches,
    "concurrent": concurrent,
    "threads": threads,
}


def main() -> None:
    """Serve the requests of the one who started this."""
    name, origin, core = sys.argv[1:4]
    if hasattr(os, "sched_setaffinity") and core:
        os.sched_setaffinity(0, {int(core)})
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    subject = SUBJECTS[name][1](origin)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what others print is no answer
    for line in sys.stdin:
        measure, script, times = json.loads(line)
        print(json.dumps(MEASURES[measure](subject, script, times)), file=answers, flush=True)
    os._exit(0)  # nothing is worth tidying up


if __name__ == "__main__":
    main()
