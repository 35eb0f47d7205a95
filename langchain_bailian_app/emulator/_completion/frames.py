"""JSON of an agent's reply: the frames of a stream, or a single body.

Pure. This module defines the order and the format of the frames.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_bailian_app.emulator._completion.thoughts import build_reasoning_entry
from langchain_bailian_app.emulator.text import MARKER, TokenCounter, split_into_pieces

_MAX_MARKER_CHARS = len("<ref>[1000000]</ref>")


@dataclass(frozen=True)
class RenderedAgentReply:
    """A reply with all defaults filled in, and the ids that every frame repeats."""

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
    lists_all_references: bool = False
    """Whether every frame lists all references, as for text without markers."""

    @property
    def frame_count(self) -> int:
        """Number of frames of the stream."""
        return bool(self.steps) + len(split_into_pieces(self.reasoning)) + len(self.pieces) + 1

    @property
    def duration_frames(self) -> int:
        """Duration of an answer without streaming, measured in frames."""
        return self.frame_count

    def sent_text(self, frames_sent: int) -> str:
        """Return the text in the first `frames_sent` frames of the stream."""
        frames_before_text = bool(self.steps) + len(split_into_pieces(self.reasoning))
        return "".join(self.pieces[: max(0, frames_sent - frames_before_text)])

    def full_payload(self) -> dict[str, Any]:
        """Build the JSON of an answer without streaming."""
        generated = _GeneratedOutput()
        generated.add_reasoning(self.reasoning)
        generated.add_text(self.text)
        reasoning_entries = [build_reasoning_entry(self.reasoning)] if self.reasoning else []
        return self._build_payload(
            self.text, [*self.steps, *reasoning_entries], generated, self.finish_reason
        )

    def frame_payloads(self) -> Iterator[dict[str, Any]]:
        """Yield the JSON of each frame: steps, reasoning, text, and finally the finish reason."""
        generated = _GeneratedOutput()
        if self.steps:
            yield self._build_payload("", self.steps, generated)
        reasoning = text = ""
        for piece in split_into_pieces(self.reasoning):
            generated.add_reasoning(piece)
            reasoning = piece if self.incremental else reasoning + piece
            yield self._build_payload("", self._thought_entries(reasoning), generated)
        # As recorded: after the reasoning, incremental frames have an empty reasoning entry.
        entries = self._thought_entries("" if self.incremental else reasoning)
        for piece in self.pieces:
            generated.add_text(piece)
            text = piece if self.incremental else text + piece
            yield self._build_payload(text, entries, generated)
        yield self._build_payload(
            "" if self.incremental else text, entries, generated, self.finish_reason
        )

    def _thought_entries(self, reasoning: str) -> list[Mapping[str, Any]]:
        steps = self.steps if self.repeat_steps or not self.incremental else ()
        return [*steps, *([build_reasoning_entry(reasoning)] if self.reasoning else [])]

    def _build_payload(
        self,
        text: str,
        entries: Sequence[Mapping[str, Any]],
        generated: "_GeneratedOutput",
        finish_reason: str = "null",
    ) -> dict[str, Any]:
        output: dict[str, Any] = {"thoughts": list(entries)} if entries else {}
        cited_references = [
            reference
            for reference in self.references
            if self.lists_all_references or reference["index_id"] in generated.cited_indexes
        ]
        if cited_references:
            output["doc_references"] = cited_references
        output |= {
            "session_id": self.session_id,
            "finish_reason": finish_reason,
            "text": text,
        }
        usage = {"models": self._model_usage(generated.token_counter.tokens)}
        return {"output": output, "usage": usage, "request_id": self.request_id}

    def _model_usage(self, output_tokens: int) -> list[Mapping[str, Any]]:
        if self.usage is not None:
            return list(self.usage)
        counts = {"input_tokens": self.input_tokens, "output_tokens": output_tokens}
        return [{**counts, "model_id": self.model_id}]


class _GeneratedOutput:
    """Token count and cited numbers of the output so far, updated with every piece."""

    def __init__(self) -> None:
        self.cited_indexes: set[str] = set()
        self.token_counter = TokenCounter()
        self._tail = ""

    def add_reasoning(self, piece: str) -> None:
        self.token_counter.add(piece)

    def add_text(self, piece: str) -> None:
        self.token_counter.add(piece)
        self._tail += piece
        self.cited_indexes.update(MARKER.findall(self._tail))
        self._tail = self._tail[-_MAX_MARKER_CHARS:]
