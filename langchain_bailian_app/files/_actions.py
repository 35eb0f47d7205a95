"""What there is to do for a file; each kind of step has one result. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future

    from langchain_bailian_app.options._session_files import LocalFile, SessionFile, Target


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do."""


@dataclass(frozen=True, slots=True)
class Fingerprint(Step):
    """Read the file; the result is its MD5 in hexadecimal."""

    file: LocalFile


@dataclass(frozen=True, slots=True)
class TakeLease(Step):
    """Ask where the bytes may go; the result is a `Target`."""

    file: LocalFile
    md5: str


@dataclass(frozen=True, slots=True)
class Put(Step):
    """Send the bytes there."""

    file: LocalFile
    target: Target


@dataclass(frozen=True, slots=True)
class AddFile(Step):
    """Hand the bytes over to the service; the result is the id of the file.

    It is written down at once, whatever becomes of the call: nobody else knows it.
    """

    lease_id: str
    key: str


@dataclass(frozen=True, slots=True)
class Describe(Step):
    """Ask for the status; the result is a `SessionFile`."""

    file_id: str


@dataclass(frozen=True, slots=True)
class Join(Step):
    """Wait for another upload of the same bytes; the result is its `SessionFile`."""

    future: Future[SessionFile | None]


@dataclass(frozen=True, slots=True)
class Wait(Step):
    """Do nothing for some seconds."""

    seconds: float
