"""However an application is called, the same answer is the same message."""

from __future__ import annotations

import operator
from functools import reduce
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, message_chunk_to_message

from tests.fixtures import ANSWERS, Recording

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

Make = "Callable[..., BailianAppChatModel]"


def essence(message: AIMessage) -> dict[str, Any]:
    """Return all of a message but its id, which LangChain gives each run anew."""
    return {
        "content": message.text,
        "blocks": message.content_blocks,
        "additional_kwargs": message.additional_kwargs,
        "response_metadata": {
            name: value for name, value in message.response_metadata.items() if name != "output_version"
        },
        "usage_metadata": message.usage_metadata,
    }


def summed(chunks: list[Any]) -> AIMessage:
    return message_chunk_to_message(reduce(operator.add, chunks))


@pytest.mark.parametrize("markers", ["strip", "bracket", "keep"])
@pytest.mark.parametrize("recording", ANSWERS, ids=lambda recording: recording.name)
async def test_every_way_of_calling_gives_the_same_message(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    recording: Recording,
    markers: str,
) -> None:
    app_id = bailian.replay(recording.body, content_type=recording.content_type)
    model = make_model(app_id, citation_markers=markers)
    v1 = make_model(app_id, citation_markers=markers, output_version="v1")

    expected = essence(model.invoke("?"))

    assert essence(await model.ainvoke("?")) == expected
    assert essence(summed(list(model.stream("?")))) == expected
    assert essence(summed([chunk async for chunk in model.astream("?")])) == expected
    assert essence(model.stream_events("?", version="v3").output) == expected
    stream = await model.astream_events("?", version="v3")
    assert essence(await stream.output) == expected
    assert essence(v1.invoke("?")) == expected
    assert essence(summed(list(v1.stream("?")))) == expected
