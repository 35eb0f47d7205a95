r"""JSON as the service writes it: fast, and lenient about lone surrogate escapes.

orjson refuses an escape such as `"\ud83d"` on its own; the standard library reads it, but the string
that comes out can be neither encoded nor put into a message. What is left of it here can be.
"""

from __future__ import annotations

import json
from typing import Any

import orjson


def loads(data: bytes | str) -> Any:
    """Parse JSON; a `ValueError` says that it is none."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return _mend(json.loads(data))
        except RecursionError as exc:
            message = "nested too deeply"
            raise ValueError(message) from exc


def opened(text: Any) -> Any:
    """Return what a JSON text inside a string holds, and anything else as it is."""
    if not isinstance(text, str) or not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return loads(text)
    except ValueError:
        return text


def _mend(value: Any) -> Any:
    if isinstance(value, str):
        return _mend_text(value)
    if isinstance(value, list):
        return [_mend(item) for item in value]
    if isinstance(value, dict):
        return {_mend_text(key): _mend(item) for key, item in value.items()}
    return value


def _mend_text(text: str) -> str:
    """Join pairs, keep half a pair at either end, replace any other half by U+FFFD.

    Half a pair at an end may have its other half in the next frame: `join_halves` tells.
    """
    if not text:
        return text
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    first = text[0] if is_low(text[0]) else ""
    last = text[-1] if is_high(text[-1]) and len(text) > len(first) else ""
    body = text[len(first) : len(text) - len(last)]
    return first + body.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") + last


def is_high(char: str) -> bool:
    """Whether this is the first half of a surrogate pair."""
    return "\ud800" <= char <= "\udbff"


def is_low(char: str) -> bool:
    """Whether this is the second half of a surrogate pair."""
    return "\udc00" <= char <= "\udfff"
