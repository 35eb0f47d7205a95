"""Worker process that measures one contender; requests and results are lines of JSON."""

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

from contenders import (
    CONTENDERS,
    QUERY,
    Contender,
    aread_stream,
    atime_to_first_chunk,
    read_stream,
    time_to_first_chunk,
)
from peak_memory import read_peak_memory

if TYPE_CHECKING:
    from collections.abc import Callable

_LAG_SAMPLE_INTERVAL = 0.01  # seconds between two samples of the event loop's lag


def measure_cpu(contender: Contender, reply_name: str, count: int) -> dict[str, float]:
    """Return the CPU time per chunk and per call, for sequential streams without an event loop."""
    read_stream(contender, reply_name)  # warm-up: imports and connects
    gc.collect()
    cpu_before = time.process_time()
    chunks = sum(read_stream(contender, reply_name) for _ in range(count))
    cpu_seconds = time.process_time() - cpu_before
    return {
        "chunk_us": cpu_seconds / chunks * 1e6,
        "call_us": cpu_seconds / count * 1e6,
        "chunks": chunks / count,
    }


def measure_async_cpu(contender: Contender, reply_name: str, count: int) -> dict[str, float]:
    """Async version of `measure_cpu`."""

    async def run() -> tuple[float, int]:
        await aread_stream(contender, reply_name)  # warm-up
        gc.collect()
        cpu_before = time.process_time()
        chunks = 0
        for _ in range(count):
            chunks += (await aread_stream(contender, reply_name))[0]
        return time.process_time() - cpu_before, chunks

    cpu_seconds, chunks = _get_event_loop().run_until_complete(run())
    return {
        "chunk_us": cpu_seconds / chunks * 1e6,
        "call_us": cpu_seconds / count * 1e6,
        "chunks": chunks / count,
    }


def measure_first_chunk(contender: Contender, reply_name: str, count: int) -> dict[str, float]:
    """Return the median time to the first chunk in milliseconds, async and sync."""

    async def run() -> list[float]:
        return [await atime_to_first_chunk(contender, reply_name) for _ in range(count)]

    async_seconds = _get_event_loop().run_until_complete(run())
    metrics = {"async_ms": statistics.median(async_seconds) * 1000}
    if type(contender).stream is not Contender.stream:
        metrics["sync_ms"] = (
            statistics.median(time_to_first_chunk(contender, reply_name) for _ in range(count)) * 1000
        )
    return metrics


def measure_calls(contender: Any, reply_name: str, count: int) -> dict[str, float]:
    """Return the CPU time of `invoke` and `ainvoke`."""
    model = contender.model(reply_name)
    model.invoke(QUERY)
    gc.collect()
    cpu_before = time.process_time()
    for _ in range(count):
        model.invoke(QUERY)
    cpu_seconds = time.process_time() - cpu_before

    async def run() -> float:
        await model.ainvoke(QUERY)
        gc.collect()
        started_at = time.process_time()
        for _ in range(count):
            await model.ainvoke(QUERY)
        return time.process_time() - started_at

    return {
        "invoke_us": cpu_seconds / count * 1e6,
        "ainvoke_us": _get_event_loop().run_until_complete(run()) / count * 1e6,
    }


def measure_batches(contender: Any, reply_name: str, count: int) -> dict[str, float]:
    """Return the CPU time per call and the wall time of `abatch` and `batch`."""
    model = contender.model(reply_name)
    queries = [QUERY] * count

    async def run() -> tuple[float, float]:
        await model.abatch(queries[:10])
        gc.collect()
        wall, cpu_before = time.perf_counter(), time.process_time()
        await model.abatch(queries)
        return time.process_time() - cpu_before, time.perf_counter() - wall

    cpu_seconds, wall = _get_event_loop().run_until_complete(run())
    gc.collect()
    started_at, cpu_before = time.perf_counter(), time.process_time()
    model.batch(queries)
    return {
        "abatch_us": cpu_seconds / count * 1e6,
        "abatch_s": wall,
        "batch_us": (time.process_time() - cpu_before) / count * 1e6,
        "batch_s": time.perf_counter() - started_at,
    }


