"""Tests of an answer as plain text, and in a terminal with rich."""

import io
import re
import sys
from typing import Any

import pytest
from hypothesis import given
from langchain_core.messages import AIMessage
from rich.console import Console

from langchain_bailian_app.display import AnswerView
from langchain_bailian_app.display._labels import ENGLISH
from langchain_bailian_app.display._parts import AnswerParts, parse_message
from tests.unit_tests.display.messages import (
    CALL,
    HIT,
    HOSTILE,
    make_message,
    message_with_references,
    strings,
    tool_result,
)


def render_rich(message: AIMessage, *, colors: bool = False) -> str:
    system: Any = "standard" if colors else None
    console = Console(file=io.StringIO(), width=60, force_terminal=colors, color_system=system)
    console.print(AnswerView(message))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_plain_text_shows_everything_in_order() -> None:
    message = make_message(
        {"type": "reasoning", "reasoning": "想\n想"},
        CALL,
        tool_result([HIT]),
        {**CALL, "id": "2", "args": {}},
        "**茶**",
        {"type": "image"},
        request_id="r",
    )

    assert str(AnswerView(message)) == (
        "思考过程\n  想\n  想\n\n"
        "天气\n  城市: 杭州\n  n: 2\n  [4] 茶书 · 相关度 0.76\n      茶 叶\n\n"
        "天气\n  (暂无结果)\n\n"
        "**茶**\n\n"
        "image\n\n"
        "用量\n  请求 r"
    )
    assert repr(AnswerView(message)) == "<AnswerView: 5 parts, 0 sources>"


def test_an_empty_message_shows_nothing() -> None:
    assert parse_message(AIMessage("")) == AnswerParts([], [], [], ENGLISH)
    assert not str(AnswerView(AIMessage("")))
    assert not render_rich(AIMessage("")).strip()


def test_rich_shows_markdown_with_citations() -> None:
    message = message_with_references(
        "# 茶\n\n- **叶。**<ref>[1]</ref>\n- `x`<ref>[2]</ref>\n\n[a](http://b)![c](http://d)"
    )

    output = render_rich(message)

    assert re.search(r"• 叶。\[1\] *\n", output)
    assert re.search(r"• x\[2\] *\n", output)
    assert "a (http://b)!c (http://d)" in output
    assert "\n  [1] 第1章 · 茶书" in output


def test_rich_shows_an_unplaced_citation_below_the_text() -> None:
    address = "https://example.com/" + "x" * 120

    assert re.search(
        r"\n\[2\] *\n", render_rich(message_with_references(f"<{address}<ref>[2]</ref>{'y' * 120}>"))
    )


def test_without_rich_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.padding", None)
    console = Console(file=io.StringIO())

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'langchain-bailian-app\[display\]'"):
        list(AnswerView(AIMessage("茶")).__rich_console__(console, console.options))


@given(strings)
def test_no_text_can_control_a_terminal(text: str) -> None:
    extras = {"reference_index": 1, "doc_name": text, "images": [text]}
    note = {"type": "citation", "title": text, "url": text, "cited_text": text, "extras": extras}
    message = make_message(
        {"type": "reasoning", "reasoning": text},
        {**CALL, "name": text, "args": {text: text}},
        tool_result(text),
        {"type": text, "value": text},
        {"type": "text", "text": text, "annotations": [note]},
        request_id=text,
    )

    for output in (str(AnswerView(message)), repr(AnswerView(message)), render_rich(message)):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", output)
    coloured_output = render_rich(message, colors=True)
    assert not re.search("[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]", coloured_output)
    assert not re.sub("\x1b\\[[0-9;]*m", "", coloured_output).count("\x1b")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_is_lost_in_a_terminal(hostile: str) -> None:
    if hostile.startswith("```lotus"):
        pytest.skip("the language of a code block is not shown")
    message = make_message(
        {"type": "reasoning", "reasoning": hostile}, CALL, tool_result(hostile), hostile
    )

    assert str(AnswerView(message)).count("lotus") == 3
    assert render_rich(message).count("lotus") >= 3
