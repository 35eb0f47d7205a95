"""Frames of `full_thoughts`: each frame lists all nodes reached so far.

A node is a JSON string, and its result is a JSON string inside it. In incremental streams, later frames
repeat a node that has ended, with an empty result. Pure.
"""

from collections.abc import Iterator, Sequence
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


def build_thoughts(workflow_run: WorkflowRun) -> list[dict[str, str]]:
    """Build the entries of all nodes for a reply without streaming."""
    return [
        _NodeState(run, run.node.name, run.node.status, run.output).to_thought()
        for run in workflow_run.node_runs
    ]


def build_thought_frames(workflow_run: WorkflowRun, *, incremental: bool) -> Iterator[WorkflowFrame]:
    """Yield the frames; the caller adds `text` and `finish_reason` to the last one."""
    usage = ModelUsage()
    node_states: dict[str, _NodeState] = {}
    yield WorkflowFrame({}, {})
    text = ""
    for index, event in enumerate(workflow_run.events):
        usage.add(event.run, event.output)
        node_states.setdefault(event.run.node_id, _NodeState(event.run)).apply(event)
        text += event.output.result if event.run.node.speaks else ""
        if _shares_frame_with_next(event, workflow_run.events[index + 1 : index + 2]):
            continue
        thoughts = [state.to_thought() for state in node_states.values()]
        yield WorkflowFrame({"thoughts": thoughts}, usage.snapshot(), text)
        text = ""
        if incremental:
            for state in node_states.values():
                state.output = NodeOutput()


def _shares_frame_with_next(event: RunEvent, next_events: Sequence[RunEvent]) -> bool:
    """Return whether the next event is reported in the same frame.

    As recorded, a frame that reports the last piece of a node also reports the end of this node and the
    start of the next node. The start of the node after a Start node has a separate frame.
    """
    return any(
        (next_event.kind == "end" and next_event.run is event.run)
        or (next_event.kind == "start" and event.kind == "end" and event.run.node.type != "Start")
        for next_event in next_events
    )


@dataclass
class _NodeState:
    """State of a node in the stream."""

    run: NodeRun
    name: str = ""
    status: str = "executing"
    output: NodeOutput = field(default_factory=NodeOutput)

    def apply(self, event: RunEvent) -> None:
        """Apply an event of the node."""
        # As recorded: until a node has output, its id is sent as its name.
        self.name = self.run.node_id if event.kind == "start" else self.run.node.name
        if event.kind == "end":
            self.status = self.run.node.status
        result, reasoning = self.output
        self.output = NodeOutput(result + event.output.result, reasoning + event.output.reasoning)

    def to_thought(self) -> dict[str, str]:
        """Build the entry of `thoughts`."""
        node = self.run.node
        response: dict[str, Any] = {"nodeName": self.name}
        if node.inputs is not None:
            response["nodeInput"] = compact_json(node.inputs)
        # A Start node has no result in the recording.
        if node.type != "Start" or self.run.output.result:
            response["nodeResult"] = encode_node_result(
                self.output, include_reasoning=bool(self.run.output.reasoning)
            )
        response |= {"nodeType": node.type, "nodeStatus": self.status, "nodeId": self.run.node_id}
        if self.status == "success":
            response["nodeExecTime"] = f"{node.exec_ms}ms"
        return {"response": compact_json(response)}
