"""Benchmark of the time until documents arrive, compared with waiting for an answer that is not used.

The emulator sends frames at the pace of the service. The number of frames that it wrote shows where a
stream was stopped.
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

PACE = 0.05  # seconds per frame
FRAMES = 100
REPEATS = 3
QUERY = "什么是滞报金？"


class Measurement(NamedTuple):
    """Time and frames of one kind of call."""

    label: str
    seconds: float
    frames: int


def measure_calls(bailian: BailianEmulator, label: str, call: Callable[[], object]) -> Measurement:
    """Call several times; return the median time and the highest number of frames."""
    seconds, frames = [], []
    for _ in range(REPEATS):
        started_at = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started_at)
        bailian.requests[-1].wait()
        frames.append(bailian.requests[-1].frames_sent)
    return Measurement(label, statistics.median(seconds), max(frames))


def add_slow_app(bailian: BailianEmulator) -> str:
    """Add an application that searches, and answers at the pace of the service."""
    # The first frame contains the search, the last one only the finish reason.
    pieces = ["按日计收<ref>[1]</ref>。", *(f"第{n}句。" for n in range(2, FRAMES - 1))]
    app = App(
        "slow",
        knowledge_bases=bailian.apps[bailian.app_id].knowledge_bases,
        answer=lambda _: Reply("".join(pieces), pieces=pieces),
        pace=PACE,
    )
    return bailian.add_app(app)


def measure() -> str:
    """Measure, and return the section of the report."""
    with BailianEmulator() as bailian:
        app_id = add_slow_app(bailian)
        fields = {"base_url": bailian.base_url, "api_key": bailian.api_key}
        retriever = BailianRetriever(app_id=app_id, **fields)
        sdk = dashscope.Client(**fields)
        measurements = [
            measure_calls(
                bailian,
                "`dashscope.Client`, complete answer with `has_thoughts`",
                lambda: list(
                    sdk.apps.completions.create(
                        app_id=app_id, prompt=QUERY, has_thoughts=True, stream=True
                    )
                ),
            ),
            measure_calls(
                bailian,
                "`BailianRetriever(…, wait_for_answer=True)`",
                lambda: retriever.invoke(QUERY, wait_for_answer=True),
            ),
            measure_calls(bailian, "`BailianRetriever(app_id=…)`", lambda: retriever.invoke(QUERY)),
            measure_calls(
                bailian,
                "`BailianRetriever(pipeline_id=…)`",
                lambda: BailianRetriever(pipeline_id="customs001", **fields).invoke(QUERY),
            ),
        ]
    return format_section(measurements)


def format_section(measurements: list[Measurement]) -> str:
    """Return the measurements as a table."""
    full_answer_seconds = measurements[0].seconds
    lines = ["| | seconds | relative to the first | frames written |", "|---|---:|---:|---:|"]
    lines += [
        f"| {label} | {seconds:.3f} | {seconds / full_answer_seconds:.2%} | {frames} |"
        for label, seconds, frames in measurements
    ]
    return "\n".join(
        [
            "## Time to documents",
            "",
            f"Documents from an application whose answer has {FRAMES} frames, one every",
            f"{PACE * 1000:.0f} ms; medians of {REPEATS} calls (`early_close.py`). A direct search",
            "generates no answer.",
            "",
            *lines,
        ]
    )
