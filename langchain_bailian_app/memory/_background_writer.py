"""Writer that runs tasks in the background, in the order in which they were added."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_logger = logging.getLogger("langchain_bailian_app")
_MAX_TASKS = 1000
_EXIT_TIMEOUT = 10.0  # seconds that the end of the process may wait for unfinished tasks


class BackgroundWriter:
    """Runs tasks in one thread. A task that fails is logged, and the others still run.

    The thread starts with the first task, and ends when there are none. A forked process starts its
    own. If 1,000 tasks are waiting, the oldest is dropped, with a log message.
    """

    def __init__(self) -> None:
        self._tasks: deque[Callable[[], None]] = deque()
        self._condition = threading.Condition()
        self._is_running = False
        _writers.add(self)

    def add(self, task: Callable[[], None]) -> None:
        """Add a task, and return at once."""
        with self._condition:
            if len(self._tasks) >= _MAX_TASKS:
                self._tasks.popleft()
                _logger.warning("a memory was not stored: more than %d are waiting", _MAX_TASKS)
            self._tasks.append(task)
            if self._is_running:
                return
            self._is_running = True
        try:
            threading.Thread(target=self._run, name="bailian-memory", daemon=True).start()
        except RuntimeError:  # the interpreter shuts down, and Python 3.12 starts no more threads
            self._run()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all tasks have run; return whether they have within `timeout` seconds."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._is_running, timeout)

    async def aflush(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109  # as in `flush`
        """Async version of `flush`."""
        return await asyncio.to_thread(self.flush, timeout)

    def forget_thread(self) -> None:
        """Drop the tasks in a forked process, which has none of the threads of its parent."""
        self._tasks.clear()
        self._condition = threading.Condition()
        self._is_running = False

    def _run(self) -> None:
        while True:
            with self._condition:
                if not self._tasks:
                    self._is_running = False
                    self._condition.notify_all()
                    return
                task = self._tasks.popleft()
            try:
                task()
            except Exception:
                _logger.warning("a memory was not stored", exc_info=True)


_writers: weakref.WeakSet[BackgroundWriter] = weakref.WeakSet()


def _flush_all() -> None:
    deadline = time.monotonic() + _EXIT_TIMEOUT
    for writer in list(_writers):
        if not writer.flush(max(0.0, deadline - time.monotonic())):
            _logger.warning("the process ends before all memories were stored")


def _forget_threads() -> None:
    for writer in list(_writers):
        writer.forget_thread()


atexit.register(_flush_all)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_threads)
