"""Events that a frame adds to an answer.

`assembler` emits them and `answer` stores them. `chat_models._messages` converts each kind to chunks
and messages, and `chat_models._content_blocks` to content blocks. `display._parts` converts them to
parts, which `display._html` and `display._terminal` render.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


# Not frozen: a stream creates thousands of them, and creating a frozen dataclass takes twice as long.
@dataclass(slots=True)
class TextDelta:
    """A piece of the text of the answer."""

    text: str


@dataclass(slots=True)
class ReasoningDelta:
    """A piece of the model's reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class StepCall:
    """The start of a step."""

    id: str
    name: str
    args: dict[str, Any]
    kind: str | None = None
    """`"retrieval"`, `"memory"` or `"plugin"`; None for an undocumented kind."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of a step. The entry contains the observation, if there is one."""

    call_id: str
    entry: dict[str, Any]
    """The entry of `thoughts`; if it arrived in pieces, they are joined."""

    status: Literal["success", "error"] = "success"
    """`"error"` if an MCP tool failed, or if the answer was interrupted before the observation was
    complete."""


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """The first appearance of a workflow node, or a change of its status."""

    key: str
    """Key of the event, unique in the answer."""

    value: dict[str, Any]
    """Fields of the node that are known so far: `node_id`, `name`, `type`, `status`, `sequence`,
    `exec_time`, `completed`, `parent_node_id`, `output`, `reasoning`, and others under their wire
    names."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call in an answer. A call with a `problem` cannot be run."""

    name: str | None
    args: dict[str, Any]
    text: str
    """The call as written in the answer, with a closing tag added if it had none."""

    id: str
    index: int
    """Position among the calls of the answer, from 0."""

    problem: str | None = None


Delta = TextDelta | ReasoningDelta | StepCall | StepResult | NodeEvent | ToolCall
