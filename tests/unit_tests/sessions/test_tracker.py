"""Tests of the session handling of one call: its store operations and its requests."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from langchain_bailian_app._answer.answer import Answer
from langchain_bailian_app._answer.frames import Frame
from langchain_bailian_app._request.body import Turn
from langchain_bailian_app._request.fields import CompletionFields
from langchain_bailian_app._transport.credentials import Connection
from langchain_bailian_app.errors import BailianRateLimitError, BailianSessionError, BailianStreamError
from langchain_bailian_app.sessions import BailianSessionWarning, InMemorySessionStore
from langchain_bailian_app.sessions._plan import (
    ConversationDigest,
    SessionCheckpoint,
    SessionGuard,
    SessionReplacedError,
    build_session_metadata,
)
from langchain_bailian_app.sessions._store_ops import (
    Claim,
    Complete,
    Get,
    Open,
    Put,
    Release,
    StoreOp,
    StoreOps,
    arun_store_ops,
    run_store_ops,
)
from langchain_bailian_app.sessions._tracker import SessionTracker

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST = "https://host.example/api/v1"
CONNECTION = Connection(HOST, None, lambda: "key")
SESSION_KEY = f"{HOST}\n\napp\ns"
ONE, TWO = HumanMessage("一"), HumanMessage("二")
# Result of the store when a claim is completed.
CLAIM_COMPLETED, CLAIM_LOST = True, False
ANSWER = Answer(text="答一", finish_reason="stop", session_id="s")


def make_tracker(
    *messages: BaseMessage, connection: Connection = CONNECTION, **options: Any
) -> SessionTracker:
    """Return the tracker of a call; the default of `history` is "session"."""
    fields = CompletionFields(**{"history": "session"} | options)
    return SessionTracker(messages, fields, app_id="app", connection=connection)


def run_ops(ops: StoreOps[Any], *results: Any) -> tuple[list[StoreOp[Any]], Any]:
    """Run store operations with the given results; return the operations and the final value."""
    calls: list[StoreOp[Any]] = []
    results_to_send: list[Any] = [None, *results]
    try:
        while True:
            calls.append(ops.send(results_to_send.pop(0)))
    except StopIteration as stop:
        assert results_to_send == [], "more results than operations"
        return calls, stop.value


def run_quietly(ops: StoreOps[Any], *results: Any) -> tuple[list[StoreOp[Any]], Any]:
    """Call `run_ops` and check that there are no warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return run_ops(ops, *results)


def first_answer(*, turn: int = 1, timestamp: float | None = None, **changes: Any) -> AIMessage:
    """Return the answer to the question ONE, with the given changes of its metadata."""
    turns = [Turn("user", "一"), Turn("assistant", "答一")]
    digest = ConversationDigest("key", (HOST, None, "app")).compute(turns, "s", turn)
    checkpoint = SessionCheckpoint("s", turn, time.time() if timestamp is None else timestamp, digest)
    metadata = build_session_metadata("session", checkpoint)
    return AIMessage(
        "答一", response_metadata={"app_id": "app", "session_id": "s"} | metadata | changes
    )


def make_claimed_tracker(*messages: BaseMessage, **options: Any) -> SessionTracker:
    """Return a tracker that continues the session of the first answer; its request was sent."""
    tracker = make_tracker(*(messages or (ONE, first_answer(), TWO)), **options)
    (calls, _) = run_quietly(tracker.start(), "token")
    assert list(map(type, calls)) == [Claim]
    tracker.on_send(may_have_run=True)
    return tracker


TRANSCRIPT = {
    "messages": [
        {"role": "user", "content": "一"},
        {"role": "assistant", "content": "答一"},
        {"role": "user", "content": "二"},
    ]
}


# -- start -----------------------------------------------------------------------------------------


def test_a_first_question_calls_no_store_and_names_no_session() -> None:
    tracker = make_tracker(SystemMessage("简短。"), ONE)

    assert run_quietly(tracker.start()) == ([], None)
    assert tracker.request.body["input"] == {"prompt": "简短。\n\n一"}
    assert (tracker.history, tracker.guard) == ("session", None)


