"""Conversion of deltas to LangChain chunks, and of answers to LangChain messages.

The merged chunks of an answer equal its message. If a key occurs in several chunks, LangChain's merge
concatenates strings and sums numbers. So scalars are only on the last chunk, and each reference, step
and citation is on exactly one chunk.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, assert_never

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import invalid_tool_call as create_invalid_tool_call
from langchain_core.messages.tool import tool_call as create_tool_call
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk

from langchain_bailian_app._answer.answer import PROVIDER
from langchain_bailian_app._answer.events import (
    Delta,
    NodeEvent,
    ReasoningDelta,
    StepCall,
    StepResult,
    TextDelta,
    ToolCall,
)
from langchain_bailian_app._answer.recalled_memory import parse_recalled_memories
from langchain_bailian_app.chat_models._content_blocks import default_block_order
from langchain_bailian_app.chat_models._fast_copy import ChunkTemplate, model_state
from langchain_bailian_app.chat_models._results import token_usage_from_usage_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_bailian_app._answer.answer import Answer


def generation_chunks_from_deltas(deltas: Iterable[Delta]) -> list[ChatGenerationChunk]:
    """Return one chunk for each delta, and a second one for the arguments of a call."""
    chunks: list[ChatGenerationChunk] = []  # a generator would take longer per chunk
    for delta in deltas:
        chunks.append(generation_chunk_from_delta(delta))
        if isinstance(delta, ToolCall):
            chunks.append(ChatGenerationChunk(message=arguments_chunk_from_call(delta)))
    return chunks


def generation_chunk_from_delta(delta: Delta) -> ChatGenerationChunk:
    """Return the chunk for a delta, without the arguments of a call."""
    if _COPIES_ARE_EXACT:
        if isinstance(delta, TextDelta):
            return _TEXT_TEMPLATE.copy_with(delta.text, {})
        if isinstance(delta, ReasoningDelta):
            return _REASONING_TEMPLATE.copy_with("", {"reasoning_content": delta.text})
    return _construct_chunk(delta)


def _construct_chunk(delta: Delta) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=chunk_from_delta(delta))


def chunk_from_delta(delta: Delta) -> AIMessageChunk:
    """Return the message chunk for a delta; the chunk contains a single kind of content."""
    metadata = {"model_provider": PROVIDER}
    match delta:
        case TextDelta(text):
            return AIMessageChunk(content=text, response_metadata=metadata)
        case ReasoningDelta(text):
            kwargs: dict[str, Any] = {"reasoning_content": text}
        case StepCall() | StepResult():
            kwargs = _build_step_kwargs([delta])
        case NodeEvent():
            kwargs = {"nodes": [_build_node_entry(delta)]}
        case ToolCall():
            start = tool_call_chunk(name=delta.name, args="", id=delta.id, index=delta.index)
            return AIMessageChunk(content="", tool_call_chunks=[start], response_metadata=metadata)
        case _:
            assert_never(delta)
    return AIMessageChunk(content="", additional_kwargs=kwargs, response_metadata=metadata)


def arguments_chunk_from_call(call: ToolCall) -> AIMessageChunk:
    """Return the chunk with the arguments of a call.

    The name and the id are in a chunk before it, as in the streams of other providers. Some programs
    (AG-UI, CopilotKit) ignore arguments in the same chunk. The arguments are complete, because
    LangChain would accept truncated ones.
    """
    args = json.dumps(call.args, ensure_ascii=False)
    return AIMessageChunk(
        content="",
        tool_call_chunks=[tool_call_chunk(name=None, args=args, id=None, index=call.index)],
        response_metadata={"model_provider": PROVIDER},
    )


def build_last_chunk(
    answer: Answer, app_id: str | None, session_metadata: dict[str, Any], app_model: str | None = None
) -> AIMessageChunk:
    """Return the last chunk of a stream, with all data that must occur only once.

    `app_model` is the model that the call asked for.
    """
    return AIMessageChunk(
        content="",
        additional_kwargs=_build_final_kwargs(answer),
        response_metadata=_build_response_metadata(answer, app_id, app_model) | session_metadata,
        usage_metadata=_build_usage_metadata(answer.usage),
        # Invalid calls are on the last chunk, because a retry discards those of the first answer.
        # Their `args` are the text from the answer, including the tags, which LangChain cannot parse.
        tool_call_chunks=[
            tool_call_chunk(name=call.name, args=call.text, id=call.id, index=call.index)
            for call in answer.tool_calls
            if call.problem is not None
        ],
        chunk_position="last",
    )


def message_from_answer(
    answer: Answer, app_id: str | None, session_metadata: dict[str, Any], app_model: str | None = None
) -> AIMessage:
    """Return the complete message, which equals the merged chunks of the same answer.

    `app_model` is the model that the call asked for.
    """
    kwargs = _build_step_kwargs(answer.steps) | _build_final_kwargs(answer)
    if answer.reasoning:
        kwargs["reasoning_content"] = answer.reasoning
    if answer.nodes:
        kwargs["nodes"] = [_build_node_entry(event) for event in answer.nodes]
    return AIMessage(
        content=answer.text,
        additional_kwargs=kwargs,
        response_metadata=_build_response_metadata(answer, app_id, app_model) | session_metadata,
        usage_metadata=_build_usage_metadata(answer.usage),
        tool_calls=[
            create_tool_call(name=call.name or "", args=call.args, id=call.id)
            for call in answer.tool_calls
            if call.problem is None
        ],
        invalid_tool_calls=[
            create_invalid_tool_call(name=call.name, args=call.text, id=call.id)
            for call in answer.tool_calls
            if call.problem is not None
        ],
    )


def _build_step_kwargs(steps: list[StepCall | StepResult]) -> dict[str, Any]:
    """Return `steps` (standard content blocks) and `thoughts` (raw entries).

    The blocks do not repeat the data in the entries. In both chunks and messages, the n-th result in
    `steps` belongs to the n-th entry in `thoughts`.
    """
    kwargs: dict[str, Any] = {}
    for step in steps:
        if isinstance(step, StepCall):
            block: dict[str, Any] = {
                "type": "server_tool_call",
                "id": step.id,
                "name": step.name,
                "args": step.args,
            }
            if step.kind is not None:
                block["extras"] = {"kind": step.kind}
        else:
            block = {
                "type": "server_tool_result",
                "tool_call_id": step.call_id,
                "status": step.status,
            }
            kwargs.setdefault("thoughts", []).append(_rename_index_key(step.entry))
        kwargs.setdefault("steps", []).append(block)
    return kwargs


def _build_node_entry(event: NodeEvent) -> dict[str, Any]:
    return {"event": event.key} | _rename_index_key(event.value)


def _rename_index_key(entry: dict[str, Any]) -> dict[str, Any]:
    """Rename the key `index`: LangChain would merge list entries that have the same value for it."""
    return {("wire_index" if key == "index" else key): value for key, value in entry.items()}


def _build_final_kwargs(answer: Answer) -> dict[str, Any]:
    kwargs: dict[str, Any] = {}
    if answer.doc_references:
        kwargs["doc_references"] = answer.doc_references
    if answer.citations:
        kwargs["citations"] = answer.citations
    if answer.order != default_block_order(answer.order):
        kwargs["block_order"] = answer.order
    return kwargs


def _build_response_metadata(
    answer: Answer, app_id: str | None, app_model: str | None
) -> dict[str, Any]:
    model_usage = _model_usage(answer.usage)
    metadata = {
        "model_provider": PROVIDER,
        # Some applications report no model.
        "model_name": _find_main_model(model_usage) or app_model or app_id,
        "token_usage": token_usage_from_usage_metadata(_build_usage_metadata(answer.usage)),
        "app_id": app_id,
        "finish_reason": answer.finish_reason,
        "session_id": answer.session_id,
        "request_id": answer.request_id,
        "reject_status": answer.reject_status,
        "final_text": answer.final_text,
        "tool_call_problems": [call.problem for call in answer.tool_calls if call.problem] or None,
        "model_usage": model_usage or None,
        "memories": parse_recalled_memories(answer.thoughts) or None,
        "extra": _extra_metadata(answer) or None,
    }
    return {name: value for name, value in metadata.items() if value is not None}


def _find_main_model(model_usage: list[dict[str, Any]]) -> str | None:
    """Return the model with the most output tokens; of several, the last one."""
    models = [model for model in reversed(model_usage) if model.get("model_id")]
    if not models:
        return None
    main_model = max(models, key=lambda model: _parse_count(model.get("output_tokens")))
    model_id: str = main_model["model_id"]
    return model_id


def _extra_metadata(answer: Answer) -> dict[str, Any]:
    usage = {name: value for name, value in answer.usage.items() if value and name != "models"}
    if not _model_usage(answer.usage) and answer.usage.get("models"):
        usage["models"] = answer.usage["models"]
    extra = answer.extra | ({"usage": usage} if usage else {})
    if answer.reasoning_fields:
        extra["reasoning"] = answer.reasoning_fields
    return extra


def _build_usage_metadata(usage: dict[str, Any]) -> UsageMetadata | None:
    """Return the total tokens of all models in the latest snapshot, or None without counts.

    A model may occur more than once.
    """
    counts = _model_usage(usage) or [usage]
    if not any("input_tokens" in count or "output_tokens" in count for count in counts):
        return None
    input_tokens = sum(_parse_count(count.get("input_tokens")) for count in counts)
    output_tokens = sum(_parse_count(count.get("output_tokens")) for count in counts)
    return UsageMetadata(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        total_tokens=input_tokens + output_tokens,
    )


def _parse_count(value: Any) -> int:
    """Return a token count, or 0 if the value is not a finite number."""
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return 0


def _model_usage(usage: dict[str, Any]) -> list[dict[str, Any]]:
    models = usage.get("models")
    return [model for model in models if isinstance(model, dict)] if isinstance(models, list) else []


_TEXT_TEMPLATE = ChunkTemplate(_construct_chunk(TextDelta("")))
_REASONING_TEMPLATE = ChunkTemplate(_construct_chunk(ReasoningDelta("")))
# Checked once, at import. If copies differ from constructed chunks in the installed versions of
# LangChain and pydantic, the constructors are used.
_COPIES_ARE_EXACT = all(
    model_state(constructed) == model_state(copied)
    for constructed, copied in (
        (_construct_chunk(TextDelta("a")), _TEXT_TEMPLATE.copy_with("a", {})),
        (
            _construct_chunk(ReasoningDelta("a")),
            _REASONING_TEMPLATE.copy_with("", {"reasoning_content": "a"}),
        ),
    )
)
