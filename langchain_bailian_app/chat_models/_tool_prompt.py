"""Tool calling emulated by prompting.

The service has no fields for the caller's tools or their results. So the request describes the tools
in text, and asks for calls in the format that `_answer.tool_calls` parses. The model may ignore these
instructions.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_bailian_app._answer.tool_calls import CLOSING_TAG, OPENING_TAG, ToolCallParser
from langchain_bailian_app._request.attachments import split_content
from langchain_bailian_app._request.transcript import detect_language, find_last_question

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_bailian_app._answer.answer import Answer

_CHOICES = {"auto": "auto", "any": "any", "required": "any", "none": "none"}
_NOT_RUN_TEXT = "not run: the call is malformed, or the function does not exist"
_TEMPLATES = {
    "zh": {
        "tools": "# 工具\n\n除了你自己的工具，你还可以调用下面的函数，由用户执行：\n"
        "<tools>\n{tools}\n</tools>\n\n"
        "要调用函数，就在 <tool_call> 标签里写一个 JSON 对象：\n"
        '<tool_call>\n{{"name": "函数名", "arguments": {{"参数名": 参数值}}}}\n</tool_call>\n\n'
        "{choice}\n结果会放在 <tool_response> 标签里发给你，不要自己编写结果。",
        "auto": "不需要函数时，直接回答。",
        "any": "这一次必须调用函数。",
        "name": "这一次必须调用函数 {name}。",
        "parallel": "可以一次写几个这样的块，调用几个函数。",
        "single": "一次只能调用一个函数。",
        "retry": "没有执行任何函数：{reason}\n\n请按照要求的格式，重新写出完整的 <tool_call>。",
    },
    "en": {
        "tools": "# Tools\n\n"
        "Besides your own tools, you can call the following functions, which the user runs:\n"
        "<tools>\n{tools}\n</tools>\n\n"
        "To call a function, write a JSON object between <tool_call> tags:\n"
        '<tool_call>\n{{"name": "function name", "arguments": {{"argument name": value}}}}\n'
        "</tool_call>\n\n"
        "{choice}\nThe results are sent to you in <tool_response> tags. Never write results yourself.",
        "auto": "If no function is needed, just answer.",
        "any": "This time you must call a function.",
        "name": "This time you must call the function {name}.",
        "parallel": "You can write several such blocks to call several functions at once.",
        "single": "Call only one function at a time.",
        "retry": "No function was run: {reason}\n\n"
        "Write the whole <tool_call> again, in the required format.",
    },
}


@dataclass(frozen=True, slots=True)
class ToolPrompt:
    """Tools of one call, and the choice among them."""

    tools: tuple[dict[str, Any], ...]
    """Definitions in OpenAI format."""

    choice: str = "auto"
    """`"auto"`, `"any"`, or the name of the tool that must be called."""

    parallel: bool = True

    @property
    def requires_call(self) -> bool:
        """Whether the answer must contain a call."""
        return self.choice != "auto"

    @property
    def allowed_names(self) -> list[str]:
        """Names of the functions that may be called."""
        names = map(_tool_name, self.tools)
        return [name for name in names if self.choice in {"auto", "any", name}]

    def add_instructions(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """Return the messages with a description of the tools, and with calls and results as text.

        The description is appended to the caller's system message, because an application accepts
        instructions there.
        """
        templates = _templates_for(messages)
        choice_key = self.choice if self.choice in {"auto", "any"} else "name"
        choice_text = templates[choice_key].format(name=self.choice)
        parallel_text = templates["parallel" if self.parallel else "single"]
        tool_lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in self.tools)
        text = templates["tools"].format(tools=tool_lines, choice=f"{parallel_text}\n{choice_text}")
        rendered = render_tool_messages(messages)
        index = next((index for index, m in enumerate(rendered) if isinstance(m, SystemMessage)), None)
        system_content = None if index is None else rendered.pop(index).content
        if isinstance(system_content, list):
            return [
                SystemMessage([*system_content, {"type": "text", "text": f"\n\n{text}"}]),
                *rendered,
            ]
        return [SystemMessage(f"{system_content}\n\n{text}" if system_content else text), *rendered]

    def new_parser(self) -> ToolCallParser:
        """Return a parser for the calls in an answer."""
        return ToolCallParser(self.allowed_names, only_one=not self.parallel)

    def retry_reason(self, answer: Answer) -> str | None:
        """Return the reason for a retry, or None if the answer can be used."""
        if any(call.problem is None for call in answer.tool_calls):
            return None
        if answer.tool_calls:
            return "; ".join(dict.fromkeys(call.problem or "" for call in answer.tool_calls))
        if not self.requires_call:
            return None
        return f"the answer does not call {' or '.join(self.allowed_names)}"

    def build_retry_messages(
        self, messages: Sequence[BaseMessage], answer: Answer
    ) -> list[BaseMessage]:
        """Return the messages to append for a retry."""
        calls = dict.fromkeys(call.text for call in answer.tool_calls)  # several may share tags
        answer_text = "\n".join(filter(None, (answer.text, *calls)))
        retry = HumanMessage(_templates_for(messages)["retry"].format(reason=self.retry_reason(answer)))
        return [*([AIMessage(answer_text)] if answer_text.strip() else []), retry]


def tool_prompt_from_kwargs(kwargs: Mapping[str, Any]) -> ToolPrompt | None:
    """Return the tool prompt for the arguments of a call, or None if no tool may be called.

    Raises:
        ValueError: A tool or `tool_choice` is invalid.
    """
    tools = tuple(convert_to_openai_tool(tool) for tool in kwargs.get("tools") or ())
    choice = _parse_tool_choice(kwargs.get("tool_choice"), [_tool_name(tool) for tool in tools])
    if not tools or choice == "none":
        return None
    return ToolPrompt(tools, choice, kwargs.get("parallel_tool_calls") is not False)


def _parse_tool_choice(value: Any, names: Sequence[str]) -> str:
    """Convert any accepted notation to `"auto"`, `"any"`, `"none"` or the name of a tool."""
    if value is None or value is False:
        return "auto"
    choice = "any" if value is True else value
    if isinstance(choice, dict):  # in OpenAI or Anthropic format
        choice = choice.get("function") or choice
        choice = choice.get("name", choice.get("type")) if isinstance(choice, dict) else choice
    if isinstance(choice, str) and (choice in names or choice in _CHOICES):
        return choice if choice in names else _CHOICES[choice]
    message = f"invalid `tool_choice`: expected 'auto', 'any', 'none' or one of {names}, got {value!r}"
    raise ValueError(message)


def _tool_name(tool: dict[str, Any]) -> str:
    function = tool.get("function")
    if not isinstance(function, dict) or not function.get("name"):
        message = (
            f"invalid tool {tool!r}: expected a function; an application cannot use a provider's "
            "built-in tools"
        )
        raise ValueError(message)
    return str(function["name"])


def _templates_for(messages: Sequence[BaseMessage]) -> dict[str, str]:
    """Return the templates in the language of the last question."""
    questions = [m for m in messages if not m.text.startswith("<tool_response>")]
    index = find_last_question(questions)
    return _TEMPLATES["en" if index is None else detect_language(questions[index].text)]


def render_tool_messages(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return messages that an application accepts, with calls and results as text.

    A call becomes part of an AI message, and a result becomes part of a human message.
    """
    rendered: list[BaseMessage] = []
    remaining = deque(messages)
    while remaining:
        message = remaining.popleft()
        if isinstance(message, AIMessage):
            rendered.append(_render_calls(message))
            rendered += _render_results(message, _take_tool_messages(remaining))
        elif isinstance(message, ToolMessage):  # the AI message with its call is missing
            rendered += _render_results(AIMessage(""), [message, *_take_tool_messages(remaining)])
        else:
            rendered.append(message)
    return rendered


