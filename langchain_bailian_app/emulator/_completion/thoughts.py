"""Entries of `thoughts` and `doc_references`, with exactly the keys of the service.

Pure: builds JSON objects from hits, memories and reasoning.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from langchain_bailian_app.emulator._apps.app import ReasoningField, StepForm
from langchain_bailian_app.emulator._apps.turn import Turn
from langchain_bailian_app.emulator._http.encoding import compact_json
from langchain_bailian_app.emulator._knowledge.knowledge_base import Hit
from langchain_bailian_app.emulator.text import split_into_pieces

_NAME_FIELDS = ("action", "action_name", "action_type")
_ARGUMENT_FIELDS = ("arguments", "action_input", "action_input_stream")
_STREAMED_FIELDS = (*_ARGUMENT_FIELDS, "observation")


def build_steps(turn: Turn) -> list[dict[str, Any]]:
    """Build the steps before an answer: memory, then retrieval."""
    steps = []
    if turn.memory_id is not None:
        steps.append(_build_memory_step(turn.memory_id, turn.prompt, turn.memories))
    if turn.searched:
        steps.append(_build_retrieval_step(turn.hits))
    return steps


def build_reasoning_entry(reasoning: str, text_field: ReasoningField = "thought") -> dict[str, Any]:
    """Build the entry for a piece of reasoning; beside `thought`, the service repeats it."""
    texts = {"thought": reasoning, "response": reasoning}
    return {
        **(texts if text_field == "thought" else {text_field: reasoning}),
        "action_type": "reasoning",
        "action_name": "思考过程",
        "action": "reasoning",
    }


def build_step_frames(
    steps: Sequence[Mapping[str, Any]], form: StepForm, *, repeat: bool
) -> list[list[Mapping[str, Any]]]:
    """Build the entries of each frame with steps.

    Args:
        steps: The complete entries.
        form: The form of their arguments and observations: `whole`, `increments` or `growing`.
        repeat: Whether increments repeat the entries of finished steps, with empty values. Growing
            entries always repeat the finished steps.
    """
    if form == "whole":
        return [list(steps)] if steps else []
    frames: list[list[Mapping[str, Any]]] = []
    for number, step in enumerate(steps):
        if form == "growing":
            frames += [[*steps[:number], snapshot] for snapshot in _split_into_snapshots(step)]
        else:
            finished = empty_steps(steps[:number]) if repeat else []
            frames += [[*finished, piece] for piece in _split_into_increments(step)]
    return frames


def empty_steps(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Build the entries that repeat steps in a stream of increments: nothing is new in them."""
    return [{name: "" if name in _STREAMED_FIELDS else step[name] for name in step} for step in steps]


def _split_into_increments(step: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the arguments in pieces, then the observation; the first piece has all other fields."""
    values = {name: step[name] for name in _STREAMED_FIELDS if isinstance(step.get(name), str)}
    entry = {name: value for name, value in step.items() if name not in values}
    names = {name: step[name] for name in _NAME_FIELDS if name in step}
    for fields in (_ARGUMENT_FIELDS, ("observation",)):
        pieces = {name: split_into_pieces(values[name]) for name in fields if name in values}
        for number in range(max(map(len, pieces.values()), default=0)):
            yield entry | {name: "".join(parts[number : number + 1]) for name, parts in pieces.items()}
            entry = names
    if entry is not names:  # the step has no text
        yield entry


def _split_into_snapshots(step: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    streamed = {name: "" for name in _STREAMED_FIELDS if isinstance(step.get(name), str)}
    for increment in _split_into_increments(step):
        streamed = {name: value + increment.get(name, "") for name, value in streamed.items()}
        yield {**step, **streamed}


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
