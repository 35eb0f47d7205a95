"""Tests of the emulator's answers in a format that the prompt asks for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from langchain_bailian_app.emulator import Round, Turn
from langchain_bailian_app.emulator._apps.prompted_output import build_prompted_output, fill_schema

ADD = {"name": "add", "parameters": {"properties": {"a": {"type": "integer"}}, "required": ["a"]}}
FIND = {"name": "find", "description": "Search for something.", "parameters": {}}
ADD_CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 3}}\n</tool_call>'
ADD_RESULT = '<tool_response>\n{"name": "add", "content": "7"}\n</tool_response>'


def build_system_prompt(*tools: dict[str, Any], rule: str = "") -> str:
    tool_lines = "\n".join(json.dumps({"type": "function", "function": tool}) for tool in tools)
    return f"<tools>\n{tool_lines}\n</tools>\n{rule}"


@pytest.mark.parametrize(
    ("prompt", "rule", "expected"),
    [
        ("please add 3", "", ADD_CALL),
        ("search!", "", '<tool_call>\n{"name": "find", "arguments": {}}\n</tool_call>'),
        ("hello", "", None),
        ("3 + 4?", "", ADD_CALL),  # `add` requires only a number
        ("hello 3", "This time you must call a function.", ADD_CALL),
        ("3", "这一次必须调用函数。", ADD_CALL),
        (
            "add 3",
            "必须调用函数 find。",
            '<tool_call>\n{"name": "find", "arguments": {}}\n</tool_call>',
        ),
    ],
)
def test_a_tool_is_called_if_the_question_matches_it_or_if_a_call_is_forced(
    prompt: str, rule: str, expected: str | None
) -> None:
    assert (
        build_prompted_output(Turn(prompt, system=build_system_prompt(ADD, FIND, rule=rule)))
        == expected
    )


def test_each_tool_named_in_the_question_is_called_once_before_results_are_reported() -> None:
    history = (Round("add 3", ADD_CALL),)

    assert build_prompted_output(Turn(ADD_RESULT, history, build_system_prompt(ADD))) == (
        "(local emulator) The functions returned: 7"
    )
    history = (Round("find, and add 3", '<tool_call>{"name": "find"}</tool_call>'),)
    assert build_prompted_output(Turn(ADD_RESULT, history, build_system_prompt(ADD, FIND))) == ADD_CALL


def test_json_follows_the_schema_in_the_prompt() -> None:
    schema = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["red", "blue"]},
            "fixed": {"const": 1},
            "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}},
            "maybe": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            "yes": {"type": "boolean"},
            "none": {"type": "null"},
            "other": {"type": "string"},
        },
        "required": ["kind", "fixed", "parts", "maybe", "yes", "none"],
        "$defs": {"Part": {"properties": {"name": {"type": "string"}}, "required": ["name"]}},
    }
    expected = {
        "kind": "blue",
        "fixed": 1,
        "parts": [{"name": "袋"}],
        "maybe": 2.5,
        "yes": True,
        "none": None,
    }

    assert fill_schema(schema, "2.5 blue ones in a 「袋」") == expected
    prompt = (
        f"2.5 blue ones in a 「袋」\n\n请只用 JSON 回答：符合下面 JSON Schema：\n\n{json.dumps(schema)}"
    )
    assert json.loads(build_prompted_output(Turn(prompt)) or "") == expected


def test_without_a_schema_json_has_the_keys_named_in_the_prompt() -> None:
    assert json.loads(
        build_prompted_output(Turn("`a` and `b`?\nAnswer with one JSON object only")) or ""
    ) == {
        "a": "`a` and `b`?",
        "b": "`a` and `b`?",
    }


class Tree(BaseModel):
    """A recursive model."""

    name: str
    child: Tree | None
    kids: list[Tree]


def test_filling_a_recursive_schema_terminates() -> None:
    assert Tree.model_validate(fill_schema(Tree.model_json_schema(), "树")).name == "树"


def test_the_first_of_several_types_is_used() -> None:
    schema = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]}
    assert fill_schema(schema, "甲") == {"a": "甲"}


@pytest.mark.parametrize(
    ("prompt", "system"),
    [
        ("hi", "Use <tools>hammer</tools>"),
        ("hi", '<tools>\n{"type": "web_search"}\n</tools>'),
        ("什么是 JSON only？", ""),
        ("<tool_response>nothing</tool_response>", build_system_prompt(ADD)),
    ],
)
def test_text_that_only_resembles_an_instruction_is_ignored(prompt: str, system: str) -> None:
    assert build_prompted_output(Turn(prompt, system=system)) is None


def test_names_and_results_may_contain_special_characters() -> None:
    dotted_tool = {"name": "a.b", "parameters": {}}
    call = '<tool_call>\n{"name": "a.b", "arguments": {}}\n</tool_call>'
    tool_response = (
        '<tool_response>\n{"name": "a.b", "content": "bad </tool_response> text"}\n</tool_response>'
    )

    assert (
        build_prompted_output(
            Turn("?", system=build_system_prompt(dotted_tool, rule="You must call the function a.b.\n"))
        )
        == call
    )
    output = build_prompted_output(
        Turn(tool_response, (Round("a.b", call),), build_system_prompt(dotted_tool))
    )
    assert output == "(local emulator) The functions returned: bad </tool_response> text"


def test_a_request_without_format_instructions_gets_the_default_answer() -> None:
    assert build_prompted_output(Turn("什么是 JSON？")) is None
