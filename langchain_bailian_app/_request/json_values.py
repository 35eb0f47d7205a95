"""Validation of values that are sent as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

_MAX_DEPTH = 100  # of the search for an invalid value
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode  # as in httpx


def check_json(name: str, value: Any) -> None:
    """Reject a value that cannot be sent as JSON; `name` is for the message.

    Raises:
        ValueError: The value contains something that JSON does not have. The message names the place
            and the type, but not the value, which may be a secret.
    """
    if not is_json(value):
        path, problem = _find_problem(value) or ("", type(value).__name__)
        place = f" at {path[1:]!r}" if path else ""
        message = f"invalid `{name}`: expected values that JSON can represent, got {problem}{place}"
        raise ValueError(message)


def is_json(value: Any) -> bool:
    """Return whether a value can be sent as JSON."""
    try:
        text = _encode(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return is_unicode(text)


def is_unicode(text: str) -> bool:
    """Return whether a text can be encoded, so that it contains no half of a surrogate pair."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _find_problem(value: Any, path: str = "", depth: int = 0) -> tuple[str, str] | None:
    """Return the place and a description of the first invalid value."""
    if depth > _MAX_DEPTH:
        return "", "a value that contains itself or is nested too deeply"
    items: list[tuple[Any, Any]] = []
    problem = None
    match value:
        case dict():
            items = list(value.items())
            problem = next(filter(None, (_find_problem_of_key(key) for key in value)), None)
        case list() | tuple():
            items = list(enumerate(value))
        case str() if not is_unicode(value):
            problem = "text with half of a surrogate pair"
        case float() if not math.isfinite(value):
            problem = str(float(value))
        case str() | float() | int() | None:
            pass
        case _:
            problem = type(value).__name__
    if problem is not None:
        return path, problem
    found = (_find_problem(item, f"{path}.{key}", depth + 1) for key, item in items)
    return next(filter(None, found), None)


def _find_problem_of_key(key: Any) -> str | None:
    if not isinstance(key, str | int | float | None):
        return f"a key of type {type(key).__name__}"
    return None if is_unicode(str(key)) else "a key with half of a surrogate pair"
