"""Behavior of dashscope that this package relies on; a new version that changes it fails here first."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import dashscope
import httpx
import pytest
from dashscope.v2 import errors as ds

if TYPE_CHECKING:
    from collections.abc import Callable

BASE_URL = "https://service.example/api/v1"


def make_transport(
    handler: Callable[[httpx.Request], httpx.Response], base_url: str = "unused:"
) -> object:
    client = httpx.Client(transport=httpx.MockTransport(handler))
    return dashscope.Client(base_url=base_url, http_client=client, max_retries=0).transport


def open_stream(transport: object, **arguments: object) -> httpx.Response:
    response: httpx.Response = transport.open_stream(
        **{"method": "POST", "path": "apps/a/completion", "json": {}, "base_url": BASE_URL} | arguments
    )
    return response


def test_credentials_and_url_are_taken_from_the_call_alone() -> None:
    requests = []

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200)

    transport = make_transport(handler)
    open_stream(transport, api_key="k1", workspace="ws1", headers={"User-Agent": "ours"})
    open_stream(transport, api_key="k2", workspace=None)

    assert [str(request.url) for request in requests] == [f"{BASE_URL}/apps/a/completion"] * 2
    assert [request.headers["authorization"] for request in requests] == ["Bearer k1", "Bearer k2"]
    assert [request.headers.get("x-dashscope-workspace") for request in requests] == ["ws1", None]
    assert requests[0].headers["user-agent"] == "ours"


def test_a_stream_is_opened_once_and_failures_keep_their_cause() -> None:
    attempts = []

    def handler(request: httpx.Request) -> httpx.Response:
        attempts.append(request)
        msg = "refused"
        raise httpx.ConnectError(msg)

    with pytest.raises(ds.APIConnectionError) as caught:
        open_stream(make_transport(handler))

    assert isinstance(caught.value.__cause__, httpx.ConnectError)
    assert len(attempts) == 1


def test_an_error_status_is_raised_with_the_fields_of_the_response() -> None:
    body = {"code": "Throttling", "message": "slow down", "request_id": "r"}

    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(429, json=body, headers={"Retry-After": "7"})

    with pytest.raises(ds.APIStatusError) as caught:
        open_stream(make_transport(handler))
    error = caught.value

    assert (error.code, error.message, error.status_code) == ("Throttling", "slow down", 429)
    assert (error.request_id, error.body) == ("r", body)
    assert error.headers["retry-after"] == "7"


def test_a_redirect_is_returned_not_followed() -> None:
    response = open_stream(
        make_transport(lambda _: httpx.Response(302, headers={"location": "https://x.example"}))
    )

    assert response.status_code == 302


def test_a_configuration_can_be_read_without_a_warning_and_without_an_http_client() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = dashscope.Client(base_url="unused:", http_client=object()).config
        urls = dashscope.Client(workspace="unused", http_client=object()).config

    assert (config.workspace, config.region, config.api_key) == (None, "cn-beijing", None)
    assert urls.configured_base_url is None


def test_a_tokenizer_comes_with_the_package() -> None:
    assert dashscope.get_tokenizer("qwen-plus").encode("你好，世界") == [108386, 3837, 99489]
