"""The Responses route of applications, as any client sees it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from langchain_bailian_app.emulator import App, BailianEmulator, ErrorReply, RunFaults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clock import Clock


@pytest.fixture
def bailian(clock: Clock) -> Iterator[BailianEmulator]:
    with BailianEmulator(seed_apps=False, clock=clock) as emulator:
        yield emulator


def send(
    bailian: BailianEmulator, method: str, app_id: str, path: str = "", body: Any = None, **headers: str
) -> httpx.Response:
    root = bailian.base_url.removesuffix("/api/v1")
    url = f"{root}/api/v2/apps/agent/{app_id}/compatible-mode/v1/responses{path}"
    all_headers = {"Authorization": f"Bearer {bailian.api_key}"} | headers
    return httpx.request(method, url, json=body, headers=all_headers, trust_env=False)


def start(bailian: BailianEmulator, app_id: str, question: Any = "?", **fields: Any) -> httpx.Response:
    return send(bailian, "POST", app_id, body={"input": question, "background": True} | fields)


def wait(bailian: BailianEmulator, app_id: str, run_id: str) -> dict[str, Any]:
    for _ in range(200):
        reply: dict[str, Any] = send(bailian, "GET", app_id, f"/{run_id}").json()
        if reply["status"] in ("completed", "failed", "cancelled"):
            return reply
        time.sleep(0.01)
    raise AssertionError


def test_a_run_has_the_replies_of_the_documentation(bailian: BailianEmulator) -> None:
    bailian.runs.queue_seconds = 0.1
    app_id = bailian.add_app(App("app", answer="好。"))
    queued = start(bailian, app_id).json()
    run_id = queued["id"]
    common = {
        "id": run_id,
        "object": "response",
        "created_at": queued["created_at"],
        "model": "",
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
    }
    assert queued == common | {"status": "queued", "output": []}

    completed = wait(bailian, app_id, run_id)
    text = {"type": "output_text", "text": "好。", "annotations": []}
    message = {"id": f"msg_{run_id}", "type": "message", "role": "assistant", "status": "completed"}
    assert completed == common | {"status": "completed", "output": [message | {"content": [text]}]}

    deleted = send(bailian, "DELETE", app_id, f"/{run_id}").json()
    assert deleted == {"id": run_id, "deleted": True, "object": "response"}
    gone = send(bailian, "GET", app_id, f"/{run_id}")
    assert (gone.status_code, gone.json()["code"]) == (404, "NotFound")


def test_a_cancelled_run_does_not_ask_the_application(bailian: BailianEmulator) -> None:
    questions: list[str] = []
    app_id = bailian.add_app(App("app", answer=lambda turn: questions.append(turn.prompt) or "好。"))
    bailian.runs.queue_seconds = 0.2
    run_id = start(bailian, app_id).json()["id"]

    assert send(bailian, "POST", app_id, f"/{run_id}/cancel").json()["status"] == "cancelled"
    assert start(bailian, app_id, "second").status_code == 200
    time.sleep(0.4)
    assert questions == ["second"]
    assert send(bailian, "GET", app_id, f"/{run_id}").json()["status"] == "cancelled"
    assert send(bailian, "POST", app_id, f"/{run_id}/cancel").json()["status"] == "failed"


def test_a_script_that_fails_makes_its_run_fail(bailian: BailianEmulator) -> None:
    app_id = bailian.add_app(App("app", answer=lambda _: 1 / 0))  # type: ignore[arg-type,return-value]
    reply = wait(bailian, app_id, start(bailian, app_id).json()["id"])

    assert reply["status"] == "failed"
    assert reply["output"]["code"] == "AppProcessFailed"
    assert "ZeroDivisionError" in reply["output"]["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"input": "?"}, "background runs only"),
        ({"input": "?", "background": True, "stream": True}, "background and stream"),
        ({"background": True}, "input must be a string or a list"),
        ({"input": [], "background": True}, "input must be a string or a list"),
        ({"input": [{"role": "tool", "content": "?"}], "background": True}, "with a role among"),
        ({"input": [{"role": "user", "content": 5}], "background": True}, "content must be a string"),
        ({"input": [{"role": "user", "content": ["?"]}], "background": True}, "content must be a list"),
        ({"input": [{"role": "system", "content": "?"}], "background": True}, "role of user"),
        ({"input": "?", "background": True, "biz_params": []}, "biz_params must be an object"),
    ],
)
def test_invalid_requests_are_rejected(bailian: BailianEmulator, body: Any, message: str) -> None:
    app_id = bailian.add_app(App("app", answer="好。"))
    response = send(bailian, "POST", app_id, body=body)

    assert response.status_code == 400
    assert message in response.json()["message"]
    assert not bailian.runs.started


def test_workflows_reject_prompt_variables_and_missing_variables(bailian: BailianEmulator) -> None:
    app_id = bailian.add_app(App("flow", kind="workflow", variables={"city": str}))

    assert start(bailian, app_id).status_code == 400
    assert start(bailian, app_id, biz_params={"user_prompt_params": {}}).status_code == 400
    assert start(bailian, app_id, biz_params={"city": "杭州"}).status_code == 200


def test_keys_and_applications_are_checked(bailian: BailianEmulator) -> None:
    app_id = bailian.add_app(App("app", answer="好。", workspace="ws"))
    body = {"input": "?", "background": True}

    assert send(bailian, "POST", app_id, body=body, Authorization="Bearer wrong").status_code == 401
    assert send(bailian, "POST", app_id, body=body).status_code == 403
    accepted = send(bailian, "POST", app_id, body=body, **{"X-DashScope-WorkSpace": "ws"})
    assert accepted.status_code == 200


def test_an_error_of_the_application_rejects_the_request_or_fails_the_run(
    bailian: BailianEmulator,
) -> None:
    app = App("app", answer="好。", error=ErrorReply.of("Throttling.RateQuota", times=1))
    bailian.add_app(app)
    assert start(bailian, app.app_id).status_code == 429
    assert wait(bailian, app.app_id, start(bailian, app.app_id).json()["id"])["status"] == "completed"

    app.error = ErrorReply.of("ModelServiceFailed", times=1)
    assert wait(bailian, app.app_id, start(bailian, app.app_id).json()["id"])["status"] == "failed"


def test_faults_are_injected_into_each_step(bailian: BailianEmulator) -> None:
    app_id = bailian.add_app(App("app", answer="好。"))
    bailian.runs.faults = RunFaults.always("run_failed", times=1)
    run_id = start(bailian, app_id).json()["id"]
    assert wait(bailian, app_id, run_id)["status"] == "failed"
    for fault, status in (("retrieve_error", 500), ("retrieve_throttled", 429)):
        bailian.runs.faults = RunFaults.always(fault)
        assert send(bailian, "GET", app_id, f"/{run_id}").status_code == status
    bailian.runs.faults = RunFaults.always("retrieve_cut")
    with pytest.raises(httpx.RemoteProtocolError):
        send(bailian, "GET", app_id, f"/{run_id}")
    with pytest.raises(ValueError, match="unknown fault 'x'"):
        RunFaults({"x": 1.0})


def test_queries_can_be_limited(bailian: BailianEmulator, clock: Clock) -> None:
    app_id = bailian.add_app(App("app", answer="好。"))
    run_id = start(bailian, app_id).json()["id"]
    bailian.runs.switches.queries_per_second = 2

    statuses = [send(bailian, "GET", app_id, f"/{run_id}").status_code for _ in range(3)]
    clock.now = 1.0
    statuses.append(send(bailian, "GET", app_id, f"/{run_id}").status_code)
    assert statuses == [200, 200, 429, 200]


def test_runs_are_recorded_without_secrets_and_reset(bailian: BailianEmulator) -> None:
    app_id = bailian.add_app(App("app", answer="好。"))
    tokens = {"a": {"user_token": "secret-a"}}
    start(bailian, app_id, biz_params={"user_defined_tokens": tokens})
    (request,) = bailian.requests

    assert request.app_id == app_id
    assert request.body["biz_params"]["user_defined_tokens"] == {"a": {"user_token": "[removed]"}}
    bailian.reset()
    assert not bailian.runs.started
