"""Pool of HTTP clients that models share: one for all threads and one for each running event loop.

A client is expensive to create: its TLS context costs milliseconds and most of a megabyte. A client
does not depend on a model: the key, workspace and URL are passed with each request. Clients store no
cookies and do not outlive their event loop. A forked child process creates its own.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import urllib.request
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import dashscope
import httpx

from langchain_bailian_app._settings.base_url import extract_host, is_loopback
from langchain_bailian_app._transport.error_responses import (
    AsyncErrorReadingClient,
    ErrorReadingClient,
)
from langchain_bailian_app._transport.http_aiohttp import AiohttpClient
from langchain_bailian_app._transport.http_base import AsyncClient, Client
from langchain_bailian_app._transport.http_urllib3 import Urllib3Client
from langchain_bailian_app._transport.loop_local import LoopLocal

if TYPE_CHECKING:
    import ssl

_Key = tuple[object, ...]  # process id and settings of a client
_CA_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")

# No lock guards this dictionary: each operation is atomic, and a lock that another thread holds during
# a fork would stay locked in the child process.
_sync_transports: dict[_Key, Any] = {}


def get_dashscope_transport(*, loopback: bool, max_connections: int) -> Any:
    """Return the shared dashscope transport for calls from threads."""
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


def get_async_dashscope_transport(*, loopback: bool, max_connections: int) -> Any:
    """Return the shared dashscope transport for calls on the running event loop."""
    key = _make_key(max_connections, loopback=loopback)
    transports = _async_transports.get()
    if key not in transports:
        client = _create_async_client(loopback=loopback, max_connections=max_connections)
        transports[key] = create_async_dashscope_transport(client)
    return transports[key]


async def _close_async_clients(transports: dict[_Key, Any]) -> None:
    await asyncio.gather(*(transport.http_client.aclose() for transport in transports.values()))


_async_transports: LoopLocal[dict[_Key, Any]] = LoopLocal(dict, _close_async_clients)


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
    """Return whether calls use a SOCKS proxy, which only httpx's own connections support."""
    return not loopback and bool(_find_socks_proxies())


def _find_socks_proxies() -> list[str]:
    """Return the variables that specify a SOCKS proxy, without the suffix `_proxy`."""
    return [kind for kind, url in urllib.request.getproxies().items() if url.startswith("socks")]


def _make_limits(max_connections: int) -> httpx.Limits:
    # With a lower limit on idle connections, httpcore may close a connection that another thread is
    # acquiring.
    return httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)


@atexit.register
def _close_clients() -> None:
    for (pid, *_), transport in _sync_transports.items():
        if pid == os.getpid():
            transport.http_client.close()


def create_dashscope_transport(client: httpx.Client) -> Any:
    """Create a dashscope transport for a client, with dashscope's retries disabled."""
    http_client: Any = ErrorReadingClient(client)
    return dashscope.Client(base_url="unused:", http_client=http_client, max_retries=0).transport


def create_async_dashscope_transport(client: httpx.AsyncClient) -> Any:
    """Create an asynchronous dashscope transport for a client, with dashscope's retries disabled."""
    http_client: Any = AsyncErrorReadingClient(client)
    return dashscope.AsyncClient(base_url="unused:", http_client=http_client, max_retries=0).transport


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
    """Return the TLS context for these values of `_CA_VARIABLES`.

    The context is cached, because loading the certificate authorities takes tens of milliseconds.
    """
    return httpx.create_ssl_context()


def build_connection_hint(base_url: str) -> str:
    """Return a hint about a failed connection: check the emulator or the proxy."""
    if is_loopback(base_url):
        return f" (is the emulator running at {base_url}? start it, or unset DASHSCOPE_BASE_URL)"
    variable = find_proxy_variable(base_url)
    return f" through the proxy set in {variable}" if variable else ""


def find_proxy_variable(base_url: str) -> str | None:
    """Return the environment variable that specifies a proxy for this URL, or None."""
    if is_loopback(base_url) or urllib.request.proxy_bypass(extract_host(base_url)):
        return None
    proxies = urllib.request.getproxies()
    kinds = (base_url.partition(":")[0], "all")
    return next((f"{kind}_proxy" for kind in kinds if kind in proxies), None)


def _check_proxies() -> None:
    """Reject a SOCKS proxy if the package for it is missing; httpx would raise an ImportError.

    Raises:
        ValueError: A SOCKS proxy is set and `socksio` is not installed.
    """
    if find_spec("socksio"):
        return
    for kind in _find_socks_proxies():
        message = (
            f"missing package socksio, required for the SOCKS proxy set in {kind}_proxy (or "
            f"{kind.upper()}_PROXY): pip install 'httpx[socks]', or unset the variable"
        )
        raise ValueError(message)
