"""What an answer has to show: parts made of clean strings, which HTML and terminal only lay out.

Whatever may be wrong with a message is dealt with here: another version, or another provider, may have
written it, and half of it may still be on its way.
"""

from __future__ import annotations

import json
import re
import reprlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._documents import Passage, passages_from_observation

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

_CALLS = {f"{kind}{chunk}" for kind in ("server_tool_call", "tool_call") for chunk in ("", "_chunk")}
_MEDIA = {"image", "image_url", "audio", "input_audio", "video", "file", "text-plain"}
_RESULT = "result"  # what the result of an unknown call is called
_VERBATIM = 4000
_EXCERPT = 160
_HIGHEST = 10**9  # of the numbers that a source may have
# Controls, also those of the writing direction, halves of surrogate pairs, and noncharacters, one of
# which marks places in Markdown.
_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


@dataclass(frozen=True, slots=True)
class Source:
    """A passage: a hit of a retrieval step, or what the answer cites."""

    number: int | None
    title: str
    about: list[str]
    """Its document, pages and score, as far as they are known."""

    text: str
    url: str
    images: list[str]


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
    cited = _Cited()
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


def excerpt(text: str) -> str:
    """Return the beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= _EXCERPT else f"{line[:_EXCERPT]}…"


def verbatim(value: Any) -> str:
    """Return a value in full, up to a limit: strings and lists of strings as they are, else JSON."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        value = "\n".join(value)
    text = _string(value, indent=2)
    left_out = len(text) - _VERBATIM
    return f"{text[:_VERBATIM]}… ({left_out:,} more characters)" if left_out > 0 else text


def _string(value: Any, indent: int | None = None) -> str:
    """Return a string without anything that a terminal would obey; code points stay where they are."""
    if not isinstance(value, str):
        try:
            value = "" if value is None else json.dumps(value, ensure_ascii=False, indent=indent)
        except (TypeError, ValueError, RecursionError):
            value = reprlib.repr(value)
    return _UNPRINTABLE.sub("\ufffd", value.replace("\r\n", " \n").replace("\r", "\n"))


def _blocks(message: AIMessage) -> list[dict[str, Any]]:
    try:
        blocks: list[Any] = list(message.content_blocks)
    except Exception:  # noqa: BLE001  # the translators of some providers trust what they read
        blocks = message.content if isinstance(message.content, list) else [message.content]
    texts = ({"type": "text", "text": block} if isinstance(block, str) else block for block in blocks)
    return [block if isinstance(block, dict) else {"value": block} for block in texts]


def _readable(block: dict[str, Any], cited: _Cited) -> Reasoning | Step | Text | Other:
    try:
        return _part(block, cited)
    except Exception:  # noqa: BLE001  # as it came is better than not at all
        return Other("unreadable", verbatim(block))


def _part(block: dict[str, Any], cited: _Cited) -> Reasoning | Step | Text | Other:
    kind = _string(block.get("type")) or "unknown"
    part: Reasoning | Step | Text | Other
    match block:
        case {"type": "reasoning"}:
            part = Reasoning(_string(block.get("reasoning")))
        case {"type": "text"}:
            part = _text(_string(block.get("text")), block.get("annotations"), cited)
        case {"type": "server_tool_result"}:
            part = _result(block)
        case {"type": "non_standard", "value": {"node_id": _} as node}:
            part = _node(node)
        case _ if kind in _CALLS:
            part = Step(_string(block.get("name")) or "step", _args(block.get("args")))
        case _ if kind in _MEDIA:
            part = Other(" · ".join(filter(None, (kind, _string(block.get("mime_type"))))), "")
        case _:
            part = Other(
                kind,
                verbatim(block["value"] if {"value"} <= set(block) <= {"type", "value"} else block),
            )
    return part


def _step_id(block: dict[str, Any]) -> str:
    """Return what a call and its result, or two events of a node, have in common."""
    if block.get("type") == "non_standard":
        return _string(block["value"].get("node_id"))
    return _string(block.get("tool_call_id") or block.get("id"))


