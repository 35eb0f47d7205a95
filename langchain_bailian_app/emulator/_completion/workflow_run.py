"""A workflow runs: its nodes one after the other, or at the same time, and what each of them does.

Pure but for scripts: an app and a turn in, a `Course` out. How it is told is in `workflow_frames`.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from langchain_bailian_app.emulator._apps.app import App
from langchain_bailian_app.emulator._apps.nodes import Node, NodeText, Placed, default_nodes, stages
from langchain_bailian_app.emulator._apps.scripts import reasoning_of, reply_of, text_of
from langchain_bailian_app.emulator._apps.turn import Reply, Turn
from langchain_bailian_app.emulator._completion.workflow_variables import filled
from langchain_bailian_app.emulator.text import TokenCounter, cut


class Said(NamedTuple):
    """What a node says and thinks, or a piece of it."""

    result: str = ""
    reasoning: str = ""


@dataclass(frozen=True, eq=False)
class NodeRun:
    """A node that has run.

    Attributes:
        node: The node.
        node_id: Its id.
        reply: What it said; `reasoning` is what it thought.
        model_id: The model it asked, if any.
        input_tokens: What that model read.
        repeated: The LLM node of which it only repeats the result.
    """

    node: Node
    node_id: str
    reply: Reply
    model_id: str | None = None
    input_tokens: int = 0
    repeated: "NodeRun | None" = None

    @property
    def said(self) -> Said:
        """All it said."""
        return Said(self.reply.text, self.reply.reasoning or "")

    def pieces(self) -> Iterator[Said]:
        """What it said, in the pieces in which a stream has it."""
        if not self.node.comes_in_pieces:
            yield self.said
            return
        for piece in cut(self.said.reasoning):
            yield Said(reasoning=piece)
        for piece in cut(self.said.result) if self.reply.pieces is None else self.reply.pieces:
            yield Said(piece)


class Step(NamedTuple):
    """One thing that a node does."""

    run: NodeRun
    kind: Literal["begin", "piece", "end"]
    said: Said = Said()


@dataclass(frozen=True)
class Course:
    """A workflow that has run.

    Attributes:
        runs: The nodes that were reached, in order.
        steps: What they did, in the order of time.
        variables: The variables it was given.
        final_text: Instead of the text it would have.
    """

    runs: Sequence[NodeRun]
    steps: Sequence[Step]
    variables: Mapping[str, Any]
    final_text: str | None = None

    @property
    def stopped(self) -> bool:
        """Whether it ended before its end."""
        return any(run.node.status != "success" for run in self.runs)

    @property
    def text(self) -> str:
        """The text of the reply: what its End node says, or its last node if it has none."""
        if self.final_text is not None:
            return self.final_text
        if self.stopped or not self.runs:
            return ""
        last = next((run for run in reversed(self.runs) if run.node.type == "End"), self.runs[-1])
        return last.said.result

    @property
    def finish_reason(self) -> str:
        """How the reply ends: as a script of one of its nodes says."""
        reasons = [run.reply.finish_reason for run in self.runs]
        return next((reason for reason in reasons if reason != "stop"), "stop")


def run_workflow(app: App, turn: Turn) -> Course:
    """Run the workflow of an app.

    Raises:
        RequestRefused: A script failed.
    """
    values = _values(turn)
    runs: list[NodeRun] = []
    steps: list[Step] = []
    for stage in stages(app.nodes or default_nodes()):
        together = [_run(app, turn, place, values, runs) for place in stage]
        steps.extend(_interleaved(together))
        runs.extend(together)
        for run in together:
            values |= {run.node.name: run.said.result, run.node_id: run.said.result}
        if any(run.node.status != "success" for run in together):
            break
    return Course(runs, steps, turn.biz_params, app.final_text)


def _values(turn: Turn) -> dict[str, Any]:
    """What templates may name before any node has run."""
    history = [{"role": "system", "content": turn.system}] if turn.system else []
    for past in turn.history:
        history.append({"role": "user", "content": past.prompt})
        history.append({"role": "assistant", "content": past.answer})
    return {**turn.biz_params, "sys.query": turn.prompt, "historyList": history}


def _run(
    app: App, turn: Turn, place: Placed, values: Mapping[str, Any], before: Sequence[NodeRun]
) -> NodeRun:
    node, node_id = place
    if node.is_model:
        return NodeRun(
            node,
            node_id,
            _asked(app, turn, node, values),
            node.model_id or app.model_id,
            TokenCounter(turn.prompt).tokens,
        )
    models = [run for run in before if run.node.is_model]
    if node.text is not None:
        text = _text(node.text, turn, values)
    elif node.type == "End":
        text = "".join(run.said.result for run in (models or before)[-1:])
    else:
        text = ""
    same = [run for run in models if run.said.result == text] if text and node.type == "End" else []
    return NodeRun(node, node_id, Reply(text), repeated=same[0] if same else None)


def _asked(app: App, turn: Turn, node: Node, values: Mapping[str, Any]) -> Reply:
    """What an LLM node says, and what it thought, nothing left open."""
    if node.text is None:
        # Without a template it was not given the rounds before; a script takes what it wants.
        shown = turn if callable(app.answer) else replace(turn, history=())
        reply = reply_of(app, shown, cites=False)
        reply = replace(reply, reasoning=reasoning_of(reply, shown))
    else:
        reply = Reply(_text(node.text, turn, values), reasoning="")
    if node.reasoning is not None:
        thinks = app.thinking != "hybrid" or turn.thinking
        reply = replace(reply, reasoning=_text(node.reasoning, turn, values) if thinks else "")
    return reply


def _text(text: NodeText, turn: Turn, values: Mapping[str, Any]) -> str:
    return filled(text, values) if isinstance(text, str) else text_of(text, turn)


def _interleaved(runs: Iterable[NodeRun]) -> Iterator[Step]:
    """What nodes do that run at the same time: one step of each in turn."""
    rounds = itertools.zip_longest(*map(_steps, runs))
    return (step for together in rounds for step in together if step is not None)


def _steps(run: NodeRun) -> Iterator[Step]:
    if run.node.is_model:
        yield Step(run, "begin")
    for said in run.pieces():
        yield Step(run, "piece", said)
    yield Step(run, "end")
