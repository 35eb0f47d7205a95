"""Endpoints under `/api/v2/apps/agent/{app_id}/compatible-mode/v1/responses`.

A run is a task on the server's event loop. It asks the application as completion does, and takes as
long as an answer without streaming. The texts of the messages are unverified.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from langchain_bailian_app.emulator._apps.app import App
from langchain_bailian_app.emulator._completion.endpoint import CompletionEndpoint
from langchain_bailian_app.emulator._completion.frames import RenderedAgentReply
from langchain_bailian_app.emulator._completion.reply import render_reply
from langchain_bailian_app.emulator._completion.request import CompletionRequest
from langchain_bailian_app.emulator._http.app import Endpoint
from langchain_bailian_app.emulator._http.errors import ErrorReply, RequestRefused, refuse
from langchain_bailian_app.emulator._http.exchange import HttpExchange
from langchain_bailian_app.emulator._responses.replies import build_response
from langchain_bailian_app.emulator._responses.request import parse_run_request
from langchain_bailian_app.emulator._state.runs import RunStore, StoredRun

_PATH = "/apps/agent/{app_id}/compatible-mode/v1/responses"
_WORKSPACE_DOMAIN = ".maas.aliyuncs.com"
_FIRST_SERVER_ERROR = 500
_FAULT_CODES = {
    "create_throttled": "Throttling.RateQuota",
    "create_error": "InternalError",
    "retrieve_throttled": "Throttling.RateQuota",
    "retrieve_error": "InternalError",
}


class ResponsesEndpoints:
    """The endpoints, on the applications of the completion endpoint."""

    def __init__(self, completion: CompletionEndpoint, store: RunStore) -> None:
        self._completion = completion
        self._store = store
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def by_route(self) -> dict[tuple[str, str], Endpoint]:
        """Return the endpoints by method and path."""
        return {
            ("POST", _PATH): self._checked(self._create),
            ("GET", f"{_PATH}/{{run_id}}"): self._checked(self._retrieve),
            ("DELETE", f"{_PATH}/{{run_id}}"): self._checked(self._delete),
            ("POST", f"{_PATH}/{{run_id}}/cancel"): self._checked(self._cancel),
        }

    def _checked(self, endpoint: Callable[[HttpExchange, App], Any]) -> Endpoint:
        async def respond(exchange: HttpExchange, app_id: str) -> None:
            host = exchange.headers.get("host", "").partition(":")[0]
            if host.endswith(_WORKSPACE_DOMAIN) and not self._store.switches.workspace_host:
                refuse("NotFound")
            await endpoint(exchange, self._completion.find_app(exchange, app_id))

        return respond

    async def _create(self, exchange: HttpExchange, app: App) -> None:
        fault = self._store.draw_fault("create")
        _refuse_fault(fault)
        request = parse_run_request(app, exchange.json())
        forced_error = app.error if app.error and app.error.take() else None
        if forced_error is not None and forced_error.status < _FIRST_SERVER_ERROR:
            raise RequestRefused(forced_error)
        run = self._store.start(app.app_id, request.prompt)
        if self._store.draw_fault("run"):
            forced_error = ErrorReply.of("AppProcessFailed")
        task = asyncio.create_task(self._execute(run, app, request, forced_error))
        self._tasks[run.run_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(run.run_id, None))
        await self._reply(exchange, build_response(run, self._store.switches), lost=fault is not None)

    async def _execute(
        self, run: StoredRun, app: App, request: CompletionRequest, forced_error: ErrorReply | None
    ) -> None:
        """Run the application."""
        await asyncio.sleep(self._store.queue_seconds)
        run.status = "running"
        if forced_error is not None:
            run.error = forced_error
            self._store.end(run, "failed")
            return
        try:
            session = self._completion.sessions.create_unsaved(app.app_id)
            session.rounds.extend(request.history or ())
            turn = self._completion.build_turn(app, request, session)
            reply = render_reply(app, request, turn, run.run_id)
        except RequestRefused as refused:
            run.error = refused.reply
            self._store.end(run, "failed")
            return
        await asyncio.sleep(self._completion.pace_of(app) * reply.duration_frames)
        run.text = reply.text
        run.reasoning = reply.reasoning if isinstance(reply, RenderedAgentReply) else ""
        self._store.end(run, "completed")

    async def _retrieve(self, exchange: HttpExchange, app: App) -> None:
        self._store.count_query()
        fault = self._store.draw_fault("retrieve")
        _refuse_fault(fault)
        run = self._store.find(app.app_id, _read_run_id(exchange))
        await self._reply(exchange, build_response(run, self._store.switches), lost=fault is not None)

    async def _cancel(self, exchange: HttpExchange, app: App) -> None:
        fault = self._store.draw_fault("cancel")
        run = self._store.find(app.app_id, _read_run_id(exchange))
        response = build_response(run, self._store.switches)
        if run.has_ended:
            if self._store.switches.cancel_ended == "error":
                refuse("InvalidParameter", f"Response {run.run_id} cannot be cancelled.")
            response |= {"status": "failed", "output": []}
        else:
            self._store.end(run, "cancelled")
            if (task := self._tasks.get(run.run_id)) is not None:
                task.cancel()
            response = build_response(run, self._store.switches)
        await self._reply(exchange, response, lost=fault is not None)

    async def _delete(self, exchange: HttpExchange, app: App) -> None:
        fault = self._store.draw_fault("delete")
        run = self._store.find(app.app_id, _read_run_id(exchange))
        if not run.has_ended:
            refuse("InvalidParameter", f"Response {run.run_id} has not ended.")
        self._store.delete(run)
        deleted = {"id": run.run_id, "deleted": True, "object": "response"}
        await self._reply(exchange, deleted, lost=fault is not None)

    async def _reply(self, exchange: HttpExchange, payload: dict[str, Any], *, lost: bool) -> None:
        """Send a reply, or drop the connection instead."""
        if lost:
            await exchange.abort()
        else:
            await exchange.send_json(payload)


def _refuse_fault(fault: str | None) -> None:
    if fault in _FAULT_CODES:
        refuse(_FAULT_CODES[fault])


def _read_run_id(exchange: HttpExchange) -> str:
    return exchange.record.path.partition("/responses/")[2].removesuffix("/cancel")
