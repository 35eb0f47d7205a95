"""Tests of instructions for structured output and of the parser for answers."""

from __future__ import annotations

import json
import time
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, ChatMessage, HumanMessage, SystemMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.v1 import BaseModel as BaseModelV1

from langchain_bailian_app.chat_models._output_format import OutputSchema, ParseResult
from langchain_bailian_app.chat_models._structured_output import _PartialObject


class Unit(StrEnum):
    C = "C"
    F = "F"


class Weather(BaseModel):
    """The weather of a city."""

    city: str = Field(description="城市")
    degrees: int


class StrictModel(BaseModel):
    model_config = ConfigDict(strict=True)

    day: date
    unit: Unit


class Node(BaseModel):
    name: str
    children: list[Node] = []


class Nodes(RootModel[list[Node]]):
    pass


class PydanticV1Model(BaseModelV1):
    city: str


class Inner(TypedDict):
    x: int


class DescribedDict(TypedDict):
    """The weather."""

    city: Annotated[str, ..., "the city"]
    wind: Annotated[str, None, "the wind"]
    inner: Inner


class OptionalKeys(TypedDict):
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
def test_an_object_is_extracted_from_an_answer(answer: str) -> None:
    parsed = OutputSchema(Weather, include_schema=True).parse(answer).parsed
    plain = OutputSchema(JSON_SCHEMA, include_schema=True).parse(answer).parsed

    assert parsed == Weather(**WEATHER)
    assert {name: plain[name] for name in WEATHER} == WEATHER


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("", "it contains no JSON"),
        ("抱歉，我不知道。", "it contains no JSON"),
        ("The range [0, 1) is open.", "it contains no JSON"),
        ("杭州, 21", "it contains no JSON"),
        ('{"city": "杭州", "degrees": 2', "the JSON is incomplete"),
        ('{"city": "杭', "the JSON is incomplete"),
        ('{"city": nothing, "degrees": 21}', "not valid JSON"),
        ('{"city": nothing, "more": {"city": "杭州", "degrees": 21}', "not valid JSON"),
        ('{"city": "杭州" "degrees": 21,}', "not valid JSON"),
        (f"[{TEXT} {TEXT}, and so on", "not valid JSON"),
        ("{“city”：“杭州”}", "it contains no JSON"),
        ('{"city": "杭州"}', "`degrees`"),
        ('{"city": ["杭州"], "degrees": 21}', "`city`"),
        ('{"city": "杭州", "degrees": "warm"}', "`degrees`"),
        (f"[{TEXT}]", "object"),
        ('{"a": 1} {"city": "杭州", "degrees": "warm"}', "`degrees`"),
        ('{"a":' * 100_000, "not valid JSON"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "not valid JSON"),
    ],
)
def test_the_error_of_an_answer_is_reported(answer: str, error: str) -> None:
    for schema in (Weather, JSON_SCHEMA):
        result = OutputSchema(schema, include_schema=True).parse(answer)

        assert result.parsed is None
        assert error in str(result.error)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("", "it contains no JSON"),
        ('{"city": "杭', "the JSON is incomplete"),
        ('{"city": "杭州"}', "`degrees`: Field required"),
        ("[]", "Input should be an object"),
    ],
)
def test_an_error_names_the_field_where_there_is_one(answer: str, error: str) -> None:
    assert OutputSchema(Weather, include_schema=True).parse(answer).error == error


def test_a_nested_field_is_named_by_its_path() -> None:
    answer = '{"name": "a", "children": [{"name": "b"}, {"name": 1}]}'

    for schema in (Node, Node.model_json_schema()):
        error = OutputSchema(schema, include_schema=True).parse(answer).error
        assert str(error).startswith("`children.1.name`")


def test_at_most_ten_errors_are_reported() -> None:
    schema = {"type": "array", "items": {"type": "string"}}
    error = OutputSchema(schema, include_schema=True).parse(json.dumps(list(range(1000)))).error

    assert error is not None
    assert error.count("must be of type string") == 10


