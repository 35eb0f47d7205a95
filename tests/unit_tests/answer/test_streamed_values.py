"""Tests for detecting how the values of a field arrive."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_bailian_app._answer.streamed_values import (
    Change,
    StreamedValue,
    StreamForm,
    is_json_start,
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


def read(values: list[Any], form: StreamForm | None = None) -> StreamedValue:
    """Return the value that arrives in these frames."""
    streamed = StreamedValue(form or StreamForm())
    for value in values:
        change = streamed.compare(value)
        assert change is not None
        streamed.apply(value, change)
    return streamed


@pytest.mark.parametrize(
    ("values", "joined"),
    [
        pytest.param(['{"a"', ": 1}"], '{"a": 1}', id="increments"),
        pytest.param(['{"a"', '{"a": 1}'], '{"a": 1}', id="snapshots"),
        pytest.param(["{", '{"a": 1}'], '{"a": 1}', id="snapshots, known from the syntax"),
        pytest.param(["[", "[1]", "]"], "[[1]]", id="increments that begin like the first"),
        pytest.param(["[", "[1", "[1]"], "[1]", id="snapshots that could be increments"),
        pytest.param(['{"a":', '{"a":1}}'], '{"a":{"a":1}}', id="an increment equal to all before it"),
        pytest.param(['{"a', '{"a', '{"a":1}'], '{"a":1}', id="a snapshot that stalls"),
        pytest.param(["晴", "晴", "晴"], "晴", id="whole text"),
        pytest.param(["今", "今天", "今天晴"], "今天晴", id="growing text"),
        pytest.param(["今", "今天", "晴"], "今今天晴", id="increments of text"),
        pytest.param(["茶", "馆", "馆", "茶馆馆"], "茶馆馆", id="short text, repeated at last"),
        pytest.param(["茶", "馆", "馆", "茶馆"], "茶馆馆茶馆", id="short text that is not repeated"),
        pytest.param(["晴", "有", "有"], "晴有有", id="equal increments"),
        pytest.param(['{"a"', {"a": 1}], {"a": 1}, id="an object after a part of its JSON"),
        pytest.param(
            ["一二三四", "五六七八", "一二三四五六七八"], "一二三四五六七八", id="repeated at last"
        ),
        pytest.param([None, "", "晴", "", None], "晴", id="empty values"),
        pytest.param([{"a": 1}, '{"a": 1}'], {"a": 1}, id="an object and its JSON"),
    ],
)
def test_values_are_increments_or_snapshots(values: list[Any], joined: Any) -> None:
    assert read(values).get() == joined


@pytest.mark.parametrize(("is_last", "joined"), [(False, "哈哈"), (True, "哈")])
def test_an_increment_that_equals_the_first_is_a_repetition_in_the_last_frame(
    is_last: bool, joined: str
) -> None:
    form = StreamForm()
    read(["晴", "有风"], form)
    value = read(["哈"], form)
    change = value.compare("哈", is_last=is_last)

    assert change is not None
    value.apply("哈", change)
    assert value.get() == joined


def test_an_increment_may_follow_text_that_is_whole_only_if_the_json_continues() -> None:
    assert read(["杭州"]).compare("苏州", is_whole=True) is None
    assert read(['{"n"']).compare(": 1}", is_whole=True) is Change.INCREMENT


@pytest.mark.parametrize(
    ("values", "other"),
    [
        (["{}"], '{"a": 1}'),
        (['{"a": 1}'], '{"a"'),
        ([{"a": 1}], {"a": 2}),
        ([1], 2),
        (["今天有风", "今天有风，晴"], "雨"),
        (["[1", ", 2"], '{"a"'),
    ],
)
def test_a_value_that_is_complete_or_grows_is_not_continued_by_another(
    values: list[Any], other: Any
) -> None:
    form = StreamForm()
    form.form = "snapshots" if values[-1] == "今天有风，晴" else None

    assert read(values, form).compare(other) is None


def test_the_form_of_one_value_applies_to_the_next_of_the_same_field() -> None:
    form = StreamForm()
    ambiguous = read(["[", "[1]"], form)
    assert not ambiguous.is_complete

    read(['{"a"', ": 1}"], form)

    assert ambiguous.get() == "[[1]"
    assert read(["今", "今天"], form).get() == "今今天"


def test_a_form_that_was_wrong_is_corrected_by_the_syntax() -> None:
    form = StreamForm()
    read(["{}", "{}"], form)
    assert form.form == "snapshots"

    assert read(['{"a"', ": 1}"], form).get() == '{"a": 1}'
    assert form.form == "increments"


def test_a_field_that_grows_decides_an_ambiguous_value_of_another_step() -> None:
    form = StreamForm()
    ambiguous = read(["[", "[1]"], form)

    read(['{"a"', '{"a": 1}'], form)

    assert ambiguous.get() == "[1]"
    assert ambiguous.is_complete


@pytest.mark.slow
@given(st.lists(JSON_VALUES) | st.dictionaries(st.text(), JSON_VALUES), st.booleans(), st.data())
def test_every_prefix_of_a_document_is_a_start(value: Any, ensure_ascii: bool, data: Any) -> None:
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=data.draw(st.sampled_from([None, 1])))

    assert is_json_start(text[: data.draw(st.integers(1, len(text)))])


@pytest.mark.parametrize(
    "text", ["{{", '{"a" 1', "[1[", "{}x", "[1 2", '{"a": oops', "[" * 100_000 + "}"]
)
def test_text_that_cannot_become_a_document_is_no_start(text: str) -> None:
    assert not is_json_start(text)
