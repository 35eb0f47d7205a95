"""Validation of a value against the structural keywords of JSON Schema.

Supports `type`, `required`, `properties`, `additionalProperties`, `items`, `enum`, `const`, `anyOf`,
`oneOf` (as `anyOf`), `allOf`, and `$ref` inside the schema. Lengths, limits, patterns and formats are
not checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_TYPE_NAMES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


def iter_errors(value: Any, schema: Any, root: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield the errors in a value, each with its path; `$ref` in a schema refers to parts of `root`."""
    if not isinstance(schema, dict):
        return
    yield from _value_errors(value, schema, path)
    for subschema in _iter_subschemas(schema, root):
        yield from iter_errors(value, subschema, root, path)
    for keyword in ("anyOf", "oneOf"):
        alternatives = schema.get(keyword) or ()
        if alternatives and all(any(iter_errors(value, part, root)) for part in alternatives):
            yield _format_error(path, "matches none of the alternatives")
    if isinstance(value, dict):
        yield from _member_errors(value, schema, root, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from iter_errors(item, schema.get("items"), root, f"{path}.{index}")


def _value_errors(value: Any, schema: dict[str, Any], path: str) -> Iterator[str]:
    types = schema.get("type") or ()
    types = [types] if isinstance(types, str) else types
    if types and not any(_is_of_type(value, name) for name in types):
        expected, actual = " or ".join(types), _TYPE_NAMES.get(type(value))
        yield _format_error(path, f"must be of type {expected}, not {actual}")
    elif "enum" in schema and value not in schema["enum"]:
        yield _format_error(path, f"must be one of {schema['enum']}")
    elif "const" in schema and value != schema["const"]:
        yield _format_error(path, f"must be {schema['const']!r}")


def _member_errors(
    value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], path: str
) -> Iterator[str]:
    properties = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    required = schema.get("required") or ()
    for name in required:
        if name not in value:
            yield _format_error(f"{path}.{name}", "is missing")
    for name, member in value.items():
        if name not in properties and additional is False:
            yield _format_error(f"{path}.{name}", "is not in the schema")
        elif member is not None or name in required:  # an optional key may be null
            yield from iter_errors(member, properties.get(name, additional), root, f"{path}.{name}")


def _iter_subschemas(schema: dict[str, Any], root: dict[str, Any]) -> Iterator[Any]:
    yield from schema.get("allOf") or ()
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        target: Any = root
        for name in filter(None, reference[1:].split("/")):
            target = target.get(name) if isinstance(target, dict) else None
        yield target


def _is_of_type(value: Any, name: str) -> bool:
    if name == "integer":
        return type(value) is int or (isinstance(value, float) and value.is_integer())
    if name == "number":
        return type(value) in {int, float}
    return _TYPE_NAMES.get(type(value)) == name


def _format_error(path: str, error: str) -> str:
    return f"`{path[1:]}` {error}" if path else f"it {error}"
