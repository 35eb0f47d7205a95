"""The routes of knowledge bases: search one by its id, and find the id of one by its name.

No public reference tells of them; official integrations use them, and their replies are as those read
them. What becomes of an unknown id or name no source says: `NotFound` is a guess.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_bailian_app.emulator._apps.app import App, all_knowledge_bases
from langchain_bailian_app.emulator._http.errors import RequestRefused, refuse
from langchain_bailian_app.emulator._http.exchange import Exchange
from langchain_bailian_app.emulator._knowledge.knowledge_base import Hit, KnowledgeBase, search
from langchain_bailian_app.emulator._retrieve.request import RetrieveCall, retrieve_call_from_body


@dataclass
class Retrieval:
    """The two endpoints over the emulator's knowledge bases, those bound to apps and the others."""

    apps: Mapping[str, App]
    extra_knowledge: Sequence[KnowledgeBase] = field(default_factory=list)

    async def retrieve(self, exchange: Exchange, pipeline_id: str) -> None:
        """Answer `POST /indices/pipeline/{pipeline_id}/retrieve`.

        Raises:
            RequestRefused: The service would refuse it.
        """
        base = self._bases().get(pipeline_id)
        if base is None:
            refuse("NotFound", f"Pipeline {pipeline_id} does not exist.")
        body = exchange.json()
        _provoke(base)
        nodes = [_node(hit) for hit in found(base, retrieve_call_from_body(body))]
        await _answer(exchange, {"total": len(nodes), "nodes": nodes})

    async def find(self, exchange: Exchange, _: str) -> None:
        """Answer `GET /indices/pipeline_simple?pipeline_name=…`.

        Raises:
            RequestRefused: The service would refuse it.
        """
        name = exchange.record.query.get("pipeline_name", "")
        if not name:
            refuse("InvalidParameter", "pipeline_name must be given.")
        base = next((base for base in self._bases().values() if base.name == name), None)
        if base is None:
            refuse("NotFound", f"There is no pipeline named {name}.")
        _provoke(base)
        await _answer(exchange, {"id": base.pipeline_id, "name": base.name})

    def _bases(self) -> dict[str, KnowledgeBase]:
        return all_knowledge_bases(self.apps, self.extra_knowledge)


def found(base: KnowledgeBase, call: RetrieveCall) -> list[Hit]:
    """Search, then filter what was found, as the service does: filters add no candidates."""
    candidates = search([base], call.query, limit=call.candidates)
    kept = [
        hit for hit in candidates if hit.score >= call.least_score and call.filters.let_pass(hit.chunk)
    ]
    return kept[: call.limit]


def _provoke(base: KnowledgeBase) -> None:
    if base.error is not None and base.error.take():
        raise RequestRefused(base.error)


def _node(hit: Hit) -> dict[str, Any]:
    chunk = hit.chunk
    metadata: dict[str, Any] = {"parent": "", "doc_id": chunk.data_id, "doc_name": chunk.name}
    # Rows of a table have neither images nor a title.
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


async def _answer(exchange: Exchange, content: Mapping[str, Any]) -> None:
    head = {"status": "SUCCESS", "code": "Success", "message": "", "request_id": exchange.request_id}
    await exchange.answer({**head, **content})
