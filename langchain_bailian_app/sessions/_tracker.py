"""One call's part in a conversation: which request goes out, and what of the answer is remembered.

No waiting here: a method that needs the store yields the name of one of its methods with arguments and
gets the result sent back, so that threads and event loops share every line (`perform`, `aperform`).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Generator
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_bailian_app._request.body import session_request, turns_of, whole_request
from langchain_bailian_app._request.transcript import Turn
from langchain_bailian_app.errors import BailianError
from langchain_bailian_app.sessions._checkpoint import (
    Admission,
    Digest,
    Plan,
    Position,
    metadata,
    plan,
    position_of,
)
from langchain_bailian_app.sessions._store import BailianSessionWarning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_bailian_app._answer.assembler import Answer
    from langchain_bailian_app._request.body import ServiceRequest
    from langchain_bailian_app._settings.application import ApplicationFields
    from langchain_bailian_app._transport.credentials import Connection
    from langchain_bailian_app.sessions._store import SessionStore

T = TypeVar("T")
Steps = Generator[tuple[str, tuple[Any, ...]], Any, T]

# Of a thread a store knows, instead of a turn and a digest, whether a call of it is in flight.
_THREAD = (1, "thread")
_REFUSED = "it has moved on, is in use, is not known here, or a call to it broke off"


class Exchange:
    """One call. `begin` before anything is sent, `settle` after a whole answer, `close` in the end."""

    messages: Sequence[BaseMessage]
    """What is asked."""

    request: ServiceRequest
    """What is sent."""

    admission: Admission | None = None
    """Checks that the session asked for answers, if one is continued."""

    history: str
    """How the conversation is put to the application: `"messages"`, `"session"`, `"replayed"`,
    `"thread"`, or `"given"` (a session by hand)."""

    def __init__(
        self,
        messages: Sequence[BaseMessage],
        options: ApplicationFields,
        *,
        app_id: str,
        connection: Connection,
    ) -> None:
        self.messages = messages
        self._options = options
        self._app_id = app_id
        self._turns = turns_of(messages)
        self._place = (connection.base_url, connection.workspace, app_id)
        self._connection = connection
        self.history = "messages"
        self._position: Position | None = None
        self._token: str | None = None
        self._restarted = False
        self._repeated = False

    def begin(self) -> Steps[None]:
        """Decide what is sent.

        Raises:
            ValueError: The messages cannot be put to the application in this way.
        """
        options = self._options
        if options.session_id is not None:
            self.history = "given"
            self.request = self._session_request(options.session_id)
        elif options.history == "session":
            yield from self._begin_session()
        elif options.history == "thread":
            yield from self._begin_thread()
        else:
            self.request = self._whole_request()

    def fall_back(self, cause: Exception) -> None:
        """Prepare to ask again without the session, of whose answer nothing was shown.

        Raises:
            Exception: The cause, if the answer had begun.
        """
        if self.admission is None or self.admission.admitted:
            raise cause
        self.admission = None
        self._repeated = True
        if self.history == "thread":
            self._warn("it is gone, and a new one begins without what was said before")
            self._restarted = True
            self.request = self._session_request(None)
            return
        repeated = "" if self.request.stream else "; the first request has run, but is not shown"
        self._warn(f"the service does not know it any more{repeated}")
        self.history = "replayed"
        # The claim stays: what the first request has left in that session nobody knows.
        self._position = self._token = None
        self.request = self._whole_request()

    def ask_again(self, more: Sequence[BaseMessage]) -> bool:
        """Prepare to ask with more messages behind those that were asked; False if there are none."""
        if not more:
            return False
        self._repeated = True
        self.messages = [*self.messages, *more]
        self._turns += turns_of(more)
        self.request = self._whole_request()
        return True

    def settle(self, answer: Answer, *, whole: bool) -> Steps[dict[str, Any]]:
        """Remember an answer, return what its metadata says of the conversation.

        Args:
            answer: The answer.
            whole: Whether the service ended it, rather than a `stop` sequence or a lost ending.
        """
        if self.history == "thread":
            if self._token is not None and answer.session_id is not None:
                yield "put", (self._thread, answer.session_id)
            return metadata("thread") | ({"session_restarted": True} if self._restarted else {})
        if self.history != "session" or not whole or answer.session_id is None:
            return metadata(self.history)
        turn = 1 if self._position is None else self._position.turn + 1
        told = [*self._turns, Turn("assistant", answer.text)]
        digest = self._digest.of(told, answer.session_id, turn)
        if self._token is None:
            yield "open", (self._reference(answer.session_id), digest)
        else:
            token, self._token = self._token, None
            if not (yield "complete", (token, turn, digest)):
                return metadata("session")
        return metadata("session", Position(answer.session_id, turn, time.time(), digest))

    def close(self, error: BaseException | None = None) -> Steps[None]:
        """Give a claim back where that is safe.

        It is if the request certainly did not run, and in a thread, whose only memory is the cloud's:
        whatever a call that broke off has left there belongs to it.
        """
        if self._repeated and isinstance(error, BailianError):
            error.is_retryable = False  # the first request may have run
        did_not_run = isinstance(error, BailianError) and error.is_retryable
        if self._token is not None and (did_not_run or self.history == "thread"):
            yield "release", (self._token,)
            self._token = None

    def _begin_session(self) -> Steps[None]:
        decided = plan(self.messages, self._turns, self._digest, app_id=self._app_id, now=time.time())
        if decided.position is not None:
            position = decided.position
            arguments = (self._reference(position.session_id), position.turn, position.digest)
            self._token = yield "claim", arguments
            if self._token is not None:
                self.history, self._position = "session", position
                self.admission = Admission(position.session_id)
                self.request = self._session_request(position.session_id)
                return
            decided = Plan("whole", reason=_REFUSED)
        if decided.kind == "first":
            self.history = "session"
            self.request = self._session_request(None)
            return
        if decided.reason is not None:
            self._warn(decided.reason)
        if any(position_of(message, self._app_id) for message in self.messages):
            self.history = "replayed"
        self.request = self._whole_request()

    def _begin_thread(self) -> Steps[None]:
        if not self._options.session_key:
            message = (
                "`history='thread'` needs a name for the conversation: give `session_key`, or "
                "`configurable.thread_id`"
            )
            raise ValueError(message)
        self.history = "thread"
        # Before anything is claimed: raises if there is not exactly one new question.
        self.request = self._session_request(None)
        yield "open", (self._thread, _THREAD[1])
        self._token = yield "claim", (self._thread, *_THREAD)
        if self._token is None:
            self._restarted = True
            self._warn("a call of this thread is in flight, or its process died; this one stands alone")
            return
        session_id = yield "get", (self._thread,)
        if session_id is not None:
            self.admission = Admission(session_id)
            self.request = self._session_request(session_id)

    @cached_property
    def _digest(self) -> Digest:  # asks for the key once a call: it may be a function of the user's
        return Digest(self._connection.api_key(), self._place)

    @property
    def _thread(self) -> str:
        return self._reference(f"thread {self._options.session_key}")

    def _reference(self, name: str) -> str:
        """Name a session or a thread among those of all services and applications."""
        return "\n".join(part or "" for part in (*self._place, name))

    def _session_request(self, session_id: str | None) -> ServiceRequest:
        return session_request(self._app_id, self._turns, self._options, session_id)

    def _whole_request(self) -> ServiceRequest:
        return whole_request(self._app_id, self._turns, self._options)

    def _warn(self, reason: str) -> None:
        told = "" if self.history == "thread" else ", so all messages are sent"
        message = f"the session of application {self._app_id} is not continued{told}: {reason}"
        warnings.warn(message, BailianSessionWarning, stacklevel=2)


def perform(store: SessionStore, steps: Steps[T]) -> T:
    """Take steps in a thread."""
    result = None
    while True:
        try:
            name, arguments = steps.send(result)
        except StopIteration as stop:
            returned: T = stop.value
            return returned
        result = getattr(store, name)(*arguments)


async def aperform(store: SessionStore, steps: Steps[T]) -> T:
    """Take steps on an event loop."""
    result = None
    while True:
        try:
            name, arguments = steps.send(result)
        except StopIteration as stop:
            returned: T = stop.value
            return returned
        result = await getattr(store, f"a{name}")(*arguments)
