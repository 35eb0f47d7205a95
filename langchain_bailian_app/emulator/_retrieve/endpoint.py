"""Endpoints of knowledge bases: search a knowledge base by id, and find the id for a name.

No public reference documents these routes. Official integrations use them, and the replies contain the
fields that these integrations read. The error for an unknown id or name is unverified: `NotFound` is a
guess.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_bailian_app.emulator._apps.app import App, collect_knowledge_bases
from langchain_bailian_app.emulator._http.errors import RequestRefused, refuse
from langchain_bailian_app.emulator._http.exchange import HttpExchange
from langchain_bailian_app.emulator._knowledge.knowledge_base import Hit, KnowledgeBase, search
from langchain_bailian_app.emulator._retrieve.request import RetrieveRequest, retrieve_request_from_body


@dataclass
class PipelineEndpoints:
    """The two endpoints, for all knowledge bases of the emulator, whether bound to an app or not."""

    apps: Mapping[str, App]
    extra_knowledge: Sequence[KnowledgeBase] = field(default_factory=list)

    async def retrieve(self, exchange: HttpExchange, pipeline_id: str) -> None:
        """Answer `POST /indices/pipeline/{pipeline_id}/retrieve`.

        Raises:
            RequestRefused: The service would reject the request.
        """
        knowledge_base = self._knowledge_bases().get(pipeline_id)
        if knowledge_base is None:
            refuse("NotFound", f"Pipeline {pipeline_id} does not exist.")
        body = exchange.json()
        _raise_forced_error(knowledge_base)
        nodes = [
            _apply_variants(_render_node(hit), knowledge_base)
            for hit in search_knowledge_base(knowledge_base, retrieve_request_from_body(body))
        ]
        data: dict[str, Any] = {"total": len(nodes), "nodes": nodes}
        if "rerank" in knowledge_base.node_variants:
            data["rerank"] = []
        await _send_success(exchange, data)

    async def find_pipeline(self, exchange: HttpExchange, _: str) -> None:
        """Answer `GET /indices/pipeline_simple?pipeline_name=…`.

        Raises:
            RequestRefused: The service would reject the request.
        """
        name = exchange.record.query.get("pipeline_name", "")
        if not name:
            refuse("InvalidParameter", "pipeline_name is required.")
        knowledge_base = next(
            (
                knowledge_base
                for knowledge_base in self._knowledge_bases().values()
                if knowledge_base.name == name
            ),
            None,
        )
        if knowledge_base is None:
            refuse("NotFound", f"There is no pipeline named {name}.")
        _raise_forced_error(knowledge_base)
        await _send_success(exchange, {"id": knowledge_base.pipeline_id, "name": knowledge_base.name})

    def _knowledge_bases(self) -> dict[str, KnowledgeBase]:
        return collect_knowledge_bases(self.apps, self.extra_knowledge)


def search_knowledge_base(knowledge_base: KnowledgeBase, request: RetrieveRequest) -> list[Hit]:
    """Search, then filter the candidates, as the service does; dropped candidates are not replaced."""
    candidates = search([knowledge_base], request.query, limit=request.max_candidates)
    passing_hits = [
        hit
        for hit in candidates
        if hit.score >= request.min_score and request.filters.matches(hit.chunk)
    ]
    return passing_hits[: request.max_nodes]


def _raise_forced_error(knowledge_base: KnowledgeBase) -> None:
    if knowledge_base.error is not None and knowledge_base.error.take():
        raise RequestRefused(knowledge_base.error)


def _render_node(hit: Hit) -> dict[str, Any]:
    chunk = hit.chunk
    metadata: dict[str, Any] = {"parent": "", "doc_id": chunk.data_id, "doc_name": chunk.name}
    # Table rows have neither images nor a title.
    if chunk.row is None:
        metadata |= {
            "image_url": list(chunk.images),
            "title": chunk.title,
            "hier_title": chunk.hier_title,
        }
    if chunk.page_number:
        metadata["page_number"] = list(chunk.page_number)
    node = {"id_": chunk.chunk_id, "text": chunk.content, "metadata": metadata}
    return {"score": hit.score, "node": node}


def _apply_variants(item: dict[str, Any], knowledge_base: KnowledgeBase) -> dict[str, Any]:
    """Change the form of a node as the knowledge base requires; see `KnowledgeBase.node_variants`."""
    variants = knowledge_base.node_variants
    node = item["node"]
    metadata = node["metadata"]
    if "rerank" in variants:
        metadata |= {"_score": item["score"], "nid": node["id_"]}
    if "score-in-metadata" in variants:
        metadata["_score"] = item.pop("score")
    if "names-beside-text" in variants:
        node |= {name: metadata.pop(name) for name in ("title", "doc_name") if name in metadata}
    if "json-metadata" in variants:
        node["metadata"] = json.dumps(metadata, ensure_ascii=False)
    if "content" in variants:
        node["content"] = node.pop("text")
    if "flat" in variants:
        item |= item.pop("node")
    return item


async def _send_success(exchange: HttpExchange, data: Mapping[str, Any]) -> None:
    envelope = {
        "status": "SUCCESS",
        "code": "Success",
        "message": "",
        "request_id": exchange.request_id,
    }
    await exchange.send_json({**envelope, **data})
