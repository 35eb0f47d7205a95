"""Tests that copied chunks equal constructed ones in every respect."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.load import dumpd
from langchain_core.messages import AIMessageChunk, message_chunk_to_message
from langchain_core.outputs import ChatGenerationChunk

from langchain_bailian_app._answer.events import Delta, ReasoningDelta, TextDelta, ToolCall
from langchain_bailian_app.chat_models import _messages
from langchain_bailian_app.chat_models._fast_copy import ChunkTemplate, model_state
from langchain_bailian_app.chat_models._messages import (
    chunk_from_delta,
    generation_chunk_from_delta,
)

if TYPE_CHECKING:
    from collections.abc import Callable

deltas = st.builds(TextDelta, st.text()) | st.builds(ReasoningDelta, st.text())


def construct_chunk(delta: Delta) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=chunk_from_delta(delta))


def observable_state(chunk: ChatGenerationChunk) -> list[Any]:
    """Return the observable state of a chunk."""
    message = chunk.message
    return [
        type(chunk),
        type(message),
        type(chunk.text),
        chunk.text,
        repr(chunk),
        chunk.model_dump(),
        chunk.model_fields_set,
        message.model_fields_set,
        message.model_extra,
        chunk.model_dump_json(exclude_unset=True),
        dumpd(chunk),
        message.content_blocks,
        message.pretty_repr(),
        message_chunk_to_message(message),
    ]


@pytest.mark.slow
@given(deltas)
def test_a_copied_chunk_equals_the_constructed_one(delta: Delta) -> None:
    copied, expected = generation_chunk_from_delta(delta), construct_chunk(delta)

    assert copied == expected
    assert observable_state(copied) == observable_state(expected)
    assert observable_state(pickle.loads(pickle.dumps(copied))) == observable_state(expected)  # noqa: S301
    assert observable_state(copied.model_copy(deep=True)) == observable_state(expected)


@given(st.lists(deltas, min_size=1, max_size=5))
def test_copied_chunks_merge_like_constructed_ones(delta_list: list[Delta]) -> None:
    def merge_all(make: Callable[[Delta], ChatGenerationChunk]) -> ChatGenerationChunk:
        first, *others = map(make, delta_list)
        return first + others if others else first

    assert observable_state(merge_all(generation_chunk_from_delta)) == observable_state(
        merge_all(construct_chunk)
    )


@pytest.mark.parametrize("delta", [TextDelta("茶"), ReasoningDelta("想")], ids=["text", "reasoning"])
def test_a_change_to_one_chunk_does_not_affect_another(delta: Delta) -> None:
    first = generation_chunk_from_delta(delta)
    first.message.id = "1"
    first.message.additional_kwargs["a"] = 1
    first.message.response_metadata["a"] = 1
    first.generation_info = {"a": 1}
    for name in ("tool_calls", "invalid_tool_calls", "tool_call_chunks"):
        getattr(first.message, name).append({})

    assert observable_state(generation_chunk_from_delta(delta)) == observable_state(
        construct_chunk(delta)
    )


@pytest.mark.parametrize(
    ("delta", "text", "kwargs"),
    [(TextDelta("茶"), "茶", {}), (ReasoningDelta("想"), "", {"reasoning_content": "想"})],
    ids=["text", "reasoning"],
)
def test_a_copy_with_the_same_content_equals_the_constructed_chunk(
    delta: Delta, text: str, kwargs: dict[str, Any]
) -> None:
    copied, expected = (
        ChunkTemplate(construct_chunk(delta)).copy_with(text, kwargs),
        construct_chunk(delta),
    )

    assert observable_state(copied) == observable_state(expected)
    assert model_state(copied) == model_state(expected)


def test_chunks_other_than_text_and_reasoning_are_constructed() -> None:
    call = ToolCall("add", {"a": 1}, "<tool_call>…</tool_call>", "call_1", 0)

    assert observable_state(generation_chunk_from_delta(call)) == observable_state(
        construct_chunk(call)
    )


class AIMessageChunkSubclass(AIMessageChunk):
    """Message that differs only in its class."""


@pytest.mark.parametrize(
    "change",
    [
        lambda chunk: setattr(chunk, "text", "水"),
        lambda chunk: setattr(chunk, "generation_info", {}),
        lambda chunk: setattr(chunk.message, "__class__", AIMessageChunkSubclass),
        lambda chunk: setattr(chunk.message, "content", chunk.text),
        lambda chunk: chunk.message.tool_calls.append({}),
        lambda chunk: chunk.message.__dict__.update(tool_calls=()),
        lambda chunk: chunk.message.model_fields_set.add("id"),
        lambda chunk: chunk.model_fields_set.clear(),
        lambda chunk: setattr(chunk.message, "__pydantic_extra__", {"a": 1}),
    ],
    ids=["text", "value", "class", "type of text", "list", "type of list", "set", "unset", "extra"],
)
def test_an_inexact_copy_is_detected(change: Callable[[Any], None]) -> None:
    copied, original = construct_chunk(TextDelta("茶")), construct_chunk(TextDelta("茶"))
    assert model_state(copied) == model_state(original)

    change(copied)

    assert model_state(copied) != model_state(original)


def test_copies_are_used_with_the_versions_installed() -> None:
    assert _messages._COPIES_ARE_EXACT
