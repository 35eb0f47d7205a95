"""The BM25 ranking, against values computed by hand from Lucene's formula."""

from __future__ import annotations

import math

import pytest

from langchain_bailian_app.emulator._knowledge.bm25 import Bm25Index

TEXTS = [["a", "b"], ["a", "a", "c", "d"], ["e"] * 3]


def test_scores_follow_the_formula() -> None:
    # Three texts of 3 words on average; "a" is in two of them, "c" in one.
    rarity_of_a, rarity_of_c = math.log(1 + 1.5 / 2.5), math.log(1 + 2.5 / 1.5)
    damping_of_first, damping_of_second = 1.5 * (0.25 + 0.75 * 2 / 3), 1.5 * (0.25 + 0.75 * 4 / 3)

    assert Bm25Index(TEXTS).compute_scores(["a", "c"]) == pytest.approx(
        [
            rarity_of_a / (1 + damping_of_first),
            rarity_of_a * 2 / (2 + damping_of_second) + rarity_of_c / (1 + damping_of_second),
            0.0,
        ]
    )


def test_a_repeated_word_of_the_query_counts_twice() -> None:
    index = Bm25Index(TEXTS)

    assert index.compute_scores(["c", "c"]) == [2 * score for score in index.compute_scores(["c"])]


@pytest.mark.parametrize(
    ("texts", "query"), [([], ["a"]), ([[], []], ["a"]), (TEXTS, []), (TEXTS, ["z"])]
)
def test_nothing_in_common_is_a_score_of_zero(texts: list[list[str]], query: list[str]) -> None:
    assert Bm25Index(texts).compute_scores(query) == [0.0] * len(texts)
