"""Releases of claims that a thread in the background repeats until they succeed."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_bailian_app.sessions._store import SESSION_LIFETIME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_logger = logging.getLogger("langchain_bailian_app")
MAX_DELAY = 1.0
"""Maximum seconds between two attempts."""

_MIN_DELAY = 0.05
_EXIT_TIMEOUT = 2.0  # seconds that the end of the interpreter is delayed at most


def iter_delays() -> Iterator[float]:
    """Yield the seconds between attempts, without end."""
    delay = _MIN_DELAY
    while True:
        yield delay
        delay = min(MAX_DELAY, 2 * delay)


@dataclass(eq=False)
class _Release:
    token: str
    expires_at: float
    due_at: float
    delays: Iterator[float]
    is_repeated: bool = False


class BackgroundReleases:
    """Releases that are still to be done, and the daemon thread that does them.

    The thread starts when it is needed and ends when nothing is left to do. At the end of the
    interpreter, each release is attempted once more.

    Args:
        release: Releases a token; returns whether the store knew its claim. It raises an error if it
            fails.
    """

    # No lock guards the attributes: each operation is atomic, because the garbage collector may call
    # `add` anywhere. Two threads that do the same work are harmless, because releases can be repeated.
    def __init__(self, release: Callable[[str], bool]) -> None:
        self._release = release
        self._reset()

    def _reset(self) -> None:
        self._tokens: set[str] = set()
        self._new: deque[_Release] = deque()
        self._thread: threading.Thread | None = None
        self._exiting = threading.Event()
        self._pid = os.getpid()

    def add(self, token: str) -> None:
        """Release a token in the background; return immediately."""
        if self._pid != os.getpid():
            self._reset()  # a forked child has no thread, and the parent does its own releases
        now = time.monotonic()
        self._tokens.add(token)
        self._new.append(_Release(token, now + SESSION_LIFETIME, now, iter_delays()))
        thread = self._thread
        if thread is None or not thread.is_alive():
            self._start_thread()

    def __contains__(self, token: str) -> bool:
        """Return whether the token is still to be released."""
        return token in self._tokens and self._pid == os.getpid()

    def _start_thread(self) -> None:
        self._thread = threading.Thread(target=self._run, name="bailian-releases", daemon=True)
        with suppress(RuntimeError):  # the interpreter is about to end
            self._thread.start()

    def _run(self) -> None:
        thread = threading.current_thread()
        _running[thread] = self._exiting
        try:
            self._run_all()
        finally:
            _running.pop(thread, None)

    def _run_all(self) -> None:
        releases: list[_Release] = []
        while True:
            while self._new:
                with suppress(IndexError):
                    releases.append(self._new.popleft())
            if not releases:
                if self._thread is threading.current_thread():
                    self._thread = None  # from here on, `add` starts a thread
                if not self._new:
                    return
                continue
            if self._exiting.is_set():
                for release in releases:
                    self._attempt(release)
                return
            release = min(releases, key=lambda each: each.due_at)
            self._exiting.wait(max(0.0, release.due_at - time.monotonic()))
            if release.due_at <= time.monotonic() and self._attempt(release):
                releases.remove(release)
                self._tokens.discard(release.token)

    def _attempt(self, release: _Release) -> bool:
        """Try to release a token; return whether nothing is left to do for it."""
        try:
            was_claimed = self._release(release.token)
        except Exception as exc:  # noqa: BLE001  # clients of the caller may raise others than redis-py
            _logger.debug("could not release a session: %s", type(exc).__name__)
            now = time.monotonic()
            release.due_at = now + next(release.delays)
            return now >= release.expires_at
        # A server that has just resumed may still have the claim in its queue.
        is_done = was_claimed or release.is_repeated
        release.is_repeated = True
        release.due_at = time.monotonic() + MAX_DELAY
        return is_done


_running: dict[threading.Thread, threading.Event] = {}


@atexit.register
def _finish() -> None:
    """Have each thread attempt its releases once more, and wait for `_EXIT_TIMEOUT` seconds at most."""
    for thread, exiting in list(_running.items()):
        exiting.set()
        thread.join(_EXIT_TIMEOUT)
