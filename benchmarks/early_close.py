"""How long documents take, against the answer that nobody reads.

The emulator paces its frames like the service; its record of frames written shows where it stopped.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

import dashscope

from langchain_bailian_app import BailianRetriever
from langchain_bailian_app.emulator import App, BailianEmulator, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

PACE = 0.05  # seconds a frame
FRAMES = 100
REPEATS = 3
QUERY = "什么是滞报金？"


class Measured(NamedTuple):
    """What one way of asking took."""

    way: str
    seconds: float
    frames: int


def measured(bailian: BailianEmulator, way: str, ask: Callable[[], object]) -> Measured:
    """Ask several times, return the median."""
    seconds, frames = [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - start)
        bailian.requests[-1].wait()
        frames.append(bailian.requests[-1].frames_sent)
    return Measured(way, statistics.median(seconds), max(frames))


def answer_of_100_frames(bailian: BailianEmulator) -> str:
    """Add an application that searches, and answers as slowly as the service."""
    # The first frame has the search, the last one only the end.
    pieces = ["按日计收<ref>[1]</ref>。", *(f"第{n}句。" for n in range(2, FRAMES - 1))]
    app = App(
        "slow",
        knowledge_bases=bailian.apps[bailian.app_id].knowledge_bases,
        answer=lambda _: Reply("".join(pieces), pieces=pieces),
        pace=PACE,
    )
    return bailian.add_app(app)


def measure() -> str:
    """Return the section of the report."""
    with BailianEmulator() as bailian:
        app_id = answer_of_100_frames(bailian)
        fields = {"base_url": bailian.base_url, "api_key": bailian.api_key}
        retriever = BailianRetriever(app_id=app_id, **fields)
        sdk = dashscope.Client(**fields)
        ways = [
            measured(
                bailian,
                "`dashscope.Client`, the whole answer with its thoughts",
                lambda: list(
                    sdk.apps.completions.create(
                        app_id=app_id, prompt=QUERY, has_thoughts=True, stream=True
                    )
                ),
            ),
            measured(
                bailian,
                "`BailianRetriever(…, wait_for_answer=True)`",
                lambda: retriever.invoke(QUERY, wait_for_answer=True),
            ),
            measured(bailian, "`BailianRetriever(app_id=…)`", lambda: retriever.invoke(QUERY)),
            measured(
                bailian,
                "`BailianRetriever(pipeline_id=…)`",
                lambda: BailianRetriever(pipeline_id="customs001", **fields).invoke(QUERY),
            ),
        ]
    return report(ways)


def report(ways: list[Measured]) -> str:
    """Return the ways as a table."""
    whole = ways[0].seconds
    lines = ["| | seconds | of the first | frames written |", "|---|---:|---:|---:|"]
    lines += [
        f"| {way} | {seconds:.3f} | {seconds / whole:.2%} | {frames} |" for way, seconds, frames in ways
    ]
    return "\n".join(
        [
            "## Time to documents",
            "",
            f"Documents from an application whose answer takes {FRAMES} frames, one every",
            f"{PACE * 1000:.0f} ms; medians of {REPEATS} calls (`early_close.py`). A direct search",
            "has no answer to write.",
            "",
            *lines,
        ]
    )
