"""A store of sessions in Redis, for several processes and machines; needs the extra `redis`.

What a step means is said by `SessionStore`; here each is one script that the server runs as a whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from typing import TYPE_CHECKING, Any, Self

from langchain_bailian_app._transport.redis_clients import RedisClientMixin, RedisClients
from langchain_bailian_app.sessions._store import KEY_LIFETIME, SESSION_LIFETIME

if TYPE_CHECKING:
    import redis
    import redis.asyncio as aioredis

_LIFETIME_MS = int(SESSION_LIFETIME * 1000)

# Each session is one hash, so a script touches one key, as a cluster wants it.
_OPEN_LUA = """
if redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('HSET', KEYS[1], 'turn', 1, 'digest', ARGV[2])
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
"""
# Its own token is no obstacle: redis-py sends a script again where the reply was lost.
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
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[2] then
    return 0
end
redis.call('HDEL', KEYS[1], 'token')
redis.call('HSET', KEYS[1], 'turn', ARGV[3], 'digest', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""
_RELEASE_LUA = """
if redis.call('HGET', KEYS[1], 'token') == ARGV[2] then
    redis.call('HDEL', KEYS[1], 'token')
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
"""


class RedisSessionStore(RedisClientMixin):
    """A store for any number of processes that share a Redis server (or Valkey, or a cluster of them).

    Setup:
        ```bash
        pip install 'langchain-bailian-app[redis]'
        ```

    Instantiate:
        ```python
        from langchain_bailian_app import BailianAppChatModel
        from langchain_bailian_app.redis_sessions import RedisSessionStore

        store = RedisSessionStore.from_url("redis://localhost")  # connects when it is first used
        ```

    Use:
        ```python
        model = BailianAppChatModel(history="session", session_store=store)
        ```

    A conversation may go from process to process; of calls that continue the same session at once,
    wherever they run, one claims it and the others are told anew. Each step is one round trip. A
    session is known for an hour after its last step, by the clock of the server, and so is the claim of
    a process that died; the session of a thread for a day.

    A server that cannot be reached fails a call before anything is sent, with redis-py's own error.

    What the server forgets is told anew, except in two cases. A server that goes back in time (a
    failover to a replica that lags, a restart from an old snapshot) may let a session be continued
    that has moved on since. And one that evicts a claim (a `maxmemory-policy` other than `noeviction`)
    may let two calls of a thread meet in one session.

    Args:
        client: For calls from threads. It stays the caller's, who closes it.
        async_client: For calls on an event loop, on one only: as redis-py has it, a client does not
            work on two. `from_url` makes one for each loop.
        prefix: What all keys begin with. Nothing else of them can be read: they are hashes of service,
            workspace, application, and session or thread.

    Raises:
        ValueError: Neither client is given.
    """

    _pickle_advice = ("a session store", "give the model in the new process one of its own")

    def __init__(
        self,
        *,
        client: redis.Redis | redis.RedisCluster | None = None,
        async_client: aioredis.Redis | aioredis.RedisCluster | None = None,
        prefix: str = "bailian:",
    ) -> None:
        if client is None and async_client is None:
            message = "a session store needs a `client`, an `async_client`, or both: see `from_url`"
            raise ValueError(message)
        self._client: Any = client
        self._async_client: Any = async_client
        self._prefix = prefix

    @classmethod
    def from_url(cls, url: str, *, prefix: str = "bailian:", **options: Any) -> Self:
        """Return a store with clients of its own, which connect when they are first used.

        Threads share one client. Each event loop has its own, closed with the loop.

        Args:
            url: `redis://`, `rediss://` or `unix://`, with options as redis-py reads them.
            prefix: What all keys begin with.
            options: Further options of redis-py's connections. Unless given, connecting and each reply
                may take five seconds, and there are up to 50 connections for each client.

        Raises:
            ValueError: The URL is none of these.
        """
        clients = RedisClients(url, **options)
        store = cls(client=clients.client, prefix=prefix)
        store._own_clients = clients
        return store

    def open(self, session_id: str, digest: str) -> None:
        """Note a session after its first answer; one that is known already stays as it is."""
        self._run_script(_OPEN_LUA, _hash(session_id), digest)

    def claim(self, session_id: str, turn: int, digest: str) -> str | None:
        """Return a token if the session stands just there and nobody has claimed it, else None."""
        token = _new_token(session_id)
        return (
            token
            if self._run_script(_CLAIM_LUA, _hash_from_token(token), turn, digest, token)
            else None
        )

    def complete(self, token: str, turn: int, digest: str) -> bool:
        """End a claim after a whole answer; False if there is no such claim (any more)."""
        return bool(self._run_script(_COMPLETE_LUA, _hash_from_token(token), token, turn, digest))

    def release(self, token: str) -> None:
        """End a claim whose request certainly did not run."""
        self._run_script(_RELEASE_LUA, _hash_from_token(token), token)

    def get(self, key: str) -> str | None:
        """Return the session of a key."""
        return _decode(self._require_client().get(self._thread_key(key)))

    def put(self, key: str, session_id: str) -> None:
        """Note the session of a key."""
        self._require_client().set(self._thread_key(key), session_id, ex=int(KEY_LIFETIME))

    async def aopen(self, session_id: str, digest: str) -> None:
        """Do what `open` does."""
        await self._arun_script(_OPEN_LUA, _hash(session_id), digest)

    async def aclaim(self, session_id: str, turn: int, digest: str) -> str | None:
        """Do what `claim` does."""
        token = _new_token(session_id)
        try:
            claimed = await self._arun_script(_CLAIM_LUA, _hash_from_token(token), turn, digest, token)
        except asyncio.CancelledError:
            await self.arelease(token)  # it may be claimed, by a token that nobody has
            raise
        return token if claimed else None

    async def acomplete(self, token: str, turn: int, digest: str) -> bool:
        """Do what `complete` does."""
        return bool(
            await self._arun_script(_COMPLETE_LUA, _hash_from_token(token), token, turn, digest)
        )

    async def arelease(self, token: str) -> None:
        """Do what `release` does."""
        # Most often the call was cancelled, and anyio (so Starlette, FastAPI) cancels every later wait.
        await asyncio.shield(self._arun_script(_RELEASE_LUA, _hash_from_token(token), token))

    async def aget(self, key: str) -> str | None:
        """Do what `get` does."""
        return _decode(await (await self._require_async_client()).get(self._thread_key(key)))

    async def aput(self, key: str, session_id: str) -> None:
        """Do what `put` does."""
        await (await self._require_async_client()).set(
            self._thread_key(key), session_id, ex=int(KEY_LIFETIME)
        )

    def _run_script(self, script: str, session_hash: str, *arguments: str | int) -> Any:
        registered = self._require_client().register_script(script)
        return registered(keys=[self._session_key(session_hash)], args=[_LIFETIME_MS, *arguments])

    async def _arun_script(self, script: str, session_hash: str, *arguments: str | int) -> Any:
        registered = (await self._require_async_client()).register_script(script)
        return await registered(keys=[self._session_key(session_hash)], args=[_LIFETIME_MS, *arguments])

    def _require_client(self) -> Any:
        if self._client is None:
            message = "this session store was given no `client`, so it serves event loops only"
            raise ValueError(message)
        return self._client

    async def _require_async_client(self) -> Any:
        if self._own_clients is not None:
            return await self._own_clients.for_running_loop()
        if self._async_client is None:
            message = "this session store was given no `async_client`, so it serves threads only"
            raise ValueError(message)
        return self._async_client

    def _session_key(self, session_hash: str) -> str:
        return f"{self._prefix}session:{session_hash}"

    def _thread_key(self, key: str) -> str:
        return f"{self._prefix}thread:{_hash(key)}"


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _new_token(session_id: str) -> str:
    """Return a token that tells which session it claims."""
    return f"{_hash(session_id)}:{uuid.uuid4().hex}"


def _hash_from_token(token: str) -> str:
    return token.partition(":")[0]


def _decode(value: bytes | str | None) -> str | None:
    # A client of the caller's may have `decode_responses`.
    return value.decode() if isinstance(value, bytes) else value
