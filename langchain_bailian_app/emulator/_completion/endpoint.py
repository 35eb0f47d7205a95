"""Application completion: `POST /apps/{app_id}/completion`, from the door to the answer.

Brings the stores, the app and the exchange together; each step is one short function.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_bailian_app.emulator._apps.app import App, Replay, all_knowledge_bases
from langchain_bailian_app.emulator._apps.faults import Script
from langchain_bailian_app.emulator._apps.turn import Turn
from langchain_bailian_app.emulator._completion.app_kinds import call_to
from langchain_bailian_app.emulator._completion.persistence import Remains
from langchain_bailian_app.emulator._completion.reply import Composed, composed
from langchain_bailian_app.emulator._completion.request import Call, RagOptions
from langchain_bailian_app.emulator._http.encoding import event_bytes, json_bytes
from langchain_bailian_app.emulator._http.errors import ErrorReply, RequestRefused, refuse
from langchain_bailian_app.emulator._http.exchange import EVENT_STREAM, JSON, Exchange
from langchain_bailian_app.emulator._knowledge.knowledge_base import KnowledgeBase, search
from langchain_bailian_app.emulator._knowledge.query_rewriting import rewritten
from langchain_bailian_app.emulator._state.memories import MemoryStore
from langchain_bailian_app.emulator._state.session_files import FileStore
from langchain_bailian_app.emulator._state.sessions import Session, SessionStore

_VARIABLE = re.compile(r"\$\{\s*(\w+)\s*\}|\{\{\s*(\w+)\s*\}\}")


@dataclass
class Completion:
    """The completion endpoint over the emulator's apps and stores."""

    apps: Mapping[str, App]
    sessions: SessionStore
    memories: MemoryStore
    pace: float
    files: FileStore
    extra_knowledge: Sequence[KnowledgeBase] = field(default_factory=list)

    async def __call__(self, exchange: Exchange, app_id: str) -> None:
        """Answer one request.

        Raises:
            RequestRefused: The service would refuse it at the door.
        """
        app = self._admitted(exchange, app_id)
        if app.replay is not None:
            await _replay(exchange, app.replay)
            return
        body = exchange.json()
        provoked = app.error if app.error and app.error.take() else None
        if provoked and (provoked.in_stream_after is None or not exchange.wants_stream):
            raise RequestRefused(provoked)
        call = call_to(app, body, stream=exchange.wants_stream)
        session = self._session(app, call)
        turn = self._turn(app, call, session)
        composition = composed(app, call, turn, exchange.request_id)
        remains = Remains(self.sessions, self.memories, session, turn, composition, exchange)
        exchange.over = remains.keep_broken
        await self._write(exchange, app, composition, provoked, remains)

    def _admitted(self, exchange: Exchange, app_id: str) -> App:
        app = self.apps.get(app_id)
        workspace = exchange.headers.get("x-dashscope-workspace")
        if app is None or (app.workspace is not None and app.workspace != workspace):
            refuse("App.AccessDenied")
        if not app.published:
            refuse("FlowNotPublished")
        return app

    def _session(self, app: App, call: Call) -> Session:
        if app.kind == "workflow" and not app.dialog:
            return self.sessions.fleeting(app.app_id)
        if call.history is not None or call.session_id is None:
            return self.sessions.begin(app.app_id, call.history or ())
        return self.sessions.resume(app.app_id, call.session_id)

    def _turn(self, app: App, call: Call, session: Session) -> Turn:
        history = tuple(session.rounds)
        if call.dialog_round is not None:
            history = history[max(len(history) - call.dialog_round, 0) :]
        options = call.rag_options
        knowledge_bases = [
            *self._knowledge_bases(app, options),
            *self.files.knowledge(options.session_file_ids, app.workspace),
        ]
        memory_id = None
        if app.long_term_memory:
            memory_id = call.memory_id or f"default-{app.app_id}"
        return Turn(
            prompt=call.prompt,
            history=history,
            system="\n".join(filter(None, [_filled(app.system, call.biz_params), call.system])),
            session_id=session.session_id,
            searched=bool(knowledge_bases or options.pipeline_ids),
            hits=search(
                knowledge_bases,
                rewritten(call.prompt, [r.prompt for r in history]),
                options.narrowing.lets_pass,
                limit=app.top_k,
            ),
            memory_id=memory_id,
            memories=self.memories.recall(memory_id) if memory_id else (),
            images=call.images,
            files=(*call.files, *options.session_file_ids),
            biz_params=call.biz_params,
            parameters=call.parameters,
            thinking=app.thinks(call.enable_thinking),
        )

    def _knowledge_bases(self, app: App, options: RagOptions) -> Sequence[KnowledgeBase]:
        """The bound ones, or those the request names instead; an unknown id finds nothing."""
        if options.pipeline_ids is None:
            return app.knowledge_bases
        known = all_knowledge_bases(self.apps, self.extra_knowledge)
        return [known[i] for i in dict.fromkeys(options.pipeline_ids) if i in known]

    async def _write(
        self,
        exchange: Exchange,
        app: App,
        composition: Composed,
        provoked: ErrorReply | None,
        remains: Remains,
    ) -> None:
        """Write the answer; what it leaves behind is kept just before its end is written."""
        pace = self.pace if app.pace is None else app.pace
        fault = app.faults.draw() if app.faults else None
        count = composition.frame_count
        if fault is not None:
            healthy = _events(composition, None) if exchange.wants_stream else [_whole(composition)]
            await _break(exchange, fault(list(healthy), exchange.request_id), pace, remains)
        elif exchange.wants_stream:
            before = {count: remains.keep_whole}
            if provoked is not None and provoked.in_stream_after is not None:
                before = {min(count, provoked.in_stream_after) + 1: remains.keep_broken}
            await exchange.stream(
                _events(composition, provoked),
                pace=pace,
                before=before,
                stall_after=app.stall_after,
                cut_after=app.cut_after,
            )
        else:
            await exchange.answer(
                composition.whole(), after=pace * composition.paces, before=remains.keep_whole
            )


