"""One file on its way into the service: what is done next, what may be repeated, and when it has ended.

No waiting here: `steps` yields what to do and gets the result, or the error, sent back; `_fleet` brings
many ways together, and `_trip` does what they ask.

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
    AddFile,
    Describe,
    Fingerprint,
    Join,
    Put,
    Step,
    TakeLease,
    Wait,
)
from langchain_bailian_app.options._session_files import (
    FAILED,
    READY,
    LocalFile,
    SessionFile,
    Target,
    suffix_of,
)

if TYPE_CHECKING:
    from langchain_bailian_app.files._cache import KnownFiles

T = TypeVar("T")
Steps = Generator["Step", Any, T]

_logger = logging.getLogger("langchain_bailian_app")
_TRANSIENT = (
    BailianRateLimitError,
    BailianServerError,
    BailianConnectionError,
    BailianTimeoutError,
)
_MOST_REPEATS = 5
_MOST_LEASES = 4
_LONGEST_WAIT = 8.0  # seconds before a step is repeated
_LONGEST_PAUSE = 10.0  # seconds between two looks at the status
_EXPIRED_URL = 403  # what the storage says of a signature that is no longer valid
_LEASE = re.compile(r"lease|租约", re.IGNORECASE)  # no source tells how a dead one is refused


@dataclass(frozen=True)
class Deadline:
    """When to give up."""

    clock: Callable[[], float]
    seconds: float
    at: float
    pause: float
    """Seconds before the second look at a status; the later ones grow."""

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float], pause: float) -> Deadline:
        """Return the deadline that is so many seconds away."""
        return cls(clock, seconds, clock() + seconds, pause)

    def allows(self, seconds: float) -> bool:
        """Whether there is so much time left."""
        return self.clock() + seconds < self.at

    def check(self, what: str) -> None:
        """Give up if it has passed.

        Raises:
            BailianTimeoutError: It has.
        """
        if not self.allows(0):
            message = f"{what} took longer than `timeout` ({self.seconds:g} s)"
            raise BailianTimeoutError(message)


class Way(ABC):
    """What uploads and waiting for known files have in common."""

    phase = "waiting"
    """What is being done: `"waiting"`, `"uploading"`, `"parsing"`, `"indexing"`."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._in_doubt = False

    @abstractmethod
    def steps(self) -> Steps[SessionFile]:
        """Go the whole way; end with the file, which is ready.

        Raises:
            BailianError: It did not get there.
            OSError: The file cannot be read, or changed meanwhile.
        """

    def _repeated(self, step: Step) -> Steps[Any]:
        """Do a step until it works, as long as its failures are such that pass."""
        repeats = 0
        while True:
            self._deadline.check(self.phase)
            try:
                return (yield step)
            except _TRANSIENT as exc:
                wait = _wait_after(exc, repeats, self._deadline.pause / 4)
                throttled = isinstance(exc, BailianRateLimitError)
                if (repeats >= _MOST_REPEATS and not throttled) or not self._deadline.allows(wait):
                    raise
                # A refusal for coming too often says that nothing was done.
                self._in_doubt |= isinstance(step, AddFile) and not throttled
                _logger.debug("%s: %s; again in %.2f s", type(step).__name__, exc, wait)
            repeats += 1
            yield Wait(wait)

    def ready(self, file_id: str) -> Steps[SessionFile]:
        """Look at the status until the file is ready.

        Raises:
            BailianError: It failed, or was not ready in time.
        """
        for pause in _pauses(self._deadline.pause):
            found: SessionFile = yield from self._repeated(Describe(file_id))
            self.phase = phase_of(found.status)
            if found.status == READY:
                return found
            if found.status in FAILED:
                message = (
                    f"{FAILED[found.status]} ({found.status}): {found.reason or 'no reason given'}"
                )
                error = BailianFileError(message)
                error.file_id, error.status = file_id, found.status
                raise error
            if not self._deadline.allows(pause):
                message = (
                    f"not ready within `timeout` ({self._deadline.seconds:g} s), but {found.status}; "
                    f"`BailianFiles.wait({file_id!r})` goes on waiting"
                )
                raise BailianTimeoutError(message)
            yield Wait(pause)
        raise AssertionError  # pauses have no end


