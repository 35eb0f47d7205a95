"""`python -m langchain_bailian_app doctor`: one thing broken at a time, and it says which."""

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
from tests.fixtures import reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def doctor(
    bailian: BailianEmulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., dict[str, tuple[str, str]]]]:
    """Return a function that examines an application, and returns what each line says."""
    apps = set(bailian.apps)

    def examine(
        app: App | str, *arguments: str, at: BailianEmulator = bailian, **environment: str
    ) -> dict[str, tuple[str, str]]:
        app_id = app if isinstance(app, str) else at.add_app(app)
        usual = {
            "DASHSCOPE_API_KEY": at.api_key,
            "DASHSCOPE_BASE_URL": at.base_url,
            "BAILIAN_APP_ID": app_id,
        }
        for name, value in (usual | environment).items():
            monkeypatch.setenv(name, value)
        code = main(["doctor", *arguments])
        introduction, *lines = capsys.readouterr().out.splitlines()
        assert "2 questions at most" in introduction
        found = {check: (state, told) for state, check, told in (line.split(None, 2) for line in lines)}
        assert set(found) == set(checks.CHECKS)
        assert code == any(state == "wrong" for state, _ in found.values())
        return found

    yield examine
    for app_id in set(bailian.apps) - apps:
        del bailian.apps[app_id]


