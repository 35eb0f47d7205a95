"""HTTP clients that models share: one for all threads, one for each running event loop.

A client is expensive (a TLS context takes milliseconds and most of a megabyte) and holds nothing of a
model: key, workspace and URL go with each request. None has a cookie jar, none outlives its loop, and a
forked child makes its own.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import urllib.request
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import dashscope
import httpx

from langchain_bailian_app._settings.base_url import extract_host, is_loopback
from langchain_bailian_app._transport.http_aiohttp import AiohttpClient
from langchain_bailian_app._transport.http_base import AsyncClient, Client
from langchain_bailian_app._transport.http_urllib3 import Urllib3Client

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator

_Key = tuple[object, ...]  # the process, and what a client is made with
_CA_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")

# No lock guards these: each step is atomic, and a lock that some thread holds during a fork would stay
# locked in the child for ever.
_sync_transports: dict[_Key, Any] = {}
_async_transports: dict[asyncio.AbstractEventLoop, dict[_Key, tuple[Any, AsyncGenerator[None]]]] = {}


def get_dashscope_transport(*, loopback: bool, max_connections: int) -> Any:
    """Return dashscope's transport for calls from threads."""
    key = _make_key(max_connections, loopback=loopback)
    transport = _sync_transports.get(key)
    if transport is None:
        new_transport = create_dashscope_transport(
            _create_client(loopback=loopback, max_connections=max_connections)
        )
        transport = _sync_transports.setdefault(key, new_transport)
        if transport is not new_transport:  # another thread was faster
            new_transport.http_client.close()
    return transport


async def get_async_dashscope_transport(*, loopback: bool, max_connections: int) -> Any:
    """Return dashscope's transport for calls on the running event loop."""
    key = _make_key(max_connections, loopback=loopback)
    loop_transports = _async_transports.setdefault(asyncio.get_running_loop(), {})
    if key in loop_transports:
        return loop_transports[key][0]
    for loop in [loop for loop in list(_async_transports) if loop.is_closed()]:
        _close_loop_clients(loop)  # it was closed without being shut down
    client = _create_async_client(loopback=loopback, max_connections=max_connections)
    closer = _close_with_loop(client)
    loop_transports[key] = create_async_dashscope_transport(client), closer
    # A loop that ends closes its asynchronous generators, this one among them, while it still runs.
    await anext(closer)
    return loop_transports[key][0]


def _create_client(*, loopback: bool, max_connections: int) -> httpx.Client:
    settings = _make_settings(loopback=loopback)
    if _uses_socks_proxy(loopback=loopback):
        return Client(limits=_make_limits(max_connections), **settings)
    return Urllib3Client(max_connections=max_connections, **settings)


def _create_async_client(*, loopback: bool, max_connections: int) -> httpx.AsyncClient:
    settings = _make_settings(loopback=loopback)
    if _uses_socks_proxy(loopback=loopback):
        return AsyncClient(limits=_make_limits(max_connections), **settings)
    return AiohttpClient(max_connections=max_connections, **settings)


def _uses_socks_proxy(*, loopback: bool) -> bool:
    """Whether calls go where only httpx's own connections lead."""
    return not loopback and bool(_find_socks_proxies())


def _find_socks_proxies() -> list[str]:
    """Return which of the variables name one, without `_proxy`."""
    return [kind for kind, url in urllib.request.getproxies().items() if url.startswith("socks")]


def _make_limits(max_connections: int) -> httpx.Limits:
    # A lower limit of idle connections makes httpcore close one that another thread is just taking.
    return httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)


def _close_loop_clients(loop: asyncio.AbstractEventLoop) -> None:
    """Close the clients of a loop that does not run; of one that is closed, what needs no waiting."""
    for (pid, *_), (transport, closer) in _async_transports.pop(loop, {}).items():
        if pid != os.getpid():
            continue
        if not loop.is_closed():
            loop.run_until_complete(closer.aclose())
        elif isinstance(transport.http_client, AiohttpClient):
            with suppress(StopIteration):
                transport.http_client.aclose().send(None)


@atexit.register
def _close_clients() -> None:
    for (pid, *_), transport in _sync_transports.items():
        if pid == os.getpid():
            transport.http_client.close()
    for loop in list(_async_transports):
        if not loop.is_running():
            _close_loop_clients(loop)


def create_dashscope_transport(client: httpx.Client) -> Any:
    """Return dashscope's transport around a client, without retries of its own."""
    return dashscope.Client(base_url="unused:", http_client=client, max_retries=0).transport


def create_async_dashscope_transport(client: httpx.AsyncClient) -> Any:
    """Return dashscope's asynchronous transport around a client, without retries of its own."""
    return dashscope.AsyncClient(base_url="unused:", http_client=client, max_retries=0).transport


async def _close_with_loop(client: httpx.AsyncClient) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        _async_transports.pop(asyncio.get_running_loop(), None)
        await client.aclose()


def _make_key(max_connections: int, *, loopback: bool) -> _Key:
    proxies = () if loopback else tuple(sorted(urllib.request.getproxies().items()))
    return os.getpid(), loopback, max_connections, proxies, *map(os.environ.get, _CA_VARIABLES)


def _make_settings(*, loopback: bool) -> dict[str, Any]:
    if not loopback:
        _check_proxies()
    return {
        "trust_env": not loopback,
        "follow_redirects": False,
        "verify": _load_ssl_context(*map(os.environ.get, _CA_VARIABLES)),
    }


@cache
def _load_ssl_context(*_: str | None) -> ssl.SSLContext:
    """Return the context for these variables; loading the authorities takes tens of milliseconds."""
    return httpx.create_ssl_context()


def build_connection_hint(base_url: str) -> str:
    """Return where to look when no connection can be made: at a proxy, or at who is to listen here."""
    if is_loopback(base_url):
        return f" (is the emulator running at {base_url}? Else unset DASHSCOPE_BASE_URL)"
    variable = find_proxy_variable(base_url)
    return f" through the proxy of the variable {variable}" if variable else ""


def find_proxy_variable(base_url: str) -> str | None:
    """Return the variable of the environment that names a proxy for this URL, if one does."""
    if is_loopback(base_url) or urllib.request.proxy_bypass(extract_host(base_url)):
        return None
    proxies = urllib.request.getproxies()
    kinds = (base_url.partition(":")[0], "all")
    return next((f"{kind}_proxy" for kind in kinds if kind in proxies), None)


def _check_proxies() -> None:
    """Say what to do about a SOCKS proxy, where httpx would fail with an ImportError."""
    if find_spec("socksio"):
        return
    for kind in _find_socks_proxies():
        message = (
            f"the variable {kind}_proxy (or {kind.upper()}_PROXY) names a SOCKS proxy, which needs "
            "the package socksio: `pip install 'httpx[socks]'`, or unset the variable"
        )
        raise ValueError(message)
