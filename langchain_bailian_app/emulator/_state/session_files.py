"""Session files in the cloud: leases, uploads, and the statuses that a file goes through.

Knows nothing of HTTP. Bytes that can be searched are kept in a temporary folder, of others their MD5.
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
"""What a file goes through that does not fail."""

_FAILURES = {
    "parse_failed": (3, "PARSE_FAILED", "The file content cannot be parsed."),
    "safe_check_failed": (5, "SAFE_CHECK_FAILED", "The file content may be inappropriate."),
    "index_failed": (6, "INDEX_BUILDING_FAILED", "The index could not be built."),
}
_THROTTLED_MESSAGE = "Request was denied due to user flow control."
_RETRY_HEADERS = {"x-acs-retry-after": "50"}  # milliseconds, as the official client reads it
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
    """The value of the header `X-bailian-extra` that the upload must have."""
    received: tuple[str, int] | None = None
    """MD5 and size of the bytes that came."""
    used: bool = False
    path: Path | None = None


@dataclass
class StoredFile:
    """A file that was added.

    Attributes:
        file_id: `file_session_…`.
        name: Its name.
        size: Bytes that came.
        md5: Their MD5.
        workspace: Where it belongs.
        added_at: When it was added, by the emulator's clock.
        created: The same, as the service writes it.
        fails: How it fails, a name of `FILE_FAULTS`, or not at all.
        reason: Why.
        status: A status that it has whatever its age, if one was set.
        document: What can be searched of it.
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

    @cached_property
    def knowledge_base(self) -> KnowledgeBase:
        """What is searched when it is asked about."""
        documents = [self.document] if self.document is not None else []
        return KnowledgeBase(self.name, documents, pipeline_id=self.file_id)


class FileStore:
    """All session files of an emulator. Changed by the server's thread; its switches by any."""

    def __init__(self, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        self.faults: FileFaults | None = None
        """What goes wrong."""
        self.parse_seconds = 0.0
        """How long a file takes to be ready; it is in each status for a part of it."""
        self.lease_seconds = 300.0
        """How long a URL takes uploads. The official guide says minutes."""
        self.lifetime = 7 * _DAY_SECONDS
        """Seconds until a file expires: 7 days by the guide, usually 24 hours by the page on files."""
        self.leases_per_second: int | None = None
        """More leases are refused; the service allows 10."""
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
        """Forget all files and leases; switches stay."""
        for container in (self.added, self.leases, self._by_token, self._recent_lease_times):
            container.clear()
        self.close()

    def close(self) -> None:
        """Remove the bytes that were kept."""
        if self._temp_folder is not None:
            self._temp_folder.cleanup()
            self._temp_folder = None

    def draw(self, step: FileStep) -> str | None:
        """The fault that strikes this step, if one does."""
        return self.faults.draw(step) if self.faults is not None else None

    def lease(self, workspace: str, name: str, md5: str, size: int) -> Lease:
        """Give a lease.

        Raises:
            RequestRefused: There were too many in this second, or a fault strikes.
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
        """The lease that an upload belongs to, if its URL is valid."""
        lease = self._by_token.get(token)
        return (
            lease if lease is not None and self._clock() < lease.expires_at and not lease.used else None
        )

    def start_upload(self, lease: Lease) -> "UploadReceiver":
        """Take the bytes of an upload; a second one takes the place of the first."""
        if not can_read(lease.name):
            return UploadReceiver(lease, None)
        if self._temp_folder is None:
            self._temp_folder = tempfile.TemporaryDirectory(prefix="bailian-emulator-")
        # A folder of its own, since the name of the file is part of what is read.
        path = Path(self._temp_folder.name, lease.lease_id, Path(lease.name).name)
        path.parent.mkdir(exist_ok=True)
        return UploadReceiver(lease, path)

    def add(self, lease_id: str) -> StoredFile:
        """Make a file of what was uploaded under a lease; the lease is used up.

        Raises:
            RequestRefused: There is no such lease, it was used, or nothing was uploaded.
        """
        lease = self.leases.get(lease_id)
        if lease is None or lease.used:
            refuse("InvalidParameter", f"The lease {lease_id} does not exist or has been used.")
        if lease.received is None:
            refuse("InvalidParameter", f"No file was uploaded under the lease {lease_id}.")
        lease.used = True
        md5, size = lease.received
        file = StoredFile(
            f"file_session_{uuid.uuid4().hex}_{10_000_000 + len(self.added)}",
            lease.name,
            size,
            md5,
            lease.workspace,
            self._clock(),
            f"{self._now().astimezone(_BEIJING):%Y-%m-%d %H:%M:%S}",
            self.draw("parse"),
        )
        if file.fails is not None:
            file.reason = _FAILURES[file.fails][2]
        elif lease.path is not None:
            self._parse_document(file, lease.path)
        self.added[file.file_id] = file
        return file

    def find(self, workspace: str, file_id: str) -> StoredFile:
        """Find a file.

        Raises:
            RequestRefused: There is none of this id in this workspace.
        """
        file = self.added.get(file_id)
        if file is None or file.workspace != workspace:
            refuse("NotFound", f"The file {file_id} does not exist.")
        return file

    def status_of(self, file: StoredFile) -> str:
        """What a file is just now."""
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
        """What an application searches when it is asked about files.

        Raises:
            RequestRefused: One of them is not ready, or belongs to another workspace.
        """
        knowledge_bases = []
        for file_id in file_ids:
            file = self.added.get(file_id)
            if file is None or (workspace is not None and file.workspace != workspace):
                refuse("InvalidParameter", f"The session file {file_id} does not exist.")
            status = self.status_of(file)
            if status != READY:
                refuse("InvalidParameter", f"The session file {file_id} is not ready: {status}.")
            if file.document is not None:
                knowledge_bases.append(file.knowledge_base)
        return knowledge_bases

    def _parse_document(self, file: StoredFile, path: Path) -> None:
        try:
            file.document = document_from_file(path)
        except ValueError as exc:
            file.fails, file.reason = "parse_failed", str(exc).replace(str(path), file.name)
        else:
            file.document.file_id = file.file_id


class UploadReceiver:
    """Takes the bytes of one upload, piece by piece."""

    def __init__(self, lease: Lease, path: Path | None) -> None:
        self._lease = lease
        self._path = path
        self._digest = hashlib.md5(usedforsecurity=False)
        self._size = 0
        self._file: BinaryIO | None = path.open("wb") if path is not None else None

    def write(self, chunk: bytes) -> None:
        """Take a chunk."""
        self._digest.update(chunk)
        self._size += len(chunk)
        if self._file is not None:
            self._file.write(chunk)

    def close(self, *, complete: bool) -> None:
        """Keep what came, if it came whole."""
        if self._file is not None:
            self._file.close()
        if complete:
            self._lease.received = self._digest.hexdigest(), self._size
            self._lease.path = self._path
