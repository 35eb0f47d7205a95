"""Exception classes and attributes for failures on the way to the service and back."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from dashscope.v2.errors import DashScopeError
from langchain_core.exceptions import ModelError

from langchain_bailian_app import BailianAppChatModel, errors
from langchain_bailian_app.emulator import App, ErrorReply, Reply
from tests.call_styles import all_call_styles
from tests.fixtures import encode_sse

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app.emulator import BailianEmulator
    from tests.call_styles import CallStyle


def make_frame(**output: Any) -> bytes:
    reply = {"output": {"finish_reason": "null", "session_id": "s", **output}, "request_id": "r"}
    return b"id:1\nevent:result\n:HTTP_STATUS/200\ndata:" + orjson.dumps(reply) + b"\n\n"


COMPLETE_BODY = make_frame(text="好的") + make_frame(text="", finish_reason="stop")


def catch_error(model: BailianAppChatModel, call_style: str = "invoke") -> errors.BailianError:
    with pytest.raises(errors.BailianError) as caught:
        model.invoke("?") if call_style == "invoke" else list(model.stream("?"))
    assert isinstance(caught.value, ModelError)
    assert isinstance(caught.value, DashScopeError)
    return caught.value


@pytest.mark.parametrize("call_style", ["invoke", "stream"])
@pytest.mark.parametrize(
    ("code", "error_class"),
    [
        ("App.AccessDenied", errors.BailianPermissionError),
        ("Arrearage", errors.BailianPermissionError),
        ("PrepaidBillOverdue", errors.BailianPermissionError),
        ("DataInspectionFailed", errors.BailianContentFilterError),
        ("FlowNotPublished", errors.BailianRequestError),
        ("ModelNotFound", errors.BailianNotFoundError),
        ("AppProcessFailed", errors.BailianServerError),
        ("InvokePluginFailed", errors.BailianServerError),
    ],
)
def test_codes_become_classes(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    call_style: str,
    code: str,
    error_class: type[errors.BailianError],
) -> None:
    reply = ErrorReply.of(code)
    app_id = bailian.add_app(App("fails", error=reply))
    before = len(bailian.requests)
    error = catch_error(make_model(app_id), call_style)

    assert (type(error), error.code, error.status_code) == (error_class, code, reply.status)
    assert error.request_id
    assert not error.is_retryable
    assert len(bailian.requests) == before + 1


@all_call_styles
async def test_a_wrong_key_is_an_authentication_error_with_advice_on_key_and_region(
    make_model: Callable[..., BailianAppChatModel], call_style: CallStyle
) -> None:
    with pytest.raises(errors.BailianAuthenticationError) as caught:
        await call_style(make_model(api_key="wrong"))

    assert (caught.value.code, caught.value.status_code) == ("InvalidApiKey", 401)
    for name in ("`api_key`", "DASHSCOPE_API_KEY", "`region`", "DASHSCOPE_REGION"):
        assert name in str(caught.value)


def test_an_error_in_the_stream_has_its_own_status_and_the_partial_answer(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    reply = ErrorReply.of("Throttling.RateQuota", in_stream_after=5)
    error = catch_error(make_model(bailian.add_app(App("fails", error=reply))), "stream")

    assert (type(error), error.status_code) == (errors.BailianRateLimitError, 429)
    assert not error.is_retryable
    assert error.partial is not None
    assert error.partial.text
    assert "finish_reason" not in error.partial.response_metadata
    assert error.partial.usage_metadata


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (ErrorReply.of("Throttling.RateQuota", headers={"Retry-After": "0"}, times=2), 3),
        (ErrorReply.of("ModelUnavailable", headers={"Retry-After": "0"}, times=1), 2),
    ],
)
def test_a_request_rejected_before_running_is_sent_again(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    error: ErrorReply,
    attempts: int,
) -> None:
    app_id = bailian.add_app(App("busy", error=error))
    before = len(bailian.requests)

    assert make_model(app_id).invoke("?").text
    assert len(bailian.requests) - before == attempts


async def test_a_request_rejected_before_running_is_sent_again_on_an_event_loop(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    reply = ErrorReply.of("Throttling.RateQuota", headers={"Retry-After": "0"}, times=1)

    assert (await make_model(bailian.add_app(App("busy", error=reply))).ainvoke("?")).text


def test_a_long_retry_after_is_reported_without_waiting(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    reply = ErrorReply.of("Throttling.RateQuota", headers={"Retry-After": "3600"})
    error = catch_error(make_model(bailian.add_app(App("busy", error=reply))))

    assert error.retry_after == 3600
    assert error.is_retryable


def test_a_refused_connection_is_retryable() -> None:
    with socket.socket() as unused_socket:
        unused_socket.bind(("127.0.0.1", 0))
        port = unused_socket.getsockname()[1]
    model = BailianAppChatModel(
        app_id="app", api_key="k", base_url=f"http://127.0.0.1:{port}/api/v1", max_retries=0
    )
    error = catch_error(model)

    assert type(error) is errors.BailianConnectionError
    assert error.is_retryable


@pytest.mark.parametrize(
    ("body", "settings", "text"),
    [
        (COMPLETE_BODY[:-40], {}, "middle of a frame"),
        (make_frame(text="好的"), {}, "without a finish reason"),
        (COMPLETE_BODY, {"abort": True, "cuts": (150,)}, None),
        (make_frame(text="好的"), {"abort": True}, "lost before the answer was complete"),
        (make_frame(text="好的") + b"data:garbage\n\n" + COMPLETE_BODY, {}, "not JSON"),
        (b"<html>hello</html>", {"content_type": "text/html"}, "without any frames"),
        (b"", {}, "without any frames"),
        (b'{"output":null,"usage":{},"request_id":"r"}', {}, "without a finish reason"),
    ],
)
@pytest.mark.parametrize("call_style", ["invoke", "stream"])
def test_a_partial_answer_never_looks_complete(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    call_style: str,
    body: bytes,
    settings: dict[str, Any],
    text: str | None,
) -> None:
    model = make_model(bailian.replay(body, **settings))
    if text is None:  # the answer was complete when the connection was lost
        assert model.invoke("?").text == "好的"
        return
    error = catch_error(model, call_style)

    assert type(error) is errors.BailianStreamError
    assert text in str(error)
    assert (error.partial.text if error.partial else "") == ("好的" if "好的".encode() in body else "")


def test_a_missing_stop_may_be_accepted_but_not_a_lost_connection(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    clean_model = make_model(bailian.replay(make_frame(text="好的")), accept_missing_stop=True)
    message = clean_model.invoke("?")

    assert (message.text, message.response_metadata["finish_reason"]) == ("好的", "unknown")

    lost_model = make_model(
        bailian.replay(make_frame(text="好的"), abort=True), accept_missing_stop=True
    )

    assert type(catch_error(lost_model)) is errors.BailianStreamError


@pytest.mark.parametrize(
    "body",
    [
        b'{"code":"InvalidParameter","message":"bad","request_id":"r"}',
        b'data:{"code":"InvalidParameter","message":"bad","request_id":"r"}\n\n',
        b'event:error\n:HTTP_STATUS/400\ndata:{"code":"InvalidParameter","message":"bad"}\n\n',
        b'event: error\n:HTTP_STATUS/400\ndata: {"code":"InvalidParameter","message":"bad"}\n\n',
    ],
)
def test_a_business_error_is_recognised_in_every_form(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], body: bytes
) -> None:
    error = catch_error(make_model(bailian.replay(body)))

    assert (type(error), error.code) == (errors.BailianRequestError, "InvalidParameter")
    assert error.status_code == (400 if b"HTTP_STATUS" in body else 200)


def test_a_redirect_is_not_followed(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    app_id = bailian.replay(b"", status=302, headers={"location": "https://elsewhere.example/x"})
    error = catch_error(make_model(app_id))

    assert error.status_code == 302
    assert "elsewhere.example" in str(error)


@pytest.mark.parametrize("after", [0, 3])
def test_a_read_timeout_names_its_setting(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], after: int
) -> None:
    app_id = bailian.add_app(App("stalls", stall_after=after))
    error = catch_error(make_model(app_id, timeout=0.2))

    assert type(error) is errors.BailianTimeoutError
    assert "`timeout`" in str(error)
    assert not error.is_retryable


@pytest.mark.slow
@pytest.mark.parametrize("call_style", ["invoke", "ainvoke"])
async def test_a_reasoning_frame_resets_the_timeout(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], call_style: str
) -> None:
    app = App("thinks", thinking="on", answer=lambda _: Reply("好", reasoning="想" * 40), pace=0.1)
    model = make_model(bailian.add_app(app), has_thoughts=True, timeout=1.0)
    message = await model.ainvoke("?") if call_style == "ainvoke" else model.invoke("?")

    assert message.text == "好"
    assert message.additional_kwargs["reasoning_content"] == "想" * 40


@pytest.mark.slow
@pytest.mark.parametrize("call_style", ["invoke", "ainvoke"])
async def test_total_timeout_names_its_setting(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], call_style: str
) -> None:
    app_id = bailian.add_app(App("slow", answer=lambda _: Reply("慢" * 200), pace=0.02))
    model = make_model(app_id, total_timeout=0.3)
    with pytest.raises(errors.BailianTimeoutError, match="total_timeout") as caught:
        await model.ainvoke("?") if call_style == "ainvoke" else model.invoke("?")

    assert caught.value.partial is not None
    assert caught.value.partial.text.startswith("慢")


def test_each_call_logs_one_record_without_texts(
    make_model: Callable[..., BailianAppChatModel], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="langchain_bailian_app"):
        make_model().invoke("秘密的问题")

    assert len(caplog.records) == 1
    assert "frames" in caplog.text
    assert "秘密" not in caplog.text


def test_an_application_that_hides_its_sources_gets_one_hint(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = Reply("答案<ref>[1]</ref>。", references=[])
    model = make_model(bailian.add_app(App("hides", answer=lambda _: answer)))
    model.invoke("?")
    model.invoke("?")

    assert caplog.text.count("展示回答来源") == 1


# -- codes and messages of newer responses ------------------------------------------------------------

FREE_QUOTA_ERROR = ("Throttling.AllocationQuota", "Free allocated quota exceeded.")


@all_call_styles
@pytest.mark.parametrize("in_stream_after", [None, 3])
@pytest.mark.parametrize(
    ("code", "message", "error_class", "hint"),
    [
        (*FREE_QUOTA_ERROR, errors.BailianPermissionError, "paid"),
        ("AllocationQuota.FreeTierOnly", None, errors.BailianPermissionError, "paid"),
        ("CommodityNotPurchased", None, errors.BailianPermissionError, "activate"),
        ("PostpaidBillOverdue", None, errors.BailianPermissionError, "pay the bill"),
        ("RetrievalFailed", None, errors.BailianServerError, ""),
        ("InternalError.Timeout", None, errors.BailianTimeoutError, "time limit of the service"),
        ("ResponseTimeout", None, errors.BailianTimeoutError, "time limit of the service"),
        ("BailianIndexServiceNotOpen", None, errors.BailianPermissionError, "activate"),
    ],
)
async def test_errors_that_a_retry_cannot_resolve_are_sent_once(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    call_style: CallStyle,
    in_stream_after: int | None,
    code: str,
    message: str | None,
    error_class: type[errors.BailianError],
    hint: str,
) -> None:
    reply = ErrorReply.of(code, message=message, in_stream_after=in_stream_after)
    app_id = bailian.add_app(App("fails", error=reply))
    before = len(bailian.requests)

    with pytest.raises(errors.BailianError) as caught:
        await call_style(make_model(app_id))

    error = caught.value
    assert (type(error), error.code, error.status_code) == (error_class, code, reply.status)
    assert hint in str(error)
    assert not error.is_retryable
    assert len(bailian.requests) == before + 1


@all_call_styles
@pytest.mark.parametrize("body", [b"<h1>504 Gateway Time-out</h1>", b'{"detail": "timeout"}', b""])
async def test_a_gateway_timeout_without_a_code_is_a_timeout(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    call_style: CallStyle,
    body: bytes,
) -> None:
    app_id = bailian.replay(body, content_type="text/html", status=504)
    before = len(bailian.requests)

    with pytest.raises(errors.BailianTimeoutError, match="stopped waiting") as caught:
        await call_style(make_model(app_id))

    assert (caught.value.status_code, caught.value.code) == (504, None)
    assert not caught.value.is_retryable
    assert len(bailian.requests) == before + 1


@all_call_styles
@pytest.mark.parametrize("in_stream_after", [None, 2])
async def test_the_error_of_a_failed_node_names_the_node_and_the_reason(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    call_style: CallStyle,
    in_stream_after: int | None,
) -> None:
    reply = ErrorReply.of_node(
        "AppProcessFailed", "查库存", 'no such column: "价"', in_stream_after=in_stream_after
    )
    app_id = bailian.add_app(App("fails", kind="workflow", error=reply))

    with pytest.raises(errors.BailianServerError) as caught:
        await call_style(make_model(app_id, flow_stream_mode="message_format_plus"))

    assert caught.value.message == "node '查库存': no such column: \"价\""
    assert caught.value.body["message"] == reply.message


@all_call_styles
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_message_that_is_a_json_object_is_read_too(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    call_style: CallStyle,
    *,
    streamed: bool,
) -> None:
    body = {"code": "SystemError", "message": {"nodeName": "查库存", "errorInfo": "坏"}}
    replies = {True: (encode_sse(body), 200), False: (orjson.dumps(body), 500)}
    content, status = replies[streamed]

    with pytest.raises(errors.BailianServerError) as caught:
        await call_style(make_model(bailian.replay(content, status=status)))

    assert caught.value.message == "node '查库存': 坏"


@all_call_styles
async def test_a_token_is_removed_from_a_message_that_escapes_it_in_json(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], call_style: CallStyle
) -> None:
    token = "planted/token"
    message = orjson.dumps({"nodeName": "HTTP", "errorInfo": f"bad token {token}"}).decode()
    body = {"code": "AppProcessFailed", "message": message.replace("/", "\\/"), "request_id": "r"}
    app_id = bailian.replay(orjson.dumps(body), status=500)

    with pytest.raises(errors.BailianServerError) as caught:
        await call_style(make_model(app_id), biz_params={"user_defined_tokens": {"http": token}})

    assert caught.value.message == "node 'HTTP': bad token [removed]"


# -- partial answers without ids ----------------------------------------------------------------------


def frame_without_ids(**output: Any) -> dict[str, Any]:
    return {"output": output | {"finish_reason": "null"}, "usage": {}}


@all_call_styles
@pytest.mark.parametrize(
    ("frame", "text", "reasoning"),
    [
        (frame_without_ids(text="半句"), "半句", None),
        (
            frame_without_ids(thoughts=[{"action_type": "reasoning", "thought": "想"}]),
            "",
            "想",
        ),
    ],
)
@pytest.mark.parametrize("ending", ["lost connection", "error", "end"])
async def test_an_error_has_the_partial_answer_of_frames_without_ids(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    call_style: CallStyle,
    frame: dict[str, Any],
    text: str,
    reasoning: str | None,
    ending: str,
) -> None:
    frames = [frame, {"code": "SystemError", "message": "x"}] if ending == "error" else [frame]
    app_id = bailian.replay(encode_sse(*frames), abort=ending == "lost connection")

    with pytest.raises(errors.BailianError) as caught:
        await call_style(make_model(app_id))

    partial = caught.value.partial
    assert partial is not None
    assert partial.text == text
    assert partial.additional_kwargs.get("reasoning_content") == reasoning
    assert "session_id" not in partial.response_metadata


@all_call_styles
async def test_an_error_before_any_frame_has_no_partial_answer(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], call_style: CallStyle
) -> None:
    with pytest.raises(errors.BailianStreamError) as caught:
        await call_style(make_model(bailian.replay(b"")))

    assert caught.value.partial is None
