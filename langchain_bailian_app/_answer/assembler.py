"""Assembles the frames of a response into deltas and an answer.

Streaming and non-streaming calls share this code. `AnswerAssembler.feed` returns the deltas of a
stream, and `AnswerAssembler.build_answer` returns all of them combined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from langchain_bailian_app._answer.answer import UNKNOWN_FINISH_REASON, Answer
from langchain_bailian_app._answer.citations import MarkerFilter, MarkerMode, build_citations
from langchain_bailian_app._answer.events import (
    Delta,
    NodeEvent,
    ReasoningDelta,
    StepCall,
    StepResult,
    TextDelta,
    ToolCall,
)
from langchain_bailian_app._answer.passages import passages_by_marker
from langchain_bailian_app._answer.reasoning import ReasoningFields, is_reasoning, read_reasoning
from langchain_bailian_app._answer.steps import StepEvent, StepReader
from langchain_bailian_app._answer.text_delta import StopFilter, TextDeltaReader
from langchain_bailian_app._answer.workflow_nodes import (
    NO_UPDATE,
    NodeUpdate,
    WorkflowReader,
    split_node_entries,
)
from langchain_bailian_app._answer.workflow_text import WorkflowTextMerger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_bailian_app._answer.frames import Frame
    from langchain_bailian_app._answer.tool_calls import ToolCallParser


class AnswerAssembler:
    """Assembles the frames of one response into an answer.

    Args:
        markers: Handling of `<ref>[n]</ref>` in the text.
        stop: Stop sequences. The answer is cut before the first one.
        answer_node: Id, name or type of the workflow node that provides the answer. Default: the End
            node.
        tool_call_parser: Parser of calls to the caller's tools; None if there are no tools.
        previous: The assembler of an earlier response to the same call. Steps that it reported are
            not reported again.
    """

    def __init__(
        self,
        *,
        markers: MarkerMode = "strip",
        stop: list[str] | None = None,
        answer_node: str | None = None,
        tool_call_parser: ToolCallParser | None = None,
        previous: AnswerAssembler | None = None,
    ) -> None:
        self._answer_node = answer_node
        self._node_key_prefix = "" if previous is None else "again:"
        self._text_reader = TextDeltaReader()
        self._marker_mode = markers
        self._stop_filter = StopFilter(stop) if stop else None
        self._tool_call_parser = tool_call_parser
        # Created on first use, because most answers consist of text alone.
        self._marker_filter: MarkerFilter | None = None
        self._reasoning_reader: TextDeltaReader | None = None
        self.step_reader: StepReader | None = None if previous is None else previous.step_reader
        self._workflow_reader: WorkflowReader | None = None
        self._text_merger: WorkflowTextMerger | None = None
        self._has_output_text = False  # before the first node
        self._text_length = 0  # code points before the first possible marker
        self._previous_thoughts: list[dict[str, Any]] | None = None
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._reasoning_fields: ReasoningFields | None = None
        self._order: dict[str, None] = {}
        self._text_only = False
        self._answer = Answer()
        self.stopped = False
        """Whether a `stop` sequence ended the answer before the service did."""

    def feed(self, frame: Frame) -> list[Delta]:
        """Return the deltas of this frame."""
        if self._answer.finish_reason is not None:
            return []
        self._update_metadata(frame)
        last = frame.finish_reason is not None
        text = self._text_reader.feed(frame.text, frame.usage, last=last)
        if self._text_only and not (last or frame.thoughts or frame.workflow_message):
            return self._emit_text(self._filter_markers(text))
        nodes, thoughts = self._new_entries(frame)
        deltas = self._feed_thoughts(thoughts, frame, last=last)
        deltas += self._feed_nodes(nodes, text, last=last)
        if last or self.stopped:
            deltas += self._finish()
            self._answer.finish_reason = "stop" if self.stopped else frame.finish_reason
        self._text_only = self._is_text_only()
        return self._record(deltas)

    def end(self, *, accept_missing_stop: bool = False) -> list[Delta]:
        """Return the remaining deltas after the last frame.

        If no frame had a finish reason, the answer is incomplete unless `accept_missing_stop` is set.
        """
        if self._answer.finish_reason is not None:
            return []
        deltas = self._finish(is_complete=accept_missing_stop)
        if self.stopped:
            self._answer.finish_reason = "stop"
        elif accept_missing_stop:
            self._answer.finish_reason = UNKNOWN_FINISH_REASON
        return self._record(deltas)

    def build_answer(self) -> Answer:
        """Return the answer: all deltas combined, and the other data of the frames."""
        answer = self._answer
        answer.text = "".join(self._text)
        answer.reasoning = "".join(self._reasoning)
        answer.order = list(self._order)
        if self._reasoning_fields is not None:
            answer.reasoning_fields = self._reasoning_fields.build()
        answer.final_text = None if self.stopped else self._filtered_final_text()
        passages = passages_by_marker(answer.doc_references, answer.thoughts)
        markers = [] if self._marker_filter is None else self._marker_filter.markers
        answer.citations = build_citations(answer.text, markers, passages)
        # References may arrive late. They are not missing if a stop sequence ended the answer early.
        answer.references_missing = bool(markers) and not answer.doc_references and not self.stopped
        return answer

    def _record(self, deltas: list[Delta]) -> list[Delta]:
        """Record the order of the deltas, add the steps and node events, and return the deltas."""
        answer, order = self._answer, self._order
        for delta in deltas:
            match delta:
                case TextDelta():
                    order["text"] = None
                case ReasoningDelta():
                    order["reasoning"] = None
                case StepCall():
                    order[f"call:{delta.id}"] = None
                    answer.steps.append(delta)
                case StepResult():
                    order[f"result:{delta.call_id}"] = None
                    answer.steps.append(delta)
                case NodeEvent():
                    order[f"node:{delta.key}"] = None
                    answer.nodes.append(delta)
                case ToolCall():
                    pass  # added by `_feed_parts`, together with calls that have a problem
                case _:
                    assert_never(delta)
        return deltas

    def _update_metadata(self, frame: Frame) -> None:
        answer = self._answer
        answer.session_id = frame.session_id or answer.session_id
        answer.request_id = frame.request_id or answer.request_id
        if frame.reject_status is not None:
            answer.reject_status = answer.reject_status or frame.reject_status
        if frame.doc_references:
            answer.doc_references = frame.doc_references
        answer.usage = frame.usage or answer.usage
        if frame.extra:
            output = {**answer.extra.get("output", {}), **frame.extra.get("output", {})}
            answer.extra |= frame.extra
            if output:
                answer.extra["output"] = output

    def _is_text_only(self) -> bool:
        """Return whether the other readers can be skipped for a frame that contains only text.

        Most frames contain only text. Skipping is faster and does not change the result.
        """
        return (
            bool(self._text)
            and self._stop_filter is None
            and self._tool_call_parser is None
            and (self._text_merger is None or self._text_merger.has_output_text_only)
            and (self._reasoning_reader is None or self._reasoning_reader.is_idle)
            and (self.step_reader is None or self.step_reader.is_settled)
        )

    def _new_entries(self, frame: Frame) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the node entries and the other thoughts, or two empty lists if they are repeated."""
        if not (frame.thoughts or frame.workflow_message):
            return [], []
        if frame.thoughts == self._previous_thoughts and not (
            frame.workflow_message or (self.step_reader and self.step_reader.awaits_more)
        ):
            return [], []
        nodes, thoughts = split_node_entries(frame)
        # A repeated increment is new text, but a repeated step is the same step.
        is_idempotent = not nodes and not any(map(is_reasoning, thoughts))
        self._previous_thoughts = thoughts if is_idempotent else None
        return nodes, thoughts

    def _feed_thoughts(
        self, thoughts: list[dict[str, Any]], frame: Frame, *, last: bool
    ) -> list[Delta]:
        if not thoughts and self._reasoning_reader is None:
            return []
        if self._reasoning_reader is None:
            self._reasoning_reader = TextDeltaReader()
        if self.step_reader is None:
            self.step_reader = StepReader()
        before_reasoning: list[StepEvent] = []
        after_reasoning: list[StepEvent] = []
        reasoning = ""
        self.step_reader.next_frame(last=last)
        for thought in thoughts:
            if is_reasoning(thought):
                text, other_fields = read_reasoning(thought)
                reasoning += text
                if other_fields:
                    self._reasoning_fields = self._reasoning_fields or ReasoningFields()
                    self._reasoning_fields.add(other_fields)
            else:
                (after_reasoning if reasoning else before_reasoning).extend(
                    self.step_reader.feed(thought)
                )
        new_reasoning = self._reasoning_reader.feed(reasoning, frame.usage, last=last)
        if frame.text and not reasoning:
            new_reasoning += self._reasoning_reader.flush()
        if new_reasoning and not (after_reasoning or self.step_reader.is_settled):
            before_reasoning += self.step_reader.report_before_reasoning()
        if not (before_reasoning or after_reasoning):
            return self._emit_reasoning(new_reasoning)
        return [
            *self._emit_steps(before_reasoning),
            *self._emit_reasoning(new_reasoning),
            *self._emit_steps(after_reasoning),
        ]

    def _emit_steps(self, events: list[StepEvent]) -> list[StepEvent]:
        self._reasoning += [event.text for event in events if isinstance(event, ReasoningDelta)]
        return events

    def _emit_reasoning(self, text: str) -> list[Delta]:
        if not text:
            return []
        self._reasoning.append(text)
        return [ReasoningDelta(text)]

    def _feed_nodes(self, nodes: list[dict[str, Any]], text: str, *, last: bool) -> list[Delta]:
        """Add the node entries and the text of a frame."""
        if nodes and self._workflow_reader is None:
            self._workflow_reader = WorkflowReader(self._answer_node, self._node_key_prefix)
            self._text_merger = WorkflowTextMerger(
                prefers_output_text=self._answer_node is None, output_text_only=self._has_output_text
            )
        if self._workflow_reader is None or not (nodes or last):
            return self._add_workflow(NO_UPDATE, text)
        return self._add_workflow(self._workflow_reader.feed(nodes, last=last), text, last=last)

    def _add_workflow(self, update: NodeUpdate, text: str, *, last: bool = False) -> list[Delta]:
        """Add the text and events of nodes, and the text of the `text` field."""
        if self._text_merger is None:
            self._has_output_text = self._has_output_text or bool(text)
        else:
            text = self._text_merger.feed(update.text, text, last=last)
        return [*self._emit_reasoning(update.reasoning), *update.events, *self._feed_text(text)]

    def _filtered_final_text(self) -> str | None:
        text = None if self._text_merger is None else self._text_merger.final_text
        if text is None:
            return None
        marker_filter = MarkerFilter(self._marker_mode)
        return marker_filter.feed(text) + marker_filter.end()

    def _feed_text(self, text: str) -> list[Delta]:
        if not text:
            return []
        return self._feed_parts(
            [text] if self._tool_call_parser is None else self._tool_call_parser.feed(text)
        )

    def _feed_parts(self, parts: Sequence[str | ToolCall]) -> list[Delta]:
        deltas: list[Delta] = []
        for part in parts:
            if isinstance(part, str):
                deltas += self._apply_stop(self._filter_markers(part))
                continue
            deltas += self._apply_stop(self._end_marker())
            if not self.stopped:
                self._answer.tool_calls.append(part)
                deltas += [part] if part.problem is None else []
        return deltas

    def _filter_markers(self, text: str) -> str:
        if self._marker_filter is None:
            if "<" not in text:
                self._text_length += len(text)
                return text
            self._marker_filter = MarkerFilter(self._marker_mode, emitted_length=self._text_length)
        return self._marker_filter.feed(text)

    def _end_marker(self) -> str:
        """Return the text that was buffered as a possible marker."""
        return "" if self._marker_filter is None else self._marker_filter.end()

    def _apply_stop(self, text: str) -> list[Delta]:
        if self._stop_filter is not None:
            text = "" if self.stopped else self._stop_filter.feed(text)
            self.stopped = self._stop_filter.hit
        return self._emit_text(text)

    def _emit_text(self, text: str) -> list[Delta]:
        if not text:
            return []
        is_first = not self._text
        self._text.append(text)
        if self.step_reader is not None and not self.step_reader.is_settled:
            events = self.step_reader.report_before_text(is_first=is_first)
            return [*self._emit_steps(events), TextDelta(text)]
        return [TextDelta(text)]

    def _finish(self, *, is_complete: bool = True) -> list[Delta]:
        reader, workflow = self._reasoning_reader, self._workflow_reader
        deltas = [] if reader is None else self._emit_reasoning(reader.end())
        update = NO_UPDATE if workflow is None else workflow.end()
        deltas += self._add_workflow(update, self._text_reader.end())
        if self._tool_call_parser is not None:
            deltas += self._feed_parts(self._tool_call_parser.end())
        deltas += self._apply_stop(self._end_marker())
        if self._stop_filter is not None and not self.stopped:
            deltas += self._emit_text(self._stop_filter.end())
            self.stopped = self._stop_filter.hit
        if self.step_reader is None:
            return deltas
        return [*deltas, *self._emit_steps(self.step_reader.end(is_finished=is_complete))]
