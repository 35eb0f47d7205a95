"""Execution of a workflow: the results of its nodes, and their events in chronological order.

Pure except for scripts: builds a `WorkflowRun` from an app and a turn. `workflow_frames` renders it.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from langchain_bailian_app.emulator._apps.app import App
from langchain_bailian_app.emulator._apps.nodes import (
    Node,
    NodeText,
    NumberedNode,
    default_nodes,
    group_by_stage,
)
from langchain_bailian_app.emulator._apps.scripts import build_reasoning, build_reply, run_text_script
from langchain_bailian_app.emulator._apps.turn import Reply, Turn
from langchain_bailian_app.emulator._completion.workflow_variables import fill_template
from langchain_bailian_app.emulator.text import TokenCounter, split_into_pieces


class NodeOutput(NamedTuple):
    """Text and reasoning of a node, or a piece of them."""

    result: str = ""
    reasoning: str = ""


@dataclass(frozen=True, eq=False)
class NodeRun:
    """A node that has run.

    Attributes:
        node: The node.
        node_id: Id of the node in the workflow.
        reply: Text and reasoning of the node.
        model_id: Id of the model that the node called, if any.
        input_tokens: Input tokens of the call to the model.
        repeated_run: The LLM node whose result this node only repeats, if any.
    """

    node: Node
    node_id: str
    reply: Reply
    model_id: str | None = None
    input_tokens: int = 0
    repeated_run: "NodeRun | None" = None

    @property
    def output(self) -> NodeOutput:
        """The complete output."""
        return NodeOutput(self.reply.text, self.reply.reasoning or "")

    def split_output(self) -> Iterator[NodeOutput]:
        """Yield the output in the pieces of a stream."""
        if not self.node.comes_in_pieces:
            yield self.output
            return
        for piece in split_into_pieces(self.output.reasoning):
            yield NodeOutput(reasoning=piece)
        for piece in (
            split_into_pieces(self.output.result) if self.reply.pieces is None else self.reply.pieces
        ):
            yield NodeOutput(piece)


class RunEvent(NamedTuple):
    """One event of a node."""

    run: NodeRun
    kind: Literal["start", "output", "end"]
    output: NodeOutput = NodeOutput()


@dataclass(frozen=True)
class WorkflowRun:
    """A workflow that has run.

    Attributes:
        node_runs: The nodes that were reached, in order.
        events: The events of these nodes, in chronological order.
        variables: The variables of the request.
        final_text: Text that replaces the computed text.
    """

    node_runs: Sequence[NodeRun]
    events: Sequence[RunEvent]
    variables: Mapping[str, Any]
    final_text: str | None = None

    @property
    def stopped_early(self) -> bool:
        """Whether a node failed or paused."""
        return any(run.node.status != "success" for run in self.node_runs)

    @property
    def text(self) -> str:
        """Text of the reply: that of the last End node, or of the last node if there is no End node."""
        if self.final_text is not None:
            return self.final_text
        if self.stopped_early or not self.node_runs:
            return ""
        last = next(
            (run for run in reversed(self.node_runs) if run.node.type == "End"), self.node_runs[-1]
        )
        return last.output.result

    @property
    def finish_reason(self) -> str:
        """The first finish reason of a node that is not `stop`; `stop` if there is none."""
        reasons = [run.reply.finish_reason for run in self.node_runs]
        return next((reason for reason in reasons if reason != "stop"), "stop")


def run_workflow(app: App, turn: Turn) -> WorkflowRun:
    """Run the workflow of an app.

    Raises:
        RequestRefused: A script failed.
    """
    values = _build_initial_values(turn)
    node_runs: list[NodeRun] = []
    events: list[RunEvent] = []
    for stage in group_by_stage(app.nodes or default_nodes()):
        stage_runs = [_run_node(app, turn, numbered_node, values, node_runs) for numbered_node in stage]
        events.extend(_interleave_events(stage_runs))
        node_runs.extend(stage_runs)
        for run in stage_runs:
            values |= {run.node.name: run.output.result, run.node_id: run.output.result}
        if any(run.node.status != "success" for run in stage_runs):
            break
    return WorkflowRun(node_runs, events, turn.biz_params, app.final_text)


def _build_initial_values(turn: Turn) -> dict[str, Any]:
    """Return the values that templates can use before any node has run."""
    history = [{"role": "system", "content": turn.system}] if turn.system else []
    for past_round in turn.history:
        history.append({"role": "user", "content": past_round.prompt})
        history.append({"role": "assistant", "content": past_round.answer})
    return {**turn.biz_params, "sys.query": turn.prompt, "historyList": history}


def _run_node(
    app: App,
    turn: Turn,
    numbered_node: NumberedNode,
    values: Mapping[str, Any],
    previous_runs: Sequence[NodeRun],
) -> NodeRun:
    node, node_id = numbered_node
    if node.is_model:
        return NodeRun(
            node,
            node_id,
            _run_model(app, turn, node, values),
            node.model_id or app.model_id,
            TokenCounter(turn.prompt).tokens,
        )
    model_runs = [run for run in previous_runs if run.node.is_model]
    if node.text is not None:
        text = _render_text(node.text, turn, values)
    elif node.type == "End":
        text = "".join(run.output.result for run in (model_runs or previous_runs)[-1:])
    else:
        text = ""
    identical_runs = (
        [run for run in model_runs if run.output.result == text] if text and node.type == "End" else []
    )
    return NodeRun(
        node, node_id, Reply(text), repeated_run=identical_runs[0] if identical_runs else None
    )


def _run_model(app: App, turn: Turn, node: Node, values: Mapping[str, Any]) -> Reply:
    """Return the reply of an LLM node, with all defaults filled in."""
    if node.text is None:
        # Without `${historyList}`, an LLM node has no access to earlier rounds. A script always does.
        visible_turn = turn if callable(app.answer) else replace(turn, history=())
        reply = build_reply(app, visible_turn, cite=False)
        reply = replace(reply, reasoning=build_reasoning(reply, visible_turn))
    else:
        reply = Reply(_render_text(node.text, turn, values), reasoning="")
    if node.reasoning is not None:
        is_thinking = app.thinking != "hybrid" or turn.thinking
        reply = replace(
            reply, reasoning=_render_text(node.reasoning, turn, values) if is_thinking else ""
        )
    return reply


def _render_text(text: NodeText, turn: Turn, values: Mapping[str, Any]) -> str:
    return fill_template(text, values) if isinstance(text, str) else run_text_script(text, turn)


def _interleave_events(runs: Iterable[NodeRun]) -> Iterator[RunEvent]:
    """Return the events of nodes that run at the same time: one event of each node in turn."""
    events_by_position = itertools.zip_longest(*map(_iter_node_events, runs))
    return (event for events in events_by_position for event in events if event is not None)


def _iter_node_events(run: NodeRun) -> Iterator[RunEvent]:
    if run.node.is_model:
        yield RunEvent(run, "start")
    for output in run.split_output():
        yield RunEvent(run, "output", output)
    yield RunEvent(run, "end")
