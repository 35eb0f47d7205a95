"""Fields of a JSON object, read with the type the service wants, or refused.

What is `null` or missing is no error here; who needs it asks for it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from langchain_bailian_app.emulator._http.errors import refuse

_T = TypeVar("_T")


def refuse_value(name: str, wanted: str) -> NoReturn:
    """Refuse the value of a field.

    Raises:
        RequestRefused: Always.
    """
    refuse("InvalidParameter", f"{name} must be {wanted}.")


def typed(holder: Mapping[str, Any], name: str, kind: type[_T]) -> _T | None:
    """A value of one type."""
    value = holder.get(name)
    if value is None:
        return None
    # A JSON boolean is an int to Python, and not to the service.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        refuse_value(name, f"a {kind.__name__}")
    return value


def object_of(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object; an empty one if there is none."""
    value = holder.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        refuse_value(name, "an object")
    return value


def strings(holder: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of strings; an empty one if there is none."""
    value: object = holder.get(name)
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        refuse_value(name, "a list of strings")
    if not all(isinstance(item, str) for item in value):
        refuse_value(name, "a list of strings")
    return tuple(value)


def whole_number(holder: Mapping[str, Any], name: str, *, least: int, most: int, default: int) -> int:
    """A whole number within bounds."""
    value = typed(holder, name, int)
    if value is None:
        return default
    if not least <= value <= most:
        refuse_value(name, f"between {least} and {most}")
    return value


def share(holder: Mapping[str, Any], name: str) -> float:
    """A number from 0 to 1; 0 if there is none."""
    value: object = holder.get(name)
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        refuse_value(name, "a number between 0 and 1")
    return float(value)
