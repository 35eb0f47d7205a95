"""`workflow_message`: one node a frame, in increments whatever was asked. Two modes share its shape.

`message_format` tells of End and Output nodes, `message_format_plus` of all. Pure.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from langchain_bailian_app.emulator._completion.workflow_run import Course, NodeRun, Said, Step
from langchain_bailian_app.emulator._completion.workflow_usage import (
    Frame,
    ModelUsage,
    compact,
    result_json,
)


def message_frames(
    course: Course, *, every_node: bool, completed_as_text: bool, end_repeats: bool
) -> Iterator[Frame]:
    """The frames before the last one, which has no `workflow_message`."""
    usage = ModelUsage()
    told = _Told(course, completed_as_text=completed_as_text)
    for step in course.steps:
        run = step.run
        # As in the documented example, a model is counted when it has ended.
        if step.kind == "end":
            usage.add(run, run.said)
        if not (every_node or run.node.speaks):
            continue
        silent = every_node and run.repeated is not None and not end_repeats
        if step.kind == "end":
            whole = not (run.node.comes_in_pieces or silent)
            yield told.frame(step, run.said if whole else None, usage)
        elif step.kind == "piece" and run.node.comes_in_pieces and not silent:
            yield told.frame(step, step.said, usage)


@dataclass
class _Told:
    """Frames of `workflow_message`, counted for each node."""

    course: Course
    completed_as_text: bool
    counted: Counter[str] = field(default_factory=Counter)

    def frame(self, step: Step, said: Said | None, usage: ModelUsage) -> Frame:
        """One frame; with nothing said it only tells that its node has ended."""
        run, ended = step.run, step.kind == "end"
        self.counted[run.node_id] += 1
        message = {
            "node_status": run.node.status if ended else "executing",
            "node_type": run.node.type,
            "node_msg_seq_id": self.counted[run.node_id],
            "node_name": run.node.name,
            "message": {"content": self._content(run, said), "role": "assistant"},
            "node_is_completed": self._flag(ended and run.node.status != "paused"),
            "node_id": run.node_id,
        }
        spoken = said.result if said and run.node.speaks else ""
        return Frame({"workflow_message": message}, usage.snapshot(), spoken)

    def _flag(self, value: bool) -> bool | str:
        return str(value).lower() if self.completed_as_text else value

    def _content(self, run: NodeRun, said: Said | None) -> str:
        """Plain text of what is meant for the user, JSON of all else."""
        if said is None or run.node.speaks:
            return said.result if said else ""
        if run.node.type == "Start":
            given: Any = {"user": self.course.variables} if run.node.inputs is None else run.node.inputs
            return compact(given)
        return result_json(said, thinks=run.node.is_model)