def test_the_next_question_claims_the_session_at_its_checkpoint() -> None:
    answer = first_answer()
    tracker = make_tracker(ONE, answer, TWO)
    calls, _ = run_quietly(tracker.start(), "token")

    assert calls == [Claim(SESSION_KEY, 1, answer.response_metadata["session_digest"])]
    assert tracker.request.body["input"] == {"prompt": "二", "session_id": "s"}
    assert tracker.history == "session"
    assert isinstance(tracker.guard, SessionGuard)


def test_a_refused_claim_sends_all_messages_and_warns_once() -> None:
    tracker = make_tracker(ONE, first_answer(), TWO)
    with pytest.warns(BailianSessionWarning, match="sending all messages") as caught:
        run_ops(tracker.start(), None)

    assert len(caught) == 1
    assert tracker.request.body["input"] == TRANSCRIPT
    assert (tracker.history, tracker.guard) == ("replayed", None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"turn": 50}, "50 turns"),
        ({"timestamp": time.time() - 3400}, "expired"),
        ({"timestamp": time.time() + 3400}, "expired"),
    ],
)
def test_a_session_at_its_limits_is_not_claimed(changes: dict[str, Any], reason: str) -> None:
    tracker = make_tracker(ONE, first_answer(**changes), TWO)
    with pytest.warns(BailianSessionWarning, match=reason) as caught:
        assert run_ops(tracker.start()) == ([], None)

    assert len(caught) == 1
    assert tracker.request.body["input"] == TRANSCRIPT
    assert tracker.history == "replayed"


@pytest.mark.parametrize(
    ("messages", "history"),
    [
        ([HumanMessage("壹"), first_answer(), TWO], "replayed"),
        ([first_answer(), TWO], "replayed"),
        ([ONE, first_answer(), HumanMessage("二"), AIMessage("答二"), TWO], "replayed"),
        ([ONE, AIMessage("答一"), TWO], "messages"),
        ([ONE, first_answer(app_id="other"), TWO], "messages"),
        ([ONE, TWO], "messages"),
    ],
)
def test_messages_that_no_session_has_are_sent_without_a_warning(
    messages: Sequence[BaseMessage], history: str
) -> None:
    tracker = make_tracker(*messages)

    assert run_quietly(tracker.start()) == ([], None)
    assert len(tracker.request.body["input"]["messages"]) == len(messages)
    assert (tracker.history, tracker.guard) == (history, None)


@pytest.mark.parametrize(
    "connection",
    [
        Connection(HOST, "ws", lambda: "key"),
        Connection("https://other.example/api/v1", None, lambda: "key"),
        Connection(HOST, None, lambda: "other"),
    ],
    ids=["workspace", "host", "key"],
)
def test_another_scope_is_another_conversation(connection: Connection) -> None:
    tracker = make_tracker(ONE, first_answer(), TWO, connection=connection)

    assert run_quietly(tracker.start()) == ([], None)
    assert tracker.request.body["input"] == TRANSCRIPT


def test_an_explicit_session_is_used_as_it_is() -> None:
    tracker = make_tracker(ONE, first_answer(), TWO, session_id="mine")

    assert run_quietly(tracker.start()) == ([], None)
    assert tracker.request.body["input"] == {"prompt": "二", "session_id": "mine"}
    assert (tracker.history, tracker.guard) == ("given", None)
    assert run_quietly(tracker.commit(ANSWER, complete=True)) == ([], {"history": "given"})
    assert run_quietly(tracker.release()) == ([], None)


def test_history_in_messages_calls_no_store() -> None:
    tracker = make_tracker(ONE, first_answer(), TWO, history="messages")

    assert run_quietly(tracker.start()) == ([], None)
    assert tracker.request.body["input"] == TRANSCRIPT
    assert run_quietly(tracker.commit(ANSWER, complete=True)) == ([], {"history": "messages"})


