"""Structured output by prompting: instructions for the question, and a parser for the answer.

The service has no parameter for structured output, so the schema is added to the last question. If an
answer does not match, the application is asked once more with a description of the errors.
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

from langchain_bailian_app._answer.json_extraction import extract_json, parse_incomplete
from langchain_bailian_app._request.attachments import text_from_block
from langchain_bailian_app._request.transcript import detect_language, find_last_question
from langchain_bailian_app.chat_models._json_schema import iter_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Schema = dict[str, Any] | type

_MAX_ERRORS = 10
_TYPE_NAMES: dict[type, str] = {dict: "object", list: "array"}
_TOOL_KEYS = ("function", "parameters", "input_schema", "toolSpec")
_SCHEMA_KEYS = {"type", "properties", "items", "anyOf", "oneOf", "allOf", "$ref"}
_TEMPLATES = {
    "zh": {
        "schema": "请只用 JSON 回答，不要代码块，也不要其他文字。"
        "回答是符合下面 JSON Schema 的数据，不是 Schema 本身：\n\n{schema}",
        "object": "请只用一个 JSON 对象回答，不要代码块，也不要其他文字。",
        "retry": "上面的回答不符合要求：{error}\n\n请只回复改正后的完整 JSON，不要其他文字。",
    },
    "en": {
        "schema": "Answer with JSON only: no code fence, no other text. "
        "The answer must be data that matches this JSON Schema, not the schema itself:\n\n{schema}",
        "object": "Answer with one JSON object only: no code fence, no other text.",
        "retry": "That answer is invalid: {error}\n\n"
        "Reply with JSON only: the complete, corrected answer, no other text.",
    },
}


@dataclass(frozen=True, slots=True)
class ParseResult:
    """Parsed answer, or the reason why it is invalid."""

    parsed: Any = None
    error: str | None = None
    is_complete: bool = True
    """Whether further text cannot change the result."""


class OutputSchema:
    """Schema that an answer must match.

    Args:
        schema: A pydantic class, a `TypedDict` class or a JSON Schema; None for any object.
        include_schema: Whether to send the schema. If False, the question only asks for a JSON object.

    Raises:
        ValueError: The schema is invalid, or does not describe an object or an array.
    """

    def __init__(self, schema: Schema | None, *, include_schema: bool) -> None:
        self._model_class = (
            schema if isinstance(schema, type) and is_basemodel_subclass(schema) else None
        )
        self._json_schema = {"type": "object"} if schema is None else _to_json_schema(schema)
        self._include_schema = include_schema

    def add_instructions(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """Return the messages, with instructions at the end of the last question."""
        schema = json.dumps(self._json_schema, ensure_ascii=False)
        template = _templates_for(messages)["schema" if self._include_schema else "object"]
        instructions = template.format(schema=schema)
        index = find_last_question(messages)
        if index is None or _is_blank(messages[index]):  # the chat model rejects such messages
            return list(messages)
        question = messages[index]
        content: Any = f"{question.text}\n\n{instructions}"
        if not isinstance(question.content, str):
            content = [*question.content, {"type": "text", "text": f"\n\n{instructions}"}]
        new_question = question.model_copy(update={"content": content})
        return [*messages[:index], new_question, *messages[index + 1 :]]

    def append_retry(
        self, messages: Sequence[BaseMessage], answer: str, error: str
    ) -> list[BaseMessage]:
        """Return the messages followed by the invalid answer and a request to correct it."""
        retry = HumanMessage(_templates_for(messages)["retry"].format(error=error))
        answers = [AIMessage(answer)] if answer.strip() else []
        return [*messages, *answers, retry]

    def parse(self, answer: str) -> ParseResult:
        """Parse a complete answer; the result is the first JSON value that matches the schema."""
        extracted = extract_json(answer)
        errors = []
        for value in extracted.values:
            result = self._validate(value)
            if result.error is None:
                return result
            errors.append((len(str(value)), result.error))
        if errors:  # of several values, the longest is most likely the intended one
            return ParseResult(error=max(errors)[1])
        if extracted.incomplete_text:
            return ParseResult(error="the JSON is incomplete")
        return ParseResult(error=extracted.error or "it contains no JSON")

    def parse_partial(self, answer: str) -> ParseResult:
        """Parse the beginning of an answer; the result is None if it contains no usable value yet.

        The result is the first JSON value that matches the schema, or else the incomplete value. For a
        pydantic class, the incomplete value must be valid too.
        """
        extracted = extract_json(answer)
        for value in extracted.values:
            result = self._validate(value)
            if result.error is None:
                return result
        value = parse_incomplete(extracted.incomplete_text)
        if self._model_class is not None and value is not None:
            return ParseResult(self._validate(value).parsed, is_complete=False)
        expected_type = self._json_schema.get("type")
        matches = not isinstance(expected_type, str) or expected_type == _TYPE_NAMES.get(type(value))
        return ParseResult(value if matches else None, is_complete=False)

    def _validate(self, value: Any) -> ParseResult:
        if self._model_class is not None:
            return _validate_with_class(self._model_class, value)
        error = _join_errors(iter_errors(value, self._json_schema, self._json_schema))
        return ParseResult(error=error) if error else ParseResult(value)


def _validate_with_class(model_class: Any, value: Any) -> ParseResult:
    try:
        if issubclass(model_class, BaseModel):
            # When validating JSON, even a strict model accepts strings for dates and enumerations.
            return ParseResult(model_class.model_validate_json(json.dumps(value)))
        return ParseResult(model_class.parse_obj(value))
    except ValueError as exc:  # from pydantic 1 or 2; both wrap errors that validators raise
        errors = cast("Any", exc).errors()
        located_errors = ((".".join(map(str, error["loc"])), error["msg"]) for error in errors)
        return ParseResult(
            error=_join_errors(f"`{path}`: {text}" if path else text for path, text in located_errors)
        )


def _join_errors(errors: Iterable[str]) -> str:
    return "; ".join(itertools.islice(errors, _MAX_ERRORS))


def _to_json_schema(schema: Schema) -> dict[str, Any]:
    json_schema = _convert_schema(schema)
    if "properties" in json_schema:
        json_schema = {"type": "object"} | json_schema
    if isinstance(schema, dict) and not json_schema.keys() & _SCHEMA_KEYS:
        message = (
            f"invalid JSON Schema: expected at least one of the keys {sorted(_SCHEMA_KEYS)}, "
            f"got {schema}"
        )
        raise ValueError(message)
    schema_type = json_schema.get("type")
    if isinstance(schema_type, str) and schema_type not in _TYPE_NAMES.values():
        message = f"invalid schema: expected type 'object' or 'array', got {schema_type!r}"
        raise ValueError(message)
    return json_schema


def _convert_schema(schema: Schema) -> dict[str, Any]:
    if isinstance(schema, dict):
        is_tool = any(isinstance(schema.get(key), dict) for key in _TOOL_KEYS)
        return convert_to_json_schema(schema) if is_tool else schema
    if is_basemodel_subclass(schema):  # langchain-core's conversion drops self-references
        model_class: Any = schema
        json_schema: dict[str, Any] = (
            model_class.model_json_schema()
            if issubclass(model_class, BaseModel)
            else model_class.schema()
        )
        return json_schema
    if not (issubclass(schema, dict) and hasattr(schema, "__required_keys__")):
        message = (
            "invalid schema: expected a pydantic class, a TypedDict class or a JSON Schema, "
            f"got {schema!r}"
        )
        raise ValueError(message)
    try:
        json_schema = _strip_dict_docstrings(convert_to_json_schema(schema))
    except TypeError as exc:
        message = (
            f"cannot convert {schema.__name__} to a JSON Schema ({exc}): declare an optional key as "
            '`Annotated[str, None, "description"]`, or use a pydantic class'
        )
        raise ValueError(message) from exc
    return json_schema


def _strip_dict_docstrings(value: Any) -> Any:
    """Remove the docstring of `dict`, which langchain-core adds to classes without a docstring."""
    if isinstance(value, list):
        return [_strip_dict_docstrings(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _strip_dict_docstrings(item)
        for name, item in value.items()
        if not (name == "description" and str(item).startswith("dict() -> "))
    }


def _is_blank(question: BaseMessage) -> bool:
    """Return whether a message has neither text nor anything else that instructions can refer to."""
    content = question.content
    texts = map(text_from_block, [content] if isinstance(content, str) else content)
    return all(text is not None and not text.strip() for text in texts)


def _templates_for(messages: Sequence[BaseMessage]) -> dict[str, str]:
    """Return the templates in the language of the last question."""
    index = find_last_question(messages)
    return _TEMPLATES["en" if index is None else detect_language(messages[index].text)]
