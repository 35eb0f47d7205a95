"""Fixtures of servers that several test modules use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """Run a Redis server for one module; return its URL."""
    with redis_server() as url:
        yield url
