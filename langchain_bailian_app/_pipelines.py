"""The wire of a knowledge base that is searched directly: requests and what its replies hold.

Known from the official integrations for Spring AI and LlamaIndex; no reference page describes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_bailian_app._documents import Passage, passages_from_nodes
from langchain_bailian_app._request import ServiceRequest

if TYPE_CHECKING:
    from langchain_bailian_app._frames import Frame
    from langchain_bailian_app._search_fields import SearchFields

_MOST_PASSAGES = 20
_SENT = (
    "dense_similarity_top_k",
    "sparse_similarity_top_k",
    "enable_rewrite",
    "query_history",
    "enable_reranking",
    "rerank_min_score",
    "search_filters",
)


def lookup_request(name: str) -> ServiceRequest:
    """Return the request that asks for the id of a knowledge base."""
    return ServiceRequest(path="indices/pipeline_simple", method="GET", params={"pipeline_name": name})


def id_from_reply(frame: Frame) -> str | None:
    """Return the id that a reply names."""
    found = frame.extra.get("id")
    return str(found) if found else None


def retrieve_request(pipeline_id: str, query: str, options: SearchFields) -> ServiceRequest:
    """Return the request that searches a knowledge base."""
    fields = {name: getattr(options, name) for name in _SENT}
    if options.rerank_top_n is not None or options.k is not None:
        fields["rerank_top_n"] = options.rerank_top_n or min(options.k or 0, _MOST_PASSAGES)
    given = {name: value for name, value in fields.items() if value is not None}
    return ServiceRequest(
        path=f"indices/pipeline/{pipeline_id}/retrieve",
        body={"query": query} | given | (options.extra_parameters or {}),
    )


def passages_from_reply(frame: Frame) -> list[Passage] | None:
    """Return what was found; None if the reply does not say."""
    holder: dict[str, Any] = frame.extra
    if "nodes" not in holder and isinstance(holder.get("data"), dict):
        holder = holder["data"]
    if "nodes" not in holder:
        return None
    return passages_from_nodes(holder["nodes"])
