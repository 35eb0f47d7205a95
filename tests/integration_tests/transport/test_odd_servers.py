"""Odd servers and odd settings that a reviewer tried."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from pydantic import ValidationError

from langchain_bailian_app import BailianAppChatModel, BizParams
from langchain_bailian_app.emulator import App
from langchain_bailian_app.errors import (
    BailianError,
    BailianRateLimitError,
    BailianRequestError,
    BailianTimeoutError,
)
from tests.call_styles import make_model_at, own_clients
from tests.raw_server import CHUNKED_SSE_HEAD as HEAD
from tests.raw_server import encode_chunk, respond_with, run_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app.emulator import BailianEmulator
    from tests.call_styles import CallStyle

    MakeModel = Callable[..., BailianAppChatModel]

FINISHED = (
    b'data:{"output":{"text":"\xe5\xa5\xbd","finish_reason":"null"},"request_id":"r"}\n\n'
    b'data:{"output":{"text":"","finish_reason":"stop"},"request_id":"r"}\n\n'
)


HEAD_WITH_CLOSE = HEAD.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")


@pytest.mark.parametrize("head", [HEAD, HEAD_WITH_CLOSE], ids=["kept", "closed after it"])
@own_clients
async def test_a_finished_answer_does_not_wait_for_the_end_of_the_connection(
    call_style: CallStyle, head: bytes
) -> None:
    with run_server(respond_with(head, encode_chunk(FINISHED), keep_open=True)) as base_url:
        model = make_model_at(base_url)
        started_at = time.monotonic()

        assert await call_style(model) == "好"
        assert time.monotonic() - started_at < 1.5


@pytest.mark.slow
@own_clients
async def test_total_timeout_applies_when_a_stream_falls_silent(call_style: CallStyle) -> None:
    with run_server(
        respond_with(HEAD, encode_chunk(b":ping\n"), pause=0.6, keep_open=True)
    ) as base_url:
        model = make_model_at(base_url, total_timeout=0.8)
        started_at = time.monotonic()
        with pytest.raises(BailianTimeoutError, match="total_timeout"):
            await call_style(model)

        assert time.monotonic() - started_at < 1.3


async def test_data_after_a_finished_answer_is_ignored() -> None:
    error = b'event:error\n:HTTP_STATUS/500\ndata:{"code":"SystemError","message":"late"}\n\n'
    chunks = [encode_chunk(data) for data in (FINISHED, error, b"data:garbage\n\n", b"")]
    with run_server(respond_with(HEAD, *chunks, keep_open=True)) as base_url:
        model = make_model_at(base_url, timeout=1, total_timeout=1)

        assert model.invoke("?").text == "好"
        assert (await model.ainvoke("?")).text == "好"


MANY_FRAMES = FINISHED[: FINISHED.index(b"\n\n") + 2] * 20 + FINISHED


async def count_other_turns(base_url: str) -> list[int]:
    """Stream an answer; return how often another task ran before each chunk."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter_task = asyncio.create_task(count())
    turns_per_chunk = [turns async for _ in make_model_at(base_url).astream("?")]
    counter_task.cancel()
    return turns_per_chunk


async def test_starting_calls_go_before_buffered_frames() -> None:
    send_frames = respond_with(HEAD, encode_chunk(MANY_FRAMES), keep_open=True)
    send_head = respond_with(HEAD, keep_open=True)
    with run_server(send_frames) as fast, run_server(send_head) as slow:
        turns_before = await count_other_turns(fast)
        starting_call = asyncio.create_task(make_model_at(slow).ainvoke("?"))
        await asyncio.sleep(0.05)
        turns_during_call = await count_other_turns(fast)
        starting_call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting_call

        assert len(set(turns_before[:20])) == 1
        assert len(set(turns_during_call[:20])) == 6
        assert len(set((await count_other_turns(fast))[:20])) == 1


@pytest.mark.slow
@own_clients
async def test_heartbeats_are_no_frames(call_style: CallStyle) -> None:
    heartbeats = [encode_chunk(b":ping\n")] * 40
    with run_server(respond_with(HEAD, *heartbeats, pause=0.05, keep_open=True)) as base_url:
        model = make_model_at(base_url, timeout=0.3)
        with pytest.raises(BailianTimeoutError, match=r"no response from 127.0.0.1 for 0\.3 s"):
            await call_style(model)


@pytest.mark.slow
@own_clients
async def test_total_timeout_applies_before_the_reply_begins(call_style: CallStyle) -> None:
    with run_server(respond_with(keep_open=True)) as base_url:
        model = make_model_at(base_url, total_timeout=0.3)
        with pytest.raises(BailianTimeoutError, match=r"total_timeout") as caught:
            await call_style(model)

    assert not caught.value.is_retryable


@pytest.mark.slow
def test_a_slow_reader_causes_no_timeout(make_model: MakeModel) -> None:
    text = ""
    for chunk in make_model(timeout=0.2).stream("什么是滞报金？"):
        if not text:
            time.sleep(0.5)
        text += chunk.text

    assert text.endswith("。")


