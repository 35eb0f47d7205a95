"""Nodes of a workflow, with their console settings.

Only data. `workflow_run` runs the nodes.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from langchain_bailian_app.emulator._apps.turn import Turn

NodeText: TypeAlias = str | Callable[[Turn], str]
"""A template, or a function that takes a `Turn`. The function runs on the server's thread, so it must
not block."""

OUTPUT_NODE_TYPES = frozenset({"End", "Output"})
"""Types of nodes whose text is shown to the user."""


@dataclass(eq=False)
class Node:
    """A node of a workflow.

    In a template, `${name}` stands for a variable of `biz_params`, or for the result of the earlier
    node with this name or id. `${sys.query}` stands for the question. `${historyList}` stands for the
    system prompt and the earlier rounds, as JSON. Values other than strings are inserted as JSON.
    Placeholders with unknown names are left unchanged.

    Args:
        name: Name in the console.
        type: `Start`, `LLM` (default), `Output`, `End`, or any other type.
        text: Result of the node: a template, or a function that takes a `Turn`. By default, an LLM
            node returns the app's answer. An End node repeats the result of the last LLM node, or of
            the previous node if there is no LLM node. Other nodes have an empty result.
        reasoning: Reasoning of an LLM node: a template, or a function that takes a `Turn`. In a
            `hybrid` app, it is used only if thinking is on. By default, a node that returns the app's
            answer also returns the app's reasoning.
        node_id: Id of the node. Default: its type and position, for example `LLM_2`.
        model_id: Model id of an LLM node in `usage`. Default: that of the app.
        status: Final status: `success` (default), `failed` or `paused`. A node that fails or pauses
            ends the workflow without text.
        streams: The console switch 流式输出 (streaming output) of LLM, End and Output nodes. If it is
            off, the text is sent in one block. Default: True.
        returns: The console switch 结果返回 (return the result), which applies to `agent_format`.
            Default: on for LLM, End and Output nodes, off for other nodes.
        exec_ms: Reported execution time in milliseconds. It does not delay the response. Default: 1.
        parallel: Whether the node runs at the same time as the previous node. Neither node can use the
            result of the other. Default: False.
        inputs: Reported inputs. In `full_thoughts`, they are a JSON string under `nodeInput`, a key
            that no source confirms. In `message_format_plus`, a Start node reports them instead of
            the variables.

    Raises:
        TypeError: `text` or `reasoning` is neither a str nor a function.
    """

    name: str
    type: str = "LLM"
    text: NodeText | None = None
    reasoning: NodeText | None = None
    node_id: str = ""
    model_id: str | None = None
    status: Literal["success", "failed", "paused"] = "success"
    streams: bool = True
    returns: bool | None = None
    exec_ms: int = 1
    parallel: bool = False
    inputs: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Reject invalid arguments here, not at the first request."""
        for name in ("text", "reasoning"):
            value: object = getattr(self, name)
            if not (value is None or isinstance(value, str) or callable(value)):
                message = (
                    f"invalid `{name}` of a node: expected a template or a function that takes a"
                    f" `Turn`, got {value!r}"
                )
                raise TypeError(message)

    @property
    def is_model(self) -> bool:
        """Whether the node calls a model."""
        return self.type == "LLM"

    @property
    def speaks(self) -> bool:
        """Whether the text of the node is shown to the user."""
        return self.type in OUTPUT_NODE_TYPES

    @property
    def comes_in_pieces(self) -> bool:
        """Whether the result is streamed; nodes that only compute return their result in one block."""
        return self.streams and (self.is_model or self.speaks)

    @property
    def is_returned(self) -> bool:
        """Whether `agent_format` contains the text of the node."""
        return self.is_model or self.speaks if self.returns is None else self.returns


class NumberedNode(NamedTuple):
    """A node with its id in the workflow."""

    node: Node
    node_id: str


def default_nodes() -> list[Node]:
    """Build the smallest workflow that answers: its End node repeats the text of an LLM node."""
    return [Node("开始", "Start", exec_ms=0), Node("大模型_1", "LLM"), Node("结束", "End")]


def number_nodes(nodes: Iterable[Node]) -> list[NumberedNode]:
    """Pair every node with its id, which is its type and position by default."""
    return [
        NumberedNode(node, node.node_id or f"{node.type}_{position}")
        for position, node in enumerate(nodes, start=1)
    ]


def check_unique_ids(nodes: Iterable[Node]) -> None:
    """Check that clients can distinguish the nodes.

    Raises:
        ValueError: Two nodes have the same id.
    """
    ids = [node_id for _, node_id in number_nodes(nodes)]
    if len(set(ids)) < len(ids):
        message = f"duplicate node id in {ids}: set a unique `node_id` for each node"
        raise ValueError(message)


def group_by_stage(nodes: Iterable[Node]) -> list[list[NumberedNode]]:
    """Group the nodes by stage, in order; the nodes of a stage run at the same time."""
    groups: list[list[NumberedNode]] = []
    for numbered_node in number_nodes(nodes):
        if numbered_node.node.parallel and groups:
            groups[-1].append(numbered_node)
        else:
            groups.append([numbered_node])
    return groups
