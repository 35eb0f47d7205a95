"""Tests that a planted API key and planted tokens are sent to the service and appear nowhere else."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
import socket
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumpd
from langchain_core.messages import HumanMessage
from langchain_core.tracers import BaseTracer
from pydantic import ValidationError

import langchain_bailian_app
from langchain_bailian_app import BailianAppChatModel, BailianRetriever, BizParams
from langchain_bailian_app._request.service_request import ServiceRequest
from langchain_bailian_app.emulator import BailianEmulator, ErrorReply
from langchain_bailian_app.emulator._apps.app import App
from langchain_bailian_app.errors import BailianConnectionError, BailianError, BailianFileError
from langchain_bailian_app.files import BailianFiles
from langchain_bailian_app.memory import BailianMemory
from langchain_bailian_app.sessions._plan import ConversationDigest
from tests.call_styles import CALL_STYLES, all_call_styles, make_model_at
from tests.raw_server import encode_response, respond_using, respond_with, run_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.tracers import Run

    from tests.call_styles import CallStyle

KEY = "sk-planted-key"
TOKEN = "planted-token"
SIGNATURE = "Signature=planted-signature"
PLANTED = ("planted-key", TOKEN, "planted-signature")
TOKENS = {"user_defined_tokens": {"tool": {"user_token": TOKEN}}}
IMAGE = f"https://pictures.example/1.png?{SIGNATURE}"


class CallbackRecorder(BaseCallbackHandler):
    """Callback handler that records everything it receives."""

    def __init__(self) -> None:
        self.records: list[str] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.records.append(repr((serialized, messages, kwargs)))

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.records.append(repr((token, kwargs)))

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.records.append(repr((response, kwargs)))

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        self.records.append(repr((error, str(error), kwargs)))


class Tracer(BaseTracer):
    """Tracer that keeps the runs that LangSmith's tracer would send."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[str] = []

    def _persist_run(self, run: Run) -> None:
        self.records.append(repr(run.model_dump() if hasattr(run, "model_dump") else vars(run)))


@pytest.fixture
def bailian() -> Iterator[BailianEmulator]:
    with BailianEmulator(api_key=KEY) as emulator:
        yield emulator


def assert_no_secret(*values: object) -> None:
    """Check that the values contain no planted secret."""
    text = "\n".join(str(value) for value in values)
    for secret in PLANTED:
        assert secret not in text


def check_last_request(bailian: BailianEmulator) -> None:
    """Check that the latest request was accepted, and that its record contains no secret."""
    assert bailian.requests[-1].status == 200
    assert "[removed]" in repr(bailian.requests[-1])
    assert_no_secret(repr(vars(bailian.requests[-1])))


async def call_in_every_style(model: Any, **keywords: Any) -> None:
    recorder, tracer = CallbackRecorder(), Tracer()
    config: Any = {"callbacks": [recorder, tracer]}
    model.invoke("?", config, **keywords)
    list(model.stream("?", config, **keywords))
    model.batch(["?"], config, **keywords)
    await model.ainvoke("?", config, **keywords)
    [_ async for _ in model.astream("?", config, **keywords)]
    events = [event async for event in model.astream_events("?", config, version="v2", **keywords)]
    assert recorder.records
    assert tracer.records
    assert_no_secret(*recorder.records, *tracer.records, *map(repr, events))


