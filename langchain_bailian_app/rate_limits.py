"""Rate limiter that processes share through Redis; requires the `redis` extra.

The library `limits` does the counting. This module adds waiting, and uses the server's clock.
"""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time
import weakref
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from langchain_core.rate_limiters import BaseRateLimiter

from langchain_bailian_app._transport.background_tasks import run_to_end
from langchain_bailian_app._transport.loop_local import LoopLocal
from langchain_bailian_app._transport.redis_clients import RedisClientMixin, RedisClients

try:
    import redis
    from limits import RateLimitItemPerSecond
    from limits.aio.storage import RedisStorage as AsyncRedisStorage
    from limits.aio.strategies import MovingWindowRateLimiter as AsyncMovingWindow
    from limits.storage import RedisStorage
    from limits.strategies import MovingWindowRateLimiter as MovingWindow
except ImportError as exc:
    _MISSING_PACKAGE = (
        "missing package limits, required for rate limits in Redis: "
        "pip install 'langchain-bailian-app[redis]'"
    )
    raise ImportError(_MISSING_PACKAGE) from exc

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis.asyncio as aioredis

__all__ = ["RedisRateLimiter"]

_SECONDS_PER_MINUTE = 60
# `limits` passes the time of the calling machine to its script, but the clocks of machines differ.
_SERVER_TIME_LUA = b"""
local now = redis.call('TIME')
ARGV[1] = now[1] .. '.' .. string.format('%06d', now[2])
"""

# Number of times per window that the first waiting call polls. On average, half a pause is lost, which
# costs about 1 % of the rate.
_POLLS_PER_WINDOW = 50


