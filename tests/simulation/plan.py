"""Planner of a simulation: it chooses every step with one seeded random generator.

No other module draws from this generator, so the sequence of steps follows from the seed.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from tests.integration_tests.sessions.test_conversations import STOP
from tests.integration_tests.sessions.test_state_machine import FAILURES
from tests.simulation.calls import ASYNC_STYLES, SYNC_STYLES, Call
from tests.simulation.environment import APP_IDS
from tests.simulation.oracle import Conversation, History
from tests.simulation.steps import PlannedCall, ServiceChange, Step

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from tests.simulation.environment import World

USERS = range(1, 7)
# The conversations of each user, and the store of each of them; the second store fails at random.
HISTORIES: tuple[History, ...] = (
    "messages",
    "session",
    "session",
    "session",
    "thread",
    "thread",
    "given",
)
STORES = (0, 0, 0, 1, 0, 1, 0)
_ACTIONS: dict[History, dict[str, int]] = {
    "messages": {"ask": 6, "fork": 2, "edit": 2, "batch": 1, "race": 1, "interrupt": 1, "crowd": 1},
    "session": {
        "ask": 40,
        "fork": 8,
        "regenerate": 5,
        "edit": 5,
        "trim": 3,
        "extra": 2,
        "move": 3,
        "stop": 2,
        "interrupt": 10,
        "batch": 5,
        "race": 5,
        "overlap": 5,
        "crowd": 5,
    },
    "thread": {
        "ask": 40,
        "stop": 2,
        "interrupt": 12,
        "batch": 5,
        "race": 5,
        "overlap": 6,
        "crowd": 6,
    },
    "given": {"ask": 10, "stop": 1, "interrupt": 2, "crowd": 2},
}


class StepPlanner:
    """Planner of steps for the conversations of all users.

    Args:
        world: Where the stores are; it decides which failures are possible.
        rng: Generator of all choices.
    """

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self._step_numbers = itertools.count(1)
        self._question_numbers = itertools.count(1)
        self._conversation_numbers = itertools.count(1)
        self.conversations = [
            self._start_conversation(user, slot) for user in USERS for slot in range(len(HISTORIES))
        ]

    def plan_service_change(self) -> ServiceChange:
        """Return a change of the service before the next step; most of them change nothing."""
        rng, change = self._rng, ServiceChange()
        if rng.random() < 0.05:
            change.settings = {
                "keep_aborted": rng.random() < 0.5,
                # With "same" or "oldest", no caller could see that the service forgot something.
                "unknown_session": rng.choice(["error", "new"]),
                "full_session": rng.choice(["error", "new"]),
            }
        change.forgets_sessions = rng.random() < 0.005
        return change

    def plan_step(self) -> Step:
        """Choose an action on a conversation, and what fails meanwhile."""
        rng = self._rng
        step = Step(next(self._step_numbers), "")
        if self._world == "processes" and rng.random() < 0.6:
            step.worker = rng.randrange(2)
        index = rng.randrange(len(self.conversations))
        conversation = self.conversations[index]
        if rng.random() < 0.03:
            conversation = self.conversations[index] = self._start_conversation(
                conversation.user, conversation.slot, conversation.generation + 1
            )
        actions = _ACTIONS[conversation.history]
        [step.action] = rng.choices(list(actions), list(actions.values()))
        getattr(self, f"_plan_{step.action}")(step, conversation)
        self._plan_failures(step)
        return step

    def plan_last_question(self, conversation: Conversation) -> Step:
        """Return a step that asks a question, in which nothing fails."""
        step = Step(next(self._step_numbers), "last question")
        self._plan_ask(step, conversation)
        return step

    def _plan_failures(self, step: Step) -> None:
        rng, interruptions = self._rng, [call.interruption for call in step.calls]
        if rng.random() < 0.06 and not any(interruptions):
            step.service_failure = rng.choice(sorted(FAILURES))
        moment = "before"
        if self._world != "memory" and rng.random() < 0.012:
            step.outage = rng.choice(
                ["flush", "flush", "script-flush", "script-flush", "freeze", "kill"]
            )
            moment = rng.choice(["before", "during"])
        if all(interruptions):
            step.stall_after = rng.choice([None, 3, 4, 5])
        if moment == "during":
            step.outage_delay = rng.choice([0.0, 0.001, 0.003])

    def _start_conversation(self, user: int, slot: int, generation: int = 1) -> Conversation:
        conversation = Conversation(
            number=next(self._conversation_numbers),
            user=user,
            history=HISTORIES[slot],
            app_id=APP_IDS[slot % 2],
            store=STORES[slot],
            slot=slot,
            generation=generation,
        )
        if conversation.history in {"messages", "session"} and self._rng.random() < 0.3:
            conversation.branches = [[SystemMessage(f"用户{user}的助手。")]]
        return conversation

    def _plan_ask(self, step: Step, conversation: Conversation) -> None:
        step.planned = [self._plan_call(step, conversation, _newest(conversation))]

    def _plan_move(self, step: Step, conversation: Conversation) -> None:
        planned = self._plan_call(step, conversation, _newest(conversation))
        planned.call = replace(planned.call, model=f"{conversation.app_id}{1 - conversation.store}")
        step.planned = [planned]

    def _plan_fork(self, step: Step, conversation: Conversation) -> None:
        step.planned = [self._plan_call(step, conversation, self._fork_point(conversation))]

    def _plan_regenerate(self, step: Step, conversation: Conversation) -> None:
        messages = _newest(conversation)
        if messages and isinstance(messages[-1], AIMessage):
            step.planned = [self._plan_call(step, conversation, messages[:-2], messages[-2:-1])]
        else:
            self._plan_ask(step, conversation)

    def _plan_edit(self, step: Step, conversation: Conversation) -> None:
        messages = list(_newest(conversation))
        if messages:
            index = self._rng.randrange(len(messages))
            text = f"用户{conversation.user}改{next(self._question_numbers)}"
            messages[index] = messages[index].model_copy(update={"content": text})
        step.planned = [self._plan_call(step, conversation, messages)]

    def _plan_trim(self, step: Step, conversation: Conversation) -> None:
        messages = _newest(conversation)
        start = int(_is_system(messages))
        end = next((i + 1 for i, m in enumerate(messages) if isinstance(m, AIMessage)), start)
        trimmed = [*messages[:start], *messages[end:]]
        step.planned = [self._plan_call(step, conversation, trimmed)]

    def _plan_extra(self, step: Step, conversation: Conversation) -> None:
        extra = [*_newest(conversation), self._question(conversation)]
        step.planned = [self._plan_call(step, conversation, extra)]

    def _plan_stop(self, step: Step, conversation: Conversation) -> None:
        self._plan_ask(step, conversation)
        [planned] = step.planned
        planned.call = replace(planned.call, options=planned.call.options | {"stop": [STOP]})

    def _plan_interrupt(self, step: Step, conversation: Conversation) -> None:
        rng = self._rng
        planned = self._plan_call(step, conversation, _newest(conversation))
        if step.worker is not None and rng.random() < 0.1:
            step.kills_worker = True
            planned.call = replace(planned.call, style="stream")
            step.planned = [planned]
            return
        if rng.random() < 0.5:
            style, interruption, delay = "stream", rng.choice(["close", "cycle", "cycle"]), None
        else:
            interruption = rng.choice(["close", "cancel", "cancel", "anyio", "anyio"])
            style = "astream" if interruption == "close" else rng.choice(ASYNC_STYLES)
            delay = rng.choice([None, 0.0, 0.001, 0.004])
            if style == "ainvoke" and delay is None:
                delay = 0.002
        planned.call = replace(planned.call, style=style, interruption=interruption, delay=delay)
        step.planned = [planned]

    def _plan_batch(self, step: Step, conversation: Conversation) -> None:
        step.arrangement = "batch"
        self._plan_race(step, conversation)

    def _plan_race(self, step: Step, conversation: Conversation) -> None:
        """Plan several calls that continue the same branch, or an earlier point of it."""
        newest = _newest(conversation)
        for _ in range(self._rng.randint(2, 4)):
            branch = newest if self._rng.random() < 0.7 else self._fork_point(conversation)
            step.planned.append(self._plan_call(step, conversation, branch))
        self._use_one_style(step)

    def _plan_overlap(self, step: Step, conversation: Conversation) -> None:
        step.arrangement = "overlap"
        newest = _newest(conversation)
        step.planned = [self._plan_call(step, conversation, newest) for _ in range(2)]
        self._use_one_style(step)

    def _plan_crowd(self, step: Step, conversation: Conversation) -> None:
        """Plan calls of several users at the same time."""
        others = self._rng.sample(self.conversations, self._rng.randint(1, 4))
        for member in [conversation, *(other for other in others if other is not conversation)]:
            step.planned.append(self._plan_call(step, member, _newest(member)))

    def _use_one_style(self, step: Step) -> None:
        """Give all calls of a batch, or two that overlap, the style of the first one."""
        if step.arrangement != "each":
            style = step.calls[0].style
            for planned in step.planned:
                planned.call = replace(planned.call, style=style)

    def _plan_call(
        self,
        step: Step,
        conversation: Conversation,
        branch: Sequence[BaseMessage],
        question: Sequence[BaseMessage] = (),
    ) -> PlannedCall:
        messages = [*branch, *(question or [self._question(conversation)])]
        options: dict[str, Any] = {"history": conversation.history}
        session_key = None
        match conversation.history:
            case "thread":
                messages = messages[-1:]
                session_key = conversation.key
            case "given":
                messages, options = messages[-1:], {"history": "messages"}
                if conversation.session_id is not None:
                    options["session_id"] = conversation.session_id
        call = Call(
            step.number,
            f"{conversation.app_id}{conversation.store}",
            messages,
            self._rng.choice(SYNC_STYLES + ASYNC_STYLES),
            options,
            session_key,
        )
        return PlannedCall(conversation, call)

    def _question(self, conversation: Conversation) -> HumanMessage:
        return HumanMessage(f"用户{conversation.user}问{next(self._question_numbers)}")

    def _fork_point(self, conversation: Conversation) -> list[BaseMessage]:
        """Return a branch up to one of its answers, or only its system message if it has none."""
        branch = self._rng.choice(conversation.branches)
        ends = [index + 1 for index, message in enumerate(branch) if isinstance(message, AIMessage)]
        if ends:
            return branch[: self._rng.choice(ends)]
        return branch[:1] if _is_system(branch) else []


def _newest(conversation: Conversation) -> list[BaseMessage]:
    return conversation.branches[-1]


def _is_system(branch: Sequence[BaseMessage]) -> bool:
    return bool(branch) and isinstance(branch[0], SystemMessage)
