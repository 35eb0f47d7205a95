"""Endpoint of application completion: `POST /apps/{app_id}/completion`, from request to answer.

It connects the stores, the app and the exchange. Each step is one short function.
"""

import asyncio
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_bailian_app.emulator._apps.app import App, Replay, collect_knowledge_bases
from langchain_bailian_app.emulator._apps.turn import Turn
from langchain_bailian_app.emulator._completion.app_kinds import parse_request
from langchain_bailian_app.emulator._completion.faulty_response import FaultyResponseSender
from langchain_bailian_app.emulator._completion.persistence import TurnPersistence
from langchain_bailian_app.emulator._completion.reply import RenderedReply, render_reply
from langchain_bailian_app.emulator._completion.request import CompletionRequest, ParsedRagOptions
from langchain_bailian_app.emulator._http.encoding import encode_event, encode_json
from langchain_bailian_app.emulator._http.errors import ErrorReply, RequestRefused, refuse
from langchain_bailian_app.emulator._http.exchange import HttpExchange
from langchain_bailian_app.emulator._knowledge.knowledge_base import KnowledgeBase, search
from langchain_bailian_app.emulator._knowledge.query_rewriting import rewrite_query
from langchain_bailian_app.emulator._state.memories import MemoryStore
from langchain_bailian_app.emulator._state.session_files import FileStore
from langchain_bailian_app.emulator._state.sessions import CloudSessions, Session

_PROMPT_VARIABLE = re.compile(r"\$\{\s*(\w+)\s*\}|\{\{\s*(\w+)\s*\}\}")


@dataclass
class CompletionEndpoint:
    """Completion endpoint for all apps of the emulator."""

    apps: Mapping[str, App]
    sessions: CloudSessions
    memories: MemoryStore
    pace: float
    files: FileStore
    extra_knowledge: Sequence[KnowledgeBase] = field(default_factory=list)

    async def __call__(self, exchange: HttpExchange, app_id: str) -> None:
        """Answer one request.

        Raises:
            RequestRefused: The service would reject the request.
        """
        app = self.find_app(exchange, app_id)
        if app.replay is not None:
            await _send_replay(exchange, app.replay)
            return
        body = exchange.json()
        forced_error = app.error if app.error and app.error.take() else None
        if forced_error and (forced_error.in_stream_after is None or not exchange.wants_stream):
            raise RequestRefused(forced_error)
        request = parse_request(app, body, stream=exchange.wants_stream)
        session = self._open_session(app, request)
        turn = self.build_turn(app, request, session)
        reply = render_reply(app, request, turn, exchange.request_id)
        persistence = TurnPersistence(self.sessions, self.memories, session, turn, reply, exchange)
        exchange.on_end = persistence.on_abort
        await self._send_reply(exchange, app, reply, forced_error, persistence)

    def find_app(self, exchange: HttpExchange, app_id: str) -> App:
        """Return the app of a request.

        Raises:
            RequestRefused: It is unknown, not published, or in another workspace.
        """
        app = self.apps.get(app_id)
        workspace = exchange.headers.get("x-dashscope-workspace")
        if app is None or (app.workspace is not None and app.workspace != workspace):
            refuse("App.AccessDenied")
        if not app.published:
            refuse("FlowNotPublished")
        return app

    def _open_session(self, app: App, request: CompletionRequest) -> Session:
        if app.kind == "workflow" and not app.dialog:
            return self.sessions.create_unsaved(app.app_id)
        if request.history is not None or request.session_id is None:
            return self.sessions.create(app.app_id, request.history or ())
        return self.sessions.resume(app.app_id, request.session_id)

    def pace_of(self, app: App) -> float:
        """Return the seconds before each frame of an app's answer."""
        return self.pace if app.pace is None else app.pace

    def build_turn(self, app: App, request: CompletionRequest, session: Session) -> Turn:
        """Build the input of an answer: search the knowledge, and recall memories."""
        history = tuple(session.rounds)
        if request.dialog_round is not None:
            history = history[max(len(history) - request.dialog_round, 0) :]
        options = request.rag_options
        knowledge_bases = [
            *self._select_knowledge_bases(app, options),
            *self.files.find_knowledge_bases(options.session_file_ids, app.workspace),
        ]
        memory_id = None
        if app.long_term_memory:
            memory_id = request.memory_id or f"default-{app.app_id}"
        return Turn(
            prompt=request.prompt,
            history=history,
            system="\n".join(
                filter(None, [_fill_prompt_variables(app.system, request.biz_params), request.system])
            ),
            session_id=session.session_id,
            searched=bool(knowledge_bases or options.pipeline_ids),
            hits=search(
                knowledge_bases,
                rewrite_query(request.prompt, [r.prompt for r in history]),
                options.chunk_filter.matches,
                limit=app.top_k,
            ),
            memory_id=memory_id,
            memories=self.memories.recall(memory_id) if memory_id else (),
            images=request.images,
            files=(*request.files, *options.session_file_ids),
            biz_params=request.biz_params,
            parameters=request.parameters,
            thinking=app.thinks(request.enable_thinking),
        )

    def _select_knowledge_bases(self, app: App, options: ParsedRagOptions) -> Sequence[KnowledgeBase]:
        """Return the knowledge bases in the request, or those bound to the app; skip unknown ids."""
        if options.pipeline_ids is None:
            return app.knowledge_bases
        by_id = collect_knowledge_bases(self.apps, self.extra_knowledge)
        return [by_id[i] for i in dict.fromkeys(options.pipeline_ids) if i in by_id]

    async def _send_reply(
        self,
        exchange: HttpExchange,
        app: App,
        reply: RenderedReply,
        forced_error: ErrorReply | None,
        persistence: TurnPersistence,
    ) -> None:
        """Send the answer; save the turn just before its last piece is sent."""
        pace = self.pace_of(app)
        fault = app.faults.draw() if app.faults else None
        count = reply.frame_count
        if app.faults is not None and fault is not None:
            intact_events = (
                _encode_events(reply, None) if exchange.wants_stream else [_encode_full_reply(reply)]
            )
            # Compressing a bomb would block the event loop.
            response = await asyncio.to_thread(fault, list(intact_events), exchange.request_id)
            sender = FaultyResponseSender(exchange, response, persistence, pace, app.faults.interval)
            await sender.send()
        elif exchange.wants_stream:
            on_frame = {count: persistence.on_complete}
            if forced_error is not None and forced_error.in_stream_after is not None:
                on_frame = {min(count, forced_error.in_stream_after) + 1: persistence.on_abort}
            frames = exchange.pace_chunks(
                _encode_events(reply, forced_error),
                pace,
                before_chunk=on_frame,
                stall_after=app.stall_after,
                cut_after=app.cut_after,
            )
            await exchange.send_stream(frames)
        else:
            await exchange.send_json(
                reply.full_payload(),
                delay=pace * reply.duration_frames,
                before_send=persistence.on_complete,
            )


