"""Queries that refer back: the question before them is searched along with them.

The service rewrites with a model; here a pattern decides. Pure.
"""

import re
from collections.abc import Sequence

_BACK_REFERENCE = re.compile(r"它|其|这个|那个|这种|那种|\b(?:it|its|that|this|they)\b", re.IGNORECASE)


def rewrite_query(query: str, previous_questions: Sequence[str]) -> str:
    """What to search for, given the questions before, oldest first."""
    if previous_questions and _BACK_REFERENCE.search(query):
        return f"{previous_questions[-1]} {query}"
    return query
