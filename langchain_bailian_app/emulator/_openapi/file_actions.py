"""Actions for session files, and the storage endpoint to which they are uploaded."""

import logging
import re
from typing import Any
from urllib.parse import urlencode
from xml.sax.saxutils import escape

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from langchain_bailian_app.emulator._http.errors import refuse
from langchain_bailian_app.emulator._http.recorder import REDACTED, record_request
from langchain_bailian_app.emulator._openapi.endpoint import (
    ConnectionDropped,
    OpenApiRequest,
    OpenApiRouter,
    parse_count,
)
from langchain_bailian_app.emulator._state.session_files import FileStore, Lease, StoredFile

logger = logging.getLogger("langchain_bailian_app.emulator")

_NAME_LENGTHS = range(4, 129)
_MD5 = re.compile(r"[0-9a-fA-F]{32}")
_MAX_FILE_BYTES = 512 * 1024 * 1024


class FileActions:
    """Actions on a store of session files: get a lease, add a file, query its status."""

    def __init__(self, store: FileStore) -> None:
        self._store = store

    def build_routes(self, router: OpenApiRouter) -> list[Route]:
        """Build the routes of the actions and of the storage."""
        return [
            router.route("POST", "/{workspace}/datacenter/category/{category}", self._apply_lease),
            router.route("PUT", "/{workspace}/datacenter/file", self._add_file),
            router.route("GET", "/{workspace}/datacenter/file/{file_id}/", self._describe_file),
            Route("/storage/{token}", _StorageEndpoint(self._store, router), methods=["PUT"]),
        ]

    def _apply_lease(self, request: OpenApiRequest) -> dict[str, Any]:
        params = request.parameters
        _check_category(request.path_params["category"], params)
        name, size = params.get("FileName", ""), params.get("SizeInBytes", "")
        if len(name) not in _NAME_LENGTHS:
            refuse("InvalidParameter", "FileName must have 4 to 128 characters.")
        if not name.isprintable():
            refuse("InvalidParameter", "FileName must not contain control characters.")
        if not _MD5.fullmatch(params.get("Md5", "")):
            refuse("InvalidParameter", "Md5 must have 32 hexadecimal digits.")
        if not 0 < parse_count(size) <= _MAX_FILE_BYTES:
            refuse("InvalidParameter", f"SizeInBytes must be between 1 and {_MAX_FILE_BYTES}.")
        lease = self._store.lease(
            request.path_params["workspace"], name, params["Md5"].lower(), parse_count(size)
        )
        query = urlencode({"Expires": int(lease.expires_at), "Signature": lease.extra})
        param = {
            "Method": "PUT",
            "Url": f"http://{request.host}/storage/{lease.token}?{query}",
            "Headers": {"X-bailian-extra": lease.extra, "Content-Type": lease.content_type},
        }
        data = {"FileUploadLeaseId": lease.lease_id, "Type": "HTTP", "Param": param}
        return _build_response(data)

    def _add_file(self, request: OpenApiRequest) -> dict[str, Any]:
        params = request.parameters
        _check_category(params.get("CategoryId", ""), params)
        if not params.get("Parser"):
            refuse("InvalidParameter", "Parser is required.")
        file = add_uploaded_file(self._store, params.get("LeaseId", ""))
        # Only this action returns `Success` as a string.
        return _build_response({"FileId": file.file_id, "Parser": params["Parser"]}, success="true")

    def _describe_file(self, request: OpenApiRequest) -> dict[str, Any]:
        path_params = request.path_params
        file = find_described_file(self._store, path_params["workspace"], path_params["file_id"])
        status = self._store.status_of(file)
        failed = status.endswith("FAILED")
        data = {
            "FileId": file.file_id,
            "FileName": file.name,
            "FileType": file.name.rpartition(".")[2],
            "Status": status,
            "SizeInBytes": file.size,
            "Parser": "DASHSCOPE_DOCMIND",
            "CategoryId": "default",
            "CreateTime": file.created,
            "Tags": [],
            "ParseErrorMessage": file.reason if failed else "",
        }
        return _build_response(data)


