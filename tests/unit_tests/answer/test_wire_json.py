"""Tests for lenient JSON: lone surrogates, and JSON inside a string."""

from __future__ import annotations

import pytest

from langchain_bailian_app._answer.wire_json import (
    is_high_surrogate,
    is_low_surrogate,
    join_surrogates,
    loads,
    parse_nested,
    repair_surrogates,
)

HIGH, LOW = "\ud83d", "\ude00"


@pytest.mark.parametrize(
    ("code", "is_high", "is_low"),
    [
        (0x8336, False, False),
        (0xD7FF, False, False),
        (0xD800, True, False),
        (0xDBFF, True, False),
        (0xDC00, False, True),
        (0xDFFF, False, True),
        (0xE000, False, False),
        (0x1F600, False, False),
    ],
)
def test_high_and_low_surrogates_have_their_own_ranges(code: int, is_high: bool, is_low: bool) -> None:
    assert (is_high_surrogate(chr(code)), is_low_surrogate(chr(code))) == (is_high, is_low)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("a", "a"),
        ("\udfffb", "\udfffb"),
        ("a\udbff", "a\udbff"),
        # A low surrogate at the beginning or a high one at the end may have its other half elsewhere.
        (HIGH, HIGH),
        (LOW, LOW),
        (LOW + HIGH, LOW + HIGH),
        (f"{HIGH}b", "\ufffdb"),
        (f"a{LOW}", "a\ufffd"),
        # Only one surrogate at each end is kept.
        (f"{LOW}{LOW}b", f"{LOW}\ufffdb"),
        (f"a{HIGH}{HIGH}", f"a\ufffd{HIGH}"),
        (LOW + LOW, f"{LOW}\ufffd"),
        (HIGH + HIGH, f"\ufffd{HIGH}"),
    ],
)
def test_lone_surrogates_at_the_ends_of_streamed_text_are_kept(text: str, expected: str) -> None:
    assert repair_surrogates({"text": text}, frozenset({"text"})) == {"text": expected}


def test_only_streamed_fields_keep_lone_surrogates() -> None:
    value = {"text": [HIGH, {"title": HIGH, "text": HIGH}]}

    assert repair_surrogates(value, frozenset({"text"})) == {
        "text": ["\ufffd", {"title": "\ufffd", "text": HIGH}]
    }
    assert repair_surrogates(value) == {"text": ["\ufffd", {"title": "\ufffd", "text": "\ufffd"}]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [(HIGH + LOW, "😀"), (f"茶{HIGH}", "茶\ufffd"), (LOW + HIGH, "\ufffd\ufffd")],
)
def test_pairs_are_joined_and_lone_surrogates_replaced(text: str, expected: str) -> None:
    assert join_surrogates(text) == expected


def test_json_nested_too_deeply_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        loads("[" * 100_000)


# -- documents -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["text", "thought", "response"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\ud83d\ude00", "😀"),
        (r"a\ud83d", "a\ud83d"),
        (r"\ude00b", "\ude00b"),
        (r"\ude00b\ud83d", "\ude00b\ud83d"),
        (r"a\ud83db", "a\ufffdb"),
        (r"a\ude00b", "a\ufffdb"),
        (r"\ud83d", "\ud83d"),
        (r"\ud83d\ude00\ud83d", "😀\ud83d"),
    ],
)
def test_a_lone_surrogate_is_kept_at_the_ends_of_streamed_fields(
    name: str, text: str, expected: str
) -> None:
    document = f'{{"output": [{{"{name}": "{text}"}}]}}'

    assert {"output": [{name: expected}]} == loads(document)
    assert {"output": [{name: expected}]} == loads(document.encode())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r'"\ud83d\ude00"', "😀"),
        (r'"a\ud83d"', "a\ufffd"),
        (r'{"a\ud83d": ["\ude00", 1, null]}', {"a\ufffd": ["\ufffd", 1, None]}),
        (r'{"title": "\ud83d"}', {"title": "\ufffd"}),
    ],
)
def test_a_lone_surrogate_is_replaced_anywhere_else(text: str, expected: object) -> None:
    assert expected == loads(text)


@pytest.mark.parametrize("text", ["", "{", "nonsense", "[" * 100_000])
def test_invalid_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        loads(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        (" [1]", [1]),
        ("plain", "plain"),
        ("1", "1"),
        ("{broken", "{broken"),
        ("[" * 100_000, "[" * 100_000),
        (None, None),
        ({"a": 1}, {"a": 1}),
    ],
)
def test_json_inside_a_string_is_parsed(value: object, expected: object) -> None:
    assert expected == parse_nested(value)
