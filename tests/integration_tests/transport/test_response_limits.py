"""Limits on the memory that a response can take: compressed, endless and oversized responses."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from itertools import repeat
from typing import TYPE_CHECKING

import pytest

from langchain_bailian_app._answer.sse import MAX_EVENT_BYTES
from langchain_bailian_app._transport.file_storage import FileUploader
from langchain_bailian_app.errors import (
    BailianRateLimitError,
    BailianRequestError,
    BailianServerError,
    BailianStreamError,
)
from langchain_bailian_app.options._session_files import LocalFile, UploadTarget
from tests.call_styles import (
    ainvoke,
    ainvoke_over_httpx,
    ainvoke_over_injected_aiohttp_client,
    all_clients,
    invoke,
    invoke_over_httpx,
    make_model_at,
    own_clients,
)
from tests.fixtures import compress_zeros, encode_sse, frame_body
from tests.raw_server import respond_using, respond_with, run_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.call_styles import CallStyle
    from tests.raw_server import Connection

MEBIBYTE = 2**20
ANSWER = encode_sse(frame_body("好", "stop"))
ERROR = b'{"code":"Throttling","message":"Slow down.","request_id":"r"}'
ALL_CLIENTS = (
    invoke,
    invoke_over_httpx,
    ainvoke,
    ainvoke_over_httpx,
    ainvoke_over_injected_aiohttp_client,
)


def head(status: int = 200, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *headers, "connection: close"]
    return "\r\n".join([*lines, "\r\n"]).encode()


@pytest.fixture
def peak_bytes() -> Iterator[Callable[[], int]]:
    """Measure the memory that a test allocates."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


async def test_requests_ask_for_responses_without_encoding() -> None:
    requests: list[bytes] = []

    def respond(request: bytes) -> bytes:
        requests.append(request)
        return head() + ANSWER

    with run_server(respond_using(respond)) as base_url:
        for call_style in ALL_CLIENTS:
            assert await call_style(make_model_at(base_url)) == "好"
    for request in requests:
        assert request.lower().count(b"accept-encoding:") == 1
        assert b"\r\naccept-encoding: identity\r\n" in request.lower()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(ANSWER)),
        ("deflate", zlib.compress(ANSWER)),
        ("deflate", zlib.compress(ANSWER, wbits=-zlib.MAX_WBITS)),
        ("identity", ANSWER),
    ],
    ids=["gzip", "deflate", "raw deflate", "identity"],
)
async def test_a_response_with_one_encoding_is_read_anyway(encoding: str, body: bytes) -> None:
    with run_server(respond_with(head(200, f"content-encoding: {encoding}"), body)) as base_url:
        for call_style in ALL_CLIENTS:
            assert await call_style(make_model_at(base_url)) == "好"


STACKED = gzip.compress(compress_zeros(4096))


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(["content-encoding: gzip, gzip"], id="one header"),
        pytest.param(["content-encoding: gzip", "content-encoding: gzip"], id="two headers"),
        pytest.param(["content-encoding: br"], id="another encoding"),
    ],
)
async def test_stacked_encodings_are_rejected_before_the_body_is_read(
    headers: list[str], peak_bytes: Callable[[], int]
) -> None:
    with run_server(respond_with(head(200, *headers), STACKED)) as base_url:
        for call_style in ALL_CLIENTS:
            with pytest.raises(BailianStreamError, match="expected identity, gzip or def") as caught:
                await call_style(make_model_at(base_url, max_retries=2))
            assert not caught.value.is_retryable
    assert peak_bytes() < 20 * MEBIBYTE


async def test_an_error_with_stacked_encodings_has_its_status_and_no_text(
    peak_bytes: Callable[[], int],
) -> None:
    with run_server(respond_with(head(500, "content-encoding: gzip, gzip"), STACKED)) as base_url:
        for call_style in ALL_CLIENTS:
            with pytest.raises(BailianServerError) as caught:
                await call_style(make_model_at(base_url))
            assert caught.value.status_code == 500
    assert peak_bytes() < 20 * MEBIBYTE


async def test_an_error_body_in_gzip_is_read() -> None:
    response = [head(429, "content-encoding: gzip"), gzip.compress(ERROR)]
    with run_server(respond_with(*response)) as base_url:
        for call_style in ALL_CLIENTS:
            with pytest.raises(BailianRateLimitError, match="Slow down"):
                await call_style(make_model_at(base_url))


@own_clients
async def test_invalid_compressed_data_is_a_stream_error(call_style: CallStyle) -> None:
    with (
        run_server(respond_with(head(200, "content-encoding: gzip"), ANSWER)) as base_url,
        pytest.raises(BailianStreamError, match="cannot be decoded: invalid gzip data"),
    ):
        await call_style(make_model_at(base_url))


