"""Extraction of JSON from the text of an answer: bare, in a code fence, in prose, or incomplete."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from langchain_core.utils.json import parse_partial_json

# Brackets in prose, such as `[注]` and `{name}`, do not start a value.
_VALUE_START = re.compile(r'\{(?=\s*(?:["}]|\Z))|\[(?=\s*(?:["{\[\]\d-]|true|false|null|\Z))')
_STRING_OR_BRACKET = re.compile(r'"(?:\\.?|[^"\\])*+(?:"|\Z)|[{}\[\]]', re.DOTALL)
_STRING_OR_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*+")|,(?=\s*[}\]])', re.DOTALL)
_PARTIAL_LITERAL = re.compile(r"[-+.A-Za-z0-9\\]{0,9}\Z")
# An escape that is cut off, or the first half of a surrogate pair.
_PARTIAL_ESCAPE = re.compile(r"(?:\\ud[89ab][0-9a-f]{2})?(?:\\u[0-9a-f]{0,3}|\\)?\Z", re.IGNORECASE)
_MAX_UNCLOSED_BRACKETS = 20  # brackets in prose; each costs a scan of the text


@dataclass(frozen=True, slots=True)
class ExtractedJson:
    """The JSON values found in a string."""

    values: list[Any]
    """Objects and arrays, in order."""

    incomplete_text: str = ""
    """Text of the last value, if it is cut off."""

    error: str = ""
    """The reason why text that looks like JSON is invalid."""


def extract_json(text: str) -> ExtractedJson:
    """Find the outermost objects and arrays in a string.

    Trailing commas are accepted, and so are line breaks inside JSON strings.
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
            # Stop, because any further match would be nested in the invalid value.
            if is_json or unclosed_count > _MAX_UNCLOSED_BRACKETS:
                return ExtractedJson(values, error=f"not valid JSON: {text[start : start + 40]!r} …")
            position = match.end()  # a bracket in prose: `[0, 1)`
            continue
        try:
            values.append(_loads_lenient(text[start:end]))
        except (ValueError, RecursionError) as exc:
            error = f"not valid JSON: {exc}"
        position = end
    return ExtractedJson(values, error=error)


def parse_incomplete(text: str) -> Any:
    """Parse the available part of an incomplete value; return None if nothing can be parsed."""
    try:
        return parse_partial_json(_PARTIAL_ESCAPE.sub("", text))
    except json.JSONDecodeError:
        return None


def find_json_end(text: str, start: int) -> int | None:
    """Return the end of the object or array that begins at `start`, or None if it is incomplete."""
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(text, start):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
    return None


def ends_in_string(text: str) -> bool:
    """Return whether `text` is JSON that is cut off inside a string."""
    try:
        json.loads(text, strict=False)
    except json.JSONDecodeError as exc:
        return exc.msg.startswith("Unterminated string")
    except (ValueError, RecursionError):
        pass
    return False


def _is_valid_prefix(text: str) -> bool:
    """Return whether `text` is the valid beginning of a JSON value.

    langchain-core's `parse_partial_json` is very slow for anything else.
    """
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
