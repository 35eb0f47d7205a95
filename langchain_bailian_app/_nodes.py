"""The nodes of a workflow: what each frame tells of them, whichever way the service tells it.

`flow_stream_mode` decides where they stand: in `workflow_message` (one node a frame, always an
increment), or in `thoughts`, as JSON text of each node so far. A node is told when it is first seen and
whenever its status changes; what it has said in between comes with that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_bailian_app import _lenient_json
from langchain_bailian_app._text import TextChannel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_bailian_app._frames import Frame

# The names of the wire, in both spellings, and ours.
_NAMES = {
    "node_id": "node_id",
    "nodeId": "node_id",
    "node_name": "name",
    "nodeName": "name",
    "node_type": "type",
    "nodeType": "type",
    "node_status": "status",
    "nodeStatus": "status",
    "node_msg_seq_id": "sequence",
    "nodeMsgSeqId": "sequence",
    "node_exec_time": "exec_time",
    "nodeExecTime": "exec_time",
    "node_is_completed": "completed",
    "nodeIsCompleted": "completed",
    "parent_node_id": "parent_node_id",
    "parentNodeId": "parent_node_id",
}
_ABOUT = tuple(dict.fromkeys(_NAMES.values()))
_SAID = {"message", "nodeResult", "node_result", "reasoningContent"}
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """A node was first seen, or its status has changed."""

    key: str
    """Distinguishes the event from the others of the answer."""

    value: dict[str, Any]
    """`node_id`, `name`, `type`, `status`, `sequence`, `exec_time`, `completed`, `parent_node_id`,
    `output` and `reasoning` so far, where known, and all else by the names of the wire."""


class Said(NamedTuple):
    """What a frame tells of nodes."""

    events: list[NodeEvent]
    text: str
    """What the nodes whose text is the answer have said."""

    reasoning: str


class Nodes:
    """Follows the nodes of one answer.

    Args:
        answer_node: Whose text is the answer, by id, name or type. Default: End and output nodes.
    """

    def __init__(self, answer_node: str | None = None) -> None:
        self._answer_node = answer_node
        self._nodes: dict[str, _Node] = {}
        self._thinking: _Node | None = None

    def feed(self, frame: Frame, usage: Any, *, last: bool) -> Said:
        """Return what the frame tells.

        Args:
            frame: The frame.
            usage: Its usage snapshot, as for `TextChannel`.
            last: Whether it ends the answer.
        """
        touched = []
        for entry in _entries(frame):
            node = self._nodes.setdefault(_key(entry), _Node(_key(entry)))
            node.read(entry, usage, last=last)
            touched.append(node)
        return self._said(touched)

    def end(self) -> Said:
        """Return what is left to tell when no more frames come."""
        for node in self._nodes.values():
            node.end()
        return self._said(list(self._nodes.values()), over=True)

    def _said(self, nodes: list[_Node], *, over: bool = False) -> Said:
        events: list[NodeEvent] = []
        text = reasoning = ""
        for node in nodes:
            if self._answer_node is None or node.is_called(self._answer_node):
                reasoning += self._thought(node)
            if (
                node.speaks_to_the_user
                if self._answer_node is None
                else node.is_called(self._answer_node)
            ):
                text += node.text.new()
            if node.has_changed or (over and node.has_more):
                events.append(node.event(over=over))
        return Said(events, text, reasoning)

    def _thought(self, node: _Node) -> str:
        """Return new reasoning of a node, set apart from that of another."""
        new = node.reasoning.new()
        if not new:
            return ""
        other = self._thinking not in (None, node)
        self._thinking = node
        return f"\n\n{new}" if other else new


class _Growing:
    """A text that grows, and what of it is new."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._new = 0  # the first piece that was not passed on
        self.length = 0
        self._channel = TextChannel()

    def __str__(self) -> str:
        return "".join(self._pieces)

    def add(self, increment: str) -> None:
        """Take what is known to be an increment."""
        if increment:
            self._pieces.append(increment)
            self.length += len(increment)

    def take(self, text: str, usage: Any, *, last: bool) -> None:
        """Take an increment, or the whole text so far."""
        self.add(self._channel.feed(text, usage=usage, last=last))

    def end(self) -> None:
        """Note that no more comes."""
        self.add(self._channel.end())

    def new(self) -> str:
        """Return what was not passed on yet."""
        new, self._new = self._pieces[self._new :], len(self._pieces)
        return "".join(new)