def _events(composition: Composed, provoked: ErrorReply | None) -> Iterator[bytes]:
    """The frames on the wire; a provoked error takes the place of one, or follows the last."""
    payloads = composition.stream()
    if provoked is not None:
        before = itertools.islice(payloads, provoked.in_stream_after)
        number = 0
        for number, payload in enumerate(before, start=1):
            yield event_bytes(number, payload)
        refusal = provoked.body(composition.request_id)
        yield event_bytes(number + 1, refusal, status=provoked.status)
        return
    for number, payload in enumerate(payloads, start=1):
        yield event_bytes(number, payload)


def _whole(composition: Composed) -> bytes:
    return json_bytes(composition.whole())


async def _break(exchange: Exchange, script: Script, pace: float, remains: Remains) -> None:
    """Write what a fault has made of a reply."""
    if script.end == "reset":
        await exchange.hang_up()
        return
    count = len(script.pieces)
    streamed = exchange.wants_stream or script.content_type != EVENT_STREAM
    content_type = script.content_type if streamed else JSON
    await exchange.write(
        script.status,
        {"content-type": content_type, "x-request-id": exchange.request_id, **script.headers},
        script.pieces,
        pace=pace,
        before={count: remains.keep_whole if script.whole else remains.keep_broken},
        stall_after=count if script.end == "stall" else None,
        cut_after=count if script.end == "abort" else None,
    )


async def _replay(exchange: Exchange, replay: Replay) -> None:
    pieces = replay.pieces()
    await exchange.write(
        replay.status,
        {"content-type": replay.content_type, **replay.headers},
        pieces,
        pace=replay.pause,
        cut_after=len(pieces) if replay.abort else None,
    )


def _filled(template: str, biz_params: Mapping[str, Any]) -> str:
    """Fill prompt variables; one without a value stays as it is."""
    given = biz_params.get("user_prompt_params")
    values = given if isinstance(given, dict) else {}

    def value(match: re.Match[str]) -> str:
        return str(values.get(match.group(1) or match.group(2), match.group(0)))

    return _VARIABLE.sub(value, template)
