"""Coordinator whose requests have scripted results, for tests of tasks without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from langchain_bailian_app.files._tasks import Deadline, UploadTask
from langchain_bailian_app.options._session_files import LocalFile, SessionFile, UploadTarget

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from langchain_bailian_app.files._cache import UploadCache
    from langchain_bailian_app.files._coordinator import TransferCoordinator
    from tests.clock import Clock

FILE = LocalFile("note.md", 3, data=b"abc")
TARGET = UploadTarget("lease", "PUT", "https://storage.example/?Signature=planted", {})
READY = SessionFile("file_session_1", "note.md", 3, "FILE_IS_READY")
RESULTS: dict[str, Any] = {
    "compute_md5": "0" * 32,
    "request_lease": TARGET,
    "upload_bytes": None,
    "add_file": "file_session_1",
    "describe_file": READY,
}


class ScriptedCoordinator:
    """Coordinator that records the names of requests, and of pauses between them.

    Args:
        cache: Cache of the uploads.
        clock: Clock that pauses advance.
        script: The unusual results in order, as pairs of the name of a request and its result or error.
    """

    def __init__(
        self, cache: UploadCache, clock: Clock, script: Iterable[tuple[str, Any]] = ()
    ) -> None:
        self.cache = cache
        self.performed: list[str] = []
        self.phases: list[str] = []
        self._clock = clock
        self._script = list(script)

    def set_phase(self, _: int, phase: str) -> None:
        self.phases.append(phase)

    async def wait(self, awaitable: Awaitable[Any]) -> Any:
        return await awaitable

    async def sleep(self, seconds: float) -> None:
        self.performed.append("sleep")
        self._clock.now += seconds

    async def compute_md5(self, _: LocalFile) -> Any:
        return self._perform("compute_md5")

    async def request_lease(self, *_: Any) -> Any:
        return self._perform("request_lease")

    async def upload_bytes(self, *_: Any) -> Any:
        return self._perform("upload_bytes")

    async def add_file(self, _: str, key: str) -> Any:
        file_id = self._perform("add_file")
        self.cache.store_file_id(key, file_id)
        return file_id

    async def describe_file(self, _: str) -> Any:
        return self._perform("describe_file")

    def _perform(self, name: str) -> Any:
        self.performed.append(name)
        if not (self._script and self._script[0][0] == name):
            return RESULTS[name]
        result = self._script.pop(0)[1]
        if isinstance(result, Exception):
            raise result
        return result

    def make_upload_task(self, file: LocalFile = FILE, timeout: float = 100.0) -> UploadTask:
        deadline = Deadline(self._clock, timeout, self._clock.now + timeout, 1.0, self.sleep)
        return UploadTask(cast("TransferCoordinator", self), 0, deadline, file)
