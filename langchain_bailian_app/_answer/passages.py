"""What was found in a knowledge base: passages out of the three places in which the service tells.

`doc_references` lists what the answer cites, without scores; the observation of a retrieval step lists
all that was found, with scores. Both number the passages as the `<ref>` markers do. The nodes of a
direct retrieval have scores and no numbers.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._answer import wire_json

if TYPE_CHECKING:
    from collections.abc import Iterable

# `【正文】:` ends the header that the service puts in front of each chunk.
_BODY = re.compile(r"【正文】[:：]?")
# A line of the header: the document's name, the title, or metadata of the document by its own name.
_HEADER = re.compile(r"(?:【([^】\n]+)】|([^:：【\n]{1,50}))[:：](.*)")
_DIGITS = re.compile(r"[0-9]{1,9}")

_OF_REFERENCE = {"text", "index_id", "title", "doc_name", "doc_id", "doc_url", "images", "page_number"}
_OF_HIT = {"content", "referenceIndex", "title", "dataName", "dataId", "webSearchUrl", "id", "score"}
_OF_HIT |= {"images", "page_number"}
_OF_NODE = {"title", "doc_name", "doc_id", "doc_url", "image_url", "images", "page_number", "_id"}
# What every hit says of itself and nobody asks for.
_USUAL: dict[str, Any] = {"display": True, "webSearch": False}


@dataclass(frozen=True, slots=True)
class Passage:
    """One chunk of a document, from any of the sources."""

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
    extra: dict[str, Any] = field(default_factory=dict)
    """What else the header and the service say, by the names that they use."""


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
        title=_text(reference.get("title")) or header.get("标题"),
        doc_name=_text(reference.get("doc_name")) or header.get("文档名"),
        doc_id=_text(reference.get("doc_id")),
        doc_url=_text(reference.get("doc_url")),
        images=_list(reference.get("images")),
        page_number=_list(reference.get("page_number")),
        extra=_rest(header, reference, _OF_REFERENCE),
    )


def passages_from_observation(observation: Any) -> list[Passage]:
    """Read the hits of a retrieval step; empty for anything that is no list of hits."""
    hits = wire_json.opened(observation)
    if not isinstance(hits, list):
        return []
    return [_hit(hit) for hit in hits if isinstance(hit, dict) and "content" in hit]


def passages_from_nodes(nodes: Any) -> list[Passage]:
    """Read what a direct retrieval found: nodes, bare or inside of what gives them a score."""
    if not isinstance(nodes, list):
        return []
    return [_node(item) for item in nodes if isinstance(item, dict)]


def _hit(hit: dict[str, Any]) -> Passage:
    header, body = _split(hit.get("content"))
    return Passage(
        index=_number(hit.get("referenceIndex")),
        text=body,
        title=_text(hit.get("title")) or header.get("标题"),
        doc_name=_text(hit.get("dataName")) or header.get("文档名"),
        doc_id=_text(hit.get("dataId")),
        doc_url=_text(hit.get("webSearchUrl")),
        chunk_id=_text(hit.get("id")),
        score=_score(hit.get("score")),
        images=_list(hit.get("images")),
        page_number=_list(hit.get("page_number")),
        extra=_rest(header, hit, _OF_HIT),
    )


def _node(item: dict[str, Any]) -> Passage:
    inner = item.get("node")
    node: dict[str, Any] = inner if isinstance(inner, dict) else item
    told = node.get("metadata")
    metadata: dict[str, Any] = told if isinstance(told, dict) else {}
    header, body = _split(node.get("text") or metadata.get("content"))
    return Passage(
        text=body,
        title=_text(metadata.get("title")) or header.get("标题"),
        doc_name=_text(metadata.get("doc_name")) or header.get("文档名"),
        doc_id=_text(metadata.get("doc_id")),
        doc_url=_text(metadata.get("doc_url")),
        chunk_id=_text(node.get("id_") or metadata.get("_id")),
        score=_score(item.get("score")),
        images=_list(metadata.get("image_url")) or _list(metadata.get("images")),
        page_number=_list(metadata.get("page_number")),
        extra=_rest(header, metadata, _OF_NODE | ({"content"} if not node.get("text") else set())),
    )


def _split(text: Any) -> tuple[dict[str, Any], str]:
    """Return the header of a chunk by the names of its lines, and the body."""
    text = _text(text) or ""
    match = _BODY.search(text)
    if not match or not text.lstrip().startswith("【"):
        return {}, text.strip()
    header: dict[str, str] = {}
    name = ""
    for line in text[: match.start()].strip().splitlines():
        found = _HEADER.fullmatch(line.strip())
        if found:
            name = (found[1] or found[2]).strip()
        said = found[3] if found else line
        header[name] = f"{header[name]}\n{said.strip()}" if name in header else said.strip()
    opened = {name: wire_json.opened(value) for name, value in header.items()}
    return opened, text[match.end() :].strip()


def _rest(header: dict[str, Any], entry: dict[str, Any], known: set[str]) -> dict[str, Any]:
    unknown = {
        name: value
        for name, value in entry.items()
        if name not in known and not (name in _USUAL and value is _USUAL[name])
    }
    more = {name: value for name, value in header.items() if name not in ("标题", "文档名")}
    return more | unknown


def _number(value: Any) -> int | None:
    """Read `4`, `"4"` or `"[4]"`: documents and recordings differ."""
    match = _DIGITS.search(str(value)) if isinstance(value, int | str) else None
    return int(match[0]) if match else None


def _score(value: Any) -> float | None:
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return score if math.isfinite(score) else None


def _text(value: Any) -> str | None:
    """Return a text, also where the service has a number, or something else, in its place."""
    return None if value in (None, "") else str(value)


def _list(value: Any) -> list[Any]:
    """Return a list; the service has null for none, and one document has a bare value."""
    if value in (None, ""):
        return []
    return value if isinstance(value, list) else [value]
