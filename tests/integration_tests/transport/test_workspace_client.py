"""The client for routes of a workspace: its host, its envelopes and its errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app import errors
from langchain_bailian_app._request.service_request import ServiceRequest
from langchain_bailian_app._settings.connection import ConnectionFields
from langchain_bailian_app._transport.workspace_client import WorkspaceClient, WorkspaceReply
from tests.raw_server import encode_response, respond_using, run_server

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "sk-planted-key"
REQUEST = ServiceRequest("connector/dash/describeFile", {"fileId": "f"})
both_styles = pytest.mark.parametrize("call_style", ["call", "acall"])


def make_fields(**fields: Any) -> ConnectionFields:
    return ConnectionFields(**{"api_key": KEY, "max_retries": 0} | fields)


def make_response(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n{headers}"
    return encode_response(body, head.encode())


async def call(
    fields: ConnectionFields, call_style: str, request: ServiceRequest = REQUEST
) -> WorkspaceReply:
    client = WorkspaceClient(fields)
    return client.call(request) if call_style == "call" else await client.acall(request)


async def call_server(
    body: dict[str, Any] | bytes, call_style: str, *, status: str = "200 OK", headers: str = ""
) -> WorkspaceReply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = make_response(content, status, headers)
    with run_server(respond_using(lambda _: response)) as base_url:
        return await call(make_fields(base_url=base_url), call_style)


# -- host --------------------------------------------------------------------------------------------


def find_host(fields: ConnectionFields) -> str:
    return WorkspaceClient(fields).create_transport().connection.base_url


@pytest.mark.parametrize("gateway", ["shared", "workspace"])
def test_the_host_of_the_workspace_is_used_whatever_the_gateway_of_the_model(gateway: str) -> None:
    fields = make_fields(workspace="ws", gateway=gateway)

    assert find_host(fields) == "https://ws.cn-beijing.maas.aliyuncs.com/api/v1"


def test_a_base_url_takes_precedence_and_needs_no_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_host(make_fields(base_url="https://a.example/api/v1")) == "https://a.example/api/v1"
    monkeypatch.setenv("DASHSCOPE_BASE_URL", "https://b.example/api/v1")
    assert find_host(make_fields()) == "https://b.example/api/v1"


def test_the_workspace_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_WORKSPACE", "from-environment")

    assert find_host(make_fields()).startswith("https://from-environment.")


@both_styles
async def test_without_a_workspace_nothing_is_sent(call_style: str) -> None:
    with pytest.raises(ValueError, match=r"^missing `workspace`: pass it or set DASHSCOPE_WORKSPACE;"):
        await call(make_fields(), call_style)


@both_styles
async def test_without_a_key_nothing_is_sent(call_style: str) -> None:
    with pytest.raises(ValueError, match="missing API key"):
        await call(make_fields(api_key=None, workspace="ws"), call_style)


@both_styles
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_request_names_the_version_of_the_api(call_style: str, version: Any) -> None:
    requests: list[bytes] = []

    def respond(request: bytes) -> bytes:
        requests.append(request)
        return make_response(b'{"request_id":"r","memory_nodes":[]}')

    request = ServiceRequest("apps/memory/add", {"user_id": "u"}, api_version=version)
    with run_server(respond_using(respond)) as base_url:
        reply = await call(make_fields(base_url=base_url, workspace="ws"), call_style, request)

    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert head.startswith(f"POST /api/{version}/apps/memory/add HTTP/1.1\r\n".encode())
    assert f"Bearer {KEY}".encode() in head
    assert json.loads(body) == {"user_id": "u"}
    assert (reply.fields, reply.request_id) == ({"memory_nodes": []}, "r")


# -- replies -----------------------------------------------------------------------------------------


@both_styles
@pytest.mark.parametrize(
    ("body", "fields", "request_id"),
    [
        (
            {"code": "Success", "status": 200, "requestId": "r", "data": {"fileId": "f"}},
            {"status": 200, "data": {"fileId": "f"}},
            "r",
        ),
        (
            {
                "code": "Success",
                "status_code": 200,
                "status": "SUCCESS",
                "success": True,
                "message": "",
                "request_id": "r",
                "data": {"total": 0},
            },
            {"status_code": 200, "status": "SUCCESS", "success": True, "data": {"total": 0}},
            "r",
        ),
        ({"request_id": "r"}, {}, "r"),
        ({"usage": {"output_tokens": 1}, "a": []}, {"usage": {"output_tokens": 1}, "a": []}, None),
        ({"requestId": 7, "data": None}, {"data": None}, "7"),
    ],
)
async def test_every_envelope_of_success_is_read(
    call_style: str, body: dict[str, Any], fields: dict[str, Any], request_id: str | None
) -> None:
    reply = await call_server(body, call_style)

    assert (reply.fields, reply.request_id) == (fields, request_id)
    assert reply.data == (fields.get("data") or {})


def test_the_repr_of_a_reply_shows_no_signed_url() -> None:
    reply = WorkspaceReply({"data": {"url": "https://a.example?signature"}}, "r")

    assert "signature" not in repr(reply)


# -- errors ------------------------------------------------------------------------------------------


@both_styles
@pytest.mark.parametrize(
    ("body", "status", "error_class", "code", "status_code"),
    [
        (
            {"code": "InvalidParameter", "message": "No.", "requestId": "r", "status": 400},
            "200 OK",
            errors.BailianRequestError,
            "InvalidParameter",
            400,
        ),
        (
            {"code": "NotFound", "message": "No.", "request_id": "r", "status_code": 404},
            "200 OK",
            errors.BailianNotFoundError,
            "NotFound",
            404,
        ),
        (
            {"success": False, "status_code": 400, "message": "No.", "requestId": "r"},
            "200 OK",
            errors.BailianRequestError,
            None,
            400,
        ),
        (
            {"success": False, "message": "No.", "request_id": "r"},
            "200 OK",
            errors.BailianRequestError,
            None,
            200,
        ),
        (
            {"code": "Success", "status": 429, "message": "No.", "requestId": "r"},
            "200 OK",
            errors.BailianRateLimitError,
            None,
            429,
        ),
        (
            {"code": "InternalError", "message": "No.", "requestId": "r", "status": 500},
            "200 OK",
            errors.BailianServerError,
            "InternalError",
            500,
        ),
        (
            {"error": {"code": "KB_NOT_FOUND", "message": "No.", "param": "x"}, "request_id": "r"},
            "404 Not Found",
            errors.BailianNotFoundError,
            "KB_NOT_FOUND",
            404,
        ),
        (
            {"error": {"code": "RATE_LIMITED", "message": "No."}, "request_id": "r"},
            "429 Too Many",
            errors.BailianRateLimitError,
            "RATE_LIMITED",
            429,
        ),
        (
            {"code": "InvalidApiKey", "message": "No.", "requestId": "r"},
            "401 Unauthorized",
            errors.BailianAuthenticationError,
            "InvalidApiKey",
            401,
        ),
    ],
)
async def test_every_envelope_of_failure_is_an_error(
    call_style: str,
    body: dict[str, Any],
    status: str,
    error_class: type[errors.BailianError],
    code: str | None,
    status_code: int,
) -> None:
    with pytest.raises(error_class, match=r"No\.") as caught:
        await call_server(body, call_style, status=status)

    error = caught.value
    assert type(error) is error_class
    assert (error.code, error.status_code, error.request_id) == (code, status_code, "r")


@both_styles
async def test_an_error_that_repeats_the_key_does_not_show_it(call_style: str) -> None:
    body = {"code": "InvalidParameter", "message": f"No: {KEY}", "status": 400, "data": {"a": [KEY]}}
    with pytest.raises(errors.BailianRequestError) as caught:
        await call_server(body, call_style)

    assert KEY not in f"{caught.value!r} {caught.value.body}"


@both_styles
@pytest.mark.parametrize("body", [b"<html>login</html>", b"", b'{"code":"Success","data":{"a"'])
async def test_anything_but_a_json_object_is_an_error(call_style: str, body: bytes) -> None:
    with pytest.raises(errors.BailianStreamError, match=r"127\.0\.0\.1"):
        await call_server(body, call_style)


@both_styles
async def test_a_throttled_request_is_sent_again(call_style: str) -> None:
    throttled = {"code": "Throttling", "status_code": 429, "message": "Slow down.", "request_id": "r"}
    responses = [
        make_response(json.dumps(throttled).encode(), "429 Too Many", "retry-after: 0\r\n"),
        make_response(b'{"code":"Success","requestId":"q","data":{}}'),
    ]
    take_response: Callable[[bytes], bytes] = lambda _: responses.pop(0)  # noqa: E731
    with run_server(respond_using(take_response)) as base_url:
        reply = await call(make_fields(base_url=base_url, max_retries=1), call_style)

    assert reply.request_id == "q"
    assert not responses