@pytest.mark.slow
@all_clients
async def test_a_gigabyte_of_zeros_in_gzip_is_not_decompressed_at_once(
    call_style: CallStyle, peak_bytes: Callable[[], int]
) -> None:
    response = [head(200, "content-encoding: gzip"), compress_zeros(1024)]
    with (
        run_server(respond_with(*response)) as base_url,
        pytest.raises(BailianStreamError, match="sent a frame of more than 32 MiB"),
    ):
        await call_style(make_model_at(base_url))

    is_decoded_by_httpx = call_style not in {invoke, ainvoke}
    assert peak_bytes() < (300 if is_decoded_by_httpx else 100) * MEBIBYTE


async def test_an_error_body_of_a_gigabyte_in_gzip_is_cut(peak_bytes: Callable[[], int]) -> None:
    response = [head(500, "content-encoding: gzip"), compress_zeros(1024)]
    with run_server(respond_with(*response)) as base_url:
        for call_style in (invoke, ainvoke):
            with pytest.raises(BailianServerError) as caught:
                await call_style(make_model_at(base_url))
            assert len(caught.value.body) == MEBIBYTE

    assert peak_bytes() < 20 * MEBIBYTE


async def test_other_calls_run_while_a_response_is_decompressed() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    with run_server(respond_with(head(200, "content-encoding: gzip"), compress_zeros(20))) as base_url:
        counter_task = asyncio.create_task(count())
        with pytest.raises(BailianStreamError):
            await ainvoke(make_model_at(base_url))
        counter_task.cancel()

    assert turns > 300  # one for each 64 KiB


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "piece"),
    [
        pytest.param(b"data:", b"x" * 2**16, id="a line without end"),
        pytest.param(b":", b"x" * 2**16, id="a comment without end"),
        pytest.param(b"data:", (b"\ndata:" + b"x" * 8000) * 8, id="an event without end"),
        pytest.param(b"{", b"x" * 2**16, id="a document without end"),
        pytest.param(b"", b" \n\r\t" * 2**14, id="white space without end"),
    ],
)
@own_clients
async def test_an_endless_response_ends_at_the_limit(
    call_style: CallStyle, start: bytes, piece: bytes, peak_bytes: Callable[[], int]
) -> None:
    with (
        run_server(respond_with(head(), start, then=repeat(piece))) as base_url,
        pytest.raises(BailianStreamError, match="sent a frame of more than 32 MiB") as caught,
    ):
        await call_style(make_model_at(base_url, max_retries=2))

    assert not caught.value.is_retryable
    assert peak_bytes() < 120 * MEBIBYTE


async def test_an_endless_error_body_is_cut(peak_bytes: Callable[[], int]) -> None:
    with run_server(respond_with(head(500), then=repeat(b"x" * 2**16))) as base_url:
        for call_style in (invoke, ainvoke):
            with pytest.raises(BailianServerError) as caught:
                await call_style(make_model_at(base_url))
            assert len(caught.value.body) == MEBIBYTE

    assert peak_bytes() < 20 * MEBIBYTE


async def test_the_frames_before_an_oversized_one_are_in_the_error() -> None:
    frames = encode_sse(frame_body("好"), frame_body("的"))
    oversized = b"data:" + bytes(MAX_EVENT_BYTES + 1)
    with run_server(respond_with(head(), frames, oversized)) as base_url:
        for call_style in (invoke, ainvoke):
            with pytest.raises(BailianStreamError) as caught:
                await call_style(make_model_at(base_url))
            assert caught.value.partial is not None
            assert caught.value.partial.text == "好的"


@pytest.mark.slow
@own_clients
async def test_an_answer_with_a_data_url_of_10_mb_is_read(call_style: CallStyle) -> None:
    image = "data:image/png;base64," + "A" * 13_400_000
    with run_server(respond_with(head(), encode_sse(frame_body(image, "stop")))) as base_url:
        assert await call_style(make_model_at(base_url)) == image


def upload(base_url: str, path: Path) -> None:
    path.write_bytes(b"0123456789")
    FileUploader().upload(
        LocalFile(path.name, 10, path), UploadTarget("lease", "PUT", base_url, {}), lambda _: None
    )


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "400 Bad Request", "503 Unavailable"])
@pytest.mark.parametrize("headers", ["content-encoding: gzip", "content-encoding: gzip, br", "x: y"])
def test_the_response_to_an_upload_is_not_read_to_its_end(
    tmp_path: Path, status: str, headers: str, peak_bytes: Callable[[], int]
) -> None:
    closed: list[bool] = []

    def handle(connection: Connection) -> None:
        connection.receive_request()
        connection.send(f"HTTP/1.1 {status}\r\nlocation: /elsewhere\r\n{headers}\r\n\r\n".encode())
        connection.send(b"<Error><Code>AccessDenied</Code>")
        try:
            while True:
                connection.send(bytes(2**16))
        except OSError:
            closed.append(True)

    error: Exception | None = None
    with run_server(handle) as base_url:
        try:
            upload(base_url, tmp_path / "note.md")
        except (BailianRequestError, BailianServerError) as exc:
            error = exc

    assert closed
    assert peak_bytes() < MEBIBYTE
    assert (error is None) == status.startswith("200")
    if status.startswith("4"):
        assert "AccessDenied" in str(error)
