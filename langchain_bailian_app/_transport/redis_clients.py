"""Redis clients created from a URL. The module requires the `redis` extra."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, ClassVar, NoReturn

try:
    import redis
    import redis.asyncio as aioredis
    from redis.asyncio.retry import Retry as AsyncRetry
    from redis.backoff import ExponentialBackoff
    from redis.retry import Retry
except ImportError as exc:
    _MISSING_PACKAGE = (
        "missing package redis, required for sessions and rate limits in Redis: "
        "pip install 'langchain-bailian-app[redis]'"
    )
    raise ImportError(_MISSING_PACKAGE) from exc

from langchain_bailian_app._transport.loop_local import LoopLocal

# If the server is unreachable, a call must fail, not hang. If all connections are in use, a call must
# wait; redis-py's default pool would raise an error.
_DEFAULT_OPTIONS = {"socket_timeout": 5.0, "max_connections": 50}
# redis-py retries nothing in clients that are created from a pool. Before version 6, it retries only
# the errors in `retry_on_error`.
_RETRIED_ERRORS = [redis.ConnectionError, redis.TimeoutError]
_MIN_RETRY_DELAY, _MAX_RETRY_DELAY = 0.05, 0.5  # seconds


class RedisClients:
    """The clients for a URL: one for all threads and one for each running event loop.

    Args:
        url: URL of the server.
        max_retries: Maximum number of retries after a lost connection or reply, each of which connects
            again; for commands that can be repeated. The option `retry` replaces it.
        options: Connection options of redis-py.
    """

    def __init__(self, url: str, *, max_retries: int = 0, **options: Any) -> None:
        settings = _DEFAULT_OPTIONS | options
        async_settings = dict(settings)
        if max_retries > 0 and "retry" not in options:
            backoff = ExponentialBackoff(cap=_MAX_RETRY_DELAY, base=_MIN_RETRY_DELAY)
            for target, retry_class in ((settings, Retry), (async_settings, AsyncRetry)):
                target["retry"] = retry_class(backoff, max_retries)
                target.setdefault("retry_on_error", list(_RETRIED_ERRORS))
        pool = redis.BlockingConnectionPool.from_url(url, **settings)
        self.client = redis.Redis.from_pool(pool)
        create_async_client = partial(_create_async_client, url, async_settings)
        self._async_clients = LoopLocal(create_async_client, _close_when_unused)

    def for_running_loop(self) -> aioredis.Redis:
        """Return the client for the running event loop."""
        return self._async_clients.get()

    @property
    def is_loop_closing(self) -> bool:
        """Whether the running event loop is about to end, and has closed its client."""
        return self._async_clients.is_loop_closing

    async def aclose(self) -> None:
        """Close the client of the running event loop."""
        await self._async_clients.aclose()


def _create_async_client(url: str, settings: dict[str, Any]) -> aioredis.Redis:
    return aioredis.Redis.from_pool(aioredis.BlockingConnectionPool.from_url(url, **settings))


async def _close_when_unused(client: aioredis.Redis) -> None:
    """Close a client after the operations of dropped streams, which the loop closes at the same time.

    Otherwise, a retry would open connections that nothing closes.
    """
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + _DEFAULT_OPTIONS["socket_timeout"]
    pool = client.connection_pool
    # redis-py has no public count of the connections in use, and no event to await.
    while getattr(pool, "_in_use_connections", ()) and loop.time() < ends_at:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await client.aclose()


class RedisClientMixin:
    """Mixin for objects that use Redis through the caller's clients or their own."""

    _own_clients: RedisClients | None = None
    _pickle_advice: ClassVar[tuple[str, str]]
    """Name of the object with its article, and advice on what to do instead of pickling it."""

    def close(self) -> None:
        """Close the connections of threads if `from_url` created them; later calls open new ones."""
        if self._own_clients is not None:
            self._own_clients.client.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop if `from_url` created them."""
        if self._own_clients is not None:
            await self._own_clients.aclose()

    def __reduce__(self) -> NoReturn:
        """Reject pickling.

        Raises:
            TypeError: Always.
        """
        subject, advice = self._pickle_advice
        message = (
            f"cannot pickle {subject} that uses Redis: it holds connections and may hold a password; "
            f"{advice}"
        )
        raise TypeError(message)