def _encode_events(reply: RenderedReply, forced_error: ErrorReply | None) -> Iterator[bytes]:
    """Encode the frames of a stream; a forced error ends it after `in_stream_after` frames."""
    payloads = reply.frame_payloads()
    if forced_error is not None:
        payloads_before_error = itertools.islice(payloads, forced_error.in_stream_after)
        number = 0
        for number, payload in enumerate(payloads_before_error, start=1):
            yield encode_event(number, payload)
        error_body = forced_error.body(reply.request_id)
        yield encode_event(number + 1, error_body, status=forced_error.status)
        return
    for number, payload in enumerate(payloads, start=1):
        yield encode_event(number, payload)


def _encode_full_reply(reply: RenderedReply) -> bytes:
    return encode_json(reply.full_payload())


async def _send_replay(exchange: HttpExchange, replay: Replay) -> None:
    chunks = replay.split_body()
    cut_after = len(chunks) if replay.abort else None
    await exchange.send_chunks(
        replay.status,
        {"content-type": replay.content_type, **replay.headers},
        exchange.pace_chunks(chunks, replay.pause, cut_after=cut_after),
    )


def _fill_prompt_variables(template: str, biz_params: Mapping[str, Any]) -> str:
    """Fill in prompt variables; leave those without a value unchanged."""
    prompt_params = biz_params.get("user_prompt_params")
    values = prompt_params if isinstance(prompt_params, dict) else {}

    def replacement(match: re.Match[str]) -> str:
        return str(values.get(match.group(1) or match.group(2), match.group(0)))

    return _PROMPT_VARIABLE.sub(replacement, template)
