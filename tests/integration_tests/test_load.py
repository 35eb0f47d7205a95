"""Five hundred streams at once, some of them broken: each ends in its own answer or its own error."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING

from langchain_bailian_app.emulator import FAULTS, App, Faults
from langchain_bailian_app.errors import BailianError

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator, Turn

STREAMS, ROUNDS = 500, 5
# What five rounds may leave behind in all: caches of the interpreter and of libraries, no answers.
LEFT_BEHIND = 1_000_000  # bytes


def answer(turn: Turn) -> str:
    return f"第{turn.prompt}号的回答。" * 4


async def ask(model: BailianAppChatModel, number: int) -> str:
    try:
        text = "".join([chunk.text async for chunk in model.astream(str(number))])
    except BailianError as error:
        partial = error.partial.text if error.partial else ""
        assert f"第{number}号的回答。".startswith(partial) or partial.startswith(f"第{number}号")
        return type(error).__name__
    assert text == f"第{number}号的回答。" * 4
    return "answered"


async def all_at_once(model: BailianAppChatModel) -> Counter[str]:
    return Counter(await asyncio.gather(*(ask(model, number) for number in range(STREAMS))))


def test_every_stream_ends_in_its_own_way_and_memory_returns(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    shares = dict.fromkeys(FAULTS, 0.01)
    app = App("busy", answer=answer, faults=Faults(shares))
    model = make_model(bailian.add_app(app), timeout=20)
    stalls = {"stall-first", "stall-later"}
    model.invoke("0", timeout=None)
    outcomes: Counter[str] = Counter()
    sizes = []
    tracemalloc.start()
    for _ in range(ROUNDS):
        outcomes += asyncio.run(all_at_once(model.model_copy(update={"timeout": 1.0})))
        bailian.requests.clear()
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()

    assert stalls < set(FAULTS)
    assert outcomes.total() == STREAMS * ROUNDS
    assert outcomes["answered"] > STREAMS * ROUNDS * 0.75
    assert outcomes["BailianStreamError"] > 0
    assert outcomes["BailianTimeoutError"] > 0
    assert sizes[-1] - sizes[0] < LEFT_BEHIND
