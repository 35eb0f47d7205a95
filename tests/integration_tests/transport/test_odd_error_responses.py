"""Error responses that no service should send: each is a `BailianError` in all ways of calling."""

from __future__ import annotations

import json
import random
import re
from typing import TYPE_CHECKING

import httpx
import pytest

from langchain_bailian_app import BailianRetriever, errors
from langchain_bailian_app.errors import BailianError
from tests.call_styles import CALL_STYLES, ainvoke, invoke, make_model_at
from tests.raw_server import encode_response, respond_using, respond_with, run_server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.call_styles import CallStyle

CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
SEED = 20


def make_response(
    body: bytes,
    *,
    status: str = "400 Bad Request",
    content_type: str = "application/json",
    headers: str = "",
) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\nconnection: close\r\n{headers}"
    return encode_response(body, head.encode("utf-8", "surrogateescape"))


async def catch_errors(
    response: bytes, call_styles: Sequence[CallStyle] = CALL_STYLES, **fields: object
) -> list[BailianError]:
    """Return the error that a response causes in each way of calling."""
    caught_errors = []
    with run_server(respond_with(response)) as base_url:
        for call_style in call_styles:
            with pytest.raises(BailianError) as caught:
                await call_style(make_model_at(base_url, **fields))
            caught_errors.append(caught.value)
    return caught_errors


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"code":{"a":1},"message":"refused","request_id":"r"}', "refused"),
        (b'{"code":["a"],"message":["refused"],"request_id":["r"]}', "refused"),
        (b'{"code":"X","message":{"refused":null},"request_id":{}}', "refused"),
        (b'{"code":"X","error":["refused"]}', "refused"),
        (b'{"error":{"code":{},"message":{"a":"refused"}}}', "refused"),
        (b'{"detail":"refused"}', "refused"),
        (b'["refused"]', "refused"),
        (b'{"message":"refused","code":' + b"9" * 5000 + b"}", "refused"),
        (b'data:{"code":"X","message":"refused"}\n\n', "refused"),
        (b'event:error\n:HTTP_STATUS/400\ndata:{"code":"X","message":"refused"}\n\n', "refused"),
        (b"data: " + b"[" * 100_000, "status_code=400"),
        (b'{"a":' * 100_000, "status_code=400"),
        (b'{"code":"X","message":' + b"[" * 900 + b"]" * 900 + b"}", "status_code=400"),
        (b'{"code":"X","message":"refused \\ud800"}', "refused"),
        (b"\xff\xfe\x00r", "status_code=400"),
        (b"<h1>refused</h1>", "refused"),
        (b"", "status 400"),
    ],
)
async def test_an_error_body_of_any_shape_keeps_status_and_text(body: bytes, text: str) -> None:
    for error in await catch_errors(make_response(body)):
        assert (type(error), error.status_code) == (errors.BailianRequestError, 400)
        assert text in str(error)
        assert not error.is_retryable
        assert isinstance(error.code, str | None)
        assert isinstance(error.request_id, str | None)
        assert not CONTROL_CHARACTERS.search(str(error))


async def test_an_error_after_the_frames_of_an_answer_is_found() -> None:
    body = (
        b'data:{"output":{"text":"a"}}\n\nevent:error\ndata:{"code":"Throttling","message":"slow"}\n\n'
    )
    response = make_response(body, status="429 Too Many Requests", content_type="text/event-stream")

    for error in await catch_errors(response):
        assert (type(error), error.code) == (errors.BailianRateLimitError, "Throttling")
        assert error.is_retryable


@pytest.mark.parametrize(
    "charset", ["no-such-charset", "idna", "utf-7", "rot13", "'", "\x01", "utf-16"]
)
async def test_an_error_body_with_an_odd_charset_is_read_as_utf8(charset: str) -> None:
    response = make_response(
        '{"code":"X","message":"拒绝"}'.encode(), content_type=f"application/json; charset={charset}"
    )
    for error in await catch_errors(response):
        if charset.isprintable():  # aiohttp rejects the header otherwise
            assert (error.status_code, error.code) == (400, "X")
            assert "拒绝" in str(error)


@pytest.mark.parametrize(
    "location",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "mailto:a@b.example",
        "http://[::1",
        "http://host.example:port/",
        "http://host.example:99999999999/",
        "https://" + "a" * 5_000 + ".example/",
        "//",
        "http://",
        "https:path",
        "?",
        "",
        "\x00",
        "http://xn--a.example/",
        "http://\u2603\u2603.example/",
    ],
)
async def test_a_redirect_to_an_odd_address_is_a_connection_error(location: str) -> None:
    response = make_response(b"", status="302 Found", headers=f"location: {location}\r\n")

    for error in await catch_errors(response):
        assert isinstance(error, errors.BailianConnectionError)
        assert not error.is_retryable
        assert len(str(error)) < 1000
        if location.isprintable() and len(location) < 1000:
            assert "redirects to" in str(error)
            assert "`base_url`" in str(error)


