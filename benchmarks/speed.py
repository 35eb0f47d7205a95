"""Benchmark of streams, single and concurrent, compared with the SDK, other chat models and LangChain.

Client and server run in separate processes (`worker.py`, `server.py`). Contenders alternate within one
run, and results are medians. CPU time is user and system time of the client.
"""

from __future__ import annotations

from typing import NamedTuple

from contenders import CONTENDERS
from harness import BenchmarkHarness, Metrics, compute_medians, run_program

REPEATS = 5
STREAMS = 1000
Table = dict[str, Metrics]


class Goal(NamedTuple):
    """A ratio with an upper limit."""

    name: str
    measured: float
    limit: float

    @property
    def verdict(self) -> str:
        """The verdict: met, narrowly missed, or missed."""
        if self.measured <= self.limit:
            return "met"
        return "missed by less than 10 %" if self.measured <= self.limit * 1.1 else "missed"


class SpeedResults(NamedTuple):
    """Results of all speed benchmarks."""

    sync: Table
    asynchronous: Table
    first_chunk: Table
    calls: Table
    batches: dict[int, Table]
    concurrent: Table
    concurrent_200: Table
    service_pace: Table
    threads: dict[int, Table]
    by_stream_count: dict[str, dict[int, Metrics]]
    long_streams: dict[int, Table]
    repeated_fields: dict[str, Table]
    imports: Table
    model_creation: Metrics


def run_benchmarks() -> SpeedResults:
    """Run all speed benchmarks, which takes some minutes."""
    contenders = ("httpx", "sdk", "baseline", "ours", "tongyi", "openai", "qwen")
    with BenchmarkHarness() as harness:
        return SpeedResults(
            sync=harness.measure_interleaved(contenders, "cpu", "200x0", 10, repeats=REPEATS),
            asynchronous=harness.measure_interleaved(
                ("aiohttp", *contenders), "async_cpu", "200x0", 10, repeats=REPEATS
            ),
            first_chunk=harness.measure_interleaved(
                ("httpx", "sdk", "ours", "openai"), "first_chunk", "3x5", 30, repeats=3
            ),
            calls={
                "ours": harness.measure_interleaved(["ours"], "calls", "20x0", 100, repeats=3)["ours"],
                "sdk": _measure_stream_calls(harness, "sdk"),
            },
            batches={
                n: harness.measure_interleaved(
                    ("baseline", "ours"), "batches", "20x0-delayed", n, repeats=3, new_process=True
                )
                for n in (100, 1000)
            },
            concurrent=harness.measure_interleaved(
                ("aiohttp", "baseline", "sdk", "ours"),
                "concurrent",
                "200x5",
                STREAMS,
                repeats=2,
                new_process=True,
            ),
            concurrent_200=harness.measure_interleaved(
                ("aiohttp", "baseline", "sdk", "ours", "tongyi", "openai", "qwen"),
                "concurrent",
                "200x5",
                200,
                repeats=1,
                new_process=True,
            ),
            service_pace=harness.measure_interleaved(
                ("aiohttp", "sdk", "ours"), "concurrent", "40x50", 200, repeats=2, new_process=True
            ),
            threads={
                n: harness.measure_interleaved(
                    names, "threads", "40x50", n, repeats=2, new_process=True
                )
                for n, names in ((200, ("httpx", "sdk", "ours")), (STREAMS, ("httpx", "ours")))
            },
            by_stream_count={
                reply_name: {
                    n: harness.measure_in_new_process("ours", "concurrent", reply_name, n)
                    for n in (1, 100, 1000)
                }
                for reply_name in ("200x0", "200x5", "40x50")
            },
            long_streams={
                n: harness.measure_interleaved(
                    ("baseline", "ours"), "async_cpu", f"{n}x0", 20_000 // n, repeats=3
                )
                for n in (200, 2000, 20_000)
            },
            repeated_fields={
                kind: harness.measure_interleaved(
                    ("sdk", "ours"), "async_cpu", f"200x0-{kind}", 2, repeats=3
                )
                for kind in ("cumulative", "references", "steps")
            },
            imports=_measure_imports(),
            model_creation=run_program("startup", "models"),
        )


