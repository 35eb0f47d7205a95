"""One call's part in a conversation, step by step: what the store is asked, and what is sent."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from langchain_bailian_app._answer.assembler import Answer
from langchain_bailian_app._answer.frames import Frame
from langchain_bailian_app._request.body import Turn
from langchain_bailian_app._settings.application import ApplicationFields
from langchain_bailian_app._transport.credentials import Connection
from langchain_bailian_app.errors import BailianRateLimitError, BailianSessionError, BailianStreamError
from langchain_bailian_app.sessions import BailianSessionWarning, InMemorySessionStore
from langchain_bailian_app.sessions._checkpoint import (
    Admission,
    Digest,
    Position,
    SessionReplacedError,
    metadata,
)
from langchain_bailian_app.sessions._tracker import Exchange, Steps, aperform, perform

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST = "https://host.example/api/v1"
CONNECTION = Connection(HOST, None, lambda: "key")
REFERENCE = f"{HOST}\n\napp\ns"
ONE, TWO = HumanMessage("一"), HumanMessage("二")
# What a store says of a claim that is completed.
KEPT, LOST = True, False
ANSWERED = Answer(text="答一", finish_reason="stop", session_id="s")


def exchange_of(
    *messages: BaseMessage, connection: Connection = CONNECTION, **options: Any
) -> Exchange:
    """Return a call's exchange; `history` is "session" unless something else is said."""
    fields = ApplicationFields(**{"history": "session"} | options)
    return Exchange(messages, fields, app_id="app", connection=connection)


def walk(steps: Steps[Any], *results: Any) -> tuple[list[tuple[Any, ...]], Any]:
    """Take steps, answer each with the next result; return what was asked, and the end's value."""
    asked: list[tuple[Any, ...]] = []
    answers: list[Any] = [None, *results]
    try:
        while True:
            name, arguments = steps.send(answers.pop(0))
            asked.append((name, *arguments))
    except StopIteration as stop:
        assert answers == [], "more results than questions"
        return asked, stop.value


