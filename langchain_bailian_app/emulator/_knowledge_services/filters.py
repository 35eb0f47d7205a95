"""`search_filters` of knowledge services, which may nest conditions with AND and OR."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from langchain_bailian_app.emulator._http.errors import refuse
from langchain_bailian_app.emulator._knowledge.documents import Chunk
from langchain_bailian_app.emulator._knowledge.filters import matches_any, parse_search_filters

Predicate: TypeAlias = Callable[[Chunk], bool]

_DOCUMENT_KEYS = {"tags", "meta"}
_MAX_DEPTH = 5


def parse_service_filters(groups: object, *, any_key: bool) -> Predicate:
    """Return the condition that chunks must meet; all groups must match.

    Args:
        groups: The list of groups.
        any_key: Whether other keys than `tags` and `meta` are allowed.

    Raises:
        RequestRefused: The filters are invalid.
    """
    if groups is None:
        return lambda _: True
    if not isinstance(groups, list):
        refuse("InvalidParameter", "search_filters must be a list of objects.")
    predicates = [_parse_group(group, any_key=any_key, depth=0) for group in groups]
    return lambda chunk: all(matches(chunk) for matches in predicates)


def _parse_group(group: object, *, any_key: bool, depth: int) -> Predicate:
    if not isinstance(group, dict) or depth > _MAX_DEPTH:
        refuse("InvalidParameter", "search_filters must be a list of objects.")
    if "_conditions" in group:
        nested = group["_conditions"]
        if not isinstance(nested, list) or group.get("_operator") not in ("AND", "OR"):
            refuse("InvalidParameter", "search_filters: _operator must be AND or OR.")
        predicates = [_parse_group(c, any_key=any_key, depth=depth + 1) for c in nested]
        combine = any if group["_operator"] == "OR" else all
        return lambda chunk: combine(matches(chunk) for matches in predicates)
    forbidden = [] if any_key else [name for name in group if name not in _DOCUMENT_KEYS]
    if forbidden:
        refuse("InvalidParameter", f"search_filters: {forbidden[0]} is not allowed.")
    conditions = [_parse_condition(name, value) for name, value in group.items()]
    return lambda chunk: all(matches(chunk) for matches in conditions)


def _parse_condition(name: str, value: object) -> Predicate:
    if name == "doc_id":
        return lambda chunk: matches_any(value, chunk.data_id)
    if name == "meta":
        if not isinstance(value, Mapping):
            refuse("InvalidParameter", "search_filters: meta must be an object.")
        return parse_search_filters([dict(value)]).matches
    filters: list[dict[str, Any]] = [{name: value}]
    if name == "tags" and isinstance(value, list):
        return lambda chunk: (
            chunk.document is not None and matches_any(value, list(chunk.document.tags))
        )
    return parse_search_filters(filters).matches
