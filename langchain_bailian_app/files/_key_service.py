"""Requests for session files with the API key, to the host of the workspace.

Field names and values are those of the official pages of 2026-11. What they leave open is accepted in
every form that a source shows: the MD5 in Base64 or hexadecimal, and the names of the statuses.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._request.service_request import ServiceRequest
from langchain_bailian_app._settings.connection import check_id
from langchain_bailian_app._transport.workspace_client import WorkspaceClient
from langchain_bailian_app.errors import (
    BailianError,
    BailianFileError,
    BailianRequestError,
    BailianServerError,
    BailianStreamError,
    BailianTimeoutError,
)
from langchain_bailian_app.files._service import (
    CATEGORY,
    CATEGORY_TYPE,
    PARSER,
    check_added_id,
    parse_headers,
)
from langchain_bailian_app.options._session_files import (
    PARSED_STATUS,
    SessionFile,
    UploadTarget,
    parse_created_at,
)

if TYPE_CHECKING:
    from langchain_bailian_app._settings.session_files import SessionFileFields
    from langchain_bailian_app._transport.workspace_client import WorkspaceReply
    from langchain_bailian_app.options._session_files import LocalFile

_TARGET_TYPES = ("oss.presignedurl", "http", "")
_MD5_PATTERN = re.compile("md5", re.IGNORECASE)


class KeyFileService:
    """`FileService` that sends the API key."""

    def __init__(self, fields: SessionFileFields) -> None:
        self._fields = fields
        self._sends_hexadecimal_md5 = False

    def request_lease(self, file: LocalFile, md5: str) -> UploadTarget:
        """Implement `FileService.request_lease`.

        The documentation disagrees about the form of the MD5: Base64 in the table, which known clients
        send, and hexadecimal in the example. If the service rejects the first, the second is sent.
        """
        if self._sends_hexadecimal_md5:
            return self._request_lease(file, md5)
        try:
            return self._request_lease(file, b64encode(bytes.fromhex(md5)).decode())
        except BailianRequestError as exc:
            if not _MD5_PATTERN.search(exc.message):
                raise
        target = self._request_lease(file, md5)
        self._sends_hexadecimal_md5 = True
        return target

    def _request_lease(self, file: LocalFile, md5: str) -> UploadTarget:
        body: dict[str, Any] = {
            "category": CATEGORY,
            "categoryType": CATEGORY_TYPE,
            "fileName": file.name,
            "sizeBytes": str(file.size),
            "contentMd5": md5,
        }
        if self._fields.use_internal_endpoint:
            body["useInternalEndpoint"] = True
        error: BailianError
        try:
            reply = self._call("applyFileUploadLease", body)
        except BailianStreamError as exc:
            # Its message may show the beginning of the response, which contains the signed URL.
            message = "the response to applyFileUploadLease was incomplete or is not JSON"
            error = BailianStreamError(message, request_id=exc.request_id)
        else:
            target_type = str(reply.data.get("type") or "")
            if target_type.lower() not in _TARGET_TYPES:
                message = f"unsupported upload target {target_type!r}: expected OSS.PreSignedUrl"
                raise BailianFileError(message, request_id=reply.request_id)
            target = _parse_target(reply)
            if target is not None:
                return target
            message = "applyFileUploadLease returned no lease"
            error = BailianServerError(message, request_id=reply.request_id)
        raise error

    def add_file(self, lease_id: str) -> str:
        """Implement `FileService.add_file`."""
        body = {
            "leaseId": lease_id,
            "category": CATEGORY,
            "categoryType": CATEGORY_TYPE,
            "parser": PARSER,
        }
        reply = self._call("addFile", body)
        return check_added_id(reply.data.get("fileId"), reply.request_id)

    def describe_file(self, file_id: str) -> SessionFile:
        """Implement `FileService.describe_file`."""
        file_id = check_id(file_id, name="file_id")
        reply = self._call("describeFile", {"fileId": file_id})
        data = reply.data
        if not data.get("status"):
            message = "describeFile returned no status"
            raise BailianServerError(message, request_id=reply.request_id)
        size = str(data.get("sizeBytes") or 0)
        return SessionFile(
            id=file_id,
            name=data.get("fileName") or "",
            size=int(size) if size.isdecimal() else 0,
            status=str(data["status"]),
            created_at=parse_created_at(data.get("uploadTime")),
            reason=data.get("parseErrorMessage") or None,
            ready_status=PARSED_STATUS,
        )

    def _call(self, action: str, body: dict[str, Any]) -> WorkspaceReply:
        client = WorkspaceClient(self._fields.make_connection())
        try:
            return client.call(ServiceRequest(f"connector/dash/{action}", body))
        except BailianTimeoutError as exc:
            # The field `timeout` of `BailianFiles` limits something else.
            message = exc.message.replace("(`timeout`)", "(`read_timeout`)")
            if message == exc.message:
                raise
            error = BailianTimeoutError(message, request_id=exc.request_id)
            error.is_retryable, error.__cause__ = exc.is_retryable, exc.__cause__
        raise error


def _parse_target(reply: WorkspaceReply) -> UploadTarget | None:
    """Return the target in the response to a lease request, or None if it is missing or invalid.

    No error is raised here, where variables hold the signed URL: error trackers record them.
    """
    param = reply.data.get("param")
    lease_id = reply.data.get("leaseId") or reply.data.get("fileUploadLeaseId")
    if not (lease_id and isinstance(param, dict) and param.get("url")):
        return None
    try:
        headers = parse_headers(param.get("headers"))
    except BailianServerError:
        return None
    return UploadTarget(str(lease_id), str(param.get("method") or "PUT"), str(param["url"]), headers)
