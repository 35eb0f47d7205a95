"""`Answer`: what the frames of one reply add up to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._answer.events import StepResult

if TYPE_CHECKING:
    from langchain_bailian_app._answer.events import NodeEvent, StepCall, ToolCall

TEXT_SEPARATOR = "\n\n"
"""What stands between the texts of two replies, if both have one."""

UNKNOWN_FINISH_REASON = "unknown"
"""`finish_reason` of a stream that just ended, where `accept_missing_stop` lets that pass."""


@dataclass(slots=True)
class Answer:
    """A whole answer, or what came of it."""

    text: str = ""
    reasoning: str = ""
    steps: list[StepCall | StepResult] = field(default_factory=list)
    nodes: list[NodeEvent] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    """Calls of the caller's tools; those with a problem are in no delta."""

    order: list[str] = field(default_factory=list)
    """What the answer consists of, in the order in which it first appeared: see `_content_blocks`."""

    finish_reason: str | None = None
    """None if the answer is not complete."""

    session_id: str | None = None
    request_id: str | None = None
    doc_references: list[dict[str, Any]] | None = None
    citations: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields of the service that this version does not know, newest value."""

    final_text: str | None = None
    """What a workflow says in the end, if its nodes have said something else."""

    references_missing: bool = False
    """The answer rests on documents, but the service does not say which."""

    @property
    def thoughts(self) -> list[dict[str, Any]]:
        """The raw entries of the steps, in the order of their results."""
        return [step.entry for step in self.steps if isinstance(step, StepResult)]


def merge_answers(first: Answer, second: Answer) -> Answer:
    """Return what both replies sum up to, but for the calls of the first, which the second replaces."""
    prefix = first.text + (TEXT_SEPARATOR if first.text and second.text else "")
    offset = len(prefix)
    return replace(
        second,
        text=prefix + second.text,
        reasoning=first.reasoning + second.reasoning,
        steps=[*first.steps, *second.steps],
        nodes=[*first.nodes, *second.nodes],
        order=list(dict.fromkeys((*first.order, *second.order))),
        session_id=second.session_id or first.session_id,
        request_id=second.request_id or first.request_id,
        doc_references=[*(first.doc_references or ()), *(second.doc_references or ())] or None,
        citations=[
            *first.citations,
            *(_shift_citation(citation, offset) for citation in second.citations),
        ],
        usage=second.usage
        | {"models": [*_usage_by_model(first.usage), *_usage_by_model(second.usage)]},
        extra=first.extra | second.extra,
        final_text=second.final_text or first.final_text,
        references_missing=first.references_missing or second.references_missing,
    )


def _shift_citation(citation: dict[str, Any], offset: int) -> dict[str, Any]:
    keys = ("start_index", "end_index")
    return citation | {key: citation[key] + offset for key in keys if key in citation}


def _usage_by_model(usage: dict[str, Any]) -> list[Any]:
    """Return the tokens of each model; of a snapshot that names none, the snapshot."""
    models = usage.get("models")
    if isinstance(models, list):
        return models
    return [usage] if usage else []
