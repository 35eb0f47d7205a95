"""Tests that the checks of the live service run on the emulator and observe each possible behavior."""

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
from tests.fixtures import read_recording
from tests.live.harness import LiveHarness
from tests.live.report import LIVE_CHECKS, LiveCheckResult, render_report, run_check

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
def observe(monkeypatch: pytest.MonkeyPatch) -> Callable[..., LiveCheckResult]:
    """Return a function that runs one check on an application of an emulator."""

    def run(name: str, app: App | str, bailian: BailianEmulator, **settings: str) -> LiveCheckResult:
        app_id = app if isinstance(app, str) else bailian.add_app(app)
        connect(monkeypatch, bailian, app_id)
        for setting, value in settings.items():
            monkeypatch.setenv(f"BAILIAN_LIVE_{setting}", value)
        (check,) = (check for check in LIVE_CHECKS if check.name == name)
        return run_check(check, LiveHarness())

    return run


def connect(monkeypatch: pytest.MonkeyPatch, bailian: BailianEmulator, app_id: str) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", bailian.api_key)
    monkeypatch.setenv("DASHSCOPE_BASE_URL", bailian.base_url)
    monkeypatch.setenv("BAILIAN_APP_ID", app_id)


def test_all_checks_run_and_are_in_the_report(
    bailian: BailianEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, bailian, bailian.app_id)
    for name in [name for name in os.environ if name.startswith("BAILIAN_LIVE_")]:
        monkeypatch.delenv(name)
    harness = LiveHarness()

    results = [run_check(check, harness) for check in LIVE_CHECKS]
    report = render_report(results, harness)

    assert [result for result in results if result.verdict == "ended with an error"] == []
    assert [result.check.name for result in results if result.verdict == "**not as assumed**"] == []
    assert sum(result.was_run for result in results) >= 15
    assert all(check.question in report for check in LIVE_CHECKS)
    assert report.count("\n| ") == len(LIVE_CHECKS) + 1
    for secret in (bailian.api_key, bailian.app_id, *bailian.sessions()):
        assert secret not in report


@pytest.mark.parametrize(
    ("unknown_session", "observation", "verdict"),
    [
        ("error", "refused: 400 InvalidParameter, a BailianSessionError", "as assumed"),
        ("new", "answered without history, with another id", "as assumed"),
        ("same", "answered without history, with the same id", "**not as assumed**"),
    ],
)
def test_unknown_and_expired_sessions_are_observed_for_each_switch(
    observe: Any, clock: Clock, unknown_session: Any, observation: str, verdict: str
) -> None:
    with BailianEmulator(unknown_session=unknown_session, clock=clock) as bailian:
        bailian.apps[ECHO_APP_ID].long_term_memory = False
        assert observe("unknown-session", ECHO_APP_ID, bailian)[1:] == (observation, verdict)

        assert observe("session-is-kept", ECHO_APP_ID, bailian).verdict == "as assumed"
        *_, session_id = bailian.sessions()
        name = bailian.session(session_id)[0].prompt[2:-1]
        earlier_session = f"{name}:{session_id}"
        result = observe("expired-session", ECHO_APP_ID, bailian, SESSION=earlier_session)
        assert result.observation == "it continues: the name is remembered, with the same id"

        clock.now = 4000.0
        assert observe("expired-session", ECHO_APP_ID, bailian)[1:] == (observation, verdict)


@pytest.mark.parametrize(
    ("full_session", "observation"),
    [("error", "refused: 400"), ("oldest", "with the same id")],
)
def test_full_sessions_are_observed_for_each_switch(
    observe: Any, full_session: Any, observation: str
) -> None:
    with BailianEmulator(full_session=full_session) as bailian:
        result = observe("full-session", App("short", answer="好。"), bailian, EXPENSIVE="1")

    assert observation in result.observation


@pytest.mark.slow
@pytest.mark.parametrize(("keep_aborted", "observation"), [(True, "kept"), (False, "dropped")])
def test_aborted_turns_are_observed_for_each_switch(
    observe: Any, keep_aborted: bool, observation: str
) -> None:
    with BailianEmulator(keep_aborted=keep_aborted) as bailian:
        app = bailian.apps[ECHO_APP_ID]
        app.pace = 0.002
        app.long_term_memory = False
        result = observe("aborted-turn", ECHO_APP_ID, bailian)

    assert result.observation == f"the question is {observation}, with the same id"


def make_thoughts_app(**fields: Any) -> App:
    return App("thoughts", knowledge_bases=[TEAS], thinking="hybrid", **fields)


def make_workflow(**fields: Any) -> App:
    return App("workflow", kind="workflow", **fields)


OUTPUT_NODES = [Node("先", "Output", text="先说，"), Node("后", "End", text="再说。")]


def make_agent2(**fields: Any) -> App:
    return App("agent 2.0", kind="agent2", **fields)


@pytest.mark.parametrize(
    ("name", "app", "observation"),
    [
        ("unrequested-thoughts", make_thoughts_app(), "no, they are not"),
        ("unrequested-thoughts", make_thoughts_app(always_thoughts=True), "yes, they are"),
        ("repeated-steps", make_thoughts_app(answer=GREETING), "1 of "),
        ("repeated-steps", make_thoughts_app(answer=GREETING, repeat_steps=True), " frames have steps"),
        ("repeated-steps", make_thoughts_app(never_thoughts=True), "this application reports no steps"),
        ("missing-stop", App("stop"), "finish_reason 'stop'"),
        ("missing-stop", App("length", faults=Faults.always("finish-length")), "'length'"),
        ("missing-stop", App("none", faults=Faults.always("no-finish-reason")), "no finish reason"),
        ("line-separator", App("repeats", answer="甲\u2028乙"), "; 0 comment(s)"),
        ("line-separator", App("does not", answer="甲乙"), "did not repeat"),
        ("file-data-url", App("reads", answer="蓝鲸"), "it is read"),
        ("file-data-url", App("does not", answer="好"), "not read"),
        ("session-is-kept", App("forgets names", answer="好"), "does not repeat a name"),
    ],
)
def test_observations_match_the_behavior_of_the_app(
    observe: Any, bailian: BailianEmulator, name: str, app: App, observation: str
) -> None:
    try:
        result = observe(name, app, bailian)
    finally:
        bailian.apps.pop(app.app_id, None)

    assert observation in result.observation


