"""JSON of a workflow's reply: the frames for each `flow_stream_mode`, or a single body.

Pure: builds JSON objects from a `WorkflowRun`. Their order and format are those of the documented
examples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

from langchain_bailian_app.emulator._completion.workflow_message_frames import build_message_frames
from langchain_bailian_app.emulator._completion.workflow_run import NodeRun, WorkflowRun
from langchain_bailian_app.emulator._completion.workflow_thought_frames import (
    build_thought_frames,
    build_thoughts,
)
from langchain_bailian_app.emulator._completion.workflow_usage import ModelUsage, WorkflowFrame
from langchain_bailian_app.emulator._http.errors import refuse

FlowStreamMode: TypeAlias = Literal[
    "full_thoughts", "agent_format", "message_format", "message_format_plus"
]


def resolve_flow_stream_mode(
    flow_stream_mode: str | None, *, shows_thoughts: bool
) -> FlowStreamMode | None:
    """Return the mode of a stream, or None if only the last frame has content.

    Raises:
        RequestRefused: The mode is unknown.
    """
    modes: dict[str, FlowStreamMode] = {mode: mode for mode in get_args(FlowStreamMode)}
    mode = modes.get(flow_stream_mode or "full_thoughts")
    if mode is None:
        refuse("InvalidParameter", f"flow_stream_mode must be one of {', '.join(modes)}.")
    return None if mode == "full_thoughts" and not shows_thoughts else mode


@dataclass(frozen=True)
class RenderedWorkflowReply:
    """A workflow that has run, its stream mode, and the ids that every frame repeats.

    Attributes:
        request_id: Id of the request.
        session_id: Id of the session that the reply belongs to.
        workflow_run: The workflow that has run.
        mode: Mode of the stream.
        shows_thoughts: Whether a reply without streaming has `thoughts`.
        incremental: Whether the text in a stream is incremental, in modes that also support cumulative
            text.
        completed_as_text: Whether `node_is_completed` is a string.
        end_repeats: Whether an End node repeats text that an LLM node has already sent.
        reject_status: Value of `reject_status` in every frame; None leaves it out.
    """

    request_id: str
    session_id: str
    workflow_run: WorkflowRun
    mode: FlowStreamMode | None
    shows_thoughts: bool
    incremental: bool
    completed_as_text: bool
    end_repeats: bool
    reject_status: bool | None = None

    @property
    def text(self) -> str:
        """Text of the reply."""
        return self.workflow_run.text

    @property
    def frame_count(self) -> int:
        """Number of frames of the stream."""
        return len(self._frames)

    @property
    def duration_frames(self) -> int:
        """Duration of a reply without streaming, measured in frames: one for each event of a node."""
        return len(self.workflow_run.events) + 1

    def sent_text(self, frames_sent: int) -> str:
        """Return the text in the first `frames_sent` frames of the stream."""
        if frames_sent >= self.frame_count:
            return self.text
        return "".join(frame.text for frame in self._frames[:frames_sent])

    def full_payload(self) -> dict[str, Any]:
        """Build the JSON of a reply without streaming."""
        output = {"thoughts": build_thoughts(self.workflow_run)} if self.shows_thoughts else {}
        return self._build_payload(
            WorkflowFrame({**output, **self._final_fields(self.text)}, self._total_usage())
        )

    def frame_payloads(self) -> Iterator[dict[str, Any]]:
        """Return the JSON of each frame."""
        return map(self._build_payload, self._frames)

    def _build_payload(self, frame: WorkflowFrame) -> dict[str, Any]:
        # In the recordings, the ids follow `thoughts`; the order of keys is irrelevant.
        output = {"session_id": self.session_id, "finish_reason": "null", **frame.output}
        if self.reject_status is not None:
            output["reject_status"] = self.reject_status
        return {"output": output, "usage": frame.usage, "request_id": self.request_id}

    @cached_property
    def _frames(self) -> list[WorkflowFrame]:
        return list(self._render_frames())

    def _render_frames(self) -> Iterator[WorkflowFrame]:
        if self.mode == "agent_format":
            yield from self._render_agent_frames()
            return
        if self.mode == "full_thoughts":
            *frames, last_frame = build_thought_frames(self.workflow_run, incremental=self.incremental)
            yield from frames
            yield WorkflowFrame(
                {**last_frame.output, **self._final_fields(self.text)}, self._total_usage()
            )
            return
        if self.mode is None:
            yield WorkflowFrame({}, {})
        else:
            yield from build_message_frames(
                self.workflow_run,
                every_node=self.mode == "message_format_plus",
                completed_as_text=self.completed_as_text,
                end_repeats=self.end_repeats,
            )
        yield WorkflowFrame(self._final_fields(self.text), self._total_usage())

    def _render_agent_frames(self) -> Iterator[WorkflowFrame]:
        """Yield the text of the nodes that are returned; an End node's text is sent in one block."""
        pieces = list(self._split_agent_text())
        cumulative_text = ""
        for number, piece in enumerate(pieces, start=1):
            cumulative_text += piece.text
            text = piece.text if self.incremental else cumulative_text
            if number < len(pieces):
                yield WorkflowFrame({"text": text}, piece.usage, piece.text)
            else:
                final_text = self.workflow_run.final_text
                yield WorkflowFrame(
                    self._final_fields(text if final_text is None else final_text), self._total_usage()
                )

    def _split_agent_text(self) -> Iterator[WorkflowFrame]:
        usage = ModelUsage()
        is_empty = True
        for run, kind, output in self.workflow_run.events:
            usage.add(run, output)
            is_end = run.node.type == "End"
            text = run.output.result if is_end and kind == "end" else "" if is_end else output.result
            if run.node.is_returned and text and not self._was_already_returned(run):
                is_empty = False
                yield WorkflowFrame({}, usage.snapshot(), text)
        # A workflow that stops early or returns no text ends with an empty frame.
        if is_empty or self.workflow_run.stopped_early:
            yield WorkflowFrame({}, usage.snapshot())

    def _was_already_returned(self, run: NodeRun) -> bool:
        repeated_run = run.repeated_run
        return repeated_run is not None and repeated_run.node.is_returned and not self.end_repeats

    def _total_usage(self) -> dict[str, Any]:
        usage = ModelUsage()
        for run, _, output in self.workflow_run.events:
            usage.add(run, output)
        return usage.snapshot()

    def _final_fields(self, text: str) -> dict[str, Any]:
        return {"finish_reason": self.workflow_run.finish_reason, "text": text}
