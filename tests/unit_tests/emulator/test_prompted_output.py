"""What the emulator says when a request demands a form: it does as it is told, without a model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from langchain_bailian_app.emulator import Round, Turn
from langchain_bailian_app.emulator._apps.prompted_output import filled, obedient_text

ADD = {"name": "add", "parameters": {"properties": {"a": {"type": "integer"}}, "required": ["a"]}}
FIND = {"name": "find", "description": "Search for something.", "parameters": {}}
CALLED = '<tool_call>\n{"name": "add", "arguments": {"a": 3}}\n</tool_call>'
RESULT = '<tool_response>\n{"name": "add", "content": "7"}\n</tool_response>'


def system(*tools: dict[str, Any], rule: str = "") -> str:
    described = "\n".join(json.dumps({"type": "function", "function": tool}) for tool in tools)
    return f"<tools>\n{described}\n</tools>\n{rule}"


@pytest.mark.parametrize(
    ("prompt", "rule", "said"),
    [
        ("please add 3", "", CALLED),
        ("search!", "", '<tool_call>\n{"name": "find", "arguments": {}}\n</tool_call>'),
        ("hello", "", None),
        ("3 + 4?", "", CALLED),  # all that it needs is a number
        ("hello 3", "This time you must call a function.", CALLED),
        ("3", "这一次必须调用函数。", CALLED),
        (
            "add 3",
            "必须调用函数 find。",
            '<tool_call>\n{"name": "find", "arguments": {}}\n</tool_call>',
        ),
    ],
)
def test_a_tool_is_called_if_the_question_means_it_or_if_it_must_be(
    prompt: str, rule: str, said: str | None
) -> None:
    assert obedient_text(Turn(prompt, system=system(ADD, FIND, rule=rule))) == said


def test_each_tool_that_is_named_is_called_once_then_the_results_are_told() -> None:
    history = (Round("add 3", CALLED),)

    assert obedient_text(Turn(RESULT, history, system(ADD))) == (
        "(local emulator) The functions returned: 7"
    )
    history = (Round("find, and add 3", '<tool_call>{"name": "find"}</tool_call>'),)
    assert obedient_text(Turn(RESULT, history, system(ADD, FIND))) == CALLED


def test_json_is_made_by_the_schema_that_is_told() -> None:
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
    wanted = {
        "kind": "blue",
        "fixed": 1,
        "parts": [{"name": "袋"}],
        "maybe": 2.5,
        "yes": True,
        "none": None,
    }

    assert filled(schema, "2.5 blue ones in a 「袋」") == wanted
    prompt = (
        f"2.5 blue ones in a 「袋」\n\n请只用 JSON 回答：符合下面 JSON Schema：\n\n{json.dumps(schema)}"
    )
    assert json.loads(obedient_text(Turn(prompt)) or "") == wanted


def test_without_a_schema_the_keys_that_are_named_are_there() -> None:
    assert json.loads(obedient_text(Turn("`a` and `b`?\nAnswer with one JSON object only")) or "") == {
        "a": "`a` and `b`?",
        "b": "`a` and `b`?",
    }


class Tree(BaseModel):
    """Something that holds more of its kind."""

    name: str
    child: Tree | None
    kids: list[Tree]


def test_a_schema_that_holds_itself_comes_to_an_end() -> None:
    assert Tree.model_validate(filled(Tree.model_json_schema(), "树")).name == "树"


def test_of_several_types_the_first_is_taken() -> None:
    schema = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]}
    assert filled(schema, "甲") == {"a": "甲"}


@pytest.mark.parametrize(
    ("prompt", "rules"),
    [
        ("hi", "Use <tools>hammer</tools>"),
        ("hi", '<tools>\n{"type": "web_search"}\n</tools>'),
        ("什么是 JSON only？", ""),
        ("<tool_response>nothing</tool_response>", system(ADD)),
    ],
)
def test_what_only_looks_like_a_demand_is_none(prompt: str, rules: str) -> None:
    assert obedient_text(Turn(prompt, system=rules)) is None


def test_names_and_results_may_hold_anything() -> None:
    dotted = {"name": "a.b", "parameters": {}}
    called = '<tool_call>\n{"name": "a.b", "arguments": {}}\n</tool_call>'
    result = (
        '<tool_response>\n{"name": "a.b", "content": "bad </tool_response> text"}\n</tool_response>'
    )

    assert (
        obedient_text(Turn("?", system=system(dotted, rule="You must call the function a.b.\n")))
        == called
    )
    said = obedient_text(Turn(result, (Round("a.b", called),), system(dotted)))
    assert said == "(local emulator) The functions returned: bad </tool_response> text"


def test_a_request_that_demands_nothing_gets_the_usual_answer() -> None:
    assert obedient_text(Turn("什么是 JSON？")) is None
