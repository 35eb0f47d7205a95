"""Conversion of complete answers, and of the chunks of a stream, to LlamaIndex responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.messages.ai import add_ai_message_chunks
from llama_index.core.base.llms.types import ChatResponse, CompletionResponse

from langchain_bailian_app.llama_index._messages import to_llama_index

if TYPE_CHECKING:
    from langchain_core.messages import InvalidToolCall, ToolCall


class ChunkAccumulator:
    """Accumulator for the chunks of an answer."""

    def __init__(self) -> None:
        self._chunks: list[AIMessageChunk] = []
        self._text = ""
        self._reasoning = ""
        self._calls: list[ToolCall] = []
        self._invalid_calls: list[InvalidToolCall] = []

    def add(self, chunk: AIMessageChunk) -> AIMessage:
        """Add a chunk and return the answer so far; the last chunk completes the answer."""
        self._chunks.append(chunk)
        if chunk.chunk_position == "last":
            first, *others = self._chunks
            message = message_chunk_to_message(add_ai_message_chunks(first, *others))
            return cast("AIMessage", message)
        self._text += chunk.text
        self._reasoning += _get_reasoning(chunk)
        self._calls += chunk.tool_calls
        self._invalid_calls += chunk.invalid_tool_calls
        return AIMessage(
            self._text,
            additional_kwargs={"reasoning_content": self._reasoning},
            tool_calls=self._calls,
            invalid_tool_calls=self._invalid_calls,
        )


def to_chat_response(answer: AIMessage, chunk: AIMessageChunk | None = None) -> ChatResponse:
    """Return the chat response for a complete answer, or for a chunk and the answer so far."""
    return ChatResponse(message=to_llama_index(answer), **_build_response_fields(answer, chunk))


def to_completion_response(
    answer: AIMessage, chunk: AIMessageChunk | None = None
) -> CompletionResponse:
    """Return the completion response for a complete answer, or for a chunk and the answer so far."""
    return CompletionResponse(text=answer.text, **_build_response_fields(answer, chunk))


def _build_response_fields(answer: AIMessage, chunk: AIMessageChunk | None) -> dict[str, Any]:
    if chunk is None:
        return {"raw": _build_raw(answer), "additional_kwargs": _get_token_counts(answer)}
    is_last = chunk.chunk_position == "last"
    return {
        "delta": chunk.text,
        "raw": _build_raw(answer if is_last else chunk),
        # LlamaIndex's token counters and agents look for the counts and the reasoning by these names.
        "additional_kwargs": _get_token_counts(answer)
        | {"thinking_delta": _get_reasoning(chunk) or None},
    }


def _build_raw(message: AIMessage) -> dict[str, Any]:
    """Return all data of a message or chunk except its text."""
    usage = {"usage": dict(message.usage_metadata)} if message.usage_metadata else {}
    return {**message.additional_kwargs, **message.response_metadata, **usage}


def _get_token_counts(answer: AIMessage) -> dict[str, Any]:
    usage = answer.usage_metadata
    if usage is None:
        return {}
    return {
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "total_tokens": usage["total_tokens"],
    }


def _get_reasoning(chunk: AIMessageChunk) -> str:
    return str(chunk.additional_kwargs.get("reasoning_content") or "")
