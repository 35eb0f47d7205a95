"""Operations on event loops that continue if their caller is cancelled."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_bailian_app._transport.loop_local import LoopLocal

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

_logger = logging.getLogger("langchain_bailian_app")
# An event loop has only weak references to its tasks. Here, a loop that is never closed is collected
# together with them.
_tasks: LoopLocal[set[asyncio.Task[Any]]] = LoopLocal(set)


async def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine that runs to its end even if the caller is cancelled.

    Without a task of its own, two things may happen. anyio (Starlette, FastAPI) cancels every later
    `await` of a cancelled call. And redis-py uses `asyncio.wait_for`, which may swallow a cancellation
    on Python 3.11, so that the caller continues.
    """
    task = asyncio.create_task(coroutine)
    tasks = _tasks.get()
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    try:
        await asyncio.wait([task])
    except BaseException:
        task.add_done_callback(_log_error)
        raise
    return task.result()


def _log_error(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _logger.warning("an operation failed after its call was cancelled", exc_info=error)