def test_arrays_are_read_if_the_schema_is_an_array() -> None:
    nodes = '好的，[{"name": "a", "children": [{"name": "b"}]}]'

    assert OutputSchema(Nodes, include_schema=True).parse(nodes).parsed == Nodes.model_validate(
        [{"name": "a", "children": [{"name": "b"}]}]
    )
    array = {"type": "array", "items": {"type": "string"}}
    assert OutputSchema(array, include_schema=True).parse('见 [1]：["a", "b"]').parsed == ["a", "b"]


def test_a_strict_class_is_validated_as_json() -> None:
    parsed = (
        OutputSchema(StrictModel, include_schema=True)
        .parse('{"day": "2025-01-31", "unit": "C"}')
        .parsed
    )

    assert parsed == StrictModel(day=date(2025, 1, 31), unit=Unit.C)


def test_classes_of_pydantic_1_are_accepted() -> None:
    output_schema = OutputSchema(PydanticV1Model, include_schema=True)

    assert output_schema.parse('{"city": "杭州"}').parsed == PydanticV1Model(city="杭州")
    assert "`city`" in str(output_schema.parse("{}").error)


def test_any_object_will_do_without_a_schema() -> None:
    output_schema = OutputSchema(None, include_schema=False)

    assert output_schema.parse('见 [1]：{"a": 1}').parsed == {"a": 1}
    assert output_schema.parse("[1, 2]").error == "it must be of type object, not array"