# -- commit ----------------------------------------------------------------------------------------


def test_a_first_answer_opens_its_session() -> None:
    tracker = make_tracker(ONE)
    run_ops(tracker.start())
    before = time.time()
    calls, metadata = run_quietly(tracker.commit(ANSWER, complete=True), None)

    assert calls == [Open(SESSION_KEY, metadata["session_digest"])]
    assert before <= metadata.pop("session_at") <= time.time()
    assert set(metadata) == {"history", "session_turn", "session_digest"}
    assert (metadata["history"], metadata["session_turn"]) == ("session", 1)


def test_the_next_answer_advances_the_session_by_one_turn() -> None:
    tracker = make_claimed_tracker()
    calls, metadata = run_quietly(tracker.commit(ANSWER, complete=True), CLAIM_COMPLETED)

    assert calls == [Complete("token", 2, metadata["session_digest"])]
    assert metadata["session_turn"] == 2
    assert run_quietly(tracker.release()) == ([], None)


def test_an_answer_whose_claim_is_lost_carries_no_digest() -> None:
    _, metadata = run_quietly(make_claimed_tracker().commit(ANSWER, complete=True), CLAIM_LOST)

    assert metadata == {"history": "session"}


@pytest.mark.parametrize("continued", [False, True])
@pytest.mark.parametrize(
    ("answer", "complete"),
    [(ANSWER, False), (Answer(text="答一", finish_reason="stop"), True)],
    ids=["cut by us", "without a session"],
)
def test_an_incomplete_answer_carries_no_digest_and_ends_no_claim(
    answer: Answer, *, complete: bool, continued: bool
) -> None:
    tracker = make_claimed_tracker() if continued else make_tracker(ONE)
    if not continued:
        run_ops(tracker.start())

    assert run_quietly(tracker.commit(answer, complete=complete)) == ([], {"history": "session"})
    assert run_quietly(tracker.release()) == ([], None)


def test_a_replayed_answer_carries_no_digest() -> None:
    tracker = make_tracker(HumanMessage("壹"), first_answer(), TWO)
    run_ops(tracker.start())

    assert run_quietly(tracker.commit(ANSWER, complete=True)) == ([], {"history": "replayed"})


# -- release ---------------------------------------------------------------------------------------


def test_a_claim_is_released_if_the_request_certainly_did_not_run() -> None:
    error = BailianRateLimitError("later")
    error.is_retryable = True

    assert run_quietly(make_claimed_tracker().release(error), None) == (
        [Release("token")],
        None,
    )


@pytest.mark.parametrize(
    "error",
    [
        None,
        BailianRateLimitError("in the stream"),
        BailianStreamError("cut"),
        GeneratorExit(),
        OSError(),
    ],
)
def test_any_other_end_releases_nothing(error: BaseException | None) -> None:
    assert run_quietly(make_claimed_tracker().release(error)) == ([], None)


@pytest.mark.parametrize("error", [None, ValueError("invalid"), KeyboardInterrupt(), GeneratorExit()])
def test_a_claim_is_released_after_any_error_before_the_request_is_sent(
    error: BaseException | None,
) -> None:
    tracker = make_tracker(ONE, first_answer(), TWO)
    run_quietly(tracker.start(), "token")

    assert run_quietly(tracker.release(error), None) == ([Release("token")], None)


def test_a_release_that_fails_is_not_repeated_but_one_that_is_interrupted_is() -> None:
    tracker = make_tracker(ONE, first_answer(), TWO)
    run_quietly(tracker.start(), "token")
    next(interrupted := tracker.release())
    interrupted.close()
    next(failed := tracker.release())
    with pytest.raises(OSError, match="unreachable"):
        failed.throw(OSError("unreachable"))

    assert run_quietly(tracker.release()) == ([], None)


