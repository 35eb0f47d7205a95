"""Decision whether the given messages can continue a cloud session, without I/O.

The metadata of every complete answer contains a checkpoint of its session, with a digest of all
messages up to and including that answer. A session is continued only if the given messages have the
same digest. Otherwise all messages are sent.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages import AIMessage

from langchain_bailian_app._request.transcript import turns_after_newest_answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_bailian_app._answer.frames import Frame
    from langchain_bailian_app._request.transcript import Turn

# The service forgets a session after 50 rounds, or after an hour without requests (user guide). It is
# not documented what happens then. If the service kept the session id but dropped the history, this
# could not be detected. The idle limit therefore has a margin.
MAX_TURNS = 50
MAX_IDLE_SECONDS = 55 * 60.0
# How far the clock of the machine that received the answer may be ahead of the local clock.
_MAX_CLOCK_SKEW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class SessionCheckpoint:
    """State of a session after an answer."""

    session_id: str
    turn: int
    timestamp: float
    """Seconds since the epoch."""

    digest: str


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """Form in which a conversation is sent to the application."""

    kind: Literal["transcript", "new", "continue"]
    """`"transcript"`: all messages. `"new"`: the first question of a new session. `"continue"`: the
    next question of an existing session."""

    checkpoint: SessionCheckpoint | None = None
    reason: str | None = None
    """Reason why an otherwise valid session cannot be continued."""


def plan_session(
    messages: Sequence[BaseMessage],
    turns: Sequence[Turn],
    digest: ConversationDigest,
    *,
    app_id: str,
    now: float,
) -> SessionPlan:
    """Return the plan for sending the messages.

    Args:
        messages: The messages.
        turns: The same messages, ready to be sent. Those without text are among them, because a session
            continues after an answer without text.
        digest: Function that computes the digest of a conversation.
        app_id: The application.
        now: Seconds since the epoch.
    """
    new_turns = turns_after_newest_answer(turns)
    questions = [turn for turn in new_turns if turn.role == "user"]
    # Further turns without text add at most their images and files. The newest must be the question.
    has_one_question = sum(turn.has_text for turn in questions) == 1 and questions[-1].has_text
    if len(new_turns) == len(turns):
        return SessionPlan("new" if has_one_question else "transcript")
    last_answer = len(turns) - len(new_turns) - 1
    checkpoint = checkpoint_from_message(messages[last_answer], app_id)
    has_new_instructions = any(turn.role == "system" and turn.has_text for turn in new_turns)
    # It is not documented whether a session keeps the attachments of earlier turns.
    has_attachments = any(turn.images or turn.files for turn in turns[:last_answer])
    if checkpoint is None or not has_one_question or has_new_instructions or has_attachments:
        return SessionPlan("transcript")
    if checkpoint.turn >= MAX_TURNS:
        return SessionPlan("transcript", reason=f"it has reached the limit of {MAX_TURNS} turns")
    if not -_MAX_CLOCK_SKEW_SECONDS <= now - checkpoint.timestamp < MAX_IDLE_SECONDS:
        return SessionPlan("transcript", reason="it may have expired")
    if (
        digest.compute(turns[: last_answer + 1], checkpoint.session_id, checkpoint.turn)
        != checkpoint.digest
    ):
        return SessionPlan("transcript")
    return SessionPlan("continue", checkpoint)


def checkpoint_from_message(message: BaseMessage, app_id: str) -> SessionCheckpoint | None:
    """Return the checkpoint in an answer's metadata; None if the answer is from another application."""
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
    """Function that computes the digest of a conversation.

    The digest covers only the content of turns, so equivalent forms of a message have the same digest.
    It also covers turns without text, which are never sent: a session has a turn for an answer without
    text too.
    """

    api_key: str = field(repr=False)
    """API key, used as the HMAC key, so that only the owner of the key can compute a valid digest."""

    scope: tuple[str | None, ...]
    """Base URL, workspace and application id."""

    def compute(self, turns: Sequence[Turn], session_id: str, turn_number: int) -> str:
        """Return the digest of the turns, the session id and the turn number."""
        turn_values = [(turn.role, turn.text, turn.images, turn.files) for turn in turns]
        payload = json.dumps([self.scope, session_id, turn_number, turn_values]).encode()
        return hmac.new(self.api_key.encode(), payload, hashlib.sha256).hexdigest()


class SessionReplacedError(Exception):
    """Error raised when a response belongs to a session other than the requested one."""


class SessionGuard:
    """Buffer that withholds the frames of a response until one of them contains the session id."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._buffer: list[Frame] = []
        self.verified = False

    def check(self, frames: list[Frame]) -> list[Frame]:
        """Accept the next frames and return those that may be passed on now.

        Raises:
            SessionReplacedError: The frames belong to another session, so no frame of this response may
                be passed on.
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
        """Return the buffered frames, and pass on all later ones."""
        self.verified = True
        frames, self._buffer = self._buffer, []
        return frames

    def flush_after_error(self, body: Any) -> list[Frame]:
        """Return the frames that are withheld when an error ends the response.

        As at the end of a response, frames that name no session count as those of the requested one.

        Args:
            body: Body of the error. If it names another session, no frame may be passed on.
        """
        for source in (body, body.get("output")) if isinstance(body, dict) else ():
            session_id = source.get("session_id") if isinstance(source, dict) else None
            if session_id and session_id != self._session_id:
                return []
        return self.flush()


def build_session_metadata(history: str, checkpoint: SessionCheckpoint | None = None) -> dict[str, Any]:
    """Return the fields of an answer's `response_metadata` that describe its conversation."""
    fields: dict[str, Any] = {"history": history}
    if checkpoint is not None:
        fields |= {
            "session_turn": checkpoint.turn,
            "session_at": checkpoint.timestamp,
            "session_digest": checkpoint.digest,
        }
    return fields
