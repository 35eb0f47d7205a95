"""Limits, statuses and ids of session files, and the validation of ids for `RagOptions`.

This module does no I/O.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from langchain_bailian_app.options._caller_warnings import warn_caller

if TYPE_CHECKING:
    from pathlib import Path

FileKind = Literal["document", "image", "audio", "video"]

SUFFIXES: dict[FileKind, str] = {
    "document": "doc docx wps ppt pptx xls xlsx md txt pdf epub mobi",
    "image": "png jpg jpeg bmp gif",
    "audio": "aac amr flac flv m4a mp3 mpeg ogg opus wav webm wma",
    "video": "mp4 mkv avi mov wmv",
}
"""File name suffixes of each kind (OpenAPI `ApplyFileUploadLease`, client version 2.14.5)."""

_OFFICE = "application/vnd.openxmlformats-officedocument."
SUFFIX_BY_MIME_TYPE: dict[str, str] = {
    "application/msword": "doc",
    f"{_OFFICE}wordprocessingml.document": "docx",
    "application/vnd.ms-works": "wps",
    "application/wps-office.wps": "wps",
    "application/vnd.ms-powerpoint": "ppt",
    f"{_OFFICE}presentationml.presentation": "pptx",
    "application/vnd.ms-excel": "xls",
    f"{_OFFICE}spreadsheetml.sheet": "xlsx",
    "text/markdown": "md",
    "text/x-markdown": "md",
    "text/plain": "txt",
    "application/pdf": "pdf",
    "application/epub+zip": "epub",
    "application/x-mobipocket-ebook": "mobi",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/bmp": "bmp",
    "image/x-ms-bmp": "bmp",
    "image/gif": "gif",
    "audio/aac": "aac",
    "audio/x-aac": "aac",
    "audio/amr": "amr",
    "audio/flac": "flac",
    "audio/x-flac": "flac",
    "audio/mp4": "m4a",
    "audio/x-m4a": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "application/ogg": "ogg",
    "audio/opus": "opus",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/vnd.wave": "wav",
    "audio/webm": "webm",
    "audio/x-ms-wma": "wma",
    "video/mp4": "mp4",
    "video/mpeg": "mpeg",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/x-matroska": "mkv",
    "video/matroska": "mkv",
    "video/x-ms-wmv": "wmv",
    "video/x-msvideo": "avi",
    "video/avi": "avi",
}
"""Suffix by MIME type. The table of the operating system is empty in slim containers."""

MIME_TYPE_BY_SUFFIX = {suffix: mime_type for mime_type, suffix in reversed(SUFFIX_BY_MIME_TYPE.items())}
"""MIME type by suffix: the first one in the table above."""

_MEGABYTE = 1024 * 1024
MAX_FILE_BYTES: dict[FileKind, int] = {
    "document": 100 * _MEGABYTE,
    "image": 20 * _MEGABYTE,
    "audio": 512 * _MEGABYTE,
    "video": 512 * _MEGABYTE,
}
"""Maximum file size by kind, in bytes (user guide). Bailian's OpenAPI states 100 MB for all kinds."""

READY_STATUS = "FILE_IS_READY"
PARSED_STATUS = "PARSE_SUCCESS"
"""Status after parsing: an intermediate one of the OpenAPI, and the last one of `describeFile`, the
route for API keys (documentation page). Whether an application can use a file with it is unverified."""

FAILURE_REASONS = {
    "FAIL": "parsing failed",
    "PARSE_FAILED": "parsing failed",
    "SAFE_CHECK_FAILED": "rejected by the security check",
    "INDEX_BUILDING_FAILED": "building the index failed",
    "INDEX_DELETED": "the index was deleted",
    "FILE_EXPIRED": "the file has expired",
}
"""Meanings of the final statuses of failed files (OpenAPI `DescribeFile`, and `FAIL` of the route for
API keys)."""

USUAL_LIFETIME_SECONDS = 24 * 3600.0
"""Usual lifetime of a session file in seconds (file page); up to 7 days according to the user guide."""

SESSION_FILE_PREFIX = "file_"
"""Prefix of the ids of session files: `file_session_…` (OpenAPI), or `file_…` (route for API keys)."""

_MIN_NAME_CHARS, _MAX_NAME_CHARS = 4, 128  # OpenAPI `ApplyFileUploadLease`
_BEIJING_TIME = timezone(timedelta(hours=8))  # the time zone of `CreateTime`
_MAX_FILES_PER_CALL = 10


