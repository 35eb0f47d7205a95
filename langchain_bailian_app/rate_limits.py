"""A rate limiter that all processes share through Redis; needs the extra `redis`.

The counting is that of the library `limits`; here are the waiting, and the clock of the server.
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
        "rate limits in Redis need the package limits: pip install 'langchain-bailian-app[redis]'"
    )
    raise ImportError(_MISSING_PACKAGE) from exc

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis.asyncio as aioredis

__all__ = ["RedisRateLimiter"]

_SECONDS_PER_MINUTE = 60
# `limits` hands the clock of the calling machine to its script; those of several machines differ.
_SERVER_TIME_LUA = b"""
local now = redis.call('TIME')
ARGV[1] = now[1] .. '.' .. string.format('%06d', now[2])
"""

# How often the first of those who wait asks again, in each window: what is lost to it is half of one
# such pause, about 1 % of the rate.
_POLLS_PER_WINDOW = 50


class RedisRateLimiter(RedisClientMixin, BaseRateLimiter):
    """Limits the requests of any number of processes that share a Redis server (or Valkey).

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
        patient = model.with_retry(stop_after_attempt=3)  # each attempt waits for its permission
        ```

        LangChain asks a limiter once a call. So give `max_retries=0` and repeat outside: what the model
        itself sends again is not counted.

    The documents name two limits, each for one application and all who call it: 15,000 requests a
    minute by default (reference of Agent 2.0), and 100 a minute (page on questions about files, for
    agents of the first kind). Whether their minute is a fixed or a moving one is unverified. Stay a
    little below: requests that were let through one after the other may arrive together.

    The limit is kept in a moving window, exactly, by the clock of the server; `window` seconds long, so
    that it holds for any minute. A step of that clock lets more or fewer through, once.

    Of those who wait in one process, threads or the tasks of an event loop, the first asks and the
    others stand behind it; the first ones of several processes ask at random moments, 50 times in a
    window, so that each has its chance in every window. Permission that was given to a call which is
    cancelled, or whose reply was lost, is used up.

    A server that cannot be reached, or does not answer in five seconds, fails a call before anything is
    sent, with redis-py's own error, and so it fails all who wait in that process. It never lets anyone
    through unasked. One that forgets (a restart, a failover, eviction) may let up to one window's
    requests through once more.

    Args:
        key: Whose limit it is, usually the `app_id`. Limiters count together that have the same server,
            prefix, key, limit and window.
        requests_per_minute: How many requests are let through in any minute, a whole number.
        window: Seconds, a divisor of 60, in each of which its share of the minute is let through: the
            smaller the smoother, and 60 lets a minute's requests go at once. Default: the smallest
            for which the share is a whole number, so 250 a second for 15,000, and 5 in 3 s for 100.
        client: For calls from threads. It stays the caller's, who closes it.
        async_client: For calls on an event loop, on one only: as redis-py has it, a client does not
            work on two. `from_url` makes one for each loop. Neither may be a client of a cluster.
        prefix: What the key in Redis begins with.

    Raises:
        ValueError: Neither client is given, or the limit is none that can be kept.
        TypeError: A client is one of a cluster.
    """

    _pickle_advice = (
        "a rate limiter",
        "give the model in the new process one of its own, with the same key and limit",
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
            message = "a rate limiter needs a `client`, an `async_client`, or both: see `from_url`"
            raise ValueError(message)
        if not key:
            message = "`key` is empty: give the app id, or another name for what is limited"
            raise ValueError(message)
        amount, seconds = _split_rate(requests_per_minute, window)
        self._key = key
        self._limit = RateLimitItemPerSecond(amount, seconds, namespace="rate")
        self._prefix = prefix.removesuffix(":")  # `limits` puts one behind it
        self._sync_waiters = None if client is None else _create_sync_waiters(client, self._prefix)
        self._async_client = async_client
        self._async_waiters: weakref.WeakKeyDictionary[aioredis.Redis, _Waiters] = (
            weakref.WeakKeyDictionary()
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
        """Return a limiter with clients of its own, which connect when they are first used.

        Threads share one client. Each event loop has its own, closed with the loop.

        Args:
            url: `redis://`, `rediss://` or `unix://`, with options as redis-py reads them.
            key: As above, like `requests_per_minute`, `window` and `prefix`.
            requests_per_minute: How many requests are let through in any minute.
            window: Seconds, in each of which its share of the minute is let through.
            prefix: What the key in Redis begins with.
            options: Further options of redis-py's connections. Unless given, connecting and each reply
                may take five seconds.

        Raises:
            ValueError: The URL is none of these, or the limit is none that can be kept.
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
        """Wait until a request is let through.

        Args:
            blocking: Whether to wait; otherwise the answer comes at once.

        Returns:
            Whether it is let through: True, unless `blocking` is False.

        Raises:
            redis.RedisError: The server cannot be reached, or refuses.
        """
        waiters = self._sync_waiters
        if waiters is None:
            message = "this rate limiter was given no `client`, so it serves event loops only"
            raise ValueError(message)
        if not blocking:
            return bool(waiters.strategy.hit(self._limit, self._key))
        failures_before = waiters.failures
        with waiters.lock, waiters.as_leader(failures_before):
            while not waiters.strategy.hit(self._limit, self._key):
                time.sleep(self._poll_delay())
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        """Do what `acquire` does."""
        waiters = await self._waiters_for_loop()
        if not blocking:
            return bool(await waiters.strategy.hit(self._limit, self._key))
        failures_before = waiters.failures
        async with waiters.lock:
            with waiters.as_leader(failures_before):
                # There is no event to wait for: the server tells nobody when the next may go.
                while not await waiters.strategy.hit(self._limit, self._key):  # noqa: ASYNC110
                    await asyncio.sleep(self._poll_delay())
        return True

    async def _waiters_for_loop(self) -> _Waiters:
        client = (
            self._async_client
            if self._own_clients is None
            else await self._own_clients.for_running_loop()
        )
        if client is None:
            message = "this rate limiter was given no `async_client`, so it serves threads only"
            raise ValueError(message)
        if client not in self._async_waiters:
            self._async_waiters[client] = _create_async_waiters(client, self._prefix)
        return self._async_waiters[client]

    def _poll_delay(self) -> float:
        mean_delay = self._limit.get_expiry() / _POLLS_PER_WINDOW
        return mean_delay * random.uniform(0.5, 1.5)  # noqa: S311  # jitter


