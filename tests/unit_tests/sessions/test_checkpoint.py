"""Whether a session may be continued, decided from the messages alone."""

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
from langchain_bailian_app._request.body import Turn, turns_of
from langchain_bailian_app.sessions._checkpoint import (
    LONGEST_IDLE,
    MOST_TURNS,
    Admission,
    Digest,
    Plan,
    Position,
    SessionReplacedError,
    metadata,
    plan,
    position_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_000_000.0
DIGEST = Digest("key", ("https://host.example/api/v1", None, "app"))


def answer_to(
    *before: BaseMessage,
    text: str = "答一",
    digest: Digest = DIGEST,
    app_id: str = "app",
    turn: int = 1,
    at: float = NOW,
) -> AIMessage:
    """Return the complete answer to these messages, as a session gives it."""
    said = metadata(
        "session",
        Position("s", turn, at, digest.of([*turns_of(before), Turn("assistant", text)], "s", turn)),
    )
    return AIMessage(text, response_metadata={"app_id": app_id, "session_id": "s"} | said)


def planned(messages: list[BaseMessage], now: float = NOW) -> Plan:
    """Return what is planned for messages."""
    return plan(messages, turns_of(messages), DIGEST, app_id="app", now=now)


SYSTEM, ONE, TWO = SystemMessage("简短。"), HumanMessage("一"), HumanMessage("二")
FIRST = answer_to(ONE)
TAUGHT = answer_to(SYSTEM, ONE)


# -- plan ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "kind"),
    [
        ([ONE], "first"),
        ([SYSTEM, ONE], "first"),
        ([ONE, SYSTEM], "first"),
        ([SYSTEM, SYSTEM, ONE], "first"),
        ([ChatMessage("一", role="user")], "first"),
        ([ONE, TWO], "whole"),
        ([SYSTEM], "whole"),
        ([ONE, FIRST, TWO], "continue"),
        ([SYSTEM, ONE, TAUGHT, TWO], "continue"),
        ([ONE, FIRST], "whole"),
        ([ONE, FIRST, TWO, TWO], "whole"),
        ([ONE, FIRST, SYSTEM, TWO], "whole"),
        ([ONE, FIRST, TWO, SYSTEM], "whole"),
        ([ONE, AIMessage("答一"), TWO], "whole"),
        ([ONE, FIRST, TWO, AIMessage("答二"), HumanMessage("三")], "whole"),
        ([ONE, ChatMessage("答一", role="assistant"), TWO], "whole"),
        ([AIMessage("你好"), ONE], "whole"),
    ],
)
def test_only_one_new_question_after_the_newest_answer_continues_its_session(
    messages: list[BaseMessage], kind: str
) -> None:
    assert planned(messages).kind == kind


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([HumanMessage("壹"), FIRST, TWO], id="question edited"),
        pytest.param([ONE, FIRST.model_copy(update={"content": "答"}), TWO], id="answer edited"),
        pytest.param([SYSTEM, ONE, FIRST, TWO], id="system message added"),
        pytest.param([ONE, TAUGHT, TWO], id="system message removed"),
        pytest.param([SystemMessage("详细。"), ONE, TAUGHT, TWO], id="system message changed"),
        pytest.param([SYSTEM, SYSTEM, ONE, TAUGHT, TWO], id="system message doubled"),
        pytest.param([ONE, SYSTEM, TAUGHT, TWO], id="system message moved"),
        pytest.param([FIRST, TWO], id="trimmed"),
        pytest.param([TWO, ONE, FIRST, TWO], id="more in front"),
        pytest.param([ONE, answer_to(ONE, app_id="other"), TWO], id="another app"),
        pytest.param([ONE, answer_to(ONE, digest=Digest("x", DIGEST.place)), TWO], id="another key"),
        pytest.param([ONE, answer_to(ONE, digest=Digest("key", ("x", None, "app"))), TWO], id="host"),
        pytest.param(
            [HumanMessage(["一", {"type": "image", "url": "https://x.example/1.png"}]), FIRST, TWO],
            id="image added",
        ),
        # Nobody knows whether the cloud keeps these, also where nothing has changed.
        *(
            pytest.param([question, answer_to(question), TWO], id=f"{kind} kept")
            for kind in ("image", "file")
            for question in [HumanMessage(["一", {"type": kind, "url": "https://x.example/1"}])]
        ),
    ],
)
def test_anything_else_than_what_was_said_is_told_whole_and_without_a_warning(
    messages: list[BaseMessage],
) -> None:
    assert planned(messages) == Plan("whole")


@pytest.mark.parametrize("forged", [{"session_id": "t"}, {"session_turn": 2}, {"session_digest": ""}])
def test_metadata_that_was_changed_continues_nothing(forged: dict[str, Any]) -> None:
    answer = FIRST.model_copy(update={"response_metadata": FIRST.response_metadata | forged})

    assert planned([ONE, answer, TWO]) == Plan("whole")


