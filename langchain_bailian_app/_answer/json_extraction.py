"""JSON in the text of an answer: alone, in a code fence, with prose around, or only begun."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from langchain_core.utils.json import parse_partial_json

# Brackets of prose, `[注]`, `{name}`, are no beginning.
_VALUE_START = re.compile(r'\{(?=\s*(?:["}]|\Z))|\[(?=\s*(?:["{\[\]\d-]|true|false|null|\Z))')
_STRING_OR_BRACKET = re.compile(r'"(?:\\.?|[^"\\])*+(?:"|\Z)|[{}\[\]]', re.DOTALL)
_STRING_OR_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*+")|,(?=\s*[}\]])', re.DOTALL)
_PARTIAL_LITERAL = re.compile(r"[-+.A-Za-z0-9\\]{0,9}\Z")
# One that is cut, or the first of a pair.
_PARTIAL_ESCAPE = re.compile(r"(?:\\ud[89ab][0-9a-f]{2})?(?:\\u[0-9a-f]{0,3}|\\)?\Z", re.IGNORECASE)
_MAX_UNCLOSED_BRACKETS = 20  # brackets of prose; each costs a look at the whole text


@dataclass(frozen=True, slots=True)
class ExtractedJson:
    """What a text has of JSON."""

    values: list[Any]
    """Objects and arrays, in order."""

    incomplete_text: str = ""
    """The text of one that does not end."""

    error: str = ""
    """Why something that looks like one is none."""


def extract_json(text: str) -> ExtractedJson:
    """Find objects and arrays, but none inside another.

    Line breaks in strings and a comma after the last item are let pass.
    """
    values: list[Any] = []
    error = ""
    position = 0
    unclosed_count = 0
    while match := _VALUE_START.search(text, position):
        start = match.start()
        end = find_json_end(text, start)
        if end is None:
            if _is_valid_prefix(text[start:]):
                return ExtractedJson(values, text[start:], error)
            unclosed_count += 1
            is_json = text[start:].lstrip("[ \r\n\t").startswith("{")
            # Rather nothing than what stands inside it.
            if is_json or unclosed_count > _MAX_UNCLOSED_BRACKETS:
                return ExtractedJson(values, error=f"not valid JSON: {text[start : start + 40]!r} …")
            position = match.end()  # a bracket of prose: `[0, 1)`
            continue
        try:
            values.append(_loads_lenient(text[start:end]))
        except (ValueError, RecursionError) as exc:
            error = f"not valid JSON: {exc}"
        position = end
    return ExtractedJson(values, error=error)


def parse_incomplete(text: str) -> Any:
    """Return as much of a value as has come; None if that is nothing."""
    try:
        return parse_partial_json(_PARTIAL_ESCAPE.sub("", text))
    except json.JSONDecodeError:
        return None


def find_json_end(text: str, start: int) -> int | None:
    """Return where the object or array that begins at `start` ends; None if it does not."""
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(text, start):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
    return None


def ends_in_string(text: str) -> bool:
    """Whether a text is JSON that breaks off inside a string."""
    try:
        json.loads(text, strict=False)
    except json.JSONDecodeError as exc:
        return exc.msg.startswith("Unterminated string")
    except (ValueError, RecursionError):
        pass
    return False


def _is_valid_prefix(text: str) -> bool:
    """Whether a text without an end is right so far; completing any other takes core very long."""
    try:
        json.loads(text, strict=False)
    except json.JSONDecodeError as exc:
        unterminated = exc.msg.startswith("Unterminated string")
        return unterminated or _PARTIAL_LITERAL.match(text, exc.pos) is not None
    except (ValueError, RecursionError):
        pass
    return False


def _loads_lenient(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except json.JSONDecodeError as exc:
        repaired = _STRING_OR_TRAILING_COMMA.sub(lambda match: match[1] or "", text)
        if repaired == text:
            raise
        try:
            return json.loads(repaired, strict=False)
        except json.JSONDecodeError:
            raise exc from None
