"""What `speed` has found, as the section of the report and as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from speed import STREAMS, evaluate_goals, get_label, run_benchmarks

if TYPE_CHECKING:
    from harness import Metrics
    from speed import SpeedResults, Table

PLOT = Path(__file__).with_name("speed.svg")
_SECTION_TEMPLATE = """\
## Speed

Frames of 270 bytes, a token each, from a server that has them ready; client and server are processes of
their own, each on a core of its own where there are two; medians of several turns, in each of which all
take part (`speed.py`).

![CPU time of a streamed chunk, and how long the last of 1,000 streams waits for its first]({plot})

### Goals

{goals}

### CPU time of a chunk

Streams of 200 frames, not paced, one after the other; µs.

{chunk}

### Time to the first chunk

Milliseconds, from the call on, with an open connection.

{first}

### CPU time of a call

Answers of 20 frames; µs. Of the SDK: `completions.create(…, stream=True)`, read to its end.

{calls}

`abatch` and `batch` of calls that each take 20 ms to answer; from memory they take no time, and show
how LangChain's part grows with their number.

{batches}

### Many streams at once

{streams:,} streams of 200 frames, one every 5 ms, which ideally takes 1 s. The SDK has a pool of 100
connections. Memory is what the peak grows by.

{concurrent}

The same with 200 streams:

{concurrent_200}

200 streams paced like the service, 40 frames, one every 50 ms, ideally 1.95 s:

{service_pace}

