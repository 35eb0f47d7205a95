"""Sessions in the cloud: rounds kept by id, for an hour without requests and fifty rounds.

What happens to an id that is not known (any more) is not documented, so it is a switch.
"""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from langchain_bailian_app.emulator.errors import refuse
from langchain_bailian_app.emulator.turns import Round

UnknownSession: TypeAlias = Literal["error", "new", "same"]
"""For an unknown, expired or full session: refuse, begin one under a new id or the same id."""

IDLE_SECONDS = 3600.0
MAX_ROUNDS = 50


@dataclass
class Session:
    """A conversation with one app."""

    session_id: str
    app_id: str
    used_at: float
    rounds: list[Round] = field(default_factory=list)


class SessionStore:
    """All sessions of an emulator."""

    def __init__(self, clock: Callable[[], float], unknown: UnknownSession) -> None:
        self.unknown = unknown
        self._clock = clock
        self._sessions: dict[str, Session] = {}

    def rounds(self, session_id: str) -> list[Round]:
        """The rounds a session holds; none for an unknown one."""
        session = self._sessions.get(session_id)
        return list(session.rounds) if session else []

    def clear(self) -> None:
        """Forget all sessions."""
        self._sessions.clear()

    def begin(
        self, app_id: str, rounds: Iterable[Round] = (), *, session_id: str | None = None
    ) -> Session:
        """Begin a session, with rounds that the caller brought along."""
        session = Session(session_id or uuid.uuid4().hex, app_id, self._clock(), list(rounds))
        self._sessions[session.session_id] = session
        return session

    def resume(self, app_id: str, session_id: str) -> Session:
        """Go on with a session, or do what the switch says.

        Raises:
            RequestRefused: The session cannot go on and the switch is `error`.
        """
        session = self._sessions.get(session_id)
        if session and session.app_id == app_id and self._is_open(session):
            session.used_at = self._clock()
            return session
        if self.unknown == "error":
            refuse("InvalidParameter", f"session_id {session_id} does not exist or has expired.")
        return self.begin(app_id, session_id=session_id if self.unknown == "same" else None)

    def add(self, session: Session, answered: Round) -> None:
        """Keep a round whose answer is complete."""
        session.rounds.append(answered)
        session.used_at = self._clock()

    def _is_open(self, session: Session) -> bool:
        idle = self._clock() - session.used_at
        return idle < IDLE_SECONDS and len(session.rounds) < MAX_ROUNDS
