"""Connections of abandoned streams, which the service must see close immediately."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from langchain_bailian_app.emulator import App, RecordedRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

MAX_CLOSE_SECONDS = 0.1  # seconds


@pytest.fixture
def model(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> BailianAppChatModel:
    """Return a model for an application that needs seconds to answer."""
    app_id = bailian.add_app(App("slow", answer=lambda _: "慢慢地说。" * 100, pace=0.02))
    return make_model(app_id)


def check_closed_early(request: RecordedRequest, stopped_at: float) -> None:
    assert request.wait(1)
    assert not request.finished
    assert request.closed_at is not None
    assert request.closed_at - stopped_at < MAX_CLOSE_SECONDS


def test_break_closes_the_connection(model: BailianAppChatModel, bailian: BailianEmulator) -> None:
    for _ in model.stream("?"):
        break
    stopped_at = time.monotonic()

    check_closed_early(bailian.requests[-1], stopped_at)


def test_closing_a_stream_closes_the_connection(
    model: BailianAppChatModel, bailian: BailianEmulator
) -> None:
    chunks = model.stream("?")
    next(chunks)
    stopped_at = time.monotonic()
    chunks.close()

    check_closed_early(bailian.requests[-1], stopped_at)


async def test_break_of_an_async_stream_closes_the_connection(
    model: BailianAppChatModel, bailian: BailianEmulator
) -> None:
    async for _ in model.astream("?"):
        break
    stopped_at = time.monotonic()
    await asyncio.sleep(MAX_CLOSE_SECONDS)

    check_closed_early(bailian.requests[-1], stopped_at)


async def test_aclose_closes_the_connection(
    model: BailianAppChatModel, bailian: BailianEmulator
) -> None:
    chunks = model.astream("?")
    await anext(chunks)
    stopped_at = time.monotonic()
    await chunks.aclose()
    await asyncio.sleep(MAX_CLOSE_SECONDS)

    check_closed_early(bailian.requests[-1], stopped_at)


@pytest.mark.parametrize("call_style", ["ainvoke", "astream"])
async def test_cancelling_a_task_closes_the_connection(
    model: BailianAppChatModel, bailian: BailianEmulator, call_style: str
) -> None:
    async def read() -> None:
        if call_style == "ainvoke":
            await model.ainvoke("?")
        else:
            async for _ in model.astream("?"):
                pass

    task = asyncio.create_task(read())
    await asyncio.sleep(0.2)
    stopped_at = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    check_closed_early(bailian.requests[-1], stopped_at)


@pytest.mark.parametrize("call_style", ["invoke", "stream"])
def test_a_stop_sequence_closes_the_connection(
    model: BailianAppChatModel, bailian: BailianEmulator, call_style: str
) -> None:
    if call_style == "invoke":
        text = model.invoke("?", stop=["说"]).text
    else:
        text = "".join(chunk.text for chunk in model.stream("?", stop=["说"]))
    stopped_at = time.monotonic()

    assert text == "慢慢地"
    check_closed_early(bailian.requests[-1], stopped_at)