@pytest.mark.parametrize(
    "value",
    ["x", "nan", "inf", "1e999", "9" * 400, "Mon, 01 Jan 0001 00:00:00 -0000", ",", "0" * 999, "-"],
)
async def test_an_odd_retry_after_does_not_hide_the_error(value: str) -> None:
    response = make_response(
        b'{"code":"Throttling","message":"slow down"}',
        status="429 Too Many Requests",
        headers=f"retry-after: {value}\r\n",
    )

    for error in await catch_errors(response):
        assert (type(error), error.code) == (errors.BailianRateLimitError, "Throttling")


async def test_an_error_raised_by_a_hook_of_a_custom_client_is_converted() -> None:
    async def raise_for_status(response: httpx.Response) -> None:
        response.raise_for_status()

    response = make_response(b'{"code":"X","message":"refused"}', status="403 Forbidden")
    with httpx.Client(event_hooks={"response": [httpx.Response.raise_for_status]}) as client:
        async with httpx.AsyncClient(event_hooks={"response": [raise_for_status]}) as async_client:
            caught_errors = await catch_errors(
                response, (invoke, ainvoke), http_client=client, http_async_client=async_client
            )

    for error in caught_errors:
        assert (type(error), error.status_code) == (errors.BailianPermissionError, 403)


def make_random_response(rng: random.Random) -> bytes:
    """Return a response whose status line, headers and body are odd."""
    values: list[object] = ["X", "拒绝", 7, -1, 1.5, None, True, [], {}, ["a"], {"a": [1]}, "\x1b[31m"]
    names = ["code", "message", "request_id", "error", "status_code", "output", "usage", "detail"]
    document = {name: rng.choice(values) for name in rng.sample(names, rng.randint(0, 5))}
    text = json.dumps(document, ensure_ascii=rng.random() < 0.5).encode()
    body = rng.choice(
        [
            text,
            b"data:" + text + b"\n\n",
            b"event:error\n:HTTP_STATUS/%d\ndata:" % rng.choice([0, 200, 400, 999]) + text + b"\n\n",
            b"[" + text + b"]",
            text[: rng.randint(0, len(text))],
            rng.randbytes(rng.randint(0, 40)),
            json.dumps(rng.choice(values)).encode("utf-16"),
        ]
    )
    statuses = (
        "200 OK,204 No Content,302 Found,304 Not Modified,400,400 \xff,401 x,404 x,429 x,451 x,499 x,"
        "500 x,503 x,599 x,600 x,999 x,99 x,1000 x,-1 x"
    )
    content_types = (
        "application/json,text/event-stream,text/html; charset=x,,x,a/b; charset=utf-16,"
        "multipart/mixed,multipart/mixed; boundary=x,message/rfc822,application/json; =;"
    )
    header_pool = [
        "content-encoding: gzip",
        "content-encoding: deflate, br",
        "content-encoding: x",
        "transfer-encoding: chunked",
        "transfer-encoding: x",
        "content-length: x",
        "content-length: -1",
        "content-length: 3",
        "location: http://[",
        "location: javascript:alert(1)",
        "location: /x",
        "retry-after: x",
        "set-cookie: \x7f=;;; expires=x",
        "x-request-id: \x1b[31m",
        "x-request-id: \udce9",
        "no colon",
        ": no name",
        "x-folded: a\r\n b",
        "x\x00: y",
        "link: <x>; rel",
        "trailer: x",
        "upgrade: websocket",
    ]
    headers = "".join(f"{line}\r\n" for line in rng.sample(header_pool, rng.randint(0, 3)))
    return make_response(
        body,
        status=rng.choice(statuses.split(",")),
        content_type=rng.choice(content_types.split(",")),
        headers=headers,
    )


@pytest.mark.slow
async def test_every_failure_over_a_server_that_sends_random_responses_is_a_bailian_error() -> None:
    rng = random.Random(SEED)
    response = b""
    with run_server(respond_using(lambda _: response)) as base_url:
        models = [make_model_at(base_url, streaming=value) for value in (None, False)]
        for _ in range(60):
            response = make_random_response(rng)
            for call_style in CALL_STYLES:
                failure: Exception | None = None
                try:
                    await call_style(rng.choice(models))
                except Exception as error:  # noqa: BLE001  # other classes fail the test
                    failure = error
                assert isinstance(failure, BailianError | None), (call_style, response)
                assert not CONTROL_CHARACTERS.search(str(failure))


async def test_a_direct_search_converts_odd_error_bodies_too() -> None:
    for body in (b'{"code":{}}', b"\xff", b'{"code":[1],"message":{}}'):
        with run_server(respond_with(make_response(body))) as base_url:
            retriever = BailianRetriever(pipeline_id="p", api_key="k", base_url=base_url, max_retries=0)
            with pytest.raises(errors.BailianRequestError):
                retriever.invoke("?")
            with pytest.raises(errors.BailianRequestError):
                await retriever.ainvoke("?")
