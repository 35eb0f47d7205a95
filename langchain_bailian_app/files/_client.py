"""`BailianFiles`: session files (会话文件), uploaded for questions in a conversation."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from pydantic import Field, PrivateAttr

from langchain_bailian_app._settings.openapi import OpenApiFields
from langchain_bailian_app._transport.openapi import OpenApi
from langchain_bailian_app._transport.storage import local_files
from langchain_bailian_app.errors import BailianError, BailianFileError, BailianUploadError
from langchain_bailian_app.files._cache import KnownFiles
from langchain_bailian_app.files._executor import Office, Trip, described
from langchain_bailian_app.files._progress import Progress
from langchain_bailian_app.files._scheduler import arun, run
from langchain_bailian_app.files._tasks import Deadline, Upload, Waiting, Way
from langchain_bailian_app.options._session_files import LocalFile, SessionFile

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

Paths: TypeAlias = "str | os.PathLike[str] | Iterable[str | os.PathLike[str]]"
Files: TypeAlias = "str | SessionFile | Iterable[str | SessionFile]"
_MOST_SHOWN = 10


class BailianFiles(OpenApiFields):
    """Uploads files, waits until they are ready, and says how they are.

    Any number of threads and event loops may share one. It remembers what it has uploaded: the same
    bytes with the same ending go up once, also when two calls have them at the same time.

    Setup:
        ```bash
        pip install 'langchain-bailian-app[openapi]'  # and an AccessKey, besides the API key:
        export ALIBABA_CLOUD_ACCESS_KEY_ID=... ALIBABA_CLOUD_ACCESS_KEY_SECRET=...
        ```

    Instantiate:
        ```python
        from pathlib import Path
        from langchain_bailian_app import BailianAppChatModel, RagOptions
        from langchain_bailian_app.files import BailianFiles

        files = BailianFiles()  # or workspace_id="…"; by default DASHSCOPE_WORKSPACE
        model = BailianAppChatModel(files=files)  # would also upload data that stands in messages
        ```

    Use:
        ```python
        Path("notice.md").write_text("本店周一休息。", "utf-8")
        notice = files.upload("notice.md")  # waits until it is ready; `await files.aupload(…)`
        model.invoke("周一休息吗？", rag_options=RagOptions(session_file_ids=notice))
        ```
    """

    concurrency: int = Field(default=8, ge=1)
    """How many requests and uploads of a call there are at once. Files that only wait take no place."""

    timeout: float = Field(default=1800.0, gt=0)
    """Seconds for a call, from its first byte until all files are ready."""

    poll_interval: float = Field(default=1.0, gt=0)
    """Seconds between the first two looks at a file that is being parsed; later pauses grow to 10.

    A step that failed is repeated after a quarter of it, then after twice as long each time.
    """

    leases_per_second: float = Field(default=10.0, gt=0)
    """How many uploads a call begins in a second. The service allows an account 10 (OpenAPI); what it
    refuses for coming too often is tried again."""

    progress: bool | None = None
    """Show progress bars. Default: in a notebook and at a terminal."""

    record: Path | None = None
    """A file in which ids of uploads are written down, a line each, so that a process that is started
    again does not upload again what is still there. It holds MD5 sums and ids, no contents, no keys."""

    use_internal_endpoint: bool = False
    """Upload within the internal network of the region; only for workspaces with secure storage."""

    _office: Any = PrivateAttr(default=None)

    def model_post_init(self, context: Any, /) -> None:
        """Prepare what all calls share; nothing is sent, and no client is made."""
        super().model_post_init(context)
        place = f"{self.endpoint or self.region}/{self.workspace_id}"
        self._office = Office(
            api=OpenApi(self),
            workspace_id=self.workspace_id,
            known=KnownFiles(self.record, place),
            internal=self.use_internal_endpoint,
        )

    def upload(
        self, paths: Paths, *, timeout: float | None = None, progress: bool | None = None
    ) -> list[SessionFile]:
        """Upload files, and wait until they are ready.

        Types and sizes are checked before anything is sent: documents up to 100 MB, images up to 20,
        audio and video up to 512 (official guide). Files are read in pieces.

        Args:
            paths: One path or several.
            timeout: Seconds for the call. Default: the field.
            progress: Show progress bars. Default: the field.

        Returns:
            A file for each path, in their order. A call of an application takes at most 10.

        Raises:
            ValueError: A file does not exist, or is not such as the service takes; nothing was sent.
            BailianFileError: One path was given, and its file did not become ready.
            BailianUploadError: Several were, and some did not: it has them, and those that did.
            BailianError: No request is possible, for lack of an AccessKey or of permissions.
        """
        return self.upload_local(local_files(paths), timeout=timeout, progress=progress)

    async def aupload(
        self,
        paths: Paths,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # a setting of the service, not of a task
        progress: bool | None = None,
    ) -> list[SessionFile]:
        """Do what `upload` does, on the running event loop, which is never blocked."""
        local = await asyncio.to_thread(local_files, paths)
        return await self.aupload_local(local, timeout=timeout, progress=progress)

    def wait(
        self, files: Files, *, timeout: float | None = None, progress: bool | None = None
    ) -> list[SessionFile]:
        """Wait until files are ready that were uploaded before.

        Args:
            files: Ids or files, one or several.
            timeout: Seconds for the call. Default: the field.
            progress: Show progress bars. Default: the field.

        Returns:
            The files, in their order.

        Raises:
            BailianFileError: One file was given, and failed, has expired, or was not ready in time.
            BailianUploadError: Several were, and some did: it has them, and those that are ready.
        """
        names, ways = self._waiting(files, timeout)
        with self._trip(ways, names, [0] * len(names), progress) as trip:
            run(trip.fleet, trip.begin, workers=self.concurrency)
        return _result(names, trip.fleet.outcomes)

    async def await_(
        self,
        files: Files,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # as above
        progress: bool | None = None,
    ) -> list[SessionFile]:
        """Do what `wait` does, on the running event loop."""
        names, ways = self._waiting(files, timeout)
        with self._trip(ways, names, [0] * len(names), progress) as trip:
            await arun(trip.fleet, trip.begin, workers=self.concurrency)
        return _result(names, trip.fleet.outcomes)

    def status(self, file: str | SessionFile) -> SessionFile:
        """Return what the service says of a file now.

        Args:
            file: Its id, or what was said of it before.

        Raises:
            BailianNotFoundError: The service does not know it.
            BailianError: The service does not answer.
        """
        return described(self._office, file if isinstance(file, str) else file.id)

    async def astatus(self, file: str | SessionFile) -> SessionFile:
        """Do what `status` does, without blocking the event loop."""
        return await asyncio.to_thread(self.status, file)

    def upload_local(
        self,
        files: Sequence[LocalFile],
        *,
        timeout: float | None = None,
        progress: bool | None = None,
    ) -> list[SessionFile]:
        """Upload files or bytes that were checked; see `upload`."""
        if not files:
            return []
        names, sizes = [file.name for file in files], [file.size for file in files]
        with self._trip(self._uploads(files, timeout), names, sizes, progress) as trip:
            run(trip.fleet, trip.begin, workers=self.concurrency)
        return _result(names, trip.fleet.outcomes)

    async def aupload_local(
        self,
        files: Sequence[LocalFile],
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # as above
        progress: bool | None = None,
    ) -> list[SessionFile]:
        """Do what `upload_local` does, on the running event loop."""
        if not files:
            return []
        names, sizes = [file.name for file in files], [file.size for file in files]
        with self._trip(self._uploads(files, timeout), names, sizes, progress) as trip:
            await arun(trip.fleet, trip.begin, workers=self.concurrency)
        return _result(names, trip.fleet.outcomes)

    def _trip(self, ways: list[Way], names: list[str], sizes: list[int], progress: bool | None) -> Trip:
        shown = self.progress if progress is None else progress
        return Trip(
            self._office,
            ways,
            Progress(names, sizes, shown=shown),
            workers=self.concurrency,
            lease_gap=1 / self.leases_per_second,
        )

    def _uploads(self, files: Sequence[LocalFile], timeout: float | None) -> list[Way]:
        deadline = self._deadline(timeout)
        return [Upload(file, self._office.known, deadline) for file in files]

    def _waiting(self, files: Files, timeout: float | None) -> tuple[list[str], list[Way]]:
        given = [files] if isinstance(files, str | SessionFile) else list(files)
        ids = [file if isinstance(file, str) else file.id for file in given]
        deadline = self._deadline(timeout)
        return ids, [Waiting(file_id, deadline) for file_id in ids]

    def _deadline(self, timeout: float | None) -> Deadline:
        seconds = self.timeout if timeout is None else timeout
        return Deadline.after(seconds, monotonic, self.poll_interval)

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        self.model_post_init(None)

    def __copy__(self) -> Self:
        """Return this object: it may be shared, and a copy would upload the same bytes again."""
        return self

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Return this object, as above."""
        return self


def _result(names: list[str], outcomes: list[Any]) -> list[SessionFile]:
    """Return the files, if all are ready.

    Raises:
        BailianFileError: There is one, and it is not.
        BailianUploadError: There are several, and some are not.
    """
    ready = [outcome for outcome in outcomes if isinstance(outcome, SessionFile)]
    failed = [
        _named(name, outcome)
        for name, outcome in zip(names, outcomes, strict=True)
        if not isinstance(outcome, SessionFile)
    ]
    if not failed:
        return ready
    if len(names) == 1:
        raise failed[0]
    shown = "; ".join(error.message for error in failed[:_MOST_SHOWN])
    more = f"; and {len(failed) - _MOST_SHOWN} more" if len(failed) > _MOST_SHOWN else ""
    error = BailianUploadError(f"{len(failed)} of {len(names)} files are not ready: {shown}{more}")
    error.files, error.errors = ready, failed
    raise error


def _named(name: str, cause: BailianError | OSError) -> BailianFileError:
    """Return the error of one file; another one with the same bytes has its own."""
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
