"""The nodes of a workflow: what each frame tells of them, whichever way the service tells it.

`flow_stream_mode` decides where they stand: in `workflow_message` (one node a frame, always an
increment), or in `thoughts`, as JSON text of each node so far. A node is told when it is first seen and
whenever its status changes; what it has said in between comes with that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_bailian_app._answer import wire_json
from langchain_bailian_app._answer.events import NodeEvent
from langchain_bailian_app._answer.workflow_text import NodeText, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_bailian_app._answer.frames import Frame

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
_RESULT = {"result", "reasoningContent"}
_DEEPEST = 50  # levels of JSON inside of text that are opened
_BOOLEANS = {"true": True, "false": False}


class Said(NamedTuple):
    """What a frame tells of nodes."""

    events: list[NodeEvent]
    text: str
    """What the nodes whose text is the answer have said."""

    reasoning: str


NOTHING_SAID = Said([], "", "")


class Nodes:
    """Follows the nodes of one answer.

    Args:
        answer_node: Whose text is the answer, by id, name or type. Default: End and output nodes.
        prefix: What the keys of events begin with, if another reply to the same call has the same.
    """

    def __init__(self, answer_node: str | None = None, prefix: str = "") -> None:
        self._answer_node = answer_node
        self._prefix = prefix
        self._nodes: dict[str, _Node] = {}
        self._verdict = Verdict()
        self._thinking: _Node | None = None

    @property
    def final_node_has_text(self) -> bool:
        """Whether an End node, or the one asked for, has said something."""
        return any(node.text.length and self._is_final(node) for node in self._nodes.values())

    def feed(self, entries: list[dict[str, Any]], *, last: bool) -> Said:
        """Return what the entries of a frame tell; with the last one, all there is to tell."""
        touched = {}
        for entry in entries:
            key = self._prefix + _key(entry)
            node = self._nodes.setdefault(key, _Node(key, self._verdict))
            node.read(entry)
            touched[key] = node
        return self.end() if last else self._said(touched.values(), over=False)

    def end(self) -> Said:
        """Return what is left to tell when no more frames come."""
        for node in self._nodes.values():
            node.text.end()
            node.reasoning.end()
        return self._said(self._nodes.values(), over=True)

    def _said(self, nodes: Iterable[_Node], *, over: bool) -> Said:
        events: list[NodeEvent] = []
        text = reasoning = ""
        for node in nodes:
            if self._answer_node is None:
                thinks, speaks = True, node.speaks_to_the_user
            else:
                thinks = speaks = node.is_called(self._answer_node)
            reasoning += self._reasoned(node) if thinks else ""
            text += node.text.new() if speaks else ""
            if (event := node.event(over=over)) is not None:
                events.append(event)
        return Said(events, text, reasoning)

    def _is_final(self, node: _Node) -> bool:
        return node.is_end if self._answer_node is None else node.is_called(self._answer_node)

    def _reasoned(self, node: _Node) -> str:
        """Return new reasoning of a node, set apart from that of another."""
        new = node.reasoning.new()
        if not new:
            return ""
        other = self._thinking not in (None, node)
        self._thinking = node
        return f"\n\n{new}" if other else new


class _Told(NamedTuple):
    """How a node stood when it was told."""

    status: Any
    completed: Any
    said: tuple[int, int, Any]


class _Node:
    def __init__(self, key: str, verdict: Verdict) -> None:
        self._key = key
        self._about: dict[str, Any] = {}
        self._result: Any = None  # what there is besides text
        self.text = NodeText(verdict)
        self.reasoning = NodeText(verdict)
        self._source: str | None = None
        self._is_json = False  # whether its text came as it is, and may be JSON as a whole
        self._events = 0
        self._told: _Told | None = None

    def is_called(self, name: str) -> bool:
        return name in [str(self._about.get(key)) for key in ("node_id", "name", "type")]

    @property
    def is_end(self) -> bool:
        return str(self._about.get("type", "")).lower() == "end"

    @property
    def speaks_to_the_user(self) -> bool:
        """Whether this is an End or an output node; of the latter no source shows the type."""
        return self.is_end or "output" in str(self._about.get("type", "")).lower()

    def read(self, entry: dict[str, Any]) -> None:
        """Take what a frame tells of this node."""
        was_done = self._about.get("status") == "success"
        for name, value in entry.items():
            if name not in _SAID and value is not None:
                self._about[_NAMES.get(name, name)] = value if name in _NAMES else _opened(value)
        completed = self._about.get("completed")
        if isinstance(completed, str):  # dashscope's client has a string, documents a boolean
            self._about["completed"] = _BOOLEANS.get(completed.lower(), completed)
        source = "message" if "message" in entry else "thoughts"
        self._source = self._source or source
        if source != self._source:
            return  # told in both places
        if source == "message":
            self._read_message(entry["message"])
        elif not was_done:  # the entries of nodes that are done are repeated
            self._read_result(entry)

    def event(self, *, over: bool) -> NodeEvent | None:
        """Return what is to be told of it: that it has begun, or what it has said, once it is over."""
        about = self._about
        said = (self.text.length, self.reasoning.length, self._result)
        state = _Told(about.get("status"), about.get("completed"), said)
        if self._told is not None and (self._told if over else self._told[:2]) == (
            state if over else state[:2]
        ):
            return None
        self._events += 1
        key = f"{self._key}:{self._events}"
        value = {name: about[name] for name in _ABOUT if name in about} | about
        if state.status == "executing" and not over:
            self._told = state._replace(said=(0, 0, None))
            return NodeEvent(key, value)
        self._told = state
        if (output := self._output()) is not None:
            value["output"] = output
        if self.reasoning.length:
            value["reasoning"] = str(self.reasoning)
        return NodeEvent(key, value)

    def _read_message(self, message: Any) -> None:
        content = message.get("content") if isinstance(message, dict) else message
        opened = _opened(content)
        # What is meant for the user is text, even if it looks like JSON.
        if isinstance(content, str) and (
            self.speaks_to_the_user or not (isinstance(opened, dict) and _RESULT & opened.keys())
        ):
            self.text.add(content)
            self._is_json = not self.speaks_to_the_user
            return
        text, reasoning = self._parted(opened)
        self.text.add(text)
        self.reasoning.add(reasoning)

    def _read_result(self, entry: dict[str, Any]) -> None:
        result = _opened(entry.get("nodeResult", entry.get("node_result")))
        text, reasoning = ("", "") if result is None else self._parted(result)
        self.text.take(text)
        self.reasoning.take(reasoning or str(entry.get("reasoningContent") or ""))

    def _parted(self, result: Any) -> tuple[str, str]:
        """Return the text and the reasoning of a result, and keep the rest."""
        if isinstance(result, str):
            return result, ""
        if not isinstance(result, dict):
            self._result = result
            return "", ""
        text, reasoning = (result.get(name) for name in ("result", "reasoningContent"))
        rest = {name: _opened(value) for name, value in result.items() if name not in _RESULT}
        if not isinstance(text, str):
            rest |= {} if text is None else {"result": text}
            text = ""
        if rest:
            self._result = (self._result if isinstance(self._result, dict) else {}) | rest
        return text, reasoning if isinstance(reasoning, str) else ""

    def _output(self) -> Any:
        text = str(self.text)
        if isinstance(self._result, dict):
            return self._result | ({"result": text} if text else {})
        return (_opened(text) if self._is_json else text) or self._result


def parted(frame: Frame) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the entries of a frame about nodes, and its other thoughts."""
    nodes = [frame.workflow_message] if frame.workflow_message else []
    others = []
    for thought in frame.thoughts:
        node = _node_of(thought)
        if node is None:
            others.append(thought)
        else:
            nodes.append(node)
    return nodes, others


def _node_of(thought: dict[str, Any]) -> dict[str, Any] | None:
    if any(thought.get(name) for name in ("action_type", "action", "observation")):
        return None
    response = wire_json.opened(thought.get("response"))
    if isinstance(response, dict) and not {"nodeId", "nodeName", "node_id"}.isdisjoint(response):
        return response
    return None


def _key(entry: dict[str, Any]) -> str:
    names = ("node_id", "nodeId", "node_name", "nodeName", "node_type", "nodeType")
    return next((str(entry[name]) for name in names if entry.get(name)), "node")


def _opened(value: Any) -> Any:
    """Open JSON text, unless it is nested so deeply that the message could not be dumped."""
    opened = wire_json.opened(value)
    return opened if opened is value or _is_shallow(opened) else value


def _is_shallow(value: Any, levels: int = _DEEPEST) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return True
    return levels > 0 and all(_is_shallow(item, levels - 1) for item in value)
