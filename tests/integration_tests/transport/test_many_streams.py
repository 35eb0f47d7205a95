"""Five hundred streams at once, some of them broken: each ends in its own answer or its own error."""

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

STREAMS, ROUNDS = 500, 2
# What the later rounds may leave behind in all: caches of the interpreter, no answers.
LEFT_BEHIND = 100_000  # bytes


def answer(turn: Turn) -> Reply:
    pieces = [f"第{turn.prompt}号", "的", "回答", "。"]
    return Reply("".join(pieces), pieces=pieces)


async def ask(model: BailianAppChatModel, number: int) -> str:
    text, outcome = "", "answered"
    try:
        async for chunk in model.astream(str(number)):
            text += chunk.text
    except BailianError as error:
        outcome = type(error).__name__
    whole = f"第{number}号的回答。"
    assert text == whole if outcome == "answered" else whole.startswith(text)
    return outcome


async def all_at_once(model: BailianAppChatModel) -> Counter[str]:
    return Counter(await asyncio.gather(*(ask(model, number) for number in range(STREAMS))))


@pytest.mark.no_cover  # measuring lines would take longer than the streams
@pytest.mark.parametrize("stalls", [False, True], ids=["without stalls", "stalls"])
def test_every_stream_ends_in_its_own_way_and_memory_returns(
    make_model: Callable[..., BailianAppChatModel], *, stalls: bool
) -> None:
    shares = {name: 0.01 for name in FAULTS if name.startswith("stall") == stalls}
    app = App("busy", answer=answer, faults=Faults(shares))
    # A stall costs its whole timeout, which must yet be longer than a healthy stream may wait here.
    timeout = 15 if stalls else 120
    outcomes: Counter[str] = Counter()
    sizes = []
    tracemalloc.start()
    for _ in range(1 if stalls else ROUNDS):
        # An emulator for each round: what it has not tidied up yet must not be counted.
        with BailianEmulator(seed_apps=False) as own:
            model = make_model(own.add_app(app), base_url=own.base_url, timeout=timeout)
            outcomes += asyncio.run(all_at_once(model))
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    broken = 1 - outcomes["answered"] / outcomes.total()

    assert outcomes.total() == STREAMS * len(sizes)
    # Two of the faults do no harm: a finish reason of its own, and compression.
    assert abs(broken - 0.01 * len(set(shares) - {"finish-length", "gzip"})) < 0.02
    if stalls:
        assert set(outcomes) == {"answered", "BailianTimeoutError"}
    else:
        kinds = ("Stream", "Server", "Connection")
        assert set(outcomes) == {"answered", *(f"Bailian{kind}Error" for kind in kinds)}
        assert sizes[-1] - sizes[0] < LEFT_BEHIND
