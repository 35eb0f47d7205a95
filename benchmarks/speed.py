"""What a stream costs, one and a thousand at once, beside the SDK, its neighbours and LangChain itself.

Client and server are processes of their own (`worker.py`, `server.py`). What is compared takes its
turns in one run; figures are medians. CPU is that of the client, user and system.
"""

from __future__ import annotations

from typing import NamedTuple

from contenders import SUBJECTS
from harness import Figures, Lab, medians, run

REPEATS = 5
STREAMS = 1000
Table = dict[str, Figures]


class Goal(NamedTuple):
    """A ratio that is to be reached."""

    what: str
    measured: float
    most: float

    @property
    def verdict(self) -> str:
        """Say whether it is."""
        if self.measured <= self.most:
            return "met"
        return "missed by less than a tenth" if self.measured <= self.most * 1.1 else "missed"


class Measured(NamedTuple):
    """All that was found."""

    sync: Table
    asynchronous: Table
    first: Table
    calls: Table
    batches: dict[int, Table]
    crowd: Table
    crowd_of_200: Table
    like_the_service: Table
    in_threads: dict[int, Table]
    sizes: dict[str, dict[int, Figures]]
    growth: dict[int, Table]
    repeated: dict[str, Table]
    imports: Table
    models: Figures


def measured() -> Measured:
    """Measure; takes some minutes."""
    both = ("httpx", "sdk", "floor", "ours", "tongyi", "openai", "qwen")
    with Lab() as lab:
        return Measured(
            sync=lab.interleaved(both, "cpu", "200x0", 10, repeats=REPEATS),
            asynchronous=lab.interleaved(("aiohttp", *both), "acpu", "200x0", 10, repeats=REPEATS),
            first=lab.interleaved(("httpx", "sdk", "ours", "openai"), "first", "3x5", 30, repeats=3),
            calls={
                "ours": lab.interleaved(["ours"], "calls", "20x0", 100, repeats=3)["ours"],
                "sdk": _both_calls(lab, "sdk"),
            },
            batches={
                n: lab.interleaved(("floor", "ours"), "batches", "20x0-turn", n, repeats=3, anew=True)
                for n in (100, 1000)
            },
            crowd=lab.interleaved(
                ("aiohttp", "floor", "sdk", "ours"),
                "concurrent",
                "200x5",
                STREAMS,
                repeats=2,
                anew=True,
            ),
            crowd_of_200=lab.interleaved(
                ("aiohttp", "floor", "sdk", "ours", "tongyi", "openai", "qwen"),
                "concurrent",
                "200x5",
                200,
                repeats=1,
                anew=True,
            ),
            like_the_service=lab.interleaved(
                ("aiohttp", "sdk", "ours"), "concurrent", "40x50", 200, repeats=2, anew=True
            ),
            in_threads={
                n: lab.interleaved(names, "threads", "40x50", n, repeats=2, anew=True)
                for n, names in ((200, ("httpx", "sdk", "ours")), (STREAMS, ("httpx", "ours")))
            },
            sizes={
                script: {n: lab.ask_anew("ours", "concurrent", script, n) for n in (1, 100, 1000)}
                for script in ("200x0", "200x5", "40x50")
            },
            growth={
                n: lab.interleaved(("floor", "ours"), "acpu", f"{n}x0", 20_000 // n, repeats=3)
                for n in (200, 2000, 20_000)
            },
            repeated={
                kind: lab.interleaved(("sdk", "ours"), "acpu", f"200x0-{kind}", 2, repeats=3)
                for kind in ("cumulative", "references", "steps")
            },
            imports=_imports(),
            models=run("startup", "models"),
        )


def _imports() -> Table:
    """Return what importing takes."""
    who = ("core", "ours")
    rounds = [{one: run("startup", one) for one in who} for _ in range(REPEATS)]
    return {one: medians([figures[one] for figures in rounds]) for one in who}


def _both_calls(lab: Lab, name: str) -> Figures:
    """Return what the SDK pays for a stream read to its end."""
    rounds = [
        {
            "invoke_us": lab.ask(name, "cpu", "20x0", 100)["call_us"],
            "ainvoke_us": lab.ask(name, "acpu", "20x0", 100)["call_us"],
        }
        for _ in range(3)
    ]
    return medians(rounds)


def goals(found: Measured) -> list[Goal]:
    """Return what was to be reached, and what was."""

    def ratio(table: Table, figure: str, other: str) -> float:
        return table["ours"][figure] / table[other][figure]

    few_calls, calls = found.batches[100], found.batches[1000]
    core, ours = found.imports["core"]["cpu_ms"], found.imports["ours"]["cpu_ms"]
    grown = {
        who: found.growth[20_000][who]["us"] / found.growth[2000][who]["us"]
        for who in ("ours", "floor")
    }
    crowd, few = found.crowd, found.crowd_of_200
    return [
        Goal("CPU a chunk, async, of the SDK's events", ratio(found.asynchronous, "us", "sdk"), 0.5),
        Goal("CPU a chunk, sync, of the SDK's events", ratio(found.sync, "us", "sdk"), 0.9),
        Goal("CPU a chunk, async, of `ChatTongyi`", ratio(found.asynchronous, "us", "tongyi"), 0.12),
        Goal("CPU a chunk, async, of `ChatOpenAI`", ratio(found.asynchronous, "us", "openai"), 0.07),
        Goal("first chunk, async, of the SDK's", ratio(found.first, "async_ms", "sdk"), 1.3),
        Goal("first chunk, sync, of the SDK's", ratio(found.first, "sync_ms", "sdk"), 1.3),
        Goal("`invoke`, of the SDK's stream", ratio(found.calls, "invoke_us", "sdk"), 1.3),
        Goal("`ainvoke`, of the SDK's stream", ratio(found.calls, "ainvoke_us", "sdk"), 1.3),
        Goal("1,000 streams, wall, of the SDK's", ratio(crowd, "wall_s", "sdk"), 0.4),
        Goal("1,000 streams, first chunk p99, of the SDK's", ratio(crowd, "first_p99_s", "sdk"), 0.05),
        Goal("1,000 streams, CPU a chunk, of 200", crowd["ours"]["us"] / few["ours"]["us"], 1.2),
        Goal("1,000 streams, peak memory, of LangChain's own", ratio(crowd, "peak_mb", "floor"), 1.15),
        Goal(
            "200 streams paced like the service, wall, of the ideal",
            found.like_the_service["ours"]["wall_s"] / (39 * 0.05),
            1.15,
        ),
        Goal(
            "`abatch` of 1,000, CPU a call, of 100",
            calls["ours"]["abatch_us"] / few_calls["ours"]["abatch_us"],
            1.1,
        ),
        Goal("growth of the cost a chunk, of LangChain's own", grown["ours"] / grown["floor"], 1.1),
        Goal("import, of langchain-core's", ours / core, 1.1),
        Goal("one of 1,000 models, of 100 µs", found.models["us"] / 100, 1.0),
        Goal("one of 1,000 models, of 5 kB", found.models["bytes"] / 5000, 1.0),
    ]


def label(name: str) -> str:
    """Return how a subject is called."""
    return SUBJECTS[name][0]
