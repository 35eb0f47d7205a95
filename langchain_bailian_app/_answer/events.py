"""Events: what a frame adds to an answer.

`assembler` emits them and `answer` keeps them. `chat_models._messages` puts each kind into chunks and
messages, `chat_models._content_blocks` into content blocks. `display._parts` makes parts of them, which
`display._html` and `display._terminal` lay out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


# These two come by the thousand: a frozen class would be made at half the speed.
@dataclass(slots=True)
class TextDelta:
    """More of the answer."""

    text: str


@dataclass(slots=True)
class ReasoningDelta:
    """More of the model's reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class StepCall:
    """A step has begun."""

    id: str
    name: str
    args: dict[str, Any]
    kind: str | None = None
    """`"retrieval"`, `"memory"` or `"plugin"`; None for a kind that no source shows."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """A step has its observation, or will not get one."""

    call_id: str
    entry: dict[str, Any]
    """The entry of `thoughts`, verbatim."""


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """A node was first seen, or its status has changed."""

    key: str
    """Distinguishes the event from the others of the answer."""

    value: dict[str, Any]
    """`node_id`, `name`, `type`, `status`, `sequence`, `exec_time`, `completed`, `parent_node_id`,
    `output` and `reasoning` so far, where known, and all else by the names of the wire."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that an answer makes. With a `problem` it cannot be run."""

    name: str | None
    args: dict[str, Any]
    text: str
    """The call as it stands in the answer, with a closing tag where it had none."""

    id: str
    index: int
    """Its place among the calls of the answer, from 0."""

    problem: str | None = None


Delta = TextDelta | ReasoningDelta | StepCall | StepResult | NodeEvent | ToolCall
