"""Conversion of messages for LangChain, and of answers for LlamaIndex."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    InvalidToolCall,
    SystemMessage,
    ToolCall,
    ToolMessage,
)
from langchain_core.messages.tool import invalid_tool_call, tool_call
from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

# Fields of an answer that must be stored with its message, so that the session can be continued.
# Nothing else is stored: LlamaIndex counts stored fields as tokens, and sends them to models that
# condense a conversation.
_SESSION_KEY = "bailian_session"
_CHECKPOINT_KEYS = ("app_id", "session_id", "session_turn", "session_at", "session_digest")


class _SessionState(dict[str, Any]):
    """State of a session, whose text does not show the session id.

    LlamaIndex's chat engines write the additional arguments of messages into the prompt of the model
    that condenses a conversation.
    """

    def __repr__(self) -> str:
        return "{}"


def to_langchain(messages: Sequence[ChatMessage]) -> list[BaseMessage]:
    """Convert LlamaIndex messages to LangChain messages; the chat model rejects unsupported content.

    Raises:
        ValueError: The file of an image or document is empty.
    """
    return [_convert_message(message) for message in messages]


def to_llama_index(answer: AIMessage) -> ChatMessage:
    """Return a complete or partial answer as a LlamaIndex message."""
    blocks: list[Any] = [TextBlock(text=answer.text)]
    if reasoning := answer.additional_kwargs.get("reasoning_content"):
        blocks.insert(0, ThinkingBlock(content=reasoning))
    for call in answer.tool_calls:
        block = ToolCallBlock(tool_call_id=call["id"], tool_name=call["name"], tool_kwargs=call["args"])
        blocks.append(block)
    additional_kwargs: dict[str, Any] = {}
    if answer.tool_calls:  # LlamaIndex's programs look for them here
        additional_kwargs["tool_calls"] = answer.tool_calls
    if answer.invalid_tool_calls:
        additional_kwargs["invalid_tool_calls"] = answer.invalid_tool_calls
    if "session_digest" in answer.response_metadata:
        additional_kwargs[_SESSION_KEY] = _SessionState(
            {name: answer.response_metadata[name] for name in _CHECKPOINT_KEYS}
        )
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=additional_kwargs)


def _convert_message(message: ChatMessage) -> BaseMessage:
    match message.role:
        case MessageRole.SYSTEM | MessageRole.DEVELOPER:
            return SystemMessage(_convert_content(message))
        case MessageRole.USER:
            return HumanMessage(_convert_content(message))
        case MessageRole.TOOL | MessageRole.FUNCTION:
            call_id = message.additional_kwargs.get("tool_call_id")
            return ToolMessage(_convert_content(message), tool_call_id=str(call_id or ""))
    return _convert_assistant_message(message)


def _convert_assistant_message(message: ChatMessage) -> AIMessage:
    """Convert the text and tool calls of an answer; drop reasoning and other blocks."""
    additional_kwargs = message.additional_kwargs
    calls: list[ToolCall] = []
    invalid_calls: list[InvalidToolCall] = list(additional_kwargs.get("invalid_tool_calls") or ())
    for block in message.blocks:
        if isinstance(block, ToolCallBlock):
            arguments = _parse_arguments(block.tool_kwargs)
            if isinstance(arguments, dict):
                calls.append(tool_call(name=block.tool_name, args=arguments, id=block.tool_call_id))
            else:
                invalid_calls.append(
                    invalid_tool_call(
                        name=block.tool_name, args=str(block.tool_kwargs), id=block.tool_call_id
                    )
                )
    return AIMessage(
        message.content or "",
        tool_calls=calls,
        invalid_tool_calls=invalid_calls,
        response_metadata=additional_kwargs.get(_SESSION_KEY) or {},
    )


def _parse_arguments(arguments: dict[str, Any] | str) -> Any:
    """Parse arguments that another model may provide as JSON; return None if the JSON is invalid."""
    if isinstance(arguments, dict):
        return arguments
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return None


def _convert_content(message: ChatMessage) -> str | list[str | dict[str, Any]]:
    text = message.content or ""
    other_blocks = [
        _convert_block(block)
        for block in message.blocks
        if not isinstance(block, TextBlock | CachePoint)
    ]
    return [{"type": "text", "text": text}, *other_blocks] if other_blocks else text


def _convert_block(block: Any) -> dict[str, Any]:
    if isinstance(block, ImageBlock | DocumentBlock):
        block_type = "image" if isinstance(block, ImageBlock) else "file"
        return {"type": block_type, "url": str(block.url) if block.url else block.inline_url()}
    return {"type": block.block_type}  # the error message will contain the type
