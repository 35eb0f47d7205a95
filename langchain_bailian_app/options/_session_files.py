"""Session files: which are allowed, what the service says of one, and how `RagOptions` names them.

Pure tables and values; nothing is read or sent here.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

if TYPE_CHECKING:
    from pathlib import Path

FileKind = Literal["document", "image", "audio", "video"]

SUFFIXES: dict[FileKind, str] = {
    "document": "doc docx wps ppt pptx xls xlsx md txt pdf epub mobi",
    "image": "png jpg jpeg bmp gif",
    "audio": "aac amr flac flv m4a mp3 mpeg ogg opus wav webm wma",
    "video": "mp4 mkv avi mov wmv",
}
"""Endings of the names of each kind (OpenAPI `ApplyFileUploadLease`, version 2.14.5 of its client)."""

_MEGABYTE = 1024 * 1024
MAX_FILE_BYTES: dict[FileKind, int] = {
    "document": 100 * _MEGABYTE,
    "image": 20 * _MEGABYTE,
    "audio": 512 * _MEGABYTE,
    "video": 512 * _MEGABYTE,
}
"""Bytes of the largest file of each kind (official guide); the OpenAPI says 100 MB for all."""

READY_STATUS = "FILE_IS_READY"
FAILURE_REASONS = {
    "PARSE_FAILED": "it cannot be parsed",
    "SAFE_CHECK_FAILED": "the security check refuses it",
    "INDEX_BUILDING_FAILED": "its index cannot be built",
    "INDEX_DELETED": "its index was deleted",
    "FILE_EXPIRED": "it has expired",
}
"""Statuses that do not change any more, and what each means (OpenAPI `DescribeFile`)."""

USUAL_LIFETIME_SECONDS = 24 * 3600.0
"""Seconds that a session file lasts by the page on files; the guide says up to 7 days."""

SESSION_FILE_PREFIX = "file_session_"
"""How ids of session files begin."""

_MIN_NAME_CHARS, _MAX_NAME_CHARS = 4, 128  # OpenAPI `ApplyFileUploadLease`
_BEIJING_TIME = timezone(timedelta(hours=8))  # the zone of `CreateTime`
_MAX_FILES_PER_CALL = 10


@dataclass(frozen=True, slots=True)
class SessionFile:
    """A file uploaded for questions in a conversation: `RagOptions(session_file_ids=[file])`."""

    id: str
    """`file_session_…`."""

    name: str
    """Its name; of bytes uploaded before, the name given this time."""

    size: int
    """Bytes."""

    status: str
    """`FILE_IS_READY`, or what else the service says of it."""

    created_at: float | None = None
    """When it was added, in seconds since 1970, as the service says."""

    reason: str | None = None
    """Why it failed, as the service says."""

    @property
    def is_ready(self) -> bool:
        """Whether an application may be asked about it."""
        return self.status == READY_STATUS

    @property
    def kind(self) -> FileKind | None:
        """Whether it is a document, an image, audio or video, by the end of its name."""
        return kind_from_name(self.name)

    @property
    def age(self) -> float | None:
        """Seconds since it was added, or None if the service does not say when."""
        return None if self.created_at is None else time.time() - self.created_at

    @property
    def may_have_expired(self) -> bool:
        """Whether it is older than 24 hours, or has expired.

        The page on files says that a file usually lasts 24 hours, the guide up to 7 days. Only
        `BailianFiles.status` asks the service.
        """
        return self.status == "FILE_EXPIRED" or (self.age or 0) > USUAL_LIFETIME_SECONDS


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on this machine, or bytes that have a name."""

    name: str
    size: int
    path: Path | None = None
    data: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class UploadTarget:
    """Where a lease lets the bytes go. The URL is signed: it is shown nowhere."""

    lease_id: str
    method: str
    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)


def suffix_from_name(name: str) -> str:
    """Return the end of a name, which says how the service reads the file."""
    return name.rpartition(".")[2].lower() if "." in name else ""


def kind_from_name(name: str) -> FileKind | None:
    """Return what kind of file a name stands for, or None if the service takes none with its ending."""
    suffix = suffix_from_name(name)
    return next((kind for kind, suffixes in SUFFIXES.items() if suffix in suffixes.split()), None)


def find_file_problem(name: str, size: int) -> str | None:
    """Return why the service would not take a file, or None if it would."""
    kind = kind_from_name(name)
    if kind is None:
        supported = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes.split())
        return f"its name ends in {suffix_from_name(name)!r}, and the service takes {supported}"
    if not _MIN_NAME_CHARS <= len(name) <= _MAX_NAME_CHARS:
        return f"its name has {len(name)} characters, not {_MIN_NAME_CHARS} to {_MAX_NAME_CHARS}"
    if size == 0:
        return "it is empty"
    if size > MAX_FILE_BYTES[kind]:
        return f"it has {size:,} bytes, and this kind ({kind}) at most {MAX_FILE_BYTES[kind]:,}"
    return None


def parse_created_at(text: str | None) -> float | None:
    """Return a time of the service (Beijing, without a zone) as seconds since 1970."""
    try:
        return datetime.fromisoformat(text or "").replace(tzinfo=_BEIJING_TIME).timestamp()
    except ValueError:
        return None


def _ids_from_files(value: Any) -> Any:
    """Return ids for what names session files; several files may be the same bytes under one id."""
    if isinstance(value, str | SessionFile):
        value = [value]
    if not isinstance(value, Iterable):
        return value
    ids: list[Any] = []
    for item in value:
        file_id = _id_from_file(item) if isinstance(item, SessionFile) else item
        if file_id not in ids or not isinstance(item, SessionFile):
            ids.append(file_id)
    return ids


def _id_from_file(file: SessionFile) -> str:
    if not file.is_ready:
        reason = FAILURE_REASONS.get(
            file.status, "it is not ready yet: wait for it with `BailianFiles.wait_until_ready`"
        )
        message = f"`session_file_ids` has {file.name!r}, of status {file.status}: {reason}"
        raise ValueError(message)
    if file.may_have_expired:
        _warn_about_age(file.id, file.name)
    return file.id


@lru_cache(maxsize=1024)  # once for each file
def _warn_about_age(file_id: str, name: str) -> None:
    message = (
        f"session file {name!r} ({file_id}) is older than 24 hours and may have expired: one official "
        "page says that such a file usually lasts 24 hours, another up to 7 days"
    )
    warnings.warn(message, stacklevel=2)


def check_session_file_ids(file_ids: Iterable[str]) -> None:
    """Refuse ids that are none of session files, and more than a call takes.

    Raises:
        ValueError: An id has another form, or there are more than 10.
    """
    file_ids = list(file_ids)
    for file_id in file_ids:
        if not file_id.startswith(SESSION_FILE_PREFIX):
            message = (
                f"`session_file_ids` has {file_id!r}, but such ids begin with {SESSION_FILE_PREFIX!r}"
            )
            raise ValueError(message)
    if len(file_ids) > _MAX_FILES_PER_CALL:
        message = (
            f"a call takes at most {_MAX_FILES_PER_CALL} session files (official guide), "
            f"not {len(file_ids)}"
        )
        raise ValueError(message)


SessionFileIds = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    BeforeValidator(_ids_from_files),
    Field(max_length=_MAX_FILES_PER_CALL),
]
"""Ids of session files, given as `SessionFile`s or ids, one or several."""
