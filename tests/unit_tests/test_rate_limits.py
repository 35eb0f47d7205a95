"""How a minute's requests are divided."""

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
        ({"requests_per_minute": 0}, "whole number from 1, not 0"),
        ({"requests_per_minute": -5}, "not -5"),
        ({"requests_per_minute": 1.5}, "not 1.5"),
        ({"requests_per_minute": 100, "window": 1}, "windows of 3, 6, 12, 15, 30, 60 s only"),
        ({"requests_per_minute": 100, "window": 9}, "is 9, but"),
        ({"requests_per_minute": 60, "window": 0}, "is 0, but"),
        ({"requests_per_minute": 60, "window": 120}, "is 120, but"),
        ({"requests_per_minute": 60, "key": ""}, "`key` is empty"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused(arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        RedisRateLimiter.from_url("redis://127.0.0.1", **{"key": "app"} | arguments)


def test_unsupported_clients_are_rejected() -> None:
    with pytest.raises(ValueError, match="from_url"):
        RedisRateLimiter(key="app", requests_per_minute=60)
    cluster: Any = redis.RedisCluster.__new__(redis.RedisCluster)
    with pytest.raises(TypeError, match="not a RedisCluster"):
        RedisRateLimiter(key="app", requests_per_minute=60, client=cluster)
