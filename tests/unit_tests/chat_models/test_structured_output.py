"""Replies become objects, and questions ask for them."""

from __future__ import annotations

import json
import time
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, SystemMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.v1 import BaseModel as BaseModelV1

from langchain_bailian_app._answer.text_json import complete, find
from langchain_bailian_app.chat_models._json_schema import problems
from langchain_bailian_app.chat_models._output_format import OutputFormat


class Unit(StrEnum):
    C = "C"
    F = "F"


class Weather(BaseModel):
    """The weather of a city."""

    city: str = Field(description="城市")
    degrees: int


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    day: date
    unit: Unit


class Node(BaseModel):
    name: str
    children: list[Node] = []


class Nodes(RootModel[list[Node]]):
    pass


class Old(BaseModelV1):
    city: str


class Inner(TypedDict):
    x: int


class Described(TypedDict):
    """The weather."""

    city: Annotated[str, ..., "the city"]
    wind: Annotated[str, None, "the wind"]
    inner: Inner


class Optional(TypedDict):
    wind: NotRequired[str]


WEATHER = {"city": "杭州", "degrees": 21}
TEXT = json.dumps(WEATHER, ensure_ascii=False)
JSON_SCHEMA = Weather.model_json_schema()


@pytest.mark.parametrize(
    "answer",
    [
        TEXT,
        f"\n {TEXT} \n",
        f"```json\n{TEXT}\n```",
        f"```\n{TEXT}\n```",
        f"好的，结果如下：{TEXT}。希望有帮助！",
        f"Here it is:\n\n```json\n{TEXT}\n```\n\nAnything else?",
        f"According to [1], for {{city}}, in the range [0, 10) or [1, 2]: {TEXT}",
        f'The form is {{"city": ...}}, so: {TEXT}',
        f'{{"name": "example"}}\n{TEXT}',
        '{"city": "杭州", "degrees": 21,}',
        '{\n  "city" : "杭州",\n  "degrees" : 21\n}',
        '{"degrees": 21, "city": "杭州", "more": [1, {"a": []}]}',
    ],
)
def test_an_object_is_read_out_of_an_answer(answer: str) -> None:
    parsed = OutputFormat(Weather, told=True).read(answer).parsed
    plain = OutputFormat(JSON_SCHEMA, told=True).read(answer).parsed

    assert parsed == Weather(**WEATHER)
    assert {name: plain[name] for name in WEATHER} == WEATHER


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ('{"a": "两行\n字，“引号”、】和 ``` ，}"}', {"a": "两行\n字，“引号”、】和 ``` ，}"}),
        (r'{"a": "say \"{\" and \\"}', {"a": 'say "{" and \\'}),
        ('{"a": [1, 2, ], "b": ", ]",}', {"a": [1, 2], "b": ", ]"}),
        ("{}", {}),
        ('{"a": {"b": {"c": [[{}]]}}}', {"a": {"b": {"c": [[{}]]}}}),
    ],
)
def test_strings_and_nested_values_stay_as_they_are(answer: str, value: Any) -> None:
    assert find(answer).values == [value]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("", "there is no JSON in it"),
        ("抱歉，我不知道。", "there is no JSON in it"),
        ("The range [0, 1) is open.", "there is no JSON in it"),
        ("杭州, 21", "there is no JSON in it"),
        ('{"city": "杭州", "degrees": 2', "the JSON breaks off before its end"),
        ('{"city": "杭', "the JSON breaks off before its end"),
        ('{"city": nothing, "degrees": 21}', "not valid JSON"),
        ('{"city": nothing, "more": {"city": "杭州", "degrees": 21}', "not valid JSON"),
        ('{"city": "杭州" "degrees": 21,}', "not valid JSON"),
        (f"[{TEXT} {TEXT}, and so on", "not valid JSON"),
        ("{“city”：“杭州”}", "there is no JSON in it"),
        ('{"city": "杭州"}', "`degrees`"),
        ('{"city": ["杭州"], "degrees": 21}', "`city`"),
        ('{"city": "杭州", "degrees": "warm"}', "`degrees`"),
        (f"[{TEXT}]", "object"),
        ('{"a": 1} {"city": "杭州", "degrees": "warm"}', "`degrees`"),
        ('{"a":' * 100_000, "not valid JSON"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "not valid JSON"),
    ],
)
def test_what_is_wrong_with_an_answer_is_told(answer: str, problem: str) -> None:
    for schema in (Weather, JSON_SCHEMA):
        reading = OutputFormat(schema, told=True).read(answer)

        assert reading.parsed is None
        assert problem in str(reading.problem)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("", "there is no JSON in it"),
        ('{"city": "杭', "the JSON breaks off before its end"),
        ('{"city": "杭州"}', "`degrees`: Field required"),
        ("[]", "Input should be an object"),
    ],
)
def test_a_problem_names_the_place_where_there_is_one(answer: str, problem: str) -> None:
    assert OutputFormat(Weather, told=True).read(answer).problem == problem


