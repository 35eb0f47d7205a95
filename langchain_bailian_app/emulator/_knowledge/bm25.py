"""BM25 ranking of texts that are already split into words.

Pure. A library would need numpy, which is larger than all other dependencies of the emulator together.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

_SATURATION = 1.5  # `k1` in the formula
_LENGTH_WEIGHT = 0.75  # `b` in the formula


class Bm25Index:
    """Index of texts; the formula and its constants are those of Lucene."""

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        self._text_count = len(texts)
        self._weights: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        mean_length = sum(map(len, texts)) / max(len(texts), 1)
        for position, words in enumerate(texts):
            relative_length = len(words) / mean_length if mean_length else 0.0
            damping = _SATURATION * (1 - _LENGTH_WEIGHT + _LENGTH_WEIGHT * relative_length)
            for word, count in Counter(words).items():
                self._weights[word].append((position, count / (count + damping)))

    def compute_scores(self, query: Sequence[str]) -> list[float]:
        """Return the score of each text for the words of a query; 0 if they have no word in common."""
        scores = [0.0] * self._text_count
        for word in query:
            weights = self._weights.get(word, ())
            rarity = math.log(1 + (self._text_count - len(weights) + 0.5) / (len(weights) + 0.5))
            for position, weight in weights:
                scores[position] += rarity * weight
        return scores
