"""Chunks of text and of reasoning, which come by the thousand, made without validating each of them.

A chunk is a copy of one that LangChain's own constructors have made, with another text in it: that
costs a quarter. Whether the copy is the same is tried once, when this is imported, and if a version of
LangChain or pydantic makes it another, the constructors are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from pydantic import BaseModel

from langchain_bailian_app._answer.events import ReasoningDelta, TextDelta
from langchain_bailian_app.chat_models._content_blocks import PROVIDER
from langchain_bailian_app.chat_models._messages import chunk_from_delta

if TYPE_CHECKING:
    from langchain_bailian_app._answer.events import Delta

_new_instance = object.__new__
_SLOTS = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
# What a pydantic model consists of, set without its own `__setattr__`.
_set_fields, _set_fields_set, _set_extra, _set_private = (
    vars(BaseModel)[name].__set__ for name in _SLOTS
)


def generation_chunk_from_delta(delta: Delta) -> ChatGenerationChunk:
    """Return what a stream yields for one delta."""
    if _copies_are_exact:
        if isinstance(delta, TextDelta):
            return _text_template.copy_with(delta.text, {})
        if isinstance(delta, ReasoningDelta):
            return _reasoning_template.copy_with("", {"reasoning_content": delta.text})
    return _construct_chunk(delta)


def _construct_chunk(delta: Delta) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=chunk_from_delta(delta))


class _ChunkTemplate:
    """A chunk to be copied, as pydantic's own `model_copy` does it, without the detours."""

    def __init__(self, delta: Delta) -> None:
        chunk = _construct_chunk(delta)
        self._chunk_fields, self._message_fields = chunk.__dict__, chunk.message.__dict__
        self._chunk_fields_set = chunk.model_fields_set
        self._message_fields_set = chunk.message.model_fields_set
        self._text_type: Any = type(chunk.text)

    def copy_with(self, text: str, kwargs: dict[str, Any]) -> ChatGenerationChunk:
        """Return a copy with other contents; nothing that can change is shared."""
        message = _new_instance(AIMessageChunk)
        fields = self._message_fields.copy()
        fields["content"] = text
        fields["additional_kwargs"] = kwargs
        fields["response_metadata"] = {"model_provider": PROVIDER}
        fields["tool_calls"] = []
        fields["invalid_tool_calls"] = []
        fields["tool_call_chunks"] = []
        _set_fields(message, fields)
        _set_fields_set(message, self._message_fields_set.copy())
        _set_extra(message, {})
        _set_private(message, None)
        chunk = _new_instance(ChatGenerationChunk)
        fields = self._chunk_fields.copy()
        fields["text"] = str.__new__(self._text_type, text)
        fields["message"] = message
        _set_fields(chunk, fields)
        _set_fields_set(chunk, self._chunk_fields_set.copy())
        _set_extra(chunk, None)
        _set_private(chunk, None)
        return chunk


def _model_state(model: Any) -> Any:
    """Return all that a model is made of."""
    if not isinstance(model, BaseModel):
        return type(model), model
    fields = {name: _model_state(value) for name, value in model.__dict__.items()}
    return type(model), fields, model.__getstate__() | {"__dict__": None}


_text_template = _ChunkTemplate(TextDelta(""))
_reasoning_template = _ChunkTemplate(ReasoningDelta(""))
_copy_samples = (
    (_construct_chunk(TextDelta("a")), _text_template.copy_with("a", {})),
    (
        _construct_chunk(ReasoningDelta("a")),
        _reasoning_template.copy_with("", {"reasoning_content": "a"}),
    ),
)
_copies_are_exact = all(
    _model_state(constructed) == _model_state(copied) for constructed, copied in _copy_samples
)
