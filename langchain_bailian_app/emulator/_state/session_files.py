"""Session files in the cloud: leases, uploads and file statuses.

Independent of HTTP. Searchable content is stored in a temporary folder. For other content, only the MD5
is stored.
"""

import hashlib
import tempfile
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from langchain_bailian_app.emulator._http.errors import ErrorReply, RequestRefused, refuse
from langchain_bailian_app.emulator._knowledge.documents import Document
from langchain_bailian_app.emulator._knowledge.file_readers import can_read, document_from_file
from langchain_bailian_app.emulator._knowledge.knowledge_base import KnowledgeBase
from langchain_bailian_app.emulator._state.connector_settings import ConnectorSettings
from langchain_bailian_app.emulator._state.file_faults import FileFaults, FileStep

READY = "FILE_IS_READY"
STATUSES = (
    "INIT",
    "IN_PARSE_QUEUE",
    "PARSING",
    "PARSE_SUCCESS",
    "SAFE_CHECKING",
    "INDEX_BUILDING",
    "INDEX_BUILD_SUCCESS",
    READY,
)
"""Statuses of a file that does not fail, in order."""

_FAILURES = {
    "parse_failed": (3, "PARSE_FAILED", "The file content cannot be parsed."),
    "safe_check_failed": (5, "SAFE_CHECK_FAILED", "The file content may be inappropriate."),
    "index_failed": (6, "INDEX_BUILDING_FAILED", "The index could not be built."),
}
_THROTTLED_MESSAGE = "Request was denied due to user flow control."
_RETRY_HEADERS = {"x-acs-retry-after": "50"}  # milliseconds, according to the official client
_BEIJING = timezone(timedelta(hours=8))
_DAY_SECONDS = 24 * 3600.0


@dataclass
class Lease:
    """Permission to upload one file."""

    lease_id: str
    name: str
    md5: str
    size: int
    workspace: str
    expires_at: float
    token: str = field(repr=False)
    extra: str = field(repr=False)
    """Required value of the upload's header `X-bailian-extra`."""
    received: tuple[str, int] | None = None
    """MD5 and size in bytes of the uploaded content."""
    used: bool = False
    path: Path | None = None
    content_type: str = ""
    """Required content type of the upload. May be empty, as the official client documents."""
    by_api_key: bool = False
    """Whether the lease was requested with an API key, not with an AccessKey."""


@dataclass
class StoredFile:
    """An added session file.

    Attributes:
        file_id: Id of the file, `file_session_…`.
        name: File name.
        size: Size of the uploaded content in bytes.
        md5: MD5 of the uploaded content.
        workspace: Workspace of the file.
        added_at: Time when it was added, in seconds of the emulator's `clock`.
        created: Time when it was added, in Beijing time and formatted as the service does it.
        fails: Name of the fault in `FILE_FAULTS` that makes parsing fail, or None.
        reason: Reason for the failure.
        status: Status that overrides the status computed from the file's age, or None.
        document: Searchable content of the file, if any.
        by_api_key: Whether the file was uploaded with an API key, not with an AccessKey.
    """

    file_id: str
    name: str
    size: int
    md5: str
    workspace: str
    added_at: float
    created: str
    fails: str | None = None
    reason: str = ""
    status: str | None = None
    document: Document | None = None
    by_api_key: bool = False

    @cached_property
    def knowledge_base(self) -> KnowledgeBase:
        """Knowledge base with the content of the file, for questions about it."""
        documents = [self.document] if self.document is not None else []
        return KnowledgeBase(self.name, documents, pipeline_id=self.file_id)


