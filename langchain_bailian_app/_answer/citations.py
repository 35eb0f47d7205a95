"""Filter for `<ref>[4]</ref>` markers, and the citations built from them.

`MarkerFilter` runs while the text streams. `build_citations` runs when the text is complete and the
latest references are known.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from langchain_bailian_app._answer.excerpts import cut_at_word

if TYPE_CHECKING:
    from langchain_bailian_app._answer.passages import Passage

MarkerMode = Literal["strip", "bracket", "keep"]
"""Handling of a marker: `"strip"` removes it, `"bracket"` writes `[4]`, `"keep"` keeps it."""

_MARKER = re.compile(r"<ref>\[([0-9]{1,9})\]</ref>")
# A proper prefix of a marker at the end of the text. Anything else is emitted at once.
_PARTIAL_MARKER = re.compile(
    r"<(?:r(?:e(?:f(?:>(?:\[(?:[0-9]{1,9}(?:\](?:<(?:/(?:r(?:ef?)?)?)?)?)?)?)?)?)?)?)?\Z"
)
_MAX_MARKER_CHARS = len("<ref>[123456789]</ref>")
_CLOSING_PUNCTUATION = "”’」』）】》)"
# Inside a URL, `a != b` or `![picture]`, `?` and `!` end no sentence.
_SENTENCE_END = re.compile(
    rf"[。！？；][{_CLOSING_PUNCTUATION}]*"
    rf"|[!?](?=[\s\"'\]{_CLOSING_PUNCTUATION}]|\Z)[{_CLOSING_PUNCTUATION}]*"
    r"|\. |[\r\n]"
)
# Quotes, `*` and `_` can open as well as close, so they are not part of `_SENTENCE_END`.
_TRAILING_CHARS = f" \t\r\n。！？!?；.\"'*_{_CLOSING_PUNCTUATION}"
_NON_SPACE = re.compile(r"\S")
_MAX_CITED_CHARS = 500
_CLIP_FIELDS = ("videos", "clip_start_ms", "clip_end_ms")


class Marker(NamedTuple):
    """A marker found in the text."""

    number: int
    position: int
    """Index in the emitted text, in code points: the end of the cited sentence."""

    width: int
    """Length of the marker in the emitted text, in code points."""


class MarkerFilter:
    """Finds and replaces markers in text that arrives in arbitrary pieces.

    Args:
        mode: Handling of markers.
        emitted_length: Number of code points emitted before the first piece.
    """

    def __init__(self, mode: MarkerMode, *, emitted_length: int = 0) -> None:
        self._mode = mode
        self._pending = ""
        self._emitted_length = emitted_length
        self.markers: list[Marker] = []

    def feed(self, text: str) -> str:
        """Return the text to emit; buffer the possible beginning of a marker."""
        if not self._pending and "<" not in text:
            self._emitted_length += len(text)
            return text
        text, self._pending = self._pending + text, ""
        partial = _PARTIAL_MARKER.search(text, max(0, len(text) - _MAX_MARKER_CHARS))
        if partial:
            text, self._pending = text[: partial.start()], text[partial.start() :]
        return self._replace_markers(text)

    def end(self) -> str:
        """Return the buffered text, which turned out not to be a marker."""
        pending, self._pending = self._pending, ""
        return pending

    def _replace_markers(self, text: str) -> str:
        parts: list[str] = []
        position = 0
        for match in _MARKER.finditer(text):
            before = text[position : match.start()]
            replacement = {"strip": "", "bracket": f"[{match[1]}]", "keep": match[0]}[self._mode]
            self._emitted_length += len(before)
            self.markers.append(Marker(int(match[1]), self._emitted_length, len(replacement)))
            self._emitted_length += len(replacement)
            parts += (before, replacement)
            position = match.end()
        remainder = text[position:]
        self._emitted_length += len(remainder)
        return "".join((*parts, remainder))


def strip_markers(text: str) -> str:
    """Remove the markers from text that is not part of the answer, such as a tool call."""
    return _MARKER.sub("", text)


def build_citations(
    text: str, markers: list[Marker], passages: dict[int, Passage]
) -> list[dict[str, Any]]:
    """Return one standard citation for each marker that has a source.

    `text[start_index:end_index]` is the cited sentence up to the marker. Adjacent markers have the same
    `start_index`. Markers beyond the end of the text, which a stop sequence may cut, have no citation.
    """
    boundaries = [0, *(match.end() for match in _SENTENCE_END.finditer(text))]
    result = []
    start = 0
    group_start = group_end = 0  # bounds of the latest group of adjacent markers
    for marker in markers:
        if marker.position > len(text):
            break
        in_group = group_end > 0 and not text[group_end : marker.position].strip()
        if not in_group:
            start = boundaries[bisect_right(boundaries, _find_passage_end(text, marker.position)) - 1]
            if start <= group_start and not _NON_SPACE.search(text, start, group_start):
                start = group_end  # that group follows the full stop of the previous sentence
            group_start = marker.position
        group_end = marker.position + marker.width
        if passage := passages.get(marker.number):
            result.append(_build_citation(passage, start, marker.position))
    return result


def _find_passage_end(text: str, position: int) -> int:
    """Return the end of the words before `position`; a marker may precede or follow the full stop."""
    while position and text[position - 1] in _TRAILING_CHARS:
        position -= 1
    return position


def _build_citation(passage: Passage, start: int, end: int) -> dict[str, Any]:
    citation: dict[str, Any] = {
        "type": "citation",
        "url": passage.doc_url,
        "title": passage.title or passage.doc_name,
        "start_index": start,
        "end_index": end,
        "cited_text": cut_at_word(passage.text, _MAX_CITED_CHARS) or None,
    }
    extras = {
        "reference_index": passage.index,
        "doc_id": passage.doc_id,
        "doc_name": passage.doc_name,
        "page_number": passage.page_number,
        "images": passage.images,
        "score": passage.score,
    }
    # Of a chat service: the part of a video that the passage describes.
    extras |= {name: passage.extra[name] for name in _CLIP_FIELDS if name in passage.extra}
    citation["extras"] = {name: value for name, value in extras.items() if value not in (None, [])}
    return {name: value for name, value in citation.items() if value is not None}
