"""HTTP clients without cookies, and request bodies sent in chunks.

Cookies are not stored, because all models and all their users share one client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK_BYTES = 2**16


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


def iter_chunks(content: bytes) -> Iterator[bytes]:
    """Yield a request body in chunks of 64 KiB."""
    for start in range(0, len(content), _CHUNK_BYTES):
        yield content[start : start + _CHUNK_BYTES]
