"""Coordinator of the transfers of one call: how many run at once, and how fast uploads start."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from langchain_bailian_app._transport.file_storage import FileUploader
from langchain_bailian_app.errors import (
    BailianAuthenticationError,
    BailianError,
    BailianPermissionError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from langchain_bailian_app.files._cache import UploadCache
    from langchain_bailian_app.files._progress import Progress
    from langchain_bailian_app.files._service import FileService
    from langchain_bailian_app.options._session_files import LocalFile, SessionFile, UploadTarget

T = TypeVar("T")

_MAX_WAIT = 0.2  # seconds until the blocking version of a call notices Ctrl-C
# Errors that would occur for every file.
_FATAL_ERRORS = (BailianAuthenticationError, BailianPermissionError)


class TransferContext(NamedTuple):
    """State that all calls of one `BailianFiles` object share."""

    service: FileService
    cache: UploadCache


class TransferCoordinator:
    """Coordinator of all transfers of one call. It performs their requests in threads.

    Args:
        context: State that all calls share.
        progress: Progress bars of the call.
        max_concurrency: Number of slots. A transfer holds a slot from its lease until the file is
            added, so that the lease does not expire while other files are uploaded. It releases the
            slot while it waits for the service or for another upload.
        lease_interval: Minimum seconds between two lease requests.
    """

    def __init__(
        self,
        context: TransferContext,
        progress: Progress,
        *,
        max_concurrency: int,
        lease_interval: float,
    ) -> None:
        self._slots = asyncio.Semaphore(max_concurrency)
        self.cache = context.cache
        self._service = context.service
        self._progress = progress
        self._storage = FileUploader()
        self._threads = ThreadPoolExecutor(max_concurrency, thread_name_prefix="bailian-files")
        self._lease_interval = lease_interval
        self._next_lease_at = 0.0

    async def run_all(
        self, transfers: Sequence[Callable[[], Awaitable[SessionFile]]]
    ) -> list[SessionFile | Exception]:
        """Run all transfers, and return the file or the error of each of them.

        Raises:
            BailianError: An error that would occur for every file.
        """
        running = [
            asyncio.create_task(self._run(index, transfer)) for index, transfer in enumerate(transfers)
        ]
        try:
            return await asyncio.gather(*running)
        finally:
            # A request in flight continues in its thread, but its result is dropped.
            self._storage.stop()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._progress.close()

    async def _run(
        self, index: int, transfer: Callable[[], Awaitable[SessionFile]]
    ) -> SessionFile | Exception:
        try:
            async with self._slots:
                file = await transfer()
        except _FATAL_ERRORS:
            raise
        except (BailianError, OSError) as exc:
            self.set_phase(index, "failed")
            return exc
        self.set_phase(index, "ready")
        return file

    def set_phase(self, index: int, phase: str) -> None:
        """Show that a transfer has entered another phase."""
        self._progress.set_phase(index, phase)

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Await something without holding the slot of the transfer."""
        self._slots.release()
        try:
            return await awaitable
        finally:
            await self._slots.acquire()

    async def compute_md5(self, file: LocalFile) -> str:
        """Return the MD5 of a file in hexadecimal."""
        return await self._run_in_thread(self._storage.compute_md5, file)

    async def request_lease(self, file: LocalFile, md5: str) -> UploadTarget:
        """Request an upload lease, no sooner than `lease_interval` after the previous one."""
        now = time.monotonic()
        start_at = max(now, self._next_lease_at)
        self._next_lease_at = start_at + self._lease_interval
        await asyncio.sleep(start_at - now)
        return await self._run_in_thread(self._service.request_lease, file, md5)

    async def upload_bytes(self, index: int, file: LocalFile, target: UploadTarget) -> None:
        """Upload the bytes of a file to the target of a lease."""
        show_bytes_sent = partial(self._progress.set_bytes_sent, index)
        await self._run_in_thread(self._storage.upload, file, target, show_bytes_sent)

    async def add_file(self, lease_id: str, key: str) -> str:
        """Add the uploaded bytes as a session file, and return the id of the file.

        The id is stored in the cache even if the call was cancelled. Otherwise, it would be lost.
        """

        def add_and_store() -> str:
            file_id = self._service.add_file(lease_id)
            self.cache.store_file_id(key, file_id)
            return file_id

        return await self._run_in_thread(add_and_store)

    async def describe_file(self, file_id: str) -> SessionFile:
        """Query the status of a file."""
        return await self._run_in_thread(self._service.describe_file, file_id)

    async def _run_in_thread(self, function: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)


def run_on_own_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on an event loop in another thread, and return its result.

    The calling thread may run an event loop, as in a notebook. If it is interrupted, the coroutine is
    cancelled.
    """
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = Future()

    async def run() -> T:
        task: Any = asyncio.current_task()
        started.set_result((task.get_loop(), task))
        return await coroutine

    with ThreadPoolExecutor(1, thread_name_prefix="bailian-files-loop") as thread:
        result = thread.submit(asyncio.run, run())
        try:
            while not result.done():  # on Windows, Ctrl-C does not interrupt a wait without a timeout
                wait([result], _MAX_WAIT)
            return result.result()
        except BaseException:
            loop, task = started.result()
            with suppress(RuntimeError):  # the loop is closed: the coroutine itself has failed
                loop.call_soon_threadsafe(task.cancel)
            raise
