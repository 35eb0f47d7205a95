"""Session handling of one call: the request to send, and the state to save after the answer.

This module never waits. A method that needs the store yields operations (`_store_ops`) and receives
their results, so that threads and event loops share all of this code.
"""

from __future__ import annotations

import os
import time
import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._request.body import (
    build_session_request,
    build_transcript_request,
    turns_from_messages,
)
from langchain_bailian_app._request.transcript import Turn, count_unsent_turns
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
from langchain_bailian_app.sessions._store_ops import Claim, Complete, Get, Open, Put, Release

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_bailian_app._answer.answer import Answer
    from langchain_bailian_app._answer.frames import Frame
    from langchain_bailian_app._request.fields import CompletionFields
    from langchain_bailian_app._request.service_request import ServiceRequest
    from langchain_bailian_app._transport.credentials import Connection
    from langchain_bailian_app.sessions._store_ops import StoreOps

# For a thread, the store tracks only whether a call is in progress, so turn and digest are constants.
_THREAD_DIGEST = "thread"
_NOT_CLAIMED_REASON = (
    "it has newer turns, is in use, or is unknown to the session store, or an earlier call was "
    "interrupted"
)


class SessionTracker:
    """Session state of one call.

    Call `start` before anything is sent, `commit` after a complete answer, and finally `release`.
    """

    messages: Sequence[BaseMessage]
    """Messages of the call."""

    request: ServiceRequest
    """Request to send."""

    guard: SessionGuard | None = None
    """Guard that verifies the session of the response; None if no session is continued."""

    history: str
    """Form in which the conversation is sent to the application: `"messages"`, `"session"`,
    `"replayed"`, `"thread"`, or `"given"` (the caller passed a `session_id`)."""

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
        self._claim: Claim | None = None
        self._may_have_run = False
        self._was_restarted = False
        self._was_retried = False

    def count_unsent_messages(self) -> int:
        """Return the number of messages that are not sent, because the cloud keeps the conversation.

        Messages without content do not count.

        Raises:
            ValueError: The messages cannot be sent in this form.
        """
        if self._options.session_id is None and self._options.history != "thread":
            return 0
        return count_unsent_turns(self._turns)

    def start(self) -> StoreOps[None]:
        """Choose the form in which the conversation is sent, and build the request.

        Raises:
            ValueError: The messages cannot be sent in this form.
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

    def on_send(self, *, may_have_run: bool) -> None:
        """Record that the request is about to be sent, or that it certainly did not run."""
        self._may_have_run = may_have_run

    def retry_without_session(self, cause: Exception) -> None:
        """Build a request without the session, to retry a call whose answer has not been passed on.

        Raises:
            Exception: `cause`, if the call does not continue a session, or if part of the answer has
                already been passed on.
        """
        if self.guard is None or self.guard.verified:
            raise cause
        self.guard = None
        self._was_retried = True
        if self.history == "thread":
            self._warn("it no longer exists; a new session starts without the earlier messages")
            self._was_restarted = True
            self.request = self._build_session_request(None)
            return
        detail = "" if self.request.stream else "; the first request ran, but its answer is discarded"
        self._warn(f"the service no longer has it{detail}")
        self.history = "replayed"
        # The claim is not released, because the first request may have changed that session.
        self._checkpoint = self._claim = None
        self.request = self._build_transcript_request()

    def take_withheld_frames(self, error: BailianError) -> list[Frame]:
        """Return the frames that the guard still withholds when an error ends the response."""
        return [] if self.guard is None else self.guard.flush_after_error(error.body)

    def continue_with(self, new_messages: Sequence[BaseMessage]) -> bool:
        """Append further messages and build a new request; return False if `new_messages` is empty."""
        if not new_messages:
            return False
        self._was_retried = True
        self.messages = [*self.messages, *new_messages]
        self._turns += turns_from_messages(new_messages)
        self.request = self._build_transcript_request()
        return True

    def commit(self, answer: Answer, *, complete: bool) -> StoreOps[dict[str, Any]]:
        """Save the session after an answer and return the metadata fields about the conversation.

        Args:
            answer: The answer.
            complete: Whether the service ended the answer. False if a `stop` sequence cut it off, or if
                its end was lost.
        """
        if self.history == "thread":
            if self._claimed_token is not None and answer.session_id is not None:
                yield from Put(self._thread_key, answer.session_id)
            return build_session_metadata("thread") | (
                {"session_restarted": True} if self._was_restarted else {}
            )
        if self.history != "session" or not complete or answer.session_id is None:
            return build_session_metadata(self.history)
        turn = 1 if self._checkpoint is None else self._checkpoint.turn + 1
        turns = [*self._turns, Turn("assistant", answer.text)]
        digest = self._digest.compute(turns, answer.session_id, turn)
        token, self._claim = self._claimed_token, None
        if token is None:
            yield from Open(self._build_store_key(answer.session_id), digest)
        elif not (yield from Complete(token, turn, digest)):
            return build_session_metadata("session")
        return build_session_metadata(
            "session", SessionCheckpoint(answer.session_id, turn, time.time(), digest)
        )

    def release(self, error: BaseException | None = None) -> StoreOps[None]:
        """Release the claim if that is safe.

        It is safe if the request certainly did not run. It is also safe for a thread: the only history
        of a thread is in the cloud, so anything that an interrupted call left there is part of the
        conversation.
        """
        if self._was_retried and isinstance(error, BailianError):
            error.is_retryable = False  # the first request may have run
        did_not_run = not self._may_have_run or (isinstance(error, BailianError) and error.is_retryable)
        token = self._claimed_token
        if token is not None and (did_not_run or self.history == "thread"):
            try:
                yield from Release(token)
            except Exception:
                self._claim = None  # do not call a store again that has failed
                raise
            self._claim = None

    def _start_session(self) -> StoreOps[None]:
        plan = plan_session(
            self.messages, self._turns, self._digest, app_id=self._app_id, now=time.time()
        )
        if plan.checkpoint is not None:
            checkpoint = plan.checkpoint
            key = self._build_store_key(checkpoint.session_id)
            # Built before the claim, because this raises if the messages or options are invalid.
            request = self._build_session_request(checkpoint.session_id)
            if (yield from self._start_claim(key, checkpoint.turn, checkpoint.digest)) is not None:
                self.history, self._checkpoint = "session", checkpoint
                self.guard = SessionGuard(checkpoint.session_id)
                self.request = request
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
                "missing `session_key`: `history='thread'` requires it; pass it, or set "
                "`configurable.thread_id`"
            )
            raise ValueError(message)
        self.history = "thread"
        # Built before the claim, because this raises if the messages or options are invalid.
        self.request = self._build_session_request(None)
        yield from Open(self._thread_key, _THREAD_DIGEST)
        if (yield from self._start_claim(self._thread_key, 1, _THREAD_DIGEST)) is None:
            self._was_restarted = True
            self._warn(
                "another call on this thread is in progress (or its process died); this call starts a "
                "new session"
            )
            return
        session_id = yield from Get(self._thread_key)
        if session_id is not None:
            self.guard = SessionGuard(session_id)
            self.request = self._build_session_request(session_id)

    def _start_claim(self, key: str, turn: int, digest: str) -> StoreOps[str | None]:
        # Stored before it runs, so that `release` knows the token even if Ctrl-C arrives meanwhile.
        self._claim = claim = Claim(key, turn, digest)
        claim.token = yield from claim
        return claim.token

    @property
    def _claimed_token(self) -> str | None:
        claim = self._claim
        return None if claim is None or claim.pid != os.getpid() else claim.token

    @cached_property
    def _digest(self) -> ConversationDigest:
        # Cached, because `api_key` may call a user's function, which is called only once per call.
        return ConversationDigest(self._connection.api_key(), self._scope)

    @property
    def _thread_key(self) -> str:
        return self._build_store_key(f"thread {self._options.session_key}")

    def _build_store_key(self, name: str) -> str:
        """Return a key that identifies a session or thread across all services and applications."""
        return "\n".join(part or "" for part in (*self._scope, name))

    def _build_session_request(self, session_id: str | None) -> ServiceRequest:
        return build_session_request(self._app_id, self._turns, self._options, session_id)

    def _build_transcript_request(self) -> ServiceRequest:
        return build_transcript_request(self._app_id, self._turns, self._options)

    def _warn(self, reason: str) -> None:
        consequence = "" if self.history == "thread" else "; sending all messages instead"
        message = f"cannot continue the session of application {self._app_id}: {reason}{consequence}"
        warnings.warn(message, BailianSessionWarning, stacklevel=2)
