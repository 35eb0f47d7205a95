"""The form in which an answer is wanted: how it is asked for in words, and read from a text.

The service has no parameter for it: the schema goes into the last question. An answer that does not fit
is asked for once more, with what is wrong.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel

from langchain_bailian_app._answer.text_json import complete, find
from langchain_bailian_app._request.transcript import language_of, last_question
from langchain_bailian_app.chat_models._json_schema import problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Schema = dict[str, Any] | type

_MOST_PROBLEMS = 10
_KINDS: dict[type, str] = {dict: "object", list: "array"}
_TOOL_KEYS = ("function", "parameters", "input_schema", "toolSpec")
_SCHEMA_KEYS = {"type", "properties", "items", "anyOf", "oneOf", "allOf", "$ref"}
_WORDS = {
    "zh": {
        "schema": "请只用 JSON 回答，不要代码块，也不要其他文字。"
        "回答是符合下面 JSON Schema 的数据，不是 Schema 本身：\n\n{schema}",
        "object": "请只用一个 JSON 对象回答，不要代码块，也不要其他文字。",
        "again": "上面的回答不符合要求：{problem}\n\n请只回复改正后的完整 JSON，不要其他文字。",
    },
    "en": {
        "schema": "Answer with JSON only: no code fence, no other text. "
        "The answer is data that fits this JSON Schema, not the schema itself:\n\n{schema}",
        "object": "Answer with one JSON object only: no code fence, no other text.",
        "again": "That answer does not fit: {problem}\n\nReply with the whole corrected JSON only, no "
        "other text.",
    },
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer is, or why it is nothing."""

    parsed: Any = None
    problem: str | None = None


class OutputFormat:
    """What an answer is to fit.

    Args:
        schema: A pydantic class, a `TypedDict` class, a JSON Schema; None for any object.
        told: Whether the application is told the schema, or only that it is to answer with JSON.

    Raises:
        ValueError: The schema is none of these, or not of an object or array.
    """

    def __init__(self, schema: Schema | None, *, told: bool) -> None:
        self._class = schema if isinstance(schema, type) and is_basemodel_subclass(schema) else None
        self._schema = {"type": "object"} if schema is None else _json_schema(schema)
        self._told = told

    def asked(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """Return the messages, with what is wanted at the end of the last question."""
        schema = json.dumps(self._schema, ensure_ascii=False)
        request = _words(messages)["schema" if self._told else "object"].format(schema=schema)
        place = last_question(messages)
        if place is None:  # the model says what is missing
            return list(messages)
        question = messages[place]
        content: Any = f"{question.text}\n\n{request}"
        if not isinstance(question.content, str):
            content = [*question.content, {"type": "text", "text": f"\n\n{request}"}]
        asked = question.model_copy(update={"content": content})
        return [*messages[:place], asked, *messages[place + 1 :]]

    def asked_again(self, asked: Sequence[BaseMessage], answer: str, problem: str) -> list[BaseMessage]:
        """Return the messages that ask for the answer once more."""
        again = HumanMessage(_words(asked)["again"].format(problem=problem))
        told = [AIMessage(answer)] if answer.strip() else []
        return [*asked, *told, again]

    def read(self, answer: str) -> Reading:
        """Read a whole answer: the first JSON in it that fits."""
        found = find(answer)
        wrong = []
        for value in found.values:
            reading = self._fitted(value)
            if reading.problem is None:
                return reading
            wrong.append((len(str(value)), reading.problem))
        if wrong:  # of several, the longest is what was meant
            return Reading(problem=max(wrong)[1])
        if found.begun:
            return Reading(problem="the JSON breaks off before its end")
        return Reading(problem=found.broken or "there is no JSON in it")

    def read_part(self, answer: str) -> Any:
        """Read the beginning of an answer: an instance once it is one, else what has come so far."""
        found = find(answer)
        for value in found.values:
            reading = self._fitted(value)
            if reading.problem is None:
                return reading.parsed
        part = complete(found.begun)
        if self._class is not None and part is not None:
            return self._fitted(part).parsed
        kind = self._schema.get("type")
        return part if not isinstance(kind, str) or kind == _KINDS.get(type(part)) else None

    def _fitted(self, value: Any) -> Reading:
        if self._class is not None:
            return _instance(self._class, value)
        wrong = _told(problems(value, self._schema, self._schema))
        return Reading(problem=wrong) if wrong else Reading(value)


def _instance(kind: Any, value: Any) -> Reading:
    try:
        if issubclass(kind, BaseModel):
            # Read as JSON, where also a strict model takes a date or an enumeration for a string.
            return Reading(kind.model_validate_json(json.dumps(value)))
        return Reading(kind.parse_obj(value))
    except ValueError as exc:  # of pydantic 2 or 1, which wrap those of validators
        errors = cast("Any", exc).errors()
        places = ((".".join(map(str, error["loc"])), error["msg"]) for error in errors)
        return Reading(problem=_told(f"`{place}`: {text}" if place else text for place, text in places))


def _told(wrong: Iterable[str]) -> str:
    return "; ".join(itertools.islice(wrong, _MOST_PROBLEMS))


def _json_schema(schema: Schema) -> dict[str, Any]:
    found = _converted(schema)
    if "properties" in found:
        found = {"type": "object"} | found
    if isinstance(schema, dict) and not found.keys() & _SCHEMA_KEYS:
        message = f"this is no JSON Schema, as it has none of {sorted(_SCHEMA_KEYS)}: {schema}"
        raise ValueError(message)
    if isinstance(kind := found.get("type"), str) and kind not in {"object", "array"}:
        message = f"a structured answer is an object or an array, but the schema is of type {kind!r}"
        raise ValueError(message)
    return found


def _converted(schema: Schema) -> dict[str, Any]:
    if isinstance(schema, dict):
        is_tool = any(isinstance(schema.get(key), dict) for key in _TOOL_KEYS)
        return convert_to_json_schema(schema) if is_tool else schema
    if is_basemodel_subclass(schema):  # core's conversion loses references of a class to itself
        kind: Any = schema
        found: dict[str, Any] = (
            kind.model_json_schema() if issubclass(kind, BaseModel) else kind.schema()
        )
        return found
    if not (issubclass(schema, dict) and hasattr(schema, "__required_keys__")):
        message = f"a schema is a pydantic class, a TypedDict class or a JSON Schema, not {schema!r}"
        raise ValueError(message)
    try:
        found = _without_help_on_dict(convert_to_json_schema(schema))
    except TypeError as exc:
        message = (
            f"{schema.__name__} cannot be made a JSON Schema ({exc}): write a key that may be missing "
            'as `Annotated[str, None, "what it is"]`, or take a pydantic class'
        )
        raise ValueError(message) from exc
    return found


def _without_help_on_dict(part: Any) -> Any:
    """Leave out what Python says of `dict`, which core takes for the words of a class without any."""
    if isinstance(part, list):
        return [_without_help_on_dict(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {
        name: _without_help_on_dict(item)
        for name, item in part.items()
        if not (name == "description" and str(item).startswith("dict() -> "))
    }


def _words(messages: Sequence[BaseMessage]) -> dict[str, str]:
    """Return the words in the language of the last question."""
    place = last_question(messages)
    return _WORDS["en" if place is None else language_of(messages[place].text)]