class Upload(Way):
    """The way of one local file."""

    def __init__(self, file: LocalFile, known: KnownFiles, deadline: Deadline) -> None:
        super().__init__(deadline)
        self._file = file
        self._known = known

    def steps(self) -> Steps[SessionFile]:
        md5: str = yield Fingerprint(self._file)
        # The ending belongs to it: it says how the service reads the bytes.
        key = f"{md5}-{self._file.size}.{suffix_of(self._file.name)}"
        while (claim := self._known.claim(key)).others is not None:
            found: SessionFile | None = yield Join(claim.others)
            if found is not None:
                return replace(found, name=self._file.name)
            # The other one was interrupted: this one takes over.
        if claim.ready is not None:
            self._known.release(key, claim.ready)
            return replace(claim.ready, name=self._file.name)
        try:
            found = yield from self._own(key, md5, claim.file_id)
        except (BailianError, OSError) as exc:
            self._known.fail(key, exc)
            raise
        except BaseException:
            self._known.release(key, None)
            raise
        self._known.release(key, found)
        return replace(found, name=self._file.name)

    def _own(self, key: str, md5: str, file_id: str | None) -> Steps[SessionFile]:
        if file_id is not None:
            try:
                return (yield from self.ready(file_id))
            except (BailianFileError, BailianNotFoundError, BailianRequestError):
                _logger.debug("%s is of no use any more: %s is uploaded anew", file_id, self._file.name)
        self.phase = "uploading"
        file_id = yield from self._added(key, md5)
        self.phase = "parsing"
        return (yield from self.ready(file_id))

    def _added(self, key: str, md5: str) -> Steps[str]:
        """Bring the bytes in; end with the id of the file."""
        leases = 0
        while True:
            leases += 1
            target: Target = yield from self._repeated(TakeLease(self._file, md5))
            self._in_doubt = False
            step: Step = Put(self._file, target)
            try:
                yield from self._repeated(step)
                step = AddFile(target.lease_id, key)
                file_id: str = yield from self._repeated(step)
            except (BailianRequestError, BailianNotFoundError) as exc:
                if leases >= _MOST_LEASES or not self._lease_is_dead(step, exc):
                    raise
                _logger.debug("the lease of %s is dead (%s): a new one", self._file.name, exc)
            else:
                return file_id

    def _lease_is_dead(self, step: Step, error: BailianError) -> bool:
        if isinstance(step, Put):
            return error.status_code == _EXPIRED_URL
        if self._in_doubt:
            _logger.warning(
                "whether %s was added is not known, since a reply was lost, and the service refuses to "
                "add it again: it is uploaded anew, and the first copy, if there is one, will expire",
                self._file.name,
            )
            return True
        return _LEASE.search(f"{error.code} {error.message}") is not None


class Waiting(Way):
    """The way of a file that was uploaded before."""

    def __init__(self, file_id: str, deadline: Deadline) -> None:
        super().__init__(deadline)
        self._file_id = file_id

    def steps(self) -> Steps[SessionFile]:
        return (yield from self.ready(self._file_id))


def phase_of(status: str) -> str:
    """Return what a status of the service means to who waits."""
    if status in {READY, *FAILED}:
        return "ready" if status == READY else "failed"
    return "indexing" if status.startswith("INDEX_") else "parsing"


def _pauses(first: float) -> Iterator[float]:
    pause = first
    while True:
        yield pause
        pause = min(_LONGEST_PAUSE, pause * 1.5)


def _wait_after(error: BailianError, repeats: int, first: float) -> float:
    if error.retry_after is not None:
        return error.retry_after
    longest = min(_LONGEST_WAIT, first * 2.0 ** min(repeats, 10))
    return longest * random.uniform(0.5, 1)  # noqa: S311  # jitter
