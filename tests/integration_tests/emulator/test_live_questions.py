"""The questions to the live service, put to the emulator: they run through, and come out either way."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app.emulator import (
    App,
    BailianEmulator,
    Document,
    Faults,
    KnowledgeBase,
    Node,
    Turn,
)
from langchain_bailian_app.emulator._apps.samples import ECHO_APP_ID
from tests.fixtures import recording
from tests.live.harness import Lab
from tests.live.report import QUESTIONS, Answered, answered, report

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clock import Clock

TEAS = KnowledgeBase(
    "茶",
    [Document(f"{kind}茶", "什么是滞报金？用沸水冲泡。", tags=[kind]) for kind in "红绿"],
    pipeline_id="teas",
)
GREETING = "什么是滞报金？就是迟了要交的钱。"


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answered]:
    """Return a function that puts one question to an application of an emulator."""

    def ask(name: str, app: App | str, bailian: BailianEmulator, **settings: str) -> Answered:
        app_id = app if isinstance(app, str) else bailian.add_app(app)
        connect(monkeypatch, bailian, app_id)
        for setting, value in settings.items():
            monkeypatch.setenv(f"BAILIAN_LIVE_{setting}", value)
        (question,) = (question for question in QUESTIONS if question.name == name)
        return answered(question, Lab())

    return ask


def connect(monkeypatch: pytest.MonkeyPatch, bailian: BailianEmulator, app_id: str) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", bailian.api_key)
    monkeypatch.setenv("DASHSCOPE_BASE_URL", bailian.base_url)
    monkeypatch.setenv("BAILIAN_APP_ID", app_id)


def test_all_questions_run_through_and_the_report_has_them(
    bailian: BailianEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, bailian, bailian.app_id)
    for name in [name for name in os.environ if name.startswith("BAILIAN_LIVE_")]:
        monkeypatch.delenv(name)
    lab = Lab()

    answers = [answered(question, lab) for question in QUESTIONS]
    written = report(answers, lab)

    assert [answer for answer in answers if answer.verdict == "the question broke off"] == []
    assert [answer.question.name for answer in answers if answer.verdict == "**not as assumed**"] == []
    assert sum(answer.was_asked for answer in answers) >= 15
    assert all(question.text in written for question in QUESTIONS)
    assert written.count("\n| ") == len(QUESTIONS) + 1
    for secret in (bailian.api_key, bailian.app_id, *bailian.sessions()):
        assert secret not in written


@pytest.mark.parametrize(
    ("unknown", "told", "verdict"),
    [
        ("error", "refused: 400 InvalidParameter, a BailianSessionError", "as assumed"),
        ("new", "answered without what was said, under another id", "as assumed"),
        ("same", "answered without what was said, under the same id", "**not as assumed**"),
    ],
)
def test_a_session_that_is_unknown_or_expired_comes_out_each_way(
    put: Any, clock: Clock, unknown: Any, told: str, verdict: str
) -> None:
    with BailianEmulator(unknown_session=unknown, clock=clock) as bailian:
        bailian.apps[ECHO_APP_ID].long_term_memory = False
        assert put("unknown-session", ECHO_APP_ID, bailian)[1:] == (told, verdict)

        assert put("session-is-kept", ECHO_APP_ID, bailian).verdict == "as assumed"
        *_, session_id = bailian.sessions()
        name = bailian.session(session_id)[0].prompt[2:-1]
        earlier = f"{name}:{session_id}"
        answer = put("expired-session", ECHO_APP_ID, bailian, SESSION=earlier)
        assert answer.told == "it goes on: the name is remembered, under the same id"

        clock.now = 4000.0
        assert put("expired-session", ECHO_APP_ID, bailian)[1:] == (told, verdict)


@pytest.mark.parametrize(
    ("full", "told"),
    [("error", "refused: 400"), ("oldest", "under the same id")],
)
def test_a_full_session_comes_out_each_way(put: Any, full: Any, told: str) -> None:
    with BailianEmulator(full_session=full) as bailian:
        answer = put("full-session", App("short", answer="好。"), bailian, EXPENSIVE="1")

    assert told in answer.told


@pytest.mark.parametrize(("keep", "told"), [(True, "kept"), (False, "dropped")])
def test_an_aborted_turn_comes_out_both_ways(put: Any, keep: bool, told: str) -> None:
    with BailianEmulator(keep_aborted=keep) as bailian:
        app = bailian.apps[ECHO_APP_ID]
        app.pace = 0.002
        app.long_term_memory = False
        answer = put("aborted-turn", ECHO_APP_ID, bailian)

    assert answer.told == f"the question is {told}, under the same id"


def thoughts(**app: Any) -> App:
    return App("thoughts", knowledge_bases=[TEAS], thinking="hybrid", **app)


def workflow(**app: Any) -> App:
    return App("workflow", kind="workflow", **app)


def agent2(**app: Any) -> App:
    return App("agent 2.0", kind="agent2", **app)


@pytest.mark.parametrize(
    ("name", "app", "told"),
    [
        ("unasked-thoughts", thoughts(), "they do not"),
        ("unasked-thoughts", thoughts(always_thoughts=True), "they do"),
        ("repeated-steps", thoughts(answer=GREETING), "1 of "),
        ("repeated-steps", thoughts(answer=GREETING, repeat_steps=True), " frames have steps"),
        ("repeated-steps", thoughts(never_thoughts=True), "this application tells no steps"),
        ("missing-stop", App("stop"), "finish_reason 'stop'"),
        ("missing-stop", App("length", faults=Faults.always("finish-length")), "'length'"),
        ("missing-stop", App("none", faults=Faults.always("no-finish-reason")), "no finish reason"),
        ("line-separator", App("repeats", answer="甲\u2028乙"), "; 0 comment(s)"),
        ("line-separator", App("does not", answer="甲乙"), "did not repeat"),
        ("data-url-of-a-file", App("reads", answer="蓝鲸"), "it is read"),
        ("data-url-of-a-file", App("does not", answer="好"), "not read"),
        ("session-is-kept", App("says nothing", answer="好"), "does not repeat a name"),
    ],
)
def test_a_question_comes_out_as_the_application_is(
    put: Any, bailian: BailianEmulator, name: str, app: App, told: str
) -> None:
    try:
        answer = put(name, app, bailian)
    finally:
        bailian.apps.pop(app.app_id, None)

    assert told in answer.told


def test_steps_on_one_frame_and_on_all_are_told_apart(put: Any, bailian: BailianEmulator) -> None:
    app = thoughts(answer=GREETING)
    counts = []
    for app.repeat_steps in (False, True):
        told = put("repeated-steps", app, bailian).told.split()
        counts.append((int(told[0]), int(told[2])))
    del bailian.apps[app.app_id]

    (once, _), (often, frames) = counts
    assert once == 1
    assert often == frames > 2


@pytest.mark.parametrize(
    ("name", "setting", "app", "told"),
    [
        ("node-is-completed", "WORKFLOW_APP_ID", workflow(), "bool"),
        ("node-is-completed", "WORKFLOW_APP_ID", workflow(completed_as_text=True), "str"),
        ("node-types", "WORKFLOW_APP_ID", workflow(), "End success, LLM"),
        (
            "node-types",
            "WORKFLOW_APP_ID",
            workflow(nodes=[Node("问", "Ask", status="paused")]),
            "Ask paused; not seen before: Ask",
        ),
        ("messages-of-agent-2", "AGENT2_APP_ID", agent2(), "ignored"),
        ("messages-of-agent-2", "AGENT2_APP_ID", agent2(messages_in_agent2="refused"), "refused"),
    ],
)
def test_a_question_to_another_kind_comes_out_as_the_application_is(
    put: Any, bailian: BailianEmulator, name: str, setting: str, app: App, told: str
) -> None:
    bailian.add_app(app)
    try:
        answer = put(name, bailian.app_id, bailian, **{setting: app.app_id})
    finally:
        del bailian.apps[app.app_id]

    assert told in answer.told


@pytest.mark.parametrize("remembers", [True, False])
def test_images_are_asked_for_in_messages_and_in_sessions(
    put: Any, bailian: BailianEmulator, remembers: bool
) -> None:
    seen: list[str] = []

    def looks(turn: Turn) -> str:
        seen.extend(turn.images)
        return "一只猫。" if turn.images or (remembers and seen) else "没有图。"

    app = App("looks", answer=looks)
    told = [
        put(name, app, bailian, CAT_URL="https://files.example/cat.png").told
        for name in ("earlier-image", "image-in-a-session")
    ]
    del bailian.apps[app.app_id]

    assert told == ["yes", "yes" if remembers else "no"]


def test_a_refusal_in_the_stream_is_told_from_one_at_the_door(
    put: Any, bailian: BailianEmulator
) -> None:
    at_the_door = put("refused-stream", bailian.app_id, bailian)
    app_id = bailian.replay(recording("error-event.sse"))
    bailian.apps["0" * 32] = bailian.apps.pop(app_id)
    try:
        in_stream = put("refused-stream", bailian.app_id, bailian)
    finally:
        del bailian.apps["0" * 32]

    assert at_the_door[1:] == ("HTTP 403 `App.AccessDenied`, application/json", "as assumed")
    assert in_stream.told.startswith("HTTP 200")
    assert in_stream.verdict == "**not as assumed**"


def test_several_tags_and_direct_search_are_asked_of_a_knowledge_base(
    put: Any, bailian: BailianEmulator
) -> None:
    app = App("teas", knowledge_bases=[TEAS])

    any_of_them = put("several-tags", app, bailian, PIPELINE_ID="teas", TAGS="红,绿")
    none = put("several-tags", app, bailian, TAGS="红,黑")
    found = put("direct-search", app, bailian)
    unknown = put("direct-search", app, bailian, PIPELINE_ID="nowhere")
    del bailian.apps[app.app_id]

    assert any_of_them.told == "any"
    assert none.verdict == "cannot be asked here"
    assert found.told.startswith("2 documents with ")
    assert unknown[1:] == ("refused: 404 NotFound", "**not as assumed**")


def test_a_question_that_breaks_off_says_why(put: Any, bailian: BailianEmulator) -> None:
    app = App("reset", faults=Faults.always("reset"))
    answer = put("unasked-thoughts", app, bailian)
    del bailian.apps[app.app_id]

    assert answer.verdict == "the question broke off"
    assert "RemoteProtocolError" in answer.told
