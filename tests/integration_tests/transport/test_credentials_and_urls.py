"""Resolution of base URL and credentials: like dashscope's, but without its surprises."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import ValidationError

from langchain_bailian_app import BailianAppChatModel, BailianRetriever
from langchain_bailian_app._settings.connection import ConnectionFields
from langchain_bailian_app._transport import client_pool
from langchain_bailian_app._transport.credentials import resolve_connection
from tests.call_styles import all_call_styles

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app.emulator import BailianEmulator
    from tests.call_styles import CallStyle


def resolve_fields(**fields: Any) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # users must not see dashscope's warning about the workspace
        connection = resolve_connection(ConnectionFields(**fields))
    return {
        "base_url": connection.base_url,
        "workspace": connection.workspace,
        "api_key": connection.api_key(),
    }


SHARED = "https://dashscope.aliyuncs.com/api/v1"
INTERNATIONAL = "https://dashscope-intl.aliyuncs.com/api/v1"


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({}, SHARED),
        ({"workspace": "ws"}, SHARED),
        ({"region": "ap-southeast-1"}, INTERNATIONAL),
        ({"region": "cn-hongkong"}, "https://cn-hongkong.dashscope.aliyuncs.com/api/v1"),
        (
            {"gateway": "workspace", "workspace": "ws", "region": "cn-hongkong"},
            "https://ws.cn-hongkong.maas.aliyuncs.com/api/v1",
        ),
        (
            {"workspace": "ws", "region": "eu-central-1"},
            "https://ws.eu-central-1.maas.aliyuncs.com/api/v1",
        ),
        ({"base_url": "https://private.example/api/v1/"}, "https://private.example/api/v1"),
        ({"base_url": "https://a.example/api/v1", "gateway": "workspace"}, "https://a.example/api/v1"),
        ({"base_url": "https://a.example/api/v1", "region": "us-east-1"}, "https://a.example/api/v1"),
        (
            {"base_url": "https://a.example/api/v1", "region": "eu-central-1"},
            "https://a.example/api/v1",
        ),
    ],
)
def test_the_host_follows_from_the_fields(fields: dict[str, str], base_url: str) -> None:
    assert resolve_fields(api_key="k", **fields)["base_url"] == base_url


@all_call_styles
@pytest.mark.parametrize(
    ("region", "message"),
    [
        ("us-east-1", "not offered in us-east-1 according to the page 'usa-virginia-global'"),
        ("ap-northeast-1", "not offered in ap-northeast-1 according to the page 'japan-tokyo-global'"),
        ("eu-central-1", "missing `workspace` for `region='eu-central-1'`"),
    ],
)
async def test_a_region_without_a_host_is_an_error_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, call_style: CallStyle, region: str, message: str
) -> None:
    monkeypatch.setenv("DASHSCOPE_REGION", region)
    model = BailianAppChatModel(app_id="app", api_key="k")
    retriever = BailianRetriever(app_id="app", api_key="k")

    with pytest.raises(ValueError, match=message):
        await call_style(model)
    with pytest.raises(ValueError, match=message):
        retriever.invoke("?")
    with pytest.raises(ValueError, match=message):
        await retriever.ainvoke("?")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"DASHSCOPE_WORKSPACE": "ws"}, {"workspace": "ws", "base_url": SHARED}),
        ({"DASHSCOPE_WORKSPACE_ID": "ws1"}, {"workspace": "ws1", "base_url": SHARED}),
        (
            {"DASHSCOPE_WORKSPACE": "ws", "DASHSCOPE_WORKSPACE_ID": "ws1"},
            {"workspace": "ws", "base_url": SHARED},
        ),
        ({"DASHSCOPE_REGION": "ap-southeast-1"}, {"workspace": None, "base_url": INTERNATIONAL}),
        (
            {"DASHSCOPE_BASE_URL": "https://a.example/api/v1", "DASHSCOPE_WORKSPACE": "ws"},
            {"workspace": "ws", "base_url": "https://a.example/api/v1"},
        ),
        (
            {"DASHSCOPE_HTTP_BASE_URL": "https://b.example/api/v1"},
            {"workspace": None, "base_url": "https://b.example/api/v1"},
        ),
    ],
)
def test_the_environment_completes_the_fields(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: dict[str, str | None]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert resolve_fields(api_key="k") == expected | {"api_key": "k"}


def test_the_configuration_file_completes_the_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path.home() / ".dashscope"
    folder.mkdir()
    (folder / "config.toml").write_text(
        'api_key = "from-config"\nworkspace = "ws"\nregion = "ap-southeast-1"\n'
    )

    assert resolve_fields() == {"api_key": "from-config", "workspace": "ws", "base_url": INTERNATIONAL}

    monkeypatch.setenv("DASHSCOPE_API_KEY", "from-env")

    assert resolve_fields()["api_key"] == "from-env"


def test_the_key_file_is_read() -> None:
    folder = Path.home() / ".dashscope"
    folder.mkdir()
    (folder / "api_key").write_text("from-key-file\n")

    assert resolve_fields()["api_key"] == "from-key-file"


def test_without_a_key_nothing_is_sent() -> None:
    with pytest.raises(ValueError, match="DASHSCOPE_API_KEY"):
        BailianAppChatModel(app_id="app").invoke("?")


def test_a_key_may_come_from_a_function(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    keys = iter([bailian.api_key, "wrong"])
    model = make_model(api_key=lambda: next(keys))

    assert model.invoke("?").text
    with pytest.raises(Exception, match="InvalidApiKey"):
        model.invoke("?")


@pytest.mark.parametrize("key", ["two words", "钥匙", "a\nb"])
def test_an_invalid_key_is_not_shown(key: str) -> None:
    model = BailianAppChatModel(app_id="app", api_key=key)
    with pytest.raises(ValueError, match="API key") as caught:
        model.invoke("?")

    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "reason"),
    [
        ("https://dashscope.aliyuncs.com/compatible-mode/v1", "https://dashscope.aliyuncs.com/api/v1"),
        ("https://dashscope.aliyuncs.com", "/api/v1"),
        ("https://dashscope.aliyuncs.com/api/v1/apps", "/api/v1"),
        ("dashscope.aliyuncs.com/api/v1", "http"),
        ("http://service.example/api/v1", "allow_insecure_http"),
    ],
)
def test_a_wrong_base_url_is_explained_at_once(
    monkeypatch: pytest.MonkeyPatch, base_url: str, reason: str
) -> None:
    with pytest.raises(ValidationError, match=reason):
        BailianAppChatModel(app_id="app", api_key="k", base_url=base_url)
    monkeypatch.setenv("DASHSCOPE_BASE_URL", base_url)
    with pytest.raises(ValueError, match=reason):
        BailianAppChatModel(app_id="app", api_key="k").invoke("?")


def test_insecure_http_can_be_allowed() -> None:
    url = "http://service.example/api/v1"

    assert resolve_fields(api_key="k", base_url=url, allow_insecure_http=True)["base_url"] == url


@pytest.mark.parametrize("app_id", ["a/../../x", "a?b=1", "..", "", "a b", "应用", "x" * 129])
def test_an_app_id_cannot_change_the_path(app_id: str) -> None:
    with pytest.raises(ValidationError, match="app_id"):
        BailianAppChatModel(app_id=app_id, api_key="k")


def test_loopback_never_goes_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, make_model: Callable[..., BailianAppChatModel]
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")

    assert make_model().invoke("?").text
    assert asyncio.run(make_model().ainvoke("?")).text


def test_a_socks_proxy_without_its_package_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "socksio", None)
    model = BailianAppChatModel(app_id="app", api_key="k", base_url="https://service.example/api/v1")

    for call in (lambda: model.invoke("?"), lambda: asyncio.run(model.ainvoke("?"))):
        with pytest.raises(ValueError, match=r"socksio.*all_proxy"):
            call()


def test_models_share_connections_but_not_credentials(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    first = make_model(workspace="ws1")
    second = make_model()
    first.invoke("?")
    second.invoke("?")
    headers = [request.headers for request in bailian.requests[-2:]]

    shared = [
        client_pool.get_dashscope_transport(loopback=True, max_connections=1000) for _ in range(2)
    ]

    assert shared[0] is shared[1]
    assert [header.get("x-dashscope-workspace") for header in headers] == ["ws1", None]


def test_an_injected_client_is_authenticated_and_left_open(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> None:
    with httpx.Client(trust_env=False) as client:
        model = make_model(http_client=client, workspace="ws1")

        assert model.invoke("?").text
        assert not client.is_closed
    assert bailian.requests[-1].headers["x-dashscope-workspace"] == "ws1"
    assert bailian.requests[-1].headers["authorization"] == "[removed]"


async def test_an_injected_asynchronous_client_is_authenticated_and_left_open(
    make_model: Callable[..., BailianAppChatModel],
) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        model = make_model(http_async_client=client)

        assert (await model.ainvoke("?")).text
        assert not client.is_closed


def test_an_injected_client_may_not_follow_redirects() -> None:
    with (
        httpx.Client(follow_redirects=True) as client,
        pytest.raises(ValidationError, match="redirects"),
    ):
        BailianAppChatModel(app_id="app", api_key="k", http_client=client)


@pytest.mark.slow
def test_one_model_serves_successive_event_loops_without_warnings(
    bailian: BailianEmulator,
) -> None:
    script = """
import asyncio
from langchain_bailian_app import BailianAppChatModel
model = BailianAppChatModel()
async def ask():
    # A busy machine is not a failure: only resources that are left open are.
    asyncio.get_running_loop().slow_callback_duration = 10
    return await model.ainvoke("?")
for _ in range(2):
    print(asyncio.run(ask()).text[:3])
print(model.invoke("?").text[:3])
"""
    variables = {
        "BAILIAN_APP_ID": bailian.app_id,
        "DASHSCOPE_API_KEY": bailian.api_key,
        "DASHSCOPE_BASE_URL": bailian.base_url,
    }
    completed = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", script],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )

    assert completed.stderr == ""
    assert len(completed.stdout.split()) == 3
