"""Tests of the search for the ends of link labels: same results as markdown-it-py, in linear time."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from langchain_bailian_app.display._citation_placement import make_markdown_parser

PIECES = ["[", "]", "(", ")", "](x)", "!", "![", "`", "\\", "*", "a", " ", "<http://a>", "\n", "[a](b)"]


@given(st.lists(st.sampled_from(PIECES)).map("".join))
@example("[a [b] c](x)")
@example("[a [b](y) c](x)")
@example("![a [b](y) c](x)")
@example("[a `]` \\] <http://]> b](x)")
@example("[" * 150 + "a](x)" + "]" * 149)
def test_links_and_images_are_found_as_without_the_replacement(text: str) -> None:
    parser = make_markdown_parser()
    original = make_markdown_parser()
    original.helpers = MarkdownIt().helpers

    assert parser.render(text) == original.render(text)


def count_skipped_tokens(text: str) -> int:
    parser = make_markdown_parser()
    original_skip_token = parser.inline.skipToken
    count = 0

    def skip_token(state: Any) -> None:
        nonlocal count
        count += 1
        original_skip_token(state)

    parser.inline.skipToken = skip_token  # type: ignore[method-assign]
    parser.render(text)
    return count


@pytest.mark.parametrize(
    "piece", ["[", "[a", "![", "[[1]", "[ ", '["', "[1,", "[[a](b)", "[](", "![[", "[*", "[\n"]
)
def test_the_work_for_unclosed_brackets_is_proportional_to_the_text(piece: str) -> None:
    count, double_count = (count_skipped_tokens(piece * times) for times in (1000, 2000))

    assert count <= 6 * 1000 * len(piece)
    assert double_count <= 2.2 * count
