"""Queries to a search service, and to one knowledge base over the index route."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_bailian_app._answer.knowledge_nodes import passages_from_knowledge_nodes
from langchain_bailian_app._request.knowledge_request import build_index_request, build_search_request
from langchain_bailian_app.errors import BailianServerError
from langchain_bailian_app.retrievers._documents import RetrievedPassage, to_documents
from langchain_bailian_app.retrievers._queries import SearchQuery
from langchain_bailian_app.retrievers._search_fields import INDEX_FIELDS

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from langchain_bailian_app._answer.frames import Frame
    from langchain_bailian_app._answer.passages import Passage
    from langchain_bailian_app._request.service_request import ServiceRequest
    from langchain_bailian_app.retrievers._search_fields import SearchFields

_RERANK_NAMES = {
    "rerank_model": "model_name",
    "rerank_mode": "rerank_mode",
    "rerank_instruct": "rerank_instruct",
}


class NodesQuery(SearchQuery):
    """Query whose response is one list of flat nodes in the field `data`."""

    def __init__(
        self, request: ServiceRequest, options: SearchFields, *, pipeline_id: str | None = None
    ) -> None:
        self.request = request
        self._options = options
        self._pipeline_id = pipeline_id
        self._passages: list[Passage] = []

    def feed(self, frame: Frame) -> bool:
        data = frame.extra.get("data")
        nodes = data.get("nodes") if isinstance(data, dict) else None
        if nodes is None and isinstance(data, dict) and data.get("total") == 0:
            nodes = []  # the service may send null for an empty list
        if not isinstance(nodes, list):
            message = "invalid response to a search: the list `data.nodes` is missing"
            raise BailianServerError(message, request_id=frame.request_id, body=frame.extra)
        self._passages = passages_from_knowledge_nodes(nodes)
        return True

    def documents(self) -> list[Document]:
        return to_documents(
            map(RetrievedPassage, self._passages),
            k=self._options.k,
            score_threshold=self._options.score_threshold,
            pipeline_id=self._pipeline_id,
        )


def create_service_query(agent_id: str, query: str, options: SearchFields) -> NodesQuery:
    """Return the query to a search service."""
    request = build_search_request(
        agent_id,
        query,
        agent_version=options.agent_version,
        images=options.images,
        kb_search_configs=options.kb_search_configs,
        extra=options.extra_parameters,
    )
    return NodesQuery(request, options)


def create_index_query(pipeline_id: str, query: str, options: SearchFields) -> NodesQuery:
    """Return the query to one knowledge base over the index route."""
    fields = {name: getattr(options, name) for name in INDEX_FIELDS if name not in _RERANK_NAMES}
    rerank = {
        wire_name: getattr(options, name)
        for name, wire_name in _RERANK_NAMES.items()
        if getattr(options, name) is not None
    }
    if rerank:
        fields["rerank"] = [rerank]
    if fields["rerank_top_n"] is None:
        fields["rerank_top_n"] = options.k
    request = build_index_request(pipeline_id, query, fields, options.extra_parameters)
    return NodesQuery(request, options, pipeline_id=pipeline_id)
