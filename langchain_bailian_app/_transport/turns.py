"""Places for calls in flight, given to threads in the order in which they came."""

from __future__ import annotations

from collections import deque
from threading import Lock


class Turns:
    """A semaphore that is fair, as asyncio's is.

    With `threading.Semaphore` a thread that gives its place back and wants the next takes it from those
    who wait, some of them until their time is up.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: deque[Lock] = deque()
        self._lock = Lock()

    def acquire(self, patience: float) -> bool:
        """Return whether there was a place within so many seconds."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            turn = Lock()
            turn.acquire()
            self._waiting.append(turn)
        came = False
        try:
            came = turn.acquire(timeout=patience)
        finally:
            if not came:
                self._give_up(turn)
        return came

    def release(self) -> None:
        """Give a place back: to who waits longest, if anybody does."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1

    def _give_up(self, turn: Lock) -> None:
        with self._lock:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return
        self.release()  # the place came at the last moment