def test_steps_on_one_frame_and_on_all_frames_are_distinguished(
    observe: Any, bailian: BailianEmulator
) -> None:
    app = make_thoughts_app(answer=GREETING)
    counts = []
    for app.repeat_steps in (False, True):
        words = observe("repeated-steps", app, bailian).observation.split()
        counts.append((int(words[0]), int(words[2])))
    del bailian.apps[app.app_id]

    (once, _), (often, frames) = counts
    assert once == 1
    assert often == frames > 2


@pytest.mark.parametrize(
    ("name", "setting", "app", "observation"),
    [
        ("node-is-completed", "WORKFLOW_APP_ID", make_workflow(), "bool"),
        ("node-is-completed", "WORKFLOW_APP_ID", make_workflow(completed_as_text=True), "str"),
        ("node-types", "WORKFLOW_APP_ID", make_workflow(), "End success, LLM"),
        (
            "node-types",
            "WORKFLOW_APP_ID",
            make_workflow(nodes=[Node("问", "Ask", status="paused")]),
            "Ask paused; not seen before: Ask",
        ),
        ("final-text", "WORKFLOW_APP_ID", make_workflow(nodes=OUTPUT_NODES), "yes"),
        (
            "final-text",
            "WORKFLOW_APP_ID",
            make_workflow(nodes=OUTPUT_NODES, final_text="先说，再说。"),
            "no; it begins with the text of output nodes",
        ),
        (
            "final-text",
            "WORKFLOW_APP_ID",
            make_workflow(nodes=OUTPUT_NODES, final_text="另说。"),
            "no; it does not begin with the text of output nodes",
        ),
        ("final-text", "WORKFLOW_APP_ID", make_workflow(), "no output node before an End node"),
        ("agent-2-messages", "AGENT2_APP_ID", make_agent2(), "ignored"),
        ("agent-2-messages", "AGENT2_APP_ID", make_agent2(messages_in_agent2="refused"), "refused"),
    ],
)
def test_observations_match_the_behavior_of_other_kinds_of_apps(
    observe: Any, bailian: BailianEmulator, name: str, setting: str, app: App, observation: str
) -> None:
    bailian.add_app(app)
    try:
        result = observe(name, bailian.app_id, bailian, **{setting: app.app_id})
    finally:
        del bailian.apps[app.app_id]

    assert observation in result.observation


@pytest.mark.parametrize("remembers", [True, False])
def test_images_are_checked_in_messages_and_in_sessions(
    observe: Any, bailian: BailianEmulator, remembers: bool
) -> None:
    seen_images: list[str] = []

    def describe_images(turn: Turn) -> str:
        seen_images.extend(turn.images)
        return "一只猫。" if turn.images or (remembers and seen_images) else "没有图。"

    app = App("looks", answer=describe_images)
    observations = [
        observe(name, app, bailian, CAT_URL="https://files.example/cat.png").observation
        for name in ("earlier-image", "image-in-a-session")
    ]
    del bailian.apps[app.app_id]

    assert observations == ["yes", "yes" if remembers else "no"]


def test_an_error_in_the_stream_is_distinguished_from_one_before_it(
    observe: Any, bailian: BailianEmulator
) -> None:
    before_stream = observe("refused-stream", bailian.app_id, bailian)
    app_id = bailian.replay(read_recording("error-event.sse"))
    bailian.apps["0" * 32] = bailian.apps.pop(app_id)
    try:
        in_stream = observe("refused-stream", bailian.app_id, bailian)
    finally:
        del bailian.apps["0" * 32]

    assert before_stream[1:] == ("HTTP 403 `App.AccessDenied`, application/json", "as assumed")
    assert in_stream.observation.startswith("HTTP 200")
    assert in_stream.verdict == "**not as assumed**"


def test_several_tags_and_direct_search_are_checked_on_a_knowledge_base(
    observe: Any, bailian: BailianEmulator
) -> None:
    app = App("teas", knowledge_bases=[TEAS])

    any_tag = observe("several-tags", app, bailian, PIPELINE_ID="teas", TAGS="红,绿")
    no_tag = observe("several-tags", app, bailian, TAGS="红,黑")
    bound = observe("direct-search", app, bailian)
    unbound = observe("direct-search", app, bailian, PIPELINE_ID="nowhere")
    del bailian.apps[app.app_id]

    assert any_tag.observation == "any"
    assert no_tag.verdict == "not run here"
    assert bound.observation.startswith("2 documents with ")
    assert unbound[1:] == ("refused: 404 NotFound", "**not as assumed**")


def test_a_failed_check_reports_its_error(observe: Any, bailian: BailianEmulator) -> None:
    app = App("reset", faults=Faults.always("reset"))
    result = observe("unrequested-thoughts", app, bailian)
    del bailian.apps[app.app_id]

    assert result.verdict == "ended with an error"
    assert "RemoteProtocolError" in result.observation
