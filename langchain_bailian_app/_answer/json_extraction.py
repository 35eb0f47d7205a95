"""Extraction of JSON from the text of an answer: bare, in a code fence, in prose, or incomplete."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

# Brackets in prose, such as `[注]` and `{name}`, do not start a value.
_VALUE_START = re.compile(r'\{(?=\s*(?:["}]|\Z))|\[(?=\s*(?:["{\[\]\d-]|true|false|null|\Z))')
_STRING = re.compile(r'("(?:\\.?|[^"\\])*+(?:"|\Z))', re.DOTALL)
_BRACKET = re.compile(r"[{}\[\]]")
_STRING_OR_BRACKET = re.compile(r'"(?:\\.?|[^"\\])*+(?:"|\Z)|[{}\[\]]', re.DOTALL)
# A string without an end quote, up to an escape or a surrogate pair that is cut off.
_OPEN_STRING = re.compile(
    r'"(?:\\u(?!d[89ab]..(?:\\(?:u[0-9a-f]{0,3})?)?\Z)[0-9a-f]{4}|\\[^u]|[^"\\])*+', re.IGNORECASE
)
_CLOSING_BRACKETS = {"{": "}", "[": "]"}
_STRING_OR_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*+")|,(?=\s*[}\]])', re.DOTALL)
_PARTIAL_LITERAL = re.compile(r"[-+.A-Za-z0-9\\]{0,9}\Z")
_DECODER = json.JSONDecoder(strict=False)
_MAX_UNCLOSED_BRACKETS = 20  # brackets in prose; each may cost a scan of the text


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
    known_unclosed: set[int] = set()
    while match := _VALUE_START.search(text, position):
        start = match.start()
        try:
            value, position = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError as exc:
            if _is_at_end(exc):
                return ExtractedJson(values, text[start:], error)
        except (ValueError, RecursionError):
            pass
        else:
            values.append(value)
            continue
        end = None if start in known_unclosed else find_json_end(text, start)
        if end is None:
            unclosed_count += 1
            is_json = text[start:].lstrip("[ \r\n\t").startswith("{")
            # Stop, because any further match would be nested in the invalid value.
            if is_json or unclosed_count > _MAX_UNCLOSED_BRACKETS:
                return ExtractedJson(values, error=f"not valid JSON: {text[start : start + 40]!r} …")
            if start not in known_unclosed:
                known_unclosed.update(_find_unclosed(text, start))
            position = match.end()  # a bracket in prose: `[0, 1)`
            continue
        try:
            values.append(_loads_lenient(text[start:end]))
        except (ValueError, RecursionError) as exc:
            error = f"not valid JSON: {exc}"
        position = end
    return ExtractedJson(values, error=error)


def parse_incomplete(text: str) -> Any:
    """Parse the available part of the valid beginning of a value; return None if there is none.

    The result is that of langchain-core's `parse_partial_json`, which takes ten times as long because
    it reads each character.
    """
    *before, after_string = _STRING.split(text)  # other text and strings, alternating
    brackets: list[str] = []
    for bracket in _BRACKET.findall("".join((*before[::2], after_string))):
        if bracket in _CLOSING_BRACKETS:
            brackets.append(_CLOSING_BRACKETS[bracket])
        else:
            brackets.pop()
    string_end = len(text) - len(after_string)
    string_start = string_end - len(before[-1]) if before else 0
    open_string = _OPEN_STRING.match(text, string_start)
    if open_string and not text.startswith('"', open_string.end()):
        text = f'{text[: open_string.end()]}"'
        string_end = len(text)
    missing_end = "".join(reversed(brackets))
    while text:
        try:
            return json.loads(text + missing_end, strict=False)
        except (ValueError, RecursionError):
            # A comma, part of a literal, or a key without a value.
            text = text[: string_start if len(text) == string_end else -1].rstrip()
    return None


def find_json_end(text: str, start: int) -> int | None:
    """Return the end of the object or array that begins at `start`, or None if it is incomplete."""
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(text, start):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
    return None


def _find_unclosed(text: str, start: int) -> list[int]:
    """Return the positions of the brackets from `start` on that are not closed."""
    unclosed: list[int] = []
    for token in _STRING_OR_BRACKET.finditer(text, start):
        if token[0] in {"{", "["}:
            unclosed.append(token.start())
        elif token[0] in {"}", "]"} and unclosed:
            unclosed.pop()
    return unclosed


def ends_in_string(text: str) -> bool:
    """Return whether `text` is JSON that is cut off inside a string."""
    try:
        json.loads(text, strict=False)
    except json.JSONDecodeError as exc:
        return exc.msg.startswith("Unterminated string")
    except (ValueError, RecursionError):
        pass
    return False


def _is_at_end(error: json.JSONDecodeError) -> bool:
    """Return whether JSON is invalid only because it is cut off."""
    unterminated = error.msg.startswith("Unterminated string")
    return unterminated or _PARTIAL_LITERAL.match(error.doc, error.pos) is not None


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
