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
_READY_TTL = 3600.0  # seconds for which a file that was ready is taken to be so without asking
_MAX_ENTRIES = 10_000


class Claim(NamedTuple):
    """What is known of some bytes. Without `in_progress` they are the claimant's, until released."""

    in_progress: Future[SessionFile | None] | None = None
    """Ends when the upload does that has claimed them: with the file, or None if it was interrupted."""

    file_id: str | None = None
    """Under which id they were uploaded before; it may be of no use any more."""

    ready_file: SessionFile | None = None
    """The file, if it was ready a short while ago."""


class UploadCache:
    """What one `BailianFiles` knows; for any number of threads and event loops.

    Args:
        path: Where ids are written down, one JSON object a line; None keeps them in memory alone.
        scope: Service and workspace: ids of another one are not used.
    """

    def __init__(self, path: Path | None, scope: str) -> None:
        self._path = path
        self._scope = scope
        self._lock = threading.Lock()
        self._waiters: dict[str, list[Future[Any]]] = {}
        self._file_ids: OrderedDict[str, str] = OrderedDict()
        self._ready_files: dict[str, tuple[float, SessionFile]] = {}
        if path is not None and path.exists():
            self._load(path)

    def claim(self, key: str) -> Claim:
        """Claim bytes, or learn who has."""
        with self._lock:
            if key in self._waiters:
                future: Future[Any] = Future()
                future.set_running_or_notify_cancel()  # who waits for it cannot cancel it
                self._waiters[key].append(future)
                return Claim(in_progress=future)
            self._waiters[key] = []
            confirmed_at, file = self._ready_files.get(key, (0.0, None))
            is_fresh = file is not None and time.monotonic() - confirmed_at < _READY_TTL
            return Claim(file_id=self._file_ids.get(key), ready_file=file if is_fresh else None)

    def release(self, key: str, file: SessionFile | None) -> None:
        """End a claim, with a file that is ready, or None after an interruption."""
        with self._lock:
            # A file that was taken to be ready was not confirmed by that.
            if file is not None and self._ready_files.get(key, (0.0, None))[1] is not file:
                self._ready_files[key] = time.monotonic(), file
            waiters = self._waiters.pop(key)
        for future in waiters:
            future.set_result(file)

    def fail(self, key: str, error: Exception) -> None:
        """End a claim; who waits for it fails for the same reason."""
        with self._lock:
            self._ready_files.pop(key, None)
            waiters = self._waiters.pop(key)
        for future in waiters:
            future.set_exception(error)

    def store_file_id(self, key: str, file_id: str) -> None:
        """Keep the id of bytes, before it is known whether the service can read them."""
        with self._lock:
            self._remove(key)
            self._file_ids[key] = file_id
            while len(self._file_ids) > _MAX_ENTRIES:
                self._remove(next(iter(self._file_ids)))
            if self._path is not None:
                line = json.dumps({"place": self._scope, "bytes": key, "file_id": file_id})
                with self._path.open("a", encoding="utf-8") as record:
                    record.write(f"{line}\n")

    def _remove(self, key: str) -> None:
        self._file_ids.pop(key, None)
        self._ready_files.pop(key, None)

    def _load(self, path: Path) -> None:
        text = path.read_text("utf-8")
        if text and not text.endswith("\n"):
            with path.open("a", encoding="utf-8") as record:
                record.write("\n")  # so that what comes next is not part of a broken line
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                scope, key, file_id = entry["place"], entry["bytes"], entry["file_id"]
            except (ValueError, TypeError, KeyError):
                # The process may have died while it wrote.
                _logger.warning("a line of %s cannot be read, and is left out", path)
                continue
            if scope == self._scope:
                self._file_ids[key] = file_id
