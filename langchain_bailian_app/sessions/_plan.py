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
MAX_TURNS = 50
MAX_IDLE_SECONDS = 55 * 60.0
# By which the clock of the machine that had the answer may be ahead of ours.
_MAX_CLOCK_SKEW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class SessionCheckpoint:
    """Where a session stood after an answer."""

    session_id: str
    turn: int
    timestamp: float
    """Seconds since the epoch."""

    digest: str


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """How a conversation is put to the application."""

    kind: Literal["transcript", "new", "continue"]
    """All messages, the first question of a new session, or the next one of a known session."""

    checkpoint: SessionCheckpoint | None = None
    reason: str | None = None
    """Why a session that could be continued otherwise is not."""


def plan_session(
    messages: Sequence[BaseMessage],
    turns: Sequence[Turn],
    digest: ConversationDigest,
    *,
    app_id: str,
    now: float,
) -> SessionPlan:
    """Decide how to put the messages, of which `turns` is what would be sent."""
    answer_indexes = [index for index, turn in enumerate(turns) if turn.role == "assistant"]
    if not answer_indexes:
        questions = sum(turn.role == "user" for turn in turns)
        return SessionPlan("new" if questions == 1 else "transcript")
    last_answer = answer_indexes[-1]
    checkpoint = checkpoint_from_message(messages[last_answer], app_id)
    new_roles = [turn.role for turn in turns[last_answer + 1 :]]
    # Whether the cloud keeps the attachments of earlier turns is not documented.
    has_attachments = any(turn.images or turn.files for turn in turns[:last_answer])
    if checkpoint is None or new_roles != ["user"] or has_attachments:
        return SessionPlan("transcript")
    if checkpoint.turn >= MAX_TURNS:
        return SessionPlan("transcript", reason=f"it has {checkpoint.turn} turns")
    if not -_MAX_CLOCK_SKEW_SECONDS <= now - checkpoint.timestamp < MAX_IDLE_SECONDS:
        return SessionPlan("transcript", reason="it may have expired")
    if (
        digest.compute(turns[: last_answer + 1], checkpoint.session_id, checkpoint.turn)
        != checkpoint.digest
    ):
        return SessionPlan("transcript")
    return SessionPlan("continue", checkpoint)


def checkpoint_from_message(message: BaseMessage, app_id: str) -> SessionCheckpoint | None:
    """Read where the session stood from an answer of this application."""
    if not isinstance(message, AIMessage):
        return None
    metadata = message.response_metadata
    keys = ("session_id", "session_turn", "session_at", "session_digest")
    match [metadata.get(name) for name in keys]:
        case [str(session_id), int(turn), int(timestamp) | float(timestamp), str(digest)]:
            if metadata.get("app_id") == app_id:
                return SessionCheckpoint(session_id, turn, float(timestamp), digest)
    return None


@dataclass(frozen=True)
class ConversationDigest:
    """Names a conversation by what would be sent of it; the form of messages does not matter."""

    api_key: str
    """The API key: nobody else can make a digest."""

    scope: tuple[str | None, ...]
    """Base URL, workspace and application."""

    def compute(self, turns: Sequence[Turn], session_id: str, turn_number: int) -> str:
        """Return the digest of turns, and of where the session stands after them."""
        turn_values = [(turn.role, turn.text, turn.images, turn.files) for turn in turns]
        payload = json.dumps([self.scope, session_id, turn_number, turn_values]).encode()
        return hmac.new(self.api_key.encode(), payload, hashlib.sha256).hexdigest()


class SessionReplacedError(Exception):
    """Another session than the one asked for answers."""


class SessionGuard:
    """Holds frames back until one shows which session answers."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._buffer: list[Frame] = []
        self.verified = False

    def check(self, frames: list[Frame]) -> list[Frame]:
        """Take the next frames, return those that may be shown now.

        Raises:
            SessionReplacedError: It is another session: nothing of this answer may be shown.
        """
        if self.verified:
            return frames
        self._buffer += frames
        session_id = next((frame.session_id for frame in frames if frame.session_id), None)
        if session_id is None:
            return []
        if session_id != self._session_id:
            raise SessionReplacedError
        return self.flush()

    def flush(self) -> list[Frame]:
        """Return what is held when no frame shows a session."""
        self.verified = True
        frames, self._buffer = self._buffer, []
        return frames


def build_session_metadata(history: str, checkpoint: SessionCheckpoint | None = None) -> dict[str, Any]:
    """Return what an answer says of its conversation in `response_metadata`."""
    fields: dict[str, Any] = {"history": history}
    if checkpoint is not None:
        fields |= {
            "session_turn": checkpoint.turn,
            "session_at": checkpoint.timestamp,
            "session_digest": checkpoint.digest,
        }
    return fields
