"""Upload tasks and results of their actions, for tests without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_bailian_app.files._actions import (
    AddFile,
    ComputeMd5,
    DescribeFile,
    RequestLease,
    Sleep,
    UploadBytes,
)
from langchain_bailian_app.files._tasks import Deadline, UploadTask
from langchain_bailian_app.options._session_files import LocalFile, SessionFile, UploadTarget

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app.files._actions import Action
    from langchain_bailian_app.files._cache import UploadCache

FILE = LocalFile("note.md", 3, data=b"abc")
TARGET = UploadTarget("lease", "PUT", "https://storage.example/?Signature=planted", {})
READY = SessionFile("file_session_1", "note.md", 3, "FILE_IS_READY")
RESULTS: dict[type[Action], Any] = {
    ComputeMd5: "0" * 32,
    RequestLease: TARGET,
    UploadBytes: None,
    AddFile: "file_session_1",
    DescribeFile: READY,
    Sleep: None,
}


def make_upload_task(
    upload_cache: UploadCache, clock: Callable[[], float], file: LocalFile = FILE
) -> UploadTask:
    return UploadTask(file, upload_cache, Deadline.after(100.0, clock, 1.0))
