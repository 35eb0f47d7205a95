"""From a whole reply to what goes over the wire: the outputs of a stream, or the one output.

Pure. Knows the order and the shape of frames, nothing of sockets.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_bailian_app.emulator._completion.thoughts import reasoning_entry
from langchain_bailian_app.emulator.text import MARKER, TokenCounter, cut

_LONGEST_MARKER = len("<ref>[1000000]</ref>")


@dataclass(frozen=True)
class Composition:
    """A reply with nothing left open, and the ids that every frame repeats."""

    request_id: str
    session_id: str
    text: str
    pieces: Sequence[str]
    reasoning: str
    steps: Sequence[Mapping[str, Any]]
    references: Sequence[Mapping[str, Any]]
    finish_reason: str
    model_id: str
    input_tokens: int
    usage: Sequence[Mapping[str, Any]] | None = None
    incremental: bool = True
    repeat_steps: bool = False
    unmarked: bool = False
    """Whether references are listed from the first frame on, for a text that has no markers."""

    @property
    def frame_count(self) -> int:
        """How many frames the stream has."""
        return bool(self.steps) + len(cut(self.reasoning)) + len(self.pieces) + 1

    @property
    def paces(self) -> int:
        """How many frames' time the answer takes without a stream."""
        return self.frame_count

    def text_after(self, frames: int) -> str:
        """The text that this many frames of the stream have carried."""
        before = bool(self.steps) + len(cut(self.reasoning))
        return "".join(self.pieces[: max(0, frames - before)])

    def whole(self) -> dict[str, Any]:
        """The JSON of an answer that is not streamed."""
        produced = _Produced()
        produced.think(self.reasoning)
        produced.say(self.text)
        reasoning = [reasoning_entry(self.reasoning)] if self.reasoning else []
        return self._payload(self.text, [*self.steps, *reasoning], produced, self.finish_reason)

    def stream(self) -> Iterator[dict[str, Any]]:
        """The JSON of each frame: steps, reasoning, text, and the last one with `stop`."""
        produced = _Produced()
        if self.steps:
            yield self._payload("", self.steps, produced)
        thought = said = ""
        for piece in cut(self.reasoning):
            produced.think(piece)
            thought = piece if self.incremental else thought + piece
            yield self._payload("", self._entries(thought), produced)
        # Once there was reasoning, every later frame carries an empty entry of it, as recorded.
        entries = self._entries("" if self.incremental else thought)
        for piece in self.pieces:
            produced.say(piece)
            said = piece if self.incremental else said + piece
            yield self._payload(said, entries, produced)
        yield self._payload("" if self.incremental else said, entries, produced, self.finish_reason)

    def _entries(self, thought: str) -> list[Mapping[str, Any]]:
        steps = self.steps if self.repeat_steps or not self.incremental else ()
        return [*steps, *([reasoning_entry(thought)] if self.reasoning else [])]

    def _payload(
        self,
        text: str,
        entries: Sequence[Mapping[str, Any]],
        produced: "_Produced",
        finish_reason: str = "null",
    ) -> dict[str, Any]:
        output: dict[str, Any] = {"thoughts": list(entries)} if entries else {}
        cited = [r for r in self.references if self.unmarked or r["index_id"] in produced.cited]
        if cited:
            output["doc_references"] = cited
        output |= {
            "session_id": self.session_id,
            "finish_reason": finish_reason,
            "text": text,
        }
        usage = {"models": self._usage(produced.counter.tokens)}
        return {"output": output, "usage": usage, "request_id": self.request_id}

    def _usage(self, output_tokens: int) -> list[Mapping[str, Any]]:
        if self.usage is not None:
            return list(self.usage)
        counts = {"input_tokens": self.input_tokens, "output_tokens": output_tokens}
        return [{**counts, "model_id": self.model_id}]


class _Produced:
    """What was generated so far: its tokens and the numbers it cites, found as text comes in."""

    def __init__(self) -> None:
        self.cited: set[str] = set()
        self.counter = TokenCounter()
        self._tail = ""

    def think(self, piece: str) -> None:
        self.counter.add(piece)

    def say(self, piece: str) -> None:
        self.counter.add(piece)
        self._tail += piece
        self.cited.update(MARKER.findall(self._tail))
        self._tail = self._tail[-_LONGEST_MARKER:]
