"""Whether the cloud's copy of a conversation is the one that the messages tell: pure decisions.

Every complete answer carries where its session stood, with a digest of all messages up to itself. The
session is continued only if the messages given have that digest; anything else is told anew.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages import AIMessage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_bailian_app._answer.frames import Frame
    from langchain_bailian_app._request.transcript import Turn

# The service forgets a session at 50 rounds, and after an hour without requests (official guide). What
# it then does is not documented; one of the ways cannot be noticed, so there is a margin.
MOST_TURNS = 50
LONGEST_IDLE = 55 * 60.0  # seconds
_CLOCK_SKEW = 60.0  # by which the clock of the machine that had the answer may be ahead of ours


@dataclass(frozen=True, slots=True)
class Position:
    """Where a session stood after an answer."""

    session_id: str
    turn: int
    at: float
    """Seconds since the epoch."""

    digest: str


@dataclass(frozen=True, slots=True)
class Plan:
    """How a conversation is put to the application."""

    kind: Literal["whole", "first", "continue"]
    """All messages, the first question of a new session, or the next one of a known session."""

    position: Position | None = None
    reason: str | None = None
    """Why a session that could be continued otherwise is not."""


def plan(
    messages: Sequence[BaseMessage], turns: Sequence[Turn], digest: Digest, *, app_id: str, now: float
) -> Plan:
    """Decide how to put the messages, of which `turns` is what would be sent."""
    answers = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
    if not answers:
        questions = sum(turn.role == "user" for turn in turns)
        return Plan("first" if questions == 1 else "whole")
    newest = answers[-1]
    position = position_of(messages[newest], app_id)
    follows = [turn.role for turn in turns[newest + 1 :]]
    # Whether the cloud keeps the attachments of earlier turns is not documented.
    attached = any(turn.images or turn.files for turn in turns[:newest])
    if position is None or follows != ["user"] or attached:
        return Plan("whole")
    if position.turn >= MOST_TURNS:
        return Plan("whole", reason=f"it has {position.turn} turns")
    if not -_CLOCK_SKEW <= now - position.at < LONGEST_IDLE:
        return Plan("whole", reason="it may have expired")
    if digest.of(turns[: newest + 1], position.session_id, position.turn) != position.digest:
        return Plan("whole")
    return Plan("continue", position)


def position_of(message: BaseMessage, app_id: str) -> Position | None:
    """Read where the session stood from an answer of this application."""
    if not isinstance(message, AIMessage):
        return None
    metadata = message.response_metadata
    names = ("session_id", "session_turn", "session_at", "session_digest")
    match [metadata.get(name) for name in names]:
        case [str(session_id), int(turn), int(at) | float(at), str(digest)]:
            if metadata.get("app_id") == app_id:
                return Position(session_id, turn, float(at), digest)
    return None


@dataclass(frozen=True)
class Digest:
    """Names a conversation by what would be sent of it; the form of messages does not matter."""

    key: str
    """The API key: nobody else can make a digest."""

    place: tuple[str | None, ...]
    """Base URL, workspace and application."""

    def of(self, turns: Sequence[Turn], session_id: str, turn_number: int) -> str:
        """Return the digest of turns, and of where the session stands after them."""
        said = [(turn.role, turn.text, turn.images, turn.files) for turn in turns]
        text = json.dumps([self.place, session_id, turn_number, said]).encode()
        return hmac.new(self.key.encode(), text, hashlib.sha256).hexdigest()


class SessionReplacedError(Exception):
    """Another session than the one asked for answers."""


class Admission:
    """Holds frames back until one shows which session answers."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._held: list[Frame] = []
        self.admitted = False

    def admit(self, frames: list[Frame]) -> list[Frame]:
        """Take the next frames, return those that may be shown now.

        Raises:
            SessionReplacedError: It is another session: nothing of this answer may be shown.
        """
        if self.admitted:
            return frames
        self._held += frames
        named = next((frame.session_id for frame in frames if frame.session_id), None)
        if named is None:
            return []
        if named != self._session_id:
            raise SessionReplacedError
        return self.end()

    def end(self) -> list[Frame]:
        """Return what is held when no frame shows a session."""
        self.admitted = True
        held, self._held = self._held, []
        return held


def metadata(history: str, position: Position | None = None) -> dict[str, Any]:
    """Return what an answer says of its conversation in `response_metadata`."""
    said: dict[str, Any] = {"history": history}
    if position is not None:
        said |= {
            "session_turn": position.turn,
            "session_at": position.at,
            "session_digest": position.digest,
        }
    return said
