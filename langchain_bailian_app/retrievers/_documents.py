"""Conversion of retrieved passages to LangChain documents: merging, sorting and filtering."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.documents import Document

from langchain_bailian_app._answer import wire_json
from langchain_bailian_app._answer.passages import (
    Passage,
    passage_from_reference,
    passages_from_observation,
)
from langchain_bailian_app._answer.steps import step_kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_bailian_app._answer.answer import Answer


class RetrievedPassage(NamedTuple):
    """A passage, and whether the answer cites it (None if the answer was not read)."""

    passage: Passage
    cited: bool | None = None


def passages_from_thought(thought: dict[str, Any]) -> list[Passage] | None:
    """Return the passages of a retrieval step.

    Returns None for other steps, and for an observation that cannot be parsed.
    """
    observation = wire_json.parse_nested(thought.get("observation"))
    if not isinstance(observation, list):
        return None
    hits = passages_from_observation(observation)
    if observation and not hits:
        return None
    # Numbered hits also identify retrieval steps of kinds that have not been recorded yet.
    if step_kind(thought) == "retrieval" or any(hit.index is not None for hit in hits):
        return hits
    return None


def passages_by_thought(thoughts: Iterable[dict[str, Any]]) -> list[list[Passage]]:
    """Return the passages of each retrieval step."""
    return [hits for hits in map(passages_from_thought, thoughts) if hits is not None]


def passages_from_thoughts(thoughts: Iterable[dict[str, Any]]) -> list[RetrievedPassage]:
    """Return the passages of all retrieval steps of an incomplete answer."""
    return [RetrievedPassage(passage) for passage in _merge_hits(passages_by_thought(thoughts))]


def passages_from_answer(answer: Answer) -> list[RetrievedPassage]:
    """Return the passages of a complete answer: those of its steps, then further references."""
    hits = _merge_hits(passages_by_thought(answer.thoughts))
    references = [passage_from_reference(reference) for reference in answer.doc_references or []]
    # A reference identifies a passage. A marker has only a number, which several steps may have used.
    marked_numbers = {citation["extras"].get("reference_index") for citation in answer.citations}
    marked_numbers -= {reference.index for reference in references}
    reference_by_hit: dict[int, Passage] = {}
    unmatched = []
    for reference in references:
        position = _match_hit(reference, hits)
        if position is None:
            unmatched.append(reference)
        else:
            reference_by_hit[position] = reference
    retrieved = [
        RetrievedPassage(
            _fill_missing(hit, reference_by_hit.get(position)),
            position in reference_by_hit or hit.index in marked_numbers,
        )
        for position, hit in enumerate(hits)
    ]
    return retrieved + [RetrievedPassage(reference, cited=True) for reference in unmatched]


def to_documents(
    retrieved: Iterable[RetrievedPassage],
    *,
    k: int | None = None,
    score_threshold: float | None = None,
    pipeline_id: str | None = None,
) -> list[Document]:
    """Return at most `k` documents, without those whose score is below `score_threshold`."""
    selected = [
        _to_document(passage, cited, pipeline_id)
        for passage, cited in retrieved
        if score_threshold is None or passage.score is None or passage.score >= score_threshold
    ]
    return selected[:k]


def _merge_hits(hits_by_step: Sequence[list[Passage]]) -> list[Passage]:
    """Return each chunk once, with its best score. Hits without an id are not merged.

    The text does not identify a chunk: different web pages and picture chunks may have equal texts.
    The hits of a single step keep the order of the service. Hits of several steps are sorted by score.
    """
    merged: dict[Any, Passage] = {}
    for passage in (passage for hits in hits_by_step for passage in hits):
        key = passage.chunk_id or len(merged)
        existing = merged.get(key)
        if existing is None or (passage.score or 0) > (existing.score or 0):
            merged[key] = passage
    passages = list(merged.values())
    if sum(map(bool, hits_by_step)) > 1:
        passages.sort(key=lambda passage: -(passage.score or 0))
    return passages


def _match_hit(reference: Passage, hits: list[Passage]) -> int | None:
    """Return the position of the hit with the same text as a reference, or else the same number."""
    same_document = [
        (position, hit)
        for position, hit in enumerate(hits)
        if None in (reference.doc_id, hit.doc_id) or reference.doc_id == hit.doc_id
    ]
    same_text = [position for position, hit in same_document if hit.text == reference.text]
    same_number = [
        position for position, hit in same_document if hit.index == reference.index is not None
    ]
    return next(iter([*same_text, *same_number]), None)


def _fill_missing(hit: Passage, reference: Passage | None) -> Passage:
    if reference is None:
        return hit
    missing = {
        name: value for name, value in asdict(reference).items() if getattr(hit, name) in (None, "", [])
    }
    return replace(hit, **missing | {"extra": reference.extra | hit.extra})


def _to_document(passage: Passage, cited: bool | None, pipeline_id: str | None) -> Document:
    fields = {
        "source": passage.doc_url or passage.doc_name or passage.doc_id,
        "title": passage.title,
        "doc_id": passage.doc_id,
        "doc_name": passage.doc_name,
        "doc_url": passage.doc_url,
        "score": passage.score,
        "reference_index": passage.index,
        "pipeline_id": pipeline_id or _parse_pipeline_id(passage),
        "page_number": passage.page_number or None,
        "images": passage.images or None,
        "cited": cited,
    }
    standard = {name: value for name, value in fields.items() if value is not None}
    own = passage.extra
    metadata = own | standard
    for name in own.keys() & standard.keys():
        if own[name] not in (None, standard[name]):
            metadata.setdefault(f"document_{name}", own[name])
    return Document(
        passage.text,
        id=passage.chunk_id,
        metadata={name: value for name, value in metadata.items() if value is not None},
    )


def _parse_pipeline_id(passage: Passage) -> str | None:
    """Return the pipeline id in a chunk id of the form `{workspace}_{pipeline}_{document}_{number}`."""
    if not passage.chunk_id or not passage.doc_id:
        return None
    prefix, separator, _ = passage.chunk_id.partition(f"_{passage.doc_id}")
    return prefix.rpartition("_")[2] or None if separator else None
