"""Tests for the extraction of JSON from text; `test_output_format` covers its use."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_bailian_app._answer.json_extraction import (
    ends_in_string,
    extract_json,
    find_json_end,
    parse_incomplete,
)


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
def test_line_breaks_in_strings_and_trailing_commas_are_accepted(text: str, values: list[Any]) -> None:
    assert extract_json(text).values == values


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
    assert extract_json(answer).values == [value]


@pytest.mark.parametrize(
    ("text", "error"),
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
def test_invalid_json_is_reported_with_a_reason(text: str, error: str) -> None:
    extracted = extract_json(text)

    assert (extracted.values, extracted.incomplete_text) == ([], "")
    assert extracted.error.startswith(error)


@pytest.mark.parametrize(
    "incomplete", ['{"a": "两\n行', '{"a": "两\n行", "b": tru', '{"a": [1, {"b": "c\\', "[", "{ "]
)
def test_incomplete_json_is_kept_verbatim(incomplete: str) -> None:
    extracted = extract_json(f'好：{{"x": 1}} {incomplete}')

    assert (extracted.values, extracted.incomplete_text, extracted.error) == (
        [{"x": 1}],
        incomplete,
        "",
    )


def test_an_error_is_reported_beside_incomplete_json() -> None:
    extracted = extract_json('{"a": no} {"b": 1')

    assert (extracted.values, extracted.incomplete_text) == ([], '{"b": 1')
    assert extracted.error.startswith("not valid JSON: ")


def test_the_search_stops_after_twenty_unclosed_brackets() -> None:
    value = '{"a": 1}'

    assert extract_json("[0, 1) " * 20 + value).values == [{"a": 1}]
    assert extract_json("[0, 1) " * 21 + value).values == []


@pytest.mark.parametrize(
    ("incomplete", "value"),
    [
        ('{"a": "两\n行', {"a": "两\n行"}),
        ('{"a": "b\\', {"a": "b"}),
        ('{"a": "b\\u4', {"a": "b"}),
        ('{"a": "b\\ud83c', {"a": "b"}),
        ('{"a": "b\\ud83c\\udf75', {"a": "b🍵"}),
        ('{"a": "b\\\\', {"a": "b\\"}),
        ('{"a": "b\\\\u12', {"a": "b\\u12"}),
        ('["x", {"a": 1, "long key', ["x", {"a": 1}]),
        ('["x", {"a": 1, "b" : ', ["x", {"a": 1}]),
        ('["x", "y",  ', ["x", "y"]),
        ("[1, 2.", [1, 2]),
        ("", None),
    ],
)
def test_incomplete_json_is_parsed_without_the_cut_escape(incomplete: str, value: Any) -> None:
    assert parse_incomplete(incomplete) == value


def test_text_that_cannot_be_completed_is_parsed_as_none() -> None:
    assert parse_incomplete("nothing") is None
    assert parse_incomplete("") is None


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
def test_brackets_inside_strings_do_not_end_a_value(text: str, start: int, end: int | None) -> None:
    assert find_json_end(text, start) == end


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
def test_an_unterminated_string_is_detected(text: str, ends: bool) -> None:
    assert ends_in_string(text) is ends
