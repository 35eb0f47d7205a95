"""Formulas in Markdown stay as they are written."""

from __future__ import annotations

import time
from html import unescape
from io import StringIO

import pytest
from langchain_core.messages import AIMessage
from rich.console import Console

from langchain_bailian_app.display import AnswerView
from langchain_bailian_app.display._citation_placement import PLACEHOLDER, make_markdown_parser
from langchain_bailian_app.display._math import escape_formulas

FORMULAS = [
    r"\(E=mc^2\)",
    r"\(a_1 * b_2 * c\)",
    r"\[\{x \mid x < 1\} \\ y & z\]",
    "\\[\n- a\n= b\n\\]",
    r"$$\frac{a_1}{b_1}$$",
    r"$\alpha_1 \_ \beta_1$",
    r"$x$",
]


def render(source: str) -> str:
    return unescape(make_markdown_parser().render(source))


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_formula_is_unchanged_in_html(formula: str) -> None:
    html = render(f"当 {formula} 时，**粗**。")

    assert formula in html.replace("<br />", "")
    assert "<strong>粗</strong>" in html


@pytest.mark.parametrize("formula", [formula for formula in FORMULAS if "\n" not in formula])
def test_a_formula_is_unchanged_in_a_terminal(formula: str) -> None:
    output = StringIO()
    Console(file=output, width=200).print(AnswerView(AIMessage(f"当 {formula} 时。")))

    assert formula in output.getvalue()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("从 $5 到 $10，**全部**", "从 $5 到 $10，<strong>全部</strong>"),
        ("$5_a_ 和$6", "$5_a_ 和$6"),
        (r"`\(a\)` 和 \(b_1 b_1\)", r"<code>\(a\)</code> 和 \(b_1 b_1\)"),
        ("```\n\\(a_1\\)\n```", "\\(a_1\\)"),
        (r"\\(a\\)", r"\(a\)"),
        (r"只有开头 \(a **b**", "只有开头 (a <strong>b</strong>"),
        ("\\(a\n\n**b**\\)", "<strong>b</strong>"),
        (r"\* 星", "* 星"),
        ("| a | b |\n|---|---|\n| $x|y$ | z |", "<td>$x|y$</td>"),
    ],
)
def test_other_text_is_markdown(source: str, expected: str) -> None:
    assert expected in render(source)


def test_a_citation_is_placed_outside_of_a_formula() -> None:
    assert PLACEHOLDER not in escape_formulas(f"\\(a{PLACEHOLDER}b\\)", PLACEHOLDER)


@pytest.mark.parametrize("piece", ["\\(", "\\[", "$", "$$", "`", "``", "$a", "\\(\n\n\\)", "```\n"])
def test_masses_of_delimiters_take_linear_time(piece: str) -> None:
    def measure(count: int) -> float:
        started_at = time.thread_time()
        escape_formulas(piece * count, PLACEHOLDER)
        return time.thread_time() - started_at

    measure(1000)

    assert measure(100_000) < 100 * max(measure(5_000), 0.002)
