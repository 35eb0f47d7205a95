"""HTTP clients without cookies, proxies of the environment, and request bodies sent in chunks.

Cookies are not stored, because all models and all their users share one client.
"""

from __future__ import annotations

import urllib.request
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_CHUNK_BYTES = 2**16
MAX_INTERIM_RESPONSES = 20
"""Maximum number of responses with status 1xx before the response to a request."""


class _NoCookies(httpx.Cookies):
    def extract_cookies(self, response: httpx.Response) -> None:
        # A jar that rejects every cookie would still parse the URL and the headers of each response.
        pass


class NoCookiesMixin:
    """Mixin for httpx clients that ignore the cookies of the service."""

    cookies: Any = _NoCookies()


class Client(NoCookiesMixin, httpx.Client):
    """An `httpx.Client` without cookies."""


class AsyncClient(NoCookiesMixin, httpx.AsyncClient):
    """An `httpx.AsyncClient` without cookies."""


def is_interim(status: int) -> bool:
    """Return whether another response follows; none follows status 101 (RFC 9110, section 15.2)."""
    return status < 200 and status != 101  # noqa: PLR2004


def iter_chunks(content: bytes) -> Iterator[bytes]:
    """Yield a request body in chunks of 64 KiB."""
    for start in range(0, len(content), _CHUNK_BYTES):
        yield content[start : start + _CHUNK_BYTES]


def create_proxy_mounts(create_transport: Callable[[httpx.Proxy], T]) -> dict[str, T | None]:
    """Return a transport for each proxy of the environment, for the argument `mounts` of a client.

    httpx reads these variables itself only if it creates the transports. The patterns are the same.
    """
    proxies = urllib.request.getproxies()
    excluded_hosts = [host.strip() for host in proxies.get("no", "").split(",") if host.strip()]
    if "*" in excluded_hosts:
        return {}
    mounts: dict[str, T | None] = {}
    for scheme in ("http", "https", "all"):
        if url := proxies.get(scheme):
            proxy = httpx.Proxy(url if "://" in url else f"http://{url}")
            mounts[f"{scheme}://"] = create_transport(proxy)
    return mounts | {_make_host_pattern(host): None for host in excluded_hosts}


def _make_host_pattern(host: str) -> str:
    """Return the URL pattern for an entry of `no_proxy`; a domain includes its subdomains."""
    if "://" in host:
        return host
    try:
        address = ip_address(host.partition("/")[0])
    except ValueError:
        return f"all://{host}" if host.lower() == "localhost" else f"all://*{host}"
    return f"all://[{host}]" if isinstance(address, IPv6Address) else f"all://{host}"
