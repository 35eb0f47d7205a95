"""Every fault in every way of calling: one table of what comes of it."""

from __future__ import annotations

import email.utils
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

ANSWER = "你好，世界。" * 5
NOW = {"Retry-After": "0"}


@dataclass(frozen=True)
class Fault:
    """What is wrong, and what is to come of it."""

    name: str
    app: dict[str, Any]
    error: type[errors.BailianError] | None
    code: str | None = None
    status: int | None = None
    partial: bool = False
    posts: int = 1
    retryable: bool = False
    request_id: bool = True
    finish_reason: str = "stop"


def refusal(code: str, **settings: Any) -> dict[str, Any]:
    return {"error": ErrorReply.of(code, **settings)}


def broken(name: str) -> dict[str, Any]:
    return {"faults": Faults.always(name)}


def soon() -> str:
    return email.utils.formatdate(time.time(), usegmt=True)


NO_FINISH = errors.BailianStreamError
MATRIX = [
    Fault("401", refusal("InvalidApiKey"), errors.BailianAuthenticationError, "InvalidApiKey", 401),
    Fault("400", refusal("InvalidParameter"), errors.BailianRequestError, "InvalidParameter", 400),
    Fault("403", refusal("App.AccessDenied"), errors.BailianPermissionError, "App.AccessDenied", 403),
    Fault("404", refusal("ModelNotFound"), errors.BailianNotFoundError, "ModelNotFound", 404),
    Fault(
        "429",
        refusal("Throttling", headers=NOW),
        errors.BailianRateLimitError,
        "Throttling",
        429,
        posts=3,
        retryable=True,
    ),
    Fault("429, once", refusal("Throttling", times=1), None, posts=2),
    Fault("429, Retry-After 0 s", refusal("Throttling", times=2, headers=NOW), None, posts=3),
    Fault(
        "429, Retry-After a date",
        refusal("Throttling", times=1, headers={"Retry-After": soon()}),
        None,
        posts=2,
    ),
    Fault(
        "429, Retry-After too long",
        refusal("Throttling", headers={"Retry-After": "61"}),
        errors.BailianRateLimitError,
        "Throttling",
        429,
        retryable=True,
    ),
    Fault(
        "429, a bill",
        refusal("PostpaidBillOverdue"),
        errors.BailianPermissionError,
        "PostpaidBillOverdue",
        429,
    ),
    Fault("500", refusal("AppProcessFailed"), errors.BailianServerError, "AppProcessFailed", 500),
    Fault("502, HTML", broken("html-502"), errors.BailianServerError, None, 502),
    Fault("503, once", refusal("ModelUnavailable", times=1, headers=NOW), None, posts=2),
    Fault("302", broken("redirect"), errors.BailianConnectionError, None, 302),
    Fault("reset", broken("reset"), errors.BailianConnectionError, request_id=False),
    Fault("cut mid-frame", broken("cut-mid-frame"), NO_FINISH, partial=True),
    Fault("end mid-frame", broken("end-mid-frame"), NO_FINISH, partial=True),
    Fault("no finish reason", broken("no-finish-reason"), NO_FINISH, partial=True),
    Fault("finish length", broken("finish-length"), None, finish_reason="length"),
    Fault(
        "error frame",
        broken("error-frame"),
        errors.BailianServerError,
        "InternalError.Algo",
        500,
        partial=True,
    ),
    Fault(
        "error frame with a space",
        broken("error-frame-with-space"),
        errors.BailianServerError,
        "InternalError.Algo",
        500,
        partial=True,
    ),
    Fault(
        "throttled in the stream",
        refusal("Throttling", in_stream_after=3),
        errors.BailianRateLimitError,
        "Throttling",
        429,
        partial=True,
    ),
    Fault(
        "code in an ordinary frame",
        broken("code-in-frame"),
        errors.BailianServerError,
        "InternalError.Algo",
        200,
        partial=True,
    ),
    Fault(
        "error with status 200",
        broken("error-on-200"),
        errors.BailianServerError,
        "InternalError.Algo",
        200,
    ),
    Fault("output null", broken("output-null"), NO_FINISH),
    Fault("garbage frame", broken("garbage-frame"), NO_FINISH, partial=True),
    Fault("gzip", broken("gzip"), None),
    Fault("stall before the first frame", broken("stall-first"), errors.BailianTimeoutError),
    Fault("stall later", broken("stall-later"), errors.BailianTimeoutError, partial=True),
]

Call = "Callable[[BailianAppChatModel], Any]"


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


async def astream_over_an_aiohttp_client_of_ones_own(model: BailianAppChatModel) -> tuple[str, str]:
    async with HttpxAiohttpClient(trust_env=False) as client:
        return await astream(model.model_copy(update={"http_async_client": client}))


WAYS = [
    invoke,
    stream,
    ainvoke,
    astream,
    stream_over_httpx,
    astream_over_httpx,
    astream_over_an_aiohttp_client_of_ones_own,
]
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
own_way = pytest.mark.parametrize("way", WAYS[:4], ids=lambda way: way.__name__)


@every_way
@pytest.mark.parametrize("fault", MATRIX, ids=lambda fault: fault.name)
async def test_fault(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    fault: Fault,
    way: Callable[[BailianAppChatModel], Any],
) -> None:
    if "error" in fault.app:
        fault.app["error"].given = 0
    app_id = bailian.add_app(App("f", answer=lambda _: ANSWER, **fault.app))
    model = make_model(app_id, timeout=0.25 if "stall" in fault.name else 30)
    before = len(bailian.requests)
    if fault.error is None:
        assert await way(model) == (ANSWER, fault.finish_reason)
    else:
        with pytest.raises(errors.BailianError) as caught:
            await way(model)
        error = caught.value
        text = error.partial.text if error.partial else ""

        assert (type(error), error.code, error.status_code) == (fault.error, fault.code, fault.status)
        assert bool(error.request_id) == fault.request_id
        assert error.is_retryable == fault.retryable
        assert ANSWER.startswith(text)
        assert bool(text) == fault.partial
        assert error.partial is None or "finish_reason" not in error.partial.response_metadata
    assert len(bailian.requests) - before == fault.posts


@every_way
async def test_connection_refused(
    make_model: Callable[..., BailianAppChatModel], way: Callable[[BailianAppChatModel], Any]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = make_model(base_url=f"http://127.0.0.1:{port}/api/v1", max_retries=1)
    with pytest.raises(errors.BailianConnectionError, match=r"no connection to.*emulator") as caught:
        await way(model)

    assert caught.value.is_retryable


@own_way
async def test_full_pool(
    bailian: BailianEmulator,
    make_model: Callable[..., BailianAppChatModel],
    way: Callable[[BailianAppChatModel], Any],
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
            with pytest.raises(errors.BailianTimeoutError, match="too many calls at once") as caught:
                await way(second)
            assert time.monotonic() - started < 0.7  # it waits only once
            sync_chunks.close()
            await chunks.aclose()

    assert caught.value.is_retryable
