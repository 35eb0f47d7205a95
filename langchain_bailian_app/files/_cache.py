"""Which bytes were uploaded already, and which are being uploaded just now.

The same bytes go up once: who comes second waits for the first. With a file to write into, ids outlive
the process, so that a run that was interrupted goes on where it was.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_bailian_app.options._session_files import SessionFile

_logger = logging.getLogger("langchain_bailian_app")
_TRUSTED = 3600.0  # seconds for which a file that was ready is taken to be so without asking
_MOST_KEPT = 10_000


class Claim(NamedTuple):
    """What is known of some bytes. Without `others` they are the claimant's, until released."""

    others: Future[SessionFile | None] | None = None
    """Ends when the upload does that has claimed them: with the file, or None if it was interrupted."""

    file_id: str | None = None
    """Under which id they were uploaded before; it may be of no use any more."""

    ready: SessionFile | None = None
    """The file, if it was ready a short while ago."""


class KnownFiles:
    """What one `BailianFiles` knows; for any number of threads and event loops.

    Args:
        path: Where ids are written down, one JSON object a line; None keeps them in memory alone.
        place: Service and workspace: ids of another one are not used.
    """

    def __init__(self, path: Path | None, place: str) -> None:
        self._path = path
        self._place = place
        self._lock = threading.Lock()
        self._claimed: dict[str, list[Future[Any]]] = {}
        self._ids: OrderedDict[str, str] = OrderedDict()
        self._ready: dict[str, tuple[float, SessionFile]] = {}
        if path is not None and path.exists():
            self._load(path)

    def claim(self, key: str) -> Claim:
        """Claim bytes, or learn who has."""
        with self._lock:
            if key in self._claimed:
                future: Future[Any] = Future()
                future.set_running_or_notify_cancel()  # who waits for it cannot cancel it
                self._claimed[key].append(future)
                return Claim(others=future)
            self._claimed[key] = []
            confirmed, file = self._ready.get(key, (0.0, None))
            fresh = file is not None and time.monotonic() - confirmed < _TRUSTED
            return Claim(file_id=self._ids.get(key), ready=file if fresh else None)

    def release(self, key: str, file: SessionFile | None) -> None:
        """End a claim, with a file that is ready, or None after an interruption."""
        with self._lock:
            # A file that was taken to be ready was not confirmed by that.
            if file is not None and self._ready.get(key, (0.0, None))[1] is not file:
                self._ready[key] = time.monotonic(), file
            waiting = self._claimed.pop(key)
        for future in waiting:
            future.set_result(file)

    def fail(self, key: str, error: Exception) -> None:
        """End a claim; who waits for it fails for the same reason."""
        with self._lock:
            self._ready.pop(key, None)
            waiting = self._claimed.pop(key)
        for future in waiting:
            future.set_exception(error)

    def remember(self, key: str, file_id: str) -> None:
        """Keep the id of bytes, before it is known whether the service can read them."""
        with self._lock:
            self._forget(key)
            self._ids[key] = file_id
            while len(self._ids) > _MOST_KEPT:
                self._forget(next(iter(self._ids)))
            if self._path is not None:
                line = json.dumps({"place": self._place, "bytes": key, "file_id": file_id})
                with self._path.open("a", encoding="utf-8") as record:
                    record.write(f"{line}\n")

    def _forget(self, key: str) -> None:
        self._ids.pop(key, None)
        self._ready.pop(key, None)

    def _load(self, path: Path) -> None:
        text = path.read_text("utf-8")
        if text and not text.endswith("\n"):
            with path.open("a", encoding="utf-8") as record:
                record.write("\n")  # so that what comes next is not part of a broken line
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                place, key, file_id = entry["place"], entry["bytes"], entry["file_id"]
            except (ValueError, TypeError, KeyError):
                # The process may have died while it wrote.
                _logger.warning("a line of %s cannot be read, and is left out", path)
                continue
            if place == self._place:
                self._ids[key] = file_id
