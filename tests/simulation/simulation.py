"""Simulation of many users whose calls, failures and interruptions follow from a seed.

`python -m tests.simulation --world WORLD --seed SEED` repeats a simulation. Concurrent calls may end in
another order then; everything else is the same.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Self

from langchain_bailian_app.sessions import InMemorySessionStore
from tests.simulation.environment import Environment
from tests.simulation.oracle import Wrong
from tests.simulation.outcome_checks import OutcomeChecker
from tests.simulation.plan import StepPlanner
from tests.simulation.session_checks import SessionChecker
from tests.simulation.workers import HangError

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app.sessions import SessionStore
    from tests.simulation.calls import Outcome
    from tests.simulation.environment import World
    from tests.simulation.oracle import Conversation
    from tests.simulation.steps import Step

SHOWN_ACTIONS = 25


class SimulationFailure(AssertionError):  # noqa: N818 - the name of an outcome
    """Error raised if a simulation finds a fault."""


class Simulation:
    """One simulation; use it in a `with` statement.

    Args:
        world: Where the stores are.
        seed: Seed of all choices.
        create_store: Creates the stores in memory; a test passes a store with a fault.
        store_failure_share: Share of operations in which the second store fails.
    """

    def __init__(
        self,
        world: World,
        seed: int,
        *,
        create_store: Callable[..., SessionStore] = InMemorySessionStore,
        store_failure_share: float = 0.01,
    ) -> None:
        self.world, self.seed = world, seed
        self.actions: dict[str, int] = {}
        """How often each action was taken."""

        self._descriptions: dict[int, str] = {}
        self._planner = StepPlanner(world, random.Random(f"{world} {seed}"))
        self._conversations = self._planner.conversations
        self._environment = Environment(
            world, seed, create_store=create_store, store_failure_share=store_failure_share
        )
        self._outcome_checker = OutcomeChecker(self._environment)
        self._session_checker = SessionChecker(
            self._environment, self._conversations, self._descriptions
        )

    def __enter__(self) -> Self:
        self._environment.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._environment.__exit__(*exc_info)

    @property
    def request_count(self) -> int:
        """Number of requests that the emulator has received."""
        return self._environment.request_count

    def run(self, requests: int) -> None:
        """Take actions until the emulator has received a number of requests.

        Raises:
            SimulationFailure: A call did what no rule allows.
        """
        try:
            while self.request_count < requests:
                self._change_service()
                self._take(self._planner.plan_step())
            self._check_end()
        except (Wrong, HangError) as error:
            last_actions = "\n".join(list(self._descriptions.values())[-SHOWN_ACTIONS:])
            message = (
                f"{error}\n\nThe last actions:\n{last_actions}\n\nTo repeat: python -m tests.simulation"
                f" --world {self.world} --seed {self.seed} --requests {requests}"
            )
            raise SimulationFailure(message) from None

    def _change_service(self) -> None:
        change = self._planner.plan_service_change()
        self._environment.change_service(change)
        if change.forgets_sessions:
            for conversation in self._conversations:
                conversation.service_emptied = True

    def _take(self, step: Step) -> list[Outcome]:
        self.actions[step.action] = self.actions.get(step.action, 0) + 1
        outcomes: list[Outcome] = []
        busy = [self._outcome_checker.is_busy(planned.conversation) for planned in step.planned]
        for planned in step.planned:
            planned.conversation.steps.add(step.number)
        try:
            outcomes, warning_count = self._environment.run(step)
        finally:
            self._descriptions[step.number] = step.describe(outcomes)
        self._note_lost_claims(step)
        results = self._outcome_checker.check(step, outcomes, busy, warning_count)
        self._session_checker.check(step, results)
        return outcomes

    def _note_lost_claims(self, step: Step) -> None:
        """Record which claims a killed process has lost, and that an emptied store has none."""
        for conversation in self._conversations:
            if step.kills_worker:
                # The process may have held streams in cycles.
                conversation.claim_lost |= conversation.claim_in_doubt
            if step.empties_store:
                conversation.candidates = {None}
                conversation.claim_in_doubt = conversation.claim_lost = False

    def _check_end(self) -> None:
        """Check that no claim is left that should have ended, and that all threads still work."""
        self._session_checker.check_claims()
        self._environment.collect_garbage_in_processes()
        for conversation in self._conversations:
            if conversation.history == "thread":
                self._ask_last_question(conversation)

    def _ask_last_question(self, conversation: Conversation) -> None:
        """Check that a thread still works; a claim that is in doubt may take a few seconds to end."""
        deadline = time.monotonic() + 5
        while True:
            conversation.claim_in_doubt &= time.monotonic() < deadline
            [outcome] = self._take(self._planner.plan_last_question(conversation))
            answer = outcome.answer
            restarted = answer is not None and "session_restarted" in answer.response_metadata
            if not (restarted and conversation.claim_in_doubt):
                return
            time.sleep(0.1)


def run_one(world: World, seed: int, requests: int) -> int:
    """Run one simulation and return how many requests it sent."""
    with Simulation(world, seed) as simulation:
        simulation.run(requests)
        return simulation.request_count