class RedisRateLimiter(RedisClientMixin, BaseRateLimiter):
    """Rate limiter for any number of processes that share a Redis or Valkey server.

    Setup:
        ```bash
        pip install 'langchain-bailian-app[redis]'
        ```

    Instantiate:
        ```python
        from langchain_bailian_app import BailianAppChatModel
        from langchain_bailian_app.rate_limits import RedisRateLimiter

        limiter = RedisRateLimiter.from_url("redis://localhost", key="app", requests_per_minute=15_000)
        ```

    Use:
        ```python
        model = BailianAppChatModel(rate_limiter=limiter, max_retries=0)
        patient = model.with_retry(stop_after_attempt=3)  # each attempt waits for the limiter
        ```

        LangChain calls the limiter once per model call, so internal retries of the model are not
        counted. Set `max_retries=0` and retry outside the model instead.

    The documentation states two limits. Each applies to one application, across all its callers: 15,000
    requests per minute by default (Agent 2.0 reference), and 100 per minute (page on questions about
    files, for first-generation agents). It is unverified whether the service counts in fixed or moving
    minutes. Set a slightly lower limit, because requests that are permitted one after the other may
    arrive together.

    The limiter enforces the limit exactly, in a moving window of `window` seconds by the clock of the
    Redis server, so that the limit holds for any minute. If that clock is adjusted, more or fewer
    requests may be permitted once.

    The waiting threads of a process form a queue, and so do the waiting tasks of an event loop. Only
    the first in a queue polls the server. It polls at random intervals, about 50 times per window, so
    that each process has a chance in every window. A permission is used up even if its call is
    cancelled or the server's reply is lost.

    If the server cannot be reached, or does not reply within five seconds, the call fails with
    redis-py's own error before anything is sent. All calls that wait behind it fail too. No request is
    permitted without the server. A server that loses its data (restart, failover, eviction) may permit
    the requests of up to one window a second time.

    Args:
        key: Name of the limit, usually the `app_id`. Limiters with the same server, prefix, key, limit
            and window count together.
        requests_per_minute: Maximum number of requests in any minute, a positive integer.
        window: Length of the window in seconds, a divisor of 60. Each window permits its share of the
            requests per minute, which must be a whole number. A smaller window spreads requests more
            evenly; 60 permits all requests of a minute at once. Default: the smallest possible window,
            for example 250 requests in 1 s for 15,000 per minute, and 5 in 3 s for 100 per minute.
        client: Client for calls from threads, for a single server (not a cluster). The caller owns and
            closes it.
        async_client: Client for calls on an event loop, for a single server (not a cluster). It works
            on one event loop only, because a client of redis-py cannot be shared between loops;
            `from_url` creates one per loop. The caller owns and closes it.
        prefix: Prefix of the key in Redis.

    Raises:
        ValueError: Neither `client` nor `async_client` is given, `key` is empty, or
            `requests_per_minute` or `window` is invalid.
        TypeError: A client belongs to a Redis cluster.
    """

    _pickle_advice = (
        "a rate limiter",
        "create another one for the model in the new process, with the same key and limit",
    )

    def __init__(
        self,
        *,
        key: str,
        requests_per_minute: int,
        window: int | None = None,
        client: redis.Redis | None = None,
        async_client: aioredis.Redis | None = None,
        prefix: str = "bailian:",
    ) -> None:
        if client is None and async_client is None:
            message = "missing `client` and `async_client`: pass at least one, or use `from_url`"
            raise ValueError(message)
        if not key:
            message = "empty `key`: pass the app id, or another name for the limit"
            raise ValueError(message)
        amount, seconds = _split_rate(requests_per_minute, window)
        self._key = key
        self._limit = RateLimitItemPerSecond(amount, seconds, namespace="rate")
        self._prefix = prefix.removesuffix(":")  # `limits` appends one
        self._sync_waiters = None if client is None else _create_sync_waiters(client, self._prefix)
        self._async_client = async_client
        self._async_waiters: LoopLocal[weakref.WeakKeyDictionary[aioredis.Redis, _Waiters]] = LoopLocal(
            weakref.WeakKeyDictionary
        )

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        key: str,
        requests_per_minute: int,
        window: int | None = None,
        prefix: str = "bailian:",
        **options: Any,
    ) -> Self:
        """Return a limiter that creates and owns its clients, which connect on first use.

        All threads share one client. Each event loop has a separate client, which is closed with the
        loop.

        Args:
            url: URL with the scheme `redis://`, `rediss://` or `unix://`. Its query may contain options
                of redis-py.
            key: Name of the limit, usually the `app_id`.
            requests_per_minute: Maximum number of requests in any minute, a positive integer.
            window: Length of the window in seconds, a divisor of 60. Default: as in the class.
            prefix: Prefix of the key in Redis.
            options: Further connection options of redis-py. Defaults: `socket_timeout=5.0`, which
                limits connecting and each reply to five seconds, and `max_connections=50` per client.

        Raises:
            ValueError: The URL has another scheme, `key` is empty, or `requests_per_minute` or `window`
                is invalid.
        """
        clients = RedisClients(url, **options)
        limiter = cls(
            key=key,
            requests_per_minute=requests_per_minute,
            window=window,
            client=clients.client,
            prefix=prefix,
        )
        limiter._own_clients = clients
        return limiter

    def acquire(self, *, blocking: bool = True) -> bool:
        """Wait until a request is permitted.

        Args:
            blocking: Whether to wait. If False, return immediately.

        Returns:
            Whether the request is permitted; always True if `blocking` is True.

        Raises:
            ValueError: The limiter has no `client`.
            redis.RedisError: The server cannot be reached, or returns an error.
        """
        waiters = self._sync_waiters
        if waiters is None:
            message = (
                "missing `client`: this rate limiter supports only asynchronous calls; pass `client` "
                "or use `from_url`"
            )
            raise ValueError(message)
        if not blocking:
            return bool(waiters.strategy.hit(self._limit, self._key))
        failures_before = waiters.failures
        with waiters.lock, waiters.as_leader(failures_before):
            while not waiters.strategy.hit(self._limit, self._key):
                time.sleep(self._poll_delay())
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        """Async version of `acquire`."""
        waiters = self._waiters_for_loop()
        if not blocking:
            return bool(await run_to_end(waiters.strategy.hit(self._limit, self._key)))
        failures_before = waiters.failures
        async with waiters.lock:
            with waiters.as_leader(failures_before):
                # There is no event to await: the server does not notify waiting clients.
                while not await run_to_end(  # noqa: ASYNC110
                    waiters.strategy.hit(self._limit, self._key)
                ):
                    await asyncio.sleep(self._poll_delay())
        return True

    def _waiters_for_loop(self) -> _Waiters:
        client = (
            self._async_client if self._own_clients is None else self._own_clients.for_running_loop()
        )
        if client is None:
            message = (
                "missing `async_client`: this rate limiter supports only synchronous calls; pass "
                "`async_client` or use `from_url`"
            )
            raise ValueError(message)
        waiters = self._async_waiters.get()
        if client not in waiters:
            waiters[client] = _create_async_waiters(client, self._prefix)
        return waiters[client]

    def _poll_delay(self) -> float:
        mean_delay = self._limit.get_expiry() / _POLLS_PER_WINDOW
        return mean_delay * random.uniform(0.5, 1.5)  # noqa: S311  # jitter


