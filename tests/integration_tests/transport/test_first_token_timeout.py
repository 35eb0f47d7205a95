"""The limit on the wait for the first token, in all ways of calling."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app import BailianRetriever
from langchain_bailian_app.errors import (
    BailianConnectionError,
    BailianRateLimitError,
    BailianTimeoutError,
)
from tests.call_styles import (
    CALL_STYLES,
    ainvoke,
    all_call_styles,
    all_clients,
    make_model_at,
    own_clients,
)
from tests.fixtures import encode_sse, frame_body
from tests.raw_server import CHUNKED_SSE_HEAD as HEAD
from tests.raw_server import encode_chunk, encode_response, respond_with, run_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.call_styles import CallStyle
    from tests.raw_server import Connection

LIMIT, LATENESS = 0.3, 0.7  # seconds
REASONING = {"action_type": "reasoning", "thought": "想"}
STEP = {"action_type": "agentRag", "action": "检索", "action_input": "{}", "observation": "[]"}


def encode_frame(text: str = "", finish_reason: str = "null", **output: Any) -> bytes:
    return encode_chunk(encode_sse(frame_body(text, finish_reason, **output)))


EMPTY = encode_frame()
LAST = encode_frame("好", "stop") + encode_chunk(b"")


def send_nothing() -> Iterator[bytes]:
    yield b""


def send_part_of_the_head() -> Iterator[bytes]:
    yield HEAD[:20]


def send_the_head() -> Iterator[bytes]:
    yield HEAD


def send_heartbeats() -> Iterator[bytes]:
    return itertools.chain([HEAD], itertools.repeat(encode_chunk(b":ping\n\n")))


def send_empty_frames() -> Iterator[bytes]:
    return itertools.chain([HEAD], itertools.repeat(EMPTY))


def send_empty_reasoning() -> Iterator[bytes]:
    frame = encode_frame(thoughts=[REASONING | {"thought": ""}])
    return itertools.chain([HEAD], itertools.repeat(frame))


def fall_silent_after_empty_frames() -> Iterator[bytes]:
    return iter([HEAD, EMPTY, EMPTY])


WITHOUT_FRAMES = [send_nothing, send_part_of_the_head, send_the_head, send_heartbeats]
WITH_EMPTY_FRAMES = [send_empty_frames, send_empty_reasoning, fall_silent_after_empty_frames]


def respond_slowly(send: Callable[[], Iterator[bytes]]) -> Callable[[Connection], None]:
    """Return a handler that answers each request in the same way, and keeps its connection open."""

    def handle(connection: Connection) -> None:
        respond_with(then=send(), pause=0.02, keep_open=True)(connection)

    return handle


async def expect_timeout(call_style: CallStyle, base_url: str, **fields: Any) -> BailianTimeoutError:
    model = make_model_at(base_url, **{"first_token_timeout": LIMIT} | fields)
    started_at = time.monotonic()
    message = r"no text, reasoning or step from 127\.0\.0\.1 within 0\.3 s \(`first_token_timeout`\)$"
    with pytest.raises(BailianTimeoutError, match=message) as caught:
        await call_style(model)

    assert LIMIT - 0.05 < time.monotonic() - started_at < LIMIT + LATENESS
    return caught.value


@pytest.mark.slow
@all_call_styles
def test_a_call_without_a_token_ends_in_time(call_style: CallStyle) -> None:
    async def call(send: Callable[[], Iterator[bytes]]) -> None:
        with run_server(respond_slowly(send)) as base_url:
            error = await expect_timeout(call_style, base_url, max_retries=2)

        assert not error.is_retryable
        if send in WITHOUT_FRAMES:
            assert error.partial is None
        else:
            assert error.partial is not None
            assert error.partial.text == ""
            assert error.partial.response_metadata["request_id"] == "r"

    with ThreadPoolExecutor() as threads:
        cases = [*WITHOUT_FRAMES, *WITH_EMPTY_FRAMES]
        list(threads.map(lambda send: asyncio.run(call(send)), cases))


@pytest.mark.slow
@all_clients
async def test_empty_frames_are_no_tokens_with_any_client(call_style: CallStyle) -> None:
    with run_server(respond_slowly(send_empty_frames)) as base_url:
        await expect_timeout(call_style, base_url)


@pytest.mark.slow
@pytest.mark.parametrize(
    "output",
    [
        {"text": "好"},
        {"thoughts": [REASONING]},
        {"thoughts": [STEP]},
        {"workflow_message": {"node_id": "LLM_1", "node_status": "executing"}},
    ],
    ids=["text", "reasoning", "step", "node"],
)
def test_after_the_first_token_only_the_other_timeouts_apply(output: dict[str, Any]) -> None:
    async def call(call_style: CallStyle) -> None:
        pieces = [HEAD + EMPTY, encode_frame(**output), EMPTY, LAST]
        with run_server(respond_with(*pieces, pause=LIMIT / 2 + 0.05)) as base_url:
            model = make_model_at(base_url, first_token_timeout=LIMIT + 0.1)

            assert (await call_style(model)).endswith("好")

    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda call_style: asyncio.run(call(call_style)), CALL_STYLES))


@pytest.mark.slow
@all_clients
async def test_a_long_pause_after_the_first_token_is_no_timeout(call_style: CallStyle) -> None:
    pieces = [HEAD + encode_frame("好"), LAST]
    with run_server(respond_with(*pieces, pause=2 * LIMIT)) as base_url:
        assert await call_style(make_model_at(base_url, first_token_timeout=LIMIT)) == "好好"


@own_clients
async def test_an_answer_without_a_token_is_complete(call_style: CallStyle) -> None:
    handle = respond_with(HEAD + EMPTY + encode_frame("", "stop") + encode_chunk(b""))
    with run_server(handle) as base_url:
        assert await call_style(make_model_at(base_url, first_token_timeout=LIMIT)) == ""


def reject_first_request(*, seconds: float, retry_after: float) -> Callable[[Connection], None]:
    """Return a handler that rejects a request, then answers, and takes some time for each."""
    body = json.dumps({"code": "Throttling", "message": "slow down", "request_id": "r"}).encode()
    head = f"HTTP/1.1 429 Too Many\r\nretry-after: {retry_after}\r\nconnection: close\r\n".encode()
    responses = iter([encode_response(body, head), HEAD + LAST])

    def handle(connection: Connection) -> None:
        if connection.receive_request() and not connection.wait(seconds):
            connection.send(next(responses))

    return handle


@pytest.mark.slow
@own_clients
async def test_the_limit_starts_anew_when_a_request_is_sent_again(call_style: CallStyle) -> None:
    with run_server(reject_first_request(seconds=LIMIT - 0.1, retry_after=LIMIT)) as base_url:
        model = make_model_at(base_url, first_token_timeout=LIMIT, max_retries=1)

        assert await call_style(model) == "好"


@own_clients
async def test_a_retry_does_not_exceed_the_total_timeout(call_style: CallStyle) -> None:
    with run_server(reject_first_request(seconds=0, retry_after=1)) as base_url:
        model = make_model_at(base_url, first_token_timeout=0.1, total_timeout=0.5, max_retries=1)
        with pytest.raises(BailianRateLimitError):
            await call_style(model)


@pytest.mark.slow
@own_clients
async def test_the_earlier_of_two_limits_is_named(call_style: CallStyle) -> None:
    with run_server(respond_with(HEAD, keep_open=True)) as base_url:
        for name in ("timeout", "total_timeout"):
            model = make_model_at(base_url, first_token_timeout=5, **{name: 0.1})
            with pytest.raises(BailianTimeoutError, match=f"`{name}`"):
                await call_style(model)


@pytest.mark.slow
@own_clients
async def test_the_wait_for_a_free_connection_counts(call_style: CallStyle) -> None:
    with run_server(respond_with(keep_open=True)) as base_url:
        model = make_model_at(base_url, max_connections=1)
        call = model.ainvoke("?") if call_style is ainvoke else asyncio.to_thread(model.invoke, "?")
        earlier_call = asyncio.ensure_future(call)
        await asyncio.sleep(0.1)
        await expect_timeout(call_style, base_url, max_connections=1, max_retries=2)

    with pytest.raises(BailianConnectionError):
        await earlier_call


@pytest.mark.slow
@own_clients
async def test_a_connection_that_takes_too_long_is_not_tried_again(call_style: CallStyle) -> None:
    with run_server(lambda connection: connection.wait()) as base_url:  # without a TLS handshake
        await expect_timeout(call_style, base_url.replace("http:", "https:"), max_retries=2)


@pytest.mark.slow
@own_clients
async def test_a_response_that_is_not_a_stream_must_be_complete_in_time(call_style: CallStyle) -> None:
    body = json.dumps(frame_body("好", "stop")).encode()
    response = encode_response(body, b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
    with run_server(respond_with(response)) as base_url:
        model = make_model_at(base_url, first_token_timeout=LIMIT, streaming=False)
        assert await call_style(model) == "好"
    with run_server(respond_with(response[:-5], response[-5:], pause=2 * LIMIT)) as base_url:
        await expect_timeout(call_style, base_url, streaming=False)


@pytest.mark.slow
@pytest.mark.parametrize("target", [{"app_id": "app"}, {"pipeline_id": "kb"}, {"pipeline_name": "b"}])
async def test_the_limit_applies_to_the_retriever(target: dict[str, str]) -> None:
    with run_server(respond_slowly(send_heartbeats)) as base_url:
        settings = {"api_key": "k", "base_url": base_url, "first_token_timeout": LIMIT}
        retriever = BailianRetriever(**target, **settings)
        with pytest.raises(BailianTimeoutError, match="`first_token_timeout`"):
            retriever.invoke("?")
        with pytest.raises(BailianTimeoutError, match="`first_token_timeout`"):
            await retriever.ainvoke("?")


def test_the_retriever_has_the_limit_of_its_model() -> None:
    model = make_model_at("http://127.0.0.1:1/api/v1", first_token_timeout=7)

    assert BailianRetriever(model=model).first_token_timeout == 7
