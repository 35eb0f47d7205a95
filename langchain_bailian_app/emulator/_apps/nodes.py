"""The nodes of a workflow, as its console describes them. Only data.

What becomes of them when a workflow runs is in `workflow_run`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from langchain_bailian_app.emulator._apps.turn import Turn

NodeText: TypeAlias = str | Callable[[Turn], str]
"""A template, or a function that is called on the server's thread, so it must not block."""

OUTPUT_NODE_TYPES = frozenset({"End", "Output"})
"""Types of nodes whose text is meant for the user."""


@dataclass(eq=False)
class Node:
    """A node of a workflow.

    A template has `${name}` for a variable of `biz_params` or the result of an earlier node (by its
    name or id), `${sys.query}` for the prompt, and `${historyList}` for the rounds before as JSON.
    What is no text is filled in as JSON; a name that nothing has stays as it is.

    Args:
        name: Its name in the console.
        type: `Start`, `LLM`, `Output`, `End`, or any other.
        text: Its result. Without one, an LLM node says what its app says, an End node repeats the
            last LLM node, or the node before it where there is none; any other has none.
        reasoning: What an LLM node thinks before it speaks; in an app that is `hybrid`, only while
            thinking is on. Without one, a node that says what its app says also thinks what it thinks.
        node_id: Its id; made of its type and its position when not given, like `LLM_2`.
        model_id: The model of an LLM node in `usage`; the app's when not given.
        status: What becomes of it; a workflow ends where a node fails or pauses, without a text.
        streams: The switch 流式输出 of LLM, End and Output nodes; off, its text is one block.
        returns: The switch 结果返回, for `agent_format`; when not given, on for LLM, End and Output.
        exec_ms: How long it says it took.
        parallel: Run it at the same time as the node before it. Neither has the other's result.
        inputs: What it was given, as JSON text under `nodeInput` in `full_thoughts`, a name that no
            source tells. A Start node shows it instead of the variables in `message_format_plus`.
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
        """Say at once what would otherwise go wrong at the first request."""
        for name in ("text", "reasoning"):
            value: object = getattr(self, name)
            if not (value is None or isinstance(value, str) or callable(value)):
                message = f"`{name}` of a node is a template or a function of the turn, not {value!r}"
                raise TypeError(message)

    @property
    def is_model(self) -> bool:
        """Whether it asks a model."""
        return self.type == "LLM"

    @property
    def speaks(self) -> bool:
        """Whether its text is meant for the user."""
        return self.type in OUTPUT_NODE_TYPES

    @property
    def comes_in_pieces(self) -> bool:
        """Whether its text is streamed; nodes that only compute tell their result in one block."""
        return self.streams and (self.is_model or self.speaks)

    @property
    def is_returned(self) -> bool:
        """Whether `agent_format` has its text."""
        return self.is_model or self.speaks if self.returns is None else self.returns


class NumberedNode(NamedTuple):
    """A node with the id it has in its workflow."""

    node: Node
    node_id: str


def default_nodes() -> list[Node]:
    """The smallest workflow that answers: an End node that repeats what an LLM node says."""
    return [Node("开始", "Start", exec_ms=0), Node("大模型_1", "LLM"), Node("结束", "End")]


def number_nodes(nodes: Iterable[Node]) -> list[NumberedNode]:
    """Give every node its id."""
    return [
        NumberedNode(node, node.node_id or f"{node.type}_{position}")
        for position, node in enumerate(nodes, start=1)
    ]


def check_unique_ids(nodes: Iterable[Node]) -> None:
    """Refuse nodes that clients could not tell apart.

    Raises:
        ValueError: Two nodes have the same id.
    """
    ids = [node_id for _, node_id in number_nodes(nodes)]
    if len(set(ids)) < len(ids):
        message = f"two nodes of a workflow have the same id: {ids}"
        raise ValueError(message)


def group_by_stage(nodes: Iterable[Node]) -> list[list[NumberedNode]]:
    """The nodes in the order in which they run; those of a stage run at the same time."""
    groups: list[list[NumberedNode]] = []
    for numbered_node in number_nodes(nodes):
        if numbered_node.node.parallel and groups:
            groups[-1].append(numbered_node)
        else:
            groups.append([numbered_node])
    return groups