@dataclass(eq=False)
class _Waiters:
    """Threads, or the tasks of a loop, that wait one behind the other; only the first asks."""

    strategy: Any  # of `limits`, for threads or for tasks
    lock: Any  # the lock of the one who asks
    failures: int = 0
    last_error: str = ""

    @contextmanager
    def as_leader(self, failures_before: int) -> Iterator[None]:
        """Fail with the first all who stood in line behind it: those who came at `failures_before`.

        Else each would wait in its turn for a server that does not answer.
        """
        if self.failures != failures_before:
            message = f"the server failed a request that waited before this one: {self.last_error}"
            raise redis.ConnectionError(message)
        try:
            yield
        except redis.RedisError as error:
            self.failures += 1
            self.last_error = str(error)
            raise


def _split_rate(requests_per_minute: int, window: int | None) -> tuple[int, int]:
    """Return how many requests are let through in how many seconds."""
    rate: object = requests_per_minute
    if not isinstance(rate, int) or rate < 1:
        message = f"`requests_per_minute` is a whole number from 1, not {requests_per_minute!r}"
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
            f"`window` is {window!r}, but {requests_per_minute} requests a minute can be divided "
            f"evenly into windows of {', '.join(map(str, allowed))} s only"
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
        message = f"a rate limiter needs the client of one server, not a {type(client).__name__}"
        raise TypeError(message) from None
