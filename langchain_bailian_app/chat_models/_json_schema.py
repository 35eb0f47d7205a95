"""What is wrong with a value by a JSON Schema: the part of it that tells the shape.

Checked are `type`, `required`, `properties`, `additionalProperties`, `items`, `enum`, `const`, `anyOf`,
`oneOf` (as `anyOf`), `allOf` and `$ref` inside the schema; not lengths, limits, patterns and formats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


def problems(value: Any, schema: Any, root: dict[str, Any], place: str = "") -> Iterator[str]:
    """Yield what is wrong, each with its place; `root` is the schema that references point into."""
    if not isinstance(schema, dict):
        return
    yield from _of_value(value, schema, place)
    for part in _parts(schema, root):
        yield from problems(value, part, root, place)
    for choice in ("anyOf", "oneOf"):
        choices = schema.get(choice) or ()
        if choices and all(any(problems(value, part, root)) for part in choices):
            yield _at(place, "fits none of the alternatives")
    if isinstance(value, dict):
        yield from _of_members(value, schema, root, place)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from problems(item, schema.get("items"), root, f"{place}.{number}")


def _of_value(value: Any, schema: dict[str, Any], place: str) -> Iterator[str]:
    wanted = schema.get("type") or ()
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if wanted and not any(_is(value, name) for name in wanted):
        yield _at(place, f"must be of type {' or '.join(wanted)}, not {_NAMES.get(type(value))}")
    elif "enum" in schema and value not in schema["enum"]:
        yield _at(place, f"must be one of {schema['enum']}")
    elif "const" in schema and value != schema["const"]:
        yield _at(place, f"must be {schema['const']!r}")


def _of_members(
    value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], place: str
) -> Iterator[str]:
    known = schema.get("properties") or {}
    others = schema.get("additionalProperties")
    required = schema.get("required") or ()
    for name in required:
        if name not in value:
            yield _at(f"{place}.{name}", "is missing")
    for name, member in value.items():
        if name not in known and others is False:
            yield _at(f"{place}.{name}", "is not in the schema")
        elif member is not None or name in required:  # null is as good as left out
            yield from problems(member, known.get(name, others), root, f"{place}.{name}")


def _parts(schema: dict[str, Any], root: dict[str, Any]) -> Iterator[Any]:
    yield from schema.get("allOf") or ()
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        target: Any = root
        for name in filter(None, reference[1:].split("/")):
            target = target.get(name) if isinstance(target, dict) else None
        yield target


def _is(value: Any, name: str) -> bool:
    if name == "integer":
        return type(value) is int or (isinstance(value, float) and value.is_integer())
    if name == "number":
        return type(value) in {int, float}
    return _NAMES.get(type(value)) == name


def _at(place: str, problem: str) -> str:
    return f"`{place[1:]}` {problem}" if place else f"it {problem}"
