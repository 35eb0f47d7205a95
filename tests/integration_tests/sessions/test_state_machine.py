"""Any course of conversations: the application sees what it sees with `history="messages"`.

Hypothesis invents turns, forks, edits, aborts, expiries, failures and changes of application and
process; the emulator is the oracle. The third way of expiry (a session emptied under its own id) is
bounded by the 55 minutes: time passes alike for client and service here.
"""

from __future__ import annotations

import asyncio
import re
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from langchain_bailian_app import BailianAppChatModel
from langchain_bailian_app.emulator import App, BailianEmulator, ErrorReply, Faults
from langchain_bailian_app.errors import BailianError
from langchain_bailian_app.sessions import BailianSessionWarning, InMemorySessionStore
from tests.clock import Clock
from tests.integration_tests.sessions.test_conversations import STOP, Witness, aged

if TYPE_CHECKING:
    from collections.abc import Callable

QUESTIONS = st.sampled_from(["一", "二", "三"])  # few, so that histories are nearly alike
PROCESSES = st.integers(0, 1)
APPS = st.sampled_from(["a", "a", "a", "b"])
WAYS = st.sampled_from(["invoke", "stream", "post", "ainvoke", "astream"])
# From the first frame on, frames until the service falls silent; the first shows text.
FRAMES = st.integers(3, 6)
FAILURES: dict[str, Callable[[], dict[str, Any]]] = {
    "throttled": lambda: {"error": ErrorReply.of("Throttling.RateQuota", times=1)},
    "refused": lambda: {"error": ErrorReply.of("DataInspectionFailed", times=1)},
    "failed": lambda: {"error": ErrorReply.of("InternalError", times=1)},
    "in the stream": lambda: {"error": ErrorReply.of("SystemError", times=1, in_stream_after=3)},
    "at once": lambda: {"error": ErrorReply.of("Throttling", times=1, in_stream_after=0)},
    **{
        name: lambda name=name: {"faults": Faults.always(name)}
        for name in ("cut-mid-frame", "end-mid-frame", "no-finish-reason", "reset", "html-502")
    },
}
HEALTHY = {"error": None, "faults": None, "stall_after": None}


def texts_of(messages: list[BaseMessage]) -> tuple[str, ...]:
    """Return what a session holds of messages: the system text in front of the first question."""
    system = "".join(m.text for m in messages if isinstance(m, SystemMessage))
    spoken = [m.text for m in messages if not isinstance(m, SystemMessage)]
    return (system + spoken[0], *spoken[1:])


