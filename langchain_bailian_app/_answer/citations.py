"""`<ref>[4]</ref>` markers: taken out of the text, and turned into citations of what they cite.

Two halves: `MarkerFilter` while the text streams, `citations` when the text is whole and the newest
references are known.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from langchain_bailian_app._answer.passages import Passage

MarkerMode = Literal["strip", "bracket", "keep"]
"""What becomes of a marker in the text: removed, written as `[4]`, or left as it is."""

_MARKER = re.compile(r"<ref>\[([0-9]{1,9})\]</ref>")
# A proper prefix of a marker at the end of the text; anything else is text at once.
_OPENING = re.compile(
    r"<(?:r(?:e(?:f(?:>(?:\[(?:[0-9]{1,9}(?:\](?:<(?:/(?:r(?:ef?)?)?)?)?)?)?)?)?)?)?)?\Z"
)
_LONGEST = len("<ref>[123456789]</ref>")
_CLOSING = "”’」』）】》)"
_SENTENCE_END = re.compile(rf"[。！？!?；][{_CLOSING}]*|\. |[\r\n]")
_TRAILING = f" \t\r\n。！？!?；.\"'*_{_CLOSING}"  # the last four close, or open, so they end nothing
_VISIBLE = re.compile(r"\S")
_CITED_TEXT = 500


class Marker(NamedTuple):
    """A marker that was found in the text."""

    number: int
    at: int
    """Where it stands in the emitted text, in code points: the end of the cited passage."""

    width: int
    """How many code points of the emitted text are the marker itself."""


class MarkerFilter:
    """Finds markers in a text that comes in pieces, cut anywhere."""

    def __init__(self, mode: MarkerMode) -> None:
        self.mode = mode
        self._held = ""
        self._length = 0
        self.markers: list[Marker] = []

    def feed(self, text: str) -> str:
        """Return the text to emit; the beginning of a marker is held back."""
        if not self._held and "<" not in text:
            self._length += len(text)
            return text
        text, self._held = self._held + text, ""
        opening = _OPENING.search(text, max(0, len(text) - _LONGEST))
        if opening:
            text, self._held = text[: opening.start()], text[opening.start() :]
        return self._rewrite(text)

    def end(self) -> str:
        """Return what was held back: no marker after all."""
        held, self._held = self._held, ""
        return held

    def _rewrite(self, text: str) -> str:
        pieces: list[str] = []
        done = 0
        for match in _MARKER.finditer(text):
            before = text[done : match.start()]
            shown = {"strip": "", "bracket": f"[{match[1]}]", "keep": match[0]}[self.mode]
            self._length += len(before)
            self.markers.append(Marker(int(match[1]), self._length, len(shown)))
            self._length += len(shown)
            pieces += (before, shown)
            done = match.end()
        rest = text[done:]
        self._length += len(rest)
        return "".join((*pieces, rest))


def without_markers(text: str) -> str:
    """Return a text that cites nothing: what stands in an argument of a call is no answer."""
    return _MARKER.sub("", text)


def citations(text: str, markers: list[Marker], sources: dict[int, Passage]) -> list[dict[str, Any]]:
    """Return one standard citation for each marker that has a source.

    `text[start_index:end_index]` is the cited sentence up to the marker; adjacent markers share its
    start. Markers beyond the end of the text (cut by a stop sequence) cite nothing.
    """
    boundaries = [0, *(match.end() for match in _SENTENCE_END.finditer(text))]
    result = []
    start = 0
    group_at = group_end = 0  # where the newest group of adjacent markers begins and ends
    for marker in markers:
        if marker.at > len(text):
            break
        in_group = group_end > 0 and not text[group_end : marker.at].strip()
        if not in_group:
            start = boundaries[bisect_right(boundaries, _passage_end(text, marker.at)) - 1]
            if start <= group_at and not _VISIBLE.search(text, start, group_at):
                start = group_end  # that group stands behind the full stop of the sentence before
            group_at = marker.at
        group_end = marker.at + marker.width
        if source := sources.get(marker.number):
            result.append(_citation(source, start, marker.at))
    return result


def _passage_end(text: str, at: int) -> int:
    """Where the words end before `at`: a marker may stand before or behind the full stop."""
    while at and text[at - 1] in _TRAILING:
        at -= 1
    return at


def _citation(source: Passage, start: int, end: int) -> dict[str, Any]:
    citation: dict[str, Any] = {
        "type": "citation",
        "url": source.doc_url,
        "title": source.title or source.doc_name,
        "start_index": start,
        "end_index": end,
        "cited_text": source.text[:_CITED_TEXT] or None,
    }
    extras = {
        "reference_index": source.index,
        "doc_id": source.doc_id,
        "doc_name": source.doc_name,
        "page_number": source.page_number,
        "images": source.images,
        "score": source.score,
    }
    citation["extras"] = {name: value for name, value in extras.items() if value not in (None, [])}
    return {name: value for name, value in citation.items() if value is not None}
