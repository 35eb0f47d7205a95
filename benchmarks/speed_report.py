"""What `speed` has found, as the section of the report and as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from speed import STREAMS, goals, label, measured

if TYPE_CHECKING:
    from harness import Figures
    from speed import Measured, Table

PLOT = Path(__file__).with_name("speed.svg")
_SECTION = """\
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

{crowd}

The same with 200 streams:

{crowd_of_200}

200 streams paced like the service, 40 frames, one every 50 ms, ideally 1.95 s:

{like_the_service}

The same, each stream in a thread of its own. `failed` are those that ended with an error: httpx may
close a connection that another thread is just taking (encode/httpcore#1110).

{in_threads}

`BailianAppChatModel` by number of streams and pace, on an event loop:

{sizes}

### Long streams, and frames that repeat

CPU µs a chunk, async.

{growth}

### Beginning

Importing langchain-core's chat model and retriever takes {core:.0f} ms of CPU time, with this package
{ours:.0f} ms; dashscope is {dashscope} by it. One of 1,000 models takes {model_us:.0f} µs and
{model_bytes:,.0f} bytes."""


_SUMMARY = """\
![CPU time of a streamed chunk, and how long 1,000 streams wait for the first](benchmarks/{plot})

CPU time of a streamed chunk: {asynchronous:.2f} of what the SDK's bare events cost on event loops,
{sync:.2f} in threads. On event loops `ChatOpenAI` takes {openai:.1f} times as much as this package,
`ChatTongyi` {tongyi:.1f} times. 1,000 streams at once, a frame every 5 ms, take {wall:.1f} s; with the
SDK and its pool of 100 connections {sdk_wall:.1f} s. [All measurements](benchmarks/RESULTS.md), by
`make bench`, tell also which goals were missed."""


class Report(NamedTuple):
    """What is told of the measurements."""

    section: str
    """For the results."""

    summary: str
    """For the README."""


def measure() -> Report:
    """Measure, draw the plot, and tell what was found."""
    found = measured()
    _draw(found)
    return Report(_section(found), _summary(found))


def _summary(found: Measured) -> str:
    chunk = _us(found.asynchronous)
    return _SUMMARY.format(
        plot=PLOT.name,
        asynchronous=chunk["ours"] / chunk["sdk"],
        sync=found.sync["ours"]["us"] / found.sync["sdk"]["us"],
        openai=chunk["openai"] / chunk["ours"],
        tongyi=chunk["tongyi"] / chunk["ours"],
        wall=found.crowd["ours"]["wall_s"],
        sdk_wall=found.crowd["sdk"]["wall_s"],
    )


def _section(found: Measured) -> str:
    return _SECTION.format(
        plot=PLOT.name,
        streams=STREAMS,
        goals=_goals(found),
        chunk=_chunk(found),
        first=_table(found.first, {"sync_ms": "sync", "async_ms": "async"}, ".2f"),
        calls=_table(found.calls, {"invoke_us": "`invoke`", "ainvoke_us": "`ainvoke`"}, ",.0f"),
        batches=_rows(
            {
                f"{n:,} calls, {label(name)}": figures
                for n, table in found.batches.items()
                for name, figures in table.items()
            },
            {
                "abatch_us": "`abatch`, CPU µs a call",
                "abatch_s": "`abatch`, s",
                "batch_us": "`batch`, CPU µs a call",
                "batch_s": "`batch`, s",
            },
            ",.2f",
        ),
        crowd=_crowd(found.crowd),
        crowd_of_200=_crowd(found.crowd_of_200),
        like_the_service=_crowd(found.like_the_service),
        in_threads=_rows(
            {
                f"{n:,} threads, {label(name)}": figures
                for n, table in found.in_threads.items()
                for name, figures in table.items()
            },
            _IN_THREADS,
            ".2f",
        ),
        sizes=_sizes(found),
        growth=_growth(found),
        core=found.imports["core"]["cpu_ms"],
        ours=found.imports["ours"]["cpu_ms"],
        dashscope="imported" if found.imports["ours"]["dashscope"] else "not imported",
        model_us=found.models["us"],
        model_bytes=found.models["bytes"],
    )


def _rows(rows: dict[str, Figures], columns: dict[str, str], form: str) -> str:
    lines = [f"| | {' | '.join(columns.values())} |", f"|---|{'---:|' * len(columns)}"]
    for name, figures in rows.items():
        cells = (format(figures[column], form) if column in figures else "–" for column in columns)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _table(table: Table, columns: dict[str, str], form: str) -> str:
    return _rows({label(name): figures for name, figures in table.items()}, columns, form)


def _goals(found: Measured) -> str:
    lines = ["| | measured | at most | |", "|---|---:|---:|---|"]
    lines += [
        f"| {goal.what} | {goal.measured:.2f} | {goal.most:g} | {goal.verdict} |"
        for goal in goals(found)
    ]
    return "\n".join(lines)


def _chunk(found: Measured) -> str:
    table = {
        name: {
            "async": figures["us"],
            "of_sdk": figures["us"] / found.asynchronous["sdk"]["us"],
            **({"sync": found.sync[name]["us"]} if name in found.sync else {}),
        }
        for name, figures in found.asynchronous.items()
    }
    return _table(table, {"sync": "sync", "async": "async", "of_sdk": "async, of the SDK's"}, ".2f")


_CROWD = {
    "wall_s": "wall, s",
    "first_p50_s": "first chunk p50, s",
    "first_p99_s": "p99, s",
    "lag_p99_s": "lag of the loop p99, s",
    "us": "CPU µs a chunk",
    "peak_mb": "memory, MB",
}


_IN_THREADS = {name: _CROWD[name] for name in ("wall_s", "first_p50_s", "first_p99_s", "us")} | {
    "failed": "failed"
}


def _crowd(table: Table) -> str:
    return _table(table, _CROWD | {"failed": "failed"}, ".2f")


def _sizes(found: Measured) -> str:
    rows = {
        f"{script.replace('x', ' frames, ')} ms, {n:,} streams": figures
        for script, by_number in found.sizes.items()
        for n, figures in by_number.items()
    }
    return _rows(rows, _CROWD, ".2f")


def _growth(found: Measured) -> str:
    rows = {f"{n:,} frames": _us(table) for n, table in found.growth.items()}
    rows |= {f"200 frames, {_REPEATED[kind]}": _us(table) for kind, table in found.repeated.items()}
    columns = {name: label(name) for name in ("ours", "floor", "sdk")}
    return _rows(rows, columns, ",.1f")


_REPEATED = {
    "cumulative": "each the whole text so far",
    "references": "each with the same 100 kB of `doc_references`",
    "steps": "each with the same 100 kB of `thoughts`",
}


def _us(table: Table) -> Figures:
    return {name: figures["us"] for name, figures in table.items()}


def _draw(found: Measured) -> None:
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "speed"
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
    _bars(left, "CPU time of a streamed chunk, async (µs)", _us(found.asynchronous))
    _bars(
        right,
        f"{STREAMS:,} streams: the slowest 1 % wait so long for the first chunk (s)",
        {name: figures["first_p99_s"] for name, figures in found.crowd.items()},
    )
    figure.savefig(PLOT, metadata={"Date": None})


def _bars(axes: object, title: str, figures: Figures) -> None:
    names = sorted(figures, key=lambda name: -figures[name])
    labels = [label(name).replace("`", "") for name in names]
    colours = ["#d2691e" if name == "ours" else "#8fa3b5" for name in names]
    bars = axes.barh(labels, [figures[name] for name in names], color=colours)
    axes.bar_label(bars, fmt="%.3g", padding=3, fontsize=8)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
