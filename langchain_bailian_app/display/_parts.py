"""What an answer has to show: parts made of clean strings, which HTML and terminal only lay out.

Whatever may be wrong with a message is dealt with here: another version, or another provider, may have
written it, and half of it may still be on its way.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._answer.passages import passages_from_observation
from langchain_bailian_app.display._sources import Cited, Source, clean, hit, verbatim

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

_CALLS = {f"{kind}{chunk}" for kind in ("server_tool_call", "tool_call") for chunk in ("", "_chunk")}
_MEDIA = {"image", "image_url", "audio", "input_audio", "video", "file", "text-plain"}
_RESULT = "result"  # what the result of an unknown call is called


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the model thought."""

    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """A call with its result."""

    name: str
    args: list[tuple[str, str]]
    done: bool = False
    failed: bool = False
    result: str = ""
    hits: list[Source] = field(default_factory=list)
    """What a retrieval found; then there is no other result."""


@dataclass(frozen=True, slots=True)
class Text:
    """Markdown without citation markers."""

    source: str
    marks: dict[int, list[int]]
    """Which sources are cited where, in code points of `source`; in ascending order."""


@dataclass(frozen=True, slots=True)
class Other:
    """A block of a kind that has no form of its own."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Shown:
    """All there is to show of a message."""

    parts: list[Reasoning | Step | Text | Other]
    sources: list[Source]
    usage: list[str]


def read(message: AIMessage) -> Shown:
    """Return what to show; never raises, whatever the message holds."""
    parts: list[Reasoning | Step | Text | Other] = []
    cited = Cited()
    waiting: dict[str, tuple[int, Step]] = {}  # the calls without a result, and where they stand
    for block in _blocks(message):
        part = _readable(block, cited)
        if isinstance(part, Step) and part.done:
            called = waiting.pop(_step_id(block), None)
            if called is not None:
                place, call = called
                name = call.name if part.name == _RESULT else part.name
                parts[place] = replace(part, name=name, args=part.args or call.args)
                continue
        elif isinstance(part, Step) and (step_id := _step_id(block)):
            waiting[step_id] = len(parts), part
        parts.append(part)
    return Shown(parts, [cited.sources[number] for number in sorted(cited.sources)], _usage(message))


def _blocks(message: AIMessage) -> list[dict[str, Any]]:
    try:
        blocks: list[Any] = list(message.content_blocks)
    except Exception:  # noqa: BLE001  # the translators of some providers trust what they read
        blocks = message.content if isinstance(message.content, list) else [message.content]
    texts = ({"type": "text", "text": block} if isinstance(block, str) else block for block in blocks)
    return [block if isinstance(block, dict) else {"value": block} for block in texts]


def _readable(block: dict[str, Any], cited: Cited) -> Reasoning | Step | Text | Other:
    try:
        return _part(block, cited)
    except Exception:  # noqa: BLE001  # as it came is better than not at all
        return Other("unreadable", verbatim(block))


def _part(block: dict[str, Any], cited: Cited) -> Reasoning | Step | Text | Other:
    kind = clean(block.get("type")) or "unknown"
    part: Reasoning | Step | Text | Other
    match block:
        case {"type": "reasoning"}:
            part = Reasoning(clean(block.get("reasoning")))
        case {"type": "text"}:
            part = _text(clean(block.get("text")), block.get("annotations"), cited)
        case {"type": "server_tool_result"}:
            part = _result(block)
        case {"type": "non_standard", "value": {"node_id": _} as node}:
            part = _node(node)
        case _ if kind in _CALLS:
            part = Step(clean(block.get("name")) or "step", _args(block.get("args")))
        case _ if kind in _MEDIA:
            part = Other(" · ".join(filter(None, (kind, clean(block.get("mime_type"))))), "")
        case _:
            part = Other(
                kind,
                verbatim(block["value"] if {"value"} <= set(block) <= {"type", "value"} else block),
            )
    return part


def _step_id(block: dict[str, Any]) -> str:
    """Return what a call and its result, or two events of a node, have in common."""
    if block.get("type") == "non_standard":
        return clean(block["value"].get("node_id"))
    return clean(block.get("tool_call_id") or block.get("id"))


def _node(value: dict[str, Any]) -> Step:
    """Return the node of a workflow: it has begun, or it is done."""
    status = clean(value.get("status"))
    facts = [(name, clean(value.get(name))) for name in ("type", "exec_time")]
    if status not in {"executing", "success"}:
        facts.append(("status", status))
    return Step(
        name=clean(value.get("name") or value.get("node_id")),
        args=[(name, fact) for name, fact in facts if fact],
        done=status != "executing",
        failed="fail" in status.lower() or "error" in status.lower(),
        # What an End node says is the answer, which is shown already.
        result="" if value.get("type") == "End" else verbatim(value.get("output")),
    )


def _args(args: Any) -> list[tuple[str, str]]:
    if isinstance(args, dict):
        return [(clean(name), verbatim(value)) for name, value in args.items()]
    return [("", verbatim(args))] if args else []


def _result(block: dict[str, Any]) -> Step:
    output = block.get("output")
    passages = passages_from_observation(output)
    complete = isinstance(output, list) and len(passages) == len(output) > 0
    return Step(
        name=_RESULT,
        args=[],
        done=True,
        failed=block.get("status") == "error",
        result="" if complete else verbatim(output),
        hits=[hit(passage) for passage in passages] if complete else [],
    )


def _text(text: str, annotations: Any, cited: Cited) -> Text:
    """Take the written markers of the citations out, so that they are not shown twice."""
    found = (
        [note for note in annotations if _is_citation(note)] if isinstance(annotations, list) else []
    )
    places = sorted(((_end(note, text), cited.number(note)) for note in found), key=lambda at: at[0])
    pieces: list[str] = []
    marks: dict[int, list[int]] = {}
    done = length = 0
    for end, number in places:
        piece = text[done:end]
        pieces.append(piece)
        length += len(piece)
        here = marks.setdefault(length, [])
        if number not in here:
            here.append(number)
        written = (f"[{number}]", f"<ref>[{number}]</ref>")
        width = max(len(marker) if text.startswith(marker, end) else 0 for marker in written)
        done = max(done, end + width)
    return Text("".join((*pieces, text[done:])), marks)


def _is_citation(note: Any) -> bool:
    return isinstance(note, dict) and note.get("type") == "citation"


def _end(citation: dict[str, Any], text: str) -> int:
    """Return where the citation belongs: without a place, or with one beyond the text, at its end."""
    end = citation.get("end_index")
    return end if isinstance(end, int) and 0 <= end <= len(text) else len(text)


def _usage(message: AIMessage) -> list[str]:
    metadata = message.response_metadata
    facts = []
    if usage := message.usage_metadata:
        facts.append(_tokens(usage))
    models = metadata.get("model_usage")
    models = [m for m in models if isinstance(m, dict)] if isinstance(models, list) else []
    if len(models) > 1:
        facts += [f"{clean(model.get('model_id')) or 'model'}: {_tokens(model)}" for model in models]
    elif metadata.get("model_name") != metadata.get("app_id"):
        facts.append(clean(metadata.get("model_name")))
    if (reason := metadata.get("finish_reason")) not in (None, "stop", "null"):
        facts.append(f"finish reason: {clean(reason)}")
    if request := metadata.get("request_id"):
        facts.append(f"request {clean(request)}")
    return [fact for fact in facts if fact]


def _tokens(usage: Any) -> str:
    tokens_in, tokens_out = (usage.get(name) for name in ("input_tokens", "output_tokens"))
    return f"{_count(tokens_in)} tokens in, {_count(tokens_out)} out"


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else clean(value) or "?"
