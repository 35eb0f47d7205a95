"""One call's part in a conversation: which request goes out, and what of the answer is remembered.

No waiting here: a method that needs the store yields the name of one of its methods with arguments and
gets the result sent back, so that threads and event loops share every line (`run_store_ops`,
`arun_store_ops`).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Generator
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_bailian_app._request.body import (
    build_session_request,
    build_transcript_request,
    turns_from_messages,
)
from langchain_bailian_app._request.transcript import Turn
from langchain_bailian_app.errors import BailianError
from langchain_bailian_app.sessions._plan import (
    ConversationDigest,
    SessionCheckpoint,
    SessionGuard,
    SessionPlan,
    build_session_metadata,
    checkpoint_from_message,
    plan_session,
)
from langchain_bailian_app.sessions._store import BailianSessionWarning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_bailian_app._answer.answer import Answer
    from langchain_bailian_app._request.fields import CompletionFields
    from langchain_bailian_app._request.service_request import ServiceRequest
    from langchain_bailian_app._transport.credentials import Connection
    from langchain_bailian_app.sessions._store import SessionStore

T = TypeVar("T")
StoreOps = Generator[tuple[str, tuple[Any, ...]], Any, T]

# Of a thread a store knows, instead of a turn and a digest, whether a call of it is in flight.
_THREAD_CLAIM = (1, "thread")
_NOT_CLAIMED_REASON = "it has moved on, is in use, is not known here, or a call to it broke off"


class SessionTracker:
    """One call: `start` before anything is sent, `commit` after a whole answer, finally `release`."""

    messages: Sequence[BaseMessage]
    """What is asked."""

    request: ServiceRequest
    """What is sent."""

    guard: SessionGuard | None = None
    """Checks that the session asked for answers, if one is continued."""

    history: str
    """How the conversation is put to the application: `"messages"`, `"session"`, `"replayed"`,
    `"thread"`, or `"given"` (a session by hand)."""

    def __init__(
        self,
        messages: Sequence[BaseMessage],
        options: CompletionFields,
        *,
        app_id: str,
        connection: Connection,
    ) -> None:
        self.messages = messages
        self._options = options
        self._app_id = app_id
        self._turns = turns_from_messages(messages)
        self._scope = (connection.base_url, connection.workspace, app_id)
        self._connection = connection
        self.history = "messages"
        self._checkpoint: SessionCheckpoint | None = None
        self._token: str | None = None
        self._was_restarted = False
        self._was_retried = False

    def start(self) -> StoreOps[None]:
        """Decide what is sent.

        Raises:
            ValueError: The messages cannot be put to the application in this way.
        """
        options = self._options
        if options.session_id is not None:
            self.history = "given"
            self.request = self._build_session_request(options.session_id)
        elif options.history == "session":
            yield from self._start_session()
        elif options.history == "thread":
            yield from self._start_thread()
        else:
            self.request = self._build_transcript_request()

    def retry_without_session(self, cause: Exception) -> None:
        """Prepare to ask again without the session, of whose answer nothing was shown.

        Raises:
            Exception: The cause, if the answer had begun.
        """
        if self.guard is None or self.guard.verified:
            raise cause
        self.guard = None
        self._was_retried = True
        if self.history == "thread":
            self._warn("it is gone, and a new one begins without what was said before")
            self._was_restarted = True
            self.request = self._build_session_request(None)
            return
        detail = "" if self.request.stream else "; the first request has run, but is not shown"
        self._warn(f"the service does not know it any more{detail}")
        self.history = "replayed"
        # The claim stays: what the first request has left in that session nobody knows.
        self._checkpoint = self._token = None
        self.request = self._build_transcript_request()

    def continue_with(self, new_messages: Sequence[BaseMessage]) -> bool:
        """Prepare to ask with more messages behind those that were asked; False if there are none."""
        if not new_messages:
            return False
        self._was_retried = True
        self.messages = [*self.messages, *new_messages]
        self._turns += turns_from_messages(new_messages)
        self.request = self._build_transcript_request()
        return True

    def commit(self, answer: Answer, *, complete: bool) -> StoreOps[dict[str, Any]]:
        """Remember an answer, return what its metadata says of the conversation.

        Args:
            answer: The answer.
            complete: Whether the service ended it, rather than a `stop` sequence or a lost ending.
        """
        if self.history == "thread":
            if self._token is not None and answer.session_id is not None:
                yield "put", (self._thread_key, answer.session_id)
            return build_session_metadata("thread") | (
                {"session_restarted": True} if self._was_restarted else {}
            )
        if self.history != "session" or not complete or answer.session_id is None:
            return build_session_metadata(self.history)
        turn = 1 if self._checkpoint is None else self._checkpoint.turn + 1
        turns = [*self._turns, Turn("assistant", answer.text)]
        digest = self._digest.compute(turns, answer.session_id, turn)
        if self._token is None:
            yield "open", (self._build_store_key(answer.session_id), digest)
        else:
            token, self._token = self._token, None
            if not (yield "complete", (token, turn, digest)):
                return build_session_metadata("session")
        return build_session_metadata(
            "session", SessionCheckpoint(answer.session_id, turn, time.time(), digest)
        )

    def release(self, error: BaseException | None = None) -> StoreOps[None]:
        """Give a claim back where that is safe.

        It is if the request certainly did not run, and in a thread, whose only memory is the cloud's:
        whatever a call that broke off has left there belongs to it.
        """
        if self._was_retried and isinstance(error, BailianError):
            error.is_retryable = False  # the first request may have run
        did_not_run = isinstance(error, BailianError) and error.is_retryable
        if self._token is not None and (did_not_run or self.history == "thread"):
            yield "release", (self._token,)
            self._token = None

    def _start_session(self) -> StoreOps[None]:
        plan = plan_session(
            self.messages, self._turns, self._digest, app_id=self._app_id, now=time.time()
        )
        if plan.checkpoint is not None:
            checkpoint = plan.checkpoint
            arguments = (
                self._build_store_key(checkpoint.session_id),
                checkpoint.turn,
                checkpoint.digest,
            )
            self._token = yield "claim", arguments
            if self._token is not None:
                self.history, self._checkpoint = "session", checkpoint
                self.guard = SessionGuard(checkpoint.session_id)
                self.request = self._build_session_request(checkpoint.session_id)
                return
            plan = SessionPlan("transcript", reason=_NOT_CLAIMED_REASON)
        if plan.kind == "new":
            self.history = "session"
            self.request = self._build_session_request(None)
            return
        if plan.reason is not None:
            self._warn(plan.reason)
        if any(checkpoint_from_message(message, self._app_id) for message in self.messages):
            self.history = "replayed"
        self.request = self._build_transcript_request()

    def _start_thread(self) -> StoreOps[None]:
        if not self._options.session_key:
            message = (
                "`history='thread'` needs a name for the conversation: give `session_key`, or "
                "`configurable.thread_id`"
            )
            raise ValueError(message)
        self.history = "thread"
        # Before anything is claimed: raises if there is not exactly one new question.
        self.request = self._build_session_request(None)
        yield "open", (self._thread_key, _THREAD_CLAIM[1])
        self._token = yield "claim", (self._thread_key, *_THREAD_CLAIM)
        if self._token is None:
            self._was_restarted = True
            self._warn("a call of this thread is in flight, or its process died; this one stands alone")
            return
        session_id = yield "get", (self._thread_key,)
        if session_id is not None:
            self.guard = SessionGuard(session_id)
            self.request = self._build_session_request(session_id)

    @cached_property
    def _digest(self) -> ConversationDigest:
        # Asks for the key once a call: it may be a function of the user's.
        return ConversationDigest(self._connection.api_key(), self._scope)

    @property
    def _thread_key(self) -> str:
        return self._build_store_key(f"thread {self._options.session_key}")

    def _build_store_key(self, name: str) -> str:
        """Name a session or a thread among those of all services and applications."""
        return "\n".join(part or "" for part in (*self._scope, name))

    def _build_session_request(self, session_id: str | None) -> ServiceRequest:
        return build_session_request(self._app_id, self._turns, self._options, session_id)

    def _build_transcript_request(self) -> ServiceRequest:
        return build_transcript_request(self._app_id, self._turns, self._options)

    def _warn(self, reason: str) -> None:
        consequence = "" if self.history == "thread" else ", so all messages are sent"
        message = f"the session of application {self._app_id} is not continued{consequence}: {reason}"
        warnings.warn(message, BailianSessionWarning, stacklevel=2)


def run_store_ops(store: SessionStore, ops: StoreOps[T]) -> T:
    """Run store operations in a thread."""
    result = None
    while True:
        try:
            method, arguments = ops.send(result)
        except StopIteration as stop:
            value: T = stop.value
            return value
        result = getattr(store, method)(*arguments)


async def arun_store_ops(store: SessionStore, ops: StoreOps[T]) -> T:
    """Run store operations on an event loop."""
    result = None
    while True:
        try:
            method, arguments = ops.send(result)
        except StopIteration as stop:
            value: T = stop.value
            return value
        result = await getattr(store, f"a{method}")(*arguments)
