"""What is wrong with a value is told with its place; more is in `test_structured_output`."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_bailian_app.chat_models._json_schema import problems

TREE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "children": {"items": {"$ref": "#"}}},
    "required": ["name"],
}
CHOICE = {"anyOf": [{"$ref": "#/$defs/City"}, {"type": "null"}], "$defs": {"City": {"type": "string"}}}


@pytest.mark.parametrize(
    ("member", "value", "problem"),
    [
        ({"type": "string"}, 1, "must be of type string, not integer"),
        ({"type": "array"}, {}, "must be of type array, not object"),
        ({"type": "boolean"}, [], "must be of type boolean, not array"),
        ({"type": "integer"}, 1.5, "must be of type integer, not number"),
        ({"type": "number"}, False, "must be of type number, not boolean"),
        ({"type": "null"}, "a", "must be of type null, not string"),
        ({"type": "string", "enum": ["a"]}, "b", "must be one of ['a']"),
        ({"type": "string", "const": "a"}, "b", "must be 'a'"),
        ({"anyOf": [{"type": "string"}, {"type": "array"}]}, 1, "fits none of the alternatives"),
        ({"oneOf": [{"type": "string"}, {"type": "array"}]}, 1, "fits none of the alternatives"),
    ],
)
def test_each_problem_is_told_once_with_its_place(member: Any, value: Any, problem: str) -> None:
    schema = {"properties": {"a": {"items": {"properties": {"b": member}}}}}

    assert list(problems({"a": [{}, {"b": value}]}, schema, schema)) == [f"`a.1.b` {problem}"]


@pytest.mark.parametrize(
    ("schema", "value", "told"),
    [
        # A reference leads into the whole schema, from any depth and inside of alternatives.
        (TREE, {"name": "a", "children": [{"name": "b", "children": [{}]}]}, 1),
        (TREE, {"name": "a", "children": [{"name": "b", "children": []}]}, 0),
        (CHOICE, "杭州", 0),
        (CHOICE, 1, 1),
        # One of several that fit is as good as the only one.
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 1, 0),
        ({"anyOf": []}, 1, 0),
        (
            {"anyOf": None, "allOf": None, "type": None, "required": None, "properties": None},
            {"a": 1},
            0,
        ),
        # All that is wrong is told.
        ({"required": ["a", "b"], "additionalProperties": False}, {"c": 1, "d": 2}, 4),
        ({"allOf": [{"type": "string"}, {"enum": [1]}]}, 2, 2),
        ({"items": {"type": "string"}}, [1, "a", 2], 2),
        # What is of another type than the schema speaks of is not looked into.
        ({"items": {"type": "string"}, "required": ["a"]}, "text", 0),
        ({"type": "object", "required": ["a"]}, [], 1),
        (True, 1, 0),
        # Null is as good as left out, but for what is required.
        ({"properties": {"a": {"type": "string"}}}, {"a": None}, 0),
        ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"a": None}, 1),
    ],
)
def test_as_much_is_told_as_is_wrong(schema: Any, value: Any, told: int) -> None:
    assert len(list(problems(value, schema, schema))) == told
