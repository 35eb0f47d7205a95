"""`BailianEmulator`: the one object that users of this package hold.

Owns the apps, the stores and the records, and starts and stops the server around them.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Self

from starlette.routing import Route

from langchain_bailian_app.emulator._apps.app import App, Replay
from langchain_bailian_app.emulator._apps.samples import CUSTOMS_APP_ID, build_sample_apps
from langchain_bailian_app.emulator._completion.endpoint import CompletionEndpoint
from langchain_bailian_app.emulator._http.app import Gateway, logger
from langchain_bailian_app.emulator._http.exchange import EVENT_STREAM
from langchain_bailian_app.emulator._http.recorder import RecordedRequest
from langchain_bailian_app.emulator._http.server_thread import ServerThread
from langchain_bailian_app.emulator._knowledge.knowledge_base import KnowledgeBase
from langchain_bailian_app.emulator._openapi.endpoint import OpenApiRouter
from langchain_bailian_app.emulator._openapi.file_actions import FileActions
from langchain_bailian_app.emulator._openapi.memory_actions import MemoryActions
from langchain_bailian_app.emulator._retrieve.endpoint import PipelineEndpoints
from langchain_bailian_app.emulator._state.memories import MemoryStore
from langchain_bailian_app.emulator._state.session_files import FileStore
from langchain_bailian_app.emulator._state.sessions import (
    CloudSessions,
    FullSessionPolicy,
    Round,
    UnknownSessionPolicy,
)


def _now() -> datetime:
    return datetime.now().astimezone()


class BailianEmulator:
    """A local server that speaks the wire protocol of Bailian applications. It is no model.

    ```python
    with BailianEmulator() as bailian:
        print(bailian.base_url, bailian.api_key, bailian.app_id)
    ```

    Args:
        seed_apps: Begin with the default apps: customs terms, phones, echo, a workflow.
        pace: Seconds before each frame, for apps without a pace of their own.
        log_level: Level of the logger `langchain_bailian_app.emulator`; `info` logs each request.
        port: Port on loopback; 0 takes a free one.
        api_key: The key it accepts.
        unknown_session: What becomes of a `session_id` that is unknown or was idle for an hour: refused
            (`error`), a session under a new id (`new`), or an empty one under the same (`same`).
        full_session: What becomes of a session of 50 rounds: refused (`error`), a session under a new
            id (`new`), or it goes on without its oldest round (`oldest`).
        keep_aborted: Keep the turn of an answer that did not reach its end, because the client left for
            instance: the question, with the text written so far. Otherwise it is dropped.
        clock: Seconds for the expiry of sessions.
        now: The time that long-term memory writes down.
    """

    api_key: str
    """The key it accepts; any other gets 401 `InvalidApiKey`."""
    app_id: str
    """Id of the default app, the assistant for customs terms."""
    apps: dict[str, App]
    """All apps by id."""
    knowledge_bases: list[KnowledgeBase]
    """Knowledge bases that requests may name though no app is bound to them."""
    access_key_id: str
    """The AccessKey that its OpenAPI accepts, for session files and memories."""
    access_key_secret: str
    """Belongs to it. Signatures are not checked."""
    files: FileStore
    """Session files, and switches for what becomes of them."""
    requests: list[RecordedRequest]
    """Every request so far, in the order of arrival."""

    def __init__(
        self,
        *,
        seed_apps: bool = True,
        pace: float = 0.0,
        log_level: str = "warning",
        port: int = 0,
        api_key: str = "sk-emulator",
        unknown_session: UnknownSessionPolicy = "new",
        full_session: FullSessionPolicy = "new",
        keep_aborted: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self.api_key = api_key
        self.access_key_id = "LTAI-emulator"
        self.access_key_secret = "emulator"  # noqa: S105 - no secret, it is always the same
        self.app_id = CUSTOMS_APP_ID
        self.apps = {}
        self.knowledge_bases = []
        self.requests = []
        self._port = port
        self._server: ServerThread | None = None
        self._sessions = CloudSessions(
            clock, unknown_session=unknown_session, full_session=full_session, keep_aborted=keep_aborted
        )
        self.files = FileStore(clock, now)
        self._completion_endpoint = CompletionEndpoint(
            self.apps, self._sessions, MemoryStore(now), pace, self.files, self.knowledge_bases
        )
        self._pipeline_endpoints = PipelineEndpoints(self.apps, self.knowledge_bases)
        logger.setLevel(getattr(logging, log_level.upper()))
        if seed_apps:
            self._add_sample_apps()

    def _add_sample_apps(self) -> None:
        for app in build_sample_apps():
            self.add_app(app)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        """The base address that clients are given, `http://127.0.0.1:PORT/api/v1`."""
        if self._server is None:
            message = "The emulator is not running: use it in a `with` statement, or call `start()`."
            raise RuntimeError(message)
        return f"http://127.0.0.1:{self._server.port}/api/v1"

    @property
    def openapi_endpoint(self) -> str:
        """Where its OpenAPI is, `http://127.0.0.1:PORT`; any workspace is served."""
        return self.base_url.removesuffix("/api/v1")

    @property
    def pace(self) -> float:
        """Seconds before each frame, for apps without a pace of their own."""
        return self._completion_endpoint.pace

    @pace.setter
    def pace(self, seconds: float) -> None:
        self._completion_endpoint.pace = seconds

    @property
    def unknown_session(self) -> UnknownSessionPolicy:
        """What becomes of a `session_id` that is unknown or was idle for an hour."""
        return self._sessions.unknown_session

    @unknown_session.setter
    def unknown_session(self, value: UnknownSessionPolicy) -> None:
        self._sessions.unknown_session = value

    @property
    def full_session(self) -> FullSessionPolicy:
        """What becomes of a session of 50 rounds."""
        return self._sessions.full_session

    @full_session.setter
    def full_session(self, value: FullSessionPolicy) -> None:
        self._sessions.full_session = value

    @property
    def keep_aborted(self) -> bool:
        """Whether the turn of an answer that did not reach its end is kept."""
        return self._sessions.keep_aborted

    @keep_aborted.setter
    def keep_aborted(self, value: bool) -> None:
        self._sessions.keep_aborted = value

    @property
    def connections(self) -> int:
        """How many connections clients hold open, idle ones included."""
        return 0 if self._server is None else self._server.connections

    def start(self) -> Self:
        """Start the server; it is ready when this returns."""
        if self._server is None:
            gateway = Gateway(self.api_key, self.requests, self._drop_connection)
            router = gateway.build_router(
                completion=self._completion_endpoint,
                retrieve=self._pipeline_endpoints.retrieve,
                find_pipeline=self._pipeline_endpoints.find_pipeline,
                extra_routes=self._build_openapi_routes(),
            )
            self._server = ServerThread(router, self._port)
        return self

    def _build_openapi_routes(self) -> list[Route]:
        openapi = OpenApiRouter(self.access_key_id, self.requests, self._drop_connection)
        memory_actions = MemoryActions(self._completion_endpoint.memories)
        return [*FileActions(self.files).build_routes(openapi), *memory_actions.build_routes(openapi)]

    def stop(self) -> None:
        """Drop all connections and stop the server. Apps, sessions and records stay."""
        if self._server is not None:
            self._server.stop()
            self._server = None
            self.files.close()

    def add_app(self, app: App) -> str:
        """Add an app, or replace the one with its id; returns the id."""
        self.apps[app.app_id] = app
        return app.app_id

    def add_knowledge_base(self, knowledge_base: KnowledgeBase) -> str:
        """Add a knowledge base that no app is bound to; returns its `pipeline_id`."""
        self.knowledge_bases.append(knowledge_base)
        return knowledge_base.pipeline_id

    def session(self, session_id: str) -> list[Round]:
        """The rounds that a session holds, oldest first."""
        return self._sessions.rounds(session_id)

    def sessions(self) -> dict[str, list[Round]]:
        """The rounds of all sessions by id, the session begun first at the front."""
        return self._sessions.all_rounds()

    def reset(self) -> None:
        """Forget sessions, memories, session files and recorded requests; apps and switches stay."""
        self.requests.clear()
        self._sessions.clear()
        self._completion_endpoint.memories.clear()
        self.files.clear()

    def replay(
        self,
        body: bytes,
        *,
        content_type: str = EVENT_STREAM,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        cuts: Sequence[int] = (),
        pause: float = 0.0,
        abort: bool = False,
    ) -> str:
        """Add an app that answers every request with exactly these bytes.

        Args:
            body: The body of the response; nothing is encoded, even with a `content-encoding`.
            content_type: Its content type.
            status: HTTP status.
            headers: Further headers.
            cuts: Offsets at which the body is written in separate pieces.
            pause: Seconds before each piece.
            abort: Drop the connection after the last piece, without a proper end of the body.

        Returns:
            The id of the app.
        """
        replay = Replay(body, content_type, status, headers or {}, cuts, pause, abort)
        return self.add_app(App(name="replay", replay=replay))

    def _drop_connection(self, client: tuple[str, int]) -> None:
        if self._server is not None:
            self._server.drop_connection(client)
