"""`full_thoughts`: every frame lists the nodes so far, each as JSON text, their results as JSON in it.

Pure. With increments, a node that has ended is repeated with an empty result.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_bailian_app.emulator._completion.workflow_run import Course, NodeRun, Said, Step
from langchain_bailian_app.emulator._completion.workflow_usage import (
    Frame,
    ModelUsage,
    compact,
    result_json,
)


def thoughts_of(course: Course) -> list[dict[str, str]]:
    """All nodes, as a reply without a stream has them."""
    return [_Entry(run, run.node.name, run.node.status, run.said).thought() for run in course.runs]


def thought_frames(course: Course, *, incremental: bool) -> Iterator[Frame]:
    """The frames; of the last one the text and the reason of its end are missing."""
    usage = ModelUsage()
    entries: dict[str, _Entry] = {}
    yield Frame({}, {})
    said = ""
    for number, step in enumerate(course.steps):
        usage.add(step.run, step.said)
        entries.setdefault(step.run.node_id, _Entry(step.run)).take(step)
        said += step.said.result if step.run.node.speaks else ""
        if _goes_on(step, course.steps[number + 1 : number + 2]):
            continue
        thoughts = [entry.thought() for entry in entries.values()]
        yield Frame({"thoughts": thoughts}, usage.snapshot(), said)
        said = ""
        if incremental:
            for entry in entries.values():
                entry.said = Said()


def _goes_on(step: Step, following: Sequence[Step]) -> bool:
    """Whether the next step is told in the same frame.

    As recorded, the end of a node comes with its last piece, and the beginning of a node with the end
    of another that has said something.
    """
    return any(
        (later.kind == "end" and later.run is step.run)
        or (later.kind == "begin" and step.kind == "end" and step.run.node.type != "Start")
        for later in following
    )


@dataclass
class _Entry:
    """What is known of a node."""

    run: NodeRun
    name: str = ""
    status: str = "executing"
    said: Said = field(default_factory=Said)

    def take(self, step: Step) -> None:
        """Note what the node has done."""
        # As recorded: until a node says something, its id stands for its name.
        self.name = self.run.node_id if step.kind == "begin" else self.run.node.name
        if step.kind == "end":
            self.status = self.run.node.status
        result, reasoning = self.said
        self.said = Said(result + step.said.result, reasoning + step.said.reasoning)

    def thought(self) -> dict[str, str]:
        """An entry of `thoughts`."""
        node = self.run.node
        shown: dict[str, Any] = {"nodeName": self.name}
        if node.inputs is not None:
            shown["nodeInput"] = compact(node.inputs)
        # A Start node has no result in the recording.
        if node.type != "Start" or self.run.said.result:
            shown["nodeResult"] = result_json(self.said, thinks=bool(self.run.said.reasoning))
        shown |= {"nodeType": node.type, "nodeStatus": self.status, "nodeId": self.run.node_id}
        if self.status == "success":
            shown["nodeExecTime"] = f"{node.exec_ms}ms"
        return {"response": compact(shown)}