@pytest.mark.parametrize(
    ("status", "body", "error", "attempts"),
    [
        (429, b'{"code":"QuotaExhausted","message":"m"}', BailianRateLimitError, 1),
        (503, b'{"code":"Arrearage","message":"m"}', BailianError, 1),
        (400, b'{"code":400,"message":{"a":1},"request_id":7}', BailianRequestError, 1),
    ],
)
def test_unusual_error_responses_have_the_expected_class(
    bailian: BailianEmulator,
    make_model: MakeModel,
    status: int,
    body: bytes,
    error: type[BailianError],
    attempts: int,
) -> None:
    app_id = bailian.replay(body, status=status, content_type="application/json")
    before = len(bailian.requests)
    with pytest.raises(error) as caught:
        make_model(app_id).invoke("?")

    assert not caught.value.is_retryable
    assert len(bailian.requests) - before == attempts


@pytest.mark.parametrize("count", [b"NaN", b"Infinity", b'"3"', b"3.5", b'"x"', b"[]", b"1" * 400])
def test_invalid_token_counts_do_not_break_the_answer(
    bailian: BailianEmulator, make_model: MakeModel, count: bytes
) -> None:
    body = (
        b'{"output":{"text":"a","finish_reason":"stop"},"request_id":"r",'
        b'"usage":{"models":[{"input_tokens":' + count + b',"output_tokens":2}]}}'
    )

    assert make_model(bailian.replay(body)).invoke("?").text == "a"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            {"biz_params": BizParams(user_defined_tokens={"t": "alice"})},
            {"biz_params": BizParams(user_defined_tokens={"t": "bob"})},
        ),
        ({"image_list": ["https://x.example/1"]}, {"image_list": ["https://x.example/2"]}),
        ({"session_id": "s"}, {"session_id": "s"}),
        ({"history": "session"}, {"history": "session"}),
    ],
)
@pytest.mark.parametrize("as_field", [True, False])
def test_the_cache_distinguishes_calls_with_different_options(
    bailian: BailianEmulator, make_model: MakeModel, first: Any, second: Any, *, as_field: bool
) -> None:
    app_id = bailian.add_app(App("counts", answer=lambda _: f"第{len(bailian.requests)}次"))
    set_llm_cache(InMemoryCache())
    try:
        if as_field:
            answers = [
                make_model(app_id, cache=True, **options).invoke("?") for options in (first, second)
            ]
        else:
            model = make_model(app_id, cache=True)
            answers = [model.invoke("?", **options) for options in (first, second)]
        plain = [make_model(app_id, cache=True).invoke("!").text for _ in range(2)]
    finally:
        set_llm_cache(None)

    assert answers[0].text != answers[1].text
    assert plain[0] == plain[1]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"base_url": "https://user:hidden@x.example/api/v1"}, "user name or password"),
        ({"base_url": "https://x.example:port/api/v1"}, "port"),
        ({"base_url": "http://127.0.0.1:8765"}, "http://127.0.0.1:8765/api/v1"),
        ({"http_client": httpx.AsyncClient()}, "expected an httpx.Client"),
        ({"dashscope_api_key": "k"}, "did you mean `api_key`"),
        ({"tempreture": 1}, "did you mean `temperature`"),
        ({"stop": [""]}, "stop"),
    ],
)
def test_wrong_settings_are_explained(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text) as caught:
        BailianAppChatModel(app_id="app", **fields)

    assert "hidden" not in str(caught.value)


def test_falsy_settings_are_traced(make_model: MakeModel) -> None:
    traced = make_model(temperature=0, seed=0, enable_thinking=False, streaming=False).asdict()

    assert {name: traced[name] for name in ("temperature", "seed", "enable_thinking", "streaming")} == {
        "temperature": 0,
        "seed": 0,
        "enable_thinking": False,
        "streaming": False,
    }


def test_a_last_frame_that_repeats_the_answer_adds_nothing(
    bailian: BailianEmulator, make_model: MakeModel
) -> None:
    frames = [
        ("我是来自云端的助手", "null"),
        ("，你好", "null"),
        ("我是来自云端的助手，你好。", "stop"),
    ]
    body = "".join(
        f'data:{{"output":{{"text":"{text}","finish_reason":"{reason}"}},"request_id":"r"}}\n\n'
        for text, reason in frames
    )

    assert make_model(bailian.replay(body.encode())).invoke("?").text == "我是来自云端的助手，你好。"


def test_a_plugin_call_keeps_its_arguments(bailian: BailianEmulator, make_model: MakeModel) -> None:
    body = (
        '{"output":{"text":"a","finish_reason":"stop","thoughts":[{"action":"p","action_name":"天气",'
        '"arguments":"{}","action_input":{"city":"杭州"},"observation":"晴"}]},"request_id":"r"}'
    )
    block = make_model(bailian.replay(body.encode())).invoke("?").content_blocks[0]

    assert (block["type"], block["args"]) == ("server_tool_call", {"city": "杭州"})