The same, each stream in a thread of its own. `failed` are those that ended with an error: httpx may
close a connection that another thread is just taking (encode/httpcore#1110).

{threads}

`BailianAppChatModel` by number of streams and pace, on an event loop:

{by_stream_count}

### Long streams, and frames that repeat

CPU µs a chunk, async.

{long_streams}

### Beginning

Importing langchain-core's chat model and retriever takes {core:.0f} ms of CPU time, with this package
{ours:.0f} ms; dashscope is {dashscope} by it. One of 1,000 models takes {model_us:.0f} µs and
{model_bytes:,.0f} bytes."""


_SUMMARY_TEMPLATE = """\
![CPU time of a streamed chunk, and how long 1,000 streams wait for the first](benchmarks/{plot})

CPU time of a streamed chunk: {asynchronous:.2f} of what the SDK's bare events cost on event loops,
{sync:.2f} in threads. On event loops `ChatOpenAI` takes {openai:.1f} times as much as this package,
`ChatTongyi` {tongyi:.1f} times. 1,000 streams at once, a frame every 5 ms, take {wall:.1f} s; with the
SDK and its pool of 100 connections {sdk_wall:.1f} s. [All measurements](benchmarks/RESULTS.md), by
`make bench`, tell also which goals were missed."""


class SpeedReport(NamedTuple):
    """What is told of the measurements."""

    section: str
    """For the results."""

    summary: str
    """For the README."""


def measure() -> SpeedReport:
    """Measure, draw the plot, and tell what was found."""
    results = run_benchmarks()
    _draw_plot(results)
    return SpeedReport(_format_section(results), _format_summary(results))


def _format_summary(results: SpeedResults) -> str:
    chunk_us = _get_chunk_us(results.asynchronous)
    return _SUMMARY_TEMPLATE.format(
        plot=PLOT.name,
        asynchronous=chunk_us["ours"] / chunk_us["sdk"],
        sync=results.sync["ours"]["chunk_us"] / results.sync["sdk"]["chunk_us"],
        openai=chunk_us["openai"] / chunk_us["ours"],
        tongyi=chunk_us["tongyi"] / chunk_us["ours"],
        wall=results.concurrent["ours"]["wall_s"],
        sdk_wall=results.concurrent["sdk"]["wall_s"],
    )


def _format_section(results: SpeedResults) -> str:
    return _SECTION_TEMPLATE.format(
        plot=PLOT.name,
        streams=STREAMS,
        goals=_format_goals(results),
        chunk=_format_chunk_costs(results),
        first=_format_table(results.first_chunk, {"sync_ms": "sync", "async_ms": "async"}, ".2f"),
        calls=_format_table(
            results.calls, {"invoke_us": "`invoke`", "ainvoke_us": "`ainvoke`"}, ",.0f"
        ),
        batches=_format_rows(
            {
                f"{n:,} calls, {get_label(name)}": metrics
                for n, table in results.batches.items()
                for name, metrics in table.items()
            },
            {
                "abatch_us": "`abatch`, CPU µs a call",
                "abatch_s": "`abatch`, s",
                "batch_us": "`batch`, CPU µs a call",
                "batch_s": "`batch`, s",
            },
            ",.2f",
        ),
        concurrent=_format_concurrent(results.concurrent),
        concurrent_200=_format_concurrent(results.concurrent_200),
        service_pace=_format_concurrent(results.service_pace),
        threads=_format_rows(
            {
                f"{n:,} threads, {get_label(name)}": metrics
                for n, table in results.threads.items()
                for name, metrics in table.items()
            },
            _THREAD_COLUMNS,
            ".2f",
        ),
        by_stream_count=_format_stream_counts(results),
        long_streams=_format_long_streams(results),
        core=results.imports["core"]["cpu_ms"],
        ours=results.imports["ours"]["cpu_ms"],
        dashscope="imported" if results.imports["ours"]["dashscope"] else "not imported",
        model_us=results.model_creation["model_us"],
        model_bytes=results.model_creation["model_bytes"],
    )


def _format_rows(rows: dict[str, Metrics], columns: dict[str, str], number_format: str) -> str:
    lines = [f"| | {' | '.join(columns.values())} |", f"|---|{'---:|' * len(columns)}"]
    for name, metrics in rows.items():
        cells = (
            format(metrics[column], number_format) if column in metrics else "–" for column in columns
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _format_table(table: Table, columns: dict[str, str], number_format: str) -> str:
    return _format_rows(
        {get_label(name): metrics for name, metrics in table.items()}, columns, number_format
    )


def _format_goals(results: SpeedResults) -> str:
    lines = ["| | measured | at most | |", "|---|---:|---:|---|"]
    lines += [
        f"| {goal.name} | {goal.measured:.2f} | {goal.limit:g} | {goal.verdict} |"
        for goal in evaluate_goals(results)
    ]
    return "\n".join(lines)


def _format_chunk_costs(results: SpeedResults) -> str:
    table = {
        name: {
            "async": metrics["chunk_us"],
            "of_sdk": metrics["chunk_us"] / results.asynchronous["sdk"]["chunk_us"],
            **({"sync": results.sync[name]["chunk_us"]} if name in results.sync else {}),
        }
        for name, metrics in results.asynchronous.items()
    }
    return _format_table(
        table, {"sync": "sync", "async": "async", "of_sdk": "async, of the SDK's"}, ".2f"
    )


_CONCURRENT_COLUMNS = {
    "wall_s": "wall, s",
    "first_p50_s": "first chunk p50, s",
    "first_p99_s": "p99, s",
    "lag_p99_s": "lag of the loop p99, s",
    "chunk_us": "CPU µs a chunk",
    "peak_mb": "memory, MB",
}


_THREAD_COLUMNS = {
    name: _CONCURRENT_COLUMNS[name] for name in ("wall_s", "first_p50_s", "first_p99_s", "chunk_us")
} | {"failed": "failed"}


def _format_concurrent(table: Table) -> str:
    return _format_table(table, _CONCURRENT_COLUMNS | {"failed": "failed"}, ".2f")


def _format_stream_counts(results: SpeedResults) -> str:
    rows = {
        f"{reply_name.replace('x', ' frames, ')} ms, {n:,} streams": metrics
        for reply_name, by_count in results.by_stream_count.items()
        for n, metrics in by_count.items()
    }
    return _format_rows(rows, _CONCURRENT_COLUMNS, ".2f")


def _format_long_streams(results: SpeedResults) -> str:
    rows = {f"{n:,} frames": _get_chunk_us(table) for n, table in results.long_streams.items()}
    rows |= {
        f"200 frames, {_REPEATED_LABELS[kind]}": _get_chunk_us(table)
        for kind, table in results.repeated_fields.items()
    }
    columns = {name: get_label(name) for name in ("ours", "baseline", "sdk")}
    return _format_rows(rows, columns, ",.1f")


_REPEATED_LABELS = {
    "cumulative": "each the whole text so far",
    "references": "each with the same 100 kB of `doc_references`",
    "steps": "each with the same 100 kB of `thoughts`",
}


def _get_chunk_us(table: Table) -> Metrics:
    return {name: metrics["chunk_us"] for name, metrics in table.items()}


def _draw_plot(results: SpeedResults) -> None:
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "speed"
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
    _draw_bars(left, "CPU time of a streamed chunk, async (µs)", _get_chunk_us(results.asynchronous))
    _draw_bars(
        right,
        f"{STREAMS:,} streams: the slowest 1 % wait so long for the first chunk (s)",
        {name: metrics["first_p99_s"] for name, metrics in results.concurrent.items()},
    )
    figure.savefig(PLOT, metadata={"Date": None})


def _draw_bars(axes: object, title: str, metrics: Metrics) -> None:
    names = sorted(metrics, key=lambda name: -metrics[name])
    labels = [get_label(name).replace("`", "") for name in names]
    colours = ["#d2691e" if name == "ours" else "#8fa3b5" for name in names]
    bars = axes.barh(labels, [metrics[name] for name in names], color=colours)
    axes.bar_label(bars, fmt="%.3g", padding=3, fontsize=8)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
