"""Reader of the reasoning entries of `thoughts`."""

from __future__ import annotations

from typing import Any

# `response` repeats `thought` in the captures. Some entries have only `response`, and one client reads
# `reasoning_content`.
_TEXT_FIELDS = ("thought", "response", "reasoning_content")
_NAME_FIELDS = ("action_type", "action", "action_name")
_STEP_FIELDS = (*_NAME_FIELDS, "arguments", "action_input", "action_input_stream", "observation")
_EMPTY_VALUES: tuple[Any, ...] = (None, "", {}, [])


def is_reasoning(thought: dict[str, Any]) -> bool:
    """Return whether an entry is reasoning and not a step; a step may contain reasoning too."""
    return thought.get("action_type") == "reasoning" or bool(
        thought.get("reasoning_content") and not any(map(thought.get, _STEP_FIELDS))
    )


def read_reasoning(thought: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the text of a reasoning entry, and its other fields.

    A text that differs from the text of the entry is one of the other fields.
    """
    text = next(filter(None, map(thought.get, _TEXT_FIELDS)), "")
    others = {
        name: value
        for name, value in thought.items()
        if name not in _NAME_FIELDS
        and value not in _EMPTY_VALUES
        and not (name in _TEXT_FIELDS and value == text)
    }
    return str(text), others