def quietly(steps: Steps[Any], *results: Any) -> tuple[list[tuple[Any, ...]], Any]:
    """Do what `walk` does, and hold that nobody is warned."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return walk(steps, *results)


def first_answer(*, turn: int = 1, at: float | None = None, **changes: Any) -> AIMessage:
    """Return the answer to the question ONE, with changed metadata."""
    told = [Turn("user", "一"), Turn("assistant", "答一")]
    digest = Digest("key", (HOST, None, "app")).of(told, "s", turn)
    position = Position("s", turn, time.time() if at is None else at, digest)
    said = metadata("session", position)
    return AIMessage("答一", response_metadata={"app_id": "app", "session_id": "s"} | said | changes)


def claimed(*messages: BaseMessage, **options: Any) -> Exchange:
    """Return an exchange that continues the session of a first answer."""
    exchange = exchange_of(*(messages or (ONE, first_answer(), TWO)), **options)
    (asked, _) = quietly(exchange.begin(), "token")
    assert [name for name, *_ in asked] == ["claim"]
    return exchange


WHOLE = {
    "messages": [
        {"role": "user", "content": "一"},
        {"role": "assistant", "content": "答一"},
        {"role": "user", "content": "二"},
    ]
}


# -- begin -----------------------------------------------------------------------------------------


def test_a_first_question_asks_no_store_and_names_no_session() -> None:
    exchange = exchange_of(SystemMessage("简短。"), ONE)

    assert quietly(exchange.begin()) == ([], None)
    assert exchange.request.body["input"] == {"prompt": "简短。\n\n一"}
    assert (exchange.history, exchange.admission) == ("session", None)


def test_the_next_question_claims_the_session_where_it_stands() -> None:
    answer = first_answer()
    exchange = exchange_of(ONE, answer, TWO)
    asked, _ = quietly(exchange.begin(), "token")

    assert asked == [("claim", REFERENCE, 1, answer.response_metadata["session_digest"])]
    assert exchange.request.body["input"] == {"prompt": "二", "session_id": "s"}
    assert exchange.history == "session"
    assert isinstance(exchange.admission, Admission)


def test_a_refused_claim_tells_all_and_warns_once() -> None:
    exchange = exchange_of(ONE, first_answer(), TWO)
    with pytest.warns(BailianSessionWarning, match="so all messages are sent") as caught:
        walk(exchange.begin(), None)

    assert len(caught) == 1
    assert exchange.request.body["input"] == WHOLE
    assert (exchange.history, exchange.admission) == ("replayed", None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"turn": 50}, "50 turns"),
        ({"at": time.time() - 3400}, "expired"),
        ({"at": time.time() + 3400}, "expired"),
    ],
)
def test_a_session_at_its_end_is_not_claimed(changes: dict[str, Any], reason: str) -> None:
    exchange = exchange_of(ONE, first_answer(**changes), TWO)
    with pytest.warns(BailianSessionWarning, match=reason) as caught:
        assert walk(exchange.begin()) == ([], None)

    assert len(caught) == 1
    assert exchange.request.body["input"] == WHOLE
    assert exchange.history == "replayed"


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
def test_messages_that_no_session_holds_are_told_without_a_warning(
    messages: Sequence[BaseMessage], history: str
) -> None:
    exchange = exchange_of(*messages)

    assert quietly(exchange.begin()) == ([], None)
    assert len(exchange.request.body["input"]["messages"]) == len(messages)
    assert (exchange.history, exchange.admission) == (history, None)


@pytest.mark.parametrize(
    "other",
    [
        Connection(HOST, "ws", lambda: "key"),
        Connection("https://other.example/api/v1", None, lambda: "key"),
        Connection(HOST, None, lambda: "other"),
    ],
    ids=["workspace", "host", "key"],
)
def test_another_place_is_another_conversation(other: Connection) -> None:
    exchange = exchange_of(ONE, first_answer(), TWO, connection=other)

    assert quietly(exchange.begin()) == ([], None)
    assert exchange.request.body["input"] == WHOLE


def test_a_session_given_by_hand_is_used_as_it_is() -> None:
    exchange = exchange_of(ONE, first_answer(), TWO, session_id="mine")

    assert quietly(exchange.begin()) == ([], None)
    assert exchange.request.body["input"] == {"prompt": "二", "session_id": "mine"}
    assert (exchange.history, exchange.admission) == ("given", None)
    assert quietly(exchange.settle(ANSWERED, whole=True)) == ([], {"history": "given"})
    assert quietly(exchange.close()) == ([], None)


def test_history_in_messages_asks_no_store() -> None:
    exchange = exchange_of(ONE, first_answer(), TWO, history="messages")

    assert quietly(exchange.begin()) == ([], None)
    assert exchange.request.body["input"] == WHOLE
    assert quietly(exchange.settle(ANSWERED, whole=True)) == ([], {"history": "messages"})


# -- settle ----------------------------------------------------------------------------------------


def test_a_first_answer_opens_its_session() -> None:
    exchange = exchange_of(ONE)
    walk(exchange.begin())
    before = time.time()
    asked, said = quietly(exchange.settle(ANSWERED, whole=True), None)

    assert asked == [("open", REFERENCE, said["session_digest"])]
    assert before <= said.pop("session_at") <= time.time()
    assert set(said) == {"history", "session_turn", "session_digest"}
    assert (said["history"], said["session_turn"]) == ("session", 1)


def test_the_next_answer_moves_the_session_on_by_one_turn() -> None:
    exchange = claimed()
    asked, said = quietly(exchange.settle(ANSWERED, whole=True), KEPT)

    assert asked == [("complete", "token", 2, said["session_digest"])]
    assert said["session_turn"] == 2
    assert quietly(exchange.close()) == ([], None)


def test_an_answer_whose_claim_is_lost_carries_no_digest() -> None:
    _, said = quietly(claimed().settle(ANSWERED, whole=True), LOST)

    assert said == {"history": "session"}


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(
    ("answer", "whole"),
    [(ANSWERED, False), (Answer(text="答一", finish_reason="stop"), True)],
    ids=["cut by us", "without a session"],
)
def test_an_answer_that_is_not_whole_carries_no_digest_and_ends_no_claim(
    answer: Answer, *, whole: bool, again: bool
) -> None:
    exchange = claimed() if again else exchange_of(ONE)
    if not again:
        walk(exchange.begin())

    assert quietly(exchange.settle(answer, whole=whole)) == ([], {"history": "session"})
    assert quietly(exchange.close()) == ([], None)


def test_a_replayed_answer_carries_no_digest() -> None:
    exchange = exchange_of(HumanMessage("壹"), first_answer(), TWO)
    walk(exchange.begin())

    assert quietly(exchange.settle(ANSWERED, whole=True)) == ([], {"history": "replayed"})


# -- close -----------------------------------------------------------------------------------------


def test_a_claim_is_given_back_if_the_request_certainly_did_not_run() -> None:
    error = BailianRateLimitError("later")
    error.is_retryable = True

    assert quietly(claimed().close(error), None) == ([("release", "token")], None)


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
def test_any_other_end_gives_nothing_back(error: BaseException | None) -> None:
    assert quietly(claimed().close(error)) == ([], None)


def test_a_claim_is_given_back_once() -> None:
    error = BailianRateLimitError("later")
    error.is_retryable = True
    exchange = claimed()
    walk(exchange.close(error), None)

    assert quietly(exchange.close(error)) == ([], None)


# -- fall back -------------------------------------------------------------------------------------

GONE = (BailianSessionError("unknown"), SessionReplacedError())


@pytest.mark.parametrize("cause", GONE)
def test_a_session_that_is_gone_is_told_anew_with_one_warning(cause: Exception) -> None:
    exchange = claimed()
    with pytest.warns(BailianSessionWarning, match="does not know it") as caught:
        exchange.fall_back(cause)

    assert len(caught) == 1
    assert "has run" not in str(caught[0].message)
    assert exchange.request.body["input"] == WHOLE
    assert (exchange.history, exchange.admission) == ("replayed", None)
    assert quietly(exchange.settle(ANSWERED, whole=True)) == ([], {"history": "replayed"})
    assert quietly(exchange.close()) == ([], None)


def test_of_a_plain_post_the_warning_says_that_it_has_run() -> None:
    exchange = claimed(streaming=False)
    with pytest.warns(BailianSessionWarning, match="the first request has run"):
        exchange.fall_back(SessionReplacedError())

    assert exchange.request.stream is False


@pytest.mark.parametrize("cause", GONE)
def test_nothing_is_told_anew_once_the_answer_is_shown(cause: Exception) -> None:
    exchange = claimed()
    assert exchange.admission is not None
    exchange.admission.admit([Frame(session_id="s")])

    with pytest.raises(type(cause)):
        exchange.fall_back(cause)


def test_nothing_is_told_anew_twice() -> None:
    exchange = claimed()
    with pytest.warns(BailianSessionWarning):
        exchange.fall_back(SessionReplacedError())

    with pytest.raises(BailianSessionError):
        exchange.fall_back(BailianSessionError("unknown"))


def test_a_replay_that_is_refused_gives_no_claim_back() -> None:
    exchange = claimed()
    with pytest.warns(BailianSessionWarning):
        exchange.fall_back(SessionReplacedError())
    error = BailianRateLimitError("later")
    error.is_retryable = True

    assert quietly(exchange.close(error)) == ([], None)


# -- threads ---------------------------------------------------------------------------------------

THREAD = f"{HOST}\n\napp\nthread t"


def in_thread(*messages: BaseMessage, **options: Any) -> Exchange:
    """Return the exchange of a call in a thread."""
    return exchange_of(*messages, **{"history": "thread", "session_key": "t"} | options)


def test_the_first_call_of_a_thread_notes_its_session() -> None:
    exchange = in_thread(ONE)
    asked, _ = quietly(exchange.begin(), None, "token", None)

    assert asked == [
        ("open", THREAD, "thread"),
        ("claim", THREAD, 1, "thread"),
        ("get", THREAD),
    ]
    assert exchange.request.body["input"] == {"prompt": "一"}
    assert exchange.admission is None
    settled = quietly(exchange.settle(ANSWERED, whole=True), None)
    assert settled == ([("put", THREAD, "s")], {"history": "thread"})
    assert quietly(exchange.close(), None) == ([("release", "token")], None)


def test_the_next_call_of_a_thread_continues_it_whatever_the_messages_say() -> None:
    exchange = in_thread(ONE, AIMessage("任意"), TWO)
    quietly(exchange.begin(), None, "token", "s")

    assert exchange.request.body["input"] == {"prompt": "二", "session_id": "s"}
    assert isinstance(exchange.admission, Admission)


def test_a_second_call_at_once_has_a_session_of_its_own_that_is_not_noted() -> None:
    exchange = in_thread(TWO)
    with pytest.warns(BailianSessionWarning, match="stands alone"):
        asked, _ = walk(exchange.begin(), None, None)

    assert [name for name, *_ in asked] == ["open", "claim"]
    assert exchange.request.body["input"] == {"prompt": "二"}
    told = {"history": "thread", "session_restarted": True}
    assert quietly(exchange.settle(ANSWERED, whole=True)) == ([], told)
    assert quietly(exchange.close()) == ([], None)


@pytest.mark.parametrize("cause", GONE)
def test_a_thread_whose_session_is_gone_begins_anew_and_says_so(cause: Exception) -> None:
    exchange = in_thread(SystemMessage("简短。"), TWO)
    quietly(exchange.begin(), None, "token", "s")
    with pytest.warns(BailianSessionWarning, match="a new one begins") as caught:
        exchange.fall_back(cause)

    assert len(caught) == 1
    assert exchange.request.body["input"] == {"prompt": "简短。\n\n二"}
    asked, said = quietly(exchange.settle(ANSWERED, whole=True), None)
    assert asked == [("put", THREAD, "s")]
    assert said == {"history": "thread", "session_restarted": True}


@pytest.mark.parametrize("error", [None, BailianStreamError("cut"), GeneratorExit()])
def test_a_thread_is_free_after_any_end(error: BaseException | None) -> None:
    exchange = in_thread(TWO)
    quietly(exchange.begin(), None, "token", "s")

    assert quietly(exchange.close(error), None) == ([("release", "token")], None)


@pytest.mark.parametrize(
    ("messages", "options", "text"),
    [
        ([ONE], {"session_key": None}, "session_key"),
        ([ONE], {"session_key": ""}, "session_key"),
        ([ONE, TWO], {}, "exactly one new human message"),
        ([ONE, AIMessage("答")], {}, "exactly one new human message"),
    ],
)
def test_a_thread_without_a_name_or_a_question_is_refused_before_it_is_claimed(
    messages: list[BaseMessage], options: dict[str, Any], text: str
) -> None:
    exchange = in_thread(*messages, **options)

    with pytest.raises(ValueError, match=text):
        walk(exchange.begin())


# -- perform ---------------------------------------------------------------------------------------


async def test_steps_are_the_same_in_threads_and_on_event_loops() -> None:
    answer = first_answer()
    digest = answer.response_metadata["session_digest"]
    stores = InMemorySessionStore(), InMemorySessionStore()
    turns = []
    for store in stores:
        store.open(REFERENCE, digest)
    for store, on_loop in zip(stores, (False, True), strict=True):
        exchange = exchange_of(ONE, answer, TWO)
        if on_loop:
            await aperform(store, exchange.begin())
            said = await aperform(store, exchange.settle(ANSWERED, whole=True))
        else:
            perform(store, exchange.begin())
            said = perform(store, exchange.settle(ANSWERED, whole=True))
        turns.append((said["session_turn"], said["session_digest"]))
        assert store.claim(REFERENCE, 1, digest) is None
        assert store.claim(REFERENCE, *turns[-1])

    assert turns[0] == turns[1]