@dataclass(frozen=True, slots=True)
class SessionFile:
    """An uploaded file, for questions in a conversation: `RagOptions(session_file_ids=[file])`."""

    id: str
    """`file_session_…` or `file_…`."""

    name: str
    """File name. For bytes that were uploaded before, the name that was passed this time."""

    size: int
    """Bytes."""

    status: str
    """Status as reported by the service, for example `FILE_IS_READY` or `PARSE_SUCCESS`."""

    created_at: float | None = None
    """Creation time as reported by the service, in seconds since 1970; None if unknown."""

    reason: str | None = None
    """Reason for a failure as reported by the service, otherwise None."""

    ready_status: str = field(default=READY_STATUS, repr=False)
    """Status that also means that the file is ready: `PARSE_SUCCESS` if queried with an API key."""

    @property
    def is_ready(self) -> bool:
        """Whether an application can answer questions about the file."""
        return self.status in (READY_STATUS, self.ready_status)

    @property
    def kind(self) -> FileKind | None:
        """Kind of the file, derived from its suffix; None if the suffix is not supported."""
        return kind_from_name(self.name)

    @property
    def age(self) -> float | None:
        """Seconds since the file was created, or None if `created_at` is None."""
        return None if self.created_at is None else time.time() - self.created_at

    @property
    def may_have_expired(self) -> bool:
        """Whether the file has expired or is older than 24 hours.

        A file usually lasts 24 hours according to the file page, up to 7 days according to the user
        guide. This property does not query the service; `BailianFiles.status` does.
        """
        return self.status == "FILE_EXPIRED" or (self.age or 0) > USUAL_LIFETIME_SECONDS


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A local file, or bytes with a name."""

    name: str
    size: int
    path: Path | None = None
    data: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class UploadTarget:
    """Upload target of a lease. The URL is signed and must not be shown."""

    lease_id: str
    method: str
    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)


def suffix_from_name(name: str) -> str:
    """Return the suffix of a file name, in lower case, or an empty string.

    The suffix determines how the service reads the file.
    """
    return name.rpartition(".")[2].lower() if "." in name else ""


def kind_from_name(name: str) -> FileKind | None:
    """Return the kind of a file, derived from its suffix, or None if the suffix is not supported."""
    suffix = suffix_from_name(name)
    return next((kind for kind, suffixes in SUFFIXES.items() if suffix in suffixes.split()), None)


def find_file_problem(name: str, size: int) -> str | None:
    """Return the reason why the service would reject a file, or None if it would accept it."""
    kind = kind_from_name(name)
    if kind is None:
        supported = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes.split())
        return f"unsupported suffix {suffix_from_name(name)!r}: the service accepts {supported}"
    if not _MIN_NAME_CHARS <= len(name) <= _MAX_NAME_CHARS:
        return (
            f"invalid file name length: expected {_MIN_NAME_CHARS} to {_MAX_NAME_CHARS} characters, "
            f"got {len(name)}"
        )
    if size == 0:
        return "the file is empty"
    if size > MAX_FILE_BYTES[kind]:
        return (
            f"the file is {size:,} bytes long, but {kind} files can be at most "
            f"{MAX_FILE_BYTES[kind]:,} bytes"
        )
    return None


def parse_created_at(text: str | None) -> float | None:
    """Return the timestamp of a Beijing time without a UTC offset; None if it is missing or invalid."""
    try:
        return datetime.fromisoformat(text or "").replace(tzinfo=_BEIJING_TIME).timestamp()
    except ValueError:
        return None


def _ids_from_files(value: Any) -> Any:
    """Return the ids of session files. Files with the same bytes share one id, which is kept once."""
    if isinstance(value, str | SessionFile):
        value = [value]
    if not isinstance(value, Iterable):
        return value
    ids: list[Any] = []
    for item in value:
        file_id = _id_from_file(item) if isinstance(item, SessionFile) else _strip(item)
        if file_id not in ids or not isinstance(item, SessionFile):
            ids.append(file_id)
    return ids


def _strip(file_id: Any) -> Any:
    return file_id.strip() if isinstance(file_id, str) else file_id


def _id_from_file(file: SessionFile) -> str:
    if not file.is_ready:
        reason = FAILURE_REASONS.get(
            file.status, "not ready yet; wait for it with `BailianFiles.wait_until_ready`"
        )
        message = f"`session_file_ids` contains {file.name!r} with status {file.status}: {reason}"
        raise ValueError(message)
    if file.may_have_expired:
        _warn_about_age(file.id, file.name)
    return file.id


@lru_cache(maxsize=1024)  # once for each file
def _warn_about_age(file_id: str, name: str) -> None:
    warn_caller(
        f"session file {name!r} ({file_id}) is older than 24 hours and may have expired: session files "
        "usually last 24 hours according to the official page on files, up to 7 days according to the "
        "user guide"
    )


def check_session_file_ids(file_ids: Iterable[str]) -> None:
    """Validate the format and the number of session file ids.

    Raises:
        ValueError: An id lacks the prefix `file_`, or there are more than 10 ids.
    """
    file_ids = list(file_ids)
    for file_id in file_ids:
        if not file_id.startswith(SESSION_FILE_PREFIX):
            message = (
                f"invalid id {file_id!r} in `session_file_ids`: expected the prefix 'file_session_' or "
                f"{SESSION_FILE_PREFIX!r}"
            )
            raise ValueError(message)
    if len(file_ids) > _MAX_FILES_PER_CALL:
        message = (
            f"a call accepts at most {_MAX_FILES_PER_CALL} session files (according to the "
            f"user guide), got {len(file_ids)}"
        )
        raise ValueError(message)


SessionFileIds = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    BeforeValidator(_ids_from_files),
    Field(max_length=_MAX_FILES_PER_CALL),
]
"""Ids of session files. Accepts one or several ids or `SessionFile`s."""