def _node(value: dict[str, Any]) -> Step:
    """Return the node of a workflow: it has begun, or it is done."""
    status = _string(value.get("status"))
    facts = [(name, _string(value.get(name))) for name in ("type", "exec_time")]
    if status not in {"executing", "success"}:
        facts.append(("status", status))
    return Step(
        name=_string(value.get("name") or value.get("node_id")),
        args=[(name, fact) for name, fact in facts if fact],
        done=status != "executing",
        failed="fail" in status.lower() or "error" in status.lower(),
        # What an End node says is the answer, which is shown already.
        result="" if value.get("type") == "End" else verbatim(value.get("output")),
    )


def _args(args: Any) -> list[tuple[str, str]]:
    if isinstance(args, dict):
        return [(_string(name), verbatim(value)) for name, value in args.items()]
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
        hits=[_hit(passage) for passage in passages] if complete else [],
    )


def _hit(passage: Passage) -> Source:
    extras = {
        "doc_name": passage.doc_name,
        "page_number": passage.page_number,
        "score": passage.score,
        "images": passage.images,
    }
    return _source(passage.index, passage.title, passage.text, passage.doc_url, extras)


def _source(number: int | None, title: Any, text: Any, url: Any, extras: dict[str, Any]) -> Source:
    document, pages, score = (extras.get(name) for name in ("doc_name", "page_number", "score"))
    images = extras.get("images")
    name = _string(title or document or url) or "untitled"
    about = [
        "" if document == title else _string(document if title else None),
        f"p. {', '.join(map(_string, pages))}" if isinstance(pages, list) and pages else "",
        "" if score is None else f"score {score:.2f}" if isinstance(score, float) else _string(score),
    ]
    return Source(
        number=number,
        title=name,
        about=[fact for fact in about if fact],
        text=_string(text),
        url=_string(url),
        images=[_string(image) for image in images] if isinstance(images, list) else [],
    )


def _text(text: str, annotations: Any, cited: _Cited) -> Text:
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


class _Cited:
    """The sources of an answer by their numbers; citations of other providers are counted."""

    def __init__(self) -> None:
        self.sources: dict[int, Source] = {}
        self._counted: dict[str, int] = {}
        self._highest = 0

    def number(self, citation: dict[str, Any]) -> int:
        """Return the number of the cited source."""
        extras = citation.get("extras")
        extras = extras if isinstance(extras, dict) else {}
        number = extras.get("reference_index")
        title, text, url = (citation.get(name) for name in ("title", "cited_text", "url"))
        source = _source(None, title, text, url, extras)
        if not (isinstance(number, int) and 0 <= number < _HIGHEST):
            number = self._counted.setdefault(repr(source), self._highest + 1)
        self._highest = max(self._highest, number)
        self.sources.setdefault(int(number), replace(source, number=int(number)))
        return int(number)


def _usage(message: AIMessage) -> list[str]:
    metadata = message.response_metadata
    facts = []
    if usage := message.usage_metadata:
        facts.append(_tokens(usage))
    models = metadata.get("model_usage")
    models = [m for m in models if isinstance(m, dict)] if isinstance(models, list) else []
    if len(models) > 1:
        facts += [f"{_string(model.get('model_id')) or 'model'}: {_tokens(model)}" for model in models]
    elif metadata.get("model_name") != metadata.get("app_id"):
        facts.append(_string(metadata.get("model_name")))
    if (reason := metadata.get("finish_reason")) not in (None, "stop", "null"):
        facts.append(f"finish reason: {_string(reason)}")
    if request := metadata.get("request_id"):
        facts.append(f"request {_string(request)}")
    return [fact for fact in facts if fact]


def _tokens(usage: Any) -> str:
    tokens_in, tokens_out = (usage.get(name) for name in ("input_tokens", "output_tokens"))
    return f"{_count(tokens_in)} tokens in, {_count(tokens_out)} out"


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else _string(value) or "?"
