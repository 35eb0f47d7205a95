"""JSON of an agent's reply: the frames of a stream, or a single body.

Pure. This module defines the order and the format of the frames.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from langchain_bailian_app.emulator._apps.app import ReasoningField, StepForm
from langchain_bailian_app.emulator._completion.thoughts import (
    build_reasoning_entry,
    build_step_frames,
    empty_steps,
)
from langchain_bailian_app.emulator.text import MARKER, PICTURE, TokenCounter, split_into_pieces

_MAX_MARKER_CHARS = len("<ref>[1000000]</ref>")
_EMPTY_FRAMES_BEFORE_PICTURE = 2


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
    step_form: StepForm = "whole"
    reasoning_field: ReasoningField = "thought"
    lists_all_references: bool = False
    """Whether every frame lists all references, as for text without markers."""
    shows_reasoning: bool = True
    """Whether frames contain the reasoning. Otherwise, its frames are empty, as in the recordings."""
    text_in_last_frame: bool = False
    """Whether the last piece of the text is in the last frame."""
    reject_status: bool | None = None
    """Value of `reject_status` in every frame; None leaves it out."""

    @property
    def frame_count(self) -> int:
        """Number of frames of the stream."""
        pieces = self._pieces_with_empty_ones
        last_frame = not (self.text_in_last_frame and pieces)
        return self._frames_before_text + len(pieces) + last_frame

    @property
    def _frames_before_text(self) -> int:
        return len(self._step_frames) + len(split_into_pieces(self.reasoning))

    @cached_property
    def _step_frames(self) -> Sequence[Sequence[Mapping[str, Any]]]:
        """The entries of the frames with steps."""
        return build_step_frames(self.steps, self.step_form, repeat=self.repeat_steps)

    @cached_property
    def _pieces_with_empty_ones(self) -> Sequence[str]:
        """The pieces of the text. As recorded, empty ones precede each picture."""
        return [
            part
            for piece in self.pieces
            for part in (
                *[""] * (_EMPTY_FRAMES_BEFORE_PICTURE if PICTURE.fullmatch(piece) else 0),
                piece,
            )
        ]

    @property
    def duration_frames(self) -> int:
        """Duration of an answer without streaming, measured in frames."""
        return self.frame_count

    def sent_text(self, frames_sent: int) -> str:
        """Return the text in the first `frames_sent` frames of the stream."""
        return "".join(self._pieces_with_empty_ones[: max(0, frames_sent - self._frames_before_text)])

    def full_payload(self) -> dict[str, Any]:
        """Build the JSON of an answer without streaming."""
        generated = _GeneratedOutput()
        generated.add_reasoning(self.reasoning)
        generated.add_text(self.text)
        entries = [*self.steps, *self._reasoning_entries(self.reasoning)]
        return self._build_payload(self.text, entries, generated, self.finish_reason)

    def frame_payloads(self) -> Iterator[dict[str, Any]]:
        """Yield the JSON of each frame: steps, reasoning, text, and finally the finish reason."""
        generated = _GeneratedOutput()
        for step_entries in self._step_frames:
            yield self._build_payload("", step_entries, generated)
        reasoning = text = ""
        for piece in split_into_pieces(self.reasoning):
            generated.add_reasoning(piece)
            reasoning = piece if self.incremental else reasoning + piece
            yield self._build_payload("", self._thought_entries(reasoning), generated)
        # As recorded: after the reasoning, incremental frames have an empty reasoning entry.
        entries = self._thought_entries("" if self.incremental else reasoning)
        pieces = list(self._pieces_with_empty_ones)
        last_piece = pieces.pop() if self.text_in_last_frame and pieces else ""
        for piece in pieces:
            generated.add_text(piece)
            text = piece if self.incremental else text + piece
            yield self._build_payload(text, entries, generated)
        generated.add_text(last_piece)
        text = last_piece if self.incremental else text + last_piece
        yield self._build_payload(text, entries, generated, self.finish_reason)

    def _thought_entries(self, reasoning: str) -> list[Mapping[str, Any]]:
        steps = self.steps if self.repeat_steps or not self.incremental else ()
        if self.step_form == "increments":
            steps = empty_steps(steps)
        return [*steps, *self._reasoning_entries(reasoning)]

    def _reasoning_entries(self, reasoning: str) -> list[Mapping[str, Any]]:
        is_shown = self.reasoning and self.shows_reasoning
        return [build_reasoning_entry(reasoning, self.reasoning_field)] if is_shown else []

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
        if self.reject_status is not None:
            output["reject_status"] = self.reject_status
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
