"""Conversion of the values of options to values that JSON has.

numpy and pandas are not dependencies, so their objects are recognized by the names of their classes.
"""

from __future__ import annotations

import json
import math
import re
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from langchain_bailian_app.options._caller_warnings import warn_caller

_EXPECTED = (
    "a value of JSON (text, a finite number, a boolean, None, a list or a dict), a `Decimal`, a date, "
    "a time, a `UUID`, or a scalar or array of numpy"
)
_ANY: TypeAdapter[Any] = TypeAdapter(Any)
_CONVERSIONS = {
    "DataFrame": '.to_dict("records")',
    "Series": ".tolist()",
    "Index": ".tolist()",
    "MaskedArray": ".filled(…)",
}
_NUMPY_STRUCTURES_AND_DURATIONS = "Vm"  # a list of fields would lose their names
_NUMPY_DATES, _NUMPY_FLOATS = "M", "f"
# Python's own dates have microseconds. With these units, numpy converts dates to integers.
_NUMPY_UNIT_BELOW_MICROSECONDS = re.compile(r"\[\d*[npfa]s\]")


def to_json_value(value: Any, place: str) -> Any:
    """Return a value as JSON has it; lists and dicts are copied.

    Dates, times, UUIDs and `Decimal`s become the text that pydantic writes. Scalars and arrays of numpy
    become Python's, and timestamps of pandas become datetimes. If they have nanoseconds, which Python's
    datetimes do not have, these are dropped with a warning.

    Args:
        value: The value.
        place: Name of the variable, for messages. They contain no values, which may be secrets.

    Raises:
        ValueError: The value, or a value inside it, cannot be converted without loss.
    """
    try:
        return _convert(value, place)
    except RecursionError:
        message = f"invalid `{place}`: it contains itself or is nested too deeply"
        raise ValueError(message) from None


def _convert(value: Any, place: str) -> Any:
    value = _to_python(value, place)
    match value:
        case str() | int() | None:
            return value
        case dict():
            converted = {
                _convert_key(key, place): _convert(item, f"{place}.{key}")
                for key, item in value.items()
            }
            if len(converted) < len(value):
                message = f"invalid keys in `{place}`: two of them are the same text in JSON"
                raise ValueError(message)
            return converted
        case list() | tuple():
            return [_convert(item, f"{place}[{index}]") for index, item in enumerate(value)]
    return _convert_scalar(value, place)


def _to_python(value: Any, place: str) -> Any:
    """Return an object of numpy or pandas as one of Python, and any other value unchanged."""
    package = type(value).__module__.partition(".")[0]
    if package == "numpy":
        return _to_python(_from_numpy(value, place), place)
    if package == "pandas":
        return _from_timestamp(value, place)
    return value.value if isinstance(value, Enum) and isinstance(value, str | int) else value


def _convert_scalar(value: Any, place: str) -> Any:
    match value:
        case float() if math.isfinite(value):
            return value
        case Decimal() if value.is_finite():
            return _ANY.dump_python(value, mode="json")
        case float() | Decimal():
            raise _invalid_value(place, str(value))
        case date() | time() | UUID():
            return _ANY.dump_python(value, mode="json")
    raise _invalid_value(place, type(value).__name__)


def _convert_key(key: Any, place: str) -> str:
    try:
        converted = _convert(key, place)
    except ValueError:
        converted = ()
    if isinstance(converted, str):
        return converted
    if isinstance(converted, int | float | None):
        return json.dumps(converted)  # as JSON's encoder writes such a key
    message = f"invalid key in `{place}`: expected text, got {type(key).__name__}"
    raise ValueError(message)


def _from_numpy(value: Any, place: str) -> Any:
    """Return a scalar or an array of numpy as a Python object."""
    if hasattr(value, "mask"):  # a masked value would become None
        raise _invalid_value(place, "MaskedArray")
    dtype = getattr(value, "dtype", None)
    kind = getattr(dtype, "kind", "")
    if not hasattr(value, "item") or kind in _NUMPY_STRUCTURES_AND_DURATIONS:
        raise _invalid_value(place, type(value).__name__)
    if kind == _NUMPY_DATES:
        return _from_numpy_dates(value, place)
    converted = value.tolist() if hasattr(value, "tolist") else value.item()
    if type(converted) is not type(value):
        return converted
    if kind == _NUMPY_FLOATS:
        return float(value)  # a long double, for which Python has no type
    raise _invalid_value(place, type(value).__name__)


def _from_numpy_dates(value: Any, place: str) -> Any:
    dates = value
    if _NUMPY_UNIT_BELOW_MICROSECONDS.search(str(value.dtype)):
        dates = value.astype("datetime64[us]")
    converted = dates.tolist()
    if not _contains_only_dates(converted):
        raise _invalid_value(place, f"{type(value).__name__} with NaT or a date out of range")
    if (dates != value).any():
        _warn_about_nanoseconds(place)
    return converted


def _from_timestamp(value: Any, place: str) -> datetime:
    """Return a timestamp of pandas as a datetime; other objects of pandas are invalid."""
    if type(value).__name__ != "Timestamp":
        raise _invalid_value(place, type(value).__name__)
    try:
        converted: datetime = value.to_pydatetime(warn=False)
    except (ValueError, OverflowError):
        raise _invalid_value(place, "Timestamp out of range") from None
    if value.nanosecond:
        _warn_about_nanoseconds(place)
    return converted


def _warn_about_nanoseconds(place: str) -> None:
    warn_caller(
        f"`{place}` has a time with nanoseconds, which are not sent; round it to microseconds to avoid "
        "this warning"
    )


def _contains_only_dates(value: Any) -> bool:
    return all(map(_contains_only_dates, value)) if isinstance(value, list) else isinstance(value, date)


def _invalid_value(place: str, problem: str) -> ValueError:
    conversion = _CONVERSIONS.get(problem)
    hint = f"; pass the result of `{conversion}`" if conversion else ""
    return ValueError(f"invalid `{place}`: expected {_EXPECTED}, got {problem}{hint}")
