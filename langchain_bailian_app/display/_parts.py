"""Parts of an answer to display, as sanitized strings.

The renderers for HTML and terminals only lay out these parts. This module handles irregular messages:
another provider or another version of this package may have created the message, and the end of a
streamed message may be missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._answer.passages import passages_from_observation
from langchain_bailian_app.display._labels import Labels, find_labels
from langchain_bailian_app.display._sources import (
    CitedSources,
    Source,
    format_value,
    sanitize,
    source_from_passage,
)

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

_CALL_TYPES = {
    f"{kind}{chunk}" for kind in ("server_tool_call", "tool_call") for chunk in ("", "_chunk")
}
_MEDIA_TYPES = {"image", "image_url", "audio", "input_audio", "video", "file", "text-plain"}


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Reasoning of the model."""

    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """A call and its result."""

    name: str
    args: list[tuple[str, str]]
    done: bool = False
    failed: bool = False
    result: str = ""
    hits: list[Source] = field(default_factory=list)
    """Passages of a retrieval step; `result` is then empty."""


@dataclass(frozen=True, slots=True)
class Text:
    """Markdown without citation markers."""

    markdown: str
    citations: dict[int, list[int]]
    """Numbers of the cited sources, by position in `markdown` (in code points, ascending)."""


@dataclass(frozen=True, slots=True)
class GenericBlock:
    """A block without a specific rendering."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class AnswerParts:
    """Everything to display for a message."""

    parts: list[Reasoning | Step | Text | GenericBlock]
    sources: list[Source]
    usage: list[str]
    labels: Labels
    """Labels in the language of the answer."""


def parse_message(message: AIMessage) -> AnswerParts:
    """Return the parts of a message to display. Never raise, regardless of the message's content."""
    parts: list[Reasoning | Step | Text | GenericBlock] = []
    blocks = _read_blocks(message)
    labels = find_labels(_read_text(blocks))
    cited_sources = CitedSources(labels)
    pending: dict[str, tuple[int, Step]] = {}  # calls without a result, with their index in `parts`
    for block in blocks:
        part = _parse_block_or_raw(block, cited_sources, labels)
        if isinstance(part, Step) and part.done:
            pending_call = pending.pop(_find_step_id(block), None)
            if pending_call is not None:
                index, call = pending_call
                name = call.name if part.name == labels.result else part.name
                parts[index] = replace(part, name=name, args=part.args or call.args)
                continue
        elif isinstance(part, Step) and (step_id := _find_step_id(block)):
            pending[step_id] = len(parts), part
        parts.append(part)
    return AnswerParts(
        parts,
        [cited_sources.sources[number] for number in sorted(cited_sources.sources)],
        _summarize_usage(message, labels),
        labels,
    )


def _read_blocks(message: AIMessage) -> list[dict[str, Any]]:
    try:
        blocks: list[Any] = list(message.content_blocks)
    except Exception:  # noqa: BLE001  # translators of some providers do not validate content
        blocks = message.content if isinstance(message.content, list) else [message.content]
    typed_blocks = (
        {"type": "text", "text": block} if isinstance(block, str) else block for block in blocks
    )
    return [block if isinstance(block, dict) else {"value": block} for block in typed_blocks]


def _read_text(blocks: list[dict[str, Any]]) -> str:
    """Return the text of an answer, or else its reasoning."""
    texts, reasonings = (
        [value for block in blocks if isinstance(value := dict.get(block, name), str)]
        for name in ("text", "reasoning")
    )
    return " ".join(texts) or " ".join(reasonings)


def _parse_block_or_raw(
    block: dict[str, Any], cited_sources: CitedSources, labels: Labels
) -> Reasoning | Step | Text | GenericBlock:
    try:
        return _parse_block(block, cited_sources, labels)
    except Exception:  # noqa: BLE001  # showing the raw block is better than failing
        return GenericBlock(labels.unreadable, format_value(block, labels))


def _parse_block(
    block: dict[str, Any], cited_sources: CitedSources, labels: Labels
) -> Reasoning | Step | Text | GenericBlock:
    block_type = sanitize(block.get("type")) or "unknown"
    part: Reasoning | Step | Text | GenericBlock
    match block:
        case {"type": "reasoning"}:
            part = Reasoning(sanitize(block.get("reasoning")))
        case {"type": "text"}:
            part = _parse_text(sanitize(block.get("text")), block.get("annotations"), cited_sources)
        case {"type": "server_tool_result"}:
            part = _parse_result(block, labels)
        case {"type": "non_standard", "value": {"node_id": _} as node}:
            part = _parse_node(node, labels)
        case _ if block_type in _CALL_TYPES:
            name = sanitize(block.get("name")) or labels.step
            part = Step(name, _parse_args(block.get("args"), labels))
        case _ if block_type in _MEDIA_TYPES:
            part = GenericBlock(
                " · ".join(filter(None, (block_type, sanitize(block.get("mime_type"))))), ""
            )
        case _:
            value = block["value"] if {"value"} <= set(block) <= {"type", "value"} else block
            part = GenericBlock(block_type, format_value(value, labels))
    return part


