"""Answers in a form that the request itself demands: calls of the tools it describes, or JSON.

No model is involved: which tool is meant is told by the words of the question, and values are taken
from its numbers, its quotations, or the whole of it. Pure: a `Turn` in, a text out.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_bailian_app.emulator._apps.phrases import phrases_for
from langchain_bailian_app.emulator._apps.turn import Turn
from langchain_bailian_app.emulator.text import words

_TOOLS = re.compile(r"<tools>\s*(.*?)\s*</tools>", re.DOTALL)
_MUST = re.compile(r"必须调用函数(?: (\S+?))?。|must call (?:a|the) function(?: (\S+?))?\.(?:\s|$)")
_CALLED = re.compile(r'<tool_call>\s*\{\s*"name"\s*:\s*"([^"]+)"')
_RESULT = re.compile(r"^<tool_response>\n(.*)\n</tool_response>$", re.MULTILINE)
_JSON_ONLY = re.compile(
    r"请只(?:用(?:一个)? ?JSON|回复改正后的完整 JSON)"
    r"|(?:Answer|Reply) with (?:one |the whole corrected )?JSON (?:object )?only"
)
_DEEPEST = 4  # levels of a value that a schema makes of itself
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_QUOTATION = re.compile(r"[「“‘]([^」”’]+)[」”’]|(?<!\w)['\"]([^'\"]+)['\"]")
_KEY = re.compile(r"[`'](\w+)[`']")


def obedient_text(turn: Turn) -> str | None:
    """What to say in the form that is wanted, or None if the request wants none."""
    if tools := _described(turn.system):
        return _call(turn, tools)
    if _JSON_ONLY.search(turn.prompt):
        return _json(_wanted(turn.prompt))
    return None


def _call(turn: Turn, tools: Sequence[Mapping[str, Any]]) -> str | None:
    question, called = _so_far(turn)
    tool = _next_tool(question, tools, called, _MUST.search(turn.system))
    if tool is not None:
        arguments = filled({"type": "object"} | (tool.get("parameters") or {}), question)
        return f"<tool_call>\n{_json({'name': tool['name'], 'arguments': arguments})}\n</tool_call>"
    told = filter(None, map(_object, _RESULT.findall(turn.prompt)))
    results = [str(result["content"]) for result in told if "content" in result]
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
    of_these_words = (tool for tool in left if asked & set(_words_of(tool)))
    return next(of_these_words, None) or next((t for t in left if _reckons(t, question)), None)


def _reckons(tool: Mapping[str, Any], question: str) -> bool:
    """Whether all that it needs is numbers, and the question has them."""
    parameters = tool.get("parameters") or {}
    members = parameters.get("properties") or {}
    kinds = [members.get(name, {}).get("type") for name in parameters.get("required") or ()]
    only_numbers = bool(kinds) and {"integer", "number"}.issuperset(kinds)
    return only_numbers and len(_NUMBER.findall(question)) >= len(kinds)


def _described(system: str) -> Sequence[Mapping[str, Any]]:
    """The functions between the tags; none if anything else stands there."""
    found = _TOOLS.search(system)
    tools = [_object(line) for line in found[1].splitlines()] if found else []
    functions = [tool.get("function") if tool else None for tool in tools]
    known = [f for f in functions if isinstance(f, dict) and isinstance(f.get("name"), str)]
    return known if len(known) == len(functions) else []


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _words_of(tool: Mapping[str, Any]) -> list[str]:
    return words(f"{tool['name'].replace('_', ' ')} {tool.get('description') or ''}")


def _wanted(prompt: str) -> Any:
    """A value by the last JSON Schema of a prompt, else an object with the keys that it names."""
    before, found, after = prompt.rpartition("JSON Schema")
    start = after.find("{")
    schema = _object(after[start:].strip()) if found and start >= 0 else None
    if schema is not None:
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
        self._depth = 0
        self._question = question
        self._numbers = iter(_NUMBER.findall(question))
        self._quotations = iter([a or b for a, b in _QUOTATION.findall(question)])

    def value(self, part: Mapping[str, Any]) -> Any:
        part = _resolved(part, self._root)
        choices = [part["const"]] if "const" in part else part.get("enum")
        if choices:
            return next((choice for choice in choices if str(choice) in self._question), choices[0])
        kind = part.get("type", "object" if "properties" in part else "string")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind in {"object", "array"}:
            self._depth += 1
            deepest: Any = [] if kind == "array" else None
            value = self._nested(part, kind) if self._depth <= _DEEPEST else deepest
            self._depth -= 1
            return value
        plain = {"boolean": True, "null": None}
        return plain[kind] if kind in plain else self._taken(kind)

    def _nested(self, part: Mapping[str, Any], kind: str) -> Any:
        if kind == "array":
            item = self.value(part.get("items") or {})
            return [] if item is None else [item]
        members = part.get("properties") or {}
        return {name: self.value(members.get(name, {})) for name in part.get("required") or ()}

    def _taken(self, kind: str) -> Any:
        if kind in {"integer", "number"}:
            number = float(next(self._numbers, "1"))
            return int(number) if kind == "integer" else number
        return next(self._quotations, self._question)


def _resolved(part: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first of alternatives, and what a reference names."""
    for choice in ("anyOf", "oneOf", "allOf"):
        if parts := part.get(choice):
            return _resolved(parts[0], root)
    if reference := part.get("$ref"):
        found: Any = root
        for name in reference.removeprefix("#").strip("/").split("/"):
            found = found.get(name, {}) if isinstance(found, dict) else {}
        return _resolved(found, root) if found is not part and isinstance(found, dict) else {}
    return part


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
