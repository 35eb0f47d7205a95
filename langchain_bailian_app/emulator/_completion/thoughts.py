"""Entries of `thoughts` and `doc_references`, with exactly the keys of the service.

Pure: builds JSON objects from hits, memories and reasoning.
"""

from collections.abc import Iterable
from typing import Any

from langchain_bailian_app.emulator._apps.turn import Turn
from langchain_bailian_app.emulator._http.encoding import compact_json
from langchain_bailian_app.emulator._knowledge.knowledge_base import Hit


def build_steps(turn: Turn) -> list[dict[str, Any]]:
    """Build the steps before an answer: memory, then retrieval."""
    steps = []
    if turn.memory_id is not None:
        steps.append(_build_memory_step(turn.memory_id, turn.prompt, turn.memories))
    if turn.searched:
        steps.append(_build_retrieval_step(turn.hits))
    return steps


def build_reasoning_entry(reasoning: str) -> dict[str, Any]:
    """Build the entry for a piece of reasoning; the service repeats the piece under `response`."""
    return {
        "thought": reasoning,
        "action_type": "reasoning",
        "response": reasoning,
        "action_name": "思考过程",
        "action": "reasoning",
    }


def build_reference(hit: Hit) -> dict[str, Any]:
    """Build an entry of `doc_references`; `index_id` is a string."""
    reference: dict[str, Any] = {
        "images": list(hit.chunk.images),
        "doc_name": hit.chunk.name,
        "text": hit.chunk.content,
        "index_id": str(hit.index),
        "title": hit.chunk.title,
        "doc_id": hit.chunk.data_id,
    }
    if hit.chunk.page_number:
        reference["page_number"] = list(hit.chunk.page_number)
    return reference


def _build_retrieval_step(hits: Iterable[Hit]) -> dict[str, Any]:
    return {
        "action_input_stream": "{}",
        "action_type": "agentRag",
        "observation": compact_json([_build_observed_hit(hit) for hit in hits]),
        "action_name": "知识检索",
        "action": "rag",
        "arguments": "{}",
    }


def _build_observed_hit(hit: Hit) -> dict[str, Any]:
    chunk = hit.chunk
    item: dict[str, Any] = {
        "content": chunk.content,
        "dataId": chunk.data_id,
        "dataName": chunk.name,
        "display": True,
        "id": chunk.chunk_id,
    }
    # Rows of a table have neither images nor a title.
    if chunk.row is None:
        item["images"] = list(chunk.images)
    item |= {"referenceIndex": hit.index, "score": hit.score}
    if chunk.row is None:
        item["title"] = chunk.title
    item["webSearch"] = False
    return item


def _build_memory_step(memory_id: str, query: str, memories: Iterable[str]) -> dict[str, Any]:
    arguments = compact_json({"memory_id": memory_id, "query": query})
    return {
        "action_input_stream": arguments,
        "action_type": "api",
        "observation": compact_json(list(memories)),
        "action_name": "长期记忆检索",
        "action": "memory",
        "arguments": arguments,
    }