class FileStore:
    """All session files of an emulator.

    Only the server's thread changes files and leases. Any thread can change the settings.
    """

    def __init__(self, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        self.faults: FileFaults | None = None
        """Faults that are injected into uploads. Default: None."""
        self.parse_seconds = 0.0
        """Seconds until an added file is ready, divided evenly among its statuses. Default: 0."""
        self.lease_seconds = 300.0
        """Seconds for which the URL of a lease accepts uploads. Default: 300; the user guide only
        mentions minutes."""
        self.lifetime = 7 * _DAY_SECONDS
        """Seconds until a file expires. Default: 7 days, the maximum according to the user guide.
        According to the file page, files usually last 24 hours."""
        self.leases_per_second: int | None = None
        """Maximum number of leases per second; further requests are rejected. None (default) means no
        limit. The limit of the service is 10."""
        self.connector = ConnectorSettings()
        """Switches for files that are uploaded with an API key."""
        self.added: dict[str, StoredFile] = {}
        """Files by id, in the order in which they were added."""
        self.leases: dict[str, Lease] = {}
        """Leases by id."""
        self._clock = clock
        self._now = now
        self._by_token: dict[str, Lease] = {}
        self._recent_lease_times: list[float] = []
        self._temp_folder: tempfile.TemporaryDirectory[str] | None = None

    def clear(self) -> None:
        """Delete all files and leases; keep the settings."""
        for container in (self.added, self.leases, self._by_token, self._recent_lease_times):
            container.clear()
        self.close()

    def close(self) -> None:
        """Delete the stored content."""
        if self._temp_folder is not None:
            self._temp_folder.cleanup()
            self._temp_folder = None

    def draw(self, step: FileStep) -> str | None:
        """Draw the fault for the next request of a step; None if the request succeeds."""
        return self.faults.draw(step) if self.faults is not None else None

    def lease(self, workspace: str, name: str, md5: str, size: int) -> Lease:
        """Create a lease.

        Raises:
            RequestRefused: The limit of leases per second is reached, or a fault occurs.
        """
        now = self._clock()
        self._recent_lease_times = [
            leased_at for leased_at in self._recent_lease_times if now - leased_at < 1
        ]
        fault = self.draw("lease")
        limit_reached = (
            self.leases_per_second is not None
            and len(self._recent_lease_times) >= self.leases_per_second
        )
        if limit_reached or fault == "lease_throttled":
            raise RequestRefused(ErrorReply(429, "Throttling.User", _THROTTLED_MESSAGE, _RETRY_HEADERS))
        if fault == "lease_error":
            refuse("InternalError")
        self._recent_lease_times.append(now)
        expires_at = now + (0 if fault == "lease_expired" else self.lease_seconds)
        lease = Lease(
            uuid.uuid4().hex, name, md5, size, workspace, expires_at, uuid.uuid4().hex, uuid.uuid4().hex
        )
        self.leases[lease.lease_id] = self._by_token[lease.token] = lease
        return lease

    def find_lease(self, token: str) -> Lease | None:
        """Return the lease for an upload, or None if the lease is unknown, expired or used."""
        lease = self._by_token.get(token)
        return (
            lease if lease is not None and self._clock() < lease.expires_at and not lease.used else None
        )

    def start_upload(self, lease: Lease) -> "UploadReceiver":
        """Return a receiver for the content of an upload; a second upload replaces the first."""
        if not can_read(lease.name):
            return UploadReceiver(lease, None)
        if self._temp_folder is None:
            self._temp_folder = tempfile.TemporaryDirectory(prefix="bailian-emulator-")
        # A name of 128 characters can be too long for a file system; only the suffix is needed.
        path = Path(self._temp_folder.name, lease.lease_id + Path(lease.name).suffix)
        return UploadReceiver(lease, path)

    def add(self, lease_id: str) -> StoredFile:
        """Create a file from the upload of a lease, and mark the lease as used.

        Raises:
            RequestRefused: The lease does not exist or has been used, or nothing was uploaded.
        """
        lease = self.leases.get(lease_id)
        if lease is None or lease.used:
            refuse("InvalidParameter", f"The lease {lease_id} does not exist or has been used.")
        if lease.received is None:
            refuse("InvalidParameter", f"No file was uploaded under the lease {lease_id}.")
        lease.used = True
        md5, size = lease.received
        id_prefix = self.connector.id_prefix if lease.by_api_key else "file_session_"
        file = StoredFile(
            f"{id_prefix}{uuid.uuid4().hex}_{10_000_000 + len(self.added)}",
            lease.name,
            size,
            md5,
            lease.workspace,
            self._clock(),
            f"{self._now().astimezone(_BEIJING):%Y-%m-%d %H:%M:%S}",
            self.draw("parse"),
            by_api_key=lease.by_api_key,
        )
        if file.fails is not None:
            file.reason = _FAILURES[file.fails][2]
        elif lease.path is not None:
            self._parse_document(file, lease.path)
        self.added[file.file_id] = file
        return file

    def find(self, workspace: str, file_id: str) -> StoredFile:
        """Return a file by its id.

        Raises:
            RequestRefused: The workspace has no file with this id.
        """
        file = self.added.get(file_id)
        if file is None or file.workspace != workspace:
            refuse("NotFound", f"The file {file_id} does not exist.")
        return file

    def status_of(self, file: StoredFile) -> str:
        """Return the current status of a file."""
        if file.status is not None:
            return file.status
        age = self._clock() - file.added_at
        if age >= self.lifetime:
            return "FILE_EXPIRED"
        stage = len(STATUSES) - 1
        if age < self.parse_seconds:
            stage = int(age * stage // self.parse_seconds)
        if file.fails is not None:
            failing_stage, status, _ = _FAILURES[file.fails]
            return status if stage >= failing_stage else STATUSES[stage]
        return STATUSES[stage]

    def find_knowledge_bases(
        self, file_ids: Iterable[str], workspace: str | None
    ) -> list[KnowledgeBase]:
        """Return the knowledge bases of files, for questions about them.

        Raises:
            RequestRefused: A file does not exist, is not ready, or belongs to another workspace.
        """
        knowledge_bases = []
        for file_id in file_ids:
            file = self.added.get(file_id)
            if (
                file is None
                or (workspace is not None and file.workspace != workspace)
                or (file.by_api_key and not self.connector.usable_in_applications)
            ):
                refuse("InvalidParameter", f"The session file {file_id} does not exist.")
            status = self.status_of(file)
            if status != READY:
                refuse("InvalidParameter", f"The session file {file_id} is not ready: {status}.")
            if file.document is not None:
                knowledge_bases.append(file.knowledge_base)
        return knowledge_bases

    def _parse_document(self, file: StoredFile, path: Path) -> None:
        try:
            file.document = document_from_file(path, shown_path=file.name)
        except (ValueError, ModuleNotFoundError) as exc:
            file.fails, file.reason = "parse_failed", str(exc)
        else:
            file.document.file_id = file.file_id


class UploadReceiver:
    """Receiver for the content of one upload, chunk by chunk."""

    def __init__(self, lease: Lease, path: Path | None) -> None:
        self._lease = lease
        self._path = path
        self._digest = hashlib.md5(usedforsecurity=False)
        self._size = 0
        self._file: BinaryIO | None = path.open("wb") if path is not None else None

    def write(self, chunk: bytes) -> None:
        """Add a chunk."""
        self._digest.update(chunk)
        self._size += len(chunk)
        if self._file is not None:
            self._file.write(chunk)

    def close(self, *, complete: bool) -> None:
        """Close the file; if the upload is complete, record its content in the lease."""
        if self._file is not None:
            self._file.close()
        if complete:
            self._lease.received = self._digest.hexdigest(), self._size
            self._lease.path = self._path
