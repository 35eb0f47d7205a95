"""Reader of the reasoning entries of `thoughts`."""

from __future__ import annotations

from typing import Any

from langchain_bailian_app._answer import wire_json
from langchain_bailian_app._answer.streamed_values import Change, StreamedValue, StreamForm

# `response` repeats `thought` in the captures. Some entries have only `response`, and one client reads
# `reasoning_content`; beside it, `response` may be another text.
_TEXT_FIELDS = ("thought", "reasoning_content", "response")
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


class ReasoningFields:
    """The other fields of the reasoning entries of an answer.

    A field has its latest value, except that texts that arrive in pieces are joined.
    """

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._texts = {name: StreamedValue(StreamForm()) for name in _TEXT_FIELDS}

    def add(self, fields: dict[str, Any]) -> None:
        """Add the other fields of an entry."""
        for name, value in fields.items():
            if text := self._texts.get(name):
                text.apply(value, text.compare(value) or Change.REPLACEMENT)
            self._values[name] = value

    def build(self) -> dict[str, Any]:
        """Return the fields by name."""
        return self._values | {
            name: wire_json.repair_surrogates(text.get())
            for name, text in self._texts.items()
            if not text.is_empty
        }
