"""Answers in a form that the request itself demands: calls of the tools it describes, or JSON.

No model is involved: which tool is meant is told by the words of the question, and values are taken
from its numbers, its quotations, or the whole of it. Pure: a `Turn` in, a text out.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_bailian_app.emulator.phrases import phrases_for
from langchain_bailian_app.emulator.turns import Turn
from langchain_bailian_app.emulator.wording import words

_TOOLS = re.compile(r"<tools>\s*(.*?)\s*</tools>", re.DOTALL)
_MUST = re.compile(r"必须调用函数(?: ([\w-]+))?|must call (?:a|the) function(?: ([\w-]+))?")
_CALLED = re.compile(r'<tool_call>\s*\{\s*"name"\s*:\s*"([\w-]+)"')
_RESULT = re.compile(r"<tool_response>\s*(.*?)\s*</tool_response>", re.DOTALL)
_JSON_ONLY = re.compile(r"只用(?:一个)? ?JSON|JSON (?:object )?only")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_QUOTATION = re.compile(r"[「“‘]([^」”’]+)[」”’]|(?<!\w)['\"]([^'\"]+)['\"]")
_KEY = re.compile(r"`(\w+)`")


def obedient_text(turn: Turn) -> str | None:
    """What to say in the form that is wanted, or None if the request wants none."""
    tools = _TOOLS.search(turn.system)
    if tools is not None:
        described = [json.loads(line)["function"] for line in tools[1].splitlines() if line.strip()]
        return _call(turn, described)
    if _JSON_ONLY.search(turn.prompt):
        return _json(_wanted(turn.prompt))
    return None


def _call(turn: Turn, tools: Sequence[Mapping[str, Any]]) -> str | None:
    question, called = _so_far(turn)
    tool = _next_tool(question, tools, called, _MUST.search(turn.system))
    if tool is not None:
        arguments = filled({"type": "object"} | (tool.get("parameters") or {}), question)
        return f"<tool_call>\n{_json({'name': tool['name'], 'arguments': arguments})}\n</tool_call>"
    results = [json.loads(result)["content"] for result in _RESULT.findall(turn.prompt)]
    if not results:
        return None
    phrases = phrases_for(question)
    return f"{phrases.prefix}{phrases.results.format(results='；'.join(results))}".rstrip(" ")


def _so_far(turn: Turn) -> tuple[str, list[str]]:
    """The question, and the tools that were called for it."""
    called: list[str] = []
    prompt = turn.prompt
    for said in reversed(turn.history):
        if not prompt.startswith("<tool_response>"):
            break
        called += _CALLED.findall(said.answer)
        prompt = said.prompt
    return prompt, called


def _next_tool(
    question: str, tools: Sequence[Mapping[str, Any]], called: list[str], must: re.Match[str] | None
) -> Mapping[str, Any] | None:
    named = must and (must[1] or must[2])
    left = [
        tool for tool in tools if named == tool["name"] or (not named and tool["name"] not in called)
    ]
    for tool in left:
        if tool["name"] in question:
            return tool
    if must and left:
        return left[0]
    if called:
        return None
    asked = set(words(question))
    return next((tool for tool in left if asked & set(_described(tool))), None)


def _described(tool: Mapping[str, Any]) -> list[str]:
    return words(f"{tool['name'].replace('_', ' ')} {tool.get('description') or ''}")


def _wanted(prompt: str) -> Any:
    """A value by the last JSON Schema of a prompt, else an object with the keys that it names."""
    before, found, after = prompt.rpartition("JSON Schema")
    start = after.find("{")
    if found and start >= 0:
        schema, _ = json.JSONDecoder().raw_decode(after[start:])
        return filled(schema, before.strip().partition("\n")[0])
    question = prompt.partition("\n")[0]
    return dict.fromkeys(_KEY.findall(prompt) or ["answer"], question)


def filled(schema: Mapping[str, Any], question: str) -> Any:
    """A value of a JSON Schema; of an object, what is required."""
    return _Filler(schema, question).value(schema)


class _Filler:
    """Takes numbers and quotations of a question one after the other."""

    def __init__(self, root: Mapping[str, Any], question: str) -> None:
        self._root = root
        self._question = question
        self._numbers = iter(_NUMBER.findall(question))
        self._quotations = iter([a or b for a, b in _QUOTATION.findall(question)])

    def value(self, part: Mapping[str, Any]) -> Any:
        part = _resolved(part, self._root)
        choices = [part["const"]] if "const" in part else part.get("enum")
        if choices:
            return next((choice for choice in choices if str(choice) in self._question), choices[0])
        kind = part.get("type", "object" if "properties" in part else "string")
        plain = {"boolean": True, "null": None}
        return plain[kind] if kind in plain else getattr(self, f"_{kind}")(part)

    def _object(self, part: Mapping[str, Any]) -> dict[str, Any]:
        members = part.get("properties") or {}
        return {name: self.value(members.get(name, {})) for name in part.get("required") or ()}

    def _array(self, part: Mapping[str, Any]) -> list[Any]:
        return [self.value(part.get("items") or {})]

    def _integer(self, _: Mapping[str, Any]) -> int:
        return int(float(next(self._numbers, "1")))

    def _number(self, _: Mapping[str, Any]) -> float:
        return float(next(self._numbers, "1"))

    def _string(self, _: Mapping[str, Any]) -> str:
        return next(self._quotations, self._question)


def _resolved(part: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first of alternatives, and what a reference names."""
    for choice in ("anyOf", "oneOf", "allOf"):
        if part.get(choice):
            return _resolved(part[choice][0], root)
    if reference := part.get("$ref"):
        for name in reference.removeprefix("#/").split("/"):
            root = root[name]
        return root
    return part


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