def test_a_place_inside_is_told_by_its_way() -> None:
    answer = '{"name": "a", "children": [{"name": "b"}, {"name": 1}]}'

    for schema in (Node, Node.model_json_schema()):
        problem = OutputFormat(schema, told=True).read(answer).problem
        assert str(problem).startswith("`children.1.name`")


def test_at_most_ten_problems_are_told() -> None:
    schema = {"type": "array", "items": {"type": "string"}}
    problem = OutputFormat(schema, told=True).read(json.dumps(list(range(1000)))).problem

    assert problem is not None
    assert problem.count("must be of type string") == 10


def test_arrays_are_read_where_the_schema_is_of_one() -> None:
    nodes = '好的，[{"name": "a", "children": [{"name": "b"}]}]'

    assert OutputFormat(Nodes, told=True).read(nodes).parsed == Nodes.model_validate(
        [{"name": "a", "children": [{"name": "b"}]}]
    )
    array = {"type": "array", "items": {"type": "string"}}
    assert OutputFormat(array, told=True).read('见 [1]：["a", "b"]').parsed == ["a", "b"]


def test_a_strict_class_takes_json_for_what_it_is() -> None:
    parsed = OutputFormat(Strict, told=True).read('{"day": "2025-01-31", "unit": "C"}').parsed

    assert parsed == Strict(day=date(2025, 1, 31), unit=Unit.C)


def test_classes_of_pydantic_1_are_taken() -> None:
    output_format = OutputFormat(Old, told=True)

    assert output_format.read('{"city": "杭州"}').parsed == Old(city="杭州")
    assert "`city`" in str(output_format.read("{}").problem)


def test_any_object_will_do_without_a_schema() -> None:
    output_format = OutputFormat(None, told=False)

    assert output_format.read('见 [1]：{"a": 1}').parsed == {"a": 1}
    assert output_format.read("[1, 2]").problem == "it must be of type object, not array"


@pytest.mark.parametrize(
    ("schema", "answer", "part"),
    [
        (Weather, "好的", None),
        (Weather, '{"city": "杭州"', None),
        (Weather, '{"city": "杭州", "degrees": 2', Weather(city="杭州", degrees=2)),
        (Weather, f"```json\n{TEXT}\n``", Weather(**WEATHER)),
        (JSON_SCHEMA, "[0, 1) 好的：", None),
        (JSON_SCHEMA, "```json\n{", {}),
        (JSON_SCHEMA, '{"ci', {}),
        (JSON_SCHEMA, '{"city": "杭', {"city": "杭"}),
        (JSON_SCHEMA, '{"city": "a}', {"city": "a}"}),
        (JSON_SCHEMA, '{"city": "\\', {"city": ""}),
        (JSON_SCHEMA, '{"city": "杭\\u5d', {"city": "杭"}),
        (JSON_SCHEMA, '{"city": "杭\\ud83d', {"city": "杭"}),
        (JSON_SCHEMA, '{"city": "杭\\ud83d\\ude0', {"city": "杭"}),
        (JSON_SCHEMA, '{"city": "杭\\ud83d\\ude00', {"city": "杭😀"}),
        (JSON_SCHEMA, "[1, 2", None),
        ({"type": "array"}, "[1, 2", [1, 2]),
        ({"anyOf": [{"type": "array"}, {"type": "object"}]}, "[1, 2", [1, 2]),
        (JSON_SCHEMA, '{"city": "杭州", "degrees": -', {"city": "杭州"}),
        (JSON_SCHEMA, '{"city": nul', {}),
        (JSON_SCHEMA, '{"city": nothing here at all', None),
        (JSON_SCHEMA, f"{TEXT} 希望有", WEATHER),
    ],
)
def test_what_has_come_of_an_answer_is_read(schema: Any, answer: str, part: Any) -> None:
    assert OutputFormat(schema, told=True).read_part(answer) == part


@pytest.mark.parametrize(
    "answer",
    [
        '{"a": nothing, "b": "' + "长" * 20_000,
        "{ " * 20_000,
        "[1 " * 20_000,
        "[" * 20_000,
        "[1] " * 20_000,
        '"' * 20_000 + "{" * 20_000,
    ],
)
def test_hostile_answers_are_read_quickly(answer: str) -> None:
    output_format = OutputFormat(JSON_SCHEMA, told=True)
    begin = time.process_time()
    output_format.read_part(answer)
    output_format.read(answer)

    assert time.process_time() - begin < 2


def test_nothing_is_made_of_what_cannot_be_completed() -> None:
    assert complete("nothing") is None
    assert complete("") is None


ANY_OF = {"anyOf": [{"type": "string"}, {"type": "null"}]}


