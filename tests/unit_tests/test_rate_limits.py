"""Tests of the arguments of a rate limiter, and of the division of a minute into windows."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from langchain_bailian_app.rate_limits import RedisRateLimiter, _split_rate


@pytest.mark.parametrize(
    ("requests_per_minute", "window", "expected"),
    [
        (15_000, None, (250, 1)),
        (100, None, (5, 3)),
        (60, None, (1, 1)),
        (30, None, (1, 2)),
        (7, None, (7, 60)),
        (1, None, (1, 60)),
        (15_000, 60, (15_000, 60)),
        (100, 12, (20, 12)),
    ],
)
def test_a_minute_is_divided_as_finely_as_it_can(
    requests_per_minute: int, window: int | None, expected: tuple[int, int]
) -> None:
    assert _split_rate(requests_per_minute, window) == expected


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"requests_per_minute": 0}, "expected a positive integer, got 0"),
        ({"requests_per_minute": -5}, "got -5"),
        ({"requests_per_minute": 1.5}, "got 1.5"),
        ({"requests_per_minute": 100, "window": 1}, "expected one of 3, 6, 12, 15, 30, 60 "),
        ({"requests_per_minute": 100, "window": 9}, ", got 9"),
        ({"requests_per_minute": 60, "window": 0}, ", got 0"),
        ({"requests_per_minute": 60, "window": 120}, ", got 120"),
        ({"requests_per_minute": 60, "key": ""}, "empty `key`"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused(arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        RedisRateLimiter.from_url("redis://127.0.0.1", **{"key": "app"} | arguments)


def test_unsupported_clients_are_rejected() -> None:
    with pytest.raises(ValueError, match="from_url"):
        RedisRateLimiter(key="app", requests_per_minute=60)
    cluster: Any = redis.RedisCluster.__new__(redis.RedisCluster)
    with pytest.raises(TypeError, match="unsupported client RedisCluster"):
        RedisRateLimiter(key="app", requests_per_minute=60, client=cluster)
