"""Halves of surrogate pairs, one by one; documents with them are in `test_frames`."""

from __future__ import annotations

import pytest

from langchain_bailian_app._answer.wire_json import is_high, is_low, loads, mended, whole

HIGH, LOW = "\ud83d", "\ude00"


@pytest.mark.parametrize(
    ("code", "high", "low"),
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
def test_the_halves_of_a_pair_have_their_own_ranges(code: int, high: bool, low: bool) -> None:
    assert (is_high(chr(code)), is_low(chr(code))) == (high, low)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("a", "a"),
        ("\udfffb", "\udfffb"),
        ("a\udbff", "a\udbff"),
        # At the beginning a low one may have its other half elsewhere, at the end a high one.
        (HIGH, HIGH),
        (LOW, LOW),
        (LOW + HIGH, LOW + HIGH),
        (f"{HIGH}b", "\ufffdb"),
        (f"a{LOW}", "a\ufffd"),
        # And only one of them.
        (f"{LOW}{LOW}b", f"{LOW}\ufffdb"),
        (f"a{HIGH}{HIGH}", f"a\ufffd{HIGH}"),
        (LOW + LOW, f"{LOW}\ufffd"),
        (HIGH + HIGH, f"\ufffd{HIGH}"),
    ],
)
def test_of_a_streamed_text_the_halves_at_its_ends_are_kept(text: str, expected: str) -> None:
    assert mended({"text": text}, frozenset({"text"})) == {"text": expected}


def test_only_the_text_that_streams_itself_keeps_them() -> None:
    value = {"text": [HIGH, {"title": HIGH, "text": HIGH}]}

    assert mended(value, frozenset({"text"})) == {"text": ["\ufffd", {"title": "\ufffd", "text": HIGH}]}
    assert mended(value) == {"text": ["\ufffd", {"title": "\ufffd", "text": "\ufffd"}]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [(HIGH + LOW, "😀"), (f"茶{HIGH}", "茶\ufffd"), (LOW + HIGH, "\ufffd\ufffd")],
)
def test_pairs_are_joined_and_halves_replaced(text: str, expected: str) -> None:
    assert whole(text) == expected


def test_json_nested_too_deeply_says_so() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        loads("[" * 100_000)
