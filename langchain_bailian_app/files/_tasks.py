"""One file on its way into the service: what is done next, what may be repeated, and when it has ended.

No waiting here: `actions` yields what to do and gets the result, or the error, sent back; `_scheduler`
brings many tasks together, and `_executor` does what they ask.

What may be repeated: a lease, since it makes nothing; the upload itself, since the same bytes go to the
same place; a look at the status. Adding the file uses the lease up (official guide), so that one lease
makes one file at most: where the reply was lost, the same lease is tried again. If that is refused, the
file was added under an id that nobody told: a new lease is taken, and the first copy expires by itself.
"""

from __future__ import annotations

import logging
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_bailian_app.errors import (
    BailianConnectionError,
    BailianError,
    BailianFileError,
    BailianNotFoundError,
    BailianRateLimitError,
    BailianRequestError,
    BailianServerError,
    BailianTimeoutError,
)
from langchain_bailian_app.files._actions import (
    Action,
    AddFile,
    AwaitSameUpload,
    ComputeMd5,
    DescribeFile,
    RequestLease,
    Sleep,
    UploadBytes,
)
from langchain_bailian_app.options._session_files import (
    FAILURE_REASONS,
    READY_STATUS,
    LocalFile,
    SessionFile,
    UploadTarget,
    suffix_from_name,
)

if TYPE_CHECKING:
    from langchain_bailian_app.files._cache import UploadCache

T = TypeVar("T")
ActionGenerator = Generator["Action", Any, T]

_logger = logging.getLogger("langchain_bailian_app")
_TRANSIENT_ERRORS = (
    BailianRateLimitError,
    BailianServerError,
    BailianConnectionError,
    BailianTimeoutError,
)
_MAX_RETRIES = 5
_MAX_LEASES = 4
_MAX_RETRY_DELAY = 8.0  # seconds before a step is repeated
_MAX_POLL_INTERVAL = 10.0  # seconds between two looks at the status
_EXPIRED_URL_STATUS = 403  # what the storage says of a signature that is no longer valid
_LEASE_PATTERN = re.compile(r"lease|租约", re.IGNORECASE)  # no source tells how a dead one is refused


@dataclass(frozen=True)
class Deadline:
    """When to give up."""

    clock: Callable[[], float]
    timeout: float
    expires_at: float
    poll_interval: float
    """Seconds before the second look at a status; the later ones grow."""

    @classmethod
    def after(cls, timeout: float, clock: Callable[[], float], poll_interval: float) -> Deadline:
        """Return the deadline that is so many seconds away."""
        return cls(clock, timeout, clock() + timeout, poll_interval)

    def has_time_for(self, seconds: float) -> bool:
        """Whether there is so much time left."""
        return self.clock() + seconds < self.expires_at

    def check(self, phase: str) -> None:
        """Give up if it has passed.

        Raises:
            BailianTimeoutError: It has.
        """
        if not self.has_time_for(0):
            message = f"{phase} took longer than `timeout` ({self.timeout:g} s)"
            raise BailianTimeoutError(message)


