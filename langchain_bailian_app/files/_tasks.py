"""Transfer tasks: the requests for one file, their order and their retries.

Three requests can be retried safely: a lease request creates nothing, an upload writes the same bytes
to the same target, and a status query changes nothing. AddFile uses up the lease (user guide), so one
lease creates at most one file. If the response to AddFile is lost, the task retries it with the same
lease. If the service rejects the retry, the file was probably added, but its id is lost. The task then
requests a new lease and uploads the bytes again. The first copy expires.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import re
from abc import ABC, abstractmethod
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
from langchain_bailian_app.options._session_files import (
    FAILURE_REASONS,
    SessionFile,
    suffix_from_name,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from langchain_bailian_app.files._coordinator import TransferCoordinator
    from langchain_bailian_app.options._session_files import LocalFile

T = TypeVar("T")

_logger = logging.getLogger("langchain_bailian_app")
_TRANSIENT_ERRORS = (
    BailianRateLimitError,
    BailianServerError,
    BailianConnectionError,
    BailianTimeoutError,
)
_MAX_RETRIES = 5
_MAX_LEASES = 4
_MAX_RETRY_DELAY = 8.0  # seconds before a retry
_MAX_POLL_INTERVAL = 10.0  # seconds between two status queries
_EXPIRED_URL_STATUS = 403  # status that the storage returns for an expired signature
# The error for an expired lease is not documented.
_LEASE_PATTERN = re.compile(r"lease|租约", re.IGNORECASE)


@dataclass(frozen=True)
class Deadline:
    """Deadline of a call."""

    clock: Callable[[], float]
    timeout: float
    expires_at: float
    poll_interval: float
    """Seconds between the first two status queries; later intervals grow."""

    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    @classmethod
    def after(cls, timeout: float, clock: Callable[[], float], poll_interval: float) -> Deadline:
        """Return the deadline that is `timeout` seconds away."""
        return cls(clock, timeout, clock() + timeout, poll_interval)

    def has_time_for(self, seconds: float) -> bool:
        """Return whether more than `seconds` are left."""
        return self.clock() + seconds < self.expires_at

    def check(self, phase: str) -> None:
        """Raise an error if the deadline has passed.

        Raises:
            BailianTimeoutError: The deadline has passed.
        """
        if not self.has_time_for(0):
            message = f"{phase} took longer than {self.timeout:g} s (`timeout`)"
            raise BailianTimeoutError(message)


class TransferTask(ABC):
    """Base class of upload tasks and wait tasks.

    Args:
        coordinator: Performs the requests.
        index: Index of the file in the call.
        deadline: Deadline of the call.
    """

    def __init__(self, coordinator: TransferCoordinator, index: int, deadline: Deadline) -> None:
        self._index = index
        self._coordinator = coordinator
        self._deadline = deadline
        self._phase = "waiting"

    @abstractmethod
    async def run(self) -> SessionFile:
        """Return the file when it is ready.

        Raises:
            BailianError: The file did not become ready.
            OSError: The file cannot be read, or it changed during the upload.
        """

    async def _retry(self, request: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Send a request, with retries after transient errors."""
        retries = 0
        while True:
            self._deadline.check(self._phase)
            try:
                return await request(*args)
            except _TRANSIENT_ERRORS as exc:
                delay = _compute_retry_delay(exc, retries, self._deadline.poll_interval / 4)
                throttled = isinstance(exc, BailianRateLimitError)
                if (retries >= _MAX_RETRIES and not throttled) or not self._deadline.has_time_for(
                    delay
                ):
                    raise
                _logger.debug("%s failed: %s; retrying in %.2f s", request.__name__, exc, delay)
            retries += 1
            await self._deadline.sleep(delay)

    async def _wait_until_ready(self, file_id: str) -> SessionFile:
        """Query the status until the file is ready.

        Raises:
            BailianError: The file failed or was not ready in time.
        """
        for delay in _iter_poll_delays(self._deadline.poll_interval):
            file = await self._retry(self._coordinator.describe_file, file_id)
            self._set_phase("ready" if file.is_ready else phase_from_status(file.status))
            if file.is_ready:
                return file
            if file.status in FAILURE_REASONS:
                reason = file.reason or "no reason given"
                message = f"{FAILURE_REASONS[file.status]} ({file.status}): {reason}"
                error = BailianFileError(message)
                error.file_id, error.status = file_id, file.status
                raise error
            if not self._deadline.has_time_for(delay):
                message = (
                    f"not ready within {self._deadline.timeout:g} s (`timeout`), status {file.status}; "
                    f"call `BailianFiles.wait_until_ready({file_id!r})` to continue waiting"
                )
                raise BailianTimeoutError(message)
            await self._coordinator.wait(self._deadline.sleep(delay))
        raise AssertionError  # the delays never end

    def _set_phase(self, phase: str) -> None:
        self._phase = phase
        self._coordinator.set_phase(self._index, phase)


