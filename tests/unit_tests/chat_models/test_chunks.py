"""Chunks that are copied: the same in every respect as those that LangChain's constructors make."""

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
from langchain_bailian_app.chat_models import _chunks
from langchain_bailian_app.chat_models._chunks import generation_chunk
from langchain_bailian_app.chat_models._messages import chunk_from_delta

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


@pytest.mark.parametrize(
    ("delta", "text", "kwargs"),
    [(TextDelta("茶"), "茶", {}), (ReasoningDelta("想"), "", {"reasoning_content": "想"})],
    ids=["text", "reasoning"],
)
def test_a_chunk_that_is_filled_with_what_it_had_stays_the_same(
    delta: Delta, text: str, kwargs: dict[str, Any]
) -> None:
    copied, made = _chunks._Template(delta).filled(text, kwargs), constructed(delta)

    assert everything(copied) == everything(made)
    assert _chunks._state(copied) == _chunks._state(made)


def test_what_is_neither_text_nor_reasoning_is_constructed() -> None:
    call = ToolCall("add", {"a": 1}, "<tool_call>…</tool_call>", "call_1", 0)

    assert everything(generation_chunk(call)) == everything(constructed(call))


class Other(AIMessageChunk):
    """A message that differs in nothing but its class."""


@pytest.mark.parametrize(
    "change",
    [
        lambda chunk: setattr(chunk, "text", "水"),
        lambda chunk: setattr(chunk, "generation_info", {}),
        lambda chunk: setattr(chunk.message, "__class__", Other),
        lambda chunk: setattr(chunk.message, "content", chunk.text),
        lambda chunk: chunk.message.tool_calls.append({}),
        lambda chunk: chunk.message.__dict__.update(tool_calls=()),
        lambda chunk: chunk.message.model_fields_set.add("id"),
        lambda chunk: chunk.model_fields_set.clear(),
        lambda chunk: setattr(chunk.message, "__pydantic_extra__", {"a": 1}),
    ],
    ids=["text", "value", "class", "type of text", "list", "type of list", "set", "unset", "extra"],
)
def test_a_copy_that_is_not_exact_is_known_for_one(change: Callable[[Any], None]) -> None:
    copied, made = constructed(TextDelta("茶")), constructed(TextDelta("茶"))
    assert _chunks._state(copied) == _chunks._state(made)

    change(copied)

    assert _chunks._state(copied) != _chunks._state(made)


def test_copies_are_used_with_the_versions_installed() -> None:
    assert _chunks._copies_are_exact
