"""Cache of finished and running uploads, by content.

The same bytes are uploaded once: a second upload waits for the first. With a record file, ids outlive
the process, so that an interrupted run can resume.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_bailian_app._settings.connection import check_id

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_bailian_app.options._session_files import SessionFile

_logger = logging.getLogger("langchain_bailian_app")
_READY_TTL = 3600.0  # seconds during which a file is assumed to stay ready
_MAX_ENTRIES = 10_000


class Claim(NamedTuple):
    """Result of a claim. Without `in_progress`, the caller owns the bytes until it ends the claim."""

    in_progress: Future[SessionFile | None] | None = None
    """Future of the upload that owns the bytes; the result is the file, or None if interrupted."""

    file_id: str | None = None
    """Id of an earlier upload of the same bytes; it may no longer be valid."""

    ready_file: SessionFile | None = None
    """The file, if it was recently confirmed to be ready."""


class UploadCache:
    """Cache of one `BailianFiles` object, which any number of threads and event loops can share.

    Args:
        path: File to which ids are appended, one JSON object per line; None keeps them in memory only.
        scope: Service and workspace. Ids that were recorded for other scopes are ignored.
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
        """Claim bytes, or return the future of the upload that has claimed them."""
        with self._lock:
            if key in self._waiters:
                future: Future[Any] = Future()
                future.set_running_or_notify_cancel()  # so that a waiting upload cannot cancel it
                self._waiters[key].append(future)
                return Claim(in_progress=future)
            self._waiters[key] = []
            confirmed_at, file = self._ready_files.get(key, (0.0, None))
            is_fresh = file is not None and time.monotonic() - confirmed_at < _READY_TTL
            return Claim(file_id=self._file_ids.get(key), ready_file=file if is_fresh else None)

    def release(self, key: str, file: SessionFile | None) -> None:
        """End a claim with a file that is ready, or with None after an interruption."""
        with self._lock:
            # A file reused from `_ready_files` was not confirmed again, so its time does not change.
            if file is not None and self._ready_files.get(key, (0.0, None))[1] is not file:
                self._ready_files[key] = time.monotonic(), file
            waiters = self._waiters.pop(key)
        for future in waiters:
            future.set_result(file)

    def fail(self, key: str, error: Exception) -> None:
        """End a claim with an error. The uploads that wait for this one fail with the same error."""
        with self._lock:
            self._ready_files.pop(key, None)
            waiters = self._waiters.pop(key)
        for future in waiters:
            future.set_exception(error)

    def store_file_id(self, key: str, file_id: str) -> None:
        """Store the id of uploaded bytes, before it is known whether the service can read them."""
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
                record.write("\n")  # so that the next entry starts a new line
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                file_id = check_id(entry["file_id"], name="file_id")
                scope, key = entry["place"], entry["bytes"]
            except (ValueError, TypeError, KeyError):
                # The process may have died while writing.
                _logger.warning("skipping an invalid line in %s", path)
                continue
            if scope == self._scope:
                self._file_ids[key] = file_id