def _find_step_id(block: dict[str, Any]) -> str:
    """Return the id that a call shares with its result, or that the events of a node share."""
    if block.get("type") == "non_standard":
        return sanitize(block["value"].get("node_id"))
    return sanitize(block.get("tool_call_id") or block.get("id"))


def _parse_node(node: dict[str, Any], labels: Labels) -> Step:
    """Return the step for an event of a workflow node that is running or done."""
    status = sanitize(node.get("status"))
    facts = [(name, sanitize(node.get(name))) for name in ("type", "exec_time")]
    if status not in {"executing", "success"}:
        facts.append(("status", status))
    return Step(
        name=sanitize(node.get("name") or node.get("node_id")),
        args=[(name, fact) for name, fact in facts if fact],
        done=status != "executing",
        failed="fail" in status.lower() or "error" in status.lower(),
        # The output of an End node is the answer, which is already shown.
        result="" if node.get("type") == "End" else format_value(node.get("output"), labels),
    )


def _parse_args(args: Any, labels: Labels) -> list[tuple[str, str]]:
    if isinstance(args, dict):
        return [(sanitize(name), format_value(value, labels)) for name, value in args.items()]
    return [("", format_value(args, labels))] if args else []


def _parse_result(block: dict[str, Any], labels: Labels) -> Step:
    output = block.get("output")
    passages = passages_from_observation(output)
    is_retrieval = isinstance(output, list) and len(passages) == len(output) > 0
    return Step(
        name=labels.result,
        args=[],
        done=True,
        failed=block.get("status") == "error",
        result="" if is_retrieval else format_value(_omit_media_data(output), labels),
        hits=[source_from_passage(passage, labels) for passage in passages] if is_retrieval else [],
    )


def _omit_media_data(output: Any) -> Any:
    """Replace the pictures and recordings in a tool's result by their media types."""
    parts = [
        part["mimeType"] if isinstance(part, dict) and {"data", "mimeType"} <= set(part) else part
        for part in (output if isinstance(output, list) else [output])
    ]
    return parts if isinstance(output, list) else parts[0]


def _parse_text(text: str, annotations: Any, cited_sources: CitedSources) -> Text:
    """Return the text without its citation markers, which would otherwise be shown twice."""
    notes = (
        [note for note in annotations if _is_citation(note)] if isinstance(annotations, list) else []
    )
    placements = sorted(
        ((_find_citation_end(note, text), cited_sources.assign_number(note)) for note in notes),
        key=lambda item: item[0],
    )
    pieces: list[str] = []
    citations: dict[int, list[int]] = {}
    consumed = length = 0
    for end, number in placements:
        piece = text[consumed:end]
        pieces.append(piece)
        length += len(piece)
        numbers = citations.setdefault(length, [])
        if number not in numbers:
            numbers.append(number)
        written_markers = (f"[{number}]", f"<ref>[{number}]</ref>")
        marker_length = max(
            len(marker) if text.startswith(marker, end) else 0 for marker in written_markers
        )
        consumed = max(consumed, end + marker_length)
    return Text("".join((*pieces, text[consumed:])), citations)


def _is_citation(note: Any) -> bool:
    return isinstance(note, dict) and note.get("type") == "citation"


def _find_citation_end(citation: dict[str, Any], text: str) -> int:
    """Return the end position of a citation, or the end of the text if it has no valid position."""
    end = citation.get("end_index")
    return end if isinstance(end, int) and 0 <= end <= len(text) else len(text)


def _summarize_usage(message: AIMessage, labels: Labels) -> list[str]:
    metadata = message.response_metadata
    facts = []
    if usage := message.usage_metadata:
        facts.append(_format_tokens(usage, labels))
    models = metadata.get("model_usage")
    models = [m for m in models if isinstance(m, dict)] if isinstance(models, list) else []
    if len(models) > 1:
        facts += [
            f"{sanitize(model.get('model_id')) or '?'}: {_format_tokens(model, labels)}"
            for model in models
        ]
    elif metadata.get("model_name") != metadata.get("app_id"):
        facts.append(sanitize(metadata.get("model_name")))
    if (reason := metadata.get("finish_reason")) not in (None, "stop", "null"):
        facts.append(labels.finish_reason.format(sanitize(reason)))
    if metadata.get("reject_status") is True:
        facts.append(labels.reject_status)
    if request := metadata.get("request_id"):
        facts.append(labels.request.format(sanitize(request)))
    return [fact for fact in facts if fact]


def _format_tokens(usage: Any, labels: Labels) -> str:
    tokens_in, tokens_out = (usage.get(name) for name in ("input_tokens", "output_tokens"))
    return labels.tokens.format(_format_count(tokens_in), _format_count(tokens_out))


def _format_count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else sanitize(value) or "?"
