"""Parsers of passages from a knowledge base.

The service reports passages in three places. `doc_references` lists the cited passages, without
scores. The observation of a retrieval step lists all retrieved passages, with scores. Both contain the
numbers that the `<ref>` markers use. The nodes of a direct retrieval have scores but no numbers. Their
fields are in several places, because versions of the route differ and no reference describes it.
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
_BODY_LABEL = re.compile(r"【正文】[:：]?")
# A line of the header: the document name, the title, or a metadata field of the document.
_HEADER_LINE = re.compile(r"(?:【([^】\n]+)】|([^:：【\n]{1,50}))[:：](.*)")
_DIGITS = re.compile(r"[0-9]{1,9}")

_REFERENCE_FIELDS = {"text", "index_id", "title", "doc_name", "doc_id", "doc_url"}
_REFERENCE_FIELDS |= {"images", "page_number"}
_HIT_FIELDS = {"content", "referenceIndex", "title", "dataName", "dataId", "webSearchUrl", "id"}
_HIT_FIELDS |= {"score", "images", "page_number"}
# Values that are the same in every hit, so they are omitted.
_DEFAULT_VALUES: dict[str, Any] = {"display": True, "webSearch": False}


@dataclass(frozen=True, slots=True)
class Passage:
    """One chunk of a document, from any of the three places."""

    index: int | None = None
    """Number of the passage in this answer, as in `<ref>[n]</ref>`."""

    text: str = ""
    """Body of the chunk, without the header."""

    title: str | None = None
    doc_name: str | None = None
    doc_id: str | None = None
    doc_url: str | None = None
    chunk_id: str | None = None
    score: float | None = None
    images: list[Any] = field(default_factory=list)
    page_number: list[Any] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    """Other fields of the header and of the service's entry, under their original names."""


def passages_by_marker(
    references: list[dict[str, Any]] | None, thoughts: Iterable[dict[str, Any]]
) -> dict[int, Passage]:
    """Return the passages by marker number; a reference takes precedence over a retrieval hit."""
    passages: dict[int, Passage] = {}
    for thought in thoughts:
        for passage in passages_from_observation(thought.get("observation")):
            if passage.index is not None:
                passages[passage.index] = passage
    for reference in references or []:
        passage = passage_from_reference(reference)
        if passage.index is not None:
            passages[passage.index] = passage
    return passages


def passage_from_reference(reference: dict[str, Any]) -> Passage:
    """Parse an entry of `doc_references`."""
    header, body = _split_header(reference.get("text"))
    return Passage(
        index=_parse_number(reference.get("index_id")),
        text=body,
        title=_to_text_or_none(reference.get("title")) or header.get("标题"),
        doc_name=_to_text_or_none(reference.get("doc_name")) or header.get("文档名"),
        doc_id=_to_text_or_none(reference.get("doc_id")),
        doc_url=_to_text_or_none(reference.get("doc_url")),
        images=_to_list(reference.get("images")),
        page_number=_to_list(reference.get("page_number")),
        extra=_extra_fields(header, reference, _REFERENCE_FIELDS),
    )


def passages_from_observation(observation: Any) -> list[Passage]:
    """Parse the hits of a retrieval step; return an empty list for anything but a list of hits."""
    hits = wire_json.parse_nested(observation)
    if not isinstance(hits, list):
        return []
    return [_passage_from_hit(hit) for hit in hits if isinstance(hit, dict) and "content" in hit]


def passages_from_nodes(nodes: Any) -> list[Passage]:
    """Parse the nodes of a direct retrieval, each bare or wrapped in an object with its score."""
    if not isinstance(nodes, list):
        return []
    return [_passage_from_node(item) for item in map(_to_object, nodes) if item is not None]


def _to_object(node: Any) -> dict[str, Any] | None:
    """Return a node as an object; it may be JSON text or the bare text of a passage."""
    node = wire_json.parse_nested(node)
    if isinstance(node, str) and node.strip():
        return {"text": node}
    return node if isinstance(node, dict) else None


def _passage_from_hit(hit: dict[str, Any]) -> Passage:
    header, body = _split_header(hit.get("content"))
    return Passage(
        index=_parse_number(hit.get("referenceIndex")),
        text=body,
        title=_to_text_or_none(hit.get("title")) or header.get("标题"),
        doc_name=_to_text_or_none(hit.get("dataName")) or header.get("文档名"),
        doc_id=_to_text_or_none(hit.get("dataId")),
        doc_url=_to_text_or_none(hit.get("webSearchUrl")),
        chunk_id=_to_text_or_none(hit.get("id")),
        score=_parse_score(hit.get("score")),
        images=_to_list(hit.get("images")),
        page_number=_to_list(hit.get("page_number")),
        extra=_extra_fields(header, hit, _HIT_FIELDS),
    )