class FileTask(ABC):
    """What uploads and waiting for known files have in common."""

    phase = "waiting"
    """What is being done: `"waiting"`, `"uploading"`, `"parsing"`, `"indexing"`."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._add_outcome_unknown = False

    @abstractmethod
    def iter_actions(self) -> ActionGenerator[SessionFile]:
        """Go the whole way; end with the file, which is ready.

        Raises:
            BailianError: It did not get there.
            OSError: The file cannot be read, or changed meanwhile.
        """

    def _retry(self, action: Action) -> ActionGenerator[Any]:
        """Do a step until it works, as long as its failures are such that pass."""
        retries = 0
        while True:
            self._deadline.check(self.phase)
            try:
                return (yield action)
            except _TRANSIENT_ERRORS as exc:
                delay = _compute_retry_delay(exc, retries, self._deadline.poll_interval / 4)
                throttled = isinstance(exc, BailianRateLimitError)
                if (retries >= _MAX_RETRIES and not throttled) or not self._deadline.has_time_for(
                    delay
                ):
                    raise
                # A refusal for coming too often says that nothing was done.
                self._add_outcome_unknown |= isinstance(action, AddFile) and not throttled
                _logger.debug("%s: %s; again in %.2f s", type(action).__name__, exc, delay)
            retries += 1
            yield Sleep(delay)

    def wait_until_ready(self, file_id: str) -> ActionGenerator[SessionFile]:
        """Look at the status until the file is ready.

        Raises:
            BailianError: It failed, or was not ready in time.
        """
        for delay in _iter_poll_delays(self._deadline.poll_interval):
            file: SessionFile = yield from self._retry(DescribeFile(file_id))
            self.phase = phase_from_status(file.status)
            if file.status == READY_STATUS:
                return file
            if file.status in FAILURE_REASONS:
                reason = file.reason or "no reason given"
                message = f"{FAILURE_REASONS[file.status]} ({file.status}): {reason}"
                error = BailianFileError(message)
                error.file_id, error.status = file_id, file.status
                raise error
            if not self._deadline.has_time_for(delay):
                message = (
                    f"not ready within `timeout` ({self._deadline.timeout:g} s), but {file.status}; "
                    f"`BailianFiles.wait_until_ready({file_id!r})` goes on waiting"
                )
                raise BailianTimeoutError(message)
            yield Sleep(delay)
        raise AssertionError  # pauses have no end


class UploadTask(FileTask):
    """The way of one local file."""

    def __init__(self, file: LocalFile, cache: UploadCache, deadline: Deadline) -> None:
        super().__init__(deadline)
        self._file = file
        self._cache = cache

    def iter_actions(self) -> ActionGenerator[SessionFile]:
        md5: str = yield ComputeMd5(self._file)
        # The ending belongs to it: it says how the service reads the bytes.
        key = f"{md5}-{self._file.size}.{suffix_from_name(self._file.name)}"
        while (claim := self._cache.claim(key)).in_progress is not None:
            session_file: SessionFile | None = yield AwaitSameUpload(claim.in_progress)
            if session_file is not None:
                return replace(session_file, name=self._file.name)
            # The other one was interrupted: this one takes over.
        if claim.ready_file is not None:
            self._cache.release(key, claim.ready_file)
            return replace(claim.ready_file, name=self._file.name)
        try:
            session_file = yield from self._upload_or_reuse(key, md5, claim.file_id)
        except (BailianError, OSError) as exc:
            self._cache.fail(key, exc)
            raise
        except BaseException:
            self._cache.release(key, None)
            raise
        self._cache.release(key, session_file)
        return replace(session_file, name=self._file.name)

    def _upload_or_reuse(self, key: str, md5: str, file_id: str | None) -> ActionGenerator[SessionFile]:
        if file_id is not None:
            try:
                return (yield from self.wait_until_ready(file_id))
            except (BailianFileError, BailianNotFoundError, BailianRequestError):
                _logger.debug("%s is of no use any more: %s is uploaded anew", file_id, self._file.name)
        self.phase = "uploading"
        file_id = yield from self._upload(key, md5)
        self.phase = "parsing"
        return (yield from self.wait_until_ready(file_id))

    def _upload(self, key: str, md5: str) -> ActionGenerator[str]:
        """Bring the bytes in; end with the id of the file."""
        lease_count = 0
        while True:
            lease_count += 1
            target: UploadTarget = yield from self._retry(RequestLease(self._file, md5))
            self._add_outcome_unknown = False
            action: Action = UploadBytes(self._file, target)
            try:
                yield from self._retry(action)
                action = AddFile(target.lease_id, key)
                file_id: str = yield from self._retry(action)
            except (BailianRequestError, BailianNotFoundError) as exc:
                if lease_count >= _MAX_LEASES or not self._is_lease_expired(action, exc):
                    raise
                _logger.debug("the lease of %s is dead (%s): a new one", self._file.name, exc)
            else:
                return file_id

    def _is_lease_expired(self, action: Action, error: BailianError) -> bool:
        if isinstance(action, UploadBytes):
            return error.status_code == _EXPIRED_URL_STATUS
        if self._add_outcome_unknown:
            _logger.warning(
                "whether %s was added is not known, since a reply was lost, and the service refuses to "
                "add it again: it is uploaded anew, and the first copy, if there is one, will expire",
                self._file.name,
            )
            return True
        return _LEASE_PATTERN.search(f"{error.code} {error.message}") is not None


class WaitTask(FileTask):
    """The way of a file that was uploaded before."""

    def __init__(self, file_id: str, deadline: Deadline) -> None:
        super().__init__(deadline)
        self._file_id = file_id

    def iter_actions(self) -> ActionGenerator[SessionFile]:
        return (yield from self.wait_until_ready(self._file_id))


def phase_from_status(status: str) -> str:
    """Return what a status of the service means to who waits."""
    if status in {READY_STATUS, *FAILURE_REASONS}:
        return "ready" if status == READY_STATUS else "failed"
    return "indexing" if status.startswith("INDEX_") else "parsing"


def _iter_poll_delays(first_delay: float) -> Iterator[float]:
    delay = first_delay
    while True:
        yield delay
        delay = min(_MAX_POLL_INTERVAL, delay * 1.5)


def _compute_retry_delay(error: BailianError, retries: int, first_delay: float) -> float:
    if error.retry_after is not None:
        return error.retry_after
    max_delay = min(_MAX_RETRY_DELAY, first_delay * 2.0 ** min(retries, 10))
    return max_delay * random.uniform(0.5, 1)  # noqa: S311  # jitter
