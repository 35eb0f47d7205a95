"""Tests of the decision whether a session can be continued, based on the messages alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
)

from langchain_bailian_app._answer.frames import Frame
from langchain_bailian_app._request.body import Turn, turns_from_messages
from langchain_bailian_app.sessions._plan import (
    MAX_IDLE_SECONDS,
    MAX_TURNS,
    ConversationDigest,
    SessionCheckpoint,
    SessionGuard,
    SessionPlan,
    SessionReplacedError,
    build_session_metadata,
    checkpoint_from_message,
    plan_session,
)

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_000_000.0
DIGEST = ConversationDigest("key", ("https://host.example/api/v1", None, "app"))


def make_answer(
    *messages: BaseMessage,
    text: str = "答一",
    digest: ConversationDigest = DIGEST,
    app_id: str = "app",
    turn: int = 1,
    timestamp: float = NOW,
) -> AIMessage:
    """Return the complete answer to these messages, in a session."""
    metadata = build_session_metadata(
        "session",
        SessionCheckpoint(
            "s",
            turn,
            timestamp,
            digest.compute([*turns_from_messages(messages), Turn("assistant", text)], "s", turn),
        ),
    )
    return AIMessage(text, response_metadata={"app_id": app_id, "session_id": "s"} | metadata)


def make_plan(messages: list[BaseMessage], now: float = NOW) -> SessionPlan:
    """Return the plan for the messages."""
    return plan_session(messages, turns_from_messages(messages), DIGEST, app_id="app", now=now)


SYSTEM, ONE, TWO = SystemMessage("简短。"), HumanMessage("一"), HumanMessage("二")
FIRST_ANSWER = make_answer(ONE)
ANSWER_AFTER_SYSTEM = make_answer(SYSTEM, ONE)
ANSWER_WITHOUT_TEXT = make_answer(ONE, text="")
PICTURE = HumanMessage([{"type": "image", "url": "https://x.example/1.png"}])


# -- plan_session ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "kind"),
    [
        ([ONE], "new"),
        ([SYSTEM, ONE], "new"),
        ([ONE, SYSTEM], "new"),
        ([SYSTEM, SYSTEM, ONE], "new"),
        ([ChatMessage("一", role="user")], "new"),
        ([ONE, TWO], "transcript"),
        ([SYSTEM], "transcript"),
        ([ONE, FIRST_ANSWER, TWO], "continue"),
        ([SYSTEM, ONE, ANSWER_AFTER_SYSTEM, TWO], "continue"),
        ([ONE, FIRST_ANSWER], "transcript"),
        ([ONE, FIRST_ANSWER, TWO, TWO], "transcript"),
        ([ONE, FIRST_ANSWER, SYSTEM, TWO], "transcript"),
        ([ONE, FIRST_ANSWER, TWO, SYSTEM], "transcript"),
        ([ONE, AIMessage("答一"), TWO], "transcript"),
        ([ONE, FIRST_ANSWER, TWO, AIMessage("答二"), HumanMessage("三")], "transcript"),
        ([ONE, ChatMessage("答一", role="assistant"), TWO], "transcript"),
        ([AIMessage("你好"), ONE], "transcript"),
        # Messages without text
        ([SystemMessage(""), HumanMessage(" "), ONE], "new"),
        ([PICTURE, ONE], "new"),
        ([ONE, PICTURE], "transcript"),
        ([ONE, ANSWER_WITHOUT_TEXT, TWO], "continue"),
        ([ONE, FIRST_ANSWER, SystemMessage(""), TWO], "continue"),
        ([ONE, FIRST_ANSWER, HumanMessage(""), TWO], "continue"),
        ([ONE, FIRST_ANSWER, PICTURE, TWO], "continue"),
        ([ONE, FIRST_ANSWER, TWO, PICTURE], "transcript"),
        ([ONE, FIRST_ANSWER, HumanMessage("")], "transcript"),
        ([ONE, ANSWER_WITHOUT_TEXT], "transcript"),
        ([ONE, AIMessage(""), TWO], "transcript"),
        ([ONE, FIRST_ANSWER, TWO, AIMessage(""), HumanMessage("三")], "transcript"),
        ([AIMessage(""), ONE], "transcript"),
    ],
)
def test_only_one_new_question_after_the_newest_answer_continues_its_session(
    messages: list[BaseMessage], kind: str
) -> None:
    assert make_plan(messages).kind == kind


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([HumanMessage("壹"), FIRST_ANSWER, TWO], id="question edited"),
        pytest.param([ONE, FIRST_ANSWER.model_copy(update={"content": "答"}), TWO], id="answer edited"),
        pytest.param([SYSTEM, ONE, FIRST_ANSWER, TWO], id="system message added"),
        pytest.param([ONE, ANSWER_AFTER_SYSTEM, TWO], id="system message removed"),
        pytest.param(
            [SystemMessage("详细。"), ONE, ANSWER_AFTER_SYSTEM, TWO], id="system message changed"
        ),
        pytest.param([SYSTEM, SYSTEM, ONE, ANSWER_AFTER_SYSTEM, TWO], id="system message doubled"),
        pytest.param([ONE, SYSTEM, ANSWER_AFTER_SYSTEM, TWO], id="system message moved"),
        pytest.param([HumanMessage(""), ONE, FIRST_ANSWER, TWO], id="message without text added"),
        pytest.param(
            [HumanMessage("壹"), ANSWER_WITHOUT_TEXT, TWO], id="question without answer edited"
        ),
        pytest.param(
            [ONE, FIRST_ANSWER, TWO, ANSWER_WITHOUT_TEXT, TWO], id="answer without text moved"
        ),
        pytest.param(
            [ONE, ANSWER_WITHOUT_TEXT.model_copy(update={"content": " "}), TWO],
            id="answer without text edited",
        ),
        pytest.param([PICTURE, ONE, make_answer(PICTURE, ONE), TWO], id="image without text kept"),
        pytest.param([FIRST_ANSWER, TWO], id="trimmed"),
        pytest.param([TWO, ONE, FIRST_ANSWER, TWO], id="more in front"),
        pytest.param([ONE, make_answer(ONE, app_id="other"), TWO], id="another app"),
        pytest.param(
            [ONE, make_answer(ONE, digest=ConversationDigest("x", DIGEST.scope)), TWO], id="another key"
        ),
        pytest.param(
            [ONE, make_answer(ONE, digest=ConversationDigest("key", ("x", None, "app"))), TWO],
            id="host",
        ),
        pytest.param(
            [
                HumanMessage(["一", {"type": "image", "url": "https://x.example/1.png"}]),
                FIRST_ANSWER,
                TWO,
            ],
            id="image added",
        ),
        # Attachments: it is not documented whether the cloud keeps them, even if nothing has changed.
        *(
            pytest.param([question, make_answer(question), TWO], id=f"{kind} kept")
            for kind in ("image", "file")
            for question in [HumanMessage(["一", {"type": kind, "url": "https://x.example/1"}])]
        ),
    ],
)
def test_changed_messages_are_sent_as_a_transcript_without_a_warning(
    messages: list[BaseMessage],
) -> None:
    assert make_plan(messages) == SessionPlan("transcript")


@pytest.mark.parametrize("forged", [{"session_id": "t"}, {"session_turn": 2}, {"session_digest": ""}])
def test_forged_metadata_continues_no_session(forged: dict[str, Any]) -> None:
    answer = FIRST_ANSWER.model_copy(
        update={"response_metadata": FIRST_ANSWER.response_metadata | forged}
    )

    assert make_plan([ONE, answer, TWO]) == SessionPlan("transcript")


@pytest.mark.parametrize(
    ("turn", "idle", "kind"),
    [
        (MAX_TURNS - 1, 0.0, "continue"),
        (MAX_TURNS, 0.0, "transcript"),
        (1, MAX_IDLE_SECONDS - 1, "continue"),
        (1, MAX_IDLE_SECONDS, "transcript"),
        (1, 3600.0, "transcript"),
        (1, -60.0, "continue"),  # the local clock is slightly behind
        (1, -60.5, "transcript"),
    ],
)
def test_a_session_near_its_limits_is_sent_as_a_transcript_with_a_reason(
    turn: int, idle: float, kind: str
) -> None:
    plan = make_plan([ONE, make_answer(ONE, turn=turn), TWO], NOW + idle)

    assert plan.kind == kind
    assert (plan.reason is None) == (kind == "continue")


def test_the_reason_names_the_limit() -> None:
    full_session = make_plan([ONE, make_answer(ONE, turn=MAX_TURNS), TWO])
    idle_session = make_plan([ONE, FIRST_ANSWER, TWO], NOW + MAX_IDLE_SECONDS)

    assert (full_session.reason, idle_session.reason) == (
        "it has reached the limit of 50 turns",
        "it may have expired",
    )


def test_a_session_is_limited_to_50_turns_and_55_idle_minutes() -> None:
    assert (MAX_TURNS, MAX_IDLE_SECONDS) == (50, 55 * 60)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: AIMessage([{"type": "text", "text": "答"}, {"type": "text", "text": "一"}]),
        lambda m: AIMessage(
            [{"type": "reasoning", "reasoning": "想"}, {"type": "text", "text": "答一"}]
        ),
        lambda m: AIMessageChunk("答一"),
        lambda m: AIMessage("答一", id="1", name="node"),
    ],
    ids=["blocks", "reasoning", "chunk", "named"],
)
def test_the_form_of_an_answer_does_not_matter(change: Callable[[AIMessage], AIMessage]) -> None:
    changed = change(FIRST_ANSWER).model_copy(
        update={"response_metadata": FIRST_ANSWER.response_metadata}
    )

    assert make_plan([ONE, changed, TWO]).kind == "continue"


# -- checkpoint_from_message -----------------------------------------------------------------------

METADATA: dict[str, Any] = {
    "app_id": "app",
    "session_id": "s",
    "session_turn": 2,
    "session_at": 3.5,
    "session_digest": "d",
}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (AIMessage("", response_metadata=METADATA), SessionCheckpoint("s", 2, 3.5, "d")),
        (
            AIMessage("", response_metadata=METADATA | {"session_at": 3}),
            SessionCheckpoint("s", 2, 3.0, "d"),
        ),
        (AIMessageChunk("", response_metadata=METADATA), SessionCheckpoint("s", 2, 3.5, "d")),
        (HumanMessage("", response_metadata=METADATA), None),
        (AIMessage(""), None),
        (AIMessage("", response_metadata=METADATA | {"app_id": "other"}), None),
        *(
            (AIMessage("", response_metadata={k: v for k, v in METADATA.items() if k != name}), None)
            for name in METADATA
        ),
        *(
            (AIMessage("", response_metadata=METADATA | {name: value}), None)
            for name, value in [
                ("session_id", 1),
                ("session_turn", "2"),
                ("session_turn", 2.5),
                ("session_at", "3.5"),
                ("session_digest", b"d"),
                ("session_digest", ["d"]),
            ]
        ),
    ],
)
def test_a_checkpoint_is_read_from_complete_metadata_only(
    message: BaseMessage, expected: SessionCheckpoint | None
) -> None:
    assert checkpoint_from_message(message, "app") == expected


def test_without_a_checkpoint_the_metadata_has_only_the_history() -> None:
    assert build_session_metadata("replayed") == {"history": "replayed"}
    assert build_session_metadata("session", SessionCheckpoint("s", 2, 3.5, "d")) == {
        "history": "session",
        "session_turn": 2,
        "session_at": 3.5,
        "session_digest": "d",
    }


# -- ConversationDigest ----------------------------------------------------------------------------

TURNS = [Turn("user", "一"), Turn("assistant", "答")]


@pytest.mark.parametrize(
    ("digest", "turns"),
    [
        (ConversationDigest("other", DIGEST.scope), TURNS),
        (ConversationDigest("key", ("https://other.example/api/v1", None, "app")), TURNS),
        (ConversationDigest("key", ("https://host.example/api/v1", "ws", "app")), TURNS),
        (ConversationDigest("key", ("https://host.example/api/v1", None, "other")), TURNS),
        (DIGEST, TURNS[:1]),
        (DIGEST, TURNS[::-1]),
        (DIGEST, [Turn("system", "一"), TURNS[1]]),
        (DIGEST, [Turn("user", "一答"), Turn("assistant", "")]),
        (DIGEST, [Turn("user", "一", images=("u",)), TURNS[1]]),
        (DIGEST, [Turn("user", "一", files=("u",)), TURNS[1]]),
        (DIGEST, [Turn("user", "一\n"), TURNS[1]]),
        (DIGEST, [*TURNS, Turn("user", "")]),
    ],
)
def test_a_digest_depends_on_key_scope_and_every_part_of_every_turn(
    digest: ConversationDigest, turns: list[Turn]
) -> None:
    assert digest.compute(turns, "s", 1) != DIGEST.compute(TURNS, "s", 1)


def test_images_and_files_are_not_mistaken_for_each_other() -> None:
    assert DIGEST.compute([Turn("user", "", ("u",))], "s", 1) != DIGEST.compute(
        [Turn("user", "", (), ("u",))], "s", 1
    )


turns = st.lists(
    st.builds(
        Turn,
        st.sampled_from(["user", "assistant", "system"]),
        st.text(max_size=5),
        st.lists(st.text(max_size=2), max_size=2).map(tuple),
    ),
    max_size=4,
)


@given(turns, turns)
def test_different_conversations_have_different_digests(one: list[Turn], other: list[Turn]) -> None:
    assert (DIGEST.compute(one, "s", 1) == DIGEST.compute(other, "s", 1)) == (one == other)


def test_half_a_surrogate_pair_has_a_digest() -> None:
    assert DIGEST.compute([Turn("user", "\ud83d")], "s", 1) != DIGEST.compute(
        [Turn("user", "\ude00")], "s", 1
    )


# -- SessionGuard ----------------------------------------------------------------------------------


def test_frames_are_buffered_until_one_names_the_session() -> None:
    guard = SessionGuard("s")
    first, second, third = Frame(text="a"), Frame(text="b", session_id="s"), Frame(text="c")

    assert guard.check([first]) == []
    assert not guard.verified
    assert guard.check([second]) == [first, second]
    assert guard.verified
    assert guard.check([third]) == [third]
    assert guard.flush() == []


def test_nothing_of_another_session_is_returned() -> None:
    guard = SessionGuard("s")
    guard.check([Frame(text="a")])

    with pytest.raises(SessionReplacedError):
        guard.check([Frame(text="b", session_id="t")])
    assert not guard.verified


def test_frames_without_a_session_are_flushed_at_the_end() -> None:
    guard = SessionGuard("s")
    frame = Frame(text="a", finish_reason="stop")

    assert guard.check([frame]) == []
    assert guard.flush() == [frame]
    assert guard.verified


def test_an_empty_session_id_counts_as_none() -> None:
    guard = SessionGuard("s")

    assert guard.check([Frame(text="a", session_id="")]) == []


@pytest.mark.parametrize(
    "body",
    [
        None,
        "session_id",
        {"code": "SystemError"},
        {"output": None},
        {"output": {"session_id": None}, "session_id": ""},
        {"output": {"session_id": "s"}},
    ],
)
def test_an_error_returns_the_buffered_frames(body: Any) -> None:
    guard = SessionGuard("s")
    frame = Frame(text="a")
    guard.check([frame])

    assert guard.flush_after_error(body) == [frame]
    assert guard.flush_after_error(body) == []


@pytest.mark.parametrize("body", [{"session_id": "t"}, {"output": {"session_id": "t"}}])
def test_an_error_of_another_session_returns_nothing(body: Any) -> None:
    guard = SessionGuard("s")
    guard.check([Frame(text="a")])

    assert guard.flush_after_error(body) == []
    assert not guard.verified
