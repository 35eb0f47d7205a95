"""Executor for one call of `BailianFiles`, which performs the upload actions in threads."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from langchain_bailian_app._settings.connection import check_id
from langchain_bailian_app._transport.file_storage import FileUploader
from langchain_bailian_app.errors import BailianFileError, BailianServerError
from langchain_bailian_app.files._actions import (
    Action,
    AddFile,
    AwaitSameUpload,
    ComputeMd5,
    DescribeFile,
    RequestLease,
    UploadBytes,
)
from langchain_bailian_app.files._scheduler import ScheduledAction, UploadScheduler
from langchain_bailian_app.options._session_files import SessionFile, UploadTarget, parse_created_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_bailian_app._transport.openapi_client import OpenApiClient
    from langchain_bailian_app.files._cache import UploadCache
    from langchain_bailian_app.files._progress import Progress
    from langchain_bailian_app.files._tasks import FileTask

_CATEGORY_ID, _CATEGORY_TYPE = "default", "SESSION_FILE"  # the only values for session files (OpenAPI)
_PARSER = "AUTO_SELECT"  # required, although the parser for session files cannot be chosen


class UploadContext(NamedTuple):
    """State that all calls of one `BailianFiles` object share."""

    api: OpenApiClient
    workspace_id: str
    cache: UploadCache
    use_internal_endpoint: bool
    """Whether to request leases for the internal network of the region."""


class UploadExecutor:
    """Context manager that holds the thread pool of one call. No action starts after its exit."""

    def __init__(
        self,
        context: UploadContext,
        tasks: Sequence[FileTask],
        progress: Progress,
        *,
        workers: int,
        lease_interval: float,
    ) -> None:
        self._context = context
        self._tasks = tasks
        self._progress = progress
        self._storage = FileUploader()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="bailian-files")
        self.scheduler = UploadScheduler(
            [task.iter_actions() for task in tasks],
            on_change=self._report_phase,
            lease_interval=lease_interval,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A request in flight continues in its thread, but its result is dropped.
        self._storage.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.scheduler.close()
        self._progress.close()

    def submit(self, scheduled: ScheduledAction) -> Future[Any]:
        """Start an action in a thread and return its future."""
        if isinstance(scheduled.action, AwaitSameUpload):
            return scheduled.action.future
        return self._pool.submit(self._perform, scheduled.action, scheduled.task_index)

    def _report_phase(self, task_index: int) -> None:
        self._progress.set_phase(task_index, self._tasks[task_index].phase)

    def _perform(self, action: Action, task_index: int) -> Any:
        match action:
            case ComputeMd5(file):
                return self._storage.compute_md5(file)
            case RequestLease():
                return self._request_lease(action)
            case UploadBytes(file, target):
                return self._storage.upload(
                    file, target, partial(self._progress.set_bytes_sent, task_index)
                )
            case AddFile():
                return self._add_file(action)
            case DescribeFile(file_id):
                return describe_file(self._context, file_id)
        raise AssertionError(action)

    def _request_lease(self, action: RequestLease) -> UploadTarget:
        body = self._context.api.call(
            "apply_file_upload_lease",
            {"category_id": _CATEGORY_ID, "workspace_id": self._context.workspace_id},
            file_name=action.file.name,
            md_5=action.md5,
            size_in_bytes=str(action.file.size),
            category_type=_CATEGORY_TYPE,
            use_internal_endpoint=self._context.use_internal_endpoint or None,
        )
        data = body.data
        param = data and data.param
        if not (data and data.file_upload_lease_id and param and param.url):
            message = "ApplyFileUploadLease returned no lease"
            raise BailianServerError(message, request_id=body.request_id)
        return UploadTarget(
            data.file_upload_lease_id, param.method or "PUT", param.url, _parse_headers(param.headers)
        )

    def _add_file(self, action: AddFile) -> str:
        body = self._context.api.call(
            "add_file",
            {"workspace_id": self._context.workspace_id},
            lease_id=action.lease_id,
            parser=_PARSER,
            category_id=_CATEGORY_ID,
            category_type=_CATEGORY_TYPE,
        )
        if not (body.data and body.data.file_id):
            message = "AddFile returned no file id"
            raise BailianServerError(message, request_id=body.request_id)
        try:
            file_id = check_id(body.data.file_id, name="file_id")
        except ValueError as exc:
            # Not a `BailianServerError`, which is retried: the file was added.
            message = f"AddFile returned an invalid file id: {body.data.file_id!r}"
            raise BailianFileError(message, request_id=body.request_id) from exc
        self._context.cache.store_file_id(action.key, file_id)
        return file_id


def describe_file(context: UploadContext, file_id: str) -> SessionFile:
    """Query the status of a file.

    Raises:
        BailianError: The request failed, or the response contains no status.
    """
    path = {"workspace_id": context.workspace_id, "file_id": file_id}
    body = context.api.call("describe_file", path)
    data = body.data
    if not (data and data.status):
        message = "DescribeFile returned no status"
        raise BailianServerError(message, request_id=body.request_id)
    return SessionFile(
        id=file_id,
        name=data.file_name or "",
        size=data.size_in_bytes or 0,
        status=data.status,
        created_at=parse_created_at(data.create_time),
        reason=data.parse_error_message or None,
    )


def _parse_headers(headers: Any) -> dict[str, str]:
    """Return the headers of a lease, which the service sends as an object or as JSON text."""
    if isinstance(headers, str):
        try:
            headers = json.loads(headers)
        except ValueError:
            headers = None
    if headers is None:
        return {}
    if not isinstance(headers, dict):
        message = f"invalid lease headers: expected an object, got {type(headers).__name__}"
        raise BailianServerError(message)
    return {name: "" if value is None else str(value) for name, value in headers.items()}
