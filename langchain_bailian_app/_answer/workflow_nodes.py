"""Reader of workflow nodes, in each format that the service uses.

`flow_stream_mode` determines which field contains the nodes: `workflow_message` (one node per frame,
always an increment) or `thoughts` (JSON text for each node so far). A node is reported when it is first
seen and whenever its status changes. The report contains the output so far, unless the node is
still executing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_bailian_app._answer import wire_json
from langchain_bailian_app._answer.events import NodeEvent
from langchain_bailian_app._answer.workflow_text import NodeTextReader, SharedStreamMode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_bailian_app._answer.frames import Frame

# Wire names, in both spellings, and the names used here.
_STANDARD_NAMES = {
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
_STANDARD_FIELDS = tuple(dict.fromkeys(_STANDARD_NAMES.values()))
_CONTENT_FIELDS = {"message", "nodeResult", "node_result", "reasoningContent"}
_RESULT_FIELDS = {"result", "reasoningContent"}
_MAX_JSON_DEPTH = 50  # levels; more deeply nested JSON text is not parsed
_BOOLEANS = {"true": True, "false": False}


class NodeUpdate(NamedTuple):
    """Events, text and reasoning that a frame adds."""

    events: list[NodeEvent]
    text: str
    """New text of the node that provides the answer."""

    reasoning: str


NO_UPDATE = NodeUpdate([], "", "")


class WorkflowReader:
    """Tracks the nodes of one answer.

    Args:
        answer_node: Id, name or type of the node that provides the answer. Default: the End node.
        key_prefix: Prefix of the event keys, needed if an earlier response to the same call used the
            same keys.
    """

    def __init__(self, answer_node: str | None = None, key_prefix: str = "") -> None:
        self._answer_node = answer_node
        self._key_prefix = key_prefix
        self._nodes: dict[str, _Node] = {}
        self._stream_mode = SharedStreamMode()
        self._reasoning_node: _Node | None = None

    def feed(self, entries: list[dict[str, Any]], *, last: bool) -> NodeUpdate:
        """Return the update from the entries of a frame; the last frame also flushes pending text."""
        updated = {}
        for entry in entries:
            key = self._key_prefix + _node_key(entry)
            node = self._nodes.setdefault(key, _Node(key, self._stream_mode))
            node.read(entry)
            updated[key] = node
        return self.end() if last else self._collect_update(updated.values(), ended=False)

    def end(self) -> NodeUpdate:
        """Return the remaining update after the last frame."""
        for node in self._nodes.values():
            node.text.end()
            node.reasoning.end()
        return self._collect_update(self._nodes.values(), ended=True)

    def _collect_update(self, nodes: Iterable[_Node], *, ended: bool) -> NodeUpdate:
        events: list[NodeEvent] = []
        text = reasoning = ""
        for node in nodes:
            if self._answer_node is None:
                # Output nodes are events only: the final text is that of the End node.
                emits_reasoning = True
                # The final text, if there is one, is then all of the result, as JSON.
                emits_text = node.is_end and (ended or not node.has_json_result)
            else:
                emits_reasoning = emits_text = node.matches(self._answer_node)
            reasoning += self._new_reasoning(node) if emits_reasoning else ""
            text += node.text.take_new() if emits_text else ""
            if (event := node.next_event(ended=ended)) is not None:
                events.append(event)
        return NodeUpdate(events, text, reasoning)

    def _new_reasoning(self, node: _Node) -> str:
        """Return the new reasoning of a node; a blank line separates it from that of other nodes."""
        new = node.reasoning.take_new()
        if not new:
            return ""
        is_other_node = self._reasoning_node not in (None, node)
        self._reasoning_node = node
        return f"\n\n{new}" if is_other_node else new


class _ReportedState(NamedTuple):
    """The state of a node when it was last reported."""

    status: Any
    completed: Any
    content: tuple[int, int, Any]


class _Node:
    def __init__(self, key: str, stream_mode: SharedStreamMode) -> None:
        self._key = key
        self._fields: dict[str, Any] = {}
        self._non_text_result: Any = None  # the result without its text
        self.text = NodeTextReader(stream_mode)
        self.reasoning = NodeTextReader(stream_mode)
        self._source: str | None = None
        self._text_may_be_json = False  # whether `text` is verbatim and may be JSON
        self._event_count = 0
        self._reported: _ReportedState | None = None

    def matches(self, name: str) -> bool:
        return name in [str(self._fields.get(key)) for key in ("node_id", "name", "type")]

    @property
    def is_end(self) -> bool:
        return str(self._fields.get("type", "")).lower() == "end"

    @property
    def has_json_result(self) -> bool:
        """Whether the result has fields other than its text, so that its text is only part of it."""
        return isinstance(self._non_text_result, dict)

    @property
    def has_user_text(self) -> bool:
        """Whether this is an End node or an output node; clients show `Output` as the type of those."""
        return self.is_end or "output" in str(self._fields.get("type", "")).lower()

    def read(self, entry: dict[str, Any]) -> None:
        """Update the node from its entry in a frame."""
        was_completed = self._fields.get("status") == "success"
        for name, value in entry.items():
            if name not in _CONTENT_FIELDS and value is not None:
                self._fields[_STANDARD_NAMES.get(name, name)] = (
                    value if name in _STANDARD_NAMES else _parse_nested(value)
                )
        completed = self._fields.get("completed")
        if isinstance(completed, str):  # a string in dashscope's client, a boolean in the documentation
            self._fields["completed"] = _BOOLEANS.get(completed.lower(), completed)
        source = "message" if "message" in entry else "thoughts"
        self._source = self._source or source
        if source != self._source:
            return  # the service reports the node in both fields
        if source == "message":
            self._read_message(entry["message"])
        elif not was_completed:  # entries of finished nodes are repeated
            self._read_result(entry)

    def next_event(self, *, ended: bool) -> NodeEvent | None:
        """Return an event if the status has changed or, at the end of the answer, the content."""
        fields = self._fields
        content = (self.text.length, self.reasoning.length, self._non_text_result)
        state = _ReportedState(fields.get("status"), fields.get("completed"), content)
        if self._reported is not None and (self._reported if ended else self._reported[:2]) == (
            state if ended else state[:2]
        ):
            return None
        self._event_count += 1
        key = f"{self._key}:{self._event_count}"
        value = {name: fields[name] for name in _STANDARD_FIELDS if name in fields} | fields
        if state.status == "executing" and not ended:
            self._reported = state._replace(content=(0, 0, None))
            return NodeEvent(key, value)
        self._reported = state
        if (output := self._build_output()) is not None:
            value["output"] = output
        if self.reasoning.length:
            value["reasoning"] = str(self.reasoning)
        return NodeEvent(key, value)

    def _read_message(self, message: Any) -> None:
        content = message.get("content") if isinstance(message, dict) else message
        parsed = _parse_nested(content)
        # Text for the user stays text, even if it looks like JSON.
        if isinstance(content, str) and (
            self.has_user_text or not (isinstance(parsed, dict) and _RESULT_FIELDS & parsed.keys())
        ):
            self.text.add(content)
            self._text_may_be_json = not self.has_user_text
            return
        text, reasoning = self._split_result(parsed)
        self.text.add(text)
        self.reasoning.add(reasoning)

    def _read_result(self, entry: dict[str, Any]) -> None:
        result = _parse_nested(entry.get("nodeResult", entry.get("node_result")))
        text, reasoning = ("", "") if result is None else self._split_result(result)
        self.text.add_unclassified(text)
        self.reasoning.add_unclassified(reasoning or str(entry.get("reasoningContent") or ""))

    def _split_result(self, result: Any) -> tuple[str, str]:
        """Return the text and the reasoning of a result, and store its other fields."""
        if isinstance(result, str):
            return result, ""
        if not isinstance(result, dict):
            self._non_text_result = result
            return "", ""
        text, reasoning = (result.get(name) for name in ("result", "reasoningContent"))
        other_fields = {
            name: _parse_nested(value) for name, value in result.items() if name not in _RESULT_FIELDS
        }
        if not isinstance(text, str):
            other_fields |= {} if text is None else {"result": text}
            text = ""
        if other_fields:
            self._non_text_result = (
                self._non_text_result if isinstance(self._non_text_result, dict) else {}
            ) | other_fields
        return text, reasoning if isinstance(reasoning, str) else ""

    def _build_output(self) -> Any:
        text = str(self.text)
        if isinstance(self._non_text_result, dict):
            return self._non_text_result | ({"result": text} if text else {})
        return (_parse_nested(text) if self._text_may_be_json else text) or self._non_text_result


def split_node_entries(frame: Frame) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the node entries of a frame and its other thoughts."""
    node_entries = [frame.workflow_message] if frame.workflow_message else []
    other_thoughts = []
    for thought in frame.thoughts:
        node_entry = _node_from_thought(thought)
        if node_entry is None:
            other_thoughts.append(thought)
        else:
            node_entries.append(node_entry)
    return node_entries, other_thoughts


def _node_from_thought(thought: dict[str, Any]) -> dict[str, Any] | None:
    if any(thought.get(name) for name in ("action_type", "action", "observation")):
        return None
    response = wire_json.parse_nested(thought.get("response"))
    if isinstance(response, dict) and not {"nodeId", "nodeName", "node_id"}.isdisjoint(response):
        reasoning = thought.get("reasoning_content")
        return {"reasoningContent": reasoning} | response if reasoning else response
    return None


def _node_key(entry: dict[str, Any]) -> str:
    names = ("node_id", "nodeId", "node_name", "nodeName", "node_type", "nodeType")
    return next((str(entry[name]) for name in names if entry.get(name)), "node")


def _parse_nested(value: Any) -> Any:
    """Parse JSON text, unless it is nested too deeply for the message to be serialized."""
    parsed = wire_json.parse_nested(value)
    return parsed if parsed is value or _is_within_depth(parsed) else value


def _is_within_depth(value: Any, levels: int = _MAX_JSON_DEPTH) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return True
    return levels > 0 and all(_is_within_depth(item, levels - 1) for item in value)
