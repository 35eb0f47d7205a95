"""Background runs from start to end, with each behavior that no source settles."""

from __future__ import annotations

import asyncio
import copy
import pickle
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.rate_limiters import InMemoryRateLimiter

from langchain_bailian_app import BailianAppChatModel, BailianRetriever, BizParams, errors
from langchain_bailian_app.emulator import App, BailianEmulator, ErrorReply, Reply
from langchain_bailian_app.runs import BailianRun, as_completed
from tests.integration_tests.runs.call_styles import both_styles, call, collect

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app.emulator import Turn
    from tests.clock import Clock

    MakeModel = Callable[..., BailianAppChatModel]

TOKEN = "user-token-123456"


# -- answers -----------------------------------------------------------------------------------------


@both_styles
async def test_a_run_returns_the_answer_of_the_application(
    style: str, bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    model = make_run_model(lambda turn: f"答：{turn.prompt}")
    run = await call(style, model, "submit", "几点？")
    message = await call(style, run, "result", 10)

    assert isinstance(message, AIMessage)
    assert message.text == "答：几点？"
    assert message.id == run.id
    assert message.usage_metadata is None
    created_at = message.response_metadata.pop("created_at")
    assert abs(created_at - time.time()) < 60
    assert message.response_metadata == {
        "model_provider": "bailian",
        "model_name": model.app_id,
        "app_id": model.app_id,
        "run_id": run.id,
        "finish_reason": "stop",
    }
    (submitted,) = [request for request in bailian.requests if request.method == "POST"]
    assert submitted.path == f"/api/v2/apps/agent/{model.app_id}/compatible-mode/v1/responses"
    assert submitted.body == {"input": "几点？", "background": True}


@both_styles
async def test_repeated_results_are_equal_and_send_nothing(
    style: str, bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    run = await call(style, make_run_model(), "submit", "?")
    first = await call(style, run, "result", 10)
    count = len(bailian.requests)

    assert await call(style, run, "result") == first
    assert await call(style, run, "status") == "completed"
    assert len(bailian.requests) == count
    first.content = "changed"
    assert (await call(style, run, "result")).text == "好。"


@both_styles
@pytest.mark.parametrize("form", ["content", "summary"])
async def test_reasoning_is_read_in_each_form(
    style: str, form: Any, bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    bailian.runs.switches.reasoning = form
    model = make_run_model(lambda _: Reply("好。", reasoning="想一想。"), {"thinking": "on"})
    message = await call(style, await call(style, model, "submit", "?"), "result", 10)

    assert [block["type"] for block in message.content_blocks] == ["reasoning", "text"]
    assert message.additional_kwargs["reasoning_content"] == "想一想。"


@both_styles
@pytest.mark.parametrize("word", ["running", "in_progress"])
async def test_both_words_for_running_are_understood(
    style: str, word: Any, bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    bailian.runs.switches.running_word = word
    run = await call(style, make_run_model(app={"pace": 5.0}), "submit", "?")
    await asyncio.sleep(0.05)

    assert await call(style, run, "status") == "running"


async def test_a_queued_run_is_not_running(bailian: BailianEmulator, make_run_model: MakeModel) -> None:
    bailian.runs.queue_seconds = 60.0
    run = make_run_model().submit("?")

    assert run.status() == await run.astatus() == "queued"
    assert repr(run) == f"BailianRun(id={run.id!r}, app_id={run.app_id!r}, status='queued')"


@both_styles
async def test_settings_for_the_text_apply_to_results(style: str, make_run_model: MakeModel) -> None:
    answer = "一<ref>[1]</ref>。二。"
    model = make_run_model(answer, citation_markers="bracket")
    run = await call(style, model, "submit", "?", stop=["二"])
    again = BailianRun.from_id(run.id, model=model)
    plain = BailianRun.from_id(
        run.id, app_id=model.app_id, base_url=model.base_url, api_key=model.api_key, stop=["。"]
    )

    assert (await call(style, run, "result", 10)).text == "一[1]。"
    assert (await call(style, again, "result", 10)).text == "一[1]。二。"
    assert (await call(style, plain, "result", 10)).text == "一"


def test_a_conversation_images_and_variables_reach_the_application(
    bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    turns: list[Turn] = []

    def answer(turn: Turn) -> str:
        turns.append(turn)
        return "好。"

    image = {"type": "image", "url": "https://files.example/cat.png"}
    messages = [
        HumanMessage("你好"),
        AIMessage("好。"),
        HumanMessage([{"type": "text", "text": "这是什么？"}, image]),
    ]
    params = {"user_prompt_params": {"city": "杭州"}, "user_defined_tokens": {"tool": TOKEN}}
    model = make_run_model(answer, {"system": "城市：${city}"})
    model.submit(messages, biz_params=params, file_list="https://f.example/a.pdf").result(10)

    (turn,) = turns
    assert (turn.prompt, turn.history) == ("这是什么？", (("你好", "好。"),))
    assert (turn.images, turn.files) == ((image["url"],), ("https://f.example/a.pdf",))
    assert turn.system == "城市：杭州"
    assert turn.biz_params["user_defined_tokens"] == {"tool": {"user_token": TOKEN}}
    assert TOKEN not in repr(bailian.requests)


def test_a_workflow_runs_in_the_background(make_run_model: MakeModel) -> None:
    model = make_run_model(
        lambda turn: f"{turn.biz_params['city']}晴。",
        {"kind": "workflow", "variables": {"city": str}},
        biz_params=BizParams(city="杭州"),
    )
    assert model.submit("天气如何？").result(10).text == "杭州晴。"
    with pytest.raises(errors.BailianRequestError, match="input_file is only supported by agents"):
        model.submit("天气如何？", file_list=["https://f.example/a.pdf"])


def test_a_call_overrides_a_setting_that_runs_cannot_have(make_run_model: MakeModel) -> None:
    model = make_run_model(history="session")

    assert model.submit("?", history="messages").result(10).text == "好。"


def test_a_bound_model_starts_runs_with_its_options(make_run_model: MakeModel) -> None:
    model = make_run_model("一。二。").bind(stop=["二"])

    assert model.submit("?").result(10).text == "一。"


# -- failures ----------------------------------------------------------------------------------------


@both_styles
@pytest.mark.parametrize("shape", ["output", "items", "error", "flat"])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("AppProcessFailed", errors.BailianServerError),
        ("InternalError.Timeout", errors.BailianTimeoutError),
    ],
)
async def test_a_failed_run_raises_the_error_of_its_code(
    style: str,
    shape: Any,
    code: str,
    expected: Any,
    bailian: BailianEmulator,
    make_run_model: MakeModel,
) -> None:
    bailian.runs.switches.failed_shape = shape
    model = make_run_model(app={"error": ErrorReply.of(code, message="boom")})
    run = await call(style, model, "submit", "?")
    caught = []
    for _ in range(2):
        with pytest.raises(expected, match=rf"^run {run.id} failed: boom") as error:
            await call(style, run, "result", 10)
        caught.append(error.value)

    assert await call(style, run, "status") == "failed"
    assert [error.code for error in caught] == [code, code]
    assert {error.is_retryable for error in caught} == {False}
    assert str(caught[0]) == str(caught[1])


@pytest.mark.parametrize(
    ("shape", "message"),
    [("text", "AppProcessFailed: boom"), ("none", "the service gave no reason")],
)
def test_a_failed_run_without_a_known_code_is_a_server_error(
    shape: Any, message: str, bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    bailian.runs.switches.failed_shape = shape
    error = ErrorReply.of("AppProcessFailed", message="boom")
    run = make_run_model(app={"error": error}).submit("?")
    with pytest.raises(errors.BailianServerError, match=message) as caught:
        run.result(10)

    assert (caught.value.code, caught.value.status_code) == (None, None)


def test_secrets_are_removed_from_the_error_of_a_failed_run(
    bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    error = ErrorReply.of("AppProcessFailed", message=f"{bailian.api_key} {TOKEN}")
    model = make_run_model(app={"error": error})
    run = model.submit("?", biz_params={"user_defined_tokens": {"tool": TOKEN}})
    with pytest.raises(errors.BailianServerError, match=r"\[removed\] \[removed\]") as caught:
        run.result(10)

    assert TOKEN not in repr(caught.value.body)
    assert bailian.api_key not in repr(caught.value.body)
    assert TOKEN not in repr(vars(run)) + repr(pickle.dumps(run))


def test_an_error_of_the_application_that_rejects_the_request_is_raised_by_submit(
    make_run_model: MakeModel,
) -> None:
    model = make_run_model(app={"error": ErrorReply.of("DataInspectionFailed")})
    with pytest.raises(errors.BailianContentFilterError):
        model.submit("?")


@both_styles
@pytest.mark.parametrize("method", ["status", "result", "cancel", "delete", "wait"])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("NotFound", errors.BailianNotFoundError),
        ("InvalidParameter", errors.BailianRequestError),
    ],
)
async def test_an_unknown_run_is_an_error(
    style: str,
    method: str,
    code: Any,
    expected: Any,
    bailian: BailianEmulator,
    make_run_model: MakeModel,
) -> None:
    bailian.runs.switches.unknown_id = code
    run = BailianRun.from_id("unknown", model=make_run_model())
    with pytest.raises(expected, match="Response unknown not found"):
        await call(style, run, method)


def test_the_run_of_another_application_is_unknown(make_run_model: MakeModel) -> None:
    run = make_run_model().submit("?")
    with pytest.raises(errors.BailianNotFoundError):
        BailianRun.from_id(run.id, model=make_run_model()).status()


async def test_a_run_is_gone_after_its_retention(
    bailian: BailianEmulator, make_run_model: MakeModel, clock: Clock
) -> None:
    bailian.runs.switches.retention = 3600.0
    model = make_run_model()
    run = model.submit("?")
    assert run.wait(10) == "completed"
    clock.now = 3601.0

    assert run.result().text == "好。"  # received before
    again = BailianRun.from_id(run.id, model=model)
    assert await collect("async", [again]) == [again]
    with pytest.raises(errors.BailianNotFoundError):
        again.result()


# -- cancel and delete -------------------------------------------------------------------------------


@both_styles
async def test_a_running_run_is_cancelled(
    style: str, bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    run = await call(style, make_run_model(app={"pace": 60.0}), "submit", "?")

    assert await call(style, run, "cancel") == "cancelled"
    assert bailian.runs.started[run.id].status == "cancelled"
    with pytest.raises(
        errors.BailianRunCancelledError, match=rf"^run {run.id} was cancelled$"
    ) as caught:
        await call(style, run, "result")
    assert not caught.value.is_retryable


@both_styles
@pytest.mark.parametrize("reply", ["failed", "error"])
async def test_cancelling_a_run_that_has_ended_returns_its_real_status(
    style: str, reply: Any, bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    bailian.runs.switches.cancel_ended = reply
    model = make_run_model()
    run = await call(style, model, "submit", "?")
    again = BailianRun.from_id(run.id, model=model)  # it does not know that the run has ended
    await call(style, run, "wait", 10)

    assert await call(style, again, "cancel") == "completed"
    assert (await call(style, again, "result")).text == "好。"


@both_styles
async def test_a_rejected_cancellation_of_a_run_that_goes_on_is_an_error(
    style: str, bailian: BailianEmulator, make_run_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    bailian.runs.switches.cancel_ended = "error"
    run = await call(style, make_run_model(app={"pace": 60.0}), "submit", "?")
    stored = bailian.runs.started[run.id]
    monkeypatch.setattr(type(stored), "has_ended", True)  # the service rejects what is possible
    with pytest.raises(errors.BailianRequestError, match="cannot be cancelled"):
        await call(style, run, "cancel")


@both_styles
async def test_an_ended_run_is_deleted_and_a_running_one_is_not(
    style: str, bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    model = make_run_model()
    run = await call(style, model, "submit", "?")
    await call(style, run, "wait", 10)
    await call(style, run, "delete")
    slow = await call(style, make_run_model(app={"pace": 60.0}), "submit", "?")

    assert run.id not in bailian.runs.started
    assert (await call(style, run, "result")).text == "好。"
    with pytest.raises(errors.BailianRequestError, match="has not ended"):
        await call(style, slow, "delete")


# -- waiting -----------------------------------------------------------------------------------------


@both_styles
@pytest.mark.parametrize("method", ["wait", "result"])
async def test_a_deadline_ends_the_wait_but_not_the_run(
    style: str, method: str, make_run_model: MakeModel
) -> None:
    run = await call(style, make_run_model(app={"pace": 0.15}), "submit", "?")
    started_at = time.monotonic()
    with pytest.raises(errors.BailianTimeoutError, match=rf"^run {run.id} has not ended within 0.1 s"):
        await call(style, run, method, 0.1)

    assert time.monotonic() - started_at < 1
    assert (await call(style, run, "result", 10)).text == "好。"


@both_styles
async def test_runs_are_returned_in_the_order_of_their_end(
    style: str, bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    slow = await call(style, make_run_model("慢。", {"pace": 0.4}), "submit", "?")
    failing = make_run_model(app={"error": ErrorReply.of("AppProcessFailed"), "pace": 0.0})
    failed = await call(style, failing, "submit", "?")
    fast = await call(style, make_run_model("快。"), "submit", "?")
    await call(style, fast, "wait", 10)
    gone = BailianRun.from_id("gone", model=make_run_model())

    ended = await collect(style, [slow, failed, fast, gone], timeout=10, queries_per_second=1000)
    assert ended[0] is fast
    assert set(ended[1:3]) == {failed, gone}
    assert ended[3] is slow
    count = len(bailian.requests)
    assert [run.status() for run in (slow, failed, fast)] == ["completed", "failed", "completed"]
    assert len(bailian.requests) == count


@both_styles
async def test_a_deadline_for_several_runs_names_their_number(
    style: str, make_run_model: MakeModel
) -> None:
    slow = make_run_model(app={"pace": 60.0})
    runs = [await call(style, model, "submit", "?") for model in (slow, slow, make_run_model())]
    with pytest.raises(errors.BailianTimeoutError, match=r"^2 of 3 runs have not ended within 0.5 s"):
        await collect(style, runs, timeout=0.5)


@both_styles
async def test_no_runs_are_ended_at_once(style: str) -> None:
    assert await collect(style, []) == []


@both_styles
@pytest.mark.parametrize("argument", ["timeout", "queries_per_second"])
async def test_limits_must_be_positive(style: str, argument: str) -> None:
    limit: dict[str, Any] = {argument: 0}
    with pytest.raises(ValueError, match=rf"^invalid `{argument}`: expected a number greater than 0"):
        await collect(style, [], **limit)


@both_styles
async def test_a_wait_can_be_abandoned(
    style: str, bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    slow = await call(style, make_run_model(app={"pace": 60.0}), "submit", "?")
    fast = await call(style, make_run_model(), "submit", "?")
    if style == "sync":
        ended = as_completed([slow, fast])
        assert next(ended) is fast
        ended.close()
    else:
        task = asyncio.create_task(slow.await_until_ended())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.sleep(0.1)
    count = len(bailian.requests)
    await asyncio.sleep(0.5)
    assert len(bailian.requests) == count


@both_styles
async def test_all_runs_together_are_queried_within_the_limit(
    style: str, bailian: BailianEmulator, make_run_model: MakeModel
) -> None:
    model = make_run_model(app={"pace": 60.0})
    runs = [await call(style, model, "submit", "?") for _ in range(10)]
    with pytest.raises(errors.BailianTimeoutError):
        await collect(style, runs, timeout=1.0, queries_per_second=10)

    times = sorted(r.received_at for r in bailian.requests if r.method == "GET")
    assert 8 <= len(times) <= 12
    assert min(later - earlier for earlier, later in zip(times, times[2:], strict=False)) > 0.05


@both_styles
async def test_one_progress_bar_shows_all_runs(
    style: str, make_run_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_run_model(app={"pace": 0.1})
    runs = [await call(style, model, "submit", "?") for _ in range(3)]
    await collect(style, runs, timeout=10, queries_per_second=1000, progress=True)
    output = capsys.readouterr().err
    assert "runs: 100%" in output
    assert "3 completed" in output

    await collect(style, runs)  # not a terminal
    assert not capsys.readouterr().err


# -- other processes ---------------------------------------------------------------------------------


@both_styles
async def test_a_pickled_run_is_found_again_without_the_key(
    style: str, make_run_model: MakeModel, bailian: BailianEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await call(style, make_run_model(), "submit", "?")
    data = pickle.dumps(run)
    loaded = pickle.loads(data)  # noqa: S301  # our own

    assert bailian.api_key.encode() not in data
    with pytest.raises(ValueError, match=r"^missing API key"):
        await call(style, loaded, "result", 10)
    monkeypatch.setenv("DASHSCOPE_API_KEY", bailian.api_key)
    assert (await call(style, loaded, "result", 10)).text == "好。"
    assert copy.deepcopy(run).id == run.id


@both_styles
@pytest.mark.usefixtures("connected_environment")
async def test_a_run_is_found_with_the_settings_of_the_environment(
    style: str, bailian: BailianEmulator
) -> None:
    run = await call(style, BailianAppChatModel(), "submit", "什么是滞报金？")
    message = await call(style, BailianRun.from_id(run.id), "result", 10)

    assert "滞报金" in message.text


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"run_id": "a/b", "app_id": "app"}, "^invalid `run_id` 'a/b'"),
        (
            {"run_id": "run", "model": "app"},
            "expected a BailianAppChatModel, got str",
        ),
        ({"run_id": "run", "app_id": "a b"}, "invalid `app_id` 'a b'"),
        ({"run_id": "run"}, "missing `app_id`: pass it or set BAILIAN_APP_ID"),
        ({"run_id": "run", "app_id": "app", "memory_id": "m"}, "unknown field `memory_id`"),
        (
            {"run_id": "run", "app_id": "a", "model": BailianAppChatModel(app_id="a")},
            "^cannot use",
        ),
    ],
)
def test_invalid_arguments_of_from_id_are_rejected(arguments: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        BailianRun.from_id(**arguments)


def test_a_retriever_is_no_model() -> None:
    retriever = BailianRetriever(app_id="app", api_key="k")
    with pytest.raises(ValueError, match=r"^invalid `model`"):
        BailianRun.from_id("run", model=retriever)


# -- what is rejected before anything is sent --------------------------------------------------------


@both_styles
@pytest.mark.parametrize(
    ("fields", "options", "error", "problem"),
    [
        ({}, {"session_id": "s"}, ValueError, "^unsupported `session_id`"),
        ({"memory_id": "m"}, {}, ValueError, "^unsupported `memory_id`"),
        ({"memory_ids": {"u": "m"}}, {}, ValueError, "^unsupported `memory_ids`"),
        ({"tool_calling": "prompt"}, {"tools": []}, ValueError, "^unsupported `tools`"),
        ({}, {"tools": []}, NotImplementedError, "runs its own tools"),
        ({}, {"flavor": "red"}, TypeError, "^unknown argument `flavor`"),
        ({}, {"timeout": 1}, TypeError, "^cannot pass `timeout` per call"),
    ],
)
async def test_settings_that_runs_cannot_have_are_rejected(
    style: str,
    fields: Any,
    options: Any,
    error: Any,
    problem: str,
    bailian: BailianEmulator,
    make_run_model: MakeModel,
) -> None:
    with pytest.raises(error, match=problem):
        await call(style, make_run_model(**fields), "submit", "?", **options)
    assert not bailian.requests


@both_styles
@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"region": "ap-southeast-1"}, "^background runs are not offered in ap-southeast-1"),
        (
            {"base_url": "https://w.us-east-1.maas.aliyuncs.com/api/v1"},
            "^background runs are not offered",
        ),
        ({"region": "us-east-1"}, "^invalid `region` 'us-east-1'"),
        ({"region": "eu-central-1"}, "^missing `workspace`"),
    ],
)
async def test_regions_without_this_route_are_rejected(style: str, fields: Any, problem: str) -> None:
    model = BailianAppChatModel(app_id="app", api_key="k", **fields)
    with pytest.raises(ValueError, match=problem):
        await call(style, model, "submit", "?")
    with pytest.raises(ValueError, match=problem):
        await call(style, BailianRun.from_id("run", model=model), "status")


@both_styles
@pytest.mark.parametrize("is_served", [True, False])
async def test_the_host_of_the_workspace_may_have_the_route(style: str, *, is_served: bool) -> None:
    host = "ws.cn-beijing.maas.aliyuncs.com"
    with BailianEmulator(allowed_hosts=[host]) as bailian:
        bailian.runs.switches.workspace_host = is_served
        app_id = bailian.add_app(App("app", answer="好。"))

        def redirect(request: httpx.Request) -> None:
            # `Host` keeps the name of the workspace.
            request.url = request.url.copy_with(
                scheme="http", host="127.0.0.1", port=httpx.URL(bailian.base_url).port
            )

        async def aredirect(request: httpx.Request) -> None:
            redirect(request)

        with httpx.Client(event_hooks={"request": [redirect]}, trust_env=False) as client:
            async with httpx.AsyncClient(
                event_hooks={"request": [aredirect]}, trust_env=False
            ) as other:
                model = BailianAppChatModel(
                    app_id=app_id,
                    api_key=bailian.api_key,
                    workspace="ws",
                    gateway="workspace",
                    http_client=client,
                    http_async_client=other,
                )
                if is_served:
                    run = await call(style, model, "submit", "?")
                    assert (await call(style, run, "result", 10)).text == "好。"
                else:
                    with pytest.raises(errors.BailianNotFoundError):
                        await call(style, model, "submit", "?")


@both_styles
async def test_a_rate_limiter_delays_submissions(style: str, make_run_model: MakeModel) -> None:
    limiter = InMemoryRateLimiter(requests_per_second=4, check_every_n_seconds=0.01, max_bucket_size=1)
    model = make_run_model(rate_limiter=limiter)
    started_at = time.monotonic()
    for _ in range(3):
        await call(style, model, "submit", "?")

    assert time.monotonic() - started_at > 0.5
