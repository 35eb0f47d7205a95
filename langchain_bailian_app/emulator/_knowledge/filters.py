"""Search filters: those of `rag_options`, and `search_filters` of the retrieve route.

Pure. A chunk that lacks the field of a condition does not match.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from langchain_bailian_app.emulator._http.errors import refuse
from langchain_bailian_app.emulator._knowledge.documents import Chunk

_NUMBER = re.compile(r"[+-]?[0-9]{1,300}(?:\.[0-9]{1,300})?")


def is_equal(expected: object, actual: object) -> bool:
    """Return whether two values are equal.

    Two strings must be identical. Numbers are compared by value, even if one of them is a string.
    """
    if isinstance(expected, str) and isinstance(actual, str):
        return expected == actual
    expected_number, actual_number = _parse_number(expected), _parse_number(actual)
    if expected_number is not None and actual_number is not None:
        return expected_number == actual_number
    return type(expected) is type(actual) and expected == actual


def matches_any(expected: object, actual: object) -> bool:
    """Return whether an expected value equals an actual one; either may be a list of values."""
    return any(is_equal(left, right) for left in _as_list(expected) for right in _as_list(actual))


@dataclass(frozen=True)
class RagFilters:
    """The filters of `rag_options`; an empty filter matches everything."""

    file_ids: Sequence[str] = ()
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)

    def matches(self, chunk: Chunk) -> bool:
        """Return whether a chunk matches; document filters do not apply to table rows."""
        if chunk.row is not None:
            return _all_fields_match(self.columns, chunk.row)
        document = chunk.document
        return document is None or (
            (not self.file_ids or document.file_id in self.file_ids)
            and (not self.tags or bool(set(self.tags) & set(document.tags)))
            and _all_fields_match(self.metadata, document.metadata)
        )


class Condition(NamedTuple):
    """One condition of `search_filters`: a field, an operator, and the value to compare with."""

    field: str
    operator: str
    operand: Any


@dataclass(frozen=True)
class SearchFilters:
    """`search_filters` as one list: all conditions of all subgroups must match."""

    conditions: tuple[Condition, ...] = ()

    def matches(self, chunk: Chunk) -> bool:
        """Return whether a chunk matches all conditions."""
        return all(
            _OPERATORS[operator](operand, _get_field_values(chunk, name))
            for name, operator, operand in self.conditions
        )


def parse_search_filters(groups: object) -> SearchFilters:
    """Parse `search_filters`.

    Raises:
        RequestRefused: The filters are not a list of objects, or contain an unknown operator or an
            invalid value.
    """
    if groups is None:
        return SearchFilters()
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        refuse("InvalidParameter", "search_filters must be a list of objects.")
    return SearchFilters(
        tuple(
            condition
            for group in groups
            for name, value in group.items()
            for condition in _parse_conditions(name, value)
        )
    )


def _parse_conditions(name: str, value: object) -> Iterable[Condition]:
    if not isinstance(value, dict):
        value = (
            {"in": _parse_json_list(value)}
            if isinstance(_parse_json_list(value), list)
            else {"eq": value}
        )
    elif not value or not set(value) <= _PUBLIC_OPERATORS:
        expected = f"one or more of {', '.join(sorted(_PUBLIC_OPERATORS))}"
        refuse("InvalidParameter", f"search_filters: the operators of {name} must be {expected}.")
    for operator, operand in value.items():
        is_valid = _OPERAND_CHECKS.get(operator, _is_scalar)
        if not is_valid(operand):
            refuse(
                "InvalidParameter", f"search_filters: {operand!r} is not valid for {name} {operator}."
            )
        yield Condition(name, operator, operand)


def _parse_json_list(value: object) -> object:
    """Parse a list that is sent as a JSON string, as in some official examples; keep other values."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _get_field_values(chunk: Chunk, name: str) -> list[Any]:
    """Return the values of a chunk's field; a document's tags are the field `tags`."""
    if name == "tags" and chunk.document is not None:
        return list(chunk.document.tags)
    fields = chunk.row if chunk.row is not None else chunk.document.metadata if chunk.document else {}
    if name in fields:
        return _as_list(fields[name])
    return _as_list({"file_id": chunk.data_id, "doc_name": chunk.name}.get(name, ()))


def _as_list(value: object) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]


def _all_fields_match(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> bool:
    return all(name in actual and matches_any(value, actual[name]) for name, value in expected.items())


def _parse_number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value) if "." in value else int(value)
    return None


def _is_scalar(value: object) -> bool:
    return isinstance(value, (str, int, float))


def _make_number_operator(compare: Callable[[float, float], bool]) -> Callable[[Any, list[Any]], bool]:
    """Return an operator that compares the actual numbers with the expected one."""

    def matches_number(expected: object, actual: list[Any]) -> bool:
        bound = _parse_number(expected)
        numbers = [number for number in map(_parse_number, actual) if number is not None]
        return bound is not None and any(compare(number, bound) for number in numbers)

    return matches_number


_OPERATORS: Mapping[str, Callable[[Any, list[Any]], bool]] = MappingProxyType(
    {
        "eq": matches_any,
        "in": matches_any,
        # A chunk that lacks the field does not match.
        "neq": lambda expected, actual: bool(actual) and not matches_any(expected, actual),
        "gt": _make_number_operator(lambda number, bound: number > bound),
        "gte": _make_number_operator(lambda number, bound: number >= bound),
        "lt": _make_number_operator(lambda number, bound: number < bound),
        "lte": _make_number_operator(lambda number, bound: number <= bound),
        "like": lambda expected, actual: any(expected in str(value) for value in actual),
    }
)
# `in` is internal: in the protocol, a list matches any of its values without an operator.
_PUBLIC_OPERATORS = frozenset(_OPERATORS) - {"in"}
_OPERAND_CHECKS: Mapping[str, Callable[[Any], bool]] = MappingProxyType(
    {
        "in": lambda values: all(_is_scalar(value) for value in values),
        "like": lambda value: isinstance(value, str),
        **dict.fromkeys(("gt", "gte", "lt", "lte"), lambda value: _parse_number(value) is not None),
    }
)
