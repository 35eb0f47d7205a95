"""Table of faults and their outcomes, tested in every call style."""

from __future__ import annotations

import asyncio
import email.utils
import itertools
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from httpx_aiohttp import HttpxAiohttpClient

from langchain_bailian_app import errors
from langchain_bailian_app.emulator import App, ErrorReply, Faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

    CallStyle = Callable[[BailianAppChatModel], Any]

ANSWER = "你好，世界。" * 5
RETRY_NOW = {"Retry-After": "0"}
SHORT_TIMEOUT, LONG_TIMEOUT = 0.2, 30  # seconds
TOO_SLOW = 0.1  # seconds between two bytes; a response takes more than 10 s
MAX_DURATION = 8  # seconds, on a busy machine


@dataclass(frozen=True)
class FaultCase:
    """A fault and its expected outcome."""

    name: str
    app_options: dict[str, Any]
    error: type[errors.BailianError] | None
    code: str | None = None
    status: int | None = None
    partial: bool = False
    request_count: int = 1
    retryable: bool = False
    request_id: bool = True
    finish_reason: str = "stop"

    @property
    def timeout(self) -> float:
        """The read timeout of the model."""
        return SHORT_TIMEOUT if self.error is errors.BailianTimeoutError else LONG_TIMEOUT


def error_reply(code: str, **settings: Any) -> dict[str, Any]:
    return {"error": ErrorReply.of(code, **settings)}


def permanent_fault(name: str, *, interval: float = 0) -> dict[str, Any]:
    return {"faults": Faults.always(name, interval=interval)}


def current_http_date() -> str:
    return email.utils.formatdate(time.time(), usegmt=True)