def test_a_claim_whose_result_never_arrived_is_released() -> None:
    tracker = make_tracker(ONE, answer := first_answer(), TWO)
    store = InMemorySessionStore()
    store.open(SESSION_KEY, answer.response_metadata["session_digest"])
    next(start := tracker.start()).run(store)
    start.close()
    (release,), _ = run_quietly(tracker.release(), None)
    release.run(store)

    assert store.claim(SESSION_KEY, 1, answer.response_metadata["session_digest"])


def test_a_claim_is_released_once() -> None:
    error = BailianRateLimitError("later")
    error.is_retryable = True
    tracker = make_claimed_tracker()
    run_ops(tracker.release(error), None)

    assert run_quietly(tracker.release(error)) == ([], None)


# -- retry without session -------------------------------------------------------------------------

SESSION_GONE_ERRORS = (BailianSessionError("unknown"), SessionReplacedError())


@pytest.mark.parametrize("cause", SESSION_GONE_ERRORS)
def test_a_session_that_is_gone_is_replayed_with_one_warning(cause: Exception) -> None:
    tracker = make_claimed_tracker()
    with pytest.warns(BailianSessionWarning, match="no longer has it") as caught:
        tracker.retry_without_session(cause)

    assert len(caught) == 1
    assert "request ran" not in str(caught[0].message)
    assert tracker.request.body["input"] == TRANSCRIPT
    assert (tracker.history, tracker.guard) == ("replayed", None)
    assert run_quietly(tracker.commit(ANSWER, complete=True)) == ([], {"history": "replayed"})
    assert run_quietly(tracker.release()) == ([], None)


def test_the_warning_about_a_plain_post_mentions_that_the_request_has_run() -> None:
    tracker = make_claimed_tracker(streaming=False)
    with pytest.warns(BailianSessionWarning, match="the first request ran"):
        tracker.retry_without_session(SessionReplacedError())

    assert tracker.request.stream is False


@pytest.mark.parametrize("cause", SESSION_GONE_ERRORS)
def test_nothing_is_replayed_once_the_answer_is_shown(cause: Exception) -> None:
    tracker = make_claimed_tracker()
    assert tracker.guard is not None
    tracker.guard.check([Frame(session_id="s")])

    with pytest.raises(type(cause)):
        tracker.retry_without_session(cause)


def test_withheld_frames_of_a_replaced_session_are_not_part_of_a_later_error() -> None:
    tracker = make_claimed_tracker()
    assert tracker.guard is not None
    tracker.guard.check([Frame(text="a")])
    with pytest.warns(BailianSessionWarning):
        tracker.retry_without_session(SessionReplacedError())

    assert tracker.take_withheld_frames(BailianRateLimitError("later")) == []


def test_nothing_is_replayed_twice() -> None:
    tracker = make_claimed_tracker()
    with pytest.warns(BailianSessionWarning):
        tracker.retry_without_session(SessionReplacedError())

    with pytest.raises(BailianSessionError):
        tracker.retry_without_session(BailianSessionError("unknown"))


def test_a_rejected_replay_releases_no_claim() -> None:
    tracker = make_claimed_tracker()
    with pytest.warns(BailianSessionWarning):
        tracker.retry_without_session(SessionReplacedError())
    error = BailianRateLimitError("later")
    error.is_retryable = True

    assert run_quietly(tracker.release(error)) == ([], None)


# -- threads ---------------------------------------------------------------------------------------

THREAD_KEY = f"{HOST}\n\napp\nthread t"


def make_thread_tracker(*messages: BaseMessage, **options: Any) -> SessionTracker:
    """Return the tracker of a call on a thread."""
    return make_tracker(*messages, **{"history": "thread", "session_key": "t"} | options)


def test_the_first_call_of_a_thread_stores_its_session() -> None:
    tracker = make_thread_tracker(ONE)
    calls, _ = run_quietly(tracker.start(), None, "token", None)

    assert calls == [
        Open(THREAD_KEY, "thread"),
        Claim(THREAD_KEY, 1, "thread"),
        Get(THREAD_KEY),
    ]
    assert tracker.request.body["input"] == {"prompt": "一"}
    assert tracker.guard is None
    committed = run_quietly(tracker.commit(ANSWER, complete=True), None)
    assert committed == ([Put(THREAD_KEY, "s")], {"history": "thread"})
    assert run_quietly(tracker.release(), None) == ([Release("token")], None)


