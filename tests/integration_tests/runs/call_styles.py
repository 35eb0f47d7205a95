"""Sync and async calls of the methods of models and runs."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from langchain_bailian_app.runs import aas_completed, as_completed

both_styles = pytest.mark.parametrize("style", ["sync", "async"])
_ASYNC_NAMES = {"wait": "await_until_ended"}


async def call(style: str, target: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    """Call a method, or its async twin."""
    if style == "sync":
        return getattr(target, method)(*args, **kwargs)
    return await getattr(target, _ASYNC_NAMES.get(method, f"a{method}"))(*args, **kwargs)


async def collect(style: str, runs: Any, **kwargs: Any) -> list[Any]:
    """Return the runs in the order in which they end."""
    if style == "sync":
        return list(as_completed(runs, **kwargs))
    async with aclosing(aas_completed(runs, **kwargs)) as ended:
        return [run async for run in ended]
