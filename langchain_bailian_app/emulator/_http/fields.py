"""Readers for the fields of a JSON object, which reject values of the wrong type.

A field that is `null` or missing is not an error here. Callers check the fields that they require.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from langchain_bailian_app.emulator._http.errors import refuse

_T = TypeVar("_T")


def refuse_value(name: str, expected: str) -> NoReturn:
    """Reject the value of a field.

    Raises:
        RequestRefused: Always.
    """
    refuse("InvalidParameter", f"{name} must be {expected}.")


def get_typed(fields: Mapping[str, Any], name: str, expected_type: type[_T]) -> _T | None:
    """Return the value of a field; None if the field is missing."""
    value = fields.get(name)
    if value is None:
        return None
    # A Python bool is also an int, but the service distinguishes them.
    if not isinstance(value, expected_type) or (expected_type is int and isinstance(value, bool)):
        refuse_value(name, f"of type {expected_type.__name__}")
    return value


def get_object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the object in a field; an empty object if the field is missing."""
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        refuse_value(name, "an object")
    return value


def get_strings(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the list of strings in a field as a tuple; an empty tuple if the field is missing."""
    value: object = fields.get(name)
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        refuse_value(name, "a list of strings")
    if not all(isinstance(item, str) for item in value):
        refuse_value(name, "a list of strings")
    return tuple(value)


def get_int(fields: Mapping[str, Any], name: str, *, minimum: int, maximum: int, default: int) -> int:
    """Return the integer in a field, within the bounds; `default` if the field is missing."""
    value = get_typed(fields, name, int)
    if value is None:
        return default
    if not minimum <= value <= maximum:
        refuse_value(name, f"between {minimum} and {maximum}")
    return value


def get_fraction(fields: Mapping[str, Any], name: str) -> float:
    """Return the number in a field, from 0 to 1; 0 if the field is missing."""
    value: object = fields.get(name)
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        refuse_value(name, "a number between 0 and 1")
    return float(value)
