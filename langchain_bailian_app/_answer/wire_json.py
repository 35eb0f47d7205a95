r"""JSON as the service writes it: fast, and lenient about lone surrogate escapes.

orjson refuses an escape such as `"\ud83d"` on its own; the standard library reads it, but the string
that comes out can be neither encoded nor put into a message. What is left of it here can be.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

# What a stream sends in pieces, which may be cut inside a pair.
_STREAMED_FIELDS = frozenset({"text", "thought", "response"})


def loads(data: bytes | str) -> Any:
    """Parse JSON; a `ValueError` says that it is none."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return repair_surrogates(json.loads(data), _STREAMED_FIELDS)
        except RecursionError as exc:
            message = "nested too deeply"
            raise ValueError(message) from exc


def parse_nested(value: Any) -> Any:
    """Return what a JSON text inside a string holds, and anything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return loads(value)
    except ValueError:
        return value


def join_surrogates(text: str) -> str:
    """Join surrogate pairs, replace any half that stays alone by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def repair_surrogates(
    value: Any, streamed_fields: frozenset[str] = frozenset(), field_name: str = ""
) -> Any:
    """Return a value without halves of surrogate pairs, but at the ends of what is streamed."""
    if isinstance(value, str):
        return (
            _repair_inner_surrogates(value) if field_name in streamed_fields else join_surrogates(value)
        )
    if isinstance(value, list):
        return [repair_surrogates(item, streamed_fields) for item in value]
    if isinstance(value, dict):
        return {
            join_surrogates(key): repair_surrogates(item, streamed_fields, key)
            for key, item in value.items()
        }
    return value


def _repair_inner_surrogates(text: str) -> str:
    """Keep half a pair at either end: the next frame, or the one before, may have its other half."""
    leading = text[:1] if is_low_surrogate(text[:1]) else ""
    trailing = text[-1:] if is_high_surrogate(text[-1:]) else ""
    return leading + join_surrogates(text[len(leading) : len(text) - len(trailing)]) + trailing


def is_high_surrogate(char: str) -> bool:
    """Whether this is the first half of a surrogate pair."""
    return "\ud800" <= char <= "\udbff"


def is_low_surrogate(char: str) -> bool:
    """Whether this is the second half of a surrogate pair."""
    return "\udc00" <= char <= "\udfff"
