r"""JSON as the service writes it: fast, and lenient about lone surrogate escapes.

orjson refuses an escape such as `"\ud83d"` on its own; the standard library reads it, but the string
that comes out can be neither encoded nor put into a message. What is left of it here can be.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

# What a stream sends in pieces, which may be cut inside a pair.
_STREAMED = frozenset({"text", "thought", "response"})


def loads(data: bytes | str) -> Any:
    """Parse JSON; a `ValueError` says that it is none."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return mended(json.loads(data), _STREAMED)
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


def whole(text: str) -> str:
    """Join surrogate pairs, replace any half that stays alone by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def mended(value: Any, streamed: frozenset[str] = frozenset(), name: str = "") -> Any:
    """Return a value without halves of surrogate pairs, but at the ends of what is streamed."""
    if isinstance(value, str):
        return _mend_ends(value) if name in streamed else whole(value)
    if isinstance(value, list):
        return [mended(item, streamed) for item in value]
    if isinstance(value, dict):
        return {whole(key): mended(item, streamed, key) for key, item in value.items()}
    return value


def _mend_ends(text: str) -> str:
    """Keep half a pair at either end: the next frame, or the one before, may have its other half."""
    first = text[:1] if is_low(text[:1]) else ""
    last = text[-1:] if is_high(text[-1:]) else ""
    return first + whole(text[len(first) : len(text) - len(last)]) + last


def is_high(char: str) -> bool:
    """Whether this is the first half of a surrogate pair."""
    return "\ud800" <= char <= "\udbff"


def is_low(char: str) -> bool:
    """Whether this is the second half of a surrogate pair."""
    return "\udc00" <= char <= "\udfff"
