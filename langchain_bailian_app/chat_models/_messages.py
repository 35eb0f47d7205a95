"""Deltas and answers become LangChain messages; chunks that merge to what a whole answer is.

Merging concatenates strings and sums numbers wherever a key repeats, so each scalar stands on the last
chunk only, and each reference, step and citation on exactly one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import (
    ToolCallChunk,
    tool_call_chunk,
)
from langchain_core.messages.tool import invalid_tool_call as create_invalid_tool_call
from langchain_core.messages.tool import tool_call as create_tool_call

from langchain_bailian_app._answer.events import (
    Delta,
    NodeEvent,
    ReasoningDelta,
    StepCall,
    StepResult,
    TextDelta,
    ToolCall,
)
from langchain_bailian_app._answer.recalled_memory import recalled_in
from langchain_bailian_app.chat_models._content_blocks import PROVIDER, default_order

if TYPE_CHECKING:
    from langchain_bailian_app._answer.assembler import Answer


def chunk_from_delta(delta: Delta) -> AIMessageChunk:
    """Return the chunk for one delta: one kind of content in each."""
    provider = {"model_provider": PROVIDER}
    match delta:
        case TextDelta(text):
            return AIMessageChunk(content=text, response_metadata=provider)
        case ReasoningDelta(text):
            extra: dict[str, Any] = {"reasoning_content": text}
        case StepCall() | StepResult():
            extra = _step_kwargs([delta])
        case NodeEvent():
            extra = {"nodes": [_node(delta)]}
        case ToolCall():
            return AIMessageChunk(
                content="", tool_call_chunks=[_call_chunk(delta)], response_metadata=provider
            )
    return AIMessageChunk(content="", additional_kwargs=extra, response_metadata=provider)


def last_chunk(answer: Answer, app_id: str, conversation: dict[str, Any]) -> AIMessageChunk:
    """Return the chunk that closes a stream: all that may be said only once."""
    return AIMessageChunk(
        content="",
        additional_kwargs=_closing_kwargs(answer),
        response_metadata=_metadata(answer, app_id) | conversation,
        usage_metadata=_usage(answer.usage),
        # Told only now: they might have been asked for again.
        tool_call_chunks=[_call_chunk(call) for call in answer.tool_calls if call.problem is not None],
        chunk_position="last",
    )


def message_from_answer(answer: Answer, app_id: str, conversation: dict[str, Any]) -> AIMessage:
    """Return the whole message: what the chunks of the same answer merge to."""
    kwargs = _step_kwargs(answer.steps) | _closing_kwargs(answer)
    if answer.reasoning:
        kwargs["reasoning_content"] = answer.reasoning
    if answer.nodes:
        kwargs["nodes"] = [_node(event) for event in answer.nodes]
    return AIMessage(
        content=answer.text,
        additional_kwargs=kwargs,
        response_metadata=_metadata(answer, app_id) | conversation,
        usage_metadata=_usage(answer.usage),
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


def _call_chunk(call: ToolCall) -> ToolCallChunk:
    """Return the whole of a call: arguments that break off would pass for whole ones in LangChain.

    A call with a problem stands as in the answer, tags and all, which LangChain takes for no JSON.
    """
    args = json.dumps(call.args, ensure_ascii=False) if call.problem is None else call.text
    return tool_call_chunk(name=call.name, args=args, id=call.id, index=call.index)


def _step_kwargs(steps: list[StepCall | StepResult]) -> dict[str, Any]:
    """Return `steps`, standard blocks without what `thoughts`, the raw entries, hold already.

    The n-th result of `steps` belongs to the n-th entry of `thoughts`, in a chunk as in a message.
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
                "status": "success",
            }
            kwargs.setdefault("thoughts", []).append(_mergeable(step.entry))
        kwargs.setdefault("steps", []).append(block)
    return kwargs


def _node(event: NodeEvent) -> dict[str, Any]:
    return {"event": event.key} | _mergeable(event.value)


def _mergeable(entry: dict[str, Any]) -> dict[str, Any]:
    """Rename a key that would make LangChain merge entries of a list into one."""
    return {("wire_index" if key == "index" else key): value for key, value in entry.items()}


def _closing_kwargs(answer: Answer) -> dict[str, Any]:
    kwargs: dict[str, Any] = {}
    if answer.doc_references:
        kwargs["doc_references"] = answer.doc_references
    if answer.citations:
        kwargs["citations"] = answer.citations
    if answer.order != default_order(answer.order):
        kwargs["block_order"] = answer.order
    return kwargs


def _metadata(answer: Answer, app_id: str) -> dict[str, Any]:
    models = _models(answer.usage)
    metadata = {
        "model_provider": PROVIDER,
        # The model that wrote the answer comes last; an application may not tell any.
        "model_name": next((m["model_id"] for m in reversed(models) if m.get("model_id")), app_id),
        "app_id": app_id,
        "finish_reason": answer.finish_reason,
        "session_id": answer.session_id,
        "request_id": answer.request_id,
        "final_text": answer.final_text,
        "tool_call_problems": [call.problem for call in answer.tool_calls if call.problem] or None,
        "model_usage": models or None,
        "memories": recalled_in(answer.thoughts) or None,
        "extra": _extra(answer) or None,
    }
    return {name: value for name, value in metadata.items() if value is not None}


def _extra(answer: Answer) -> dict[str, Any]:
    usage = {name: value for name, value in answer.usage.items() if value and name != "models"}
    if not _models(answer.usage) and answer.usage.get("models"):
        usage["models"] = answer.usage["models"]
    return answer.extra | ({"usage": usage} if usage else {})


def _usage(usage: dict[str, Any]) -> UsageMetadata | None:
    """Sum over the models of the newest snapshot; a model may stand there twice."""
    counts = _models(usage) or [usage]
    if not any("input_tokens" in count or "output_tokens" in count for count in counts):
        return None
    tokens_in = sum(_number(count.get("input_tokens")) for count in counts)
    tokens_out = sum(_number(count.get("output_tokens")) for count in counts)
    return UsageMetadata(
        input_tokens=tokens_in, output_tokens=tokens_out, total_tokens=tokens_in + tokens_out
    )


def _number(value: Any) -> int:
    """Read a count; what is none, an infinite number for instance, counts nothing."""
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return 0


def _models(usage: dict[str, Any]) -> list[dict[str, Any]]:
    models = usage.get("models")
    return [model for model in models if isinstance(model, dict)] if isinstance(models, list) else []