def _measure_imports() -> Table:
    """Return the cost of imports."""
    names = ("core", "ours")
    rounds = [{name: run_program("startup", name) for name in names} for _ in range(REPEATS)]
    return {name: compute_medians([metrics[name] for metrics in rounds]) for name in names}


def _measure_stream_calls(harness: BenchmarkHarness, name: str) -> Metrics:
    """Return the CPU time of complete streams, for contenders without `invoke`."""
    rounds = [
        {
            "invoke_us": harness.measure(name, "cpu", "20x0", 100)["call_us"],
            "ainvoke_us": harness.measure(name, "async_cpu", "20x0", 100)["call_us"],
        }
        for _ in range(3)
    ]
    return compute_medians(rounds)


def evaluate_goals(results: SpeedResults) -> list[Goal]:
    """Return the goals with the measured ratios."""

    def ratio(table: Table, metric: str, reference: str) -> float:
        return table["ours"][metric] / table[reference][metric]

    hundred_calls, calls = results.batches[100], results.batches[1000]
    core, ours = results.imports["core"]["cpu_ms"], results.imports["ours"]["cpu_ms"]
    cost_growth = {
        name: results.long_streams[20_000][name]["chunk_us"]
        / results.long_streams[2000][name]["chunk_us"]
        for name in ("ours", "baseline")
    }
    concurrent, concurrent_200 = results.concurrent, results.concurrent_200
    return [
        Goal(
            "CPU per chunk, async, vs. SDK events",
            ratio(results.asynchronous, "chunk_us", "sdk"),
            0.5,
        ),
        Goal("CPU per chunk, sync, vs. SDK events", ratio(results.sync, "chunk_us", "sdk"), 0.9),
        Goal(
            "CPU per chunk, async, vs. `ChatTongyi`",
            ratio(results.asynchronous, "chunk_us", "tongyi"),
            0.12,
        ),
        Goal(
            "CPU per chunk, async, vs. `ChatOpenAI`",
            ratio(results.asynchronous, "chunk_us", "openai"),
            0.07,
        ),
        Goal("time to first chunk, async, vs. SDK", ratio(results.first_chunk, "async_ms", "sdk"), 1.3),
        Goal("time to first chunk, sync, vs. SDK", ratio(results.first_chunk, "sync_ms", "sdk"), 1.3),
        Goal("`invoke` vs. SDK stream", ratio(results.calls, "invoke_us", "sdk"), 1.3),
        Goal("`ainvoke` vs. SDK stream", ratio(results.calls, "ainvoke_us", "sdk"), 1.3),
        Goal("1,000 streams, wall time, vs. SDK", ratio(concurrent, "wall_s", "sdk"), 0.4),
        Goal(
            "1,000 streams, first chunk p99, vs. SDK",
            ratio(concurrent, "first_p99_s", "sdk"),
            0.05,
        ),
        Goal(
            "1,000 streams, CPU per chunk, vs. 200 streams",
            concurrent["ours"]["chunk_us"] / concurrent_200["ours"]["chunk_us"],
            1.2,
        ),
        Goal(
            "1,000 streams, peak memory, vs. LangChain alone",
            ratio(concurrent, "peak_mb", "baseline"),
            1.15,
        ),
        Goal(
            "200 streams at the pace of the service, wall time, vs. ideal",
            results.service_pace["ours"]["wall_s"] / (39 * 0.05),
            1.15,
        ),
        Goal(
            "`abatch` of 1,000, CPU per call, vs. 100",
            calls["ours"]["abatch_us"] / hundred_calls["ours"]["abatch_us"],
            1.1,
        ),
        Goal(
            "growth of CPU per chunk in long streams, vs. LangChain alone",
            cost_growth["ours"] / cost_growth["baseline"],
            1.1,
        ),
        Goal("import, vs. langchain-core alone", ours / core, 1.1),
        Goal(
            "creation of one of 1,000 models, vs. 100 µs", results.model_creation["model_us"] / 100, 1.0
        ),
        Goal(
            "memory of one of 1,000 models, vs. 5 kB", results.model_creation["model_bytes"] / 5000, 1.0
        ),
    ]


def get_label(name: str) -> str:
    """Return the display name of a contender."""
    return CONTENDERS[name][0]