STREAM_ERROR = errors.BailianStreamError
MATRIX = [
    FaultCase(
        "401", error_reply("InvalidApiKey"), errors.BailianAuthenticationError, "InvalidApiKey", 401
    ),
    FaultCase(
        "400", error_reply("InvalidParameter"), errors.BailianRequestError, "InvalidParameter", 400
    ),
    FaultCase(
        "403", error_reply("App.AccessDenied"), errors.BailianPermissionError, "App.AccessDenied", 403
    ),
    FaultCase("404", error_reply("ModelNotFound"), errors.BailianNotFoundError, "ModelNotFound", 404),
    FaultCase(
        "429",
        error_reply("Throttling", headers=RETRY_NOW),
        errors.BailianRateLimitError,
        "Throttling",
        429,
        request_count=3,
        retryable=True,
    ),
    FaultCase("429, once", error_reply("Throttling", times=1), None, request_count=2),
    FaultCase(
        "429, Retry-After 0 s",
        error_reply("Throttling", times=2, headers=RETRY_NOW),
        None,
        request_count=3,
    ),
    FaultCase(
        "429, Retry-After a date",
        error_reply("Throttling", times=1, headers={"Retry-After": current_http_date()}),
        None,
        request_count=2,
    ),
    FaultCase(
        "429, Retry-After too long",
        error_reply("Throttling", headers={"Retry-After": "61"}),
        errors.BailianRateLimitError,
        "Throttling",
        429,
        retryable=True,
    ),
    FaultCase(
        "429, a bill",
        error_reply("PostpaidBillOverdue"),
        errors.BailianPermissionError,
        "PostpaidBillOverdue",
        429,
    ),
    FaultCase(
        "500", error_reply("AppProcessFailed"), errors.BailianServerError, "AppProcessFailed", 500
    ),
    FaultCase("502, HTML", permanent_fault("html-502"), errors.BailianServerError, None, 502),
    FaultCase(
        "503, once", error_reply("ModelUnavailable", times=1, headers=RETRY_NOW), None, request_count=2
    ),
    FaultCase("302", permanent_fault("redirect"), errors.BailianConnectionError, None, 302),
    FaultCase("reset", permanent_fault("reset"), errors.BailianConnectionError, request_id=False),
    FaultCase("cut mid-frame", permanent_fault("cut-mid-frame"), STREAM_ERROR, partial=True),
    FaultCase("end mid-frame", permanent_fault("end-mid-frame"), STREAM_ERROR, partial=True),
    FaultCase("no finish reason", permanent_fault("no-finish-reason"), STREAM_ERROR, partial=True),
    FaultCase("finish length", permanent_fault("finish-length"), None, finish_reason="length"),
    FaultCase(
        "error frame",
        permanent_fault("error-frame"),
        errors.BailianServerError,
        "InternalError.Algo",
        500,
        partial=True,
    ),
    FaultCase(
        "error frame with a space",
        permanent_fault("error-frame-with-space"),
        errors.BailianServerError,
        "InternalError.Algo",
        500,
        partial=True,
    ),
    FaultCase(
        "throttled in the stream",
        error_reply("Throttling", in_stream_after=3),
        errors.BailianRateLimitError,
        "Throttling",
        429,
        partial=True,
    ),
    FaultCase(
        "code in an ordinary frame",
        permanent_fault("code-in-frame"),
        errors.BailianServerError,
        "InternalError.Algo",
        200,
        partial=True,
    ),
    FaultCase(
        "error with status 200",
        permanent_fault("error-on-200"),
        errors.BailianServerError,
        "InternalError.Algo",
        200,
    ),
    FaultCase("output null", permanent_fault("output-null"), STREAM_ERROR),
    FaultCase("garbage frame", permanent_fault("garbage-frame"), STREAM_ERROR, partial=True),
    FaultCase("gzip", permanent_fault("gzip"), None),
    FaultCase(
        "stall before the first frame", permanent_fault("stall-first"), errors.BailianTimeoutError
    ),
    FaultCase("stall later", permanent_fault("stall-later"), errors.BailianTimeoutError, partial=True),
]
# Only for the package's own clients: others do not handle all of these faults.
WIRE_MATRIX = [
    FaultCase("head byte by byte", permanent_fault("drip-head"), None),
    FaultCase("body byte by byte", permanent_fault("drip-body"), None),
    FaultCase("chunk extension byte by byte", permanent_fault("drip-chunk-extension"), None),
    FaultCase(
        "error byte by byte",
        permanent_fault("drip-error-body"),
        errors.BailianServerError,
        "InternalError.Algo",
        500,
    ),
    FaultCase(
        "slow head",
        permanent_fault("drip-head", interval=TOO_SLOW),
        errors.BailianTimeoutError,
        request_id=False,
    ),
    FaultCase("slow body", permanent_fault("drip-body", interval=TOO_SLOW), errors.BailianTimeoutError),
    FaultCase(
        "slow chunk extension",
        permanent_fault("drip-chunk-extension", interval=TOO_SLOW),
        errors.BailianTimeoutError,
        partial=True,
    ),
    FaultCase(
        "slow error",
        permanent_fault("drip-error-body", interval=TOO_SLOW),
        errors.BailianTimeoutError,
        request_id=False,
    ),
    FaultCase("interim responses", permanent_fault("interim-responses"), None),
    FaultCase(
        "endless interim responses",
        permanent_fault("endless-interim-responses", interval=TOO_SLOW),
        errors.BailianTimeoutError,
        request_id=False,
    ),
    FaultCase("endless heartbeats", permanent_fault("endless-heartbeats", interval=0.01), None),
    FaultCase("duplicate response", permanent_fault("duplicate-response"), None),
    FaultCase("408 on an idle connection", permanent_fault("idle-408"), None),
    FaultCase("gzip twice", permanent_fault("gzip-twice"), STREAM_ERROR),
    FaultCase("gzip bomb", permanent_fault("gzip-bomb"), STREAM_ERROR),
    FaultCase("gzip bomb, twice", permanent_fault("gzip-twice-bomb"), STREAM_ERROR),
]


async def invoke(model: BailianAppChatModel) -> tuple[str, str]:
    message = model.invoke("?")
    return message.text, message.response_metadata["finish_reason"]


async def stream(model: BailianAppChatModel) -> tuple[str, str]:
    chunks = list(model.stream("?"))
    text = "".join(chunk.text for chunk in chunks)
    return text, chunks[-1].response_metadata["finish_reason"]


async def ainvoke(model: BailianAppChatModel) -> tuple[str, str]:
    message = await model.ainvoke("?")
    return message.text, message.response_metadata["finish_reason"]


async def astream(model: BailianAppChatModel) -> tuple[str, str]:
    chunks = [chunk async for chunk in model.astream("?")]
    text = "".join(chunk.text for chunk in chunks)
    return text, chunks[-1].response_metadata["finish_reason"]


async def stream_over_httpx(model: BailianAppChatModel) -> tuple[str, str]:
    with httpx.Client(trust_env=False) as client:
        return await stream(model.model_copy(update={"http_client": client}))


async def astream_over_httpx(model: BailianAppChatModel) -> tuple[str, str]:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await astream(model.model_copy(update={"http_async_client": client}))


async def astream_over_injected_aiohttp_client(model: BailianAppChatModel) -> tuple[str, str]:
    async with HttpxAiohttpClient(trust_env=False) as client:
        return await astream(model.model_copy(update={"http_async_client": client}))