def test_the_next_call_of_a_thread_continues_it_whatever_the_messages() -> None:
    tracker = make_thread_tracker(ONE, AIMessage("任意"), TWO)
    run_quietly(tracker.start(), None, "token", "s")

    assert tracker.request.body["input"] == {"prompt": "二", "session_id": "s"}
    assert isinstance(tracker.guard, SessionGuard)


def test_a_concurrent_call_has_its_own_session_which_is_not_stored() -> None:
    tracker = make_thread_tracker(TWO)
    with pytest.warns(BailianSessionWarning, match="starts a new session"):
        calls, _ = run_ops(tracker.start(), None, None)

    assert list(map(type, calls)) == [Open, Claim]
    assert tracker.request.body["input"] == {"prompt": "二"}
    metadata = {"history": "thread", "session_restarted": True}
    assert run_quietly(tracker.commit(ANSWER, complete=True)) == ([], metadata)
    assert run_quietly(tracker.release()) == ([], None)


@pytest.mark.parametrize("cause", SESSION_GONE_ERRORS)
def test_a_thread_whose_session_is_gone_starts_a_new_one_with_a_warning(cause: Exception) -> None:
    tracker = make_thread_tracker(SystemMessage("简短。"), TWO)
    run_quietly(tracker.start(), None, "token", "s")
    with pytest.warns(BailianSessionWarning, match="a new session starts") as caught:
        tracker.retry_without_session(cause)

    assert len(caught) == 1
    assert tracker.request.body["input"] == {"prompt": "简短。\n\n二"}
    calls, metadata = run_quietly(tracker.commit(ANSWER, complete=True), None)
    assert calls == [Put(THREAD_KEY, "s")]
    assert metadata == {"history": "thread", "session_restarted": True}


@pytest.mark.parametrize("error", [None, BailianStreamError("cut"), GeneratorExit()])
def test_a_thread_is_released_after_any_end(error: BaseException | None) -> None:
    tracker = make_thread_tracker(TWO)
    run_quietly(tracker.start(), None, "token", "s")

    assert run_quietly(tracker.release(error), None) == ([Release("token")], None)


@pytest.mark.parametrize(
    ("messages", "options", "text"),
    [
        ([ONE], {"session_key": None}, "session_key"),
        ([ONE], {"session_key": ""}, "session_key"),
        ([ONE, TWO], {}, "exactly one new human message"),
        ([ONE, AIMessage("答")], {}, "exactly one new human message"),
    ],
)
def test_a_thread_without_a_name_or_a_question_is_rejected_before_it_is_claimed(
    messages: list[BaseMessage], options: dict[str, Any], text: str
) -> None:
    tracker = make_thread_tracker(*messages, **options)

    with pytest.raises(ValueError, match=text):
        run_ops(tracker.start())


# -- run_store_ops ---------------------------------------------------------------------------------


async def test_store_ops_do_the_same_in_threads_and_on_event_loops() -> None:
    answer = first_answer()
    digest = answer.response_metadata["session_digest"]
    stores = InMemorySessionStore(), InMemorySessionStore()
    turns = []
    for store in stores:
        store.open(SESSION_KEY, digest)
    for store, on_loop in zip(stores, (False, True), strict=True):
        tracker = make_tracker(ONE, answer, TWO)
        if on_loop:
            await arun_store_ops(store, tracker.start())
            metadata = await arun_store_ops(store, tracker.commit(ANSWER, complete=True))
        else:
            run_store_ops(store, tracker.start())
            metadata = run_store_ops(store, tracker.commit(ANSWER, complete=True))
        turns.append((metadata["session_turn"], metadata["session_digest"]))
        assert store.claim(SESSION_KEY, 1, digest) is None
        assert store.claim(SESSION_KEY, *turns[-1])

    assert turns[0] == turns[1]