class UploadTask(TransferTask):
    """Upload of one local file."""

    def __init__(
        self, coordinator: TransferCoordinator, index: int, deadline: Deadline, file: LocalFile
    ) -> None:
        super().__init__(coordinator, index, deadline)
        self._file = file
        self._add_outcome_unknown = False

    async def run(self) -> SessionFile:
        cache = self._coordinator.cache
        md5 = await self._coordinator.compute_md5(self._file)
        # The suffix is part of the key, since it determines how the service reads the bytes.
        key = f"{md5}-{self._file.size}.{suffix_from_name(self._file.name)}"
        while (claim := cache.claim(key)).in_progress is not None:
            session_file = await self._coordinator.wait(asyncio.wrap_future(claim.in_progress))
            if session_file is not None:
                return replace(session_file, name=self._file.name)
            # The other upload was interrupted: this task takes over.
        if claim.ready_file is not None:
            cache.release(key, claim.ready_file)
            return replace(claim.ready_file, name=self._file.name)
        try:
            session_file = await self._upload_or_reuse(key, md5, claim.file_id)
        except (BailianError, OSError) as exc:
            cache.fail(key, exc)
            raise
        except BaseException:
            cache.release(key, None)
            raise
        cache.release(key, session_file)
        return replace(session_file, name=self._file.name)

    async def _upload_or_reuse(self, key: str, md5: str, file_id: str | None) -> SessionFile:
        if file_id is not None:
            try:
                return await self._wait_until_ready(file_id)
            except (BailianFileError, BailianNotFoundError, BailianRequestError):
                _logger.debug("%s is no longer usable; uploading %s again", file_id, self._file.name)
        self._set_phase("uploading")
        file_id = await self._upload(key, md5)
        self._set_phase("parsing")
        return await self._wait_until_ready(file_id)

    async def _upload(self, key: str, md5: str) -> str:
        """Upload the bytes, and return the id of the added file."""
        for lease_count in itertools.count(1):
            target = await self._retry(self._coordinator.request_lease, self._file, md5)
            was_uploaded = self._add_outcome_unknown = False
            try:
                await self._retry(self._coordinator.upload_bytes, self._index, self._file, target)
                was_uploaded = True
                return await self._retry(self._add_file, target.lease_id, key)
            except (BailianRequestError, BailianNotFoundError) as exc:
                if lease_count >= _MAX_LEASES or not self._is_lease_expired(
                    exc, was_uploaded=was_uploaded
                ):
                    raise
                _logger.debug(
                    "the lease for %s has expired (%s); requesting a new one", self._file.name, exc
                )
        raise AssertionError  # the count never ends

    async def _add_file(self, lease_id: str, key: str) -> str:
        try:
            return await self._coordinator.add_file(lease_id, key)
        except _TRANSIENT_ERRORS as exc:
            # A throttled request was certainly not carried out.
            self._add_outcome_unknown |= not isinstance(exc, BailianRateLimitError)
            raise

    def _is_lease_expired(self, error: BailianError, *, was_uploaded: bool) -> bool:
        if not was_uploaded:
            return error.status_code == _EXPIRED_URL_STATUS
        if self._add_outcome_unknown:
            _logger.warning(
                "the response to AddFile was lost and the retry was rejected: uploading %s again; the "
                "first copy, if it exists, will expire",
                self._file.name,
            )
            return True
        return _LEASE_PATTERN.search(f"{error.code} {error.message}") is not None


class WaitTask(TransferTask):
    """Wait for a file that was uploaded earlier."""

    def __init__(
        self, coordinator: TransferCoordinator, index: int, deadline: Deadline, file_id: str
    ) -> None:
        super().__init__(coordinator, index, deadline)
        self._file_id = file_id

    async def run(self) -> SessionFile:
        return await self._wait_until_ready(self._file_id)


def phase_from_status(status: str) -> str:
    """Return the phase of a file with this status, which is not ready."""
    if status in FAILURE_REASONS:
        return "failed"
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
