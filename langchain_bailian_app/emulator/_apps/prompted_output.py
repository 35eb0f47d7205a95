"""Answers in the format that a request demands: tool calls, or JSON.

No model is involved. The words of the question select the tool. The values are the numbers and quoted
strings in the question, or the whole question. Pure: takes a `Turn`, returns a string or None.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_bailian_app.emulator._apps.phrases import select_phrases
from langchain_bailian_app.emulator._apps.turn import Turn
from langchain_bailian_app.emulator.text import split_words

_TOOLS_BLOCK = re.compile(r"<tools>\s*(.*?)\s*</tools>", re.DOTALL)
_FORCED_CALL = re.compile(
    r"必须调用函数(?: (\S+?))?。|must call (?:a|the) function(?: (\S+?))?\.(?:\s|$)"
)
_TOOL_CALL_NAME = re.compile(r'<tool_call>\s*\{\s*"name"\s*:\s*"([^"]+)"')
_TOOL_RESPONSE = re.compile(r"^<tool_response>\n(.*)\n</tool_response>$", re.MULTILINE)
_JSON_ONLY = re.compile(
    r"请只(?:用(?:一个)? ?JSON|回复改正后的完整 JSON)"
    r"|(?:Answer|Reply) with (?:one |the whole corrected )?JSON (?:object )?only"
)
_MAX_DEPTH = 4  # nesting levels, since a schema may be recursive
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_QUOTATION = re.compile(r"[「“‘]([^」”’]+)[」”’]|(?<!\w)['\"]([^'\"]+)['\"]")
_QUOTED_KEY = re.compile(r"[`'](\w+)[`']")


def build_prompted_output(turn: Turn) -> str | None:
    """Return the answer in the format that the request demands; None if it demands no format."""
    if tools := _parse_tools(turn.system):
        return _call_tool_or_report(turn, tools)
    if _JSON_ONLY.search(turn.prompt):
        return _dump_json(_build_json_answer(turn.prompt))
    return None


def _call_tool_or_report(turn: Turn, tools: Sequence[Mapping[str, Any]]) -> str | None:
    question, called_tools = _find_question_and_calls(turn)
    tool = _select_tool(question, tools, called_tools, _FORCED_CALL.search(turn.system))
    if tool is not None:
        arguments = fill_schema({"type": "object"} | (tool.get("parameters") or {}), question)
        return (
            f"<tool_call>\n{_dump_json({'name': tool['name'], 'arguments': arguments})}\n</tool_call>"
        )
    responses = filter(None, map(_parse_object, _TOOL_RESPONSE.findall(turn.prompt)))
    results = [str(result["content"]) for result in responses if "content" in result]
    if not results:
        return None
    phrases = select_phrases(question)
    return f"{phrases.prefix}{phrases.tool_results.format(results='；'.join(results))}".rstrip(" ")


def _find_question_and_calls(turn: Turn) -> tuple[str, list[str]]:
    """Return the question and the names of the tools that were already called for it."""
    called_tools: list[str] = []
    prompt = turn.prompt
    for previous in reversed(turn.history):
        if not prompt.startswith("<tool_response>"):
            break
        called_tools += _TOOL_CALL_NAME.findall(previous.answer)
        prompt = previous.prompt
    return prompt, called_tools


def _select_tool(
    question: str,
    tools: Sequence[Mapping[str, Any]],
    called_tools: list[str],
    forced_call: re.Match[str] | None,
) -> Mapping[str, Any] | None:
    forced_name = forced_call and (forced_call[1] or forced_call[2])
    candidates = [
        tool
        for tool in tools
        if forced_name == tool["name"] or (not forced_name and tool["name"] not in called_tools)
    ]
    for tool in candidates:
        if tool["name"] in question:
            return tool
    if forced_call and candidates:
        return candidates[0]
    if called_tools:
        return None
    question_words = set(split_words(question))
    related = (tool for tool in candidates if question_words & set(_split_tool_words(tool)))
    return next(related, None) or next(
        (t for t in candidates if _has_enough_numbers(t, question)), None
    )


def _has_enough_numbers(tool: Mapping[str, Any], question: str) -> bool:
    """Return whether a tool requires only numbers and the question contains enough of them."""
    parameters = tool.get("parameters") or {}
    properties = parameters.get("properties") or {}
    types = [properties.get(name, {}).get("type") for name in parameters.get("required") or ()]
    only_numbers = bool(types) and {"integer", "number"}.issuperset(types)
    return only_numbers and len(_NUMBER.findall(question)) >= len(types)


def _parse_tools(system: str) -> Sequence[Mapping[str, Any]]:
    """Return the functions between the `<tools>` tags; none of them if any line is not a function."""
    match = _TOOLS_BLOCK.search(system)
    tools = [_parse_object(line) for line in match[1].splitlines()] if match else []
    functions = [tool.get("function") if tool else None for tool in tools]
    valid = [f for f in functions if isinstance(f, dict) and isinstance(f.get("name"), str)]
    return valid if len(valid) == len(functions) else []


def _parse_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _split_tool_words(tool: Mapping[str, Any]) -> list[str]:
    return split_words(f"{tool['name'].replace('_', ' ')} {tool.get('description') or ''}")


def _build_json_answer(prompt: str) -> Any:
    """Build a value for the last JSON Schema in a prompt; without one, fill in the quoted keys."""
    before, keyword, after = prompt.rpartition("JSON Schema")
    start = after.find("{")
    schema = _parse_object(after[start:].strip()) if keyword and start >= 0 else None
    if schema is not None:
        return fill_schema(schema, before.strip().partition("\n")[0])
    question = prompt.partition("\n")[0]
    return dict.fromkeys(_QUOTED_KEY.findall(prompt) or ["answer"], question)


def fill_schema(schema: Mapping[str, Any], question: str) -> Any:
    """Build a value for a JSON Schema; objects have only their required properties."""
    return _SchemaFiller(schema, question).fill(schema)


class _SchemaFiller:
    """Builder of values that uses the numbers and quotations of a question in order."""

    def __init__(self, root: Mapping[str, Any], question: str) -> None:
        self._root = root
        self._depth = 0
        self._question = question
        self._numbers = iter(_NUMBER.findall(question))
        self._quotations = iter([a or b for a, b in _QUOTATION.findall(question)])

    def fill(self, schema: Mapping[str, Any]) -> Any:
        schema = _resolve_schema(schema, self._root)
        choices = [schema["const"]] if "const" in schema else schema.get("enum")
        if choices:
            return next((choice for choice in choices if str(choice) in self._question), choices[0])
        type_name = schema.get("type", "object" if "properties" in schema else "string")
        type_name = type_name[0] if isinstance(type_name, list) else type_name
        if type_name in {"object", "array"}:
            self._depth += 1
            truncated: Any = [] if type_name == "array" else None
            value = self._fill_container(schema, type_name) if self._depth <= _MAX_DEPTH else truncated
            self._depth -= 1
            return value
        constants = {"boolean": True, "null": None}
        return constants[type_name] if type_name in constants else self._take_scalar(type_name)

    def _fill_container(self, schema: Mapping[str, Any], type_name: str) -> Any:
        if type_name == "array":
            item = self.fill(schema.get("items") or {})
            return [] if item is None else [item]
        properties = schema.get("properties") or {}
        return {name: self.fill(properties.get(name, {})) for name in schema.get("required") or ()}

    def _take_scalar(self, type_name: str) -> Any:
        if type_name in {"integer", "number"}:
            number = float(next(self._numbers, "1"))
            return int(number) if type_name == "integer" else number
        return next(self._quotations, self._question)


def _resolve_schema(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Resolve references, and select the first of several alternatives."""
    for keyword in ("anyOf", "oneOf", "allOf"):
        if alternatives := schema.get(keyword):
            return _resolve_schema(alternatives[0], root)
    if reference := schema.get("$ref"):
        target: Any = root
        for name in reference.removeprefix("#").strip("/").split("/"):
            target = target.get(name, {}) if isinstance(target, dict) else {}
        return (
            _resolve_schema(target, root) if target is not schema and isinstance(target, dict) else {}
        )
    return schema


def _dump_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
