"""What a stream costs, one and a thousand at once, beside the SDK, its neighbours and LangChain itself.

Client and server are processes of their own (`worker.py`, `server.py`). What is compared takes its
turns in one run; figures are medians. CPU is that of the client, user and system.
"""

from __future__ import annotations

from typing import NamedTuple

from contenders import CONTENDERS
from harness import BenchmarkHarness, Metrics, compute_medians, run_program

REPEATS = 5
STREAMS = 1000
Table = dict[str, Metrics]


class Goal(NamedTuple):
    """A ratio that is to be reached."""

    name: str
    measured: float
    limit: float

    @property
    def verdict(self) -> str:
        """Say whether it is."""
        if self.measured <= self.limit:
            return "met"
        return "missed by less than a tenth" if self.measured <= self.limit * 1.1 else "missed"


class SpeedResults(NamedTuple):
    """All that was found."""

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
    """Measure; takes some minutes."""
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
    """Return what importing takes."""
    names = ("core", "ours")
    rounds = [{name: run_program("startup", name) for name in names} for _ in range(REPEATS)]
    return {name: compute_medians([metrics[name] for metrics in rounds]) for name in names}


def _measure_stream_calls(harness: BenchmarkHarness, name: str) -> Metrics:
    """Return what the SDK pays for a stream read to its end."""
    rounds = [
        {
            "invoke_us": harness.measure(name, "cpu", "20x0", 100)["call_us"],
            "ainvoke_us": harness.measure(name, "async_cpu", "20x0", 100)["call_us"],
        }
        for _ in range(3)
    ]
    return compute_medians(rounds)


def evaluate_goals(results: SpeedResults) -> list[Goal]:
    """Return what was to be reached, and what was."""

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
            "CPU a chunk, async, of the SDK's events",
            ratio(results.asynchronous, "chunk_us", "sdk"),
            0.5,
        ),
        Goal("CPU a chunk, sync, of the SDK's events", ratio(results.sync, "chunk_us", "sdk"), 0.9),
        Goal(
            "CPU a chunk, async, of `ChatTongyi`",
            ratio(results.asynchronous, "chunk_us", "tongyi"),
            0.12,
        ),
        Goal(
            "CPU a chunk, async, of `ChatOpenAI`",
            ratio(results.asynchronous, "chunk_us", "openai"),
            0.07,
        ),
        Goal("first chunk, async, of the SDK's", ratio(results.first_chunk, "async_ms", "sdk"), 1.3),
        Goal("first chunk, sync, of the SDK's", ratio(results.first_chunk, "sync_ms", "sdk"), 1.3),
        Goal("`invoke`, of the SDK's stream", ratio(results.calls, "invoke_us", "sdk"), 1.3),
        Goal("`ainvoke`, of the SDK's stream", ratio(results.calls, "ainvoke_us", "sdk"), 1.3),
        Goal("1,000 streams, wall, of the SDK's", ratio(concurrent, "wall_s", "sdk"), 0.4),
        Goal(
            "1,000 streams, first chunk p99, of the SDK's",
            ratio(concurrent, "first_p99_s", "sdk"),
            0.05,
        ),
        Goal(
            "1,000 streams, CPU a chunk, of 200",
            concurrent["ours"]["chunk_us"] / concurrent_200["ours"]["chunk_us"],
            1.2,
        ),
        Goal(
            "1,000 streams, peak memory, of LangChain's own",
            ratio(concurrent, "peak_mb", "baseline"),
            1.15,
        ),
        Goal(
            "200 streams paced like the service, wall, of the ideal",
            results.service_pace["ours"]["wall_s"] / (39 * 0.05),
            1.15,
        ),
        Goal(
            "`abatch` of 1,000, CPU a call, of 100",
            calls["ours"]["abatch_us"] / hundred_calls["ours"]["abatch_us"],
            1.1,
        ),
        Goal(
            "growth of the cost a chunk, of LangChain's own",
            cost_growth["ours"] / cost_growth["baseline"],
            1.1,
        ),
        Goal("import, of langchain-core's", ours / core, 1.1),
        Goal("one of 1,000 models, of 100 µs", results.model_creation["model_us"] / 100, 1.0),
        Goal("one of 1,000 models, of 5 kB", results.model_creation["model_bytes"] / 5000, 1.0),
    ]


def get_label(name: str) -> str:
    """Return how a contender is called."""
    return CONTENDERS[name][0]
