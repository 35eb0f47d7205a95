"""Hundreds of concurrent streams, some broken: each must end with its own answer or its own error."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from langchain_bailian_app.emulator import FAULTS, App, BailianEmulator, Faults, Reply
from langchain_bailian_app.errors import BailianError

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import Turn

    MakeModel = Callable[..., BailianAppChatModel]

# These faults take long, use much memory, or affect the next call on the connection.
EXCLUDED_FAULTS = ("stall", "drip", "interim", "endless", "duplicate", "idle", "gzip-")
BROKEN = {name: 0.02 for name in FAULTS if not name.startswith(EXCLUDED_FAULTS)}
STALLED = {name: 0.02 for name in FAULTS if name.startswith("stall")}
HARMLESS = (None, FAULTS["finish-length"], FAULTS["gzip"])  # the answer is complete
# Per round: it allows for caches of the interpreter, not for answers.
MAX_LEAKED_BYTES = 20_000


def answer(turn: Turn) -> Reply:
    chunks = [f"第{turn.prompt}号", "的", "回答", "。"]
    return Reply("".join(chunks), pieces=chunks)


async def stream_answer(model: BailianAppChatModel, number: int) -> str:
    text, outcome = "", "answered"
    try:
        async for chunk in model.astream(str(number)):
            text += chunk.text
    except BailianError as error:
        outcome = type(error).__name__
    expected = f"第{number}号的回答。"
    assert text == expected if outcome == "answered" else expected.startswith(text)
    return outcome


async def run_streams(model: BailianAppChatModel, count: int) -> list[str]:
    return await asyncio.gather(*(stream_answer(model, number) for number in range(count)))


def run_round(
    make_model: MakeModel, shares: dict[str, float], count: int, timeout: float = 120
) -> Counter[str]:
    """Run many streams at once and return how many ended in which way.

    Each round has its own emulator, so that objects it has not released yet are not counted.
    """
    with BailianEmulator(seed_apps=False) as emulator:
        app_id = emulator.add_app(App("busy", answer=answer, faults=Faults(shares)))
        model = make_model(app_id, base_url=emulator.base_url, timeout=timeout)
        return Counter(asyncio.run(run_streams(model, count)))


def count_harmless(shares: dict[str, float], count: int) -> int:
    faults = Faults(shares)  # they are the same as those of the app
    return sum(faults.draw() in HARMLESS for _ in range(count))


@pytest.mark.slow
@pytest.mark.no_cover  # coverage would take longer than the streams
def test_every_stream_ends_with_its_own_outcome(make_model: MakeModel) -> None:
    outcomes = run_round(make_model, BROKEN, 250)

    assert outcomes["answered"] == count_harmless(BROKEN, 250)
    kinds = ("Stream", "Server", "Connection")
    assert set(outcomes) == {"answered", *(f"Bailian{kind}Error" for kind in kinds)}


@pytest.mark.slow
@pytest.mark.no_cover
def test_stalled_streams_end_with_a_timeout(make_model: MakeModel) -> None:
    started_at = time.monotonic()
    run_round(make_model, {}, 100)
    # A stall lasts the entire timeout, which must exceed the longest wait of a healthy stream.
    timeout = 1 + 2 * (time.monotonic() - started_at)
    outcomes = run_round(make_model, STALLED, 100, timeout)

    assert outcomes["answered"] == count_harmless(STALLED, 100)
    assert set(outcomes) == {"answered", "BailianTimeoutError"}


@pytest.mark.slow
@pytest.mark.no_cover
def test_the_memory_of_streams_is_freed(make_model: MakeModel) -> None:
    sizes = []
    tracemalloc.start()
    try:
        for _ in range(4):
            run_round(make_model, BROKEN, 40)
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()

    # Caches grow in some rounds, in the first one most of all. A leak grows in each of them.
    assert min(after - before for before, after in pairwise(sizes)) < MAX_LEAKED_BYTES, sizes