@dataclass(eq=False)
class _Waiters:
    """Queue of waiting threads, or of waiting tasks of an event loop.

    Only the first in line polls the Redis server.
    """

    strategy: Any  # strategy of `limits`, for threads or for tasks
    lock: Any  # held by the thread or task that polls
    failures: int = 0
    last_error: str = ""

    @contextmanager
    def as_leader(self, failures_before: int) -> Iterator[None]:
        """Run the body as the first call in the queue; an error also fails the calls behind it.

        `failures_before` is the value of `failures` when the caller joined the queue. Without it, each
        waiting call would in turn wait for a server that does not reply.
        """
        if self.failures != failures_before:
            message = (
                "the Redis server failed for an earlier request in the queue, so this one was not "
                f"tried: {self.last_error}"
            )
            raise redis.ConnectionError(message)
        try:
            yield
        except redis.RedisError as error:
            self.failures += 1
            self.last_error = str(error)
            raise


def _split_rate(requests_per_minute: int, window: int | None) -> tuple[int, int]:
    """Return the number of requests per window and the length of the window in seconds."""
    rate: object = requests_per_minute
    if not isinstance(rate, int) or rate < 1:
        message = (
            f"invalid `requests_per_minute`: expected a positive integer, got {requests_per_minute!r}"
        )
        raise ValueError(message)
    min_seconds = _SECONDS_PER_MINUTE // math.gcd(_SECONDS_PER_MINUTE, requests_per_minute)
    seconds = min_seconds if window is None else window
    if seconds < 1 or _SECONDS_PER_MINUTE % seconds or seconds % min_seconds:
        allowed = [
            n
            for n in range(min_seconds, _SECONDS_PER_MINUTE + 1, min_seconds)
            if _SECONDS_PER_MINUTE % n == 0
        ]
        message = (
            f"invalid `window`: expected one of {', '.join(map(str, allowed))} (seconds, for "
            f"{requests_per_minute} requests per minute), got {window!r}"
        )
        raise ValueError(message)
    return requests_per_minute * seconds // _SECONDS_PER_MINUTE, seconds


def _create_sync_waiters(client: redis.Redis, prefix: str) -> _Waiters:
    storage = RedisStorage("redis://", connection_pool=_get_connection_pool(client), key_prefix=prefix)
    script = _SERVER_TIME_LUA + storage.SCRIPT_ACQUIRE_MOVING_WINDOW
    storage.lua_acquire_moving_window = storage.get_connection().register_script(script)
    return _Waiters(MovingWindow(storage), threading.Lock())


def _create_async_waiters(client: aioredis.Redis, prefix: str) -> _Waiters:
    storage = AsyncRedisStorage(
        "async+redis://",
        implementation="redispy",
        connection_pool=_get_connection_pool(client),
        key_prefix=prefix,
    )
    bridge: Any = storage.bridge
    script = _SERVER_TIME_LUA + bridge.SCRIPT_ACQUIRE_MOVING_WINDOW
    bridge.lua_acquire_moving_window = bridge.get_connection().register_script(script)
    return _Waiters(AsyncMovingWindow(storage), asyncio.Lock())


def _get_connection_pool(client: Any) -> Any:
    try:
        return client.connection_pool
    except AttributeError:
        message = (
            f"unsupported client {type(client).__name__}: expected a client for a single server, not "
            "for a cluster"
        )
        raise TypeError(message) from None
