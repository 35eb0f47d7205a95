"""Session store in Redis, for several processes and machines; requires the `redis` extra.

`SessionStore` defines the operations. Here, each operation on a session is one script, which the server
runs atomically.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from langchain_bailian_app._transport.redis_clients import RedisClientMixin, RedisClients
from langchain_bailian_app.sessions._background_releases import (
    MAX_DELAY,
    BackgroundReleases,
    iter_delays,
)
from langchain_bailian_app.sessions._store import KEY_LIFETIME, SESSION_LIFETIME

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis
    import redis.asyncio as aioredis

_LIFETIME_MS = int(SESSION_LIFETIME * 1000)
_MAX_RETRIES = 1  # redis-py also retries each connection, so that more retries would take too long

# Each session is one hash, so that a script touches a single key, as a Redis cluster requires. A script
# can be repeated with the same arguments, because redis-py sends it again if its reply was lost.
_OPEN_LUA = """
if redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('HSET', KEYS[1], 'turn', 1, 'digest', ARGV[2])
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
"""
_CLAIM_LUA = """
local stored = redis.call('HMGET', KEYS[1], 'turn', 'digest', 'token')
if stored[1] ~= ARGV[2] or stored[2] ~= ARGV[3] or (stored[3] and stored[3] ~= ARGV[4]) then
    return 0
