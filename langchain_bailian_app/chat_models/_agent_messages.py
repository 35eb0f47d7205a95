"""Messages of other agents in a call without tools, for example of a worker in a multi-agent graph.

Such a call gets the messages of all agents: their tool calls, the results, and the handoffs of
langgraph-supervisor and langgraph-swarm. An application accepts only text. So handoffs and calls are
omitted, results become text with a label, and the newest human message is the question.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_bailian_app._request.attachments import split_content
from langchain_bailian_app._request.transcript import detect_language, find_last_question

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages.tool import ToolCall

# Marks that langgraph-supervisor sets in `response_metadata`. langgraph-swarm sets none.
_HANDOFF_DESTINATION = "__handoff_destination"
_IS_HANDOFF_BACK = "__is_handoff_back"
_HANDOFF_TOOL_NAME = re.compile("transfer_(?:back_)?to_")
_HANDOFF_RESULT = re.compile("Successfully transferred (?:back )?to ")
_LABELS = {
    "zh": {"success": "工具 {call} 的结果：\n{text}", "error": "工具 {call} 出错：\n{text}"},
    "en": {"success": "Result of the tool {call}:\n{text}", "error": "The tool {call} failed:\n{text}"},
}


def render_without_tools(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return messages that an application accepts in a call without tools.

    If other agents have answered since the newest human message, it is moved to the end. Images and
    files in results stay human messages.

    Raises:
        ValueError: A result contains something other than text, images and files.
    """
    question = find_last_question(messages)
    is_last = question is None or not any(map(_is_from_agent, messages[question + 1 :]))
    calls = _calls_by_id(messages)
    rendered: list[BaseMessage] = []
    for position, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            call = calls.get(message.tool_call_id)
            if not _is_handoff(message, call):
                text = "" if question is None else messages[question].text
                rendered += _render_result(message, call, text)
        elif not (isinstance(message, AIMessage) and _has_no_answer(message)) and (
            is_last or position != question
        ):
            rendered.append(message)
    if question is not None and not is_last:
        rendered.append(messages[question])
    return rendered


def has_new_results(messages: Sequence[BaseMessage]) -> bool:
    """Return whether there are results of tools, except handoffs, after the newest human message."""
    question = find_last_question(messages)
    calls = _calls_by_id(messages)
    return any(
        isinstance(message, ToolMessage) and not _is_handoff(message, calls.get(message.tool_call_id))
        for message in messages[0 if question is None else question + 1 :]
    )


def _is_from_agent(message: BaseMessage) -> bool:
    """Return whether an agent wrote a message: LangGraph's agents have names, which it puts there."""
    if isinstance(message, AIMessage):
        return bool(message.name or message.tool_calls or message.invalid_tool_calls)
    return isinstance(message, ToolMessage)


def _calls_by_id(messages: Sequence[BaseMessage]) -> dict[str | None, ToolCall]:
    calls = (m.tool_calls for m in messages if isinstance(m, AIMessage))
    return {call["id"]: call for tool_calls in calls for call in tool_calls}


def _is_handoff(result: ToolMessage, call: ToolCall | None) -> bool:
    """Return whether a result only reports that another agent takes over.

    The handoff tools of both libraries have no arguments for the model, which other tools with such a
    name or result have (`transfer_to_account`).
    """
    if {_HANDOFF_DESTINATION, _IS_HANDOFF_BACK} & result.response_metadata.keys():
        return True
    if call is not None and call["args"]:
        return False
    name = result.name or (call["name"] if call else "")
    return bool(_HANDOFF_TOOL_NAME.match(name) or _HANDOFF_RESULT.match(result.text))


def _has_no_answer(message: AIMessage) -> bool:
    """Return whether a message contains only tool calls, or reports the end of a handoff."""
    has_calls = message.tool_calls or message.invalid_tool_calls
    return _IS_HANDOFF_BACK in message.response_metadata or bool(has_calls and not message.text.strip())


def _render_result(result: ToolMessage, call: ToolCall | None, question: str) -> list[BaseMessage]:
    text, attachments = split_content(result.content)
    labels = _LABELS[detect_language(question)]
    label = labels[result.status].format(call=_describe_call(result, call), text=text)
    return [AIMessage(label), *([HumanMessage(attachments)] if attachments else [])]


def _describe_call(result: ToolMessage, call: ToolCall | None) -> str:
    """Return the name of a tool and its arguments, if they are known."""
    if call is None:
        return result.name or result.tool_call_id
    arguments: Any = json.dumps(call["args"], ensure_ascii=False, default=str) if call["args"] else ""
    return f"{result.name or call['name']}({arguments})"
