"""Checks of sessions and claims: which calls continued a session, and which claims may be left."""

from __future__ import annotations

import gc
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage, HumanMessage

from langchain_bailian_app.sessions import InMemorySessionStore
from langchain_bailian_app.sessions._plan import MAX_TURNS
from tests.integration_tests.sessions.test_state_machine import session_texts
from tests.simulation.oracle import Wrong

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.simulation.calls import Call, Outcome
    from tests.simulation.environment import Environment
    from tests.simulation.oracle import Conversation
    from tests.simulation.steps import CallResult, Step


@dataclass
class KnownSession:
    """What the callers know about a session in the mode `session`."""

    turn: int
    texts: tuple[str, ...]
    """Texts of the messages up to the newest answer."""

    place: tuple[object, ...]
    """Application and store that know the session, and how often service and store were emptied."""

    in_doubt: bool = False
    """Whether a call in this session was interrupted or failed, so that none may continue it."""


class SessionChecker:
    """Checker of the sessions in the mode `session`, and of the claims in the stores.

    Args:
        environment: Environment whose stores have the claims.
        conversations: All conversations.
        descriptions: Description of each step, for messages.
    """

    def __init__(
        self,
        environment: Environment,
        conversations: Sequence[Conversation],
        descriptions: Mapping[int, str],
    ) -> None:
        self._environment = environment
        self._conversations = conversations
        self._descriptions = descriptions
        self._sessions: dict[str, KnownSession] = {}
        self._steps_that_may_claim: set[int] = set()

    def check(self, step: Step, results: Sequence[CallResult]) -> None:
        """Check which calls of a step continued their sessions, and record what they did to them.

        Raises:
            Wrong: A session was continued by no call, or by several.
        """
        self._check_continuations(results)
        # All results are recorded, also after the first one that may have left a claim.
        may_claim = [
            self._record_session(result)
            if result.planned.conversation.history == "session"
            else result.circumstances.store_failed
            for result in results
        ]
        if any(may_claim):
            self._steps_that_may_claim.add(step.number)

    def _check_continuations(self, results: Sequence[CallResult]) -> None:
        contenders: dict[str, list[Outcome]] = {}
        undisturbed = True
        for result in results:
            planned, outcome = result.planned, result.outcome
            if planned.conversation.history != "session":
                continue
            place = self._environment.place_of(planned)
            if _continues_known_session(self._sessions, planned.call, place):
                session_id = planned.call.messages[-2].response_metadata["session_id"]
                contenders.setdefault(session_id, []).append(outcome)
            undisturbed &= outcome.answer is not None and not result.circumstances.store_failed
        for session_id, contending in contenders.items() if undisturbed else ():
            used = [o.answer.response_metadata["session_id"] for o in contending if o.answer]
            if used.count(session_id) != 1:
                message = (
                    f"{used.count(session_id)} of {len(used)} calls continued session {session_id}, "
                    f"which has these calls:\n{self._describe_session(session_id)}"
                )
                raise Wrong(message)

    def _record_session(self, result: CallResult) -> bool:
        """Record what a call did to its session; return whether it may have left a claim."""
        call, outcome, circumstances = result.planned.call, result.outcome, result.circumstances
        place = self._environment.place_of(result.planned)
        metadata = outcome.answer.response_metadata if outcome.answer else {}
        complete = metadata.get("history") == "session" and "session_digest" in metadata
        lacks_digest = metadata.get("history") == "session" and not complete
        if lacks_digest and not circumstances.store_failed and "stop" not in call.options:
            message = "a complete answer in a session has no digest"
            raise Wrong(message)
        if complete:
            self._sessions[metadata["session_id"]] = KnownSession(
                metadata["session_turn"],
                session_texts([*call.messages, outcome.answer]),
                place,
            )
            return circumstances.store_failed
        earlier = call.messages[-2] if len(call.messages) > 1 else None
        checkpoint = earlier.response_metadata if earlier is not None else {}
        session_id = checkpoint.get("session_id")
        known = self._sessions.get(session_id) if session_id else None
        if known is None or known.turn != checkpoint.get("session_turn"):
            return False
        was_rejected = outcome.failure is not None and outcome.failure.is_retryable
        if (was_rejected or metadata.get("history") == "replayed") and not circumstances.store_failed:
            # A session that is full, or that the service has forgotten, keeps its claim.
            return known.turn >= MAX_TURNS - 1 or known.place != place
        known.in_doubt = True
        return True

    def _describe_session(self, session_id: str) -> str:
        """Return the steps in which the session was used, or continued from."""
        texts = {session_id}
        for conversation in self._conversations:
            for message in itertools.chain(*conversation.branches):
                if message.response_metadata.get("session_id") == session_id:
                    texts.add(message.text)
        return "\n".join(
            description
            for description in self._descriptions.values()
            if any(text in description for text in texts)
        )

    def check_claims(self) -> None:
        """Check, after the last step, that no claim is left that should have ended.

        Raises:
            Wrong: A claim is left.
        """
        gc.collect()
        deadline = time.monotonic() + 5
        while (unexpected := self._unexpected_claims()) and time.monotonic() < deadline:
            time.sleep(0.01)  # event loops close dropped streams shortly afterwards
        if unexpected:
            steps = "\n".join(self._descriptions[step] for step in unexpected)
            message = f"claims were left by these steps:\n{steps}"
            raise Wrong(message)
        for store in self._environment.stores:
            if isinstance(store.store, InMemorySessionStore):
                store.store.get("")  # the store may end claims in its next operation
                left = {entry.token for entry in store.store._entries.values()} - {None}
                if left != set(store.claims):
                    message = f"the store has claims that no call holds, or lacks one: {left}"
                    raise Wrong(message)

    def _unexpected_claims(self) -> list[int]:
        return sorted(
            step
            for store in self._environment.stores
            for step in list(store.claims.values())
            if step not in self._steps_that_may_claim and step not in store.failed_steps
        )


def _continues_known_session(
    sessions: dict[str, KnownSession], call: Call, place: tuple[object, ...]
) -> bool:
    """Return whether a call must continue a session, if no other call continues it at the same time."""
    *earlier, last = call.messages
    answer = earlier[-1] if earlier else None
    if not isinstance(answer, AIMessage) or not isinstance(last, HumanMessage):
        return False
    metadata = answer.response_metadata
    known = sessions.get(metadata.get("session_id", ""))
    return (
        "session_digest" in metadata
        and known is not None
        and not known.in_doubt
        and known.place == place
        and known.turn == metadata["session_turn"] < MAX_TURNS
        and known.texts == session_texts(earlier)
    )
