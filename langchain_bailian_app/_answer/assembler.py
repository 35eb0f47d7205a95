"""Frames in, deltas out: what each frame adds to the answer, and what it all adds up to.

The one place where streaming and whole answers meet: `AnswerReader.feed` returns the deltas that a
stream shows, `AnswerReader.answer` what they sum up to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._answer.citations import MarkerFilter, MarkerMode, citations
from langchain_bailian_app._answer.events import (
    Delta,
    NodeEvent,
    ReasoningDelta,
    StepCall,
    StepResult,
    TextDelta,
)
from langchain_bailian_app._answer.passages import sources
from langchain_bailian_app._answer.steps import Steps
from langchain_bailian_app._answer.text_delta import StopFilter, TextChannel
from langchain_bailian_app._answer.workflow_nodes import NOTHING_SAID, Nodes, Said, parted
from langchain_bailian_app._answer.workflow_text import WorkflowTextMerger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_bailian_app._answer.events import ToolCall
    from langchain_bailian_app._answer.frames import Frame
    from langchain_bailian_app._answer.tool_calls import CallReader

UNKNOWN_FINISH = "unknown"
"""`finish_reason` of a stream that just ended, where `accept_missing_stop` lets that pass."""


@dataclass(slots=True)
class Answer:
    """A whole answer, or what came of it."""

    text: str = ""
    reasoning: str = ""
    steps: list[StepCall | StepResult] = field(default_factory=list)
    nodes: list[NodeEvent] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    """Calls of the caller's tools; those with a problem are in no delta."""

    order: list[str] = field(default_factory=list)
    """What the answer consists of, in the order in which it first appeared: see `_blocks`."""

    finish_reason: str | None = None
    """None if the answer is not complete."""

    session_id: str | None = None
    request_id: str | None = None
    doc_references: list[dict[str, Any]] | None = None
    citations: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields of the service that this version does not know, newest value."""

    final_text: str | None = None
    """What a workflow says in the end, if its nodes have said something else."""

    references_missing: bool = False
    """The answer rests on documents, but the service does not say which."""

    @property
    def thoughts(self) -> list[dict[str, Any]]:
        """The raw entries of the steps, in the order of their results."""
        return [step.entry for step in self.steps if isinstance(step, StepResult)]


class AnswerReader:
    """Reads the frames of one answer.

    Args:
        markers: What becomes of `<ref>[n]</ref>` in the text.
        stop: Texts before which the answer is cut.
        answer_node: The node of a workflow that speaks the answer.
        calls: Finds calls of the caller's tools in the text, if there are any.
        steps: Knows the steps that an earlier reply to the same call has told.
    """

    def __init__(
        self,
        *,
        markers: MarkerMode = "strip",
        stop: list[str] | None = None,
        answer_node: str | None = None,
        calls: CallReader | None = None,
        steps: Steps | None = None,
    ) -> None:
        self._nodes = Nodes(answer_node, "" if steps is None else "again:")
        self._one_text = WorkflowTextMerger(tail_is_enough=answer_node is None)
        self._channel = TextChannel()
        self._reasoning_channel = TextChannel()
        self._markers = MarkerFilter(markers)
        self._stop = StopFilter(stop) if stop else None
        self._calls = calls
        self.steps = Steps() if steps is None else steps
        self._told: list[dict[str, Any]] | None = None
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._order: dict[str, None] = {}
        self._text_goes_on = False
        self._answer = Answer()
        self.cut = False
        """Whether a `stop` sequence ended the answer before the service did."""

    def feed(self, frame: Frame) -> list[Delta]:
        """Return what this frame adds."""
        if self._answer.finish_reason is not None:
            return []
        self._remember(frame)
        last = frame.finish_reason is not None
        text = self._channel.feed(frame.text, frame.usage, last=last)
        if self._text_goes_on and not (last or frame.thoughts or frame.workflow_message):
            return self._say(self._markers.feed(text))
        nodes, thoughts = self._news(frame)
        deltas = self._feed_thoughts(thoughts, frame, last=last)
        said = self._nodes.feed(nodes, last=last) if nodes or last else NOTHING_SAID
        deltas += self._hear(said, text)
        if last or self.cut:
            deltas += self._flush()
            self._answer.finish_reason = "stop" if self.cut else frame.finish_reason
        self._text_goes_on = self._has_nothing_but_text()
        return self._noted(deltas)

    def end(self, *, accept_missing_stop: bool = False) -> list[Delta]:
        """Return what was held back when no more frames come.

        The answer stays incomplete, if it was, unless `accept_missing_stop` is set.
        """
        if self._answer.finish_reason is not None:
            return []
        deltas = self._flush()
        if self.cut:
            self._answer.finish_reason = "stop"
        elif accept_missing_stop:
            self._answer.finish_reason = UNKNOWN_FINISH
        return self._noted(deltas)

    def answer(self) -> Answer:
        """Return the sum of the deltas and what else the frames told."""
        answer = self._answer
        answer.text = "".join(self._text)
        answer.reasoning = "".join(self._reasoning)
        answer.order = list(self._order)
        answer.final_text = None if self.cut else self._final_text()
        found = sources(answer.doc_references, answer.thoughts)
        answer.citations = citations(answer.text, self._markers.markers, found)
        rests_on_documents = bool(self._markers.markers or found)
        # References may come late: of an answer that was cut nothing is known.
        answer.references_missing = rests_on_documents and not answer.doc_references and not self.cut
        return answer

    def _noted(self, deltas: list[Delta]) -> list[Delta]:
        for delta in deltas:
            match delta:
                case TextDelta():
                    self._order["text"] = None
                case ReasoningDelta():
                    self._order["reasoning"] = None
                case StepCall(id=step_id):
                    self._order[f"call:{step_id}"] = None
                case StepResult(call_id=step_id):
                    self._order[f"result:{step_id}"] = None
                case NodeEvent(key=key):
                    self._order[f"node:{key}"] = None
        return deltas

    def _remember(self, frame: Frame) -> None:
        answer = self._answer
        answer.session_id = frame.session_id or answer.session_id
        answer.request_id = frame.request_id or answer.request_id
        if frame.doc_references:
            answer.doc_references = frame.doc_references
        answer.usage = frame.usage or answer.usage
        if frame.extra:
            output = {**answer.extra.get("output", {}), **frame.extra.get("output", {})}
            answer.extra |= frame.extra
            if output:
                answer.extra["output"] = output

    def _has_nothing_but_text(self) -> bool:
        """Whether a frame that brings more text, and nothing else, may take the short way.

        That is for the many: the long way comes to the same.
        """
        return (
            bool(self._text)
            and self._stop is None
            and self._calls is None
            and self._one_text.is_one
            and self._reasoning_channel.is_idle
        )

    def _news(self, frame: Frame) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the entries about nodes and the other thoughts, unless they are the same again."""
        if not (frame.thoughts or frame.workflow_message):
            return [], []
        if frame.thoughts == self._told and not frame.workflow_message:
            return [], []
        nodes, thoughts = parted(frame)
        # The same increment again is one more, but a step that is told again is the same one.
        same_if_repeated = not nodes and not any(map(_is_reasoning, thoughts))
        self._told = thoughts if same_if_repeated else None
        return nodes, thoughts

    def _feed_thoughts(
        self, thoughts: list[dict[str, Any]], frame: Frame, *, last: bool
    ) -> list[Delta]:
        before: list[Delta] = []
        after: list[Delta] = []
        reasoning = ""
        self.steps.next_frame()
        for thought in thoughts:
            if _is_reasoning(thought):
                # `response` repeats `thought`.
                reasoning += str(thought.get("thought") or thought.get("response") or "")
            else:
                (after if reasoning else before).extend(self._step(self.steps.feed(thought)))
        new = self._reasoning_channel.feed(reasoning, frame.usage, last=last)
        if frame.text and not reasoning:
            new += self._reasoning_channel.pause()
        return [*before, *self._reason(new), *after]

    def _reason(self, text: str) -> list[Delta]:
        if not text:
            return []
        self._reasoning.append(text)
        return [ReasoningDelta(text)]

    def _step(self, events: Sequence[StepCall | StepResult]) -> list[Delta]:
        self._answer.steps += events
        return list(events)

    def _hear(self, said: Said, text: str) -> list[Delta]:
        """Take what nodes say and what `text` says."""
        self._answer.nodes += said.events
        text = self._one_text.feed(said.text, text)
        return [*self._reason(said.reasoning), *said.events, *self._feed_text(text)]

    def _final_text(self) -> str | None:
        if (text := self._one_text.other_text) is None:
            return None
        markers = MarkerFilter(self._markers.mode)
        return markers.feed(text) + markers.end()

    def _feed_text(self, text: str) -> list[Delta]:
        if not text:
            return []
        return self._feed_parts([text] if self._calls is None else self._calls.feed(text))

    def _feed_parts(self, parts: Sequence[str | ToolCall]) -> list[Delta]:
        deltas: list[Delta] = []
        for part in parts:
            if isinstance(part, str):
                deltas += self._cut(self._markers.feed(part))
                continue
            deltas += self._cut(self._markers.end())  # no marker after all
            if not self.cut:
                self._answer.tool_calls.append(part)
                deltas += [part] if part.problem is None else []
        return deltas

    def _cut(self, text: str) -> list[Delta]:
        if self._stop is not None:
            text = "" if self.cut else self._stop.feed(text)
            self.cut = self._stop.hit
        return self._say(text)

    def _say(self, text: str) -> list[Delta]:
        if not text:
            return []
        begins = [] if self._text else self._step(self.steps.answer_begins())
        self._text.append(text)
        return [*begins, TextDelta(text)]

    def _flush(self) -> list[Delta]:
        deltas = self._reason(self._reasoning_channel.end())
        deltas += self._hear(self._nodes.end(), self._channel.end())
        if not (self.cut or self._nodes.final_node_has_text):
            # Output nodes may speak before the End, which says its own in the last frame only.
            deltas += self._feed_text(self._one_text.accept())
        if self._calls is not None:
            deltas += self._feed_parts(self._calls.end())
        deltas += self._cut(self._markers.end())
        if self._stop is not None and not self.cut:
            deltas += self._say(self._stop.end())
            self.cut = self._stop.hit
        return deltas + self._step(self.steps.end())


def _is_reasoning(thought: dict[str, Any]) -> bool:
    return thought.get("action_type") == "reasoning"
