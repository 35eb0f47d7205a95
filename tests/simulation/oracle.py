"""Oracle of the simulation: what each call may have been answered from.

The application answers with a digest of the text it receives, so an answer shows its context. With
`messages` and `session`, the context must be exactly the messages. On a thread, and in a session whose
id the caller passes, it must be the completed rounds of that conversation, in order; rounds whose
outcome the caller does not know may also be there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from langchain_bailian_app.emulator import Reply
from langchain_bailian_app.sessions._plan import MAX_TURNS
from tests.integration_tests.sessions.test_conversations import EchoDigestApp
from tests.integration_tests.sessions.test_state_machine import session_texts

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from langchain_bailian_app.emulator import Turn
    from tests.simulation.calls import Call, Outcome

History: TypeAlias = Literal["messages", "session", "thread", "given"]
Round: TypeAlias = tuple[str, str]

_ANSWER = re.compile(r"第\d+答[0-9a-f]{6}")


class Wrong(AssertionError):  # noqa: N818 - a verdict
    """Error raised if a call did what no rule allows."""


class ContextApp:
    """Application that answers with a digest of its context, and remembers the context."""

    def __init__(self) -> None:
        self.whole_answers = True
        """Whether a stream has one frame of text; otherwise it has several."""

        self._digest_app = EchoDigestApp()
        self._contexts: dict[str, tuple[str, ...]] = {}

    def __call__(self, turn: Turn) -> Reply:
        reply = self._digest_app(turn)
        match = _ANSWER.match(reply.text)
        assert match
        self._contexts[match[0]] = self._digest_app.received_texts.pop()
        return Reply(reply.text, pieces=[reply.text]) if self.whole_answers else reply

    def context_of(self, answer: str) -> tuple[str, ...] | None:
        """Return the texts from which the application gave an answer; None if it did not.

        Half of the digest identifies the context, so a beginning of the answer is enough.
        """
        match = _ANSWER.match(answer)
        return self._contexts.get(match[0]) if match else None


@dataclass
class Conversation:
    """One conversation of a user, with all its branches (`messages`, `session`) or rounds."""

    number: int
    user: int
    history: History
    app_id: str
    store: int
    slot: int
    """Position among the conversations of the user."""

    generation: int
    """Number of conversations in this slot so far."""

    branches: list[list[BaseMessage]] = field(default_factory=lambda: [[]])
    steps: set[int] = field(default_factory=set)
    """Steps in which this conversation had a call."""

    # The rest is for threads and for given sessions.
    session_id: str | None = None
    """The given session."""

    candidates: set[str | None] = field(default_factory=lambda: {None})
    """Sessions that the store may have for this thread; None for no session."""

    rounds: dict[str, list[Round]] = field(default_factory=dict)
    """Complete rounds of each session."""

    loose_questions: set[str] = field(default_factory=set)
    """Questions of calls that were interrupted or failed; the service may have kept their rounds."""

    claim_in_doubt: bool = False
    """Whether a call on this thread may still hold its claim."""

    claim_lost: bool = False
    """Whether a claim on this thread may never end, because the store failed or a process died."""

    service_emptied: bool = False
    """Whether the service has forgotten the sessions of this conversation."""

    @property
    def key(self) -> str:
        """Key of the thread; only the last character differs between users."""
        return f"线程{self.slot}.{self.generation}，用户{self.user}"


@dataclass(frozen=True)
class Circumstances:
    """What else happened while a call ran."""

    overlapped: bool
    """Whether another call on the same conversation ran at the same time, or has not ended."""

    store_failed: bool
    """Whether an operation of the store failed, or the store lost its data."""

    service_failed: bool
    """Whether the service was made to fail."""


def check_transcript_answer(app: ContextApp, conversation: Conversation, call: Call, text: str) -> None:
    """Check that an answer, or a part of one, is an answer to exactly the messages.

    Raises:
        Wrong: It is not.
    """
    context = app.context_of(text)
    if context is not None:
        # The emulator adds an empty answer to a question that is followed by another one.
        context = tuple(filter(None, context))
    expected = session_texts(list(call.messages))
    if context != expected:
        message = (
            f"the answer {text!r} to user {conversation.user} was given from\n    {context}\n  "
            f"and not from\n    {expected}"
        )
        raise Wrong(message)


def check_partial_answer(app: ContextApp, conversation: Conversation, call: Call, text: str) -> None:
    """Check the text until an interruption, if it is long enough to show its context.

    Raises:
        Wrong: It is not an answer to the call, or it was given from texts of another user.
    """
    if not _ANSWER.match(text):
        return
    if conversation.history in {"messages", "session"}:
        check_transcript_answer(app, conversation, call, text)
        return
    context = app.context_of(text) or ("",)
    questions = context[::2]
    user = f"用户{conversation.user}问"
    if questions[-1] != call.messages[-1].text or not all(q.startswith(user) for q in questions):
        message = f"a part of an answer to user {conversation.user} was given from {context}"
        raise Wrong(message)


def start_given_session(conversation: Conversation, call: Call, outcome: Outcome) -> None:
    """Record the session of a first answer, which the next calls of the conversation pass."""
    assert outcome.answer is not None
    conversation.session_id = str(outcome.answer.response_metadata["session_id"])
    conversation.service_emptied = False
    question = call.messages[-1].text
    if "stop" in call.options:
        conversation.loose_questions.add(question)
        conversation.rounds = {}
    else:
        answer = re.sub(r"\s", "", outcome.text)
        conversation.rounds = {conversation.session_id: [(question, answer)]}


def check_rounds_answer(
    app: ContextApp,
    conversation: Conversation,
    call: Call,
    outcome: Outcome,
    circumstances: Circumstances,
) -> None:
    """Check the answer to a question on a thread or in a given session, and record its round.

    Raises:
        Wrong: The answer was given from other rounds, or from a session that it must not use.
    """
    answer = outcome.answer
    assert answer is not None
    question = call.messages[-1].text
    context = app.context_of(outcome.text)
    if context is None or context[-1] != question:
        message = f"{outcome.text!r} is not an answer to {question!r} but to {context}"
        raise Wrong(message)
    texts = context[:-1]
    rounds = list(zip(texts[::2], texts[1::2], strict=True))
    metadata = answer.response_metadata
    session_id = metadata["session_id"]
    restarted = metadata.get("session_restarted", False)
    if restarted:
        _check_restart(conversation, rounds, circumstances)
    elif conversation.history == "given":
        _check_given_session(conversation, session_id)
    else:
        _check_thread_session(conversation, session_id, rounds, circumstances)
    if not restarted:
        _check_rounds(conversation, session_id, rounds, circumstances)
    conversation.service_emptied = False
    known = conversation.rounds.setdefault(session_id, [])
    if "stop" in call.options:
        conversation.loose_questions.add(question)
    else:
        known.append((question, re.sub(r"\s", "", outcome.text)))
        conversation.loose_questions.discard(question)
    if conversation.history == "given":
        conversation.session_id = session_id
    elif restarted or circumstances.store_failed or circumstances.overlapped:
        conversation.candidates.add(session_id)
    else:
        conversation.candidates = {session_id}
        conversation.claim_in_doubt = conversation.claim_lost = False


def _check_restart(
    conversation: Conversation, rounds: list[Round], circumstances: Circumstances
) -> None:
    if rounds:
        message = f"the restarted thread {conversation.number} remembers {rounds}"
        raise Wrong(message)
    if not (
        circumstances.overlapped
        or circumstances.store_failed
        or conversation.claim_in_doubt
        or conversation.claim_lost
        or conversation.service_emptied
        or may_be_full(conversation)
    ):
        message = f"thread {conversation.number} restarted, but no other call is using it"
        raise Wrong(message)


def may_be_full(conversation: Conversation) -> bool:
    """Return whether a session of the conversation may have as many rounds as the service keeps."""
    most_rounds = max(map(len, conversation.rounds.values()), default=0)
    return most_rounds + len(conversation.loose_questions) >= MAX_TURNS


def _check_given_session(conversation: Conversation, session_id: str) -> None:
    if session_id != conversation.session_id and not (
        conversation.service_emptied or may_be_full(conversation)
    ):
        message = f"the call used the session {session_id} and not {conversation.session_id}"
        raise Wrong(message)


def _check_thread_session(
    conversation: Conversation, session_id: str, rounds: list[Round], circumstances: Circumstances
) -> None:
    if session_id in conversation.candidates or circumstances.overlapped:
        return
    may_be_new = None in conversation.candidates or circumstances.store_failed
    # An interrupted call may have saved a session whose id no answer has shown.
    from_unseen_session = session_id not in conversation.rounds and rounds
    if not may_be_new and not from_unseen_session:
        message = (
            f"thread {conversation.number} changed to the session {session_id} without a notice; "
            f"expected one of {conversation.candidates}"
        )
        raise Wrong(message)


def _check_rounds(
    conversation: Conversation, session_id: str, rounds: list[Round], circumstances: Circumstances
) -> None:
    missing = list(conversation.rounds.get(session_id, []))
    for round_ in rounds:
        if missing and round_ == missing[0]:
            del missing[0]
        elif round_[0] not in conversation.loose_questions:
            message = f"conversation {conversation.number} was answered from another round: {round_}"
            raise Wrong(message)
    if missing and not circumstances.overlapped:
        message = f"conversation {conversation.number} has lost or reordered its rounds: {missing}"
        raise Wrong(message)
