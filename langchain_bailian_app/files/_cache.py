"""Cache of finished and running uploads, by content.

The same bytes are uploaded once: a second upload waits for the first. With a record file, ids outlive
the process, so that an interrupted run can resume.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import OrderedDict, deque
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


class _End(NamedTuple):
    """End of a claim: a file that is ready, an error, or neither after an interruption."""

    key: str
    file: SessionFile | None = None
    error: Exception | None = None


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
        self._ends: deque[_End] = deque()
        self._waiters: dict[str, list[Future[Any]]] = {}
        self._file_ids: OrderedDict[str, str] = OrderedDict()
        self._ready_files: dict[str, tuple[float, SessionFile]] = {}
        if path is not None and path.exists():
            self._load(path)

    def claim(self, key: str) -> Claim:
        """Claim bytes, or return the future of the upload that has claimed them."""
        self._apply_ends()
        try:
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
        finally:
            self._apply_ends()

    def release(self, key: str, file: SessionFile | None) -> None:
        """End a claim with a file that is ready, or with None after an interruption."""
        self._ends.append(_End(key, file=file))
        self._apply_ends()

    def fail(self, key: str, error: Exception) -> None:
        """End a claim with an error. The uploads that wait for this one fail with the same error."""
        self._ends.append(_End(key, error=error))
        self._apply_ends()

    def _apply_ends(self) -> None:
        """Apply the ends of claims, unless the lock is held; the holder then does it afterwards.

        The garbage collector may close an abandoned upload, which ends its claim, in the very thread
        that holds the lock. So the end of a claim never waits for the lock.
        """
        while self._ends and self._lock.acquire(blocking=False):
            try:
                ended = [self._apply_next_end()]
            except IndexError:  # another thread has applied it
                ended = []
            finally:
                self._lock.release()
            for end, waiters in ended:
                for future in waiters:
                    if end.error is None:
                        future.set_result(end.file)
                    else:
                        future.set_exception(end.error)

    def _apply_next_end(self) -> tuple[_End, list[Future[Any]]]:
        end = self._ends.popleft()
        if end.error is not None:
            self._ready_files.pop(end.key, None)
        # A file reused from `_ready_files` was not confirmed again, so its time does not change.
        elif end.file is not None and self._ready_files.get(end.key, (0.0, None))[1] is not end.file:
            self._ready_files[end.key] = time.monotonic(), end.file
        return end, self._waiters.pop(end.key)

    def store_file_id(self, key: str, file_id: str) -> None:
        """Store the id of uploaded bytes, before it is known whether the service can read them."""
        try:
            with self._lock:
                self._remove(key)
                self._file_ids[key] = file_id
                while len(self._file_ids) > _MAX_ENTRIES:
                    self._remove(next(iter(self._file_ids)))
                if self._path is not None:
                    line = json.dumps({"place": self._scope, "bytes": key, "file_id": file_id})
                    with self._path.open("a", encoding="utf-8") as record:
                        record.write(f"{line}\n")
        finally:
            self._apply_ends()

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
