"""Clients that keep no cookies, and bodies that are sent in chunks.

All models, and whoever they answer, share one client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK_BYTES = 2**16


class _NoCookies(httpx.Cookies):
    def extract_cookies(self, response: httpx.Response) -> None:
        # A jar that refuses all of them costs a second look at the URL and the headers of each reply.
        pass


class NoCookiesMixin:
    """Makes an httpx client forget what a service wants to be told again."""

    cookies: Any = _NoCookies()


class Client(NoCookiesMixin, httpx.Client):
    """An `httpx.Client` without cookies."""


class AsyncClient(NoCookiesMixin, httpx.AsyncClient):
    """An `httpx.AsyncClient` without cookies."""


def iter_chunks(content: bytes) -> Iterator[bytes]:
    """Yield what is sent one after the other."""
    for start in range(0, len(content), _CHUNK_BYTES):
        yield content[start : start + _CHUNK_BYTES]
