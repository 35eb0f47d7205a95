"""Messages in the form of the memory library, from LangChain messages, dicts or text."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    MessageLikeRepresentation,
    ToolMessage,
    convert_to_messages,
)

Messages: TypeAlias = str | BaseMessage | Sequence[MessageLikeRepresentation]
"""Text of one message of the user, a message, or a conversation: LangChain messages, or dicts
`{"role": …, "content": …}`, which are sent as they are."""

_ROLES = ("user", "assistant", "tool")
_PART_TYPES = ("text", "image_url")


def to_wire_messages(messages: Messages) -> list[dict[str, Any]]:
    """Return the messages of a conversation as dicts in OpenAI's form.

    Of an answer, the text and the tool calls are sent, without reasoning and steps.

    Raises:
        ValueError: No message has content, or one cannot be sent: its role is not user, assistant or
            tool, or it contains something other than text and images.
    """
    items: Any = [messages] if isinstance(messages, str | BaseMessage) else messages
    if not isinstance(items, Sequence):
        message = f"invalid `messages`: expected text or a list, got {type(items).__name__}"
        raise ValueError(message)  # noqa: TRY004  # like all invalid values
    wire_messages = [_to_wire(item, number) for number, item in enumerate(items)]
    if not any(map(_has_content, wire_messages)):
        message = "invalid `messages`: expected at least one message with content"
        raise ValueError(message)
    return wire_messages


def _has_content(wire_message: Mapping[str, Any]) -> bool:
    content = wire_message.get("content")
    return bool(content.strip() if isinstance(content, str) else content)


def _to_wire(item: MessageLikeRepresentation, number: int) -> dict[str, Any]:
    if isinstance(item, Mapping) and item.get("role") in _ROLES:
        return _check_dict(item, number)
    try:
        (message,) = convert_to_messages([item])
    except (KeyError, NotImplementedError, ValueError) as exc:
        problem = f"expected a message: {exc}"
        raise ValueError(_describe(number, problem)) from exc
    if isinstance(message, ToolMessage):
        return {"role": "tool", "content": message.text, "tool_call_id": message.tool_call_id}
    role = message.role if isinstance(message, ChatMessage) else message.type
    if isinstance(message, AIMessage) or role == "assistant":
        tool_calls = _to_wire_tool_calls(message) if isinstance(message, AIMessage) else []
        calls = {"tool_calls": tool_calls} if tool_calls else {}
        return {"role": "assistant", "content": message.text} | calls
    if isinstance(message, HumanMessage) or role == "user":
        return {"role": "user", "content": _to_wire_content(message, number)}
    return _reject(number, f"expected the role user, assistant or tool, got {role!r}; leave it out")


def _to_wire_content(message: BaseMessage, number: int) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str):
        return message.content
    parts: list[dict[str, Any]] = []
    for block in message.content_blocks:
        if block["type"] == "text":
            parts.append({"type": "text", "text": block["text"]})
        elif block["type"] == "image" and (url := _find_image_url(block)):
            parts.append({"type": "image_url", "image_url": {"url": url}})
        else:
            kind = (
                f"{block['type']!r} without URL or data" if block["type"] == "image" else block["type"]
            )
            _reject(number, f"expected text and images, got {kind}; leave it out")
    return message.text if all(part["type"] == "text" for part in parts) else parts


def _find_image_url(block: Mapping[str, Any]) -> str | None:
    if url := block.get("url"):
        return str(url)
    data = block.get("base64")
    return f"data:{block.get('mime_type') or 'image/jpeg'};base64,{data}" if data else None


def _to_wire_tool_calls(message: AIMessage) -> list[dict[str, Any]]:
    calls = [
        (call["id"], call["name"], json.dumps(call["args"], ensure_ascii=False))
        for call in message.tool_calls
    ]
    calls += [
        (call["id"], call["name"] or "", call["args"] or "") for call in message.invalid_tool_calls
    ]
    return [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, name, arguments in calls
    ]


def _check_dict(wire_message: Mapping[str, Any], number: int) -> dict[str, Any]:
    content = wire_message.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        for part in content:
            if not isinstance(part, Mapping) or part.get("type") not in _PART_TYPES:
                _reject(number, "expected parts of type text or image_url")
    elif content is not None and not isinstance(content, str):
        _reject(number, f"expected `content` as text or a list, got {type(content).__name__}")
    if wire_message["role"] == "tool" and not wire_message.get("tool_call_id"):
        _reject(number, "expected a `tool_call_id`, because its role is tool")
    return dict(wire_message)


def _reject(number: int, problem: str) -> NoReturn:
    raise ValueError(_describe(number, problem))


def _describe(number: int, problem: str) -> str:
    return f"invalid `messages[{number}]`: {problem}"
