"""One answer from two replies: the first was asked for again, as its calls could not be run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_bailian_app._answer import Answer


APART = "\n\n"
"""What stands between the texts of both, if both have one."""


def joined(first: Answer, second: Answer) -> Answer:
    """Return what both replies sum up to, but for the calls of the first, which the second replaces."""
    before = first.text + (APART if first.text and second.text else "")
    shift = len(before)
    return replace(
        second,
        text=before + second.text,
        reasoning=first.reasoning + second.reasoning,
        steps=[*first.steps, *second.steps],
        nodes=[*first.nodes, *second.nodes],
        order=list(dict.fromkeys((*first.order, *second.order))),
        session_id=second.session_id or first.session_id,
        request_id=second.request_id or first.request_id,
        doc_references=[*(first.doc_references or ()), *(second.doc_references or ())] or None,
        citations=[*first.citations, *(_shifted(citation, shift) for citation in second.citations)],
        usage=second.usage | {"models": [*_counts(first.usage), *_counts(second.usage)]},
        extra=first.extra | second.extra,
        final_text=second.final_text or first.final_text,
        references_missing=first.references_missing or second.references_missing,
    )


def _shifted(citation: dict[str, Any], shift: int) -> dict[str, Any]:
    places = {name: citation[name] + shift for name in ("start_index", "end_index") if name in citation}
    return citation | places


def _counts(usage: dict[str, Any]) -> list[Any]:
    """Return the tokens of each model; of a snapshot that names none, the snapshot."""
    models = usage.get("models")
    if isinstance(models, list):
        return models
    return [usage] if usage else []
