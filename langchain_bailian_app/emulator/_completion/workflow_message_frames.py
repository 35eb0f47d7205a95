"""Frames with `workflow_message`: one node per frame, with incremental text.

`message_format` covers End and Output nodes, `message_format_plus` covers all nodes. Pure.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from langchain_bailian_app.emulator._completion.workflow_run import (
    NodeOutput,
    NodeRun,
    RunEvent,
    WorkflowRun,
)
from langchain_bailian_app.emulator._completion.workflow_usage import (
    ModelUsage,
    WorkflowFrame,
    encode_node_result,
)
from langchain_bailian_app.emulator._http.encoding import compact_json


def build_message_frames(
    workflow_run: WorkflowRun, *, every_node: bool, completed_as_text: bool, end_repeats: bool
) -> Iterator[WorkflowFrame]:
    """Yield the frames before the last one, which has no `workflow_message`."""
    usage = ModelUsage()
    builder = _MessageFrameBuilder(workflow_run, completed_as_text=completed_as_text)
    for event in workflow_run.events:
        run = event.run
        # As in the documented example, `usage` counts a model only after its node has ended.
        if event.kind == "end":
            usage.add(run, run.output)
        if not (every_node or run.node.speaks):
            continue
        is_suppressed = every_node and run.repeated_run is not None and not end_repeats
        if event.kind == "end":
            in_one_block = not (run.node.comes_in_pieces or is_suppressed)
            yield builder.build_frame(event, run.output if in_one_block else None, usage)
        elif event.kind == "output" and run.node.comes_in_pieces and not is_suppressed:
            yield builder.build_frame(event, event.output, usage)


@dataclass
class _MessageFrameBuilder:
    """Builder of the frames, with a frame counter for each node."""

    workflow_run: WorkflowRun
    completed_as_text: bool
    frame_counts: Counter[str] = field(default_factory=Counter)

    def build_frame(
        self, event: RunEvent, output: NodeOutput | None, usage: ModelUsage
    ) -> WorkflowFrame:
        """Build a frame; without output, it only reports the status of its node."""
        run, has_ended = event.run, event.kind == "end"
        self.frame_counts[run.node_id] += 1
        message = {
            "node_status": run.node.status if has_ended else "executing",
            "node_type": run.node.type,
            "node_msg_seq_id": self.frame_counts[run.node_id],
            "node_name": run.node.name,
            "message": {"content": self._format_content(run, output), "role": "assistant"},
            "node_is_completed": self._format_flag(has_ended and run.node.status != "paused"),
            "node_id": run.node_id,
        }
        visible_text = output.result if output and run.node.speaks else ""
        return WorkflowFrame({"workflow_message": message}, usage.snapshot(), visible_text)

    def _format_flag(self, value: bool) -> bool | str:
        return str(value).lower() if self.completed_as_text else value

    def _format_content(self, run: NodeRun, output: NodeOutput | None) -> str:
        """Return the plain text of nodes whose text is shown to the user, JSON for other nodes."""
        if output is None or run.node.speaks:
            return output.result if output else ""
        if run.node.type == "Start":
            inputs: Any = (
                {"user": self.workflow_run.variables} if run.node.inputs is None else run.node.inputs
            )
            return compact_json(inputs)
        return encode_node_result(output, include_reasoning=run.node.is_model)
