"""What there is to do for a file; each kind of action has one result. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future

    from langchain_bailian_app.options._session_files import LocalFile, SessionFile, UploadTarget


@dataclass(frozen=True, slots=True)
class Action:
    """Something to do."""


@dataclass(frozen=True, slots=True)
class ComputeMd5(Action):
    """Read the file; the result is its MD5 in hexadecimal."""

    file: LocalFile


@dataclass(frozen=True, slots=True)
class RequestLease(Action):
    """Ask where the bytes may go; the result is an `UploadTarget`."""

    file: LocalFile
    md5: str


@dataclass(frozen=True, slots=True)
class UploadBytes(Action):
    """Send the bytes there."""

    file: LocalFile
    target: UploadTarget


@dataclass(frozen=True, slots=True)
class AddFile(Action):
    """Hand the bytes over to the service; the result is the id of the file.

    It is written down at once, whatever becomes of the call: nobody else knows it.
    """

    lease_id: str
    key: str


@dataclass(frozen=True, slots=True)
class DescribeFile(Action):
    """Ask for the status; the result is a `SessionFile`."""

    file_id: str


@dataclass(frozen=True, slots=True)
class AwaitSameUpload(Action):
    """Wait for another upload of the same bytes; the result is its `SessionFile`."""

    future: Future[SessionFile | None]


@dataclass(frozen=True, slots=True)
class Sleep(Action):
    """Do nothing for some seconds."""

    seconds: float