CALL_STYLES = [
    invoke,
    stream,
    ainvoke,
    astream,
    stream_over_httpx,
    astream_over_httpx,
    astream_over_injected_aiohttp_client,
]
every_call_style = pytest.mark.parametrize(
    "call_style", CALL_STYLES, ids=lambda call_style: call_style.__name__
)
own_client_call_style = pytest.mark.parametrize(
    "call_style", CALL_STYLES[:4], ids=lambda call_style: call_style.__name__
)


async def check_outcome(
    fault: FaultCase, call_style: CallStyle, model: BailianAppChatModel, *, answer: str = ANSWER
) -> None:
    if fault.error is None:
        assert await call_style(model) == (answer, fault.finish_reason)
    else:
        with pytest.raises(errors.BailianError) as caught:
            await call_style(model)
        error = caught.value
        text = error.partial.text if error.partial else ""

        assert (type(error), error.code, error.status_code) == (fault.error, fault.code, fault.status)
        assert bool(error.request_id) == fault.request_id
        assert error.is_retryable == fault.retryable
        assert answer.startswith(text)
        assert bool(text) == fault.partial
        assert error.partial is None or "finish_reason" not in error.partial.response_metadata


@pytest.mark.slow
@every_call_style
@pytest.mark.parametrize("fault", MATRIX, ids=lambda fault: fault.name)
async def test_every_fault_has_the_expected_outcome(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    fault: FaultCase,
    call_style: CallStyle,
) -> None:
    if "error" in fault.app_options:
        fault.app_options["error"].given = 0
    app_id = bailian.add_app(App("f", answer=lambda _: ANSWER, **fault.app_options))
    model = make_model(app_id, timeout=fault.timeout)
    before = len(bailian.requests)
    await check_outcome(fault, call_style, model)
    assert len(bailian.requests) - before == fault.request_count


@pytest.mark.slow
@pytest.mark.parametrize("fault", WIRE_MATRIX, ids=lambda fault: fault.name)
async def test_every_fault_below_http_has_the_expected_outcome_in_time(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], fault: FaultCase
) -> None:
    async def call_twice(call_style: CallStyle) -> None:
        answers = map("{}号回答。".format, itertools.count(1))
        app_id = bailian.add_app(App("f", answer=lambda _: next(answers), **fault.app_options))
        model = make_model(app_id, timeout=fault.timeout)
        for number in (1, 2):
            await check_outcome(fault, call_style, model, answer=f"{number}号回答。")
            assert sum(request.app_id == app_id for request in bailian.requests) == number
            if fault.error is not None:
                break
            await asyncio.sleep(0.02)  # an unsolicited response arrives meanwhile

    started_at = time.monotonic()
    await asyncio.gather(
        *(asyncio.to_thread(asyncio.run, call_twice(call_style)) for call_style in CALL_STYLES[:4])
    )

    assert time.monotonic() - started_at < MAX_DURATION


@pytest.mark.slow
@every_call_style
async def test_a_refused_connection_is_a_retryable_error(
    make_model: Callable[..., BailianAppChatModel], call_style: CallStyle
) -> None:
    with socket.socket() as unused_socket:
        unused_socket.bind(("127.0.0.1", 0))
        port = unused_socket.getsockname()[1]
    model = make_model(base_url=f"http://127.0.0.1:{port}/api/v1", max_retries=1)
    with pytest.raises(errors.BailianConnectionError, match=r"no connection to.*emulator") as caught:
        await call_style(model)

    assert caught.value.is_retryable


@pytest.mark.slow
@own_client_call_style
async def test_a_full_connection_pool_is_a_timeout(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    call_style: CallStyle,
) -> None:
    slow = bailian.add_app(App("slow", answer=lambda _: ANSWER, pace=0.2))
    limits = httpx.Limits(max_connections=1)
    with httpx.Client(limits=limits) as client:
        async with httpx.AsyncClient(limits=limits) as async_client:
            clients = {"http_client": client, "http_async_client": async_client}
            first, second = (
                make_model(slow, **clients),
                make_model(timeout=0.1, **clients),
            )
            sync_chunks, chunks = first.stream("?"), first.astream("?")
            next(sync_chunks)
            await anext(chunks)
            started = time.monotonic()
            with pytest.raises(errors.BailianTimeoutError, match="too many concurrent calls") as caught:
                await call_style(second)
            assert time.monotonic() - started < 0.7  # waits only once
            sync_chunks.close()
            await chunks.aclose()

    assert caught.value.is_retryable
