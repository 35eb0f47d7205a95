"""Endpoint of chat services: `POST /api/v2/apps/knowledge/chat`, always a stream.

An answer consists of sentences from the knowledge bases, since the emulator has no model. The frames
follow the official page; what it leaves open is in `KnowledgeSwitches`.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_bailian_app.emulator._apps.default_answers import default_reasoning, default_reply
from langchain_bailian_app.emulator._apps.turn import Turn
from langchain_bailian_app.emulator._http.encoding import compact_json, encode_event, encode_json
from langchain_bailian_app.emulator._http.errors import ErrorReply, RequestRefused, refuse
from langchain_bailian_app.emulator._http.exchange import HttpExchange
from langchain_bailian_app.emulator._http.fields import get_object, get_strings, get_typed
from langchain_bailian_app.emulator._knowledge.knowledge_base import Hit, KnowledgeBase
from langchain_bailian_app.emulator._knowledge_services.endpoints import KnowledgeServiceEndpoints
from langchain_bailian_app.emulator._knowledge_services.nodes import render_metadata
from langchain_bailian_app.emulator._knowledge_services.service import (
    KnowledgeService,
    KnowledgeSwitches,
)
from langchain_bailian_app.emulator._state.sessions import Round
from langchain_bailian_app.emulator.text import MARKER, TokenCounter, split_into_pieces

_MAX_FILES = 10
_MODEL = "qwen-plus"


@dataclass
class KnowledgeChatEndpoint:
    """The endpoint; it finds and searches services as the other endpoints do."""

    endpoints: KnowledgeServiceEndpoints
    pace: float = 0.0

    async def __call__(self, exchange: HttpExchange, _id: str) -> None:
        """Answer a request.

        Raises:
            RequestRefused: The API key is wrong.
        """
        try:
            body = self._read_body(exchange)
        except RequestRefused as refused:
            status, error_body = self.endpoints.render_error(refused.reply, exchange.request_id)
            await exchange.send_error_body(status, error_body)
            return
        payloads: Sequence[Mapping[str, Any]] = ()
        try:
            service = self._find_service(body)
            error = service.error if service.error is not None and service.error.take() else None
            payloads = list(self._answer(body, service, exchange.request_id))
        except RequestRefused as refused:
            error = refused.reply
        frames = _encode(payloads, error, self.endpoints.switches, exchange.request_id)
        await exchange.send_stream(exchange.pace_chunks(frames, self.pace))

    def _read_body(self, exchange: HttpExchange) -> Mapping[str, Any]:
        body = exchange.json()
        if body.get("stream") is not True:
            status = self.endpoints.switches.no_stream_status
            raise RequestRefused(ErrorReply(status, "InvalidParameter", "stream must be true"))
        return body

    def _find_service(self, body: Mapping[str, Any]) -> KnowledgeService:
        options = get_object(get_object(body, "parameters"), "agent_options")
        return self.endpoints.find_service(options, "chat")

    def _answer(
        self, body: Mapping[str, Any], service: KnowledgeService, request_id: str
    ) -> Iterator[Mapping[str, Any]]:
        switches = self.endpoints.switches
        input_fields = get_object(body, "input")
        options = get_object(get_object(body, "parameters"), "agent_options")
        if len(files := get_strings(options, "session_files")) > _MAX_FILES:
            refuse("InvalidParameter", f"session_files has more than {_MAX_FILES} items")
        if files and not service.pre_parses_files:
            refuse("InvalidParameter", "session_files: file pre-parsing is off")
        configs = options.get("kb_search_configs")
        if configs is not None and not switches.accepts_chat_filters:
            refuse("InvalidParameter", "kb_search_configs is not supported")
        prompt, history, images = _read_messages(input_fields, switches)
        hits = self.endpoints.search_service(service, prompt, configs)
        writer = _FrameWriter(switches, input_fields.get("request_id"), request_id)
        return writer.write(
            _number_hits(hits),
            Turn(
                prompt,
                history,
                searched=True,
                hits=tuple(hit for hit, _ in _number_hits(hits)),
                images=images,
                files=files,
            ),
            service,
        )


def _number_hits(hits: Sequence[tuple[Hit, KnowledgeBase]]) -> list[tuple[Hit, KnowledgeBase]]:
    """Return the hits numbered from 1; each knowledge base has numbered its own."""
    return [
        (Hit(hit.chunk, hit.score, number), knowledge_base)
        for number, (hit, knowledge_base) in enumerate(hits, start=1)
    ]


def _read_messages(
    input_fields: Mapping[str, Any], switches: KnowledgeSwitches
) -> tuple[str, tuple[Round, ...], tuple[str, ...]]:
    """Return the question, the earlier rounds and the images of the question.

    Raises:
        RequestRefused: There is no question, or a message has an unknown role.
    """
    roles = {"user", "assistant"} | ({"tool"} if switches.accepts_tool_role else set())
    messages = get_typed(input_fields, "messages", list) or []
    turns: list[tuple[str, str, tuple[str, ...]]] = []
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in roles:
            refuse("InvalidParameter", f"messages: the role must be one of {', '.join(sorted(roles))}")
        turns.append((message["role"], *_read_content(message.get("content"))))
    if not turns or turns[-1][0] != "user" or not turns[-1][1].strip():
        refuse("InvalidParameter", "messages: the last message must be a question")
    history: list[Round] = []
    question = ""
    for role, text, _ in turns[:-1]:
        if role == "user":
            question = text
        elif role == "assistant":
            history.append(Round(question, text))
    return turns[-1][1], tuple(history), turns[-1][2]


def _read_content(content: object) -> tuple[str, tuple[str, ...]]:
    if isinstance(content, str):
        return content, ()
    texts, images = [], []
    for part in content if isinstance(content, list) else ():
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "image_url", "image_url": {"url": str(url)}}:
                images.append(url)
            case _:
                refuse("InvalidParameter", "messages: a part must have the type text or image_url")
    return "".join(texts), tuple(images)


@dataclass
class _FrameWriter:
    """Builder of the payloads of one answer."""

    switches: KnowledgeSwitches
    client_request_id: object
    request_id: str

    def write(
        self, hits: list[tuple[Hit, KnowledgeBase]], turn: Turn, service: KnowledgeService
    ) -> Iterator[Mapping[str, Any]]:
        planning = split_into_pieces(default_reasoning(turn))
        answer = self._render_text(default_reply(turn, cite=True).text)
        usage = _build_usage(turn, "".join(planning), answer)
        border = {"agent_name": service.name, "request_id": self.request_id, "model_name": _MODEL}
        yield self._frame("control", "", {"group": "planning", "step": "planning", "step_change": ""})
        steps = [self._write_planning(planning, border), self._write_tool(hits, turn, service, usage)]
        for step in steps if self.switches.step_order == "plan-first" else reversed(steps):
            yield from step
        yield from self._write_text(split_into_pieces(answer), border, usage)

    def _render_text(self, text: str) -> str:
        mark = self.switches.citation_mark
        if mark == "ref":
            return text
        return MARKER.sub(lambda match: f"[{match[1]}]" if mark == "bracket" else "", text)

    def _write_planning(
        self, pieces: Sequence[str], border: Mapping[str, Any]
    ) -> Iterator[Mapping[str, Any]]:
        extra = {"group": "planning", "step": "planning"}
        yield self._frame("assistant", "", extra | {"step_change": "plan_start"}, metadata=border)
        for piece in pieces:
            yield self._frame("assistant", piece, extra | {"step_change": ""})
        yield self._frame("assistant", "", extra | {"step_change": "plan_end"}, metadata=border)

    def _write_tool(
        self,
        hits: list[tuple[Hit, KnowledgeBase]],
        turn: Turn,
        service: KnowledgeService,
        usage: Mapping[str, int],
    ) -> Iterator[Mapping[str, Any]]:
        extra = {"group": "planning", "step": "tool_calling"}
        call_id = f"call_{uuid.uuid4().hex[:16]}"
        targets = [knowledge_base.pipeline_id for knowledge_base in service.knowledge_bases]
        arguments = compact_json({"query": turn.prompt, "target_ids": targets})
        call = {
            "index": 0,
            "id": call_id,
            "type": "function",
            "function": {"name": "semantic_search", "arguments": arguments},
        }
        round_usage = {**usage, "output_tokens": 20, "total_tokens": usage["input_tokens"] + 20}
        yield self._frame(
            "assistant", "", extra | {"step_change": "tool_calling"}, calls=[call], usage=round_usage
        )
        docs = [
            render_metadata(hit, knowledge_base) | {"_citation_index": hit.index}
            for hit, knowledge_base in hits
        ]
        extra_json: Any = {"docs": docs}
        if self.switches.extra_json == "string":
            extra_json = compact_json(extra_json)
        yield self._frame(
            "tool",
            f"{len(docs)}",
            extra | {"step_change": "tool_return"},
            call_id=call_id,
            kwargs={"extra_json": extra_json},
        )

    def _write_text(
        self, pieces: Sequence[str], border: Mapping[str, Any], usage: Mapping[str, int]
    ) -> Iterator[Mapping[str, Any]]:
        extra = {"group": "generating", "step": "generating"}
        yield self._frame("assistant", "", extra | {"step_change": "generation_start"}, metadata=border)
        for piece in pieces:
            yield self._frame("assistant", piece, extra | {"step_change": ""})
        yield self._frame(
            "assistant",
            "",
            extra | {"step_change": "generation_end"},
            metadata={**border, "finish_reason": "stop"},
            finish_reason="stop",
            usage=usage,
        )

    def _frame(
        self,
        role: str,
        content: str,
        extra: Mapping[str, str],
        *,
        calls: Sequence[Mapping[str, Any]] = (),
        call_id: str | None = None,
        kwargs: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        finish_reason: str = "",
        usage: Mapping[str, int] | None = None,
    ) -> Mapping[str, Any]:
        message: dict[str, Any] = {
            "role": role,
            "type": "tool" if role == "tool" else "ai",
            "content": content,
            "id": "run--emulator",
            "tool_calls": list(calls),
            "additional_kwargs": dict(kwargs or {}),
            "response_metadata": dict(metadata or {}),
            "extra": dict(extra),
        }
        if call_id is not None:
            message["tool_call_id"] = call_id
        output = {
            "request_id": self.client_request_id or self.request_id,
            "choices": [{"finish_reason": finish_reason, "message": message}],
        }
        payload = {"output": output, "code": "200", "message": "Success", "request_id": self.request_id}
        return payload if usage is None else payload | {"usage": dict(usage)}


def _build_usage(turn: Turn, planning: str, answer: str) -> dict[str, int]:
    context = "".join(hit.chunk.content for hit in turn.hits)
    earlier = "".join(past.prompt + past.answer for past in turn.history)
    input_tokens = TokenCounter(turn.prompt + earlier + context).tokens
    output_tokens = TokenCounter(planning + answer).tokens
    return {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        "cached_tokens": 0,
    }


def _encode(
    payloads: Sequence[Mapping[str, Any]],
    error: ErrorReply | None,
    switches: KnowledgeSwitches,
    request_id: str,
) -> Iterator[bytes]:
    """Yield the bytes of the frames, and of an error event if there is one."""
    sent = payloads if error is None else payloads[: error.in_stream_after or 0]
    for number, payload in enumerate(sent, start=1):
        if switches.framing == "plain":
            yield b"data:" + encode_json(payload) + b"\n\n"
        else:
            yield encode_event(number, payload)
    if error is not None:
        yield b"event: error\ndata: " + encode_json(error.body(request_id)) + b"\n\n"
    elif switches.done:
        yield b"data: [DONE]\n\n"
