"""The actions for session files, and the storage that their leases lead to."""

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
from langchain_bailian_app.emulator._http.recorder import REMOVED, record_of
from langchain_bailian_app.emulator._openapi.endpoint import OpenApi, OpenApiCall, ReplyLost
from langchain_bailian_app.emulator._state.session_files import FileStore, Lease

logger = logging.getLogger("langchain_bailian_app.emulator")

_NAME = range(4, 129)
_MD5 = re.compile(r"[0-9a-fA-F]{32}")
_LARGEST = 512 * 1024 * 1024
_CONTENT_TYPE = ""  # "may be empty", says the client; then it is to be sent empty


class FileCalls:
    """Leases, uploads, files and their statuses over a store."""

    def __init__(self, store: FileStore) -> None:
        self._store = store

    def routes(self, openapi: OpenApi) -> list[Route]:
        """The routes of the actions, and of the storage."""
        return [
            openapi.route("POST", "/{workspace}/datacenter/category/{category}", self._lease),
            openapi.route("PUT", "/{workspace}/datacenter/file", self._add),
            openapi.route("GET", "/{workspace}/datacenter/file/{file_id}/", self._describe),
            Route("/storage/{token}", _Storage(self._store, openapi), methods=["PUT"]),
        ]

    def _lease(self, call: OpenApiCall) -> dict[str, Any]:
        given = call.parameters
        _check_category(call.ids["category"], given)
        name, size = given.get("FileName", ""), given.get("SizeInBytes", "")
        if len(name) not in _NAME:
            refuse("InvalidParameter", "FileName must have 4 to 128 characters.")
        if not _MD5.fullmatch(given.get("Md5", "")):
            refuse("InvalidParameter", "Md5 must have 32 hexadecimal digits.")
        if not size.isdecimal() or not 0 < int(size) <= _LARGEST:
            refuse("InvalidParameter", f"SizeInBytes must be between 1 and {_LARGEST}.")
        lease = self._store.lease(call.ids["workspace"], name, given["Md5"].lower(), int(size))
        query = urlencode({"Expires": int(lease.until), "Signature": lease.extra})
        param = {
            "Method": "PUT",
            "Url": f"http://{call.host}/storage/{lease.token}?{query}",
            "Headers": {"X-bailian-extra": lease.extra, "Content-Type": _CONTENT_TYPE},
        }
        data = {"FileUploadLeaseId": lease.lease_id, "Type": "HTTP", "Param": param}
        return _envelope(data)

    def _add(self, call: OpenApiCall) -> dict[str, Any]:
        given = call.parameters
        _check_category(given.get("CategoryId", ""), given)
        if not given.get("Parser"):
            refuse("InvalidParameter", "Parser must be given.")
        fault = self._store.draw("add")
        if fault == "add_error":
            refuse("InternalError")
        lease_id = given.get("LeaseId", "")
        if fault == "add_lease_expired" and lease_id in self._store.leases:
            self._store.leases[lease_id].used = True
        file = self._store.add(lease_id)
        if fault == "add_reply_lost":
            raise ReplyLost
        # This action alone tells of success in words.
        return _envelope({"FileId": file.file_id, "Parser": given["Parser"]}, success="true")

    def _describe(self, call: OpenApiCall) -> dict[str, Any]:
        fault = self._store.draw("describe")
        if fault == "describe_error":
            refuse("InternalError")
        if fault == "describe_cut":
            raise ReplyLost
        file = self._store.find(call.ids["workspace"], call.ids["file_id"])
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
        return _envelope(data)


class _Storage:
    """Takes uploads, as Alibaba's object storage does for a URL that was signed before."""

    def __init__(self, store: FileStore, openapi: OpenApi) -> None:
        self._store = store
        self._openapi = openapi

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        headers = dict(request.headers.items())
        shown = headers | ({"x-bailian-extra": REMOVED} if "x-bailian-extra" in headers else {})
        record = record_of("PUT", "/storage/" + REMOVED, shown.items(), b"")
        self._openapi.requests.append(record)
        lease = self._store.lease_for(scope["path_params"]["token"])
        fault = self._store.draw("upload")
        reply = self._refusal(lease, request, fault)
        if lease is not None and reply is None:
            record.size = await self._receive(request, lease, cut=fault == "upload_cut")
            if record.size < 0:
                record.end(finished=False)
                self._openapi.drop(scope["client"])
                while (await receive())["type"] != "http.disconnect":
                    pass
                return
            reply = Response(status_code=200)
        if reply is not None:
            record.status = reply.status_code
            await reply(scope, receive, send)
        record.end(finished=True)
        logger.info("PUT %s -> %s, %d bytes", record.path, record.status, record.size)

    def _refusal(self, lease: Lease | None, request: Request, fault: str | None) -> Response | None:
        if lease is None:
            return _xml(403, "AccessDenied", "Request has expired.")
        if fault == "upload_error":
            return _xml(503, "ServiceUnavailable", "Please try again later.")
        # What the headers of the lease are not is not what was signed.
        signed = request.headers.get("x-bailian-extra") == lease.extra
        if not signed or request.headers.get("content-type") != _CONTENT_TYPE:
            return _xml(403, "SignatureDoesNotMatch", "The headers are not those of the lease.")
        if request.headers.get("content-length") != str(lease.size):
            return _xml(411, "MissingContentLength", "The length is not that of the lease.")
        return None

    async def _receive(self, request: Request, lease: Lease, *, cut: bool) -> int:
        """Take the bytes; return how many there were, or -1 if they did not come to their end."""
        receiver = self._store.receiver(lease)
        whole, size = False, 0
        try:
            async for piece in request.stream():
                receiver.take(piece)
                size += len(piece)
                if cut and size * 2 >= lease.size:
                    return -1
            whole = True
        except ClientDisconnect:
            return -1
        finally:
            receiver.end(whole=whole)
        return size


def _check_category(category: str, given: Any) -> None:
    if category != "default" or given.get("CategoryType") != "SESSION_FILE":
        refuse("InvalidParameter", "CategoryType must be SESSION_FILE, and CategoryId default.")


def _envelope(data: dict[str, Any], *, success: bool | str = True) -> dict[str, Any]:
    return {"Code": "Success", "Data": data, "Message": "", "Status": "200", "Success": success}


def _xml(status: int, code: str, message: str) -> Response:
    body = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return Response(body, status, media_type="application/xml")
