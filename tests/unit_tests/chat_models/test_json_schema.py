"""Tests of JSON Schema validation: errors and their paths."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from langchain_bailian_app.chat_models._json_schema import iter_errors

TREE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "children": {"items": {"$ref": "#"}}},
    "required": ["name"],
}
CHOICE = {"anyOf": [{"$ref": "#/$defs/City"}, {"type": "null"}], "$defs": {"City": {"type": "string"}}}
ANY_OF = {"anyOf": [{"type": "string"}, {"type": "null"}]}


class Node(BaseModel):
    name: str
    children: list[Node] = []


@pytest.mark.parametrize(
    ("member", "value", "error"),
    [
        ({"type": "string"}, 1, "must be of type string, not integer"),
        ({"type": "array"}, {}, "must be of type array, not object"),
        ({"type": "boolean"}, [], "must be of type boolean, not array"),
        ({"type": "integer"}, 1.5, "must be of type integer, not number"),
        ({"type": "number"}, False, "must be of type number, not boolean"),
        ({"type": "null"}, "a", "must be of type null, not string"),
        ({"type": "string", "enum": ["a"]}, "b", "must be one of ['a']"),
        ({"type": "string", "const": "a"}, "b", "must be 'a'"),
        ({"anyOf": [{"type": "string"}, {"type": "array"}]}, 1, "matches none of the alternatives"),
        ({"oneOf": [{"type": "string"}, {"type": "array"}]}, 1, "matches none of the alternatives"),
    ],
)
def test_each_error_is_reported_once_with_its_path(member: Any, value: Any, error: str) -> None:
    schema = {"properties": {"a": {"items": {"properties": {"b": member}}}}}

    assert list(iter_errors({"a": [{}, {"b": value}]}, schema, schema)) == [f"`a.1.b` {error}"]


@pytest.mark.parametrize(
    ("schema", "value", "error_count"),
    [
        # References refer to the root schema, at any depth and inside alternatives.
        (TREE, {"name": "a", "children": [{"name": "b", "children": [{}]}]}, 1),
        (TREE, {"name": "a", "children": [{"name": "b", "children": []}]}, 0),
        (CHOICE, "杭州", 0),
        (CHOICE, 1, 1),
        # `oneOf` accepts a value that matches more than one alternative.
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 1, 0),
        ({"anyOf": []}, 1, 0),
        (
            {"anyOf": None, "allOf": None, "type": None, "required": None, "properties": None},
            {"a": 1},
            0,
        ),
        # All errors are reported.
        ({"required": ["a", "b"], "additionalProperties": False}, {"c": 1, "d": 2}, 4),
        ({"allOf": [{"type": "string"}, {"enum": [1]}]}, 2, 2),
        ({"items": {"type": "string"}}, [1, "a", 2], 2),
        # Keywords for another type are ignored.
        ({"items": {"type": "string"}, "required": ["a"]}, "text", 0),
        ({"type": "object", "required": ["a"]}, [], 1),
        (True, 1, 0),
        # An optional key may be null, a required one may not.
        ({"properties": {"a": {"type": "string"}}}, {"a": None}, 0),
        ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"a": None}, 1),
    ],
)
def test_every_error_is_reported(schema: Any, value: Any, error_count: int) -> None:
    assert len(list(iter_errors(value, schema, schema))) == error_count


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"type": "integer"}, 3, []),
        ({"type": "integer"}, 3.0, []),
        ({"type": "integer"}, True, ["it must be of type integer, not boolean"]),
        ({"type": "number"}, 3, []),
        ({"type": "number"}, "3", ["it must be of type number, not string"]),
        ({"type": ["string", "null"]}, None, []),
        ({"type": ["string", "null"]}, 1.5, ["it must be of type string or null, not number"]),
        ({"enum": ["C", "F"]}, "K", ["it must be one of ['C', 'F']"]),
        ({"const": 1}, 2, ["it must be 1"]),
        (ANY_OF, None, []),
        (ANY_OF, 1, ["it matches none of the alternatives"]),
        ({"allOf": [{"type": "string"}, {"const": "a"}]}, "b", ["it must be 'a'"]),
        ({"items": {"type": "string"}}, ["a", 1], ["`1` must be of type string, not integer"]),
        ({"required": ["a", "b"]}, {"a": None}, ["`b` is missing"]),
        ({"properties": {"a": {"type": "string"}}}, {"a": None, "b": 1}, []),
        ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"a": None}, ["`a` must be of"]),
        ({"properties": {"a": True}, "additionalProperties": False}, {"b": 1}, ["`b` is not in"]),
        ({"additionalProperties": {"type": "string"}}, {"b": 1}, ["`b` must be of type string"]),
        ({"$ref": "#/$defs/missing/too"}, 1, []),
        ({"$ref": "https://example.com/schema"}, 1, []),
        (
            {
                "$ref": "#/$defs/N",
                "$defs": {"N": {"properties": {"n": {"$ref": "#/$defs/N"}, "v": False}}},
            },
            {"n": {"n": {"v": 1}}},
            [],
        ),
        (Node.model_json_schema(), {"name": "a", "children": [{}]}, ["`children.0.name` is missing"]),
    ],
)
def test_a_value_is_checked_by_a_json_schema(schema: Any, value: Any, expected: list[str]) -> None:
    errors = list(iter_errors(value, schema, schema))

    assert len(errors) == len(expected)
    assert all(text.startswith(begin) for text, begin in zip(errors, expected, strict=True))
