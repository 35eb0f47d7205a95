"""Faults of the network and the service around a background run."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app import BailianAppChatModel, errors
from langchain_bailian_app.emulator import BailianEmulator, RunFaults
from langchain_bailian_app.runs import BailianRun
from tests.integration_tests.runs.call_styles import both_styles, call, collect
from tests.raw_server import Connection, encode_response, respond_using, run_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    MakeModel = Callable[..., BailianAppChatModel]

MAY_EXIST = "the request was sent, so a run may exist"
KEY = "sk-planted-key"


@pytest.fixture
def bailian() -> Iterator[BailianEmulator]:
    with BailianEmulator() as emulator:
        yield emulator


# -- starting a run ----------------------------------------------------------------------------------


@both_styles
async def test_a_lost_reply_to_submit_is_an_error_that_is_not_retried(
    style: str, bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    bailian.runs.faults = RunFaults.always("create_reply_lost")
    with pytest.raises(errors.BailianConnectionError, match=MAY_EXIST) as caught:
        await call(style, make_run_model(), "submit", "?")

    assert not caught.value.is_retryable
    assert len(bailian.runs.started) == len(bailian.requests) == 1
    assert caught.value.__context__ is None


@both_styles
async def test_a_failure_of_the_service_at_submit_is_not_retried(
    style: str, bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    bailian.runs.faults = RunFaults.always("create_error")
    with pytest.raises(errors.BailianServerError, match=MAY_EXIST) as caught:
        await call(style, make_run_model(), "submit", "?")

    assert (caught.value.code, caught.value.status_code) == ("InternalError", 500)
    assert caught.value.request_id
    assert not caught.value.is_retryable
    assert len(bailian.requests) == 1


@both_styles
async def test_a_throttled_submit_starts_nothing_and_is_repeated(
    style: str, bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    bailian.runs.faults = RunFaults.always("create_throttled", times=1)
    run = await call(style, make_run_model(), "submit", "?")

    assert [request.status for request in bailian.requests] == [429, 200]
    assert list(bailian.runs.started) == [run.id]


@both_styles
async def test_a_submit_that_is_throttled_for_too_long_can_be_retried(
    style: str, bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    bailian.runs.faults = RunFaults.always("create_throttled")
    with pytest.raises(errors.BailianRateLimitError) as caught:
        await call(style, make_run_model(max_retries=1), "submit", "?")

    assert caught.value.is_retryable
    assert MAY_EXIST not in str(caught.value)


@both_styles
async def test_without_a_connection_nothing_runs(style: str) -> None:
    model = BailianAppChatModel(
        app_id="app", api_key="k", base_url="http://127.0.0.1:1/api/v1", max_retries=0
    )
    with pytest.raises(errors.BailianConnectionError) as caught:
        await call(style, model, "submit", "?")

    assert caught.value.is_retryable
    assert MAY_EXIST not in str(caught.value)


@both_styles
async def test_a_wrong_key_is_an_error_of_its_own(style: str, make_run_model: MakeModel) -> None:
    model = make_run_model(api_key="wrong")
    with pytest.raises(errors.BailianAuthenticationError) as caught:
        await call(style, model, "submit", "?")
    assert MAY_EXIST not in str(caught.value)
    with pytest.raises(errors.BailianAuthenticationError):
        await collect(style, [BailianRun.from_id("run", model=model)])


def make_response(body: Any, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n"
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return encode_response(content, head.encode())


async def submit_to_server(style: str, body: Any, **fields: Any) -> Any:
    with run_server(respond_using(lambda _: make_response(body))) as base_url:
        model = BailianAppChatModel(app_id="app", api_key=KEY, base_url=base_url, **fields)
        return await call(
            style, model, "submit", "?", biz_params={"user_defined_tokens": {"t": KEY + "t"}}
        )


@both_styles
@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"object": "response", "status": "queued"}, errors.BailianServerError),
        ({"object": "response", "id": "run-1", "status": KEY}, errors.BailianServerError),
        ({"object": "response", "id": "run-1", "status": f"{KEY}t"}, errors.BailianServerError),
        ({"ok": True}, errors.BailianServerError),
        (b"<html>", errors.BailianConnectionError),
        (b'{"object": "response", "id', errors.BailianStreamError),
    ],
)
async def test_an_unreadable_reply_to_submit_is_an_error(style: str, body: Any, error: Any) -> None:
    with pytest.raises(error, match=MAY_EXIST) as caught:
        await submit_to_server(style, body)

    assert not caught.value.is_retryable
    assert KEY not in str(caught.value) + repr(caught.value.body)


@both_styles
async def test_an_error_in_a_successful_response_is_an_error(style: str) -> None:
    with pytest.raises(errors.BailianAuthenticationError):
        await submit_to_server(style, {"code": "InvalidApiKey", "message": "wrong"})


@both_styles
async def test_a_run_that_has_failed_at_once_is_a_run(style: str) -> None:
    body = {"object": "response", "id": "run-1", "status": "failed", "error": {"message": f"{KEY} no"}}
    run = await submit_to_server(style, body)

    with pytest.raises(errors.BailianServerError, match=r"^run run-1 failed: \[removed\] no$"):
        await call(style, run, "result")


@both_styles
@pytest.mark.parametrize(
    ("output", "text"),
    [([], None), ([{"type": "message", "status": "incomplete", "content": "一"}], "一")],
)
async def test_a_completed_run_without_a_complete_answer_is_an_error(
    style: str, output: Any, text: str | None
) -> None:
    body = {"object": "response", "id": "run-1", "status": "completed", "output": output}
    run = await submit_to_server(style, body)
    with pytest.raises(errors.BailianStreamError, match="contains no complete message") as caught:
        await call(style, run, "result")

    partial = caught.value.partial
    assert (partial and partial.text) == text
    assert partial is None or "finish_reason" not in partial.response_metadata


@both_styles
async def test_unknown_fields_of_a_result_are_passed_on(style: str) -> None:
    message = {"type": "message", "content": [{"type": "output_text", "text": "好。"}]}
    body = {"object": "response", "id": "run-1", "status": "completed", "output": [message]}
    run = await submit_to_server(style, body | {"usage": {"total_tokens": 3}, "model": "qwen-max"})
    result = await call(style, run, "result")
    metadata = result.response_metadata
    assert metadata["extra"] == {"usage": {"total_tokens": 3}}
    assert metadata["model_name"] == "qwen-max"

    metadata["extra"]["usage"].clear()
    again = await call(style, run, "result")
    assert again.response_metadata["extra"] == {"usage": {"total_tokens": 3}}


# -- queries -----------------------------------------------------------------------------------------


@both_styles
@pytest.mark.parametrize("fault", ["retrieve_error", "retrieve_cut", "retrieve_throttled"])
async def test_a_query_is_repeated(
    style: str, fault: str, bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    run = await call(style, make_run_model(), "submit", "?")
    bailian.runs.faults = RunFaults.always(fault, times=2)
    assert await call(style, run, "status") == "completed"

    again = BailianRun.from_id(run.id, model=make_run_model(max_retries=1))
    bailian.runs.faults = RunFaults.always(fault)
    bailian.requests.clear()
    with pytest.raises(errors.BailianError) as caught:
        await call(style, again, "status")
    assert MAY_EXIST not in str(caught.value)
    if fault != "retrieve_cut":  # aiohttp repeats a query whose connection is dropped
        assert len(bailian.requests) == 2


@both_styles
@pytest.mark.parametrize("fault", ["retrieve_error", "retrieve_cut", "retrieve_throttled"])
async def test_failed_queries_do_not_end_a_wait(
    style: str, fault: str, bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    bailian.runs.faults = RunFaults.always(fault, times=4)
    run = await call(style, make_run_model(max_retries=0), "submit", "?")

    assert (await call(style, run, "result", 30)).text == "好。"


@both_styles
async def test_a_query_that_hangs_does_not_exceed_the_deadline(style: str) -> None:
    reply = make_response({"object": "response", "id": "run-1", "status": "queued"})

    def send_half(connection: Connection) -> None:
        connection.receive_request()
        connection.send(reply[: len(reply) // 2])
        connection.wait()

    with run_server(send_half) as base_url:
        run = BailianRun.from_id("run-1", app_id="app", api_key="k", base_url=base_url)
        with pytest.raises(errors.BailianTimeoutError, match=r"within 0.3 s \(`timeout`\)"):
            await call(style, run, "wait", 0.3)


async def test_an_abandoned_wait_cancels_the_queries_that_hang() -> None:
    def hang(connection: Connection) -> None:
        connection.receive_request()
        connection.wait()

    with run_server(hang) as base_url:
        run = BailianRun.from_id("run-1", app_id="app", api_key="k", base_url=base_url)
        started_at = time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(run.await_until_ended(), 0.2)
        assert time.monotonic() - started_at < 5  # without the cancellation, 30
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


@both_styles
async def test_the_state_of_another_run_is_an_error(style: str) -> None:
    body = {"object": "response", "id": "run-2", "status": "completed"}
    with run_server(respond_using(lambda _: make_response(body))) as base_url:
        run = BailianRun.from_id("run-1", app_id="app", api_key="k", base_url=base_url)
        with pytest.raises(errors.BailianServerError, match="expected the state of run run-1"):
            await call(style, run, "status")


@both_styles
async def test_a_final_status_stays(
    style: str, make_run_model: MakeModel, bailian: BailianEmulator
) -> None:
    run = await call(style, make_run_model(), "submit", "?")
    await call(style, run, "wait", 10)
    bailian.runs.started[run.id].status = "failed"

    assert await call(style, run, "status") == await call(style, run, "cancel") == "completed"


# -- cancel and delete -------------------------------------------------------------------------------


@both_styles
@pytest.mark.parametrize("reply", ["failed", "error"])
async def test_a_lost_reply_to_a_cancellation_is_handled(
    style: str, reply: Any, bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    bailian.runs.switches.cancel_ended = reply
    run = await call(style, make_run_model(app={"pace": 60.0}), "submit", "?")
    bailian.runs.faults = RunFaults.always("cancel_reply_lost", times=1)

    assert await call(style, run, "cancel") == "cancelled"


@both_styles
async def test_a_lost_reply_to_a_deletion_is_handled(
    style: str, bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    run = await call(style, make_run_model(), "submit", "?")
    await call(style, run, "wait", 10)
    bailian.runs.faults = RunFaults.always("delete_reply_lost", times=1)
    await call(style, run, "delete")

    assert run.id not in bailian.runs.started


@both_styles
async def test_a_refused_deletion_is_an_error(style: str) -> None:
    body = {"object": "response", "id": "run-1", "deleted": False}
    with run_server(respond_using(lambda _: make_response(body))) as base_url:
        run = BailianRun.from_id("run-1", app_id="app", api_key="k", base_url=base_url)
        with pytest.raises(errors.BailianServerError, match=r"^run run-1 was not deleted"):
            await call(style, run, "delete")


@both_styles
async def test_an_odd_reply_to_a_cancellation_is_followed_by_a_query(style: str) -> None:
    def respond(request: bytes) -> bytes:
        if request.startswith(b"POST"):
            return make_response({"object": "response", "status": "cancelling"})
        return make_response({"object": "response", "id": "run-1", "status": "running"})

    with run_server(respond_using(respond)) as base_url:
        run = BailianRun.from_id("run-1", app_id="app", api_key="k", base_url=base_url)
        assert await call(style, run, "cancel") == "running"