def add_uploaded_file(store: FileStore, lease_id: str) -> StoredFile:
    """Add the upload of a lease as a file, possibly with a fault.

    Raises:
        RequestRefused: The lease cannot be used, or a fault occurs.
        ConnectionDropped: The file was added, but the reply is lost.
    """
    fault = store.draw("add")
    if fault == "add_error":
        refuse("InternalError")
    if fault == "add_lease_expired" and lease_id in store.leases:
        store.leases[lease_id].used = True
    file = store.add(lease_id)
    if fault == "add_reply_lost":
        raise ConnectionDropped
    return file


def find_described_file(store: FileStore, workspace: str, file_id: str) -> StoredFile:
    """Return the file whose status is queried, possibly with a fault.

    Raises:
        RequestRefused: The workspace has no such file, or a fault occurs.
        ConnectionDropped: The connection is dropped.
    """
    fault = store.draw("describe")
    if fault == "describe_error":
        refuse("InternalError")
    if fault == "describe_cut":
        raise ConnectionDropped
    return store.find(workspace, file_id)


class _StorageEndpoint:
    """Endpoint for uploads that behaves like Alibaba's object storage with a presigned URL."""

    def __init__(self, store: FileStore, router: OpenApiRouter) -> None:
        self._store = store
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        headers = dict(request.headers.items())
        recorded_headers = headers | (
            {"x-bailian-extra": REDACTED} if "x-bailian-extra" in headers else {}
        )
        record = record_request("PUT", "/storage/" + REDACTED, recorded_headers.items(), b"")
        self._router.requests.append(record)
        lease = self._store.find_lease(scope["path_params"]["token"])
        fault = self._store.draw("upload")
        response = self._check_upload(lease, request, fault)
        if lease is not None and response is None:
            record.size = await self._receive_body(request, lease, cut_halfway=fault == "upload_cut")
            if record.size < 0:
                record.end(finished=False)
                self._router.find_connection(scope["client"]).close()
                while (await receive())["type"] != "http.disconnect":
                    pass
                return
            response = Response(status_code=200)
        if response is not None:
            record.status = response.status_code
            await response(scope, receive, send)
        record.end(finished=True)
        logger.info("PUT %s -> %s, %d bytes", record.path, record.status, record.size)

    def _check_upload(
        self, lease: Lease | None, request: Request, fault: str | None
    ) -> Response | None:
        if lease is None:
            return _xml_error(403, "AccessDenied", "Request has expired.")
        if fault == "upload_error":
            return _xml_error(503, "ServiceUnavailable", "Please try again later.")
        # The signature covers the headers of the lease.
        signed = request.headers.get("x-bailian-extra") == lease.extra
        if not signed or request.headers.get("content-type") != lease.content_type:
            return _xml_error(
                403, "SignatureDoesNotMatch", "The headers do not match those of the lease."
            )
        if request.headers.get("content-length") != str(lease.size):
            return _xml_error(
                411, "MissingContentLength", "The length does not match that of the lease."
            )
        return None

    async def _receive_body(self, request: Request, lease: Lease, *, cut_halfway: bool) -> int:
        """Receive the body; return its size in bytes, or -1 if it was not received completely."""
        receiver = self._store.start_upload(lease)
        complete, size = False, 0
        try:
            async for chunk in request.stream():
                receiver.write(chunk)
                size += len(chunk)
                if cut_halfway and size * 2 >= lease.size:
                    return -1
            complete = True
        except ClientDisconnect:
            return -1
        finally:
            receiver.close(complete=complete)
        return size


def _check_category(category: str, params: Any) -> None:
    if category != "default" or params.get("CategoryType") != "SESSION_FILE":
        refuse(
            "InvalidParameter", 'CategoryType must be SESSION_FILE, and CategoryId must be "default".'
        )


def _build_response(data: dict[str, Any], *, success: bool | str = True) -> dict[str, Any]:
    return {"Code": "Success", "Data": data, "Message": "", "Status": "200", "Success": success}


def _xml_error(status: int, code: str, message: str) -> Response:
    body = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return Response(body, status, media_type="application/xml")
