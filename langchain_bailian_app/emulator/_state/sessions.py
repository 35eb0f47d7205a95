"""Sessions in the cloud: up to 50 rounds each, kept until an hour passes without a request.

It is undocumented how the service behaves beyond these limits, and if a client does not read an answer
to the end. The emulator has a setting for each case.
"""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from langchain_bailian_app.emulator._http.errors import refuse

UnknownSessionPolicy: TypeAlias = Literal["error", "new", "same"]
"""Behavior if a session id is unknown or has been idle for an hour: reject the request, start a session
with a new id, or start an empty session with the same id."""

FullSessionPolicy: TypeAlias = Literal["error", "new", "oldest"]
"""Behavior if a session has 50 rounds: reject the request, start a session with a new id, or drop the
oldest round."""

IDLE_SECONDS = 3600.0
MAX_ROUNDS = 50


class Round(NamedTuple):
    """A question and its answer in a session."""

    prompt: str
    answer: str


@dataclass
class Session:
    """A conversation with one app."""

    session_id: str
    app_id: str
    last_used_at: float
    rounds: list[Round] = field(default_factory=list)


class CloudSessions:
    """All sessions of an emulator. Only the server's thread changes them; any thread can read them."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        unknown_session: UnknownSessionPolicy,
        full_session: FullSessionPolicy,
        keep_aborted: bool,
    ) -> None:
        self.unknown_session = unknown_session
        self.full_session = full_session
        self.keep_aborted = keep_aborted
        self._clock = clock
        self._sessions: dict[str, Session] = {}

    def rounds(self, session_id: str) -> list[Round]:
        """Return the rounds of a session; an empty list if the session is unknown."""
        session = self._sessions.get(session_id)
        return list(session.rounds) if session else []

    def all_rounds(self) -> dict[str, list[Round]]:
        """Return the rounds of every session by session id, the oldest session first."""
        # Copied in one step, since the server may start sessions at the same time.
        sessions = list(self._sessions.values())
        return {session.session_id: list(session.rounds) for session in sessions}

    def clear(self) -> None:
        """Delete all sessions."""
        self._sessions.clear()

    def create(
        self, app_id: str, rounds: Iterable[Round] = (), *, session_id: str | None = None
    ) -> Session:
        """Start a session, with the rounds in the request if there are any."""
        session = Session(session_id or uuid.uuid4().hex, app_id, self._clock(), list(rounds))
        self._sessions[session.session_id] = session
        return session

    def create_unsaved(self, app_id: str) -> Session:
        """Return a session that has an id but is not stored."""
        return Session(uuid.uuid4().hex, app_id, self._clock())

    def resume(self, app_id: str, session_id: str) -> Session:
        """Continue a session; if that is impossible, follow `unknown_session` or `full_session`.

        Raises:
            RequestRefused: The session cannot be continued, and the setting is `error`.
        """
        session = self._sessions.get(session_id)
        if session is None or session.app_id != app_id:
            return self._resume_unknown(app_id, session_id, None)
        if self._clock() - session.last_used_at >= IDLE_SECONDS:
            return self._resume_unknown(app_id, session_id, session)
        session.last_used_at = self._clock()
        if len(session.rounds) >= MAX_ROUNDS:
            return self._resume_full(session)
        return session

    def add_round(self, session: Session, new_round: Round) -> None:
        """Add a round; concurrent requests in a session each add one."""
        session.rounds.append(new_round)
        session.last_used_at = self._clock()

    def _resume_unknown(self, app_id: str, session_id: str, expired_session: Session | None) -> Session:
        if self.unknown_session == "error":
            refuse("InvalidParameter", f"session_id {session_id} does not exist or has expired.")
        if self.unknown_session == "new":
            return self.create(app_id)
        if expired_session is None:
            return self.create(app_id, session_id=session_id)
        # Cleared in place, since an answer that is still being written adds its round here.
        expired_session.rounds.clear()
        expired_session.last_used_at = self._clock()
        return expired_session

    def _resume_full(self, session: Session) -> Session:
        if self.full_session == "error":
            refuse(
                "InvalidParameter",
                f"session_id {session.session_id} has reached the limit of {MAX_ROUNDS} rounds.",
            )
        if self.full_session == "new":
            return self.create(session.app_id)
        del session.rounds[: len(session.rounds) - MAX_ROUNDS + 1]
        return session
