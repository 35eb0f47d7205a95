"""Tests that all call styles return the same message, or raise the same error, for a response."""

from __future__ import annotations

import operator
from functools import reduce
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, message_chunk_to_message

from langchain_bailian_app.errors import BailianError
from tests.fixtures import RECORDINGS, read_recording

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator


def merge_to_message(chunks: list[Any]) -> AIMessage:
    return message_chunk_to_message(reduce(operator.add, chunks))


async def invoke(model: BailianAppChatModel) -> AIMessage:
    return model.invoke("?")


async def ainvoke(model: BailianAppChatModel) -> AIMessage:
    return await model.ainvoke("?")


async def stream(model: BailianAppChatModel) -> AIMessage:
    return merge_to_message(list(model.stream("?")))


async def astream(model: BailianAppChatModel) -> AIMessage:
    return merge_to_message([chunk async for chunk in model.astream("?")])


async def stream_events_v3(model: BailianAppChatModel) -> AIMessage:
    return model.stream_events("?", version="v3").output


async def astream_events_v3(model: BailianAppChatModel) -> AIMessage:
    return await (await model.astream_events("?", version="v3")).output


async def invoke_v1(model: BailianAppChatModel) -> AIMessage:
    return model.model_copy(update={"output_version": "v1"}).invoke("?")


async def stream_v1(model: BailianAppChatModel) -> AIMessage:
    return merge_to_message(list(model.model_copy(update={"output_version": "v1"}).stream("?")))


CALL_STYLES = [
    ainvoke,
    stream,
    astream,
    stream_events_v3,
    astream_events_v3,
    invoke_v1,
    stream_v1,
]


async def get_outcome(
    call_style: Callable[[BailianAppChatModel], Awaitable[AIMessage]], model: BailianAppChatModel
) -> Any:
    """Return the contents of an error, or of a message without its id, which differs for each run."""
    try:
        message = await call_style(model)
    except BailianError as error:
        partial = error.partial
        return type(error), str(error), error.body, partial and partial.model_dump()
    return {
        "text": message.text,
        "blocks": message.content_blocks,
        "additional_kwargs": message.additional_kwargs,
        "response_metadata": {
            name: value for name, value in message.response_metadata.items() if name != "output_version"
        },
        "usage_metadata": message.usage_metadata,
    }


@pytest.mark.slow
@pytest.mark.parametrize("markers", ["strip", "bracket", "keep"])
@pytest.mark.parametrize("name", RECORDINGS)
async def test_every_call_style_gives_the_same_result(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    name: str,
    markers: str,
) -> None:
    body = read_recording(name)
    content_type = "application/json" if name.endswith(".json") else "text/event-stream"
    app_id = bailian.replay(body, content_type=content_type, cuts=range(0, len(body), 37))
    model = make_model(app_id, citation_markers=markers)
    expected = await get_outcome(invoke, model)

    assert {
        call_style.__name__: await get_outcome(call_style, model) for call_style in CALL_STYLES
    } == {call_style.__name__: expected for call_style in CALL_STYLES}
