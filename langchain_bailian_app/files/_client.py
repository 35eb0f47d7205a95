"""`BailianFiles`, the client for session files (会话文件)."""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Self, TypeAlias

from langchain_core.utils import from_env
from pydantic import Field, PrivateAttr

from langchain_bailian_app._settings.connection import ConnectionFields
from langchain_bailian_app._settings.session_files import SessionFileFields
from langchain_bailian_app._transport.file_storage import UploadSource, local_files_from_sources
from langchain_bailian_app.errors import BailianError, BailianFileError, BailianUploadError
from langchain_bailian_app.files._cache import UploadCache
from langchain_bailian_app.files._coordinator import (
    TransferContext,
    TransferCoordinator,
    run_on_own_loop,
)
from langchain_bailian_app.files._key_service import KeyFileService
from langchain_bailian_app.files._openapi_service import OpenApiFileService
from langchain_bailian_app.files._progress import Progress
from langchain_bailian_app.files._tasks import Deadline, TransferTask, UploadTask, WaitTask
from langchain_bailian_app.options._session_files import LocalFile, SessionFile

Paths: TypeAlias = UploadSource | Iterable[UploadSource]
Files: TypeAlias = str | SessionFile | Iterable[str | SessionFile]
_MAX_REPORTED_ERRORS = 10
_BASE_URL_VARIABLES = ["DASHSCOPE_BASE_URL", "DASHSCOPE_HTTP_BASE_URL"]
_DEFAULT_REGION = "cn-beijing"


class BailianFiles(SessionFileFields):
    """Client that uploads session files, waits until they are ready and queries their status.

    Any number of threads and event loops can share one object. The object remembers its uploads: the
    same bytes with the same suffix are uploaded once, even by two calls at the same time.

    The API key and the workspace are sufficient. With `access_key_id` and `access_key_secret`, or with
    a `client` of the official SDK, files are managed over Bailian's OpenAPI instead, which requires the
    extra `openapi`. No source shows yet that an application accepts the ids of files that were uploaded
    with an API key, although the documentation describes them for this purpose (unverified).

    If none of the connection settings (`api_key`, `workspace`, `base_url`, `region`, `http_client`,
    `allow_insecure_http`) is passed here, a model with this client uploads with its own. The methods
    below do not know the model and use the environment.

    Setup:
        ```bash
        pip install langchain-bailian-app
        export DASHSCOPE_API_KEY=... DASHSCOPE_WORKSPACE=...
        ```

    Instantiate:
        ```python
        from pathlib import Path
        from langchain_bailian_app import BailianAppChatModel, RagOptions
        from langchain_bailian_app.files import BailianFiles

        files = BailianFiles()  # or api_key="…", workspace="…"
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
    account (documentation of both routes). Throttled requests are retried."""

    progress: bool | None = None
    """Whether to show progress bars. Default: only in notebooks and terminals, and if tqdm is
    installed."""

    record: Path | None = None
    """File to which the ids of uploads are appended, one per line. A restarted process then does not
    repeat uploads that still exist. The record contains MD5 sums and ids, but no contents or keys. Its
    folder is created if it does not exist."""

    _openapi_service: Any = PrivateAttr(default=None)
    _key_service: Any = PrivateAttr(default=None)
    _caches: dict[str, UploadCache] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        """Prepare the state that all calls share, without creating a client or sending anything."""
        super().model_post_init(context)
        self._openapi_service, self._key_service = OpenApiFileService(self), KeyFileService(self)
        self._caches = {}
        if self.record is not None:
            _check_record(self.record)
        self._get_context()  # reads `record`

    def with_connection_of(self, model: ConnectionFields) -> "BailianFiles":
        """Return the client for a model that has this one in its field `files`.

        It is this object if it has connection settings of its own. Otherwise, it is a copy with those
        of the model; if both use the same workspace, both remember the same uploads.
        """
        if self.has_connection_settings:
            return self
        # The record is set later, because it would be read again.
        copied = type(self).model_construct(**self.copy_connection(model) | {"record": None})
        copied.record, copied._caches = self.record, self._caches  # noqa: SLF001  # of the same class
        return copied

    def upload(
        self, paths: Paths, *, timeout: float | None = None, progress: bool | None = None
    ) -> list[SessionFile]:
        """Upload files and wait until they are ready.

        Types and sizes are checked before anything is sent: documents up to 100 MB, images up to 20 MB,
        audio and video up to 512 MB (user guide). Files are read in chunks.

        Args:
            paths: One file or several. A file is a path, a pair of a name and bytes, such as
                `("report.pdf", data)`, or a binary file object with a name.
            timeout: Seconds for the call. Default: the field `timeout`.
            progress: Whether to show progress bars. Default: the field `progress`.

        Returns:
            One file per path, in the same order. A call to an application accepts at most 10 files.

        Raises:
            ValueError: A file does not exist or is not supported by the service, or the workspace or
                the key is missing; nothing was sent.
            BailianFileError: You passed one path, and its file did not become ready.
            BailianUploadError: You passed several paths, and some files did not become ready. The error
                contains the ready files and the errors of the others.
            BailianError: The key is wrong or lacks permissions.
            ImportError: An AccessKey was passed, but the `openapi` extra is not installed.
        """
        return self.upload_local(local_files_from_sources(paths), timeout=timeout, progress=progress)

    async def aupload(
        self,
        paths: Paths,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # the same parameter as in `upload`
        progress: bool | None = None,
    ) -> list[SessionFile]:
        """Async version of `upload`, which never blocks the event loop."""
        local = await asyncio.to_thread(local_files_from_sources, paths)
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
        return self._get_context().service.describe_file(file if isinstance(file, str) else file.id)

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
        if not files:
            return []
        await asyncio.to_thread(self._get_context)  # it may read `record`
        return await self._start_uploads(files, timeout, progress)

    def _start_uploads(
        self, files: Sequence[LocalFile], timeout: float | None, progress: bool | None
    ) -> Coroutine[Any, Any, list[SessionFile]]:
        """Return the coroutine of a call. Progress bars are created at once, in the calling thread."""
        names, sizes = [file.name for file in files], [file.size for file in files]
        coordinator = self._make_coordinator(names, sizes, progress)
        deadline = self._make_deadline(timeout)
        tasks = [UploadTask(coordinator, index, deadline, file) for index, file in enumerate(files)]
        return _collect_files(names, coordinator, tasks)

    def _get_context(self) -> TransferContext:
        scope = self._describe_scope()
        if scope not in self._caches:
            self._caches.setdefault(scope, UploadCache(self.record, scope))
        service = self._openapi_service if self.uses_access_key else self._key_service
        return TransferContext(service, self._caches[scope])

    def _describe_scope(self) -> str:
        """Return the service and the workspace in which the ids of uploads are valid."""
        if self.uses_access_key:
            return f"{self.endpoint or self.region or _DEFAULT_REGION}/{self.workspace_id}"
        base_url = self.base_url or from_env(_BASE_URL_VARIABLES, default="")()
        region = self.region or from_env("DASHSCOPE_REGION", default=_DEFAULT_REGION)()
        return f"{base_url or region}/{self.workspace_id}, by API key"

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
            self._get_context(),
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


def _check_record(record: Path) -> None:
    """Create the folder of the record, and check that the record can be written.

    Otherwise, files would be uploaded, and their ids would be lost.

    Raises:
        ValueError: The record cannot be written.
    """
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        with record.open("ab"):
            pass
    except OSError as exc:
        message = f"invalid `record`: expected a file that can be written, got {record}: {exc.strerror}"
        raise ValueError(message) from exc


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
