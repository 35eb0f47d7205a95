"""Odd servers and odd settings: what a reviewer tried, kept as tests."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import contextmanager
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_bailian_app.emulator import BailianEmulator

    Make = Callable[..., BailianAppChatModel]

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FINISHED = (
    b'data:{"output":{"text":"\xe5\xa5\xbd","finish_reason":"null"},"request_id":"r"}\n\n'
    b'data:{"output":{"text":"","finish_reason":"stop"},"request_id":"r"}\n\n'
)


THE_LAST = HEAD.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@contextmanager
def server(*pieces: bytes, pause: float = 0.0, hold: float = 3.0) -> Iterator[str]:
    """Answer each connection with these pieces, then keep it open."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            try:
                for piece in pieces:
                    connection.sendall(piece)
                    over.wait(pause)
            except OSError:
                return  # the client has gone
            over.wait(hold)

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1"
    over.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def model_at(base_url: str, **fields: Any) -> BailianAppChatModel:
    return BailianAppChatModel(app_id="app", api_key="k", base_url=base_url, max_retries=0, **fields)


@pytest.mark.parametrize("head", [HEAD, THE_LAST], ids=["kept", "closed after it"])
@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_finished_answer_waits_for_no_end_of_the_connection(way: str, head: bytes) -> None:
    with server(head, chunk(FINISHED)) as base_url:
        model = model_at(base_url)
        since = time.monotonic()
        answer = await model.ainvoke("?") if way == "ainvoke" else model.invoke("?")

        assert answer.text == "好"
        assert time.monotonic() - since < 1.5


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_total_timeout_ends_a_silence_that_began_late(way: str) -> None:
    with server(HEAD, chunk(b":ping\n"), pause=0.6) as base_url:
        model = model_at(base_url, total_timeout=0.8)
        since = time.monotonic()
        with pytest.raises(BailianTimeoutError, match="total_timeout"):
            await model.ainvoke("?") if way == "ainvoke" else model.invoke("?")

        assert time.monotonic() - since < 1.3


async def test_what_comes_behind_a_finished_answer_takes_nothing_away() -> None:
    error = b'event:error\n:HTTP_STATUS/500\ndata:{"code":"SystemError","message":"late"}\n\n'
    with server(
        HEAD, chunk(FINISHED), chunk(error), chunk(b"data:garbage\n\n"), b"0\r\n\r\n"
    ) as base_url:
        model = model_at(base_url, timeout=1, total_timeout=1)

        assert model.invoke("?").text == "好"
        assert (await model.ainvoke("?")).text == "好"


MANY = FINISHED[: FINISHED.index(b"\n\n") + 2] * 20 + FINISHED


async def turns_of_others(base_url: str) -> list[int]:
    """Stream an answer, return how often another task had its turn before each chunk."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    seen = [turns async for _ in model_at(base_url).astream("?")]
    counting.cancel()
    return seen


async def test_calls_that_begin_go_before_those_that_catch_up() -> None:
    with server(HEAD, chunk(MANY)) as fast, server(HEAD) as slow:
        alone = await turns_of_others(fast)
        beginning = asyncio.create_task(model_at(slow).ainvoke("?"))
        await asyncio.sleep(0.05)
        in_company = await turns_of_others(fast)
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning

        assert len(set(alone[:20])) == 1
        assert len(set(in_company[:20])) == 6
        assert len(set((await turns_of_others(fast))[:20])) == 1


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_heartbeats_are_no_frames(way: str) -> None:
    with server(HEAD, *[chunk(b":ping\n")] * 40, pause=0.05) as base_url:
        model = model_at(base_url, timeout=0.3)
        with pytest.raises(BailianTimeoutError, match=r"silent for 0\.3 s"):
            await model.ainvoke("?") if way == "ainvoke" else model.invoke("?")


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_total_timeout_before_the_reply_begins(way: str) -> None:
    with server() as base_url:
        model = model_at(base_url, total_timeout=0.3)
        with pytest.raises(BailianTimeoutError, match=r"total_timeout") as caught:
            await model.ainvoke("?") if way == "ainvoke" else model.invoke("?")

    assert not caught.value.is_retryable


def test_whoever_reads_may_take_its_time(make_model: Make) -> None:
    text = ""
    for piece in make_model(timeout=0.2).stream("什么是滞报金？"):
        if not text:
            time.sleep(0.5)
        text += piece.text

    assert text.endswith("。")


@pytest.mark.parametrize(
    ("status", "body", "error", "tries"),
    [
        (429, b'{"code":"QuotaExhausted","message":"m"}', BailianRateLimitError, 1),
        (503, b'{"code":"Arrearage","message":"m"}', BailianError, 1),
        (400, b'{"code":400,"message":{"a":1},"request_id":7}', BailianRequestError, 1),
    ],
)
def test_odd_refusals(
    bailian: BailianEmulator,
    make_model: Make,
    status: int,
    body: bytes,
    error: type[BailianError],
    tries: int,
) -> None:
    app_id = bailian.replay(body, status=status, content_type="application/json")
    before = len(bailian.requests)
    with pytest.raises(error) as caught:
        make_model(app_id).invoke("?")

    assert not caught.value.is_retryable
    assert len(bailian.requests) - before == tries


@pytest.mark.parametrize("count", [b"NaN", b"Infinity", b'"3"', b"3.5", b'"x"', b"[]", b"1" * 400])
def test_odd_counts_of_tokens_end_no_answer(
    bailian: BailianEmulator, make_model: Make, count: bytes
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
def test_the_cache_answers_for_nobody_else(
    bailian: BailianEmulator, make_model: Make, first: Any, second: Any, *, as_field: bool
) -> None:
    app_id = bailian.add_app(App("counts", answer=lambda _: f"第{len(bailian.requests)}次"))
    set_llm_cache(InMemoryCache())
    try:
        if as_field:
            answers = [make_model(app_id, cache=True, **given).invoke("?") for given in (first, second)]
        else:
            model = make_model(app_id, cache=True)
            answers = [model.invoke("?", **given) for given in (first, second)]
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
        ({"http_client": httpx.AsyncClient()}, "should be an httpx.Client"),
        ({"dashscope_api_key": "k"}, "did you mean `api_key`"),
        ({"tempreture": 1}, "did you mean `temperature`"),
        ({"stop": [""]}, "stop"),
    ],
)
def test_wrong_settings_are_explained(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text) as caught:
        BailianAppChatModel(app_id="app", **fields)

    assert "hidden" not in str(caught.value)


def test_what_steers_a_model_is_traced_also_if_it_is_nothing(make_model: Make) -> None:
    traced = make_model(temperature=0, seed=0, enable_thinking=False, streaming=False).asdict()

    assert {name: traced[name] for name in ("temperature", "seed", "enable_thinking", "streaming")} == {
        "temperature": 0,
        "seed": 0,
        "enable_thinking": False,
        "streaming": False,
    }


def test_a_last_frame_that_says_it_all_again_says_nothing(
    bailian: BailianEmulator, make_model: Make
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


def test_a_plugin_call_keeps_its_arguments(bailian: BailianEmulator, make_model: Make) -> None:
    body = (
        '{"output":{"text":"a","finish_reason":"stop","thoughts":[{"action":"p","action_name":"天气",'
        '"arguments":"{}","action_input":{"city":"杭州"},"observation":"晴"}]},"request_id":"r"}'
    )
    block = make_model(bailian.replay(body.encode())).invoke("?").content_blocks[0]

    assert (block["type"], block["args"]) == ("server_tool_call", {"city": "杭州"})
