"""One call of `BailianFiles`: its threads, and what each step of an upload is in them."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from langchain_bailian_app._transport.storage import Storage
from langchain_bailian_app.errors import BailianServerError
from langchain_bailian_app.files._actions import (
    AddFile,
    Describe,
    Fingerprint,
    Join,
    Put,
    Step,
    TakeLease,
)
from langchain_bailian_app.files._scheduler import Fleet, Job
from langchain_bailian_app.options._session_files import SessionFile, Target, read_created

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_bailian_app._transport.openapi import OpenApi
    from langchain_bailian_app.files._cache import KnownFiles
    from langchain_bailian_app.files._progress import Progress
    from langchain_bailian_app.files._tasks import Way

_CATEGORY, _TYPE = "default", "SESSION_FILE"  # the only ones for session files (OpenAPI)
_PARSER = "AUTO_SELECT"  # a parser must be named, but that of session files cannot be chosen


class Office(NamedTuple):
    """What all calls of one `BailianFiles` share."""

    api: OpenApi
    workspace_id: str
    known: KnownFiles
    internal: bool
    """Whether leases are for the internal network of the region."""


class Trip:
    """The threads of one call; a context, at whose end nothing of it goes on."""

    def __init__(
        self,
        office: Office,
        ways: Sequence[Way],
        progress: Progress,
        *,
        workers: int,
        lease_gap: float,
    ) -> None:
        self._office = office
        self._ways = ways
        self._progress = progress
        self._storage = Storage()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="bailian-files")
        self.fleet = Fleet([way.steps() for way in ways], notice=self._moved, lease_gap=lease_gap)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A request that is on its way ends in its thread; what it brings is dropped.
        self._storage.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.fleet.close()
        self._progress.close()

    def begin(self, job: Job) -> Future[Any]:
        """Begin a step in a thread."""
        if isinstance(job.step, Join):
            return job.step.future
        return self._pool.submit(self._do, job.step, job.number)

    def _moved(self, number: int) -> None:
        self._progress.moved(number, self._ways[number].phase)

    def _do(self, step: Step, number: int) -> Any:
        match step:
            case Fingerprint(file):
                return self._storage.md5_of(file)
            case TakeLease():
                return self._lease(step)
            case Put(file, target):
                return self._storage.put(file, target, partial(self._progress.sent, number))
            case AddFile():
                return self._added(step)
            case Describe(file_id):
                return described(self._office, file_id)
        raise AssertionError(step)

    def _lease(self, step: TakeLease) -> Target:
        body = self._office.api.call(
            "apply_file_upload_lease",
            _CATEGORY,
            self._office.workspace_id,
            file_name=step.file.name,
            md_5=step.md5,
            size_in_bytes=str(step.file.size),
            category_type=_TYPE,
            use_internal_endpoint=self._office.internal or None,
        )
        data = body.data
        param = data and data.param
        if not (data and data.file_upload_lease_id and param and param.url):
            message = "the reply to ApplyFileUploadLease has no lease in it"
            raise BailianServerError(message, request_id=body.request_id)
        return Target(
            data.file_upload_lease_id, param.method or "PUT", param.url, _headers(param.headers)
        )

    def _added(self, step: AddFile) -> str:
        body = self._office.api.call(
            "add_file",
            self._office.workspace_id,
            lease_id=step.lease_id,
            parser=_PARSER,
            category_id=_CATEGORY,
            category_type=_TYPE,
        )
        if not (body.data and body.data.file_id):
            message = "the reply to AddFile has no id of a file in it"
            raise BailianServerError(message, request_id=body.request_id)
        file_id: str = body.data.file_id
        self._office.known.remember(step.key, file_id)
        return file_id


def described(office: Office, file_id: str) -> SessionFile:
    """Ask the service about a file.

    Raises:
        BailianError: It does not say.
    """
    body = office.api.call("describe_file", office.workspace_id, file_id)
    data = body.data
    if not (data and data.status):
        message = "the reply to DescribeFile has no status in it"
        raise BailianServerError(message, request_id=body.request_id)
    return SessionFile(
        id=file_id,
        name=data.file_name or "",
        size=data.size_in_bytes or 0,
        status=data.status,
        created_at=read_created(data.create_time),
        reason=data.parse_error_message or None,
    )


def _headers(headers: Any) -> dict[str, str]:
    """Return the headers of a lease, which come as an object or as the text of one."""
    if isinstance(headers, str):
        try:
            headers = json.loads(headers)
        except ValueError:
            headers = None
    if headers is None:
        return {}
    if not isinstance(headers, dict):
        message = f"the headers of a lease are a {type(headers).__name__}, which cannot be read"
        raise BailianServerError(message)
    return {name: "" if value is None else str(value) for name, value in headers.items()}