def _passage_from_node(item: dict[str, Any]) -> Passage:
    outer = dict(item)
    inner = wire_json.parse_nested(outer.get("node"))
    if isinstance(inner, dict):
        del outer["node"]
        inner = dict(inner)
    else:
        inner = {}
    metadata = dict(_take_metadata(inner) or _take_metadata(outer) or {})
    score = _take_score(
        *((source, "score") for source in (outer, inner, metadata)),
        *((source, "_score") for source in (metadata, inner, outer)),
    )
    entry = outer | inner
    header, body = _split_header(
        _take((entry, "text"), (entry, "content"), (metadata, "content"), (metadata, "text"))
    )
    title = _take(*_places(metadata, entry, "title"))
    doc_name = _take(
        *_places(metadata, entry, "doc_name"),
        *_places(metadata, entry, "docName"),
        *_places(metadata, entry, "documentName"),
        (entry, "name"),  # in the metadata, it may be the document's own field
    )
    doc_id = _take(*_places(metadata, entry, "doc_id"), *_places(metadata, entry, "docId"))
    doc_url = _take(*_places(metadata, entry, "doc_url"), *_places(metadata, entry, "docUrl"))
    chunk_id = _take(
        (entry, "id_"),
        (entry, "_id"),
        (metadata, "_id"),
        (entry, "id"),  # in the metadata, it may be the document's own field
        *_places(metadata, entry, "nid"),
    )
    images = _take(*_places(metadata, entry, "image_url"), *_places(metadata, entry, "images"))
    return Passage(
        text=body,
        title=_to_text_or_none(title) or header.get("标题"),
        doc_name=_to_text_or_none(doc_name) or header.get("文档名"),
        doc_id=_to_text_or_none(doc_id),
        doc_url=_to_text_or_none(doc_url),
        chunk_id=_to_text_or_none(chunk_id),
        score=score,
        images=_to_list(images),
        page_number=_to_list(_take(*_places(metadata, entry, "page_number"))),
        extra=_extra_fields(header, entry | metadata, set()),
    )


def _places(
    metadata: dict[str, Any], entry: dict[str, Any], name: str
) -> list[tuple[dict[str, Any], str]]:
    return [(metadata, name), (entry, name)]


def _take_metadata(source: dict[str, Any]) -> dict[str, Any] | None:
    """Remove and return the metadata, which may be JSON text; leave anything else in the source."""
    metadata = wire_json.parse_nested(source.get("metadata"))
    if metadata in (None, "") or isinstance(metadata, dict):
        source.pop("metadata", None)
    return metadata if isinstance(metadata, dict) else None


def _take(*places: tuple[dict[str, Any], str]) -> Any:
    """Return the first value that is set, and remove it. Other values are removed if they are equal."""
    taken = None
    for source, name in places:
        value = source.get(name)
        if value in (None, "", []):
            source.pop(name, None)
        elif taken is None or value == taken:
            taken = value
            del source[name]
    return taken


def _take_score(*places: tuple[dict[str, Any], str]) -> float | None:
    """Return the first value that is a number; otherwise as `_take`."""
    taken = None
    for source, name in places:
        score = _parse_score(source.get(name))
        if score is not None and taken in (None, score):
            taken = score
            del source[name]
        elif source.get(name) is None:
            source.pop(name, None)
    return taken


def _split_header(text: Any) -> tuple[dict[str, Any], str]:
    """Split a chunk into the fields of its header and its body."""
    text = _to_text_or_none(text) or ""
    body_label = _BODY_LABEL.search(text)
    if not body_label or not text.lstrip().startswith("【"):
        return {}, text.strip()
    header: dict[str, str] = {}
    name = ""
    for line in text[: body_label.start()].strip().splitlines():
        line_match = _HEADER_LINE.fullmatch(line.strip())
        if line_match:
            name = (line_match[1] or line_match[2]).strip()
        value = line_match[3] if line_match else line
        header[name] = f"{header[name]}\n{value.strip()}" if name in header else value.strip()
    parsed_header = {name: wire_json.parse_nested(value) for name, value in header.items()}
    return parsed_header, text[body_label.end() :].strip()


def _extra_fields(
    header: dict[str, Any], entry: dict[str, Any], known_fields: set[str]
) -> dict[str, Any]:
    unknown = {
        name: value
        for name, value in entry.items()
        if name not in known_fields and not (name in _DEFAULT_VALUES and value is _DEFAULT_VALUES[name])
    }
    header_fields = {name: value for name, value in header.items() if name not in ("标题", "文档名")}
    return header_fields | unknown


def _parse_number(value: Any) -> int | None:
    """Parse `4`, `"4"` or `"[4]"`; the documentation and the recordings differ."""
    match = _DIGITS.search(str(value)) if isinstance(value, int | str) else None
    return int(match[0]) if match else None


def _parse_score(value: Any) -> float | None:
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return score if math.isfinite(score) else None


def _to_text_or_none(value: Any) -> str | None:
    """Convert a value of any type to text; return None if it is None or an empty string."""
    return None if value in (None, "") else str(value)


def _to_list(value: Any) -> list[Any]:
    """Convert a value to a list.

    The service sends null for an empty list, and one page of its documentation shows a single value.
    """
    if value in (None, ""):
        return []
    return value if isinstance(value, list) else [value]
