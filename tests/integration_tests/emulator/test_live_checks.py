"""Tests that the checks of the live service run on the emulator and observe each possible behavior."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app.emulator import (
    App,
    BailianEmulator,
    Document,
    ErrorReply,
    Faults,
    KnowledgeBase,
    Node,
    Turn,
)
from langchain_bailian_app.emulator._apps.samples import ECHO_APP_ID
from langchain_bailian_app.emulator._state.connector_settings import ConnectorSettings
from langchain_bailian_app.emulator._state.run_switches import RunSwitches
from tests.fixtures import encode_sse, frame_body, read_recording
from tests.live import hosts, runs
from tests.live.harness import CheckSkipped, LiveHarness
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


@pytest.mark.parametrize(
    ("name", "settings", "answer", "observation", "verdict"),
    [
        ("file-states", {}, "", "PARSE_SUCCESS", "as assumed"),
        ("file-states", {"states": "long"}, "", "FILE_IS_READY", "as assumed"),
        ("file-md5", {}, "", "Base64 is accepted, hexadecimal is refused", "as assumed"),
        ("file-md5", {"md5": "hex"}, "", "Base64 is refused, hexadecimal is accepted", "as assumed"),
        ("file-prefix", {}, "", "`file_session_`", "as assumed"),
        ("file-prefix", {"id_prefix": "file_"}, "", "`file_`", "as assumed"),
        ("file-prefix", {"id_prefix": "f"}, "", "another", "**not as assumed**"),
        ("file-join", {}, "蓝鲸", "it reads them", "as assumed"),
        ("file-join", {}, "好", "accepted, but not read", "**not as assumed**"),
        (
            "file-join",
            {"usable_in_applications": False},
            "",
            "refused: 400 InvalidParameter",
            "**not as assumed**",
        ),
        (
            "file-status-key",
            {},
            "",
            "a lease: HTTP 200, status; a refusal: HTTP 200, status_code",
            "as assumed",
        ),
        (
            "file-status-key",
            {"status_key": "status_code"},
            "",
            "a lease: HTTP 200, status_code; a refusal: HTTP 200, status_code",
            "as assumed",
        ),
    ],
)
def test_files_with_the_api_key_are_observed_for_each_switch(
    observe: Any,
    bailian: BailianEmulator,
    name: str,
    settings: dict[str, Any],
    answer: str,
    observation: str,
    verdict: str,
) -> None:
    bailian.files.connector = ConnectorSettings(**settings)
    app = App("files", answer=answer)
    try:
        result = observe(name, app, bailian)
    finally:
        del bailian.apps[app.app_id]
        bailian.files.connector = ConnectorSettings()

    assert result[1:] == (observation, verdict)


@pytest.mark.parametrize(
    ("name", "setting", "switches", "app", "observation", "verdict"),
    [
        ("run-statuses", "", {}, {"pace": 0.05}, "running, completed", "as assumed"),
        (
            "run-statuses",
            "",
            {"running_word": "in_progress"},
            {"pace": 0.05},
            "in_progress, completed",
            "as assumed",
        ),
        (
            "run-failure",
            "FAILING_APP_ID",
            {},
            {"error": ErrorReply.of("AppProcessFailed")},
            "fields: output; code and message are found",
            "as assumed",
        ),
        (
            "run-failure",
            "FAILING_APP_ID",
            {"failed_shape": "error"},
            {"error": ErrorReply.of("AppProcessFailed")},
            "fields: error; code and message are found",
            "as assumed",
        ),
        (
            "run-failure",
            "FAILING_APP_ID",
            {"failed_shape": "none"},
            {"error": ErrorReply.of("AppProcessFailed")},
            "fields: none; code and message are not found",
            "**not as assumed**",
        ),
        (
            "run-failure",
            "FAILING_APP_ID",
            {},
            {},
            "the run ended with the status 'completed'",
            "not run",
        ),
        ("run-cancel-ended", "", {}, {}, "HTTP 200, status `failed`; then `completed`", "as assumed"),
        (
            "run-cancel-ended",
            "",
            {"cancel_ended": "error"},
            {},
            "HTTP 400, `InvalidParameter`; then `completed`",
            "as assumed",
        ),
        (
            "run-cancel-running",
            "SLOW_APP_ID",
            {},
            {"pace": 60.0},
            "HTTP 200, `cancelled`",
            "as assumed",
        ),
        ("run-unknown", "", {}, {}, "HTTP 404 `NotFound`", "as assumed"),
        (
            "run-unknown",
            "",
            {"unknown_id": "InvalidParameter"},
            {},
            "HTTP 400 `InvalidParameter`",
            "as assumed",
        ),
        ("run-reasoning", "THINKING_APP_ID", {}, {"thinking": "on"}, "content", "as assumed"),
        (
            "run-reasoning",
            "THINKING_APP_ID",
            {"reasoning": "summary"},
            {"thinking": "on"},
            "summary",
            "as assumed",
        ),
        ("run-reasoning", "THINKING_APP_ID", {}, {}, "there is none", "works either way"),
        (
            "run-statuses",
            "",
            {},
            {"error": ErrorReply.of("App.AccessDenied")},
            "refused: HTTP 403 `App.AccessDenied`",
            "not run",
        ),
    ],
)
def test_background_runs_are_observed_for_each_switch(
    observe: Any,
    name: str,
    setting: str,
    switches: dict[str, Any],
    app: dict[str, Any],
    observation: str,
    verdict: str,
) -> None:
    with BailianEmulator() as bailian:
        bailian.runs.switches = RunSwitches(**switches)
        bailian.runs.queue_seconds = 0.0
        application = App("background", answer="好。", **app)
        settings = {setting: application.app_id} if setting else {}
        result = observe(name, application, bailian, **settings)

    assert result.observation.removeprefix("queued, ") == observation
    assert result.verdict.startswith(verdict)


@pytest.mark.parametrize(("limit", "verdict"), [(None, "as assumed"), (5, "**not as assumed**")])
def test_the_limit_of_queries_is_observed(observe: Any, limit: int | None, verdict: str) -> None:
    with BailianEmulator() as bailian:
        bailian.runs.switches.queries_per_second = limit
        result = observe("run-query-rate", App("fast", answer="好。"), bailian, EXPENSIVE="1")

    assert result.verdict == verdict
    assert ("HTTP 429" in result.observation) is (limit is not None)


def test_the_age_of_a_run_is_observed(observe: Any, clock: Clock) -> None:
    with BailianEmulator(clock=clock) as bailian:
        app = App("fast", answer="好。")
        assert observe("run-statuses", app, bailian).was_run
        (run_id,) = bailian.runs.started
        known = observe("run-retention", app, bailian, RUN=run_id)
        bailian.runs.switches.retention = 3600.0
        clock.now = 3600.0
        expired = observe("run-retention", app, bailian, RUN=run_id)

    assert known.observation == "`completed`, age 0 hours"
    assert expired.observation == "it is gone: HTTP 404 `NotFound`"


@pytest.mark.parametrize(("served", "expected"), [("shared", True), ("workspace", False)])
def test_each_gateway_that_has_the_route_of_runs_is_observed(
    monkeypatch: pytest.MonkeyPatch, served: str, *, expected: bool
) -> None:
    with BailianEmulator() as serving, BailianEmulator() as refusing:
        connect(monkeypatch, serving, serving.app_id)
        refusing.apps[serving.app_id].error = ErrorReply.of("NotFound")
        base_urls = {
            name: (serving if name == served else refusing).base_url for name in ("shared", "workspace")
        }
        outcome = runs.compare_run_gateways(LiveHarness(), base_urls)

    assert f"{served}: HTTP 200" in outcome.observation
    assert "HTTP 404 NotFound" in outcome.observation
    assert outcome.matches_assumption is expected


def test_regions_without_background_runs_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", "k")
    monkeypatch.setenv("BAILIAN_APP_ID", "app")
    monkeypatch.setenv("DASHSCOPE_REGION", "ap-southeast-1")
    (check,) = (check for check in LIVE_CHECKS if check.name == "run-unknown")
    result = run_check(check, LiveHarness())

    assert result.verdict == "not run here"
    assert "not offered in ap-southeast-1" in result.observation


def test_the_statuses_of_a_file_are_observed_while_it_is_parsed(observe: Any, clock: Clock) -> None:
    with BailianEmulator(clock=clock) as bailian:
        bailian.files.parse_seconds = 7.0
        status_of = bailian.files.status_of

        def advance(file: Any) -> str:
            clock.now += 1.0
            return status_of(file)

        bailian.files.status_of = advance  # type: ignore[method-assign]  # time passes with each query
        short = observe("file-states", bailian.app_id, bailian)
        bailian.files.connector.states = "long"
        long = observe("file-states", bailian.app_id, bailian)

    assert short[1:] == ("INIT, PARSING, PARSE_SUCCESS", "as assumed")
    assert long.observation.endswith(
        "PARSE_SUCCESS, SAFE_CHECKING, INDEX_BUILDING, INDEX_BUILD_SUCCESS, FILE_IS_READY"
    )
    assert long.verdict == "**not as assumed**"


def test_the_age_of_a_file_is_observed(observe: Any, bailian: BailianEmulator) -> None:
    assert observe("file-prefix", bailian.app_id, bailian).was_run
    *_, file_id = bailian.files.added
    known = observe("file-life", bailian.app_id, bailian, FILE=file_id)
    unknown = observe("file-life", bailian.app_id, bailian, FILE="file_gone")

    assert known.observation == "PARSE_SUCCESS, age 0 hours"
    assert unknown.observation == "it is gone: HTTP 200, status 404 `NotFound`"


@pytest.mark.parametrize(
    ("name", "settings", "observation", "verdict"),
    [
        ("memory-legacy-search", {}, "HTTP 404 `NotFound`", "works either way"),
        ("memory-legacy-search", {"legacy_search": True}, "HTTP 200", "works either way"),
        (
            "memory-sync-fields",
            {},
            "tool messages: HTTP 200; `project_ids`: HTTP 200",
            "works either way",
        ),
        (
            "memory-sync-fields",
            {"sync_fields": "refuse"},
            "tool messages: HTTP 400 `InvalidParameter`; `project_ids`: HTTP 400 `InvalidParameter`",
            "works either way",
        ),
        (
            "memory-extract-delay-and-index-lag",
            {},
            "SUCCEEDED after 0 s; found at once",
            "as assumed",
        ),
        (
            "memory-extract-delay-and-index-lag",
            {"extract_delay": 20.0, "index_lag": 9.0},
            "SUCCEEDED after 0 s; found by search 3",
            "as assumed",
        ),
        (
            "memory-extract-delay-and-index-lag",
            {"extract_delay": 1e9},
            "RUNNING after 0 s",
            "**not as assumed**",
        ),
        (
            "memory-extract-delay-and-index-lag",
            {"index_lag": 1e9},
            "SUCCEEDED after 0 s; not found",
            "**not as assumed**",
        ),
        ("memory-type-alias", {}, "`memory_types`", "works either way"),
        (
            "memory-type-alias",
            {"type_alias": "singular"},
            "`memory_type`, or the node is not yet searched",
            "works either way",
        ),
        ("memory-page-max", {}, "of (100, 101, 1000), [100] accepted", "as assumed"),
        (
            "memory-page-max",
            {"page_max": 500},
            "of (100, 101, 1000), [100, 101] accepted",
            "as assumed",
        ),
        (
            "memory-page-max",
            {"page_max": 10},
            "of (100, 101, 1000), none accepted",
            "**not as assumed**",
        ),
        ("memory-node-404-code", {}, "HTTP 404 `NotFound`", "as assumed"),
        ("memory-node-404-code", {"node_404_code": "Gone"}, "HTTP 404 `Gone`", "as assumed"),
        (
            "memory-soft-delete",
            {},
            "read with status `delete`, not listed, not found",
            "as assumed",
        ),
    ],
)
def test_memory_libraries_are_observed_for_each_switch(
    observe: Any, name: str, settings: dict[str, Any], observation: str, verdict: str
) -> None:
    ticks = itertools.count()
    with BailianEmulator(clock=lambda: float(next(ticks))) as bailian:  # time passes with each use
        for setting, value in settings.items():
            setattr(bailian.memory_library.settings, setting, value)
        result = observe(name, bailian.app_id, bailian)
        nodes = bailian.memory_library.nodes.values()

    assert result[1:] == (observation, verdict)
    assert not [node for node in nodes if node.status == "valid"]  # the users were deleted


@pytest.mark.parametrize("operation", ["GetMemoryNode", "ListMemory", "SearchMemory"])
def test_memory_libraries_whose_deleted_nodes_are_handled_otherwise_are_observed(
    observe: Any, operation: str
) -> None:
    with BailianEmulator() as bailian:
        error = ErrorReply(404, "Gone", "gone")
        bailian.memory_library.faults.errors[operation] = error
        result = observe("memory-soft-delete", bailian.app_id, bailian)

    if operation == "GetMemoryNode":
        assert result[1:] == ("not read, not listed, not found", "**not as assumed**")
    else:
        assert result[1:] == ("refused: HTTP 404 `Gone`", "not run here")


def test_the_age_of_a_memory_is_observed(observe: Any, bailian: BailianEmulator) -> None:
    assert observe("memory-type-alias", bailian.app_id, bailian).was_run
    *_, node_id = bailian.memory_library.nodes
    known = observe("memory-expiry", bailian.app_id, bailian, MEMORY_NODE=node_id)
    unknown = observe("memory-expiry", bailian.app_id, bailian, MEMORY_NODE="unknown")

    assert known.observation == "status `delete` after 0 days"
    assert unknown.observation == "it is gone: HTTP 404 `NotFound`"


def test_the_header_of_the_workspace_is_sent_or_not(
    observe: Any, bailian: BailianEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert observe("memory-workspace-header", bailian.app_id, bailian).verdict == "not run here"
    monkeypatch.setenv("DASHSCOPE_WORKSPACE", "ws")
    bailian.reset()
    result = observe("memory-workspace-header", bailian.app_id, bailian)

    assert result.observation == "with it: HTTP 200; without it: HTTP 200"
    headers = [request.headers.get("x-dashscope-workspace") for request in bailian.requests]
    assert headers == ["ws", None]


def test_memory_that_is_not_activated_is_not_checked(observe: Any) -> None:
    with BailianEmulator() as bailian:
        bailian.memory_library.faults.errors["GetMemoryNode"] = ErrorReply(403, "AccessDenied", "no")
        result = observe("memory-node-404-code", bailian.app_id, bailian)

    assert result.verdict == "not run here"
    assert result.observation.startswith("activate 长期记忆（新）")


def test_without_a_workspace_the_checks_of_files_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", "k")
    (check,) = (check for check in LIVE_CHECKS if check.name == "file-md5")
    result = run_check(check, LiveHarness())

    assert result.verdict == "not run here"
    assert "DASHSCOPE_WORKSPACE" in result.observation


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        (
            "cn-beijing",
            {
                "trial": "https://trial.cn-beijing.maas.aliyuncs.com/api/v1",
                "shared": "https://dashscope.aliyuncs.com/api/v1",
                "workspace": "https://ws.cn-beijing.maas.aliyuncs.com/api/v1",
            },
        ),
        (
            "eu-central-1",
            {
                "trial": "https://trial.eu-central-1.maas.aliyuncs.com/api/v1",
                "workspace": "https://ws.eu-central-1.maas.aliyuncs.com/api/v1",
            },
        ),
    ],
)
def test_the_gateways_of_the_selected_region_are_compared(
    monkeypatch: pytest.MonkeyPatch, region: str, expected: dict[str, str]
) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", "k")
    monkeypatch.setenv("DASHSCOPE_REGION", region)
    with pytest.raises(CheckSkipped, match="DASHSCOPE_WORKSPACE"):
        hosts.find_gateways()
    monkeypatch.setenv("DASHSCOPE_WORKSPACE", "ws")

    assert hosts.find_gateways() == expected


def test_gateways_are_not_compared_if_the_environment_selects_a_host(
    observe: Any, bailian: BailianEmulator
) -> None:
    result = observe("gateways", bailian.app_id, bailian)

    assert result.verdict == "not run here"
    assert "remove the base URL" in result.observation


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        ({"shared", "workspace"}, ("HTTP 200", "HTTP 200", True)),
        ({"workspace"}, ("HTTP 403 App.AccessDenied", "HTTP 200", False)),
        ({"shared"}, ("HTTP 200", "HTTP 403 App.AccessDenied", True)),
        (set(), ("ConnectError", "HTTP 403 App.AccessDenied", False)),
    ],
)
def test_each_gateway_that_serves_the_application_is_observed(
    monkeypatch: pytest.MonkeyPatch, served: set[str], expected: tuple[str, str, bool]
) -> None:
    with BailianEmulator() as serving, BailianEmulator() as refusing:
        connect(monkeypatch, serving, serving.app_id)
        refusing.apps[serving.app_id].error = ErrorReply.of("App.AccessDenied")
        base_urls = {
            name: (serving if name in served else refusing).base_url for name in ("shared", "workspace")
        }
        if not served:
            base_urls["shared"] = "http://127.0.0.1:1/api/v1"
        outcome = hosts.compare_gateways(LiveHarness(), base_urls)
        without_shared = hosts.compare_gateways(LiveHarness(), {"workspace": serving.base_url})

    shared, workspace = outcome.observation.split("; ")
    assert shared.startswith(f"shared: {expected[0]}")
    assert workspace.startswith(f"workspace: {expected[1]}")
    assert outcome.matches_assumption is expected[2]
    assert without_shared.matches_assumption is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "ending", "is_limited"),
    [
        (encode_sse(frame_body("好")), "RemoteProtocolError", True),
        (encode_sse(frame_body("好", "stop")), "HTTP 200", False),
    ],
    ids=["limited", "not limited"],
)
def test_the_time_limit_of_a_gateway_is_observed(
    monkeypatch: pytest.MonkeyPatch,
    bailian: BailianEmulator,
    body: bytes,
    ending: str,
    *,
    is_limited: bool,
) -> None:
    app_id = bailian.replay(body, pause=0.25, abort=is_limited)
    connect(monkeypatch, bailian, app_id)
    outcome = hosts.measure_time_limit(LiveHarness(), app_id, 0.2)

    assert outcome.observation == (
        f"a plain POST ended after 0 s: {ending}; a stream ended after 0 s: {ending}"
    )
    assert outcome.matches_assumption is is_limited


def test_an_application_that_answers_within_the_time_limit_shows_nothing(
    monkeypatch: pytest.MonkeyPatch, bailian: BailianEmulator
) -> None:
    connect(monkeypatch, bailian, bailian.app_id)
    with pytest.raises(CheckSkipped, match="too soon"):
        hosts.measure_time_limit(LiveHarness(), bailian.app_id, 600)


def test_a_failed_check_reports_its_error(observe: Any, bailian: BailianEmulator) -> None:
    app = App("reset", faults=Faults.always("reset"))
    result = observe("unrequested-thoughts", app, bailian)
    del bailian.apps[app.app_id]

    assert result.verdict == "ended with an error"
    assert "RemoteProtocolError" in result.observation
