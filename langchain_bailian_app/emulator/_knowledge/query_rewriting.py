"""Rewriter of queries that refer to the previous question: adds that question to such a query.

Pure. The service rewrites queries with a model; the emulator matches a pattern.
"""

import re
from collections.abc import Sequence

_BACK_REFERENCE = re.compile(r"它|其|这个|那个|这种|那种|\b(?:it|its|that|this|they)\b", re.IGNORECASE)


def rewrite_query(query: str, previous_questions: Sequence[str]) -> str:
    """Return the query to search for, given the previous questions, oldest first."""
    if previous_questions and _BACK_REFERENCE.search(query):
        return f"{previous_questions[-1]} {query}"
    return query
