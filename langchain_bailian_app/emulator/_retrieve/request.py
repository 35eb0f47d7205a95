"""The body of a retrieve request, read and checked: JSON of the wire in, one `RetrieveCall` out.

For knowledge bases what `calls` is for applications.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_bailian_app.emulator._http.errors import refuse
from langchain_bailian_app.emulator._http.fields import refuse_value, share, typed, whole_number
from langchain_bailian_app.emulator._knowledge.filters import SearchFilters, search_filters
from langchain_bailian_app.emulator._knowledge.query_rewriting import rewritten

_MOST_CANDIDATES = 100
_MOST_CANDIDATES_TOGETHER = 200
_MOST_NODES = 20
_USUAL_NODES = 5
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class RetrieveCall:
    """A checked request to a knowledge base.

    Attributes:
        query: What to search for, rewritten if that was asked for.
        candidates: How many chunks are found before the filters.
        filters: `search_filters`.
        least_score: Nodes below it are dropped.
        limit: How many nodes are returned.
    """

    query: str
    candidates: int
    filters: SearchFilters
    least_score: float
    limit: int


def retrieve_call_from_body(body: Mapping[str, Any]) -> RetrieveCall:
    """Read a request body. The models of `rewrite` and `rerank` are no matter: there is none here.

    Raises:
        RequestRefused: The service would refuse it.
    """
    query = typed(body, "query", str)
    if not query or not query.strip():
        refuse("BadRequest.EmptyInput", 'Required input parameter "query" missing from request.')
    asked_before = _asked_before(body)
    if not typed(body, "enable_rewrite", bool):
        asked_before = []
    # Checked, and of no effect: one ranking by words stands for all of the service's, so that
    # another one by a model has nothing to change.
    typed(body, "enable_reranking", bool)
    return RetrieveCall(
        query=rewritten(query, asked_before),
        candidates=_candidates(body),
        filters=search_filters(body.get("search_filters")),
        least_score=share(body, "rerank_min_score"),
        limit=whole_number(body, "rerank_top_n", least=1, most=_MOST_NODES, default=_USUAL_NODES),
    )


def _candidates(body: Mapping[str, Any]) -> int:
    """How many the longer of the two searches finds: they rank alike, so it has the other's too."""
    dense, sparse = (
        whole_number(body, name, least=0, most=_MOST_CANDIDATES, default=_MOST_CANDIDATES)
        for name in ("dense_similarity_top_k", "sparse_similarity_top_k")
    )
    return max(dense, sparse)


def _asked_before(body: Mapping[str, Any]) -> list[str]:
    """The user's questions in `query_history`, oldest first."""
    history = typed(body, "query_history", list) or []
    for message in history:
        if (
            not isinstance(message, dict)
            or message.get("role") not in _ROLES
            or not isinstance(message.get("content"), str)
        ):
            refuse_value(
                "query_history", f"a list of messages with a role ({', '.join(_ROLES)}) and a content"
            )
    return [message["content"] for message in history if message["role"] == "user"]