end
redis.call('HSET', KEYS[1], 'token', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""
_COMPLETE_LUA = """
local stored = redis.call('HMGET', KEYS[1], 'token', 'completed', 'turn', 'digest')
if stored[1] ~= ARGV[2] then
    local is_repeated = stored[2] == ARGV[2] and stored[3] == ARGV[3] and stored[4] == ARGV[4]
    return is_repeated and 1 or 0
end
redis.call('HDEL', KEYS[1], 'token')
redis.call('HSET', KEYS[1], 'turn', ARGV[3], 'digest', ARGV[4], 'completed', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""
_RELEASE_LUA = """
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[2] then
    return 0
end
redis.call('HDEL', KEYS[1], 'token')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""


class RedisSessionStore(RedisClientMixin):
    """Session store for any number of processes that share a Redis or Valkey server or cluster.

    Setup:
        ```bash
        pip install 'langchain-bailian-app[redis]'
        ```

    Instantiate:
        ```python
        from langchain_bailian_app import BailianAppChatModel
        from langchain_bailian_app.redis_sessions import RedisSessionStore

        store = RedisSessionStore.from_url("redis://localhost")  # connects on first use
        ```

    Use:
        ```python
        model = BailianAppChatModel(history="session", session_store=store)
        ```

    A conversation can move between processes. If several calls try to continue the same session at the
    same time, one of them claims the session and the others send all messages, even across processes.
    Each operation is one round trip.

    The store keeps a session for an hour after the last operation on it, by the clock of the Redis
    server. A claim whose process died ends at the same time. The session of a thread is kept for a day.

    If the Redis server cannot be reached, a call fails with redis-py's own error before anything is
    sent. If the server may have executed a claim whose reply was lost, or if a claim or a release was
    interrupted, the claim is released in the background as soon as the server replies again.

    If the Redis server loses a session, the next call sends all messages, except in two cases. A server
    that returns to an older state (failover to a lagging replica, restart from an old snapshot) may
    allow a call to continue a session that already has newer turns. A server that evicts a claim (a
    `maxmemory-policy` other than `noeviction`) may allow two calls on a thread to use one session at
    the same time.

    Args:
        client: Client for calls from threads. The caller owns and closes it.
        async_client: Client for calls on an event loop. It works on one event loop only, because a
            client of redis-py cannot be shared between loops; `from_url` creates one per loop. The
            caller owns and closes it.
        prefix: Prefix of all keys. The rest of a key is not readable: it contains a hash of the
            service, workspace, application, and session or thread.

    Raises:
        ValueError: Neither `client` nor `async_client` is given.
    """

    _pickle_advice = ("a session store", "create another one for the model in the new process")

    def __init__(
        self,
        *,
        client: redis.Redis | redis.RedisCluster | None = None,
        async_client: aioredis.Redis | aioredis.RedisCluster | None = None,
        prefix: str = "bailian:",
    ) -> None:
        if client is None and async_client is None:
            message = "missing `client` and `async_client`: pass at least one, or use `from_url`"
            raise ValueError(message)
        self._client: Any = client
        self._async_client: Any = async_client
        self._prefix = prefix
        self._thread_state = threading.local()
        self._background = BackgroundReleases(self._release)
        self._release_tasks: set[asyncio.Task[None]] = set()

    @classmethod
    def from_url(cls, url: str, *, prefix: str = "bailian:", **options: Any) -> Self:
        """Return a store that creates and owns its clients, which connect on first use.

        All threads share one client. Each event loop has a separate client, which is closed with the
        loop.

        Args:
            url: URL with the scheme `redis://`, `rediss://` or `unix://`. Its query may contain options
                of redis-py.
            prefix: Prefix of all keys.
            options: Further connection options of redis-py. Defaults: `socket_timeout=5.0`, which
                limits connecting and each reply to five seconds, `max_connections=50` per client, and
                one retry on another connection after a connection or a reply was lost. An operation
                thus fails after at most 15 seconds (three times `socket_timeout`), or later if it waits
                for a free connection. `retry` replaces the retry.

        Raises:
            ValueError: The URL has another scheme.
        """
        clients = RedisClients(url, max_retries=_MAX_RETRIES, **options)
        store = cls(client=clients.client, prefix=prefix)
        store._own_clients = clients
        return store

    def open(self, session_id: str, digest: str) -> None:
        """Record a session after its first answer; leave a known session unchanged."""
        self._run_script(_OPEN_LUA, _hash(session_id), digest)

    def claim(self, session_id: str, turn: int, digest: str) -> str | None:
        """Claim a session; return a token, or None if it is in use or not at this turn and digest."""
        self._require_client()
        token = _new_token(session_id)
        try:
            claimed = self._run_script(_CLAIM_LUA, _hash_from_token(token), turn, digest, token)
        except BaseException:
            self._release_later(token)  # the claim may have succeeded
            raise
        return token if claimed else None

    def complete(self, token: str, turn: int, digest: str) -> bool:
        """End a claim after a complete answer; return False if the claim no longer exists."""
        return bool(self._run_script(_COMPLETE_LUA, _hash_from_token(token), token, turn, digest))

    def release(self, token: str) -> None:
        """End a claim without recording a new turn.

        If this fails or is interrupted, the claim is released in the background.
        """
        self._require_client()
        if self._is_busy:
            # The garbage collector has closed an abandoned stream in the middle of another operation of
            # this thread, which may hold a lock of redis-py.
            self._background.add(token)
        elif token not in self._background:
            try:
                self._release(token)
            except BaseException:
                self._release_later(token)
                raise

    def get(self, key: str) -> str | None:
        """Return the session id stored for a key, or None."""
        return _decode(self._run(self._require_client().get, self._thread_key(key)))

    def put(self, key: str, session_id: str) -> None:
        """Store the session id of a key."""
        set_value = self._require_client().set
        self._run(set_value, self._thread_key(key), session_id, ex=int(KEY_LIFETIME))

    async def aopen(self, session_id: str, digest: str) -> None:
        """Async version of `open`."""
        await self._arun_script(_OPEN_LUA, _hash(session_id), digest)

    async def aclaim(self, session_id: str, turn: int, digest: str) -> str | None:
        """Async version of `claim`."""
        self._require_async_client()
        token = _new_token(session_id)
        try:
            claimed = await self._arun_script(_CLAIM_LUA, _hash_from_token(token), turn, digest, token)
        except BaseException:
            self._release_later(token)  # the claim may have succeeded
            raise
        return token if claimed else None

    async def acomplete(self, token: str, turn: int, digest: str) -> bool:
        """Async version of `complete`."""
        return bool(
            await self._arun_script(_COMPLETE_LUA, _hash_from_token(token), token, turn, digest)
        )

    async def arelease(self, token: str) -> None:
        """Async version of `release`."""
        self._require_async_client()
        if self._own_clients is not None and self._own_clients.is_loop_closing:
            self._background.add(token)  # another client on this loop would not be closed
            return
        try:
            await self._arelease(token)
        except BaseException:
            self._release_later(token)
            raise

    async def aget(self, key: str) -> str | None:
        """Async version of `get`."""
        return _decode(await self._require_async_client().get(self._thread_key(key)))

    async def aput(self, key: str, session_id: str) -> None:
        """Async version of `put`."""
        await self._require_async_client().set(self._thread_key(key), session_id, ex=int(KEY_LIFETIME))

    def _release(self, token: str) -> bool:
        return bool(self._run_script(_RELEASE_LUA, _hash_from_token(token), token))

    async def _arelease(self, token: str) -> bool:
        return bool(await self._arun_script(_RELEASE_LUA, _hash_from_token(token), token))

    def _release_later(self, token: str) -> None:
        """Release a token without waiting, after an operation has failed or was interrupted."""
        if self._client is not None:
            self._background.add(token)
            return
        with suppress(RuntimeError):  # the event loop has ended
            loop = asyncio.get_running_loop()
            task = loop.create_task(self._arelease_repeatedly(token))
            self._release_tasks.add(task)
            task.add_done_callback(self._release_tasks.discard)

    async def _arelease_repeatedly(self, token: str) -> None:
        """Do the same as `BackgroundReleases`, for a store without a client for threads."""
        expires_at = time.monotonic() + SESSION_LIFETIME
        is_repeated = False
        for delay in iter_delays():
            try:
                was_claimed = await self._arelease(token)
            except Exception:  # noqa: BLE001  # as in `BackgroundReleases`
                if time.monotonic() >= expires_at:
                    return
                await asyncio.sleep(delay)
            else:
                if was_claimed or is_repeated:
                    return
                is_repeated = True
                await asyncio.sleep(MAX_DELAY)

    @property
    def _is_busy(self) -> bool:
        """Whether this thread is in the middle of an operation of this store."""
        return getattr(self._thread_state, "is_busy", False)

    def _run(self, command: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            self._thread_state.is_busy = True
            return command(*arguments, **options)
        finally:
            self._thread_state.is_busy = False

    def _run_script(self, script: str, session_hash: str, *arguments: str | int) -> Any:
        registered = self._require_client().register_script(script)
        keys, values = [self._session_key(session_hash)], [_LIFETIME_MS, *arguments]
        return self._run(registered, keys=keys, args=values)

    async def _arun_script(self, script: str, session_hash: str, *arguments: str | int) -> Any:
        registered = self._require_async_client().register_script(script)
        return await registered(keys=[self._session_key(session_hash)], args=[_LIFETIME_MS, *arguments])

    def _require_client(self) -> Any:
        if self._client is None:
            message = (
                "missing `client`: this session store supports only asynchronous calls; pass `client` "
                "or use `from_url`"
            )
            raise ValueError(message)
        return self._client

    def _require_async_client(self) -> Any:
        if self._own_clients is not None:
            return self._own_clients.for_running_loop()
        if self._async_client is None:
            message = (
                "missing `async_client`: this session store supports only synchronous calls; pass "
                "`async_client` or use `from_url`"
            )
            raise ValueError(message)
        return self._async_client

    def _session_key(self, session_hash: str) -> str:
        return f"{self._prefix}session:{session_hash}"

    def _thread_key(self, key: str) -> str:
        return f"{self._prefix}thread:{_hash(key)}"


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _new_token(session_id: str) -> str:
    """Return a token that contains the hash of the session it claims."""
    return f"{_hash(session_id)}:{uuid.uuid4().hex}"


def _hash_from_token(token: str) -> str:
    return token.partition(":")[0]


def _decode(value: bytes | str | None) -> str | None:
    # The caller's client may have `decode_responses` set.
    return value.decode() if isinstance(value, bytes) else value
