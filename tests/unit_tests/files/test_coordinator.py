"""Tests of the coordinator without a network: slots, the rate of leases, and errors."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any, cast

import pytest

from langchain_bailian_app.errors import BailianAuthenticationError, BailianError, BailianRequestError
from langchain_bailian_app.files._coordinator import (
    TransferContext,
    TransferCoordinator,
    run_on_own_loop,
)
from langchain_bailian_app.files._progress import Progress
from langchain_bailian_app.files._tasks import Deadline, UploadTask
from langchain_bailian_app.options._session_files import LocalFile, SessionFile, UploadTarget

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from langchain_bailian_app.files._cache import UploadCache
    from langchain_bailian_app.files._service import FileService

DIGITS = "0123456789"


class RecordingApi:
    """API that records its requests, and counts those that run at the same time."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.lease_times: list[float] = []
        self.max_running = 0
        self.error: BailianError | None = None
        self.first_file_is_ready_last = False
        self._running = 0
        self._lock = threading.Lock()

    def _record(self, name: str, file: str) -> None:
        with self._lock:
            self.requests.append((name, file))
            self._running += 1
            self.max_running = max(self.max_running, self._running)
        time.sleep(0.005)
        with self._lock:
            self._running -= 1

    def request_lease(self, file: LocalFile, _: str) -> UploadTarget:
        self.lease_times.append(time.monotonic())
        self._record("lease", file.name)
        if self.error is not None and file.name == "0.md":
            raise self.error
        return UploadTarget(file.name, "PUT", "https://storage.example/", {})

    def upload(self, file: LocalFile, *_: Any) -> None:
        self._record("upload", file.name)

    def add_file(self, lease_id: str) -> str:
        self._record("add", lease_id)
        return f"file_session_{lease_id}"

    def describe_file(self, file_id: str) -> SessionFile:
        name = file_id.removeprefix("file_session_")
        self._record("describe", name)
        must_wait = self.first_file_is_ready_last and ("describe", "1.md") not in self.requests
        is_ready = name != "0.md" or not must_wait
        return SessionFile(file_id, name, 1, "FILE_IS_READY" if is_ready else "PARSING")


def make_uploads(
    api: RecordingApi, cache: UploadCache, count: int, **options: Any
) -> tuple[TransferCoordinator, list[Callable[[], Awaitable[SessionFile]]]]:
    coordinator = TransferCoordinator(
        TransferContext(cast("FileService", api), cache),
        Progress([], [], enabled=False),
        **{"max_concurrency": 8, "lease_interval": 0.0} | options,
    )
    coordinator._storage.upload = api.upload  # type: ignore[method-assign]  # the storage is not reached
    deadline = Deadline.after(10.0, time.monotonic, 0.01)
    files = [LocalFile(f"{digit}.md", 1, data=digit.encode()) for digit in DIGITS[:count]]
    tasks = [UploadTask(coordinator, index, deadline, file) for index, file in enumerate(files)]
    return coordinator, [task.run for task in tasks]


async def test_each_lease_is_followed_by_its_upload_so_that_no_lease_waits(
    upload_cache: UploadCache,
) -> None:
    api = RecordingApi()
    coordinator, transfers = make_uploads(api, upload_cache, 5, max_concurrency=1)

    files = await coordinator.run_all(transfers)

    assert [file.name for file in files if isinstance(file, SessionFile)] == [
        f"{digit}.md" for digit in DIGITS[:5]
    ]
    leases = [index for index, (name, _) in enumerate(api.requests) if name == "lease"]
    assert all(
        api.requests[index + 1 : index + 3] == [("upload", file), ("add", file)]
        for index in leases
        for file in [api.requests[index][1]]
    )


@pytest.mark.parametrize("max_concurrency", [1, 3])
async def test_no_more_requests_run_at_once_than_allowed(
    upload_cache: UploadCache, max_concurrency: int
) -> None:
    api = RecordingApi()
    coordinator, transfers = make_uploads(api, upload_cache, 10, max_concurrency=max_concurrency)

    await coordinator.run_all(transfers)

    assert api.max_running == max_concurrency


async def test_a_file_that_is_not_ready_yet_holds_no_slot(upload_cache: UploadCache) -> None:
    api = RecordingApi()
    api.first_file_is_ready_last = True
    coordinator, transfers = make_uploads(api, upload_cache, 2, max_concurrency=1)

    outcomes = await coordinator.run_all(transfers)

    assert all(isinstance(file, SessionFile) for file in outcomes)


async def test_leases_are_requested_no_faster_than_allowed(upload_cache: UploadCache) -> None:
    api = RecordingApi()
    coordinator, transfers = make_uploads(api, upload_cache, 5, lease_interval=0.03)

    await coordinator.run_all(transfers)

    first = api.lease_times[0]
    assert len(api.lease_times) == 5
    # A thread may start late, but no request is sent before its time.
    assert all(at - first > 0.03 * n - 0.015 for n, at in enumerate(api.lease_times))


async def test_an_error_that_affects_every_file_stops_all_tasks(upload_cache: UploadCache) -> None:
    api = RecordingApi()
    api.error = BailianAuthenticationError("who are you")
    coordinator, transfers = make_uploads(api, upload_cache, 10, max_concurrency=2)

    with pytest.raises(BailianAuthenticationError):
        await coordinator.run_all(transfers)

    assert len({file for _, file in api.requests}) <= 3
    # All claims have ended, so that the next call can upload the same bytes.
    api.error = None
    coordinator, transfers = make_uploads(api, upload_cache, 10)
    assert all(isinstance(file, SessionFile) for file in await coordinator.run_all(transfers))


async def test_another_error_affects_only_its_file(upload_cache: UploadCache) -> None:
    api = RecordingApi()
    api.error = BailianRequestError("no such category")
    coordinator, transfers = make_uploads(api, upload_cache, 3)

    outcomes = await coordinator.run_all(transfers)

    assert outcomes[0] is api.error
    assert [type(outcome) for outcome in outcomes[1:]] == [SessionFile] * 2


async def test_a_blocking_call_works_where_an_event_loop_is_running() -> None:
    async def find_loop() -> asyncio.AbstractEventLoop:
        await asyncio.sleep(0)
        return asyncio.get_running_loop()

    assert run_on_own_loop(find_loop()) is not asyncio.get_running_loop()


def test_the_error_of_a_blocking_call_is_raised() -> None:
    async def fail() -> None:
        message = "wrong"
        raise ValueError(message)

    with pytest.raises(ValueError, match="wrong"):
        run_on_own_loop(fail())
