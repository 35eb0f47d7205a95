"""Detection of the first token of a response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_bailian_app._answer.reasoning import is_reasoning, read_reasoning

if TYPE_CHECKING:
    from langchain_bailian_app._answer.frames import Frame


def has_token(frame: Frame) -> bool:
    """Return whether a frame contains text, reasoning, a step or a workflow node.

    While a model thinks, the service may send many frames without any of these.
    """
    if frame.text or frame.workflow_message or any(map(_has_content, frame.thoughts)):
        return True
    # A chat service has the messages of its agent here.
    choices = frame.extra.get("output", {}).get("choices") if frame.extra else None
    return isinstance(choices, list) and any(map(_has_message, choices))


def _has_content(thought: dict[str, Any]) -> bool:
    return bool(read_reasoning(thought)[0]) if is_reasoning(thought) else any(thought.values())


def _has_message(choice: Any) -> bool:
    message = choice.get("message") if isinstance(choice, dict) else None
    return isinstance(message, dict) and bool(message.get("content") or message.get("tool_calls"))
