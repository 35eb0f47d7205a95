"""Conversion of Bailian messages to LangChain's standard content blocks.

LangChain uses the blocks for `content_blocks`, v1 content and the v3 stream.
`content_blocks_from_message` is a pure function. It only converts data that `_messages` stored in the
message. Importing this module registers the function with LangChain under the provider's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.block_translators import register_translator

from langchain_bailian_app._answer.answer import PROVIDER
from langchain_bailian_app._answer.observations import parse_observation

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage
    from langchain_core.messages import content as types

T = TypeVar("T")


def default_block_order(order: list[str]) -> list[str]:
    """Return the parts in default order: reasoning, then steps and nodes, then text.

    A message stores the order of its parts only if it differs from the default.
    """
    return sorted(order, key=lambda part: (part == "text", part != "reasoning"))


def content_blocks_from_message(message: AIMessage) -> list[types.ContentBlock]:
    """Return the content blocks of a message or a chunk.

    Each block has an `index` that is the same in every chunk of the stream. Without it, LangChain
    merges adjacent blocks of the same type.
    """
    if not isinstance(message.content, str):
        raise NotImplementedError  # LangChain then converts the content itself
    kwargs = message.additional_kwargs
    blocks: dict[str, dict[str, Any]] = {}
    if reasoning := kwargs.get("reasoning_content"):
        blocks["reasoning"] = {"type": "reasoning", "reasoning": reasoning}
    blocks |= _step_blocks(kwargs)
    for node in _filter_by_type(kwargs.get("nodes"), dict):
        value = {name: item for name, item in node.items() if name != "event"}
        blocks[f"node:{node.get('event')}"] = {"type": "non_standard", "value": value}
    annotations = kwargs.get("citations")
    if message.content or annotations:
        blocks["text"] = {"type": "text", "text": message.content}
        if annotations:
            blocks["text"]["annotations"] = annotations
    blocks |= _tool_blocks(message)
    if order := _filter_by_type(kwargs.get("block_order"), str):
        positions = {part: position for position, part in enumerate(order)}
        blocks = dict(sorted(blocks.items(), key=lambda item: positions.get(item[0], len(positions))))
    return cast(
        "list[types.ContentBlock]",
        [{**block, "index": f"lc_{part}"} for part, block in blocks.items()],
    )


def _step_blocks(kwargs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    blocks: dict[str, dict[str, Any]] = {}
    entries = iter(_filter_by_type(kwargs.get("thoughts"), dict))
    for step in _filter_by_type(kwargs.get("steps"), dict):
        if step.get("type") == "server_tool_call":
            blocks[f"call:{step.get('id')}"] = dict(step)
        else:
            output = parse_observation(next(entries, {}).get("observation"))
            blocks[f"result:{step.get('tool_call_id')}"] = {**step, "output": output}
    return blocks


def _tool_blocks(message: AIMessage) -> dict[str, dict[str, Any]]:
    """Return the blocks of tool calls; chunks before the last one have `tool_call_chunk` blocks."""
    if isinstance(message, AIMessageChunk) and message.chunk_position != "last":
        # The chunk with the arguments of a call does not repeat its id.
        return {
            f"tool:{call.get('index')}": {"type": "tool_call_chunk", **call}
            for call in message.tool_call_chunks
        }
    blocks: list[dict[str, Any]] = [
        *({**call, "type": "tool_call"} for call in message.tool_calls),
        *({**call, "type": "invalid_tool_call"} for call in message.invalid_tool_calls),
    ]
    return {f"tool:{block.get('id')}": block for block in blocks}


def _filter_by_type(value: Any, item_type: type[T]) -> list[T]:
    """Return the items of this type, or [] if the value is not a list.

    Another version of this package may have written different values.
    """
    return [item for item in value if isinstance(item, item_type)] if isinstance(value, list) else []


register_translator(PROVIDER, content_blocks_from_message, content_blocks_from_message)
