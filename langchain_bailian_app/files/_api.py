"""Requests for session files: leases for uploads, added files, and their status."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._settings.connection import check_id
from langchain_bailian_app.errors import BailianFileError, BailianServerError
from langchain_bailian_app.options._session_files import SessionFile, UploadTarget, parse_created_at

if TYPE_CHECKING:
    from langchain_bailian_app._transport.openapi_client import OpenApiClient
    from langchain_bailian_app.options._session_files import LocalFile

_CATEGORY_ID, _CATEGORY_TYPE = "default", "SESSION_FILE"  # the only values for session files (OpenAPI)
_PARSER = "AUTO_SELECT"  # required, although the parser for session files cannot be chosen


class SessionFileApi:
    """The actions of the OpenAPI for session files. Each blocks its thread.

    Args:
        client: Client of the OpenAPI.
        workspace_id: Workspace of the files.
        use_internal_endpoint: Whether to request leases for the internal network of the region.
    """

    def __init__(
        self, client: OpenApiClient, workspace_id: str, *, use_internal_endpoint: bool
    ) -> None:
        self._client = client
        self._workspace_id = workspace_id
        self._use_internal_endpoint = use_internal_endpoint

    def request_lease(self, file: LocalFile, md5: str) -> UploadTarget:
        """Request an upload lease for a file with this MD5 in hexadecimal.

        Raises:
            BailianError: The request failed, or the response contains no valid lease.
        """
        body = self._client.call(
            "apply_file_upload_lease",
            {"category_id": _CATEGORY_ID, "workspace_id": self._workspace_id},
            file_name=file.name,
            md_5=md5,
            size_in_bytes=str(file.size),
            category_type=_CATEGORY_TYPE,
            use_internal_endpoint=self._use_internal_endpoint or None,
        )
        data = body.data
        param = data and data.param
        if not (data and data.file_upload_lease_id and param and param.url):
            message = "ApplyFileUploadLease returned no lease"
            raise BailianServerError(message, request_id=body.request_id)
        return UploadTarget(
            data.file_upload_lease_id, param.method or "PUT", param.url, _parse_headers(param.headers)
        )

    def add_file(self, lease_id: str) -> str:
        """Add uploaded bytes as a session file, and return the id of the file.

        Raises:
            BailianError: The request failed, or the response contains no valid id.
        """
        body = self._client.call(
            "add_file",
            {"workspace_id": self._workspace_id},
            lease_id=lease_id,
            parser=_PARSER,
            category_id=_CATEGORY_ID,
            category_type=_CATEGORY_TYPE,
        )
        if not (body.data and body.data.file_id):
            message = "AddFile returned no file id"
            raise BailianServerError(message, request_id=body.request_id)
        try:
            return check_id(body.data.file_id, name="file_id")
        except ValueError as exc:
            # Not a `BailianServerError`, which is retried: the file was added.
            message = f"AddFile returned an invalid file id: {body.data.file_id!r}"
            raise BailianFileError(message, request_id=body.request_id) from exc

    def describe_file(self, file_id: str) -> SessionFile:
        """Query the status of a file.

        Raises:
            BailianError: The request failed, or the response contains no status.
        """
        path = {"workspace_id": self._workspace_id, "file_id": file_id}
        body = self._client.call("describe_file", path)
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