def measure_concurrent(contender: Contender, reply_name: str, count: int) -> dict[str, float]:
    """Return the metrics of concurrent streams on an event loop."""

    async def run() -> dict[str, float]:
        await aread_stream(contender, f"1x{reply_name.partition('x')[2]}")  # warm-up: imports
        gc.collect()
        peak_before = read_peak_memory(reset=True)
        lags: list[float] = []
        lag_sampler = asyncio.create_task(_sample_loop_lag(lags))
        started_at, cpu_before = time.perf_counter(), time.process_time()
        results = await asyncio.gather(
            *(aread_stream(contender, reply_name) for _ in range(count)), return_exceptions=True
        )
        wall, cpu_seconds = time.perf_counter() - started_at, time.process_time() - cpu_before
        lag_sampler.cancel()
        finished_streams = [result for result in results if not isinstance(result, BaseException)]
        return {
            "wall_s": wall,
            "lag_p99_s": sorted(lags)[int(len(lags) * 0.99)] if lags else wall,
            "failed": count - len(finished_streams),
            "peak_mb": read_peak_memory() - peak_before,
            **_summarize_streams(finished_streams, started_at, cpu_seconds),
        }

    return _get_event_loop().run_until_complete(run())


def measure_threads(contender: Contender, reply_name: str, count: int) -> dict[str, float]:
    """Return the metrics of concurrent streams, each in a separate thread."""

    def read_one_stream() -> tuple[int, float]:
        chunks = iter(contender.stream(reply_name))
        next(chunks)
        first_chunk_at = time.perf_counter()
        return 1 + sum(1 for _ in chunks), first_chunk_at

    read_stream(contender, f"1x{reply_name.partition('x')[2]}")  # warm-up: imports
    started_at, cpu_before = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(read_one_stream) for _ in range(count)]
    finished_streams = [future.result() for future in futures if future.exception() is None]
    wall, cpu_seconds = time.perf_counter() - started_at, time.process_time() - cpu_before
    return {
        "wall_s": wall,
        "failed": count - len(finished_streams),
        **_summarize_streams(finished_streams, started_at, cpu_seconds),
    }


def _summarize_streams(
    finished_streams: list[tuple[int, float]], started_at: float, cpu_seconds: float
) -> dict[str, float]:
    """Return the CPU time per chunk and percentiles of the time to the first chunk."""
    first_chunk_seconds = sorted(
        first_chunk_at - started_at for _, first_chunk_at in finished_streams
    ) or [0.0]
    return {
        "chunk_us": cpu_seconds / max(1, sum(chunks for chunks, _ in finished_streams)) * 1e6,
        "first_p50_s": first_chunk_seconds[len(first_chunk_seconds) // 2],
        "first_p99_s": first_chunk_seconds[int(len(first_chunk_seconds) * 0.99)],
    }


async def _sample_loop_lag(lags: list[float]) -> None:
    while True:
        due = time.perf_counter() + _LAG_SAMPLE_INTERVAL
        await asyncio.sleep(_LAG_SAMPLE_INTERVAL)
        lags.append(time.perf_counter() - due)


_event_loops: list[asyncio.AbstractEventLoop] = []


def _get_event_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of this process; using only one keeps its connections open."""
    if not _event_loops:
        _event_loops.append(asyncio.new_event_loop())
    return _event_loops[0]


BENCHMARKS: dict[str, Callable[[Any, str, int], dict[str, float]]] = {
    "cpu": measure_cpu,
    "async_cpu": measure_async_cpu,
    "first_chunk": measure_first_chunk,
    "calls": measure_calls,
    "batches": measure_batches,
    "concurrent": measure_concurrent,
    "threads": measure_threads,
}


def main() -> None:
    """Process the requests of the harness."""
    name, origin, core = sys.argv[1:4]
    if hasattr(os, "sched_setaffinity") and core:
        os.sched_setaffinity(0, {int(core)})
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    contender = CONTENDERS[name][1](origin)
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keep other output out of the results
    for line in sys.stdin:
        benchmark, reply_name, count = json.loads(line)
        print(json.dumps(BENCHMARKS[benchmark](contender, reply_name, count)), file=output, flush=True)
    os._exit(0)  # skip the cleanup


if __name__ == "__main__":
    main()
