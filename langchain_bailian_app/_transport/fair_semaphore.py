"""Places for calls in flight, given to threads in the order in which they came."""

from __future__ import annotations

from collections import deque
from threading import Lock, RLock


class Turns:
    """A semaphore that is fair, as asyncio's is.

    With `threading.Semaphore` a thread that gives its place back and wants the next takes it from those
    who wait, some of them until their time is up.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: deque[Lock] = deque()
        # The garbage collector may close a stream that was dropped, which gives a place back, in the
        # very thread that holds this.
        self._lock = RLock()

    def acquire(self, patience: float) -> bool:
        """Return whether there was a place within so many seconds."""
        turn = Lock()
        turn.acquire()
        with self._lock:
            self._waiting.append(turn)
            self._serve()
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
            self._free += 1
            self._serve()

    def _serve(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            self._waiting.popleft().release()

    def _give_up(self, turn: Lock) -> None:
        with self._lock:
            try:
                self._waiting.remove(turn)
            except ValueError:
                self.release()  # the place came at the last moment
