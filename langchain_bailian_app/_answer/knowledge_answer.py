"""Assembler for the frames of a chat service, with the interface of `AnswerAssembler`.

A frame has the messages of an agent in `choices`. The step of a message is its kind: planning is
reasoning, tool calling is a step, and only generating is the answer. The order of the steps and the
value of `step_change` differ between sources, so neither is used.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._answer import wire_json
from langchain_bailian_app._answer.answer import UNKNOWN_FINISH_REASON, Answer
from langchain_bailian_app._answer.citations import Marker, MarkerFilter, MarkerMode, build_citations
from langchain_bailian_app._answer.events import (
    Delta,
    ReasoningDelta,
    StepCall,
    StepResult,
    TextDelta,
)
from langchain_bailian_app._answer.knowledge_nodes import passage_from_knowledge_node
from langchain_bailian_app._answer.text_delta import StopFilter

if TYPE_CHECKING:
    from langchain_bailian_app._answer.frames import Frame
    from langchain_bailian_app._answer.passages import Passage

# No source shows the mark of a citation. Applications use `<ref>[1]</ref>`; this form is also likely.
_BRACKET_MARK = re.compile(r"\[([0-9]{1,4})\](?!\()")
_PLANNING, _TOOL_CALLING, _GENERATING = "planning", "tool_calling", "generating"
_RETRIEVAL_TOOLS = {"semantic_search", "section_browse", "section_peruse", "execute_sql", "obtain_file"}


@dataclass(slots=True)
class _OpenCall:
    """A tool call whose arguments may still be incomplete."""

    id: str
    name: str = ""
    arguments: str = ""
    is_reported: bool = False
    other_fields: dict[str, Any] = field(default_factory=dict)


class KnowledgeAnswerAssembler:
    """Assembles the frames of one response of a chat service into an answer.

    Args:
        markers: Handling of `<ref>[n]</ref>` in the text.
        stop: Stop sequences. The answer is cut before the first one.
    """

    def __init__(self, *, markers: MarkerMode = "strip", stop: list[str] | None = None) -> None:
        self._marker_filter = MarkerFilter(markers)
        self._stop_filter = StopFilter(stop) if stop else None
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._order: dict[str, None] = {}
        self._calls: dict[str, _OpenCall] = {}
        self._passages: dict[int, Passage] = {}
        self._sources: dict[Any, Passage] = {}
        self._round_usage: list[dict[str, Any]] = []
        self._model_name: str | None = None
        self._answer = Answer()
        self.stopped = False
        """Whether a `stop` sequence ended the answer before the service did."""

    def feed(self, frame: Frame) -> list[Delta]:
        """Return the deltas of this frame."""
        if self._answer.finish_reason is not None:
            return []
        self._answer.request_id = frame.request_id or self._answer.request_id
        if frame.usage:
            self._round_usage.append(frame.usage)
        output = frame.extra.get("output", {})
        deltas: list[Delta] = []
        for choice in output.get("choices") or ():
            if isinstance(choice, dict) and isinstance(choice.get("message"), dict):
                deltas += self._feed_message(choice["message"])
        self._keep_unknown(frame, output)
        if frame.finish_reason is not None or self.stopped:
            deltas += self._finish()
            self._answer.finish_reason = "stop" if self.stopped else frame.finish_reason
        return self._record(deltas)

    def end(self, *, accept_missing_stop: bool = False) -> list[Delta]:
        """Return the remaining deltas after the last frame.

        If no frame had a finish reason, the answer is incomplete unless `accept_missing_stop` is set.
        """
        if self._answer.finish_reason is not None:
            return []
        deltas = self._finish()
        if self.stopped:
            self._answer.finish_reason = "stop"
        elif accept_missing_stop:
            self._answer.finish_reason = UNKNOWN_FINISH_REASON
        return self._record(deltas)

    def build_answer(self) -> Answer:
        """Return the answer: all deltas combined, and the other data of the frames."""
        answer = self._answer
        answer.text = "".join(self._text)
        answer.reasoning = "".join(self._reasoning)
        answer.order = list(self._order)
        markers = self._marker_filter.markers or self._find_bracket_marks(answer.text)
        answer.citations = build_citations(answer.text, markers, self._passages)
        answer.doc_references = [_to_reference(p) for p in self._sources.values()] or None
        if self._round_usage:
            # The last frame has the usage of the whole answer, according to the documentation.
            usage = self._round_usage[-1]
            model = {} if self._model_name is None else {"model_id": self._model_name}
            answer.usage = {"models": [model | usage]} if model else usage
        if len(self._round_usage) > 1:
            answer.extra["round_usage"] = self._round_usage
        return answer

    def _feed_message(self, message: dict[str, Any]) -> list[Delta]:
        metadata = message.get("response_metadata")
        if isinstance(metadata, dict) and metadata.get("model_name"):
            self._model_name = str(metadata["model_name"])
        extra = message.get("extra")
        step = extra.get("step") if isinstance(extra, dict) else None
        role, text = message.get("role"), _to_text(message.get("content"))
        if role == "tool":
            return self._feed_result(message, text)
        deltas = self._feed_calls(message.get("tool_calls"))
        if role != "assistant" or not text:
            return deltas
        if step == _PLANNING:
            self._reasoning.append(text)
            return [*deltas, ReasoningDelta(text)]
        if step == _GENERATING:
            return [*self._report_calls(), *deltas, *self._feed_text(text)]
        if step != _TOOL_CALLING:
            steps = self._answer.extra.setdefault("other_steps", {})
            steps[str(step)] = steps.get(str(step), "") + text
        return deltas

    def _feed_calls(self, calls: Any) -> list[Delta]:
        """Add tool calls, whose arguments may arrive in pieces; report those that are complete."""
        deltas: list[Delta] = []
        for call in calls if isinstance(calls, list) else ():
            if not isinstance(call, dict):
                continue
            function = call.get("function")
            function = function if isinstance(function, dict) else {}
            open_call = self._find_call(call)
            open_call.name = str(function.get("name") or open_call.name)
            open_call.arguments += _to_arguments_text(function.get("arguments"))
            open_call.other_fields |= {
                name: value for name, value in call.items() if name not in ("index", "id", "function")
            }
            if _parse_arguments(open_call.arguments) is not None:
                deltas += self._report(open_call)
        return deltas

    def _find_call(self, call: dict[str, Any]) -> _OpenCall:
        """Return the call that an entry belongs to; later pieces may have an index and no id."""
        call_id = call.get("id")
        if call_id:
            return self._calls.setdefault(str(call_id), _OpenCall(str(call_id)))
        open_calls = [open_call for open_call in self._calls.values() if not open_call.is_reported]
        if open_calls:
            return open_calls[-1]
        call_id = f"bailian_{len(self._calls)}"
        return self._calls.setdefault(call_id, _OpenCall(call_id))

    def _report(self, call: _OpenCall) -> list[Delta]:
        if call.is_reported:
            return []
        call.is_reported = True
        arguments = _parse_arguments(call.arguments)
        args = {"arguments": call.arguments} if arguments is None else arguments
        kind = "retrieval" if call.name in _RETRIEVAL_TOOLS else None
        return [StepCall(call.id, call.name or "tool", args, kind)]

    def _report_calls(self) -> list[Delta]:
        """Report the calls whose arguments did not become complete JSON."""
        return [delta for call in self._calls.values() for delta in self._report(call)]

    def _feed_result(self, message: dict[str, Any], text: str) -> list[Delta]:
        call_id = str(message.get("tool_call_id") or "")
        call = self._calls.get(call_id)
        if call is None:
            call = _OpenCall(call_id or f"bailian_{len(self._calls)}", str(message.get("name") or ""))
            self._calls[call.id] = call
        kwargs = message.get("additional_kwargs")
        extra_json = kwargs.get("extra_json") if isinstance(kwargs, dict) else None
        extra_json = wire_json.parse_nested(extra_json)
        docs = extra_json.get("docs") if isinstance(extra_json, dict) else None
        docs = [doc for doc in docs if isinstance(doc, dict)] if isinstance(docs, list) else None
        for doc in docs or ():
            self._add_source(doc)
        entry: dict[str, Any] = {
            "action_name": call.name,
            "arguments": call.arguments,
            "tool_call_id": call.id,
            "observation": text if docs is None else docs,
        }
        if docs is not None:
            entry["summary"] = text
        if isinstance(extra_json, dict) and extra_json.keys() - {"docs"}:
            entry["extra_json"] = {key: value for key, value in extra_json.items() if key != "docs"}
        elif extra_json is not None and not isinstance(extra_json, dict):
            entry["extra_json"] = extra_json
        return [*self._report(call), StepResult(call.id, entry)]

    def _add_source(self, doc: dict[str, Any]) -> None:
        passage = passage_from_knowledge_node(doc)
        if passage.index is not None:
            self._passages[passage.index] = passage
        key = passage.index if passage.index is not None else passage.chunk_id or len(self._sources)
        self._sources[key] = passage

    def _feed_text(self, text: str) -> list[Delta]:
        return self._apply_stop(self._marker_filter.feed(text))

    def _apply_stop(self, text: str) -> list[Delta]:
        if self._stop_filter is not None:
            text = "" if self.stopped else self._stop_filter.feed(text)
            self.stopped = self._stop_filter.hit
        return self._emit_text(text)

    def _emit_text(self, text: str) -> list[Delta]:
        if not text:
            return []
        self._text.append(text)
        return [TextDelta(text)]

    def _finish(self) -> list[Delta]:
        deltas = self._report_calls()
        deltas += self._apply_stop(self._marker_filter.end())
        if self._stop_filter is not None and not self.stopped:
            deltas += self._emit_text(self._stop_filter.end())
            self.stopped = self._stop_filter.hit
        return deltas

    def _record(self, deltas: list[Delta]) -> list[Delta]:
        """Record the order of the deltas, add the steps, and return the deltas."""
        for delta in deltas:
            match delta:
                case TextDelta():
                    self._order["text"] = None
                case ReasoningDelta():
                    self._order["reasoning"] = None
                case StepCall():
                    self._order[f"call:{delta.id}"] = None
                    self._answer.steps.append(delta)
                case StepResult():
                    self._order[f"result:{delta.call_id}"] = None
                    self._answer.steps.append(delta)
        return deltas

    def _keep_unknown(self, frame: Frame, output: dict[str, Any]) -> None:
        known = {"output", "message"}  # the message of a successful response
        self._answer.extra |= {name: value for name, value in frame.extra.items() if name not in known}
        unknown = {
            name: value for name, value in output.items() if name not in ("choices", "request_id")
        }
        if unknown:
            self._answer.extra["output"] = self._answer.extra.get("output", {}) | unknown

    def _find_bracket_marks(self, text: str) -> list[Marker]:
        return [
            Marker(int(match[1]), match.start(), len(match[0]))
            for match in _BRACKET_MARK.finditer(text)
            if int(match[1]) in self._passages
        ]


def _to_text(content: Any) -> str:
    """Return the text of a message, whose content may be a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def _to_arguments_text(arguments: Any) -> str:
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    return json.dumps(arguments, ensure_ascii=False)


def _parse_arguments(text: str) -> dict[str, Any] | None:
    """Return the arguments of a call, or None if they are not a complete JSON object."""
    value = wire_json.parse_nested(text)
    return value if isinstance(value, dict) else None


def _to_reference(passage: Passage) -> dict[str, Any]:
    """Return a source under the names of an application's `doc_references`."""
    fields = {
        "index_id": passage.index,
        "title": passage.title,
        "doc_name": passage.doc_name,
        "doc_id": passage.doc_id,
        "doc_url": passage.doc_url,
        "text": passage.text,
        "images": passage.images,
        "page_number": passage.page_number,
    }
    return {
        name: value for name, value in fields.items() if value not in (None, "", [])
    } | passage.extra
