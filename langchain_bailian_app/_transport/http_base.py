"""Clients that keep no cookies: all models, and whoever they answer, share one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator


class _NoCookies(httpx.Cookies):
    def extract_cookies(self, response: httpx.Response) -> None:
        # A jar that refuses all of them costs a second look at the URL and the headers of each reply.
        pass


class WithoutCookies:
    """Makes an httpx client forget what a service wants to be told again."""

    cookies: Any = _NoCookies()


class Client(WithoutCookies, httpx.Client):
    """An `httpx.Client` without cookies."""


class AsyncClient(WithoutCookies, httpx.AsyncClient):
    """An `httpx.AsyncClient` without cookies."""


_PIECE = 2**16  # bytes


def pieces_of(content: bytes) -> Iterator[bytes]:
    """Yield what is sent one after the other."""
    for start in range(0, len(content), _PIECE):
        yield content[start : start + _PIECE]