@pytest.mark.parametrize(
    ("schema", "answer", "expected"),
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
def test_a_partial_answer_is_parsed(schema: Any, answer: str, expected: Any) -> None:
    assert OutputSchema(schema, include_schema=True).parse_partial(answer).parsed == expected


@pytest.mark.slow
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
    output_schema = OutputSchema(JSON_SCHEMA, include_schema=True)
    begin = time.process_time()
    output_schema.parse_partial(answer)
    output_schema.parse(answer)

    assert time.process_time() - begin < 2


class CountingSchema(OutputSchema):
    """Schema that counts the characters it has to parse."""

    parsed_chars = 0

    def parse_partial(self, answer: str) -> ParseResult:
        self.parsed_chars += len(answer)
        return super().parse_partial(answer)


@pytest.mark.parametrize(
    ("start", "piece"),
    [("", "["), ("", '["'), ("", "[1, "), ("", "[1] "), ("", "文"), ('{"a": 1}', "[")],
)
def test_the_work_for_a_stream_without_a_new_value_is_proportional_to_its_length(
    start: str, piece: str
) -> None:
    schema = CountingSchema(None, include_schema=False)
    partial = _PartialObject(schema)
    text = start + piece * (15_000 // len(piece))

    for position in range(0, len(text), 8):
        partial.update(AIMessageChunk(content=text[position : position + 8]))

    assert schema.parsed_chars < 20 * len(text)
    assert partial.message().text == text
    assert partial.latest == ({"a": 1} if start else None)


def test_a_value_after_long_prose_is_found_while_it_streams() -> None:
    partial = _PartialObject(OutputSchema(None, include_schema=False))
    text = "Let me think. " * 100 + json.dumps({"a": "b" * 1000})
    chunks = [AIMessageChunk(content=text[start : start + 4]) for start in range(0, len(text), 4)]

    values = [partial.latest for chunk in chunks if partial.update(chunk)]

    assert len(values) > 200
    assert values[-1] == {"a": "b" * 1000}


def test_a_typed_dict_is_checked_including_nested_ones_and_optional_keys() -> None:
    output_schema = OutputSchema(DescribedDict, include_schema=True)
    instructions = output_schema.add_instructions([HumanMessage("?")])[0].text

    assert output_schema.parse('{"city": "杭州", "inner": {"x": 1}}').parsed
    assert output_schema.parse('{"city": "杭州", "wind": null, "inner": {"x": 1}}').parsed
    assert "`inner.x`" in str(output_schema.parse('{"city": "杭州", "inner": {"x": "1"}}').error)
    assert "the city" in instructions
    assert "The weather." in instructions
    assert "dict(" not in instructions


def test_tool_schemas_in_the_format_of_openai_are_accepted() -> None:
    for schema in (convert_to_openai_tool(Weather), convert_to_openai_tool(Weather)["function"]):
        output_schema = OutputSchema(schema, include_schema=True)

        assert output_schema.parse(TEXT).parsed == WEATHER
        assert output_schema.parse("{}").error == "`city` is missing; `degrees` is missing"


def test_a_schema_needs_neither_title_nor_type() -> None:
    output_schema = OutputSchema({"properties": {"a": {"type": "string"}}}, include_schema=True)

    assert output_schema.parse('["b"] {"a": "b"}').parsed == {"a": "b"}


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (str, "a pydantic class, a TypedDict class or a JSON Schema"),
        (dict, "a pydantic class, a TypedDict class or a JSON Schema"),
        ({"type": "string"}, "got 'string'"),
        (RootModel[int], "got 'integer'"),
        (RootModel[Literal["a"]], "got 'string'"),
        ({"name": "weather", "schema": {}}, "invalid JSON Schema"),
        (OptionalKeys, "declare an optional key as `Annotated"),
    ],
)
def test_invalid_schemas_are_rejected(schema: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OutputSchema(schema, include_schema=True)


def test_only_the_last_question_contains_the_schema() -> None:
    messages = [
        SystemMessage("rules"),
        HumanMessage("first"),
        AIMessage("answer"),
        HumanMessage("What about Hangzhou?", name="me", id="1"),
        SystemMessage("more rules"),
    ]
    before = [message.model_copy(deep=True) for message in messages]
    result = OutputSchema(Weather, include_schema=True).add_instructions(messages)

    assert messages == before
    assert [*result[:3], result[4]] == [*messages[:3], messages[4]]
    assert result[3].text.startswith("What about Hangzhou?\n\nAnswer with JSON only")
    assert json.loads(result[3].text.rpartition("\n\n")[2]) == JSON_SCHEMA
    assert (result[3].name, result[3].id) == ("me", "1")


def test_instructions_are_in_the_language_of_the_question() -> None:
    output_schema = OutputSchema(Weather, include_schema=True)
    result = output_schema.add_instructions(
        [HumanMessage("English"), ChatMessage("杭州？", role="user")]
    )

    assert result[1].text.startswith("杭州？\n\n请只用 JSON 回答")
    assert "城市" in result[1].text
    # The schema contains Chinese text, but the question does not.
    assert (
        "Answer with JSON only"
        in output_schema.add_instructions([HumanMessage("杭州"), HumanMessage("?")])[1].text
    )


def test_in_json_mode_the_schema_is_not_sent() -> None:
    result = OutputSchema(Weather, include_schema=False).add_instructions([HumanMessage("杭州？")])

    assert result[0].text == "杭州？\n\n请只用一个 JSON 对象回答，不要代码块，也不要其他文字。"


def test_attachments_of_the_question_are_kept() -> None:
    image = {"type": "image", "url": "https://example.com/a.png"}
    question = HumanMessage([{"type": "text", "text": "What is it?"}, image])
    result = OutputSchema(Weather, include_schema=True).add_instructions([question])

    assert result[0].content[:2] == question.content
    assert result[0].text.startswith("What is it?\n\nAnswer with JSON only")
    assert len(question.content) == 2


def test_messages_without_a_question_are_left_to_the_model() -> None:
    assert OutputSchema(Weather, include_schema=True).add_instructions([SystemMessage("rules")]) == [
        SystemMessage("rules")
    ]


def test_a_retry_contains_the_answer_and_its_error() -> None:
    output_schema = OutputSchema(Weather, include_schema=True)
    messages = [HumanMessage("杭州？")]

    assert output_schema.append_retry(messages, "{}", "`city` is missing") == [
        *messages,
        AIMessage("{}"),
        HumanMessage(
            "上面的回答不符合要求：`city` is missing\n\n请只回复改正后的完整 JSON，不要其他文字。"
        ),
    ]
    assert [message.type for message in output_schema.append_retry(messages, " ", "empty")] == [
        "human"
    ] * 2
