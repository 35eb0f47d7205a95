"""Property test that an application receives the same text as with `history="messages"`.

Hypothesis generates turns, forks, edits, aborts, expiries, failures, and changes of application and
process. The emulator is the oracle. The third kind of expiry (a session emptied under the same id) is
covered by the limit of 55 minutes, because time passes equally for client and service here.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import warnings
from pathlib import Path
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
from langchain_bailian_app.sessions import (
    BailianSessionWarning,
    InMemorySessionStore,
    SessionStore,
)
from langchain_bailian_app.sqlite_sessions import SqliteSessionStore
from tests.clock import Clock
from tests.integration_tests.sessions.test_conversations import STOP, EchoDigestApp, age_messages

if TYPE_CHECKING:
    from collections.abc import Callable

QUESTIONS = st.sampled_from(["一", "二", "三"])  # few, so that histories are similar
PROCESSES = st.integers(0, 1)
APPS = st.sampled_from(["a", "a", "a", "b"])
CALL_STYLES = st.sampled_from(["invoke", "stream", "post", "ainvoke", "astream"])
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
NO_FAULTS = {"error": None, "faults": None, "stall_after": None}


def session_texts(messages: list[BaseMessage]) -> tuple[str, ...]:
    """Return the strings in a session; the system text precedes the first question."""
    system = "".join(m.text for m in messages if isinstance(m, SystemMessage))
    texts = [m.text for m in messages if not isinstance(m, SystemMessage)]
    return (system + texts[0], *texts[1:])


class Conversations(RuleBasedStateMachine):
    """State machine of branches of messages, which grow and fork; every branch may be continued."""

    branches = Bundle("branches")

    def __init__(
        self,
        bailian: BailianEmulator,
        clock: Clock,
        runner: asyncio.Runner,
        create_stores: Callable[[Clock], list[SessionStore]],
    ) -> None:
        super().__init__()
        bailian.reset()
        self.bailian, self.clock, self.runner = bailian, clock, runner
        self.digest_app = EchoDigestApp()
        for app_id in "ab":
            bailian.add_app(App(app_id, app_id=app_id, answer=self.digest_app))
        self.conversations: list[list[BaseMessage]] = []
        stores = create_stores(clock)
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

    # -- rules -------------------------------------------------------------------------------------

    @initialize(full=st.sampled_from(["error", "new", "oldest"]), keep=st.booleans())
    def switch(self, full: Any, *, keep: bool) -> None:
        self.bailian.full_session = full
        self.bailian.keep_aborted = keep

    @initialize(target=branches, turns=st.sampled_from([0, 1, 1, 2, 50]), with_system=st.booleans())
    def start_branch(self, turns: int, *, with_system: bool) -> int:
        messages: list[BaseMessage] = [SystemMessage("简短。")] if with_system else []
        for _ in range(turns):
            messages.append(HumanMessage("一"))
            messages.append(self.models[0, "a"].invoke(messages))
        return self.add_branch(messages)

    @rule(target=branches, with_system=st.booleans())
    def start_empty_branch(self, *, with_system: bool) -> int:
        return self.add_branch([SystemMessage("详细。")] if with_system else [])

    @rule(
        target=branches,
        branch=branches,
        question=QUESTIONS,
        process=PROCESSES,
        app=APPS,
        call_style=CALL_STYLES,
    )
    def ask(self, branch: int, question: str, process: int, app: str, call_style: str) -> int:
        messages = [*self.conversations[branch], HumanMessage(question)]
        return self.add_branch([*messages, self.ask_and_check(messages, process, app, call_style)])

    @rule(
        target=branches,
        new_branch=st.booleans(),
        questions=st.lists(QUESTIONS, min_size=1, max_size=3),
        call_style=CALL_STYLES,
    )
    def continue_branch(self, questions: list[str], call_style: str, *, new_branch: bool) -> int:
        branch = self.find_open_branch(new_branch=new_branch)
        for question in questions:
            branch = self.ask(branch, question, 0, "a", call_style)
        return branch

    @rule(
        target=branches,
        branch=branches,
        question=QUESTIONS,
        with_system=st.booleans(),
        call_style=CALL_STYLES,
    )
    def ask_with_extra_message(
        self, branch: int, question: str, call_style: str, *, with_system: bool
    ) -> int:
        before = SystemMessage("换个说法。") if with_system else HumanMessage("等等")
        messages = [*self.conversations[branch], before, HumanMessage(question)]
        return self.add_branch([*messages, self.ask_and_check(messages, 0, "a", call_style)])

    @rule(target=branches, branch=branches, call_style=CALL_STYLES, process=PROCESSES)
    def regenerate(self, branch: int, call_style: str, process: int) -> int:
        messages = self.conversations[branch]
        if not messages or not isinstance(messages[-1], AIMessage):
            return branch
        return self.add_branch(
            [*messages[:-1], self.ask_and_check(messages[:-1], process, "a", call_style)]
        )

    @rule(
        target=branches,
        branch=branches,
        index=st.integers(0, 5),
        question=QUESTIONS,
        call_style=CALL_STYLES,
    )
    def edit(self, branch: int, index: int, question: str, call_style: str) -> int:
        messages = list(self.conversations[branch])
        if messages:
            index %= len(messages)
            messages[index] = messages[index].model_copy(update={"content": f"改{question}"})
        return self.ask(self.add_branch(messages), question, 0, "a", call_style)

    @rule(
        target=branches,
        branch=branches,
        count=st.integers(1, 3),
        question=QUESTIONS,
        call_style=CALL_STYLES,
    )
    def trim(self, branch: int, count: int, question: str, call_style: str) -> int:
        messages = self.conversations[branch][2 * count :]
        return self.ask(self.add_branch(messages), question, 0, "a", call_style)

    @rule(branch=branches, questions=st.lists(QUESTIONS, min_size=2, max_size=3))
    def continue_in_parallel(self, branch: int, questions: list[str]) -> None:
        batch = [[*self.conversations[branch], HumanMessage(question)] for question in questions]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BailianSessionWarning)
            # One after the other, so that a failure can be reproduced.
            answers = self.models[0, "a"].batch(batch, {"max_concurrency": 1})
        for messages, answer in zip(batch, answers, strict=True):
            self.check_answer(messages, "a", answer.text, check_prompts=False)

    @rule(branch=branches, question=QUESTIONS, process=PROCESSES, frames=FRAMES, on_loop=st.booleans())
    def abort(self, branch: int, question: str, process: int, frames: int, *, on_loop: bool) -> None:
        messages = [*self.conversations[branch], HumanMessage(question)]
        model = self.models[process, "a"]
        self.bailian.apps["a"].stall_after = frames

        async def astream_first_chunk() -> str:
            chunks = model.astream(messages)
            text = (await anext(chunks)).text
            await chunks.aclose()
            return text

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BailianSessionWarning)
            if on_loop:
                text = self.runner.run(astream_first_chunk())
            else:
                chunks = model.stream(messages)
                text = next(chunks).text
                chunks.close()
        assert text
        self.check_answer(messages, "a", text, complete=False)

    @rule(
        target=branches,
        branch=branches,
        question=QUESTIONS,
        process=PROCESSES,
        keep_answer=st.booleans(),
    )
    def cut_by_stop(self, branch: int, question: str, process: int, *, keep_answer: bool) -> int:
        messages = [*self.conversations[branch], HumanMessage(question)]
        answer = self.ask_and_check(messages, process, "a", "stream", stop=[STOP])
        return self.add_branch([*messages, answer]) if keep_answer else branch

    @rule(
        branch=branches,
        question=QUESTIONS,
        call_style=CALL_STYLES,
        failure=st.sampled_from(sorted(FAILURES)),
    )
    def fail(self, branch: int, question: str, call_style: str, failure: str) -> None:
        messages = [*self.conversations[branch], HumanMessage(question)]
        vars(self.bailian.apps["a"]).update(FAILURES[failure]())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BailianSessionWarning)
            try:
                answer = self.call(messages, 0, "a", call_style)
            except BailianError as error:
                text = error.partial.text if error.partial else ""
            else:
                # A fault that breaks streams has no effect on a plain POST.
                text = answer.text
        # If the session was replaced and the answer was then interrupted, nothing is yielded.
        self.check_answer(messages, "a", text, complete=False, check_prompts=bool(text))

    @rule(
        target=branches,
        new_branch=st.booleans(),
        minutes=st.sampled_from([20, 54, 56, 61]),
        question=QUESTIONS,
        call_style=CALL_STYLES,
    )
    def pass_time(self, minutes: int, question: str, call_style: str, *, new_branch: bool) -> int:
        branch = self.find_open_branch(new_branch=new_branch)
        self.clock.now += minutes * 60
        self.conversations = [age_messages(messages, minutes * 60) for messages in self.conversations]
        return self.ask(branch, question, 0, "a", call_style)

    @precondition(lambda self: self.bailian.unknown_session != "same")
    @rule(target=branches, new_branch=st.booleans(), question=QUESTIONS, call_style=CALL_STYLES)
    def lose_sessions(self, question: str, call_style: str, *, new_branch: bool) -> int:
        branch = self.find_open_branch(new_branch=new_branch)
        self.remove_faults()
        self.bailian.reset()
        return self.ask(branch, question, 0, "a", call_style)

    # -- helpers -----------------------------------------------------------------------------------

    def add_branch(self, messages: list[BaseMessage]) -> int:
        self.conversations.append(messages)
        return len(self.conversations) - 1

    def find_open_branch(self, *, new_branch: bool) -> int:
        """Return a branch whose session can be continued: a new one or the newest with a checkpoint."""
        for number in reversed(range(0 if new_branch else len(self.conversations))):
            messages = self.conversations[number]
            if messages and "session_digest" in messages[-1].response_metadata:
                return number
        return self.ask(self.add_branch([]), "一", 0, "a", "invoke")

    def remove_faults(self) -> None:
        for request in self.bailian.requests[-3:]:
            assert request.wait(5)
        for app in self.bailian.apps.values():
            vars(app).update(NO_FAULTS)

    def call(
        self, messages: list[BaseMessage], process: int, app: str, call_style: str, **kwargs: Any
    ) -> AIMessage:
        model = self.models[process, app]

        async def astream_merged() -> AIMessage:
            chunks = [chunk async for chunk in model.astream(messages, **kwargs)]
            return sum(chunks[1:], chunks[0])

        match call_style:
            case "invoke":
                return model.invoke(messages, **kwargs)
            case "post":
                return model.invoke(messages, streaming=False, **kwargs)
            case "ainvoke":
                return self.runner.run(model.ainvoke(messages, **kwargs))
            case "astream":
                return self.runner.run(astream_merged())
        chunks = list(model.stream(messages, **kwargs))
        return sum(chunks[1:], chunks[0])

    def ask_and_check(
        self, messages: list[BaseMessage], process: int, app: str, call_style: str, **kwargs: Any
    ) -> AIMessage:
        """Call the model and check its requests, its warnings and the saved session."""
        since = len(self.bailian.requests)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            answer = self.call(messages, process, app, call_style, **kwargs)
        inputs = [request.body["input"] for request in self.bailian.requests[since:]]
        session_warnings = [w for w in caught if w.category is BailianSessionWarning]

        assert len(session_warnings) <= 1
        assert len(inputs) in {1, 2}
        if len(inputs) == 2:
            assert len(session_warnings) == 1
            assert "session_id" in inputs[0]
            assert "messages" in inputs[1]
        history = answer.response_metadata["history"]
        assert history in {"session", "replayed", "messages"}
        assert ("messages" in inputs[-1]) == (history != "session")
        if session_warnings:
            assert history == "replayed"
        self.check_answer(messages, app, answer.text, stopped="stop" in kwargs)
        if "session_digest" in answer.response_metadata:
            self.check_session(messages, answer)
        return answer

    def check_answer(
        self,
        messages: list[BaseMessage],
        app: str,
        text: str,
        *,
        complete: bool = True,
        check_prompts: bool = True,
        stopped: bool = False,
    ) -> None:
        """Check that the application received the messages, and that the result is its answer."""
        self.remove_faults()
        received_texts = self.digest_app.received_texts[-1:]
        expected = self.models[0, app].invoke(messages, history="messages").text
        if check_prompts:
            assert received_texts == self.digest_app.received_texts[-1:]
        if stopped:
            expected = expected.partition(STOP)[0]
        assert text == expected if complete else expected.startswith(text)

    def check_session(self, messages: list[BaseMessage], answer: AIMessage) -> None:
        """Check that a session that may be continued contains the messages and nothing else."""
        rounds = self.bailian.session(answer.response_metadata["session_id"])
        texts = [re.sub(r"\s|<ref>\[\d+]</ref>", "", text) for r in rounds for text in r]
        assert tuple(texts) == session_texts([*messages, answer])
        assert answer.response_metadata["session_turn"] == len(rounds) <= 50


def create_memory_stores(clock: Clock) -> list[SessionStore]:
    # In the first process, time does not pass for the store, so only the age of answers limits use.
    return [InMemorySessionStore(), InMemorySessionStore(clock=clock)]


def create_sqlite_stores(clock: Clock) -> list[SessionStore]:
    path = Path(tempfile.mkdtemp(), "sessions.db")
    return [SqliteSessionStore(path, clock=clock) for _ in range(2)]


@pytest.mark.slow
@pytest.mark.no_cover  # thousands of calls; other tests cover these lines
@pytest.mark.parametrize(
    ("unknown_session", "create_stores"),
    [
        ("error", create_memory_stores),
        ("new", create_memory_stores),
        ("same", create_memory_stores),
        ("new", create_sqlite_stores),
    ],
)
def test_random_conversations_are_answered_from_their_messages(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    unknown_session: Any,
    create_stores: Callable[[Clock], list[SessionStore]],
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    clock = Clock()
    emulator = BailianEmulator(seed_apps=False, clock=clock, unknown_session=unknown_session)
    with emulator as bailian, asyncio.Runner() as runner:
        run_state_machine_as_test(
            lambda: Conversations(bailian, clock, runner, create_stores),
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
