"""Five hundred concurrent streams, some broken: each must end with its own answer or its own error."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from langchain_bailian_app.emulator import FAULTS, App, BailianEmulator, Faults, Reply
from langchain_bailian_app.errors import BailianError

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import Turn

STREAMS, ROUNDS = 500, 3
# Limit for all later rounds together: it allows for caches of the interpreter, not for answers.
MAX_LEAKED_BYTES = 100_000  # bytes


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


async def run_all_streams(model: BailianAppChatModel) -> Counter[str]:
    return Counter(await asyncio.gather(*(stream_answer(model, number) for number in range(STREAMS))))


@pytest.mark.slow
@pytest.mark.no_cover  # coverage would take longer than the streams
@pytest.mark.parametrize("stalls", [False, True], ids=["without stalls", "stalls"])
def test_every_stream_ends_with_its_own_outcome_and_memory_is_freed(
    make_model: Callable[..., BailianAppChatModel], *, stalls: bool
) -> None:
    fault_rates = {name: 0.01 for name in FAULTS if name.startswith("stall") == stalls}
    app = App("busy", answer=answer, faults=Faults(fault_rates))
    # A stall lasts the entire timeout, which must exceed the longest wait of a healthy stream.
    timeout = 15 if stalls else 120
    outcomes: Counter[str] = Counter()
    sizes = []
    tracemalloc.start()
    for _ in range(1 if stalls else ROUNDS):
        # A new emulator for each round, so that objects it has not released yet are not counted.
        with BailianEmulator(seed_apps=False) as emulator:
            model = make_model(emulator.add_app(app), base_url=emulator.base_url, timeout=timeout)
            outcomes += asyncio.run(run_all_streams(model))
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    failed_share = 1 - outcomes["answered"] / outcomes.total()

    assert outcomes.total() == STREAMS * len(sizes)
    # Two of the faults are harmless: an unusual finish reason, and compression.
    assert abs(failed_share - 0.01 * len(set(fault_rates) - {"finish-length", "gzip"})) < 0.02
    if stalls:
        assert set(outcomes) == {"answered", "BailianTimeoutError"}
    else:
        kinds = ("Stream", "Server", "Connection")
        assert set(outcomes) == {"answered", *(f"Bailian{kind}Error" for kind in kinds)}
        # The first round is a warm-up. It reuses memory from before the tracing, which is not counted.
        assert sizes[-1] - sizes[1] < MAX_LEAKED_BYTES
