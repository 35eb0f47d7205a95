r"""JSON parser for data from the service: fast, and lenient about lone surrogate escapes.

orjson rejects a lone escape such as `"\ud83d"`. The standard library accepts it, but the resulting
string can be neither encoded nor put into a message. This module repairs such strings.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

# Fields that a stream sends in pieces, which may be cut inside a surrogate pair.
_STREAMED_FIELDS = frozenset(
    {"text", "thought", "response", "reasoning_content"}
    | {"arguments", "action_input", "action_input_stream", "observation"}
)


def loads(data: bytes | str) -> Any:
    """Parse JSON; raise `ValueError` if it is invalid."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return repair_surrogates(json.loads(data), _STREAMED_FIELDS)
        except RecursionError as exc:
            message = "nested too deeply"
            raise ValueError(message) from exc


def parse_nested(value: Any) -> Any:
    """Parse a string that contains a JSON object or array; return any other value unchanged."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return loads(value)
    except ValueError:
        return value


def join_surrogates(text: str) -> str:
    """Join surrogate pairs and replace lone surrogates with U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def repair_surrogates(
    value: Any, streamed_fields: frozenset[str] = frozenset(), field_name: str = ""
) -> Any:
    """Return a value without lone surrogates, except at the ends of streamed fields."""
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
    """Repair text except at its ends, where half of a pair may be in an adjacent frame."""
    leading = text[:1] if is_low_surrogate(text[:1]) else ""
    trailing = text[-1:] if is_high_surrogate(text[-1:]) else ""
    return leading + join_surrogates(text[len(leading) : len(text) - len(trailing)]) + trailing


def is_high_surrogate(char: str) -> bool:
    """Return whether a character is the first half of a surrogate pair."""
    return "\ud800" <= char <= "\udbff"


def is_low_surrogate(char: str) -> bool:
    """Return whether a character is the second half of a surrogate pair."""
    return "\udc00" <= char <= "\udfff"
