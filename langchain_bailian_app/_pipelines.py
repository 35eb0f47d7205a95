"""The wire of a knowledge base that is searched directly: requests and what its replies hold.

Known from the official integrations for Spring AI and LlamaIndex; no reference page describes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_bailian_app import _lenient_json
from langchain_bailian_app._documents import Passage, passages_from_nodes
from langchain_bailian_app._request import ServiceRequest
from langchain_bailian_app._search_fields import DIRECT_FIELDS

if TYPE_CHECKING:
    from langchain_bailian_app._frames import Frame
    from langchain_bailian_app._search_fields import SearchFields

_MOST_PASSAGES = 20


def lookup_request(name: str) -> ServiceRequest:
    """Return the request that asks for the id of a knowledge base."""
    return ServiceRequest(path="indices/pipeline_simple", method="GET", params={"pipeline_name": name})


def id_from_reply(frame: Frame) -> str | None:
    """Return the id that a reply names."""
    found = frame.extra.get("id")
    return str(found) if found else None


def retrieve_request(pipeline_id: str, query: str, options: SearchFields) -> ServiceRequest:
    """Return the request that searches a knowledge base."""
    fields = {name: getattr(options, name) for name in DIRECT_FIELDS}
    if options.rerank_top_n is None and options.k is not None:
        fields["rerank_top_n"] = min(options.k, _MOST_PASSAGES)
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
    nodes = _lenient_json.opened(holder["nodes"])
    return passages_from_nodes(nodes) if isinstance(nodes, list | None) else None
