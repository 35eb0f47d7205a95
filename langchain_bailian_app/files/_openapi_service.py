"""Requests for session files by AccessKey, over Bailian's OpenAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_bailian_app._transport.openapi_client import OpenApiClient
from langchain_bailian_app.errors import BailianServerError
from langchain_bailian_app.files._service import (
    CATEGORY,
    CATEGORY_TYPE,
    PARSER,
    check_added_id,
    parse_headers,
)
from langchain_bailian_app.options._session_files import SessionFile, UploadTarget, parse_created_at

if TYPE_CHECKING:
    from langchain_bailian_app._settings.session_files import SessionFileFields
    from langchain_bailian_app.options._session_files import LocalFile


class OpenApiFileService:
    """`FileService` that calls the official client."""

    def __init__(self, fields: SessionFileFields) -> None:
        self._api = OpenApiClient(fields)
        self._fields = fields

    def request_lease(self, file: LocalFile, md5: str) -> UploadTarget:
        """Implement `FileService.request_lease`."""
        body = self._api.call(
            "apply_file_upload_lease",
            {"category_id": CATEGORY, "workspace_id": self._fields.workspace_id},
            file_name=file.name,
            md_5=md5,
            size_in_bytes=str(file.size),
            category_type=CATEGORY_TYPE,
            use_internal_endpoint=self._fields.use_internal_endpoint or None,
        )
        data = body.data
        param = data and data.param
        if not (data and data.file_upload_lease_id and param and param.url):
            message = "ApplyFileUploadLease returned no lease"
            raise BailianServerError(message, request_id=body.request_id)
        return UploadTarget(
            data.file_upload_lease_id, param.method or "PUT", param.url, parse_headers(param.headers)
        )

    def add_file(self, lease_id: str) -> str:
        """Implement `FileService.add_file`."""
        body = self._api.call(
            "add_file",
            {"workspace_id": self._fields.workspace_id},
            lease_id=lease_id,
            parser=PARSER,
            category_id=CATEGORY,
            category_type=CATEGORY_TYPE,
        )
        return check_added_id(body.data and body.data.file_id, body.request_id)

    def describe_file(self, file_id: str) -> SessionFile:
        """Implement `FileService.describe_file`."""
        path = {"workspace_id": self._fields.workspace_id, "file_id": file_id}
        body = self._api.call("describe_file", path)
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
