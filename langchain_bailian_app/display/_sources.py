"""Sources of an answer, and functions that sanitize all displayed strings."""

from __future__ import annotations

import json
import reprlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._answer.control_characters import replace_control_characters
from langchain_bailian_app._answer.excerpts import cut_at_word

if TYPE_CHECKING:
    from langchain_bailian_app._answer.passages import Passage
    from langchain_bailian_app.display._labels import Labels

_MAX_VALUE_CHARS = 4000
_MAX_EXCERPT_CHARS = 160
_MAX_SOURCE_NUMBER = 10**9  # exclusive upper limit of valid source numbers


@dataclass(frozen=True, slots=True)
class Source:
    """A passage: a hit of a retrieval step, or a source that the answer cites."""

    number: int | None
    title: str
    details: list[str]
    """Document, pages and score, where available."""

    text: str
    url: str
    images: list[str]
    videos: list[str] = field(default_factory=list)
    """URLs of videos; that of a part of a video names its seconds."""


class CitedSources:
    """Sources of an answer, by number.

    Sources from other providers have no number. They are numbered in order of appearance.
    """

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self.sources: dict[int, Source] = {}
        self._assigned: dict[str, int] = {}
        self._max_number = 0

    def assign_number(self, citation: dict[str, Any]) -> int:
        """Return the number of the cited source, and add the source if it is new."""
        extras = citation.get("extras")
        extras = extras if isinstance(extras, dict) else {}
        number = extras.get("reference_index")
        title, text, url = (citation.get(name) for name in ("title", "cited_text", "url"))
        source = _make_source(title, text, url, extras, self._labels)
        if not (isinstance(number, int) and 0 <= number < _MAX_SOURCE_NUMBER):
            number = self._assigned.setdefault(repr(source), self._max_number + 1)
        self._max_number = max(self._max_number, number)
        self.sources.setdefault(int(number), replace(source, number=int(number)))
        return int(number)


def source_from_passage(passage: Passage, labels: Labels) -> Source:
    """Return a passage of a retrieval step as a source."""
    extras = {
        "doc_name": passage.doc_name,
        "page_number": passage.page_number,
        "score": passage.score,
        "images": passage.images,
        **passage.extra,
    }
    source = _make_source(passage.title, passage.text, passage.doc_url, extras, labels)
    return replace(source, number=passage.index)


def _make_source(title: Any, text: Any, url: Any, extras: dict[str, Any], labels: Labels) -> Source:
    document, pages, score = (extras.get(name) for name in ("doc_name", "page_number", "score"))
    name = sanitize(title or document or url) or labels.untitled
    details = [
        "" if document == title else sanitize(document if title else None),
        labels.pages.format(", ".join(map(sanitize, pages)))
        if pages and isinstance(pages, list)
        else "",
        labels.score.format(f"{score:.2f}") if isinstance(score, float) else sanitize(score),
    ]
    return Source(
        number=None,
        title=name,
        details=[fact for fact in details if fact],
        text=sanitize(text),
        url=sanitize(url),
        images=[sanitize(image) for image in _get_list(extras, "images")],
        videos=[sanitize(video) for video in _find_videos(extras)],
    )


def _find_videos(extras: dict[str, Any]) -> list[Any]:
    """Return the URLs of videos; the URL of a part has its seconds (Media Fragments URI)."""
    start, end = extras.get("clip_start_ms"), extras.get("clip_end_ms")
    videos = _get_list(extras, "videos")
    if isinstance(start, int | float) and isinstance(end, int | float):
        return [f"{url}#t={start / 1000:g},{end / 1000:g}" for url in videos]
    return videos


def _get_list(extras: dict[str, Any], name: str) -> list[Any]:
    value = extras.get(name)
    return value if isinstance(value, list) else []


def make_excerpt(text: str) -> str:
    """Return the beginning of a string as one line, which ends with a whole word."""
    line = " ".join(text.split())
    excerpt = cut_at_word(line, _MAX_EXCERPT_CHARS)
    return line if excerpt == line else f"{excerpt.rstrip()}…"


def format_value(value: Any, labels: Labels) -> str:
    """Return a value as text, truncated to a limit.

    Strings are unchanged, lists of strings are joined with newlines, and other values become JSON.
    """
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        value = "\n".join(value)
    text = sanitize(value, indent=2)
    omitted_chars = len(text) - _MAX_VALUE_CHARS
    if omitted_chars <= 0:
        return text
    return text[:_MAX_VALUE_CHARS] + labels.more_chars.format(omitted_chars)


def sanitize(value: Any, indent: int | None = None) -> str:
    """Return a value as a string without control characters, which a terminal would execute.

    Code points keep their positions. Values other than strings become JSON.
    """
    if not isinstance(value, str):
        try:
            value = "" if value is None else json.dumps(value, ensure_ascii=False, indent=indent)
        except (TypeError, ValueError, RecursionError):
            value = reprlib.repr(value)
    return replace_control_characters(value)
