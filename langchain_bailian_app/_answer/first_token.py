"""Detection of the first token of a response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_bailian_app._answer.reasoning import is_reasoning, read_reasoning

if TYPE_CHECKING:
    from langchain_bailian_app._answer.frames import Frame


def has_token(frame: Frame) -> bool:
    """Return whether a frame of an application contains text, reasoning, a step or a workflow node.

    While a model thinks, the service may send many frames without any of these.
    """
    return bool(frame.text or frame.workflow_message) or any(map(_has_content, frame.thoughts))


def _has_content(thought: dict[str, Any]) -> bool:
    return bool(read_reasoning(thought)[0]) if is_reasoning(thought) else any(thought.values())
