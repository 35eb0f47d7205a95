"""Filters of a search: those of `rag_options`, and `search_filters` of the retrieve route.

Pure: a chunk in, whether it may be found out. A field that a chunk does not have lets nothing pass.
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


def same(asked: object, held: object) -> bool:
    """Whether two values are one: numbers by value, also one written as text; texts exactly."""
    if isinstance(asked, str) and isinstance(held, str):
        return asked == held
    one, other = _number(asked), _number(held)
    if one is not None and other is not None:
        return one == other
    return type(asked) is type(held) and asked == held


def matches(asked: object, held: object) -> bool:
    """Whether any of the values asked for is any of those held; either may be a list."""
    return any(same(one, other) for one in _values(asked) for other in _values(held))


@dataclass(frozen=True)
class Narrowing:
    """The filters of `rag_options`; an empty one lets everything pass."""

    file_ids: Sequence[str] = ()
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)

    def lets_pass(self, chunk: Chunk) -> bool:
        """Whether a chunk may be found. Filters for documents leave rows of tables alone."""
        if chunk.row is not None:
            return _all_match(self.columns, chunk.row)
        document = chunk.document
        return document is None or (
            (not self.file_ids or document.file_id in self.file_ids)
            and (not self.tags or bool(set(self.tags) & set(document.tags)))
            and _all_match(self.metadata, document.metadata)
        )


class Condition(NamedTuple):
    """One field of `search_filters`, one operator, and what it is compared with."""

    field: str
    operator: str
    operand: Any


@dataclass(frozen=True)
class SearchFilters:
    """`search_filters`: subgroups, and conditions within them, all hold, so that they are one list."""

    conditions: tuple[Condition, ...] = ()

    def let_pass(self, chunk: Chunk) -> bool:
        """Whether a chunk may be found."""
        return all(
            _OPERATORS[operator](operand, _held(chunk, name))
            for name, operator, operand in self.conditions
        )


def search_filters(given: object) -> SearchFilters:
    """Read `search_filters`.

    Raises:
        RequestRefused: It is none, or has an operator that does not exist.
    """
    if given is None:
        return SearchFilters()
    if not isinstance(given, list) or not all(isinstance(group, dict) for group in given):
        refuse("InvalidParameter", "search_filters must be a list of objects.")
    return SearchFilters(
        tuple(
            condition
            for group in given
            for name, value in group.items()
            for condition in _conditions(name, value)
        )
    )


def _conditions(name: str, value: object) -> Iterable[Condition]:
    if not isinstance(value, dict):
        value = {"in": _listed(value)} if isinstance(_listed(value), list) else {"eq": value}
    elif not value or not set(value) <= _ALLOWED:
        wanted = f"one or more of {', '.join(sorted(_ALLOWED))}"
        refuse("InvalidParameter", f"search_filters: the operators of {name} must be {wanted}.")
    for operator, operand in value.items():
        kind = _OPERANDS.get(operator, _is_single)
        if not kind(operand):
            refuse(
                "InvalidParameter", f"search_filters: {operand!r} is no value for {name} {operator}."
            )
        yield Condition(name, operator, operand)


def _listed(value: object) -> object:
    """A list may come as its JSON text: the official examples send both."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _held(chunk: Chunk, name: str) -> list[Any]:
    """The values a chunk has in a field; a document's tags are one field."""
    if name == "tags" and chunk.document is not None:
        return list(chunk.document.tags)
    own = chunk.row if chunk.row is not None else chunk.document.metadata if chunk.document else {}
    if name in own:
        return _values(own[name])
    return _values({"file_id": chunk.data_id, "doc_name": chunk.name}.get(name, ()))


def _values(value: object) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]


def _all_match(asked: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    return all(name in held and matches(value, held[name]) for name, value in asked.items())


def _number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value) if "." in value else int(value)
    return None


def _is_single(value: object) -> bool:
    return isinstance(value, (str, int, float))


def _compared(holds: Callable[[float, float], bool]) -> Callable[[Any, list[Any]], bool]:
    """A comparison of the numbers held with the one asked for."""

    def compared(asked: object, held: list[Any]) -> bool:
        bound = _number(asked)
        numbers = [number for number in map(_number, held) if number is not None]
        return bound is not None and any(holds(number, bound) for number in numbers)

    return compared


_OPERATORS: Mapping[str, Callable[[Any, list[Any]], bool]] = MappingProxyType(
    {
        "eq": matches,
        "in": matches,
        # Who does not have the field is not found by its absence.
        "neq": lambda asked, held: bool(held) and not matches(asked, held),
        "gt": _compared(lambda number, bound: number > bound),
        "gte": _compared(lambda number, bound: number >= bound),
        "lt": _compared(lambda number, bound: number < bound),
        "lte": _compared(lambda number, bound: number <= bound),
        "like": lambda asked, held: any(asked in str(value) for value in held),
    }
)
# A list asks for any of its values; there is no word for that on the wire.
_ALLOWED = frozenset(_OPERATORS) - {"in"}
_OPERANDS: Mapping[str, Callable[[Any], bool]] = MappingProxyType(
    {
        "in": lambda values: all(_is_single(value) for value in values),
        "like": lambda value: isinstance(value, str),
        **dict.fromkeys(("gt", "gte", "lt", "lte"), lambda value: _number(value) is not None),
    }
)
