"""JSON is found in the text of an answer; what comes of it is in `test_structured_output`."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_bailian_app._answer.text_json import complete, end_of, ends_in_string, find


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('{"a": "两\n行\t"}', [{"a": "两\n行\t"}]),
        ('{"a": "两\n行",}', [{"a": "两\n行"}]),
        ('{"a": ",}", "b": [1,\n]}', [{"a": ",}", "b": [1]}]),
        ("[1,] {}", [[1], {}]),
        ('{"a": {"b": 1}} {"c": [2]}', [{"a": {"b": 1}}, {"c": [2]}]),
    ],
)
def test_line_breaks_in_strings_and_a_comma_too_many_are_let_pass(text: str, values: list[Any]) -> None:
    assert find(text).values == values


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": no}', "not valid JSON: Expecting value: "),
        ('{"a": no,}', "not valid JSON: Expecting value: "),
        ('{"a": 1 "b": 2}', "not valid JSON: Expecting ',' delimiter: "),
        (
            '{"a": no, "b": ' + "[" * 100,
            'not valid JSON: \'{"a": no, "b": [[[[[[[[[[[[[[[[[[[[[[[[[\' …',
        ),
    ],
)
def test_of_what_is_no_json_the_reason_is_told(text: str, problem: str) -> None:
    found = find(text)

    assert (found.values, found.begun) == ([], "")
    assert found.broken.startswith(problem)


@pytest.mark.parametrize(
    "begun", ['{"a": "两\n行', '{"a": "两\n行", "b": tru', '{"a": [1, {"b": "c\\', "[", "{ "]
)
def test_what_breaks_off_is_kept_as_it_has_come(begun: str) -> None:
    found = find(f'好：{{"x": 1}} {begun}')

    assert (found.values, found.begun, found.broken) == ([{"x": 1}], begun, "")


def test_what_is_broken_is_told_beside_what_breaks_off() -> None:
    found = find('{"a": no} {"b": 1')

    assert (found.values, found.begun) == ([], '{"b": 1')
    assert found.broken.startswith("not valid JSON: ")


def test_after_twenty_open_brackets_of_prose_nothing_is_looked_for_any_more() -> None:
    value = '{"a": 1}'

    assert find("[0, 1) " * 20 + value).values == [{"a": 1}]
    assert find("[0, 1) " * 21 + value).values == []


@pytest.mark.parametrize(
    ("begun", "value"),
    [
        ('{"a": "两\n行', {"a": "两\n行"}),
        ('{"a": "b\\', {"a": "b"}),
        ('{"a": "b\\u4', {"a": "b"}),
        ('{"a": "b\\ud83c', {"a": "b"}),
        ('{"a": "b\\ud83c\\udf75', {"a": "b🍵"}),
        ("", None),
    ],
)
def test_a_value_is_completed_without_the_character_that_is_cut(begun: str, value: Any) -> None:
    assert complete(begun) == value


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ('{"a": "}"} b', 0, 10),
        ("x [[1], {}] ]", 2, 11),
        (r'{"a": "\"}"}', 0, 12),
        ('{"a": "}', 0, None),
        ("[[1]", 0, None),
    ],
)
def test_the_end_of_a_value_is_no_bracket_inside_a_string(
    text: str, start: int, end: int | None
) -> None:
    assert end_of(text, start) == end


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ('{"a": "两\n行', True),
        ('{"a', True),
        ('["a", "', True),
        ('{"a": "b"', False),
        ('{"a": "b"}', False),
        ('{"a": no, "b', False),
        ("好", False),
        ("", False),
        pytest.param('{"a":' * 100_000 + '"', False, id="nested too deeply"),
        pytest.param("1" * 5000, False, id="a number too long"),
    ],
)
def test_a_string_that_breaks_off_is_told_from_all_else(text: str, ends: bool) -> None:
    assert ends_in_string(text) is ends
