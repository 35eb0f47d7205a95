"""Answer assembled from a response, and a function that merges two answers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._answer.events import StepResult

if TYPE_CHECKING:
    from langchain_bailian_app._answer.events import NodeEvent, StepCall, ToolCall

PROVIDER = "bailian"
"""Value of `model_provider` in messages, under which LangChain finds the converter of their blocks."""

TEXT_SEPARATOR = "\n\n"
"""Separator in the text of two merged answers; omitted if either has no text."""

UNKNOWN_FINISH_REASON = "unknown"
"""`finish_reason` of a stream that ended without one, if `accept_missing_stop` is set."""


@dataclass(slots=True)
class Answer:
    """An answer assembled from the frames of a response. It may be incomplete."""

    text: str = ""
    reasoning: str = ""
    steps: list[StepCall | StepResult] = field(default_factory=list)
    nodes: list[NodeEvent] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    """Calls to the caller's tools. Those with a `problem` are not emitted as deltas."""

    order: list[str] = field(default_factory=list)
    """Keys of the answer's parts, in order of first appearance; see `_content_blocks`."""

    finish_reason: str | None = None
    """None if the answer is incomplete."""

    session_id: str | None = None
    request_id: str | None = None
    reject_status: bool | None = None
    """`output.reject_status`: True if it is true in any frame, None if no frame has the field. In the
    captures it is always False; no source explains the meaning of True."""

    doc_references: list[dict[str, Any]] | None = None
    citations: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    reasoning_fields: dict[str, Any] = field(default_factory=dict)
    """Fields of reasoning entries that this version does not recognize, each with its latest value."""

    extra: dict[str, Any] = field(default_factory=dict)
    """Fields that this version does not recognize, each with its latest value."""

    final_text: str | None = None
    """Final text of a workflow, if it differs from the text of its nodes."""

    references_missing: bool = False
    """Whether the text had citation markers although the response has no `doc_references`."""

    @property
    def thoughts(self) -> list[dict[str, Any]]:
        """The raw entries of the steps, in the order of their results."""
        return [step.entry for step in self.steps if isinstance(step, StepResult)]


def merge_answers(first: Answer, second: Answer) -> Answer:
    """Merge the answers from two responses to one call.

    The tool calls of the second answer replace those of the first.
    """
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
        reject_status=(
            first.reject_status
            if second.reject_status is None
            else first.reject_status or second.reject_status
        ),
        doc_references=[*(first.doc_references or ()), *(second.doc_references or ())] or None,
        citations=[
            *first.citations,
            *(_shift_citation(citation, offset) for citation in second.citations),
        ],
        usage=second.usage
        | {"models": [*_usage_by_model(first.usage), *_usage_by_model(second.usage)]},
        reasoning_fields=first.reasoning_fields | second.reasoning_fields,
        extra=first.extra | second.extra,
        final_text=second.final_text or first.final_text,
        references_missing=first.references_missing or second.references_missing,
    )


def _shift_citation(citation: dict[str, Any], offset: int) -> dict[str, Any]:
    keys = ("start_index", "end_index")
    return citation | {key: citation[key] + offset for key in keys if key in citation}


def _usage_by_model(usage: dict[str, Any]) -> list[Any]:
    """Return the usage of each model, or the whole snapshot as one item if it has no list of models."""
    models = usage.get("models")
    if isinstance(models, list):
        return models
    return [usage] if usage else []