class _Node:
    def __init__(self, key: str) -> None:
        self._key = key
        self._about: dict[str, Any] = {}
        self._result: Any = None  # what there is besides text
        self.text = _Growing()
        self.reasoning = _Growing()
        self._events = 0
        self._told: tuple[Any, ...] | None = None

    def is_called(self, name: str) -> bool:
        return name in [self._about.get(key) for key in ("node_id", "name", "type")]

    @property
    def speaks_to_the_user(self) -> bool:
        """Whether this is an End or an output node; of the latter no source shows the type."""
        kind = str(self._about.get("type", "")).lower()
        return kind == "end" or "output" in kind

    @property
    def has_changed(self) -> bool:
        """Whether it is new, or its status is another than was told."""
        return self._told is None or self._told[:2] != self._state[:2]

    @property
    def has_more(self) -> bool:
        """Whether it has said something since it was told."""
        return self._told != self._state

    @property
    def _state(self) -> tuple[Any, ...]:
        """Return its status, and how much it has said."""
        about = self._about
        said = (self.text.length, self.reasoning.length, self._result)
        return about.get("status"), about.get("completed"), *said

    def read(self, entry: dict[str, Any], usage: Any, *, last: bool) -> None:
        """Take what a frame tells of this node."""
        for name, value in entry.items():
            if name not in _SAID and value is not None:
                self._about[_NAMES.get(name, name)] = _lenient_json.opened(value)
        completed = self._about.get("completed")
        if isinstance(completed, str):  # dashscope's client has a string, documents a boolean
            self._about["completed"] = _BOOLEANS.get(completed.lower(), completed)
        if "message" in entry:
            self._read_message(entry["message"])
        else:
            last = last or self._about.get("status") == "success"
            self._read_result(entry, usage, last=last)

    def end(self) -> None:
        self.text.end()
        self.reasoning.end()

    def event(self, *, over: bool) -> NodeEvent:
        """Return what is to be told of it; what it has said only when that is over."""
        self._events += 1
        key = f"{self._key}:{self._events}"
        value = {name: self._about[name] for name in _ABOUT if name in self._about} | self._about
        if self._about.get("status") == "executing" and not over:
            self._told = (*self._state[:2], 0, 0, None)
            return NodeEvent(key, value)
        self._told = self._state
        if (output := self._output()) not in (None, "", {}):
            value["output"] = output
        if self.reasoning.length:
            value["reasoning"] = str(self.reasoning)
        return NodeEvent(key, value)

    def _read_message(self, message: Any) -> None:
        content = message.get("content") if isinstance(message, dict) else message
        # What is meant for the user is text, even if it looks like JSON; of the others it is JSON.
        opened = content if self.speaks_to_the_user else _lenient_json.opened(content)
        if isinstance(opened, str):
            self.text.add(opened)
            return
        text, reasoning = self._parted(opened)
        self.text.add(text)
        self.reasoning.add(reasoning)

    def _read_result(self, entry: dict[str, Any], usage: Any, *, last: bool) -> None:
        result = _lenient_json.opened(entry.get("nodeResult", entry.get("node_result")))
        text, reasoning = ("", "") if result is None else self._parted(result)
        reasoning = reasoning or str(entry.get("reasoningContent") or "")
        self.text.take(text, usage, last=last)
        self.reasoning.take(reasoning, usage, last=last)

    def _parted(self, result: Any) -> tuple[str, str]:
        """Return the text and the reasoning of a result, and keep the rest."""
        if isinstance(result, str):
            return result, ""
        if not isinstance(result, dict):
            self._result = result
            return "", ""
        rest = {name: _lenient_json.opened(value) for name, value in result.items()}
        text, reasoning = rest.pop("result", None), rest.pop("reasoningContent", None)
        if not isinstance(text, str):
            if text is not None:
                rest["result"] = text
            text = ""
        if rest:
            self._result = (self._result if isinstance(self._result, dict) else {}) | rest
        return text, reasoning if isinstance(reasoning, str) else ""

    def _output(self) -> Any:
        if isinstance(self._result, dict):
            return self._result | ({"result": str(self.text)} if self.text.length else {})
        return str(self.text) or self._result


def is_node(thought: dict[str, Any]) -> bool:
    """Whether an entry of `thoughts` tells of a node."""
    return _node_of(thought) is not None


def _node_of(thought: dict[str, Any]) -> dict[str, Any] | None:
    if thought.get("action_type") == "reasoning":
        return None
    response = _lenient_json.opened(thought.get("response"))
    if isinstance(response, dict) and not {"nodeId", "nodeName", "node_id"}.isdisjoint(response):
        return response
    return None


def _entries(frame: Frame) -> Iterator[dict[str, Any]]:
    if frame.workflow_message:
        yield frame.workflow_message
    for thought in frame.thoughts:
        if (node := _node_of(thought)) is not None:
            yield node


def _key(entry: dict[str, Any]) -> str:
    names = ("node_id", "nodeId", "node_name", "nodeName", "node_type", "nodeType")
    return next((str(entry[name]) for name in names if entry.get(name)), "node")
