"""Parser of retrieve requests: turns a JSON body into a validated `RetrieveRequest`.

Counterpart of `_completion.request` for knowledge bases.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_bailian_app.emulator._http.errors import refuse
from langchain_bailian_app.emulator._http.fields import get_fraction, get_int, get_typed, refuse_value
from langchain_bailian_app.emulator._knowledge.filters import SearchFilters, parse_search_filters
from langchain_bailian_app.emulator._knowledge.query_rewriting import rewrite_query

_MAX_CANDIDATES = 100
_MAX_NODES = 20
_DEFAULT_NODES = 5
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class RetrieveRequest:
    """A validated request to a knowledge base.

    Attributes:
        query: The query, rewritten if requested.
        max_candidates: Maximum number of chunks to which the filters are applied.
        filters: `search_filters`.
        min_score: Minimum score; nodes with a lower score are dropped.
        max_nodes: Maximum number of nodes returned.
    """

    query: str
    max_candidates: int
    filters: SearchFilters
    min_score: float
    max_nodes: int


def retrieve_request_from_body(body: Mapping[str, Any]) -> RetrieveRequest:
    """Parse a request body; `rewrite` and `rerank` are ignored, as the emulator has no models.

    Raises:
        RequestRefused: The service would reject the request.
    """
    query = get_typed(body, "query", str)
    if not query or not query.strip():
        refuse("BadRequest.EmptyInput", 'Required input parameter "query" missing from request.')
    previous_questions = _read_previous_questions(body)
    if not get_typed(body, "enable_rewrite", bool):
        previous_questions = []
    # Validated, but without effect. The emulator has only one ranking, by words. It represents all
    # rankings of the service, including the one by a model.
    get_typed(body, "enable_reranking", bool)
    return RetrieveRequest(
        query=rewrite_query(query, previous_questions),
        max_candidates=_read_max_candidates(body),
        filters=parse_search_filters(body.get("search_filters")),
        min_score=get_fraction(body, "rerank_min_score"),
        max_nodes=get_int(body, "rerank_top_n", minimum=1, maximum=_MAX_NODES, default=_DEFAULT_NODES),
    )


def _read_max_candidates(body: Mapping[str, Any]) -> int:
    """Return the larger of the two limits: both searches rank alike, so it covers the hits of both."""
    dense_limit, sparse_limit = (
        get_int(body, name, minimum=0, maximum=_MAX_CANDIDATES, default=_MAX_CANDIDATES)
        for name in ("dense_similarity_top_k", "sparse_similarity_top_k")
    )
    return max(dense_limit, sparse_limit)


def _read_previous_questions(body: Mapping[str, Any]) -> list[str]:
    """Return the user's questions in `query_history`, oldest first."""
    history = get_typed(body, "query_history", list) or []
    for message in history:
        if (
            not isinstance(message, dict)
            or message.get("role") not in _ROLES
            or not isinstance(message.get("content"), str)
        ):
            refuse_value(
                "query_history",
                f"a list of messages, each with a role ({', '.join(_ROLES)}) and a content string",
            )
    return [message["content"] for message in history if message["role"] == "user"]
