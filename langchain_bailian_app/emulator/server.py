"""Entry point of the emulator: `BailianEmulator`.

It owns the apps, the stores and the recorded requests, and starts and stops the server.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Self

from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

from langchain_bailian_app.emulator._apps.app import App, Replay
from langchain_bailian_app.emulator._apps.samples import (
    CHAT_SERVICE_ID,
    CUSTOMS_APP_ID,
    SEARCH_SERVICE_ID,
    build_sample_apps,
)
from langchain_bailian_app.emulator._completion.endpoint import CompletionEndpoint
from langchain_bailian_app.emulator._connector.endpoints import ConnectorEndpoints
from langchain_bailian_app.emulator._http.app import Gateway, logger
from langchain_bailian_app.emulator._http.exchange import EVENT_STREAM
from langchain_bailian_app.emulator._http.recorder import RecordedRequest
from langchain_bailian_app.emulator._http.server_thread import FindConnection, ServerThread
from langchain_bailian_app.emulator._knowledge.knowledge_base import KnowledgeBase
from langchain_bailian_app.emulator._knowledge_services.chat import KnowledgeChatEndpoint
from langchain_bailian_app.emulator._knowledge_services.endpoints import KnowledgeServiceEndpoints
from langchain_bailian_app.emulator._knowledge_services.service import (
    KnowledgeService,
    KnowledgeSwitches,
)
from langchain_bailian_app.emulator._memory_library.endpoints import MemoryLibraryEndpoints
from langchain_bailian_app.emulator._memory_library.store import MemoryLibraryStore
from langchain_bailian_app.emulator._openapi.endpoint import OpenApiRouter
from langchain_bailian_app.emulator._openapi.file_actions import FileActions
from langchain_bailian_app.emulator._openapi.memory_actions import MemoryActions
from langchain_bailian_app.emulator._responses.endpoints import ResponsesEndpoints
from langchain_bailian_app.emulator._retrieve.endpoint import PipelineEndpoints
from langchain_bailian_app.emulator._state.memories import MemoryStore
from langchain_bailian_app.emulator._state.runs import RunStore
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
    """A local server with the wire protocol of Bailian applications. It contains no model.

    ```python
    with BailianEmulator() as bailian:
        print(bailian.base_url, bailian.api_key, bailian.app_id)
    ```

    Args:
        seed_apps: Whether to add the sample apps (customs terms, phones, an echo and a workflow) and
            knowledge services (`aid-customs` and `aid-customs-chat`). Default: True.
        pace: Seconds to wait before each frame, for apps without their own `pace`. Default: 0.
        log_level: Level of the logger `langchain_bailian_app.emulator`. `info` logs every request.
            Default: `warning`.
        port: Port on the loopback interface. Default: 0, which selects a free port.
        api_key: The API key that the emulator accepts. Default: `sk-emulator`.
        unknown_session: Behavior if a `session_id` is unknown or has been idle for an hour: reject the
            request (`error`), start a session with a new id (`new`, the default), or start an empty
            session with the same id (`same`).
        full_session: Behavior if a session has 50 rounds: reject the request (`error`), start a session
            with a new id (`new`, the default), or drop the oldest round (`oldest`).
        keep_aborted: Whether to save a turn whose answer was not completed, for example because the
            client disconnected. The saved turn contains the question and the text sent so far.
            Default: False, which drops the turn.
        clock: Function that returns the time in seconds. It determines when sessions, leases, session
            files, memory nodes and background runs expire, and when extractions end. Default:
            `time.monotonic`.
        now: Function that returns the current time, used to date session files, memory nodes and the
            facts in long-term memories. Default: the local time.
        allowed_hosts: Values of the `Host` header, without the port, that are answered. Others get
            status 400, because a web page could otherwise send requests under its own domain name (DNS
            rebinding). Default: `127.0.0.1` and `localhost`.
    """

    api_key: str
    """The accepted API key. Other keys are rejected with 401 `InvalidApiKey`."""
    app_id: str
    """Id of the default app, the assistant for customs terms."""
    apps: dict[str, App]
    """All apps by id."""
    knowledge_bases: list[KnowledgeBase]
    """Knowledge bases that requests can use although they are not bound to an app."""
    knowledge_services: list[KnowledgeService]
    """Search and chat services."""
    knowledge_switches: KnowledgeSwitches
    """Behavior of knowledge services where the sources are silent or disagree."""
    access_key_id: str
    """The AccessKey id that the emulator accepts for Bailian's OpenAPI (session files and memories)."""
    access_key_secret: str
    """The secret of `access_key_id`. Signatures are not checked."""
    files: FileStore
    """Session files, and settings for faults, delays and limits."""
    memory_library: MemoryLibraryStore
    """Memory libraries, and settings for their delays, quotas and faults."""
    runs: RunStore
    """Background runs, and settings for faults, delays and undocumented behavior."""
    requests: list[RecordedRequest]
    """All recorded requests, in order of arrival."""

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
        allowed_hosts: Sequence[str] = ("127.0.0.1", "localhost"),
    ) -> None:
        self.api_key = api_key
        self.access_key_id = "LTAI-emulator"
        self.access_key_secret = "emulator"  # noqa: S105 - a fixed value, not a secret
        self.app_id = CUSTOMS_APP_ID
        self.apps = {}
        self.knowledge_bases = []
        self.knowledge_services = []
        self.knowledge_switches = KnowledgeSwitches()
        self.requests = []
        self._port = port
        self._clock = clock
        self._allowed_hosts = allowed_hosts
        self._server: ServerThread | None = None
        self._sessions = CloudSessions(
            clock, unknown_session=unknown_session, full_session=full_session, keep_aborted=keep_aborted
        )
        self.files = FileStore(clock, now)
        self.memory_library = MemoryLibraryStore(clock, now)
        self.runs = RunStore(clock)
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
        customs = self.apps[CUSTOMS_APP_ID].knowledge_bases
        self.add_knowledge_service(KnowledgeService("海关检索", customs, agent_id=SEARCH_SERVICE_ID))
        self.add_knowledge_service(KnowledgeService("海关问答", customs, "chat", CHAT_SERVICE_ID))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        """The base URL for clients, `http://127.0.0.1:PORT/api/v1`.

        Raises:
            RuntimeError: The emulator is not running.
        """
        if self._server is None:
            message = "the emulator is not running: use it in a `with` statement or call `start()`"
            raise RuntimeError(message)
        return f"http://127.0.0.1:{self._server.port}/api/v1"

    @property
    def openapi_endpoint(self) -> str:
        """The endpoint of Bailian's OpenAPI, `http://127.0.0.1:PORT`. It accepts any workspace.

        Raises:
            RuntimeError: The emulator is not running.
        """
        return self.base_url.removesuffix("/api/v1")

    @property
    def pace(self) -> float:
        """Seconds to wait before each frame, for apps without their own `pace`."""
        return self._completion_endpoint.pace

    @pace.setter
    def pace(self, seconds: float) -> None:
        self._completion_endpoint.pace = seconds

    @property
    def unknown_session(self) -> UnknownSessionPolicy:
        """Behavior if a `session_id` is unknown or has been idle for an hour."""
        return self._sessions.unknown_session

    @unknown_session.setter
    def unknown_session(self, value: UnknownSessionPolicy) -> None:
        self._sessions.unknown_session = value

    @property
    def full_session(self) -> FullSessionPolicy:
        """Behavior if a session has 50 rounds."""
        return self._sessions.full_session

    @full_session.setter
    def full_session(self, value: FullSessionPolicy) -> None:
        self._sessions.full_session = value

    @property
    def keep_aborted(self) -> bool:
        """Whether a turn is saved if its answer was not completed."""
        return self._sessions.keep_aborted

    @keep_aborted.setter
    def keep_aborted(self, value: bool) -> None:
        self._sessions.keep_aborted = value

    @property
    def connections(self) -> int:
        """Number of open client connections, including idle ones."""
        return 0 if self._server is None else self._server.connections

    def start(self) -> Self:
        """Start the server. It accepts requests when this method returns.

        Raises:
            OSError: The port is in use.
            OverflowError: The port is out of range.
        """
        if self._server is None:
            self._server = ServerThread(self._build_app, self._port)
        return self

    def _build_app(self, find_connection: FindConnection) -> ASGIApp:
        gateway = Gateway(self.api_key, self.requests, find_connection)
        knowledge = KnowledgeServiceEndpoints(
            self.knowledge_services,
            self.knowledge_switches,
            self.apps,
            self.knowledge_bases,
            self._clock,
        )
        router = gateway.build_router(
            completion=self._completion_endpoint,
            retrieve=self._pipeline_endpoints.retrieve,
            find_pipeline=self._pipeline_endpoints.find_pipeline,
            v1_endpoints=ConnectorEndpoints(self.files).by_route() | knowledge.by_route(),
            v2_endpoints={
                ("POST", "/apps/knowledge/chat"): KnowledgeChatEndpoint(knowledge, self.pace),
                **MemoryLibraryEndpoints(self.memory_library).by_route(),
                **ResponsesEndpoints(self._completion_endpoint, self.runs).by_route(),
            },
            extra_routes=self._build_openapi_routes(find_connection),
        )
        return TrustedHostMiddleware(router, allowed_hosts=self._allowed_hosts, www_redirect=False)

    def _build_openapi_routes(self, find_connection: FindConnection) -> list[Route]:
        openapi = OpenApiRouter(self.access_key_id, self.requests, find_connection)
        memory_actions = MemoryActions(self._completion_endpoint.memories)
        return [*FileActions(self.files).build_routes(openapi), *memory_actions.build_routes(openapi)]

    def stop(self) -> None:
        """Drop all connections and stop the server; apps, sessions and recorded requests are kept."""
        if self._server is not None:
            self._server.stop()
            self._server = None
            self.files.close()

    def add_app(self, app: App) -> str:
        """Add an app, replacing any app with the same id, and return its id."""
        self.apps[app.app_id] = app
        return app.app_id

    def add_knowledge_base(self, knowledge_base: KnowledgeBase) -> str:
        """Add a knowledge base that is not bound to an app, and return its `pipeline_id`."""
        self.knowledge_bases.append(knowledge_base)
        return knowledge_base.pipeline_id

    def add_knowledge_service(self, service: KnowledgeService) -> str:
        """Add a knowledge service, replacing any service with the same id, and return its id."""
        self.knowledge_services[:] = [
            s for s in self.knowledge_services if s.agent_id != service.agent_id
        ]
        self.knowledge_services.append(service)
        return service.agent_id

    def session(self, session_id: str) -> list[Round]:
        """Return the rounds of a session, oldest first; an empty list if the session is unknown."""
        return self._sessions.rounds(session_id)

    def sessions(self) -> dict[str, list[Round]]:
        """Return the rounds of all sessions by session id, the oldest session first."""
        return self._sessions.all_rounds()

    def reset(self) -> None:
        """Clear sessions, memories, session files, background runs and recorded requests.

        Apps and settings are kept. The libraries and rules in `memory_library` are kept, without their
        nodes and schemas.
        """
        self.requests.clear()
        self._sessions.clear()
        self._completion_endpoint.memories.clear()
        self.files.clear()
        self.memory_library.clear()
        self.runs.started.clear()

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
            body: The body of the response. It is sent unchanged, even if `headers` contains a
                `content-encoding`.
            content_type: The content type. Default: an event stream.
            status: The HTTP status. Default: 200.
            headers: Additional response headers.
            cuts: Byte offsets at which the body is split into separately written pieces. Default: one
                piece.
            pause: Seconds to wait before each piece. Default: 0.
            abort: Whether to drop the connection after the last piece without terminating the body.
                Default: False.

        Returns:
            The id of the app.
        """
        replay = Replay(body, content_type, status, headers or {}, cuts, pause, abort)
        return self.add_app(App(name="replay", replay=replay))
