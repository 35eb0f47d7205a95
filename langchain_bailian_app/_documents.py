"""What the application found: passages out of `doc_references` and of retrieval observations.

`doc_references` lists what the answer cites, without scores; the observation of a retrieval step lists
all that was found, with scores. Both number the passages as the `<ref>` markers do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_bailian_app import _lenient_json

if TYPE_CHECKING:
    from collections.abc import Iterable

# `【正文】:` ends the header that the service puts in front of each chunk.
_BODY = re.compile(r"【正文】[:：]?")
_HEADER = re.compile(r"【(文档名|标题)】[:：]([^\n]*)")
_DIGITS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Passage:
    """One chunk of a document, from either source."""

    index: int | None = None
    """Its number in this answer, as in `<ref>[n]</ref>`."""

    text: str = ""
    """Its body, without the header."""

    title: str | None = None
    doc_name: str | None = None
    doc_id: str | None = None
    doc_url: str | None = None
    chunk_id: str | None = None
    score: float | None = None
    images: list[Any] = field(default_factory=list)
    page_number: list[Any] = field(default_factory=list)


def sources(
    references: list[dict[str, Any]] | None, thoughts: Iterable[dict[str, Any]]
) -> dict[int, Passage]:
    """Return the passage behind each marker number: a reference, else a hit of a retrieval step."""
    found: dict[int, Passage] = {}
    for thought in thoughts:
        for passage in passages_from_observation(thought.get("observation")):
            if passage.index is not None:
                found[passage.index] = passage
    for reference in references or []:
        passage = passage_from_reference(reference)
        if passage.index is not None:
            found[passage.index] = passage
    return found


def passage_from_reference(reference: dict[str, Any]) -> Passage:
    """Read one entry of `doc_references`."""
    header, body = _split(reference.get("text"))
    return Passage(
        index=_number(reference.get("index_id")),
        text=body,
        title=reference.get("title") or header.get("标题"),
        doc_name=reference.get("doc_name") or header.get("文档名"),
        doc_id=reference.get("doc_id"),
        doc_url=reference.get("doc_url"),
        images=_list(reference.get("images")),
        page_number=_list(reference.get("page_number")),
    )


def passages_from_observation(observation: Any) -> list[Passage]:
    """Read the hits of a retrieval step; empty for anything that is no list of hits."""
    hits = _lenient_json.opened(observation)
    if not isinstance(hits, list):
        return []
    return [_hit(hit) for hit in hits if isinstance(hit, dict) and "content" in hit]


def _hit(hit: dict[str, Any]) -> Passage:
    header, body = _split(hit.get("content"))
    score = hit.get("score")
    return Passage(
        index=_number(hit.get("referenceIndex")),
        text=body,
        title=hit.get("title") or header.get("标题"),
        doc_name=hit.get("dataName") or header.get("文档名"),
        doc_id=hit.get("dataId"),
        doc_url=hit.get("webSearchUrl"),
        chunk_id=hit.get("id"),
        score=float(score) if isinstance(score, int | float) else None,
        images=_list(hit.get("images")),
    )


def _split(text: Any) -> tuple[dict[str, str], str]:
    if not isinstance(text, str):
        return {}, ""
    match = _BODY.search(text)
    if not match:
        return {}, text.strip()
    header = {found[1]: found[2].strip() for found in _HEADER.finditer(text, 0, match.start())}
    return header, text[match.end() :].strip()


def _number(value: Any) -> int | None:
    """Read `4`, `"4"` or `"[4]"`: documents and recordings differ."""
    match = _DIGITS.search(str(value)) if isinstance(value, int | str) else None
    return int(match[0]) if match else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
