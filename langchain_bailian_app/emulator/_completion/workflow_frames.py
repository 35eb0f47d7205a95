"""How a workflow is told: the frames of each `flow_stream_mode`, or the one output.

Pure: a `Course` in, JSON objects out, in the order and the shape of the documented examples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

from langchain_bailian_app.emulator._completion.workflow_message_frames import message_frames
from langchain_bailian_app.emulator._completion.workflow_run import Course, NodeRun
from langchain_bailian_app.emulator._completion.workflow_thought_frames import (
    thought_frames,
    thoughts_of,
)
from langchain_bailian_app.emulator._completion.workflow_usage import Frame, ModelUsage
from langchain_bailian_app.emulator._http.errors import refuse

Mode: TypeAlias = Literal["full_thoughts", "agent_format", "message_format", "message_format_plus"]


def mode_of(given: str | None, *, shows_thoughts: bool) -> Mode | None:
    """The mode a stream is in; `None` where nothing but the last frame tells anything.

    Raises:
        RequestRefused: There is no such mode.
    """
    modes: dict[str, Mode] = {mode: mode for mode in get_args(Mode)}
    mode = modes.get(given or "full_thoughts")
    if mode is None:
        refuse("InvalidParameter", f"flow_stream_mode must be one of {', '.join(modes)}.")
    return None if mode == "full_thoughts" and not shows_thoughts else mode


@dataclass(frozen=True)
class WorkflowComposition:
    """A workflow that has run, how it is to be told, and the ids that every frame repeats.

    Attributes:
        request_id: The id of the request.
        session_id: The session the reply belongs to.
        course: The workflow that has run.
        mode: How a stream tells it.
        shows_thoughts: Whether a reply without a stream has `thoughts`.
        incremental: Whether texts of a stream are increments, where the mode knows other ones.
        completed_as_text: Whether `node_is_completed` is a string.
        end_repeats: Whether an End node says what was already shown of an LLM node.
    """

    request_id: str
    session_id: str
    course: Course
    mode: Mode | None
    shows_thoughts: bool
    incremental: bool
    completed_as_text: bool
    end_repeats: bool

    @property
    def text(self) -> str:
        """The text of the reply."""
        return self.course.text

    @property
    def frame_count(self) -> int:
        """How many frames the stream has."""
        return len(self._frames)

    @property
    def paces(self) -> int:
        """How many frames' time the reply takes without a stream: each node's pieces, one by one."""
        return len(self.course.steps) + 1

    def text_after(self, frames: int) -> str:
        """The text that this many frames of the stream have carried."""
        if frames >= self.frame_count:
            return self.text
        return "".join(frame.said for frame in self._frames[:frames])

    def whole(self) -> dict[str, Any]:
        """The JSON of a reply that is not streamed."""
        output = {"thoughts": thoughts_of(self.course)} if self.shows_thoughts else {}
        return self._payload(Frame({**output, **self._end(self.text)}, self._usage()))

    def stream(self) -> Iterator[dict[str, Any]]:
        """The JSON of each frame."""
        return map(self._payload, self._frames)

    def _payload(self, frame: Frame) -> dict[str, Any]:
        # The ids stand behind `thoughts` in the recordings; the order of keys means nothing.
        output = {"session_id": self.session_id, "finish_reason": "null", **frame.output}
        return {"output": output, "usage": frame.usage, "request_id": self.request_id}

    @cached_property
    def _frames(self) -> list[Frame]:
        return list(self._told())

    def _told(self) -> Iterator[Frame]:
        if self.mode == "agent_format":
            yield from self._agent_frames()
            return
        if self.mode == "full_thoughts":
            *before, last = thought_frames(self.course, incremental=self.incremental)
            yield from before
            yield Frame({**last.output, **self._end(self.text)}, self._usage())
            return
        if self.mode is None:
            yield Frame({}, {})
        else:
            yield from message_frames(
                self.course,
                every_node=self.mode == "message_format_plus",
                completed_as_text=self.completed_as_text,
                end_repeats=self.end_repeats,
            )
        yield Frame(self._end(self.text), self._usage())

    def _agent_frames(self) -> Iterator[Frame]:
        """Text of the nodes that are returned; the last frame has the End node's, in one block."""
        pieces = list(self._agent_pieces())
        so_far = ""
        for number, piece in enumerate(pieces, start=1):
            so_far += piece.said
            text = piece.said if self.incremental else so_far
            if number < len(pieces):
                yield Frame({"text": text}, piece.usage, piece.said)
            else:
                final = self.course.final_text
                yield Frame(self._end(text if final is None else final), self._usage())

    def _agent_pieces(self) -> Iterator[Frame]:
        usage = ModelUsage()
        empty = True
        for run, kind, said in self.course.steps:
            usage.add(run, said)
            is_end = run.node.type == "End"
            text = run.said.result if is_end and kind == "end" else "" if is_end else said.result
            if run.node.is_returned and text and not self._was_returned(run):
                empty = False
                yield Frame({}, usage.snapshot(), text)
        # A workflow that did not reach its End, or returns nothing, ends with an empty frame.
        if empty or self.course.stopped:
            yield Frame({}, usage.snapshot())

    def _was_returned(self, run: NodeRun) -> bool:
        repeated = run.repeated
        return repeated is not None and repeated.node.is_returned and not self.end_repeats

    def _usage(self) -> dict[str, Any]:
        usage = ModelUsage()
        for run, _, said in self.course.steps:
            usage.add(run, said)
        return usage.snapshot()

    def _end(self, text: str) -> dict[str, Any]:
        return {"finish_reason": self.course.finish_reason, "text": text}
