"""Parser of passages from the search services and the index route.

Both send a list of flat nodes: a text, a score and metadata. Names and shapes are those of the official
page and of one exchange that Alibaba Cloud published. Keys with a leading underscore are internal.
"""

from __future__ import annotations

import math
import re
from typing import Any

from langchain_bailian_app._answer import wire_json
from langchain_bailian_app._answer.passages import Passage

# A node repeats its name and title in the text, in lines before this label.
_BODY_LABEL = re.compile(r"(?:\A|\n)正文[:：][ \t]*")
_HEADER = re.compile(r"\A(?:文档名|标题)[:：]")
_MEDIA_FIELDS = {"image_url": "images", "video_url": "videos", "audio_url": "audios"}
# The unit is inferred: the title of the published clip has the same times in seconds, divided by 1,000.
_TIME_FIELDS = {"clip_start_time": "clip_start_ms", "clip_end_time": "clip_end_ms"}
_TEXT_FIELDS = ("title", "doc_name", "doc_id", "doc_url")


def passages_from_knowledge_nodes(nodes: list[Any]) -> list[Passage]:
    """Parse the nodes of a response; anything that is not an object is skipped."""
    return [passage_from_knowledge_node(node) for node in nodes if isinstance(node, dict)]


def passage_from_knowledge_node(node: dict[str, Any]) -> Passage:
    """Parse a node with its metadata, or a source of a chat service, which has no such wrapper."""
    node = dict(node)
    metadata = wire_json.parse_nested(node.pop("metadata", None))
    fields = node | metadata if isinstance(metadata, dict) else node
    text = fields.pop("text", None)
    score = _parse_score(fields.get("score", fields.get("_score")))
    for name in ("score", "_score"):
        if score is not None and fields.get(name) == score:
            del fields[name]
    body = _first_text(fields.pop("content", None), _strip_header(text), fields.get("clip_description"))
    names = {name: _to_text(fields.pop(name, None)) for name in _TEXT_FIELDS}
    chunk_id = _to_text(fields.pop("_id", None)) or _to_text(fields.get("nid"))
    if chunk_id is not None and fields.get("nid") == chunk_id:
        del fields["nid"]
    images = _to_list(fields.pop("image_url", None))
    page_number = _to_list(fields.pop("page_number", None))
    return Passage(
        index=_parse_number(fields.pop("_citation_index", None)),
        text=body,
        chunk_id=chunk_id,
        score=score,
        images=images,
        page_number=page_number,
        extra=_convert_media(fields),
        **names,
    )


def _convert_media(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the other fields, with videos and audios as lists, times with their unit, and speakers."""
    converted: dict[str, Any] = {}
    for name, value in fields.items():
        if name in _MEDIA_FIELDS:
            if value := _to_list(value):
                converted[_MEDIA_FIELDS[name]] = value
        elif name in _TIME_FIELDS and isinstance(value, int | float):
            converted[_TIME_FIELDS[name]] = value
        elif value not in (None, "", []):
            converted[name] = value
    if speakers := _find_speakers(converted.get("audio_segments")):
        converted.setdefault("speakers", speakers)
    return converted


def _find_speakers(segments: Any) -> list[str]:
    """Return the names of the speakers in the order of their first words."""
    speakers = [segment.get("speaker") for segment in _to_list(segments) if isinstance(segment, dict)]
    names = [speaker.get("name") if isinstance(speaker, dict) else speaker for speaker in speakers]
    return list(dict.fromkeys(str(name) for name in names if name))


def _strip_header(text: Any) -> str:
    text = "" if text is None else str(text)
    label = _BODY_LABEL.search(text) if _HEADER.match(text) else None
    return str(text if label is None else text[label.end() :])


def _first_text(*values: Any) -> str:
    """Return the first text that is not blank, without white space at its ends."""
    texts = [str(value).strip() for value in values if value is not None]
    return next(filter(None, texts), "")


def _to_text(value: Any) -> str | None:
    return None if value in (None, "") else str(value)


def _to_list(value: Any) -> list[Any]:
    if value in (None, ""):
        return []
    return value if isinstance(value, list) else [value]


def _parse_number(value: Any) -> int | None:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def _parse_score(value: Any) -> float | None:
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return score if math.isfinite(score) else None
