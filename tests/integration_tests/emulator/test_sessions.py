"""Tests of sessions at their limits, interrupted answers, and concurrent requests."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import httpx
import pytest

from langchain_bailian_app.emulator import App, BailianEmulator, ErrorReply, Faults, Reply, Round
from tests.integration_tests.emulator.test_completion import call_app, get_output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from langchain_bailian_app.emulator import Turn
    from tests.clock import Clock

APP = "e" * 32
PIECES = ["一二", "三四", "五六"]


def answer_with_questions(turn: Turn) -> str:
    """Answer with all questions of the session."""
    return "".join(r.prompt for r in turn.history) + turn.prompt


@pytest.fixture
def bailian(clock: Clock) -> Iterator[BailianEmulator]:
    with BailianEmulator(clock=clock, seed_apps=False) as emulator:
        emulator.add_app(App("questions", app_id=APP, answer=answer_with_questions))
        yield emulator


def send_prompt(bailian: BailianEmulator, prompt: str, session_id: str | None = None) -> httpx.Response:
    input_fields: dict[str, Any] = {"prompt": prompt} | (
        {"session_id": session_id} if session_id else {}
    )
    return call_app(bailian, input_fields, app_id=APP)


def open_stream(
    bailian: BailianEmulator, client: httpx.Client, session_id: str
) -> AbstractContextManager[httpx.Response]:
    body = {
        "input": {"prompt": "问", "session_id": session_id},
        "parameters": {"incremental_output": True},
    }
    headers = {"Authorization": f"Bearer {bailian.api_key}", "X-DashScope-SSE": "enable"}
    url = f"{bailian.base_url}/apps/{APP}/completion"
    return client.stream("POST", url, json=body, headers=headers)


def read_frames(response: httpx.Response, count: int) -> None:
    text = ""
    pieces = response.iter_text()
    while text.count("\n\n") < count:
        text += next(pieces)


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False) as client:
        yield client


def create_session(bailian: BailianEmulator, prompt: str = "0", *, rounds: int = 1) -> str:
    """Return the id of a session with this number of rounds."""
    session_id: str = get_output(send_prompt(bailian, prompt))["session_id"]
    for _ in range(rounds - 1):
        send_prompt(bailian, prompt, session_id)
    assert len(bailian.session(session_id)) == rounds
    return session_id


@pytest.mark.parametrize("cause", ["unknown", "idle"])
@pytest.mark.parametrize("switch", ["error", "new", "same"])
def test_an_unknown_or_idle_session_is_handled_as_configured(
    bailian: BailianEmulator, clock: Clock, switch: Literal["error", "new", "same"], cause: str
) -> None:
    bailian.unknown_session = switch
    session_id = create_session(bailian)
    clock.now = 3599
    assert get_output(send_prompt(bailian, "1", session_id))["text"] == "01"
    if cause == "idle":
        clock.now += 3600
    else:
        session_id = "f" * 32
    rounds_before = bailian.session(session_id)

    response = send_prompt(bailian, "2", session_id)

    if switch == "error":
        assert response.status_code == 400
        assert session_id in response.json()["message"]
        assert bailian.session(session_id) == rounds_before
        return
    answer = get_output(response)
    assert answer["text"] == "2"
    assert (answer["session_id"] == session_id) == (switch == "same")
    assert bailian.session(answer["session_id"]) == [Round("2", "2")]
    if switch == "new":
        assert bailian.session(session_id) == rounds_before


@pytest.mark.slow
@pytest.mark.parametrize("switch", ["error", "new", "oldest"])
@pytest.mark.parametrize("unknown_switch", ["error", "new", "same"])
def test_a_full_session_is_handled_as_configured(
    bailian: BailianEmulator,
    switch: Literal["error", "new", "oldest"],
    unknown_switch: Literal["error", "new", "same"],
) -> None:
    bailian.full_session, bailian.unknown_session = switch, unknown_switch
    session_id = create_session(bailian, rounds=50)
    full_rounds = bailian.session(session_id)

    response = send_prompt(bailian, "1", session_id)

    if switch == "error":
        assert response.status_code == 400
        assert f"{session_id} has reached the limit of 50 rounds" in response.json()["message"]
        assert bailian.session(session_id) == full_rounds
        return
    answer = get_output(response)
    if switch == "new":
        assert answer["session_id"] != session_id
        assert bailian.session(answer["session_id"]) == [Round("1", "1")]
        assert bailian.session(session_id) == full_rounds
    else:
        assert answer["session_id"] == session_id
        assert answer["text"] == "0" * 49 + "1"
        assert bailian.session(session_id) == [*full_rounds[1:], Round("1", "0" * 49 + "1")]


def test_a_full_session_that_is_idle_counts_as_unknown(bailian: BailianEmulator, clock: Clock) -> None:
    bailian.full_session, bailian.unknown_session = "error", "same"
    session_id = create_session(bailian, rounds=50)
    clock.now += 3600

    assert get_output(send_prompt(bailian, "1", session_id))["text"] == "1"


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("frames", [0, 1, 3])
def test_a_turn_aborted_by_the_client_is_kept_or_dropped_as_configured(
    bailian: BailianEmulator, client: httpx.Client, *, keep: bool, frames: int
) -> None:
    bailian.keep_aborted = keep
    session_id = create_session(bailian)
    app = bailian.apps[APP]
    app.answer, app.stall_after = lambda _: Reply("".join(PIECES), pieces=PIECES), frames

    with open_stream(bailian, client, session_id) as response:
        read_frames(response, frames)

    assert bailian.requests[-1].wait()
    aborted_rounds = [Round("问", "".join(PIECES[:frames]))] if keep else []
    assert bailian.session(session_id) == [Round("0", "0"), *aborted_rounds]


@pytest.mark.slow
@pytest.mark.parametrize("keep", [True, False])
def test_a_client_may_disconnect_just_before_the_last_frame(
    bailian: BailianEmulator, client: httpx.Client, *, keep: bool
) -> None:
    bailian.keep_aborted = keep
    session_id = create_session(bailian)
    app = bailian.apps[APP]
    app.answer, app.pace = lambda _: Reply("一", pieces=["一"]), 1.0

    with open_stream(bailian, client, session_id) as response:
        read_frames(response, 1)

    assert bailian.requests[-1].wait()
    assert bailian.session(session_id)[1:] == [Round("问", "一")] * keep


@pytest.mark.parametrize("keep", [True, False])
def test_a_client_may_disconnect_from_an_answer_without_a_stream(
    bailian: BailianEmulator, *, keep: bool
) -> None:
    bailian.keep_aborted = keep
    session_id = create_session(bailian)
    bailian.apps[APP].pace = 60.0
    with httpx.Client(trust_env=False, timeout=0.05) as client, suppress(httpx.ReadTimeout):
        client.post(
            f"{bailian.base_url}/apps/{APP}/completion",
            json={"input": {"prompt": "问", "session_id": session_id}},
            headers={"Authorization": f"Bearer {bailian.api_key}"},
        )

    assert bailian.requests[-1].wait()
    assert bailian.session(session_id)[1:] == [Round("问", "")] * keep


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(
    "failure", ["dropped", "error", "error after the last frame", "fault", "fault before the stream"]
)
def test_a_turn_broken_off_by_the_server_is_kept_or_dropped_as_configured(
    bailian: BailianEmulator, client: httpx.Client, *, keep: bool, failure: str
) -> None:
    bailian.keep_aborted = keep
    session_id = create_session(bailian)
    app = bailian.apps[APP]
    app.answer = lambda _: Reply("".join(PIECES), pieces=PIECES)
    saved_pieces = PIECES[:2]
    if failure == "dropped":
        app.cut_after = 2
    elif failure == "error":
        app.error = ErrorReply.of("InternalError", in_stream_after=2)
    elif failure == "error after the last frame":
        app.error, saved_pieces = ErrorReply.of("InternalError", in_stream_after=99), PIECES
    elif failure == "fault":
        app.faults = Faults.always("error-frame")
    else:
        app.faults, saved_pieces = Faults.always("html-502"), []

    with suppress(httpx.HTTPError), open_stream(bailian, client, session_id) as response:
        response.read()

    assert bailian.requests[-1].wait()
    assert bailian.session(session_id)[1:] == [Round("问", "".join(saved_pieces))] * keep


@pytest.mark.parametrize("fault", ["gzip", "garbage-frame", "finish-length", "no-finish-reason"])
def test_a_fault_that_keeps_the_answer_complete_keeps_its_turn(
    bailian: BailianEmulator, client: httpx.Client, fault: str
) -> None:
    session_id = create_session(bailian)
    bailian.apps[APP].faults = Faults.always(fault)
    with open_stream(bailian, client, session_id) as response:
        response.read()

    assert bailian.session(session_id)[1:] == [Round("问", "0问")]


def test_a_refused_request_saves_no_turn(bailian: BailianEmulator) -> None:
    bailian.keep_aborted = True
    session_id = create_session(bailian)
    bailian.apps[APP].error = ErrorReply.of("Throttling")

    assert send_prompt(bailian, "1", session_id).status_code == 429
    assert bailian.session(session_id) == [Round("0", "0")]


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [1, 49, 50])
def test_concurrent_requests_to_a_session_lose_no_round(bailian: BailianEmulator, rounds: int) -> None:
    bailian.full_session = "oldest"
    session_id = create_session(bailian, rounds=rounds)
    bailian.apps[APP].pace = 0.05
    threads = [threading.Thread(target=send_prompt, args=(bailian, p, session_id)) for p in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    session_rounds = bailian.session(session_id)
    assert {r.prompt for r in session_rounds[-3:]} == {"a", "b", "c"}
    # None of them saw another: they ran at the same time.
    assert {r.answer.strip("0") for r in session_rounds[-3:]} == {"a", "b", "c"}


def test_a_round_is_not_lost_when_its_session_is_emptied_meanwhile(
    bailian: BailianEmulator, clock: Clock, client: httpx.Client
) -> None:
    bailian.unknown_session = "same"
    session_id = create_session(bailian)
    app = bailian.apps[APP]
    app.pace = 0.2
    with open_stream(bailian, client, session_id) as response:
        app.pace = 0.0
        clock.now += 3600
        assert get_output(send_prompt(bailian, "1", session_id))["text"] == "1"
        response.read()

    assert bailian.session(session_id) == [Round("1", "1"), Round("问", "0问")]


def test_all_sessions_can_be_inspected(bailian: BailianEmulator) -> None:
    first, second = create_session(bailian, "甲", rounds=2), create_session(bailian, "乙")

    sessions = bailian.sessions()
    sessions[first].clear()

    assert list(sessions) == [first, second]
    assert bailian.sessions() == {
        first: [Round("甲", "甲"), Round("甲", "甲甲")],
        second: [Round("乙", "乙")],
    }


def test_sessions_can_be_inspected_while_others_start(bailian: BailianEmulator) -> None:
    thread = threading.Thread(target=lambda: [send_prompt(bailian, "0") for _ in range(100)])
    thread.start()
    while thread.is_alive():
        assert all(len(rounds) <= 1 for rounds in bailian.sessions().values())
        time.sleep(0)
    thread.join()

    assert len(bailian.sessions()) == 100


def test_the_switches_are_also_arguments() -> None:
    default = BailianEmulator()
    configured = BailianEmulator(unknown_session="error", full_session="oldest", keep_aborted=True)

    assert (default.unknown_session, default.full_session, default.keep_aborted) == (
        "new",
        "new",
        False,
    )
    assert (configured.unknown_session, configured.full_session, configured.keep_aborted) == (
        "error",
        "oldest",
        True,
    )