@pytest.mark.parametrize(
    ("schema", "value", "wrong"),
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
        (ANY_OF, 1, ["it fits none of the alternatives"]),
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
def test_a_value_is_checked_by_a_json_schema(schema: Any, value: Any, wrong: list[str]) -> None:
    told = list(problems(value, schema, schema))

    assert len(told) == len(wrong)
    assert all(text.startswith(begin) for text, begin in zip(told, wrong, strict=True))


def test_a_typed_dict_is_checked_with_its_nested_ones_and_optional_keys() -> None:
    output_format = OutputFormat(Described, told=True)
    request = output_format.asked([HumanMessage("?")])[0].text

    assert output_format.read('{"city": "杭州", "inner": {"x": 1}}').parsed
    assert output_format.read('{"city": "杭州", "wind": null, "inner": {"x": 1}}').parsed
    assert "`inner.x`" in str(output_format.read('{"city": "杭州", "inner": {"x": "1"}}').problem)
    assert "the city" in request
    assert "The weather." in request
    assert "dict(" not in request


def test_tools_in_the_form_of_openai_are_taken() -> None:
    for schema in (convert_to_openai_tool(Weather), convert_to_openai_tool(Weather)["function"]):
        output_format = OutputFormat(schema, told=True)

        assert output_format.read(TEXT).parsed == WEATHER
        assert output_format.read("{}").problem == "`city` is missing; `degrees` is missing"


def test_a_schema_needs_no_title_nor_type() -> None:
    output_format = OutputFormat({"properties": {"a": {"type": "string"}}}, told=True)

    assert output_format.read('["b"] {"a": "b"}').parsed == {"a": "b"}


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (str, "a pydantic class, a TypedDict class or a JSON Schema"),
        (dict, "a pydantic class, a TypedDict class or a JSON Schema"),
        ({"type": "string"}, "is of type 'string'"),
        (RootModel[int], "is of type 'integer'"),
        (RootModel[Literal["a"]], "is of type 'string'"),
        ({"name": "weather", "schema": {}}, "no JSON Schema"),
        (Optional, "write a key that may be missing as `Annotated"),
    ],
)
def test_what_is_no_schema_is_refused(schema: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OutputFormat(schema, told=True)


def test_only_the_last_question_tells_the_schema() -> None:
    messages = [
        SystemMessage("rules"),
        HumanMessage("first"),
        AIMessage("answer"),
        HumanMessage("What about Hangzhou?", name="me", id="1"),
        SystemMessage("more rules"),
    ]
    before = [message.model_copy(deep=True) for message in messages]
    asked = OutputFormat(Weather, told=True).asked(messages)

    assert messages == before
    assert [*asked[:3], asked[4]] == [*messages[:3], messages[4]]
    assert asked[3].text.startswith("What about Hangzhou?\n\nAnswer with JSON only")
    assert json.loads(asked[3].text.rpartition("\n\n")[2]) == JSON_SCHEMA
    assert (asked[3].name, asked[3].id) == ("me", "1")


def test_the_request_is_in_the_language_of_the_question() -> None:
    output_format = OutputFormat(Weather, told=True)
    asked = output_format.asked([HumanMessage("English"), ChatMessage("杭州？", role="user")])

    assert asked[1].text.startswith("杭州？\n\n请只用 JSON 回答")
    assert "城市" in asked[1].text
    # The schema has Chinese words; the question has not.
    assert (
        "Answer with JSON only"
        in output_format.asked([HumanMessage("杭州"), HumanMessage("?")])[1].text
    )


def test_in_json_mode_the_schema_is_not_told() -> None:
    asked = OutputFormat(Weather, told=False).asked([HumanMessage("杭州？")])

    assert asked[0].text == "杭州？\n\n请只用一个 JSON 对象回答，不要代码块，也不要其他文字。"


def test_attachments_of_the_question_stay() -> None:
    image = {"type": "image", "url": "https://example.com/a.png"}
    question = HumanMessage([{"type": "text", "text": "What is it?"}, image])
    asked = OutputFormat(Weather, told=True).asked([question])

    assert asked[0].content[:2] == question.content
    assert asked[0].text.startswith("What is it?\n\nAnswer with JSON only")
    assert len(question.content) == 2


def test_messages_without_a_question_are_left_to_the_model() -> None:
    assert OutputFormat(Weather, told=True).asked([SystemMessage("rules")]) == [SystemMessage("rules")]


def test_an_answer_that_does_not_fit_is_asked_for_again() -> None:
    output_format = OutputFormat(Weather, told=True)
    asked = [HumanMessage("杭州？")]

    assert output_format.asked_again(asked, "{}", "`city` is missing") == [
        *asked,
        AIMessage("{}"),
        HumanMessage(
            "上面的回答不符合要求：`city` is missing\n\n请只回复改正后的完整 JSON，不要其他文字。"
        ),
    ]
    assert [message.type for message in output_format.asked_again(asked, " ", "empty")] == ["human"] * 2
