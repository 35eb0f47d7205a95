"""What goes wrong on the way becomes the right error, with what is true of it."""

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

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app.emulator import BailianEmulator


def frame(**output: Any) -> bytes:
    reply = {"output": {"finish_reason": "null", "session_id": "s", **output}, "request_id": "r"}
    return b"id:1\nevent:result\n:HTTP_STATUS/200\ndata:" + orjson.dumps(reply) + b"\n\n"


WHOLE = frame(text="好的") + frame(text="", finish_reason="stop")


def failure(model: BailianAppChatModel, way: str = "invoke") -> errors.BailianError:
    with pytest.raises(errors.BailianError) as caught:
        model.invoke("?") if way == "invoke" else list(model.stream("?"))
    assert isinstance(caught.value, ModelError)
    assert isinstance(caught.value, DashScopeError)
    return caught.value


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize(
    ("code", "kind"),
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
    way: str,
    code: str,
    kind: type[errors.BailianError],
) -> None:
    reply = ErrorReply.of(code)
    app_id = bailian.add_app(App("fails", error=reply))
    before = len(bailian.requests)
    error = failure(make_model(app_id), way)

    assert (type(error), error.code, error.status_code) == (kind, code, reply.status)
    assert error.request_id
    assert not error.is_retryable
    assert len(bailian.requests) == before + 1


def test_a_wrong_key(make_model: Callable[..., BailianAppChatModel]) -> None:
    error = failure(make_model(api_key="wrong"))

    assert (type(error), error.code, error.status_code) == (
        errors.BailianAuthenticationError,
        "InvalidApiKey",
        401,
    )
    assert "DASHSCOPE_API_KEY" in str(error)


def test_an_error_in_the_stream_has_its_true_status_and_what_had_come(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    reply = ErrorReply.of("Throttling.RateQuota", in_stream_after=5)
    error = failure(make_model(bailian.add_app(App("fails", error=reply))), "stream")

    assert (type(error), error.status_code) == (errors.BailianRateLimitError, 429)
    assert not error.is_retryable
    assert error.partial is not None
    assert error.partial.text
    assert "finish_reason" not in error.partial.response_metadata
    assert error.partial.usage_metadata


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (ErrorReply.of("Throttling.RateQuota", headers={"Retry-After": "0"}, times=2), 3),
        (ErrorReply.of("ModelUnavailable", headers={"Retry-After": "0"}, times=1), 2),
    ],
)
def test_what_was_refused_at_the_door_is_sent_again(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    error: ErrorReply,
    tries: int,
) -> None:
    app_id = bailian.add_app(App("busy", error=error))
    before = len(bailian.requests)

    assert make_model(app_id).invoke("?").text
    assert len(bailian.requests) - before == tries


async def test_what_was_refused_at_the_door_is_sent_again_on_a_loop(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    reply = ErrorReply.of("Throttling.RateQuota", headers={"Retry-After": "0"}, times=1)

    assert (await make_model(bailian.add_app(App("busy", error=reply))).ainvoke("?")).text


def test_a_long_retry_after_is_not_slept_but_told(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    reply = ErrorReply.of("Throttling.RateQuota", headers={"Retry-After": "3600"})
    error = failure(make_model(bailian.add_app(App("busy", error=reply))))

    assert error.retry_after == 3600
    assert error.is_retryable


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = BailianAppChatModel(
        app_id="app", api_key="k", base_url=f"http://127.0.0.1:{port}/api/v1", max_retries=0
    )
    error = failure(model)

    assert type(error) is errors.BailianConnectionError
    assert error.is_retryable


@pytest.mark.parametrize(
    ("body", "settings", "text"),
    [
        (WHOLE[:-40], {}, "middle of a frame"),
        (frame(text="好的"), {}, "without a finish reason"),
        (WHOLE, {"abort": True, "cuts": (150,)}, None),
        (frame(text="好的"), {"abort": True}, "lost before the answer was complete"),
        (frame(text="好的") + b"data:garbage\n\n" + WHOLE, {}, "no JSON"),
        (b"<html>hello</html>", {"content_type": "text/html"}, "without a frame"),
        (b"", {}, "without a frame"),
        (b'{"output":null,"usage":{},"request_id":"r"}', {}, "without a finish reason"),
    ],
)
@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_a_partial_answer_never_looks_complete(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    way: str,
    body: bytes,
    settings: dict[str, Any],
    text: str | None,
) -> None:
    model = make_model(bailian.replay(body, **settings))
    if text is None:  # the answer was complete when the connection was lost
        assert model.invoke("?").text == "好的"
        return
    error = failure(model, way)

    assert type(error) is errors.BailianStreamError
    assert text in str(error)
    assert (error.partial.text if error.partial else "") == ("好的" if "好的".encode() in body else "")


def test_a_missing_stop_may_be_accepted_but_a_lost_connection_not(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    clean = make_model(bailian.replay(frame(text="好的")), accept_missing_stop=True)
    message = clean.invoke("?")

    assert (message.text, message.response_metadata["finish_reason"]) == ("好的", "unknown")

    lost = make_model(bailian.replay(frame(text="好的"), abort=True), accept_missing_stop=True)

    assert type(failure(lost)) is errors.BailianStreamError


@pytest.mark.parametrize(
    "body",
    [
        b'{"code":"InvalidParameter","message":"bad","request_id":"r"}',
        b'data:{"code":"InvalidParameter","message":"bad","request_id":"r"}\n\n',
        b'event:error\n:HTTP_STATUS/400\ndata:{"code":"InvalidParameter","message":"bad"}\n\n',
        b'event: error\n:HTTP_STATUS/400\ndata: {"code":"InvalidParameter","message":"bad"}\n\n',
    ],
)
def test_a_business_error_is_recognised_wherever_it_stands(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], body: bytes
) -> None:
    error = failure(make_model(bailian.replay(body)))

    assert (type(error), error.code) == (errors.BailianRequestError, "InvalidParameter")
    assert error.status_code == (400 if b"HTTP_STATUS" in body else 200)


def test_a_redirect_is_not_followed(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    app_id = bailian.replay(b"", status=302, headers={"location": "https://elsewhere.example/x"})
    error = failure(make_model(app_id))

    assert error.status_code == 302
    assert "elsewhere.example" in str(error)


@pytest.mark.parametrize("after", [0, 3])
def test_silence_names_its_setting(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], after: int
) -> None:
    app_id = bailian.add_app(App("stalls", stall_after=after))
    error = failure(make_model(app_id, timeout=0.2))

    assert type(error) is errors.BailianTimeoutError
    assert "`timeout`" in str(error)
    assert not error.is_retryable


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_frame_of_thinking_resets_the_silence(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], way: str
) -> None:
    thinker = App("thinks", thinking="on", answer=lambda _: Reply("好", reasoning="想" * 40), pace=0.1)
    model = make_model(bailian.add_app(thinker), has_thoughts=True, timeout=0.3)
    message = await model.ainvoke("?") if way == "ainvoke" else model.invoke("?")

    assert message.text == "好"
    assert message.additional_kwargs["reasoning_content"] == "想" * 40


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_total_timeout_names_its_setting(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], way: str
) -> None:
    app_id = bailian.add_app(App("slow", answer=lambda _: Reply("慢" * 200), pace=0.02))
    model = make_model(app_id, total_timeout=0.3)
    with pytest.raises(errors.BailianTimeoutError, match="total_timeout") as caught:
        await model.ainvoke("?") if way == "ainvoke" else model.invoke("?")

    assert caught.value.partial is not None
    assert caught.value.partial.text.startswith("慢")


def test_one_record_a_call_without_texts(
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
