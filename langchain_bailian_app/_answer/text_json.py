"""JSON in the text of an answer: alone, in a code fence, with prose around, or only begun."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from langchain_core.utils.json import parse_partial_json

# Brackets of prose, `[注]`, `{name}`, are no beginning.
_BEGINNING = re.compile(r'\{(?=\s*(?:["}]|\Z))|\[(?=\s*(?:["{\[\]\d-]|true|false|null|\Z))')
_STRING_OR_BRACKET = re.compile(r'"(?:\\.?|[^"\\])*+(?:"|\Z)|[{}\[\]]', re.DOTALL)
_STRING_OR_LAST_COMMA = re.compile(r'("(?:\\.|[^"\\])*+")|,(?=\s*[}\]])', re.DOTALL)
_LITERAL_BEGUN = re.compile(r"[-+.A-Za-z0-9\\]{0,9}\Z")
# One that is cut, or the first of a pair.
_ESCAPE_BEGUN = re.compile(r"(?:\\ud[89ab][0-9a-f]{2})?(?:\\u[0-9a-f]{0,3}|\\)?\Z", re.IGNORECASE)
_MOST_LEFT_OPEN = 20  # brackets of prose; each costs a look at the whole text


@dataclass(frozen=True, slots=True)
class Found:
    """What a text has of JSON."""

    values: list[Any]
    """Objects and arrays, in order."""

    begun: str = ""
    """The text of one that does not end."""

    broken: str = ""
    """Why something that looks like one is none."""


def find(text: str) -> Found:
    """Find objects and arrays, but none inside another.

    Line breaks in strings and a comma after the last item are let pass.
    """
    values: list[Any] = []
    broken = ""
    place = 0
    left_open = 0
    while beginning := _BEGINNING.search(text, place):
        start = beginning.start()
        end = end_of(text, start)
        if end is None:
            if _may_go_on(text[start:]):
                return Found(values, text[start:], broken)
            left_open += 1
            is_json = text[start:].lstrip("[ \r\n\t").startswith("{")
            if is_json or left_open > _MOST_LEFT_OPEN:  # rather nothing than what stands inside it
                return Found(values, broken=f"not valid JSON: {text[start : start + 40]!r} …")
            place = beginning.end()  # a bracket of prose: `[0, 1)`
            continue
        try:
            values.append(_loads(text[start:end]))
        except (ValueError, RecursionError) as exc:
            broken = f"not valid JSON: {exc}"
        place = end
    return Found(values, broken=broken)


def complete(begun: str) -> Any:
    """Return as much of a value as has come; None if that is nothing."""
    try:
        return parse_partial_json(_ESCAPE_BEGUN.sub("", begun))
    except json.JSONDecodeError:
        return None


def end_of(text: str, start: int) -> int | None:
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


def _may_go_on(text: str) -> bool:
    """Whether a text without an end is right so far; completing any other takes core very long."""
    try:
        json.loads(text, strict=False)
    except json.JSONDecodeError as exc:
        unterminated = exc.msg.startswith("Unterminated string")
        return unterminated or _LITERAL_BEGUN.match(text, exc.pos) is not None
    except (ValueError, RecursionError):
        pass
    return False


def _loads(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except json.JSONDecodeError as exc:
        mended = _STRING_OR_LAST_COMMA.sub(lambda match: match[1] or "", text)
        if mended == text:
            raise
        try:
            return json.loads(mended, strict=False)
        except json.JSONDecodeError:
            raise exc from None