def _take_tool_messages(remaining: deque[BaseMessage]) -> list[ToolMessage]:
    """Remove and return the tool messages at the beginning."""
    results = []
    while remaining and isinstance(first := remaining[0], ToolMessage):
        results.append(first)
        remaining.popleft()
    return results


def _render_calls(message: AIMessage) -> AIMessage:
    calls = [
        f"{OPENING_TAG}\n{_dump_json({'name': call['name'], 'arguments': call['args']})}\n{CLOSING_TAG}"
        for call in message.tool_calls
    ]
    # `args` is either text from an answer, including tags that several calls may share, or invalid
    # arguments written by another model.
    for text, name in {call["args"] or "": call["name"] for call in message.invalid_tool_calls}.items():
        calls.append(
            text if text.startswith(OPENING_TAG) else f"{OPENING_TAG}\n{name}\n{text}\n{CLOSING_TAG}"
        )
    if not calls:
        return message
    text = "\n".join(filter(None, (message.text, *calls)))
    return AIMessage(text, response_metadata=message.response_metadata)


def _render_results(message: AIMessage, results: list[ToolMessage]) -> list[BaseMessage]:
    """Return a message with the results of an answer's calls, in the order of the calls."""
    names_by_id = {call["id"]: call["name"] for call in message.tool_calls}
    positions = {call_id: position for position, call_id in enumerate(names_by_id)}
    blocks: list[Any] = []
    for result in sorted(results, key=lambda r: positions.get(r.tool_call_id, len(positions))):
        blocks += _render_result(result, result.name or names_by_id.get(result.tool_call_id))
    answered_ids = {result.tool_call_id for result in results}
    for call in message.invalid_tool_calls:
        if call["id"] not in answered_ids:
            blocks.append(_tool_response_block(call["name"], _NOT_RUN_TEXT, error=True))
    if not blocks:
        return []
    if all(block.get("type") == "text" for block in blocks):
        return [HumanMessage("\n".join(block["text"] for block in blocks))]
    return [HumanMessage(blocks)]


def _render_result(result: ToolMessage, name: str | None) -> Iterator[dict[str, Any]]:
    text, attachments = split_content(result.content)
    yield _tool_response_block(name, text, error=result.status == "error")
    yield from attachments


def _tool_response_block(name: str | None, content: str, *, error: bool) -> dict[str, Any]:
    payload: dict[str, Any] = {"name": name} if name else {}
    if error:
        payload["status"] = "error"
    text = _dump_json(payload | {"content": content})
    return {"type": "text", "text": f"<tool_response>\n{text}\n</tool_response>"}


def _dump_json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