class Conversations(RuleBasedStateMachine):
    """Lines of messages that grow and fork; an old one is as good as a new one."""

    lines = Bundle("lines")

    def __init__(self, bailian: BailianEmulator, clock: Clock, runner: asyncio.Runner) -> None:
        super().__init__()
        bailian.reset()
        self.bailian, self.clock, self.runner = bailian, clock, runner
        self.witness = Witness()
        for app_id in "ab":
            bailian.add_app(App(app_id, app_id=app_id, answer=self.witness))
        self.said: list[list[BaseMessage]] = []
        # In the first process time never passes for the store, so that the age of answers must do.
        stores = [InMemorySessionStore(), InMemorySessionStore(clock=clock)]
        self.models = {
            (process, app_id): BailianAppChatModel(
                app_id=app_id,
                base_url=bailian.base_url,
                api_key=bailian.api_key,
                history="session",
                session_store=stores[process],
                max_retries=0,
            )
            for process in range(2)
            for app_id in "ab"
        }

    # -- what happens ------------------------------------------------------------------------------

    @initialize(full=st.sampled_from(["error", "new", "oldest"]), keep=st.booleans())
    def switch(self, full: Any, *, keep: bool) -> None:
        self.bailian.full_session = full
        self.bailian.keep_aborted = keep

    @initialize(target=lines, turns=st.sampled_from([0, 1, 1, 2, 50]), ruled=st.booleans())
    def begin(self, turns: int, *, ruled: bool) -> int:
        messages: list[BaseMessage] = [SystemMessage("简短。")] if ruled else []
        for _ in range(turns):
            messages.append(HumanMessage("一"))
            messages.append(self.models[0, "a"].invoke(messages))
        return self.note(messages)

    @rule(target=lines, ruled=st.booleans())
    def begin_another(self, *, ruled: bool) -> int:
        return self.note([SystemMessage("详细。")] if ruled else [])

    @rule(target=lines, line=lines, question=QUESTIONS, process=PROCESSES, app=APPS, way=WAYS)
    def turn(self, line: int, question: str, process: int, app: str, way: str) -> int:
        messages = [*self.said[line], HumanMessage(question)]
        return self.note([*messages, self.ask(messages, process, app, way)])

    @rule(
        target=lines,
        fresh=st.booleans(),
        questions=st.lists(QUESTIONS, min_size=1, max_size=3),
        way=WAYS,
    )
    def go_on(self, questions: list[str], way: str, *, fresh: bool) -> int:
        line = self.standing(fresh=fresh)
        for question in questions:
            line = self.turn(line, question, 0, "a", way)
        return line

    @rule(target=lines, line=lines, question=QUESTIONS, ruled=st.booleans(), way=WAYS)
    def two_new_messages(self, line: int, question: str, way: str, *, ruled: bool) -> int:
        before = SystemMessage("换个说法。") if ruled else HumanMessage("等等")
        messages = [*self.said[line], before, HumanMessage(question)]
        return self.note([*messages, self.ask(messages, 0, "a", way)])

    @rule(target=lines, line=lines, way=WAYS, process=PROCESSES)
    def regenerate(self, line: int, way: str, process: int) -> int:
        messages = self.said[line]
        if not messages or not isinstance(messages[-1], AIMessage):
            return line
        return self.note([*messages[:-1], self.ask(messages[:-1], process, "a", way)])

    @rule(target=lines, line=lines, place=st.integers(0, 5), question=QUESTIONS, way=WAYS)
    def edit(self, line: int, place: int, question: str, way: str) -> int:
        messages = list(self.said[line])
        if messages:
            place %= len(messages)
            messages[place] = messages[place].model_copy(update={"content": f"改{question}"})
        return self.turn(self.note(messages), question, 0, "a", way)

    @rule(target=lines, line=lines, count=st.integers(1, 3), question=QUESTIONS, way=WAYS)
    def trim(self, line: int, count: int, question: str, way: str) -> int:
        messages = self.said[line][2 * count :]
        return self.turn(self.note(messages), question, 0, "a", way)

    @rule(line=lines, questions=st.lists(QUESTIONS, min_size=2, max_size=3))
    def continue_in_many_ways(self, line: int, questions: list[str]) -> None:
        batch = [[*self.said[line], HumanMessage(question)] for question in questions]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BailianSessionWarning)
            # One after another, so that a failure comes again when its course is taken again.
            answers = self.models[0, "a"].batch(batch, {"max_concurrency": 1})
        for messages, answer in zip(batch, answers, strict=True):
            self.check(messages, "a", answer.text, last=False)

    @rule(line=lines, question=QUESTIONS, process=PROCESSES, frames=FRAMES, on_loop=st.booleans())
    def abort(self, line: int, question: str, process: int, frames: int, *, on_loop: bool) -> None:
        messages = [*self.said[line], HumanMessage(question)]
        model = self.models[process, "a"]
        self.bailian.apps["a"].stall_after = frames

        async def abreak() -> str:
            chunks = model.astream(messages)
            text = (await anext(chunks)).text
            await chunks.aclose()
            return text

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BailianSessionWarning)
            if on_loop:
                shown = self.runner.run(abreak())
            else:
                chunks = model.stream(messages)
                shown = next(chunks).text
                chunks.close()
        assert shown
        self.check(messages, "a", shown, whole=False)

    @rule(target=lines, line=lines, question=QUESTIONS, process=PROCESSES, kept=st.booleans())
    def cut_by_stop(self, line: int, question: str, process: int, *, kept: bool) -> int:
        messages = [*self.said[line], HumanMessage(question)]
        answer = self.ask(messages, process, "a", "stream", stop=[STOP])
        return self.note([*messages, answer]) if kept else line

    @rule(line=lines, question=QUESTIONS, way=WAYS, failure=st.sampled_from(sorted(FAILURES)))
    def fail(self, line: int, question: str, way: str, failure: str) -> None:
        messages = [*self.said[line], HumanMessage(question)]
        vars(self.bailian.apps["a"]).update(FAILURES[failure]())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BailianSessionWarning)
            try:
                answer = self.call(messages, 0, "a", way)
            except BailianError as error:
                shown = error.partial.text if error.partial else ""
            else:
                # What breaks streams only does nothing to a plain POST.
                shown = answer.text
        # Where a session was replaced and then the answer broke off, nothing is shown.
        self.check(messages, "a", shown, whole=False, last=bool(shown))

    @rule(
        target=lines,
        fresh=st.booleans(),
        minutes=st.sampled_from([20, 54, 56, 61]),
        question=QUESTIONS,
        way=WAYS,
    )
    def pass_time(self, minutes: int, question: str, way: str, *, fresh: bool) -> int:
        line = self.standing(fresh=fresh)
        self.clock.now += minutes * 60
        self.said = [aged(messages, minutes * 60) for messages in self.said]
        return self.turn(line, question, 0, "a", way)

    @precondition(lambda self: self.bailian.unknown_session != "same")
    @rule(target=lines, fresh=st.booleans(), question=QUESTIONS, way=WAYS)
    def lose_sessions(self, question: str, way: str, *, fresh: bool) -> int:
        line = self.standing(fresh=fresh)
        self.heal()
        self.bailian.reset()
        return self.turn(line, question, 0, "a", way)

    # -- how it is done ----------------------------------------------------------------------------

    def note(self, messages: list[BaseMessage]) -> int:
        self.said.append(messages)
        return len(self.said) - 1

    def standing(self, *, fresh: bool) -> int:
        """Return a line whose session stands, a fresh one or the newest that seems to."""
        for number in reversed(range(0 if fresh else len(self.said))):
            messages = self.said[number]
            if messages and "session_digest" in messages[-1].response_metadata:
                return number
        return self.turn(self.note([]), "一", 0, "a", "invoke")

    def heal(self) -> None:
        for request in self.bailian.requests[-3:]:
            assert request.wait(5)
        for app in self.bailian.apps.values():
            vars(app).update(HEALTHY)

    def call(
        self, messages: list[BaseMessage], process: int, app: str, way: str, **keywords: Any
    ) -> AIMessage:
        model = self.models[process, app]

        async def astreamed() -> AIMessage:
            chunks = [chunk async for chunk in model.astream(messages, **keywords)]
            return sum(chunks[1:], chunks[0])

        match way:
            case "invoke":
                return model.invoke(messages, **keywords)
            case "post":
                return model.invoke(messages, streaming=False, **keywords)
            case "ainvoke":
                return self.runner.run(model.ainvoke(messages, **keywords))
            case "astream":
                return self.runner.run(astreamed())
        chunks = list(model.stream(messages, **keywords))
        return sum(chunks[1:], chunks[0])

    def ask(
        self, messages: list[BaseMessage], process: int, app: str, way: str, **keywords: Any
    ) -> AIMessage:
        """Ask, and hold what the design says of requests, warnings and what is remembered."""
        since = len(self.bailian.requests)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            answer = self.call(messages, process, app, way, **keywords)
        told = [request.body["input"] for request in self.bailian.requests[since:]]
        warned = [w for w in caught if w.category is BailianSessionWarning]

        assert len(warned) <= 1
        assert len(told) in {1, 2}
        if len(told) == 2:
            assert len(warned) == 1
            assert "session_id" in told[0]
            assert "messages" in told[1]
        keeper = answer.response_metadata["history"]
        assert keeper in {"session", "replayed", "messages"}
        assert ("messages" in told[-1]) == (keeper != "session")
        if warned:
            assert keeper == "replayed"
        self.check(messages, app, answer.text, stopped="stop" in keywords)
        if "session_digest" in answer.response_metadata:
            self.check_session(messages, answer)
        return answer

    def check(
        self,
        messages: list[BaseMessage],
        app: str,
        shown: str,
        *,
        whole: bool = True,
        last: bool = True,
        stopped: bool = False,
    ) -> None:
        """Hold that the application saw the messages, and that what is shown is its answer."""
        self.heal()
        saw = self.witness.seen[-1:]
        alone = self.models[0, app].invoke(messages, history="messages").text
        if last:
            assert saw == self.witness.seen[-1:]
        if stopped:
            alone = alone.partition(STOP)[0]
        assert shown == alone if whole else alone.startswith(shown)

    def check_session(self, messages: list[BaseMessage], answer: AIMessage) -> None:
        """Hold that a session that may be continued holds the messages, and nothing else."""
        rounds = self.bailian.session(answer.response_metadata["session_id"])
        held = [re.sub(r"\s|<ref>\[\d+]</ref>", "", text) for r in rounds for text in r]
        assert tuple(held) == texts_of([*messages, answer])
        assert answer.response_metadata["session_turn"] == len(rounds) <= 50


@pytest.mark.no_cover  # thousands of calls, whose lines other tests cover
@pytest.mark.parametrize("unknown", ["error", "new", "same"])
def test_any_course_of_conversations_shows_what_the_messages_say(unknown: Any) -> None:
    clock = Clock()
    emulator = BailianEmulator(seed_apps=False, clock=clock, unknown_session=unknown)
    with emulator as bailian, asyncio.Runner() as runner:
        run_state_machine_as_test(
            lambda: Conversations(bailian, clock, runner),
            settings=settings(
                max_examples=30,
                stateful_step_count=15,
                derandomize=True,
                deadline=None,
                database=None,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            ),
        )
