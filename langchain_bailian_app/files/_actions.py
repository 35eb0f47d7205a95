"""Actions yielded by upload tasks, as plain values.

The docstring of each action describes its result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future

    from langchain_bailian_app.options._session_files import LocalFile, SessionFile, UploadTarget


@dataclass(frozen=True, slots=True)
class Action:
    """Base class of all actions."""


@dataclass(frozen=True, slots=True)
class ComputeMd5(Action):
    """Compute the MD5 of the file; the result is the digest in hexadecimal."""

    file: LocalFile


@dataclass(frozen=True, slots=True)
class RequestLease(Action):
    """Request an upload lease for the file; the result is an `UploadTarget`."""

    file: LocalFile
    md5: str


@dataclass(frozen=True, slots=True)
class UploadBytes(Action):
    """Upload the bytes of the file to the target; the result is None."""

    file: LocalFile
    target: UploadTarget


@dataclass(frozen=True, slots=True)
class AddFile(Action):
    """Add the uploaded bytes as a session file; the result is the id of the file.

    The id is stored in the cache immediately, even if the call was cancelled. Otherwise, it would be
    lost.
    """

    lease_id: str
    key: str


@dataclass(frozen=True, slots=True)
class DescribeFile(Action):
    """Query the status of a file; the result is a `SessionFile`."""

    file_id: str


@dataclass(frozen=True, slots=True)
class AwaitSameUpload(Action):
    """Wait for another upload of the same bytes.

    The result is the `SessionFile` of that upload, or None if that upload was interrupted.
    """

    future: Future[SessionFile | None]


@dataclass(frozen=True, slots=True)
class Sleep(Action):
    """Pause the task for a number of seconds."""

    seconds: float