@pytest.mark.slow
async def test_secrets_of_the_constructor_are_not_exposed(
    bailian: BailianEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    model = BailianAppChatModel(
        app_id=bailian.app_id,
        base_url=bailian.base_url,
        api_key=KEY,
        biz_params=TOKENS,
        image_list=[IMAGE],
    )
    await call_in_every_style(model)

    assert bailian.requests[-1].body["input"]["image_list"] == [IMAGE]
    assert_no_secret(
        caplog.text,
        repr(model),
        str(model),
        model.asdict(),
        model.model_dump(),
        model.model_dump_json(),
    )
    assert_no_secret(
        json.dumps(dumpd(model)), repr(model.bind(stop=["x"])), repr(model.with_config(tags=["t"]))
    )
    assert_no_secret(repr(vars(model)["biz_params"]))
    assert_no_secret(model._get_llm_string(), model._serialized)


@pytest.mark.slow
async def test_secrets_of_a_call_and_bound_secrets_are_not_exposed(
    bailian: BailianEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    model = BailianAppChatModel(app_id=bailian.app_id, base_url=bailian.base_url, api_key=KEY)
    await call_in_every_style(model, biz_params=TOKENS)
    check_last_request(bailian)
    await call_in_every_style(model.bind(biz_params=TOKENS))
    check_last_request(bailian)
    recorder = CallbackRecorder()
    model.generate([[HumanMessage("?")]], callbacks=[recorder], biz_params=TOKENS, image_list=[IMAGE])

    assert_no_secret(caplog.text, repr(model.bind(biz_params=TOKENS)), *recorder.records)


@pytest.fixture
def closed_host() -> Iterator[str]:
    """Return the address of a port that refuses connections, and that no one else gets."""
    with socket.socket() as unused_socket:
        unused_socket.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{unused_socket.getsockname()[1]}"


def test_errors_expose_no_secrets(bailian: BailianEmulator, closed_host: str) -> None:
    app_id = bailian.add_app(App("broken", error=ErrorReply.of("AppProcessFailed")))
    for base_url in (bailian.base_url, f"http://{closed_host}/api/v1"):
        model = BailianAppChatModel(
            app_id=app_id, base_url=base_url, api_key=KEY, biz_params=TOKENS, max_retries=0
        )
        with pytest.raises(BailianError) as caught:
            model.invoke("?")
        error = caught.value
        assert_no_secret(
            repr(error), str(error), vars(error), "".join(traceback.format_exception(error))
        )
        assert not any(secret.encode() in pickle.dumps(error) for secret in PLANTED)


def test_validation_errors_expose_no_secrets() -> None:
    invalid_fields: list[dict[str, Any]] = [
        {"biz_params": {"user_defined_tokens": {"tool": {"user_token": [TOKEN]}}}},
        {"biz_params": {**TOKENS, "user_prompt_params": 1}},
        {"api_key": [KEY]},
        {"unknown": KEY},
    ]
    for fields in invalid_fields:
        with pytest.raises(ValidationError) as caught:
            BailianAppChatModel(app_id="a", **fields)
        assert_no_secret(str(caught.value), repr(caught.value))
    with pytest.raises(ValidationError) as caught:
        BizParams(user_defined_tokens={"tool": {"user_token": [TOKEN]}})
    assert_no_secret(str(caught.value))
    with pytest.raises(ValidationError) as caught:
        BailianAppChatModel(app_id="a", api_key=KEY).invoke(
            "?", biz_params={"user_defined_tokens": TOKEN}
        )
    assert_no_secret(str(caught.value), "".join(traceback.format_exception(caught.value)))


PACKAGE = str(Path(langchain_bailian_app.__file__).parent)
IMAGE_WITH_ESCAPES = "https://pictures.example/1.png?Expires=1&Signature=planted-signature%2B"


def make_planted_model(base_url: str, **fields: Any) -> BailianAppChatModel:
    secrets = {"api_key": KEY, "biz_params": TOKENS, "image_list": [IMAGE, IMAGE_WITH_ESCAPES]}
    return make_model_at(base_url, **secrets | fields)


def find_related_errors(error: BaseException) -> list[BaseException]:
    """Return an error and all errors that it refers to."""
    errors: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is not None and not any(current is known for known in errors):
            errors.append(current)
            pending += [current.__cause__, current.__context__]
    return errors


def format_own_variables(error: BaseException) -> str:
    """Return the variables of this package's frames, as an error tracker shows them."""
    formatted = traceback.TracebackException(
        type(error), error, error.__traceback__, capture_locals=True
    )
    return "\n".join(
        f"{frame.name}: {frame.locals}"
        for frame in formatted.stack
        if frame.filename.startswith(PACKAGE)
    )


def assert_error_has_no_secret(error: BaseException) -> None:
    for related in find_related_errors(error):
        assert_no_secret(
            repr(related),
            str(related),
            repr(related.args),
            repr(vars(related)),
            pickle.dumps(related),
            repr(vars(copy.copy(related))),
            repr(vars(copy.deepcopy(related))),
            "".join(traceback.format_exception(related)),
            format_own_variables(related),
        )
        assert not hasattr(related, "_request") or related._request is None
        # Variables of other libraries' frames contain the request.
        assert related is error or related.__traceback__ is None


def make_response(
    body: bytes, *, status: str = "400 Bad Request", content_type: str = "a/b", headers: str = ""
) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\nconnection: close\r\n{headers}"
    return encode_response(body, head.encode())


def escape_everything(text: str) -> str:
    return "".join(f"\\u{ord(char):04x}" for char in text)


ECHO_RESPONSES: dict[str, Callable[[bytes], bytes]] = {
    "message of an error": lambda request: make_response(
        json.dumps({"code": "X", "message": request.decode()}).encode()
    ),
    "all fields of an error": lambda request: make_response(
        json.dumps(
            {
                "code": request.decode(),
                "message": [request.decode()],
                "request_id": {"id": request.decode()},
                KEY: [{"request": json.loads(request.partition(b"\r\n\r\n")[2])}],
            }
        ).encode(),
        headers=f"x-echo: {KEY}\r\nx-request-id: {TOKEN}\r\n",
    ),
    "error without a message": lambda _: make_response(
        f'{{"detail":"{escape_everything(KEY)} {escape_everything(TOKEN)}"}}'.encode()
    ),
    "list": lambda _: make_response(f'["{escape_everything(KEY)}"]'.encode()),
    "text": lambda request: make_response(request, content_type="text/plain"),
    "text that is cut off by the message": lambda _: make_response(b"." * 292 + b"sk-planted-key"),
    "text that is cut off by the limit": lambda _: make_response(
        b"." * (2**20 - 12) + b"sk-planted-key"
    ),
    "error of a stream": lambda request: make_response(
        b":HTTP_STATUS/400\ndata:" + json.dumps({"code": "X", "message": request.decode()}).encode(),
        status="200 OK",
        content_type="text/event-stream",
    ),
    "invalid frame": lambda request: make_response(
        b"data:" + request.replace(b"\r\n", b" ")[:280] + KEY.encode() + b"\n\n", status="200 OK"
    ),
    "no frame": lambda request: make_response(KEY.encode() + request, status="200 OK"),
    "status line": lambda _: f"HTTP/1.1 {KEY} {TOKEN}\r\n\r\n".encode(),
    "header": lambda _: f"HTTP/1.1 200 OK\r\n{KEY} {TOKEN}\r\n: {KEY}\r\n\r\n".encode(),
    "redirect": lambda _: make_response(
        b"", status="302 Found", headers=f"location: https://{KEY}.example/{TOKEN}\r\n"
    ),
    "invalid redirect": lambda _: make_response(
        b"", status="302 Found", headers=f"location: http://host:{KEY}/\r\n"
    ),
    "content encoding": lambda _: make_response(
        KEY.encode(), status="200 OK", headers=f"content-encoding: gzip, {KEY}\r\n"
    ),
}


@pytest.mark.parametrize("kind", ECHO_RESPONSES)
async def test_a_service_that_echoes_the_request_reveals_no_secret_in_the_error(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with run_server(respond_using(ECHO_RESPONSES[kind])) as base_url:
        for call_style in CALL_STYLES:
            with pytest.raises(BailianError) as caught:
                await call_style(make_planted_model(base_url))
            assert_error_has_no_secret(caught.value)
    assert_no_secret(*(r.getMessage() for r in caplog.records if r.name == "langchain_bailian_app"))


@pytest.mark.parametrize("custom_client", [False, True])
@pytest.mark.parametrize(
    "response",
    [
        None,
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\n\r\ndata:{",
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 9\r\n\r\n{",
        b"garbage\r\n\r\n",
    ],
    ids=["refused", "closed", "no body", "cut off", "error cut off", "garbage"],
)
async def test_causes_of_errors_hold_neither_the_request_nor_its_secrets(
    closed_host: str, response: bytes | None, *, custom_client: bool
) -> None:
    with httpx.Client() as client, run_server(respond_with(response or b"")) as base_url:
        async with httpx.AsyncClient() as async_client:
            clients = {"http_client": client, "http_async_client": async_client}
            model = make_planted_model(
                base_url if response is not None else f"http://{closed_host}/api/v1",
                **(clients if custom_client else {}),
            )
            for call_style in CALL_STYLES:
                with pytest.raises(BailianConnectionError) as caught:
                    await call_style(model)

                error = caught.value
                assert_error_has_no_secret(error)
                assert isinstance(error.__cause__, httpx.RequestError)
                assert str(error.__cause__) in str(error)
                if response is None:
                    assert isinstance(error.__cause__.__cause__, OSError)
                    assert custom_client or isinstance(
                        error.__cause__.__cause__, ConnectionRefusedError
                    )


@all_call_styles
@pytest.mark.parametrize("setting", ["timeout", "total_timeout"])
async def test_timeouts_reveal_no_secret(
    bailian: BailianEmulator, call_style: CallStyle, setting: str
) -> None:
    app_id = bailian.add_app(App("stalls", stall_after=1))
    model = make_planted_model(bailian.base_url, app_id=app_id, **{setting: 0.1})
    with pytest.raises(BailianError) as caught:
        await call_style(model)

    assert_error_has_no_secret(caught.value)


@pytest.mark.parametrize("history", ["messages", "session"])
async def test_a_cancelled_call_reveals_no_secret_in_variables_of_this_package(
    bailian: BailianEmulator, history: str
) -> None:
    app_id = bailian.add_app(App("stalls", stall_after=0))
    model = make_planted_model(bailian.base_url, app_id=app_id, history=history)
    task = asyncio.create_task(model.ainvoke("?"))
    while not bailian.requests and not task.done():  # noqa: ASYNC110  # another thread records them
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task

    assert_no_secret(format_own_variables(caught.value))


@pytest.mark.parametrize("key", [f"{KEY} {KEY}", f"{KEY}\x00", f"{KEY}钥"])
def test_an_invalid_key_is_not_in_variables_of_this_package(
    bailian: BailianEmulator, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    values: list[Any] = [key, lambda: key]
    for value in values:
        with pytest.raises(ValueError, match="invalid API key") as caught:
            make_planted_model(bailian.base_url, api_key=value).invoke("?")
        assert_no_secret(format_own_variables(caught.value), str(caught.value))
    if key.isprintable():
        monkeypatch.setenv("DASHSCOPE_API_KEY", key)
        with pytest.raises(ValueError, match="invalid API key") as caught:
            make_planted_model(bailian.base_url, api_key=None).invoke("?")
        assert_no_secret(format_own_variables(caught.value), str(caught.value))


@all_call_styles
@pytest.mark.parametrize(
    "options",
    [
        {"biz_params": TOKENS, "image_list": [IMAGE], "file_list": IMAGE},
        {"biz_params": BizParams(**TOKENS)},
    ],
)
async def test_options_of_a_failed_call_are_not_in_variables_of_this_package(
    closed_host: str, call_style: CallStyle, options: dict[str, Any]
) -> None:
    model = make_model_at(f"http://{closed_host}/api/v1", api_key=KEY)
    with pytest.raises(BailianError) as caught:
        await call_style(model, **options)
    assert_no_secret(format_own_variables(caught.value))


async def test_errors_of_a_retriever_reveal_no_secret() -> None:
    with run_server(respond_using(ECHO_RESPONSES["message of an error"])) as base_url:
        for fields in ({"pipeline_id": "p"}, {"app_id": "a"}):
            retriever = BailianRetriever(api_key=KEY, base_url=base_url, max_retries=0, **fields)
            with pytest.raises(BailianError) as caught:
                retriever.invoke("?")
            assert_error_has_no_secret(caught.value)
            with pytest.raises(BailianError) as caught:
                await retriever.ainvoke("?")
            assert_error_has_no_secret(caught.value)


class LeaseClient:
    """Official client whose leases have this URL."""

    def __init__(self, url: str) -> None:
        headers = {"X-Signature": "planted-key"}
        parameters = SimpleNamespace(url=url, method="PUT", headers=headers)
        data = SimpleNamespace(file_upload_lease_id="lease", param=parameters)
        self._body = SimpleNamespace(success=True, request_id="r", data=data)

    def apply_file_upload_lease_with_options(self, *_: object) -> SimpleNamespace:
        return SimpleNamespace(body=self._body)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "cause"),
    [
        (f"http://{{closed_host}}/x?{SIGNATURE}", httpx.ConnectError),
        (f"ftp://storage.example/x?{SIGNATURE}", httpx.UnsupportedProtocol),
        (f"http://[::1/x?{SIGNATURE}", None),
        (f"https://storage.example:port/x?{SIGNATURE}", None),
        (f"no-host?{SIGNATURE}", None),
        (f"https://storage.example/\x00?{SIGNATURE}", None),
    ],
)
def test_a_failed_upload_reveals_neither_the_url_nor_the_headers_of_its_lease(
    tmp_path: Path, closed_host: str, url: str, cause: type[Exception] | None
) -> None:
    url = url.replace("{closed_host}", closed_host)
    path = tmp_path / "note.md"
    path.write_text("火星")
    with pytest.raises(BailianFileError) as caught:
        BailianFiles(workspace_id="w", client=LeaseClient(url), timeout=1).upload(path)

    upload_error = caught.value.__cause__
    assert isinstance(upload_error, BailianError)
    assert type(upload_error.__cause__) is (type(None) if cause is None else cause)
    for related in find_related_errors(caught.value):
        assert_no_secret(
            repr(related), vars(related), pickle.dumps(related), format_own_variables(related)
        )


class RefusingClient:
    """Official client whose requests are refused with a message that repeats the request."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def create_memory_with_options(self, *_: object) -> None:
        raise self._error


def test_an_openapi_error_that_repeats_the_request_reveals_no_secret() -> None:
    text = f"server string to sign is [x-acs-security-token:{TOKEN}] with {KEY}"
    refused: Any = ValueError(text)  # any class, with the attributes of the official one
    refused.status_code, refused.message, refused.retry_after = 400, text, None
    refused.data = {"Code": "SignatureDoesNotMatch", "Message": text, "Request": [text]}
    for exc in (refused, RuntimeError(text), ConnectionResetError(104, text)):
        memory = BailianMemory(
            workspace_id="w",
            access_key_id="id",
            access_key_secret=KEY,
            security_token=TOKEN,
            client=RefusingClient(exc),
        )
        with pytest.raises(BailianError) as caught:
            memory.create("description")
        assert_error_has_no_secret(caught.value)


def test_the_key_of_digests_and_the_bodies_of_requests_are_not_in_their_repr() -> None:
    assert_no_secret(ConversationDigest(KEY, ("url", None, "app")))
    assert_no_secret(ServiceRequest("apps/a/completion", {"input": {"biz_params": TOKENS}}))