@pytest.mark.parametrize(
    ("turn", "after", "kind"),
    [
        (MOST_TURNS - 1, 0.0, "continue"),
        (MOST_TURNS, 0.0, "whole"),
        (1, LONGEST_IDLE - 1, "continue"),
        (1, LONGEST_IDLE, "whole"),
        (1, 3600.0, "whole"),
        (1, -60.0, "continue"),  # by a clock that is a little behind
        (1, -60.5, "whole"),
    ],
)
def test_a_session_that_may_be_at_its_end_is_told_whole_and_says_why(
    turn: int, after: float, kind: str
) -> None:
    decided = planned([ONE, answer_to(ONE, turn=turn), TWO], NOW + after)

    assert decided.kind == kind
    assert (decided.reason is None) == (kind == "continue")


def test_the_reason_says_which_end() -> None:
    full = planned([ONE, answer_to(ONE, turn=MOST_TURNS), TWO])
    old = planned([ONE, FIRST, TWO], NOW + LONGEST_IDLE)

    assert (full.reason, old.reason) == ("it has 50 turns", "it may have expired")


def test_the_margins_are_those_of_the_design() -> None:
    assert (MOST_TURNS, LONGEST_IDLE) == (50, 55 * 60)


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
    changed = change(FIRST).model_copy(update={"response_metadata": FIRST.response_metadata})

    assert planned([ONE, changed, TWO]).kind == "continue"


# -- position_of -----------------------------------------------------------------------------------

WHOLE: dict[str, Any] = {
    "app_id": "app",
    "session_id": "s",
    "session_turn": 2,
    "session_at": 3.5,
    "session_digest": "d",
}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (AIMessage("", response_metadata=WHOLE), Position("s", 2, 3.5, "d")),
        (AIMessage("", response_metadata=WHOLE | {"session_at": 3}), Position("s", 2, 3.0, "d")),
        (AIMessageChunk("", response_metadata=WHOLE), Position("s", 2, 3.5, "d")),
        (HumanMessage("", response_metadata=WHOLE), None),
        (AIMessage(""), None),
        (AIMessage("", response_metadata=WHOLE | {"app_id": "other"}), None),
        *(
            (AIMessage("", response_metadata={k: v for k, v in WHOLE.items() if k != name}), None)
            for name in WHOLE
        ),
        *(
            (AIMessage("", response_metadata=WHOLE | {name: value}), None)
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
def test_a_position_is_read_from_complete_metadata_only(
    message: BaseMessage, expected: Position | None
) -> None:
    assert position_of(message, "app") == expected


def test_an_answer_without_a_position_says_only_who_keeps_the_conversation() -> None:
    assert metadata("replayed") == {"history": "replayed"}
    assert metadata("session", Position("s", 2, 3.5, "d")) == {
        "history": "session",
        "session_turn": 2,
        "session_at": 3.5,
        "session_digest": "d",
    }


# -- Digest ----------------------------------------------------------------------------------------

TURNS = [Turn("user", "一"), Turn("assistant", "答")]


@pytest.mark.parametrize(
    ("digest", "turns"),
    [
        (Digest("other", DIGEST.place), TURNS),
        (Digest("key", ("https://other.example/api/v1", None, "app")), TURNS),
        (Digest("key", ("https://host.example/api/v1", "ws", "app")), TURNS),
        (Digest("key", ("https://host.example/api/v1", None, "other")), TURNS),
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
def test_a_digest_names_key_place_and_every_part_of_every_turn(
    digest: Digest, turns: list[Turn]
) -> None:
    assert digest.of(turns, "s", 1) != DIGEST.of(TURNS, "s", 1)


def test_images_and_files_are_not_mistaken_for_each_other() -> None:
    assert DIGEST.of([Turn("user", "", ("u",))], "s", 1) != DIGEST.of(
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
    assert (DIGEST.of(one, "s", 1) == DIGEST.of(other, "s", 1)) == (one == other)


def test_half_a_surrogate_pair_has_a_digest() -> None:
    assert DIGEST.of([Turn("user", "\ud83d")], "s", 1) != DIGEST.of([Turn("user", "\ude00")], "s", 1)


# -- Admission -------------------------------------------------------------------------------------


def test_frames_are_held_until_one_shows_the_session() -> None:
    admission = Admission("s")
    early, late, rest = Frame(text="a"), Frame(text="b", session_id="s"), Frame(text="c")

    assert admission.admit([early]) == []
    assert not admission.admitted
    assert admission.admit([late]) == [early, late]
    assert admission.admitted
    assert admission.admit([rest]) == [rest]
    assert admission.end() == []


def test_nothing_is_shown_of_another_session() -> None:
    admission = Admission("s")
    admission.admit([Frame(text="a")])

    with pytest.raises(SessionReplacedError):
        admission.admit([Frame(text="b", session_id="t")])
    assert not admission.admitted


def test_frames_that_never_show_a_session_are_shown_in_the_end() -> None:
    admission = Admission("s")
    frame = Frame(text="a", finish_reason="stop")

    assert admission.admit([frame]) == []
    assert admission.end() == [frame]
    assert admission.admitted


def test_an_empty_session_id_is_none() -> None:
    admission = Admission("s")

    assert admission.admit([Frame(text="a", session_id="")]) == []
