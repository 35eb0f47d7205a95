"""Report of the results of `speed`, as a section and a plot."""

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

The server sends prepared frames of 270 bytes with one token each. Client and server are separate
processes, on separate cores if there are at least two. Results are medians of several rounds, each of
which measures every contender once (`speed.py`).

![CPU time per streamed chunk, and time to the first chunk with 1,000 streams]({plot})

### Goals

{goals}

### CPU time per chunk

Sequential streams of 200 frames without pauses; µs.

{chunk}

### Time to the first chunk

Milliseconds from the start of the call, on an open connection.

{first}

### CPU time per call

Answers of 20 frames; µs. For the SDK: `completions.create(…, stream=True)`, read to its end.

{calls}

`abatch` and `batch` of calls that are answered after 20 ms. The calls from memory are answered at once,
and show how LangChain's share grows with the number of calls.

{batches}

### Many streams at once

{streams:,} streams of 200 frames, one every 5 ms; ideally 1 s. The SDK has a pool of 100 connections.
Memory is the growth of the peak.

{concurrent}

The same with 200 streams:

{concurrent_200}

200 streams at the pace of the service, 40 frames, one every 50 ms; ideally 1.95 s:

{service_pace}

The same, with each stream in a separate thread. `failed` counts streams that ended with an error: httpx
may close a connection that another thread is acquiring (encode/httpcore#1110).

{threads}

`BailianAppChatModel` by number of streams and pace, on an event loop:

{by_stream_count}

### Long streams, and frames with repeated content

CPU time per chunk, async; µs.

{long_streams}

### Startup

Importing langchain-core's chat model and retriever takes {core:.0f} ms of CPU time, and {ours:.0f} ms
together with this package; dashscope is {dashscope}. Creating one of 1,000 models takes
{model_us:.0f} µs and {model_bytes:,.0f} bytes."""


_SUMMARY_TEMPLATE = """\
![CPU time per streamed chunk, and time to the first chunk with 1,000 streams](benchmarks/{plot})

A streamed chunk takes {asynchronous:.2f} times the CPU time of the SDK's bare events on event loops,
and {sync:.2f} times in threads. On event loops, `ChatOpenAI` takes {openai:.1f} times the CPU time of
this package, and `ChatTongyi` {tongyi:.1f} times. 1,000 concurrent streams with a frame every 5 ms
take {wall:.1f} s, compared with {sdk_wall:.1f} s for the SDK and its pool of 100 connections.
[All measurements](benchmarks/RESULTS.md), including missed goals, are made by `make bench`."""


class SpeedReport(NamedTuple):
    """Text about the measurements, as Markdown."""

    section: str
    """Section for RESULTS.md."""

    summary: str
    """Summary for README.md."""


def measure() -> SpeedReport:
    """Measure, draw the plot, and return the report."""
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
                "abatch_us": "`abatch`, CPU µs per call",
                "abatch_s": "`abatch`, s",
                "batch_us": "`batch`, CPU µs per call",
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
    return _format_table(table, {"sync": "sync", "async": "async", "of_sdk": "async, vs. SDK"}, ".2f")


_CONCURRENT_COLUMNS = {
    "wall_s": "wall time, s",
    "first_p50_s": "first chunk p50, s",
    "first_p99_s": "p99, s",
    "lag_p99_s": "event loop lag p99, s",
    "chunk_us": "CPU µs per chunk",
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
    "cumulative": "each with the complete text up to it",
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
    _draw_bars(left, "CPU time per streamed chunk, async (µs)", _get_chunk_us(results.asynchronous))
    _draw_bars(
        right,
        f"{STREAMS:,} streams: time to the first chunk, 99th percentile (s)",
        {name: metrics["first_p99_s"] for name, metrics in results.concurrent.items()},
    )
    figure.savefig(PLOT, metadata={"Date": None})


def _draw_bars(axes: object, title: str, metrics: Metrics) -> None:
    names = sorted(metrics, key=lambda name: -metrics[name])
    labels = [get_label(name).replace("`", "") for name in names]
    colors = ["#d2691e" if name == "ours" else "#8fa3b5" for name in names]
    bars = axes.barh(labels, [metrics[name] for name in names], color=colors)
    axes.bar_label(bars, fmt="%.3g", padding=3, fontsize=8)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
