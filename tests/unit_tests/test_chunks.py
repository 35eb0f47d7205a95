"""Chunks that are copied: the same in every respect as those that LangChain's constructors make."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.load import dumpd
from langchain_core.messages import message_chunk_to_message
from langchain_core.outputs import ChatGenerationChunk

from langchain_bailian_app import _chunks
from langchain_bailian_app._chunks import generation_chunk
from langchain_bailian_app._deltas import Delta, ReasoningDelta, TextDelta
from langchain_bailian_app._messages import chunk_from_delta

if TYPE_CHECKING:
    from collections.abc import Callable

deltas = st.builds(TextDelta, st.text()) | st.builds(ReasoningDelta, st.text())


def constructed(delta: Delta) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=chunk_from_delta(delta))


def everything(chunk: ChatGenerationChunk) -> list[Any]:
    """Return what can be seen of a chunk."""
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


@given(deltas)
def test_a_copied_chunk_is_the_constructed_one(delta: Delta) -> None:
    copied, made = generation_chunk(delta), constructed(delta)

    assert copied == made
    assert everything(copied) == everything(made)
    assert everything(pickle.loads(pickle.dumps(copied))) == everything(made)  # noqa: S301
    assert everything(copied.model_copy(deep=True)) == everything(made)


@given(st.lists(deltas, min_size=1, max_size=5))
def test_copied_chunks_add_up_as_constructed_ones(several: list[Delta]) -> None:
    def total(make: Callable[[Delta], ChatGenerationChunk]) -> ChatGenerationChunk:
        first, *others = map(make, several)
        return first + others if others else first

    assert everything(total(generation_chunk)) == everything(total(constructed))


@pytest.mark.parametrize("delta", [TextDelta("茶"), ReasoningDelta("想")], ids=["text", "reasoning"])
def test_a_change_to_one_chunk_is_none_to_another(delta: Delta) -> None:
    first = generation_chunk(delta)
    first.message.id = "1"
    first.message.additional_kwargs["a"] = 1
    first.message.response_metadata["a"] = 1
    first.generation_info = {"a": 1}
    for name in ("tool_calls", "invalid_tool_calls", "tool_call_chunks"):
        getattr(first.message, name).append({})

    assert everything(generation_chunk(delta)) == everything(constructed(delta))


def test_copies_are_used_with_the_versions_installed() -> None:
    assert _chunks._copies_are_exact