def wrong(found: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {check: told for check, (state, told) in found.items() if state == "wrong"}


def look(found: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {check: told for check, (state, told) in found.items() if state == "look"}


def test_a_healthy_application_is_found_healthy_with_two_calls(
    doctor: Any, bailian: BailianEmulator
) -> None:
    before = len(bailian.requests)

    found = doctor(bailian.app_id)

    assert {state for state, _ in found.values()} == {"ok"}
    assert len(bailian.requests) - before == 2


def test_it_starts_an_emulator_of_its_own_in_a_process_without_settings() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "langchain_bailian_app", "doctor", "--emulator"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )

    assert done.stderr == ""
    assert done.stdout.count("\nok ") == len(checks.CHECKS)


@pytest.mark.parametrize(
    ("environment", "check", "advice"),
    [
        ({"DASHSCOPE_API_KEY": ""}, "key", "DASHSCOPE_API_KEY"),
        ({"DASHSCOPE_API_KEY": "sk two"}, "key", "white space"),
        ({"BAILIAN_APP_ID": ""}, "application", "BAILIAN_APP_ID"),
        ({"BAILIAN_APP_ID": "a/b"}, "application", "is no id"),
        ({"DASHSCOPE_BASE_URL": "http://127.0.0.1:1/v1"}, "address", "/api/v1"),
        ({"DASHSCOPE_REGION": "nowhere"}, "address", "cn-beijing"),
    ],
)
def test_a_setting_that_cannot_work_is_told_without_a_call(
    doctor: Any,
    bailian: BailianEmulator,
    environment: dict[str, str],
    check: str,
    advice: str,
) -> None:
    before = len(bailian.requests)

    found = doctor(bailian.app_id, **environment)

    assert list(wrong(found)) == [check]
    assert advice in wrong(found)[check]
    assert len(bailian.requests) == before


@pytest.mark.parametrize(
    ("app", "check", "advice"),
    [
        (App("no"), "", ""),
        (App("unpublished", published=False), "application", "publish the application"),
        (App("elsewhere", workspace="ws-other"), "application", "workspace"),
        ("ffffffffffffffffffffffffffffffff", "application", "check `app_id`"),
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
def test_what_is_wrong_is_told_in_one_line_with_what_to_do(
    doctor: Any, app: App | str, check: str, advice: str
) -> None:
    found = doctor(app, "--timeout=0.2")

    assert list(wrong(found)) == ([check] if check else [])
    assert advice in wrong(found).get(check, "")


def test_a_wrong_key_is_told_and_not_shown(doctor: Any, bailian: BailianEmulator) -> None:
    found = doctor(bailian.app_id, DASHSCOPE_API_KEY="sk-planted-secret")

    assert list(wrong(found)) == ["key"]
    assert found["address"][0] == "ok"
    assert "planted" not in str(found)


def test_no_service_at_the_address_is_told(doctor: Any) -> None:
    with BailianEmulator() as gone:
        base_url = gone.base_url

    found = doctor("a", "--timeout=0.2", DASHSCOPE_BASE_URL=base_url)

    assert list(wrong(found)) == ["address"]


def test_the_workspace_in_use_is_told(doctor: Any) -> None:
    found = doctor(App("ours", workspace="ws-1"), DASHSCOPE_WORKSPACE="ws-1")

    assert found["workspace"] == ("ok", "ws-1, accepted")


def test_what_may_be_meant_is_to_be_looked_at(doctor: Any, bailian: BailianEmulator) -> None:
    bases = bailian.apps[bailian.app_id].knowledge_bases

    assert set(look(doctor(App("plain")))) == {"thoughts", "references"}
    assert set(look(doctor(App("never", knowledge_bases=bases, never_thoughts=True)))) == {"thoughts"}
    hidden = look(doctor(App("hidden", knowledge_bases=bases, show_references=False)))
    assert "展示回答来源" in hidden["references"]
    nothing = look(doctor(App("nothing", knowledge_bases=bases), "--question=qwertz"))
    assert "--question" in nothing["references"]
    assert "without any text" in look(doctor(App("silent", answer="")))["application"]


def test_strict_takes_what_is_to_be_looked_at_for_wrong(bailian: BailianEmulator, doctor: Any) -> None:
    doctor(bailian.add_app(App("plain", app_id="plain")))
    try:
        assert main(["doctor", "--strict"]) == 1
    finally:
        del bailian.apps["plain"]


def test_an_answer_without_a_stream_is_seen(doctor: Any, bailian: BailianEmulator) -> None:
    plain = bailian.replay(
        json.dumps(reply("一二三四五六七八九十", "stop")).encode(), content_type="application/json"
    )

    assert "one piece" in look(doctor(plain))["streaming"]


def test_a_stream_that_a_proxy_collects_is_seen() -> None:
    answer = AIMessage("一二三四五六七八九十", response_metadata={"model_name": "m"})
    at_once = checks.Heard(answer, pieces=9, first=5.0, seconds=5.02)
    paced = checks.Heard(answer, pieces=9, first=1.0, seconds=5.02)

    states = [
        {finding.check: finding.state for finding in checks.of_answer(heard, "u", None)}["streaming"]
        for heard in (at_once, paced)
    ]
    assert states == ["look", "ok"]


def test_a_workflow_shows_its_nodes_and_takes_its_variables(doctor: Any) -> None:
    refused = doctor(WORKFLOW_APP_ID)
    found = doctor(WORKFLOW_APP_ID, '--biz-params={"city": "杭州"}')

    assert "city" in wrong(refused)["application"]
    assert wrong(found) == {}
    assert found["thoughts"] == ("ok", "4 node(s); 36 characters of reasoning")


def test_a_session_that_is_not_kept_is_told(doctor: Any) -> None:
    task = App("task", kind="workflow", dialog=False)

    assert "对话型" in wrong(doctor(task))["sessions"]


@pytest.mark.parametrize(("unknown", "told"), [("error", "refused"), ("new", "another session")])
def test_a_session_that_is_forgotten_is_told(doctor: Any, unknown: Any, told: str) -> None:
    hours = itertools.count(step=3600.0)
    with BailianEmulator(clock=lambda: next(hours), unknown_session=unknown) as forgets:
        found = doctor(App("forgets"), at=forgets)

    assert told in wrong(found)["sessions"]


def test_variables_that_are_no_json_are_refused_with_an_example(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "--biz-params", "city=杭州"])

    assert """'city=杭州' is no JSON object of variables, as '{"city": "杭州"}' is""" in (
        capsys.readouterr().err
    )
