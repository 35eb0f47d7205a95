"""Tests of the placement of citations in Markdown."""

import itertools
from collections.abc import Callable

import pytest

from langchain_bailian_app.display._citation_placement import (
    PLACEHOLDER,
    make_markdown_parser,
    place_citations,
)
from langchain_bailian_app.display._parts import Text


def test_the_search_for_positions_is_bounded() -> None:
    piece = f"<https://{'x' * 200}{'y' * 200}>"
    text = Text(piece * 200, {200 + number * len(piece): [1] for number in range(200)})
    rendered = 0

    def render(source: str) -> str:
        nonlocal rendered
        rendered += len(source)
        return make_markdown_parser().render(source)

    assert place_citations(text, render) == ({}, [1])
    assert rendered < 2_500_000


def make_renderer(allowed: set[int], max_count: int = 9) -> Callable[[str], str]:
    """Return a renderer that preserves at most `max_count` placeholders, at allowed positions only."""

    def render(marked: str) -> str:
        before = itertools.accumulate(map(len, marked.split(PLACEHOLDER)[:-1]))
        is_allowed = set(before) <= allowed and marked.count(PLACEHOLDER) <= max_count
        return marked if is_allowed else marked.replace(PLACEHOLDER, "")

    return render


@pytest.mark.parametrize(
    ("source", "position", "allowed", "expected"),
    [
        pytest.param("ab, (cd) ef", 4, {4, 3}, 4, id="at its position"),
        pytest.param("ab, (cd) ef", 4, {2, 5}, 2, id="back over punctuation"),
        pytest.param("ab, (cd) ef", 4, {0, 5}, 5, id="onward"),
        pytest.param("ab, (cd) ef", 4, {0, 11}, 11, id="at the end"),
        pytest.param("ab, (cd) ef", 4, {0, 6}, 0, id="at the beginning"),
        pytest.param("ab, (cd) ef", 4, {6}, None, id="never within a word"),
        pytest.param("a b c", 3, {2, 5}, 5, id="onward before back over a word"),
        pytest.param("a b c", 3, {1}, 1, id="back over a word"),
        pytest.param("叶** ~~", 6, {1, 5}, 1, id="before markup"),
        pytest.param("。" * 300, 150, {50}, 50, id="at the maximum distance back"),
        pytest.param("。" * 300, 150, {49}, None, id="too far back"),
        pytest.param("。" * 300, 150, {250}, 250, id="at the maximum distance onward"),
        pytest.param("。" * 300, 150, {251}, None, id="too far onward"),
    ],
)
def test_a_citation_goes_to_the_nearest_position_that_fits(
    source: str, position: int, allowed: set[int], expected: int | None
) -> None:
    citations, unplaced = place_citations(Text(source, {position: [1, 2]}), make_renderer(allowed))

    assert (citations, unplaced) == (({}, [1, 2]) if expected is None else ({expected: [1, 2]}, []))


@pytest.mark.parametrize(
    ("citations", "allowed", "max_count", "expected"),
    [
        pytest.param({1: [1], 3: [2]}, {1, 3}, 9, ({1: [1], 3: [2]}, []), id="all fit"),
        pytest.param({1: [1], 3: [2], 5: [3]}, {1, 5}, 9, ({1: [1], 5: [2, 3]}, []), id="shared"),
        pytest.param({3: [1], 5: [2]}, {1, 5}, 9, ({5: [1, 2]}, []), id="onward"),
        pytest.param({1: [1], 200: [2], 250: [3, 2]}, {1}, 9, ({1: [1]}, [2, 3]), id="too far"),
        pytest.param({1: [1], 250: [2, 3]}, {1, 250}, 1, ({}, [1, 2, 3]), id="not together"),
        pytest.param({}, set(), 0, ({}, []), id="none"),
    ],
)
def test_citations_that_fit_nowhere_are_returned_as_unplaced(
    citations: dict[int, list[int]],
    allowed: set[int],
    max_count: int,
    expected: tuple[dict[int, list[int]], list[int]],
) -> None:
    text = Text("a b c" + "。" * 300, citations)

    assert place_citations(text, make_renderer(allowed, max_count)) == expected
