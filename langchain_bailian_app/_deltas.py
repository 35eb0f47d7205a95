"""What a frame adds to an answer, in the kinds in which a stream shows it."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_bailian_app._nodes import NodeEvent
from langchain_bailian_app._steps import StepCall, StepResult
from langchain_bailian_app._tool_calls import ToolCall


# These two come by the thousand: a frozen class would be made at half the speed.
@dataclass(slots=True)
class TextDelta:
    """More of the answer."""

    text: str


@dataclass(slots=True)
class ReasoningDelta:
    """More of the model's reasoning."""

    text: str


Delta = TextDelta | ReasoningDelta | StepCall | StepResult | NodeEvent | ToolCall
