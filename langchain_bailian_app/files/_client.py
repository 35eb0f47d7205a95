"""`BailianFiles`, the client for session files (会话文件)."""

import asyncio
import os
from collections.abc import Coroutine, Iterable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Self, TypeAlias

from pydantic import Field, PrivateAttr

from langchain_bailian_app._settings.openapi import OpenApiFields
from langchain_bailian_app._transport.file_storage import local_files_from_paths
from langchain_bailian_app._transport.openapi_client import OpenApiClient
from langchain_bailian_app.errors import BailianError, BailianFileError, BailianUploadError
from langchain_bailian_app.files._api import SessionFileApi
from langchain_bailian_app.files._cache import UploadCache
from langchain_bailian_app.files._coordinator import (
    TransferContext,
    TransferCoordinator,
    run_on_own_loop,
)
from langchain_bailian_app.files._progress import Progress
from langchain_bailian_app.files._tasks import Deadline, TransferTask, UploadTask, WaitTask
from langchain_bailian_app.options._session_files import LocalFile, SessionFile

Paths: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
Files: TypeAlias = str | SessionFile | Iterable[str | SessionFile]
_MAX_REPORTED_ERRORS = 10


class BailianFiles(OpenApiFields):
    """Client that uploads session files, waits until they are ready and queries their status.

    Any number of threads and event loops can share one object. The object remembers its uploads: the
    same bytes with the same suffix are uploaded once, even by two calls at the same time.

    Setup:
        ```bash
        pip install 'langchain-bailian-app[openapi]'  # you also need an AccessKey:
        export ALIBABA_CLOUD_ACCESS_KEY_ID=... ALIBABA_CLOUD_ACCESS_KEY_SECRET=...
        ```

    Instantiate:
        ```python
        from pathlib import Path
        from langchain_bailian_app import BailianAppChatModel, RagOptions
        from langchain_bailian_app.files import BailianFiles

        files = BailianFiles()  # or workspace_id="…"; default: DASHSCOPE_WORKSPACE
        model = BailianAppChatModel(files=files)  # also uploads data in messages
        ```

    Use:
        ```python
        Path("notice.md").write_text("本店周一休息。", "utf-8")
        notice = files.upload("notice.md")  # waits until it is ready; async: `aupload`
        model.invoke("周一休息吗？", rag_options=RagOptions(session_file_ids=notice))
        ```
    """

    concurrency: int = Field(default=8, ge=1)
    """Maximum number of simultaneous requests and uploads per call. Waiting files do not count."""

    timeout: float = Field(default=1800.0, gt=0)
    """Maximum seconds for a call, from its start until all files are ready."""

    poll_interval: float = Field(default=1.0, gt=0)
    """Seconds between the first two status queries for a file; later intervals grow to 10 seconds.

    A failed step is first retried after at most a quarter of this interval. This maximum doubles with
    each further retry, up to 8 seconds. `Retry-After` takes precedence.
    """

    leases_per_second: float = Field(default=10.0, gt=0)
    """Maximum number of uploads that a call starts per second. The service allows 10 per second and
    account (OpenAPI). Throttled requests are retried."""

    progress: bool | None = None
    """Whether to show progress bars. Default: only in notebooks and terminals."""

    record: Path | None = None
    """File to which the ids of uploads are appended, one per line. A restarted process then does not
    repeat uploads that still exist. The record contains MD5 sums and ids, but no contents or keys."""

    use_internal_endpoint: bool = False
    """Whether to upload over the region's internal network. Only for workspaces with secure storage."""

    _context: Any = PrivateAttr(default=None)

    def model_post_init(self, context: Any, /) -> None:
        """Prepare the state that all calls share, without creating a client or sending anything."""
        super().model_post_init(context)
        scope = f"{self.endpoint or self.region}/{self.workspace_id}"
        self._context = TransferContext(
            SessionFileApi(
                OpenApiClient(self),
                self.workspace_id,
                use_internal_endpoint=self.use_internal_endpoint,
            ),
            UploadCache(self.record, scope),
        )

    def upload(
        self, paths: Paths, *, timeout: float | None = None, progress: bool | None = None
    ) -> list[SessionFile]:
        """Upload files and wait until they are ready.

        Types and sizes are checked before anything is sent: documents up to 100 MB, images up to 20 MB,
        audio and video up to 512 MB (user guide). Files are read in chunks.

        Args:
            paths: One path or several.
            timeout: Seconds for the call. Default: the field `timeout`.
            progress: Whether to show progress bars. Default: the field `progress`.

        Returns:
            One file per path, in the same order. A call to an application accepts at most 10 files.

        Raises:
            ValueError: A file does not exist or is not supported by the service; nothing was sent.
            BailianFileError: You passed one path, and its file did not become ready.
            BailianUploadError: You passed several paths, and some files did not become ready. The error
                contains the ready files and the errors of the others.
            BailianError: The AccessKey is missing, wrong or lacks permissions.
            ImportError: The `openapi` extra is not installed.
        """
        return self.upload_local(local_files_from_paths(paths), timeout=timeout, progress=progress)

    async def aupload(
        self,
        paths: Paths,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # the same parameter as in `upload`
        progress: bool | None = None,
    ) -> list[SessionFile]:
        """Async version of `upload`, which never blocks the event loop."""
        local = await asyncio.to_thread(local_files_from_paths, paths)
        return await self.aupload_local(local, timeout=timeout, progress=progress)

    def wait_until_ready(
        self, files: Files, *, timeout: float | None = None, progress: bool | None = None
    ) -> list[SessionFile]:
        """Wait until previously uploaded files are ready.

        Args:
            files: One or several ids or `SessionFile`s.
            timeout: Seconds for the call. Default: the field `timeout`.
            progress: Whether to show progress bars. Default: the field `progress`.

        Returns:
            The files, in the same order.

        Raises:
            BailianFileError: You passed one file, and it failed, has expired or was not ready in time.
            BailianUploadError: You passed several files, and some did not become ready. The error
                contains the ready files and the errors of the others.
        """
        return run_on_own_loop(self._start_waiting(files, timeout, progress))

    async def await_until_ready(
        self,
        files: Files,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # as above
        progress: bool | None = None,
    ) -> list[SessionFile]:
        """Async version of `wait_until_ready`."""
        return await self._start_waiting(files, timeout, progress)

    def status(self, file: str | SessionFile) -> SessionFile:
        """Query the current status of a file.

        Args:
            file: Id of the file, or an earlier `SessionFile`.

        Raises:
            BailianNotFoundError: The service has no file with this id.
            BailianError: The request failed.
        """
        file_id = file if isinstance(file, str) else file.id
        described: SessionFile = self._context.api.describe_file(file_id)
        return described

    async def astatus(self, file: str | SessionFile) -> SessionFile:
        """Async version of `status`."""
        return await asyncio.to_thread(self.status, file)

    def upload_local(
        self,
        files: Sequence[LocalFile],
        *,
        timeout: float | None = None,
        progress: bool | None = None,
    ) -> list[SessionFile]:
        """Upload files or bytes that were already checked; see `upload`."""
        return run_on_own_loop(self._start_uploads(files, timeout, progress)) if files else []

    async def aupload_local(
        self,
        files: Sequence[LocalFile],
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # as above
        progress: bool | None = None,
    ) -> list[SessionFile]:
        """Async version of `upload_local`."""
        return await self._start_uploads(files, timeout, progress) if files else []

    def _start_uploads(
        self, files: Sequence[LocalFile], timeout: float | None, progress: bool | None
    ) -> Coroutine[Any, Any, list[SessionFile]]:
        """Return the coroutine of a call. Progress bars are created at once, in the calling thread."""
        names, sizes = [file.name for file in files], [file.size for file in files]
        coordinator = self._make_coordinator(names, sizes, progress)
        deadline = self._make_deadline(timeout)
        tasks = [UploadTask(coordinator, index, deadline, file) for index, file in enumerate(files)]
        return _collect_files(names, coordinator, tasks)

    def _start_waiting(
        self, files: Files, timeout: float | None, progress: bool | None
    ) -> Coroutine[Any, Any, list[SessionFile]]:
        """Return the coroutine of a call, as above."""
        items = [files] if isinstance(files, str | SessionFile) else list(files)
        ids = [file if isinstance(file, str) else file.id for file in items]
        coordinator = self._make_coordinator(ids, [0] * len(ids), progress)
        deadline = self._make_deadline(timeout)
        tasks = [WaitTask(coordinator, index, deadline, id_) for index, id_ in enumerate(ids)]
        return _collect_files(ids, coordinator, tasks)

    def _make_coordinator(
        self, names: list[str], sizes: list[int], progress: bool | None
    ) -> TransferCoordinator:
        show_progress = self.progress if progress is None else progress
        return TransferCoordinator(
            self._context,
            Progress(names, sizes, enabled=show_progress),
            max_concurrency=self.concurrency,
            lease_interval=1 / self.leases_per_second,
        )

    def _make_deadline(self, timeout: float | None) -> Deadline:
        seconds = self.timeout if timeout is None else timeout
        return Deadline.after(seconds, monotonic, self.poll_interval)

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        self.model_post_init(None)

    def __copy__(self) -> Self:
        """Return this object. It can be shared, and a copy would upload the same bytes again."""
        return self

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Return this object, for the same reason as `__copy__`."""
        return self


async def _collect_files(
    names: list[str], coordinator: TransferCoordinator, tasks: Sequence[TransferTask]
) -> list[SessionFile]:
    """Run the tasks, and return the files if all of them are ready.

    Raises:
        BailianFileError: There is one file, and it is not ready.
        BailianUploadError: There are several files, and some are not ready.
    """
    outcomes = await coordinator.run_all([task.run for task in tasks])
    ready = [outcome for outcome in outcomes if isinstance(outcome, SessionFile)]
    failed = [
        _make_file_error(name, outcome)
        for name, outcome in zip(names, outcomes, strict=True)
        if not isinstance(outcome, SessionFile)
    ]
    if not failed:
        return ready
    if len(names) == 1:
        raise failed[0]
    details = "; ".join(error.message for error in failed[:_MAX_REPORTED_ERRORS])
    more = (
        f"; and {len(failed) - _MAX_REPORTED_ERRORS} more" if len(failed) > _MAX_REPORTED_ERRORS else ""
    )
    error = BailianUploadError(f"{len(failed)} of {len(names)} files are not ready: {details}{more}")
    error.files, error.errors = ready, failed
    raise error


def _make_file_error(name: str, cause: Exception) -> BailianFileError:
    """Return the error for one file. Other files with the same bytes may share `cause`."""
    if isinstance(cause, BailianError):
        error = BailianFileError(
            f"{name}: {cause.message}",
            code=cause.code,
            status_code=cause.status_code,
            request_id=cause.request_id,
            body=cause.body,
        )
        error.is_retryable, error.retry_after = cause.is_retryable, cause.retry_after
    else:
        error = BailianFileError(f"{name}: {cause}")
    if isinstance(cause, BailianFileError):
        error.file_id, error.status = cause.file_id, cause.status
    error.name = name
    error.__cause__ = cause
    return error
