"""Connections to Redis that belong to no caller; needs the extra `redis`."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

try:
    import redis
    import redis.asyncio as aioredis
except ImportError as exc:
    _missing = (
        "sessions and rate limits in Redis need the package redis: "
        "pip install 'langchain-bailian-app[redis]'"
    )
    raise ImportError(_missing) from exc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

# An unreachable server must fail a call, not hang it, and many calls at once must wait for one of the
# connections, where redis-py's usual pool refuses them.
_SETTINGS = {"socket_timeout": 5.0, "max_connections": 50}


class OwnClients:
    """The clients of a URL: one for all threads, one for each running event loop."""

    def __init__(self, url: str, **options: Any) -> None:
        settings = _SETTINGS | options
        pool = redis.BlockingConnectionPool.from_url(url, **settings)
        self.client = redis.Redis.from_pool(pool)
        self._pool = partial(aioredis.BlockingConnectionPool.from_url, url, **settings)
        self._loops: dict[asyncio.AbstractEventLoop, tuple[aioredis.Redis, AsyncGenerator[None]]] = {}

    async def of_loop(self) -> aioredis.Redis:
        """Return the client of the running event loop."""
        loop = asyncio.get_running_loop()
        if loop in self._loops:
            return self._loops[loop][0]
        for other in [other for other in list(self._loops) if other.is_closed()]:
            self._loops.pop(other, None)  # it was closed without being shut down
        client = aioredis.Redis.from_pool(self._pool())
        closing = self._close_with_loop(client)
        self._loops[loop] = client, closing
        # A loop that ends closes its asynchronous generators, this one among them, while it still runs.
        await anext(closing)
        return client

    async def aclose(self) -> None:
        """Close the client of the running event loop."""
        if asyncio.get_running_loop() in self._loops:
            await self._loops[asyncio.get_running_loop()][1].aclose()

    async def _close_with_loop(self, client: aioredis.Redis) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self._loops.pop(asyncio.get_running_loop(), None)
            await client.aclose()


class HoldsClients:
    """What uses Redis, through clients of the caller's or of its own."""

    _own: OwnClients | None = None
    _unpicklable: ClassVar[tuple[str, str]]
    """What it is, and what to do instead of pickling it."""

    def close(self) -> None:
        """Close the connections of threads, if `from_url` made them; when needed, new ones open."""
        if self._own is not None:
            self._own.client.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop, if `from_url` made them."""
        if self._own is not None:
            await self._own.aclose()

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled.

        Raises:
            TypeError: Always.
        """
        what, instead = self._unpicklable
        message = (
            f"{what} in Redis holds connections and may hold a password, so it cannot be pickled: "
            f"{instead}"
        )
        raise TypeError(message)
