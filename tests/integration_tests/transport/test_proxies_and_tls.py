"""Calls through proxies and over TLS, in threads and on event loops."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest
import trustme

from langchain_bailian_app.emulator import BailianEmulator
from langchain_bailian_app.errors import BailianConnectionError
from tests.call_styles import make_model_at, own_clients
from tests.proxy_server import ProxyServer
from tests.raw_server import encode_response, run_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from langchain_bailian_app import BailianAppChatModel
    from tests.call_styles import CallStyle
    from tests.raw_server import Connection

    MakeModel = Callable[..., BailianAppChatModel]

ORIGIN = "http://service.example"


@pytest.fixture(scope="module")
def bailian() -> Iterator[BailianEmulator]:
    """Run an emulator that answers requests for the host of `ORIGIN`."""
    with BailianEmulator(allowed_hosts=["127.0.0.1", "localhost", "service.example"]) as emulator:
        yield emulator


def get_port(bailian: BailianEmulator) -> int:
    port = urlsplit(bailian.base_url).port
    assert port is not None
    return port


@pytest.mark.parametrize(("variable", "scheme"), [("http_proxy", "http"), ("ALL_PROXY", "socks5")])
def test_the_proxy_of_the_environment_is_used_for_other_hosts(
    bailian: BailianEmulator,
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    scheme: str,
) -> None:
    with ProxyServer(get_port(bailian), origin=ORIGIN, socks=scheme == "socks5") as proxy:
        monkeypatch.setenv(variable, f"{scheme}://127.0.0.1:{proxy.port}")
        model = make_model(base_url=f"{ORIGIN}/api/v1", allow_insecure_http=True)

        assert model.invoke("?").text
        assert proxy.connection_count == 1
        assert asyncio.run(model.ainvoke("?")).text
        assert proxy.connection_count == 2
        make_model().invoke("?")  # no proxy for loopback
        assert proxy.connection_count == 2


@pytest.mark.parametrize("call_style", ["in threads", "on an event loop"])
def test_the_proxy_gets_its_credentials(
    bailian: BailianEmulator, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, call_style: str
) -> None:
    with ProxyServer(get_port(bailian), origin=ORIGIN) as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:secret@127.0.0.1:{proxy.port}")
        model = make_model(base_url=f"{ORIGIN}/api/v1", allow_insecure_http=True)

        assert (
            model.invoke("?") if call_style == "in threads" else asyncio.run(model.ainvoke("?"))
        ).text
    assert "proxy-authorization" in bailian.requests[-1].headers
    assert bailian.requests[-1].headers["authorization"] == "[removed]"


def test_a_host_in_no_proxy_is_called_directly(
    bailian: BailianEmulator, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ProxyServer(get_port(bailian), origin=ORIGIN) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "service.example")
        model = make_model(base_url=f"{ORIGIN}/api/v1", allow_insecure_http=True, max_retries=0)
        with pytest.raises(BailianConnectionError, match="no connection to"):
            model.invoke("?")
        with pytest.raises(BailianConnectionError, match="no connection to"):
            asyncio.run(model.ainvoke("?"))

        assert proxy.connection_count == 0


@pytest.mark.parametrize("call_style", ["in threads", "on an event loop"])
def test_an_unreachable_proxy_is_named(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, call_style: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:9")
    model = make_model(base_url=f"{ORIGIN}/api/v1", allow_insecure_http=True, max_retries=0)
    with pytest.raises(BailianConnectionError, match="the proxy set in http_proxy") as caught:
        model.invoke("?") if call_style == "in threads" else asyncio.run(model.ainvoke("?"))

    assert caught.value.is_retryable
    assert "secret" not in str(caught.value)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_base_url(bailian: BailianEmulator, authority: trustme.CA) -> Iterator[str]:
    """Serve the emulator over TLS with a certificate of a private authority."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_context)
    with ProxyServer(get_port(bailian), tls=server_context) as proxy:
        yield f"https://localhost:{proxy.port}/api/v1"


async def test_tls_accepts_an_authority_of_an_injected_client(
    make_model: MakeModel, authority: trustme.CA, tls_base_url: str
) -> None:
    trusting_context = ssl.create_default_context()
    authority.configure_trust(trusting_context)
    with httpx.Client(verify=trusting_context) as client:
        async with httpx.AsyncClient(verify=trusting_context) as async_client:
            model = make_model(
                base_url=tls_base_url, http_client=client, http_async_client=async_client
            )

            assert model.invoke("?").text
            assert (await model.ainvoke("?")).text


async def test_tls_accepts_an_authority_of_the_environment(
    make_model: MakeModel,
    authority: trustme.CA,
    tls_base_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_model(base_url=tls_base_url, max_retries=0)
    with pytest.raises(BailianConnectionError, match="certificate"):
        model.invoke("?")
    with pytest.raises(BailianConnectionError, match="certificate"):
        await model.ainvoke("?")
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))

    assert model.invoke("?").text
    assert (await model.ainvoke("?")).text


async def test_an_unknown_authority_is_an_error_before_anything_is_sent(
    bailian: BailianEmulator, make_model: MakeModel, tls_base_url: str
) -> None:
    model = make_model(base_url=tls_base_url, max_retries=0)
    before = len(bailian.requests)
    with pytest.raises(BailianConnectionError, match="certificate"):
        model.invoke("?")
    with pytest.raises(BailianConnectionError, match="certificate"):
        await model.ainvoke("?")

    assert len(bailian.requests) == before


async def test_tls_goes_through_a_proxy(
    bailian: BailianEmulator,
    make_model: MakeModel,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("service.example").configure_cert(server_context)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with (
        ProxyServer(get_port(bailian), tls=server_context) as service,
        ProxyServer(service.port, connect_status=200) as proxy,
    ):
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        model = make_model(base_url="https://service.example/api/v1")

        assert model.invoke("?").text
        assert model.invoke("?").text
        assert proxy.connection_count == 1
        assert (await model.ainvoke("?")).text
        assert (await model.ainvoke("?")).text
        assert proxy.connection_count == 2


@pytest.mark.parametrize("size", [100, 12_000])  # less and more than the buffer of a reader
@own_clients
async def test_a_second_response_in_a_tls_record_is_no_answer(
    call_style: CallStyle,
    size: int,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_context)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))

    def encode_answer(text: str) -> bytes:
        frame = json.dumps({"output": {"text": text, "finish_reason": "stop"}})
        return encode_response(f"data:{frame}\n\n".encode())

    def handle(connection: Connection) -> None:
        while connection.receive_request():
            connection.send(encode_answer("a" * size) + encode_answer("stray"))

    with run_server(handle, server_context) as base_url:
        model = make_model_at(base_url.replace("127.0.0.1", "localhost"))
        for _ in range(3):
            assert await call_style(model) == "a" * size


async def test_a_proxy_that_refuses_is_named(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ProxyServer(9, connect_status=407) as proxy:
        monkeypatch.setenv("https_proxy", f"http://user:secret@127.0.0.1:{proxy.port}")
        model = make_model(base_url="https://service.example/api/v1", max_retries=2)
        with pytest.raises(
            BailianConnectionError, match=r"the proxy set in https_proxy: .*407"
        ) as caught:
            model.invoke("?")
        with pytest.raises(
            BailianConnectionError, match=r"the proxy set in https_proxy: .*407"
        ) as async_caught:
            await model.ainvoke("?")

        assert proxy.connection_count == 2  # a retry would not help
    assert "secret" not in f"{caught.value} {async_caught.value}"
