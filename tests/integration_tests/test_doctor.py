"""Tests of `python -m langchain_bailian_app doctor`, each with one broken setting or application."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage

from langchain_bailian_app.__main__ import main
from langchain_bailian_app._doctor import checks
from langchain_bailian_app.emulator import App, BailianEmulator, ErrorReply, Faults
from langchain_bailian_app.emulator._apps.samples import WORKFLOW_APP_ID
from langchain_bailian_app.errors import BailianPermissionError
from tests.fixtures import frame_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def doctor(
    bailian: BailianEmulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., dict[str, tuple[str, str]]]]:
    """Return a function that checks an application and returns the state and message of each check."""
    existing_apps = set(bailian.apps)

    def run_doctor(
        app: App | str, *arguments: str, emulator: BailianEmulator = bailian, **environment: str
    ) -> dict[str, tuple[str, str]]:
        app_id = app if isinstance(app, str) else emulator.add_app(app)
        defaults = {
            "DASHSCOPE_API_KEY": emulator.api_key,
            "DASHSCOPE_BASE_URL": emulator.base_url,
            "BAILIAN_APP_ID": app_id,
        }
        for name, value in (defaults | environment).items():
            monkeypatch.setenv(name, value)
        code = main(["doctor", *arguments])
        introduction, *lines = capsys.readouterr().out.splitlines()
        assert "at most 2 questions" in introduction
        results = {
            check: (state, message) for state, check, message in (line.split(None, 2) for line in lines)
        }
        assert set(results) == set(checks.CHECKS)
        assert code == any(state == "fail" for state, _ in results.values())
        return results

    yield run_doctor
    for app_id in set(bailian.apps) - existing_apps:
        del bailian.apps[app_id]


def find_failures(results: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {check: message for check, (state, message) in results.items() if state == "fail"}


def find_warnings(results: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {check: message for check, (state, message) in results.items() if state == "warn"}


def test_a_healthy_application_passes_every_check_with_two_calls(
    doctor: Any, bailian: BailianEmulator
) -> None:
    request_count = len(bailian.requests)

    results = doctor(bailian.app_id)

    assert {state for state, _ in results.values()} == {"ok"}
    assert len(bailian.requests) - request_count == 2


@pytest.mark.slow
def test_it_starts_its_own_emulator_in_a_process_without_settings() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "langchain_bailian_app", "doctor", "--emulator"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )

    assert process.stderr == ""
    assert process.stdout.count("\nok ") == len(checks.CHECKS)


@pytest.mark.parametrize(
    ("environment", "check", "advice"),
    [
        ({"DASHSCOPE_API_KEY": ""}, "key", "DASHSCOPE_API_KEY"),
        ({"DASHSCOPE_API_KEY": "sk two"}, "key", "contains whitespace"),
        ({"BAILIAN_APP_ID": ""}, "application", "BAILIAN_APP_ID"),
        ({"BAILIAN_APP_ID": "a/b"}, "application", "invalid `app_id`"),
        ({"DASHSCOPE_BASE_URL": "http://127.0.0.1:1/v1"}, "address", "/api/v1"),
        ({"DASHSCOPE_REGION": "nowhere"}, "address", "cn-beijing"),
        (
            {"DASHSCOPE_BASE_URL": "", "DASHSCOPE_REGION": "us-east-1"},
            "address",
            "not offered in us-east-1",
        ),
        (
            {"DASHSCOPE_BASE_URL": "", "DASHSCOPE_REGION": "eu-central-1"},
            "address",
            "DASHSCOPE_WORKSPACE",
        ),
    ],
)
def test_an_invalid_setting_is_reported_without_a_call(
    doctor: Any,
    bailian: BailianEmulator,
    environment: dict[str, str],
    check: str,
    advice: str,
) -> None:
    request_count = len(bailian.requests)

    results = doctor(bailian.app_id, **environment)

    assert list(find_failures(results)) == [check]
    assert advice in find_failures(results)[check]
    assert len(bailian.requests) == request_count


@pytest.mark.parametrize(
    ("app", "check", "advice"),
    [
        (App("no"), "", ""),
        (App("unpublished", published=False), "application", "publish the application"),
        (App("elsewhere", workspace="ws-other"), "application", "workspace"),
        ("ffffffffffffffffffffffffffffffff", "application", "check that `app_id`"),
        (App("ws", error=ErrorReply.of("Workspace.AccessDenied")), "workspace", "DASHSCOPE_WORKSPACE"),
        (WORKFLOW_APP_ID, "application", "--biz-params"),
        (App("bill", error=ErrorReply.of("Arrearage")), "application", "balance"),
        (App("plugin", error=ErrorReply.of("InvokePluginFailed")), "application", "try again later"),
        (App("redirect", faults=Faults.always("redirect")), "address", "elsewhere.example"),
        (App("reset", faults=Faults.always("reset")), "address", "check the network"),
        (App("stall", faults=Faults.always("stall-later")), "streaming", "--timeout"),
        (App("cut", faults=Faults.always("cut-mid-frame")), "streaming", "proxy"),
        (App("no end", faults=Faults.always("no-finish-reason")), "streaming", "accept_missing_stop"),
    ],
    ids=lambda value: value.name if isinstance(value, App) else None,
)
def test_a_failure_is_reported_in_one_line_with_advice(
    doctor: Any, app: App | str, check: str, advice: str
) -> None:
    results = doctor(app, "--timeout=0.2")

    assert list(find_failures(results)) == ([check] if check else [])
    assert advice in find_failures(results).get(check, "")


def test_a_wrong_key_is_reported_but_not_shown(doctor: Any, bailian: BailianEmulator) -> None:
    results = doctor(bailian.app_id, DASHSCOPE_API_KEY="sk-planted-secret")

    assert list(find_failures(results)) == ["key"]
    assert results["address"][0] == "ok"
    assert "planted" not in str(results)


@pytest.mark.parametrize(
    ("host", "notes"),
    [
        ("dashscope.aliyuncs.com", ["a request may take 600 s (documented for models, unverified"]),
        ("ws-1.cn-beijing.maas.aliyuncs.com", ["a request may take 3,600 s"]),
        ("dashscope-intl.aliyuncs.com", ["a request may take 600 s", "before 2025-04-21"]),
        ("ws-1.ap-southeast-1.maas.aliyuncs.com", ["3,600 s", "before 2025-04-21"]),
        ("private.example", []),
    ],
)
def test_the_documented_restrictions_of_an_address_are_reported(host: str, notes: list[str]) -> None:
    base_url = f"https://{host}/api/v1"
    answer = checks.TimedAnswer(AIMessage("", response_metadata={"model_name": "m"}), 0, 1.0, 1.0)
    refusal = BailianPermissionError("no access", code="App.AccessDenied", status_code=403)

    address = checks.from_answer(answer, base_url, None)[0].message
    failure = checks.from_error(refusal, base_url)[-1]

    assert address.startswith(base_url)
    assert all(note in address for note in notes)
    assert bool(notes) is (address != base_url)
    assert failure.check == "application"
    assert ("before 2025-04-21" in failure.message) is ("before 2025-04-21" in notes)


def test_an_unreachable_address_is_reported(doctor: Any) -> None:
    with BailianEmulator() as stopped:
        base_url = stopped.base_url

    results = doctor("a", "--timeout=0.2", DASHSCOPE_BASE_URL=base_url)

    assert list(find_failures(results)) == ["address"]


def test_the_workspace_in_use_is_reported(doctor: Any) -> None:
    results = doctor(App("ours", workspace="ws-1"), DASHSCOPE_WORKSPACE="ws-1")

    assert results["workspace"] == ("ok", "ws-1, accepted")


def test_possibly_intended_settings_are_warnings(doctor: Any, bailian: BailianEmulator) -> None:
    knowledge_bases = bailian.apps[bailian.app_id].knowledge_bases

    assert set(find_warnings(doctor(App("plain")))) == {"thoughts", "references"}
    assert set(
        find_warnings(doctor(App("never", knowledge_bases=knowledge_bases, never_thoughts=True)))
    ) == {"thoughts"}
    hidden_references = find_warnings(
        doctor(App("hidden", knowledge_bases=knowledge_bases, show_references=False))
    )
    assert "展示回答来源" in hidden_references["references"]
    no_hits = find_warnings(
        doctor(App("nothing", knowledge_bases=knowledge_bases), "--question=qwertz")
    )
    assert "--question" in no_hits["references"]
    assert "without any text" in find_warnings(doctor(App("silent", answer="")))["application"]


def test_control_characters_of_the_service_do_not_reach_the_terminal(
    doctor: Any, bailian: BailianEmulator
) -> None:
    escape = "\x1b]0;title\x07\x1b[2J\u202e"
    reply = json.dumps({"code": escape, "message": f"red\n{escape}", "request_id": escape}).encode()
    answer = frame_body("好", "stop") | {"usage": {"models": [{"model_id": f"model\n{escape}"}]}}
    replies = [
        bailian.replay(reply, status=400, content_type="application/json"),
        bailian.replay(json.dumps(answer).encode(), content_type="application/json"),
    ]

    texts = [str(doctor(app_id)["application"][1]) for app_id in replies]

    assert "red" in texts[0]
    assert "model" in texts[1]
    assert not set("\x1b\x07\u202e") & set("".join(texts))


def test_strict_treats_warnings_as_failures(bailian: BailianEmulator, doctor: Any) -> None:
    doctor(bailian.add_app(App("plain", app_id="plain")))
    try:
        assert main(["doctor", "--strict"]) == 1
    finally:
        del bailian.apps["plain"]


def test_an_answer_that_is_not_streamed_is_noticed(doctor: Any, bailian: BailianEmulator) -> None:
    app_id = bailian.replay(
        json.dumps(frame_body("一二三四五六七八九十", "stop")).encode(), content_type="application/json"
    )

    assert "one piece" in find_warnings(doctor(app_id))["streaming"]


def test_a_stream_buffered_by_a_proxy_is_noticed() -> None:
    answer = AIMessage("一二三四五六七八九十", response_metadata={"model_name": "m"})
    buffered = checks.TimedAnswer(answer, text_chunks=9, first_chunk_seconds=5.0, total_seconds=5.02)
    paced = checks.TimedAnswer(answer, text_chunks=9, first_chunk_seconds=1.0, total_seconds=5.02)

    states = [
        {result.check: result.state for result in checks.from_answer(timed, "u", None)}["streaming"]
        for timed in (buffered, paced)
    ]
    assert states == ["warn", "ok"]


def test_a_workflow_reports_its_nodes_and_accepts_its_variables(doctor: Any) -> None:
    refused = doctor(WORKFLOW_APP_ID)
    results = doctor(WORKFLOW_APP_ID, '--biz-params={"city": "杭州"}')

    assert "city" in find_failures(refused)["application"]
    assert find_failures(results) == {}
    assert results["thoughts"] == ("ok", "4 node(s); 36 characters of reasoning")


def test_a_session_that_is_not_kept_is_reported(doctor: Any) -> None:
    task = App("task", kind="workflow", dialog=False)

    assert "对话型" in find_failures(doctor(task))["sessions"]


@pytest.mark.parametrize(
    ("unknown", "message"), [("error", "second turn failed"), ("new", "another session")]
)
def test_a_session_that_is_forgotten_is_reported(doctor: Any, unknown: Any, message: str) -> None:
    hours = itertools.count(step=3600.0)
    with BailianEmulator(clock=lambda: next(hours), unknown_session=unknown) as emulator:
        results = doctor(App("forgets"), emulator=emulator)

    assert message in find_failures(results)["sessions"]


def test_variables_that_are_not_json_are_refused_with_an_example(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "--biz-params", '{"user_defined_tokens": {"tool": "planted-token"}'])

    output = capsys.readouterr().err
    assert """expected a JSON object with variables, like '{"city": "杭州"}'""" in output
    assert "planted-token" not in output
