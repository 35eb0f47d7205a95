"""Fixtures of the tests of session stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from langchain_bailian_app.redis_sessions import RedisSessionStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_bailian_app import (
        BailianAppChatModel,
    )

    MakeModel = Callable[..., BailianAppChatModel]


@pytest.fixture
def admin(redis_url: str) -> Iterator[redis.Redis]:
    """Return a client of an empty server."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def store(redis_url: str, admin: redis.Redis) -> Iterator[RedisSessionStore]:
    """Return a store on an empty server."""
    session_store = RedisSessionStore.from_url(redis_url)
    yield session_store
    session_store.close()
