"""Checks of the outcomes of a step: answers, errors, interruptions and warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_bailian_app.sessions import BailianSessionWarning
from tests.simulation.oracle import (
    Circumstances,
    Wrong,
    check_partial_answer,
    check_rounds_answer,
    check_transcript_answer,
    may_be_full,
    start_given_session,
)
from tests.simulation.steps import CallResult

if TYPE_CHECKING:
    from tests.simulation.calls import Outcome
    from tests.simulation.environment import Environment
    from tests.simulation.oracle import Conversation
    from tests.simulation.steps import Step

MAX_BRANCHES = 6


class OutcomeChecker:
    """Checker of the outcomes of each step, which also updates what is known of the conversations."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def is_busy(self, conversation: Conversation) -> bool:
        """Return whether an earlier call on a thread has not ended, such as a stream in a cycle."""
        if conversation.history != "thread":
            return False
        store = self._environment.stores[conversation.store]
        return not conversation.steps.isdisjoint(list(store.claims.values()))

    def check(
        self, step: Step, outcomes: list[Outcome], busy: list[bool], warning_count: int
    ) -> list[CallResult]:
        """Check the outcomes of a step and return them with their circumstances.

        Args:
            step: The step.
            outcomes: Outcomes of its calls.
            busy: Whether the conversation of each call was busy before the step.
            warning_count: How many calls in other processes warned about their session.

        Raises:
            Wrong: A call did what no rule allows.
        """
        self._check_problems()
        warning_count += self._check_warnings()
        results = self._find_circumstances(step, outcomes, busy)
        for result in results:
            planned = result.planned
            if result.circumstances.overlapped or planned.call.interruption:
                planned.conversation.loose_questions.add(planned.call.messages[-1].text)
        # Calls of one thread may have run one after the other, in any order.
        results.sort(key=lambda r: len(self._environment.app.context_of(r.outcome.text) or ()))
        restarts = 0
        for result in results:
            answer = result.outcome.answer
            if answer is not None:
                restarts += answer.response_metadata.get("session_restarted", False)
                self._check_answer(result)
            else:
                self._check_failure(step, result)
        if not restarts <= warning_count <= len(results):
            message = f"{warning_count} warnings about sessions, for {restarts} restarted threads"
            raise Wrong(message)
        return results

    def _find_circumstances(
        self, step: Step, outcomes: list[Outcome], busy: list[bool]
    ) -> list[CallResult]:
        store_failed = step.outage is not None or any(
            step.number in store.failed_steps for store in self._environment.stores
        )
        conversations = [id(planned.conversation) for planned in step.planned]
        return [
            CallResult(
                planned,
                outcome,
                Circumstances(
                    overlapped=is_busy or conversations.count(id(planned.conversation)) > 1,
                    store_failed=store_failed,
                    service_failed=step.service_failure is not None,
                ),
            )
            for planned, outcome, is_busy in zip(step.planned, outcomes, busy, strict=True)
        ]

    def _check_problems(self) -> None:
        if self._environment.problems:
            message = f"errors that no call raised: {self._environment.problems}"
            raise Wrong(message)

    def _check_warnings(self) -> int:
        """Return how many calls warned about their session; no other warning is expected."""
        for warning in self._environment.caught_warnings:
            if warning.category is not BailianSessionWarning:
                message = f"unexpected warning: {warning.message}"
                raise Wrong(message)
        return len(self._environment.caught_warnings)

    def _check_answer(self, result: CallResult) -> None:
        conversation, call = result.planned.conversation, result.planned.call
        app, outcome = self._environment.app, result.outcome
        assert outcome.answer is not None
        if conversation.history in {"messages", "session"}:
            check_transcript_answer(app, conversation, call, outcome.text)
            conversation.branches.append([*call.messages, outcome.answer])
            del conversation.branches[:-MAX_BRANCHES]
        elif conversation.history == "given" and conversation.session_id is None:
            check_transcript_answer(app, conversation, call, outcome.text)
            start_given_session(conversation, call, outcome)
        else:
            check_rounds_answer(app, conversation, call, outcome, result.circumstances)

    def _check_failure(self, step: Step, result: CallResult) -> None:
        """Check the error or the interruption of a call."""
        conversation, call = result.planned.conversation, result.planned.call
        outcome, circumstances = result.outcome, result.circumstances
        failure = outcome.failure
        check_partial_answer(self._environment.app, conversation, call, outcome.text)
        conversation.loose_questions.add(call.messages[-1].text)
        if failure is None:
            if call.interruption is None and not step.kills_worker:
                message = "a call returned nothing"
                raise Wrong(message)
            if step.worker is not None:
                # Another process cannot know whether the call has ended.
                conversation.claim_in_doubt = True
                conversation.claim_lost |= step.kills_worker
        elif "langchain_bailian_app.errors.BailianError" in failure.classes:
            session_is_gone = conversation.history == "given" and (
                conversation.service_emptied or may_be_full(conversation)
            )
            if session_is_gone:
                conversation.session_id = None
            elif not circumstances.service_failed:
                message = f"unexpected error: {failure}"
                raise Wrong(message)
        elif not (
            circumstances.store_failed
            and {"redis.exceptions.RedisError", "tests.simulation.stores.StoreFailure"}
            & set(failure.classes)
        ):
            message = f"unexpected error: {failure}"
            raise Wrong(message)
        if circumstances.store_failed:
            conversation.claim_in_doubt = True
            conversation.claim_lost |= step.outage is None
