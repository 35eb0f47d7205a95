"""Tool calls and their results as text of a conversation, for a service that has no field for them."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_bailian_app._attachments import part_of
from langchain_bailian_app._tool_calls import CLOSING, OPENING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NOT_RUN = "not run: the call cannot be read, or there is no such function"


def with_calls_as_text(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return messages that an application can be told: calls in answers, results in user messages."""
    told: list[BaseMessage] = []
    left = deque(messages)
    while left:
        message = left.popleft()
        if isinstance(message, AIMessage):
            told.append(_answer(message))
            told += _results(message, _taken(left))
        elif isinstance(message, ToolMessage):  # of an answer that was left out
            told += _results(AIMessage(""), [message, *_taken(left)])
        else:
            told.append(message)
    return told


def _taken(left: deque[BaseMessage]) -> list[ToolMessage]:
    """Take the results that come first."""
    results = []
    while left and isinstance(first := left[0], ToolMessage):
        results.append(first)
        left.popleft()
    return results


def _answer(message: AIMessage) -> AIMessage:
    calls = [
        f"{OPENING}\n{_json({'name': call['name'], 'arguments': call['args']})}\n{CLOSING}"
        for call in message.tool_calls
    ]
    # As it stood in an answer, where several may share their tags; or as another model has written it.
    for text, name in {call["args"] or "": call["name"] for call in message.invalid_tool_calls}.items():
        calls.append(text if text.startswith(OPENING) else f"{OPENING}\n{name}\n{text}\n{CLOSING}")
    if not calls:
        return message
    text = "\n".join(filter(None, (message.text, *calls)))
    return AIMessage(text, response_metadata=message.response_metadata)


def _results(message: AIMessage, results: list[ToolMessage]) -> list[BaseMessage]:
    """Return the results of an answer's calls as one message, in the order of the calls."""
    names = {call["id"]: call["name"] for call in message.tool_calls}
    places = {call_id: place for place, call_id in enumerate(names)}
    blocks: list[Any] = []
    for result in sorted(results, key=lambda result: places.get(result.tool_call_id, len(places))):
        blocks += _result(result, result.name or names.get(result.tool_call_id))
    answered = {result.tool_call_id for result in results}
    for call in message.invalid_tool_calls:
        if call["id"] not in answered:
            blocks.append(_response(call["name"], _NOT_RUN, error=True))
    if not blocks:
        return []
    if all(block.get("type") == "text" for block in blocks):
        return [HumanMessage("\n".join(block["text"] for block in blocks))]
    return [HumanMessage(blocks)]


def _result(result: ToolMessage, name: str | None) -> Iterator[dict[str, Any]]:
    content = [result.content] if isinstance(result.content, str) else result.content
    parts = [(part_of(block), block) for block in content]
    text = "".join(value for (kind, value), _ in parts if kind == "text")
    yield _response(name, text, error=result.status == "error")
    for (kind, _), block in parts:
        if kind != "text" and isinstance(block, dict):  # images and files
            yield block


def _response(name: str | None, content: str, *, error: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"name": name} if name else {}
    if error:
        told["status"] = "error"
    text = _json(told | {"content": content})
    return {"type": "text", "text": f"<tool_response>\n{text}\n</tool_response>"}


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
