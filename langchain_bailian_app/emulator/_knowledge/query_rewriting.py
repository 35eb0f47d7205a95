"""Queries that refer back: the question before them is searched along with them.

The service rewrites with a model; here a pattern decides. Pure.
"""

import re
from collections.abc import Sequence

_REFERS_BACK = re.compile(r"它|其|这个|那个|这种|那种|\b(?:it|its|that|this|they)\b", re.IGNORECASE)


def rewritten(query: str, asked_before: Sequence[str]) -> str:
    """What to search for, given the questions before, oldest first."""
    if asked_before and _REFERS_BACK.search(query):
        return f"{asked_before[-1]} {query}"
    return query
