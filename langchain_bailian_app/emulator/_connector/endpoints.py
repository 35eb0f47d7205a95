"""Endpoints `applyFileUploadLease`, `addFile` and `describeFile` under `/api/v1/connector/dash`.

A rejected request is answered with HTTP 200 and the status in the body, except for a wrong key, for
throttling and for internal errors. The texts of the messages are unverified.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias
from urllib.parse import urlencode

from langchain_bailian_app.emulator._http.app import Endpoint
from langchain_bailian_app.emulator._http.errors import ErrorReply, RequestRefused, refuse
from langchain_bailian_app.emulator._http.exchange import HttpExchange
from langchain_bailian_app.emulator._openapi.endpoint import ConnectionDropped
from langchain_bailian_app.emulator._openapi.file_actions import (
    add_uploaded_file,
    find_described_file,
)
from langchain_bailian_app.emulator._state.session_files import FileStore, StoredFile

_Handler: TypeAlias = Callable[[Mapping[str, Any], HttpExchange], dict[str, Any]]
"""Function that receives the body and the exchange, and returns the field `data` of the reply."""

_PATH = "/connector/dash"
_NAME_LENGTHS = range(4, 129)  # as over the OpenAPI, like the size; these routes state no limits
_MAX_FILE_BYTES = 512 * 1024 * 1024
_HEX_MD5 = re.compile(r"[0-9a-fA-F]{32}")
_UPLOAD_CONTENT_TYPE = "text/plain"
_HTTP_STATUSES = (401, 429)  # other rejections have HTTP status 200
_FIRST_SERVER_ERROR = 500
_PARSING_STATUSES = {
    "IN_PARSE_QUEUE": "INIT",
    "PARSE_SUCCESS": "PARSING",
    "SAFE_CHECKING": "PARSING",
    "INDEX_BUILDING": "PARSING",
    "INDEX_BUILD_SUCCESS": "PARSING",
    "FILE_IS_READY": "PARSE_SUCCESS",
    "PARSE_FAILED": "FAIL",
    "SAFE_CHECK_FAILED": "FAIL",
    "INDEX_BUILDING_FAILED": "FAIL",
}
"""Status of the OpenAPI → status in the short list, if it differs."""


class ConnectorEndpoints:
    """The endpoints, on the same store of session files as the OpenAPI."""

    def __init__(self, store: FileStore) -> None:
        self._store = store

    def by_route(self) -> dict[tuple[str, str], Endpoint]:
        """Return the endpoints by method and path."""
        handlers: dict[str, _Handler] = {
            "applyFileUploadLease": self._apply_lease,
            "addFile": self._add_file,
            "describeFile": self._describe_file,
        }
        return {
            ("POST", f"{_PATH}/{action}"): self._build_endpoint(action, handler)
            for action, handler in handlers.items()
        }

    def _build_endpoint(self, action: str, handler: _Handler) -> Endpoint:
        async def respond(exchange: HttpExchange, _id: str) -> None:
            try:
                data = handler(exchange.json(), exchange)
            except ConnectionDropped:
                await exchange.abort()
                return
            except RequestRefused as refused:
                reply = refused.reply
                if reply.status in _HTTP_STATUSES or reply.status >= _FIRST_SERVER_ERROR:
                    raise
                rejection = {"code": reply.code, "message": reply.message}
                await exchange.send_json(self._wrap(rejection, action, exchange, reply.status))
                return
            success = {"code": "Success", "message": "", "data": data}
            await exchange.send_json(self._wrap(success, action, exchange, 200))

        return respond

    def _wrap(
        self, envelope: Mapping[str, Any], action: str, exchange: HttpExchange, status: int
    ) -> dict[str, Any]:
        name = self._store.connector.status_key
        if name == "examples":
            name = "status_code" if action == "addFile" else "status"
        return {**envelope, "requestId": exchange.request_id, name: status}

    def _apply_lease(self, body: Mapping[str, Any], exchange: HttpExchange) -> dict[str, Any]:
        _check_category(body)
        name, size = body.get("fileName"), body.get("sizeBytes")
        if not isinstance(name, str) or len(name) not in _NAME_LENGTHS or not name.isprintable():
            refuse("InvalidParameter", "fileName must have 4 to 128 printable characters.")
        if not isinstance(size, str) or not re.fullmatch(r"[0-9]{1,12}", size):
            refuse("InvalidParameter", "sizeBytes must be a string with a number.")
        if not 0 < int(size) <= _MAX_FILE_BYTES:
            refuse("InvalidParameter", f"sizeBytes must be between 1 and {_MAX_FILE_BYTES}.")
        md5 = self._read_md5(body.get("contentMd5"))
        try:
            lease = self._store.lease(_workspace(exchange), name, md5, int(size))
        except RequestRefused as refused:
            raise _without_openapi_headers(refused) from None
        lease.content_type = _UPLOAD_CONTENT_TYPE
        lease.by_api_key = True
        host = exchange.headers.get("host", "")
        query = urlencode({"Expires": int(lease.expires_at), "Signature": lease.extra})
        param = {
            "url": f"http://{host}/storage/{lease.token}?{query}",
            "method": "PUT",
            "headers": {"x-bailian-extra": lease.extra, "Content-Type": _UPLOAD_CONTENT_TYPE},
        }
        return {"type": "OSS.PreSignedUrl", "leaseId": lease.lease_id, "param": param}

    def _add_file(self, body: Mapping[str, Any], _exchange: HttpExchange) -> dict[str, Any]:
        _check_category(body)
        parser = body.get("parser")
        if not isinstance(parser, str) or not parser:
            refuse("InvalidParameter", "parser is required.")
        file = add_uploaded_file(self._store, str(body.get("leaseId")))
        return {"fileId": file.file_id, "parser": parser, "status": "SUCCESS"}

    def _describe_file(self, body: Mapping[str, Any], exchange: HttpExchange) -> dict[str, Any]:
        file = find_described_file(self._store, _workspace(exchange), str(body.get("fileId")))
        return {
            "fileId": file.file_id,
            "status": self._status_of(file),
            "fileName": file.name,
            "fileType": file.name.rpartition(".")[2],
            "parser": "DOCMIND_DIGITAL",
            "sizeBytes": file.size,
            "uploadTime": file.created,
            "category": "cate_emulator",
        }

    def _status_of(self, file: StoredFile) -> str:
        status = self._store.status_of(file)
        if self._store.connector.states == "long":
            return status
        if status == "FILE_EXPIRED":  # not in the short list
            refuse("NotFound", f"The file {file.file_id} does not exist.")
        return _PARSING_STATUSES.get(status, status)

    def _read_md5(self, value: Any) -> str:
        """Return the MD5 of a request in hexadecimal.

        Raises:
            RequestRefused: It is not in the form that this emulator accepts.
        """
        text = value if isinstance(value, str) else ""
        if self._store.connector.md5 == "hex":
            if not _HEX_MD5.fullmatch(text):
                _refuse_md5("hexadecimal digits")
            return text.lower()
        try:
            digest = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            digest = b""
        if len(digest) != 16:  # noqa: PLR2004 - the length of an MD5
            _refuse_md5("Base64")
        return digest.hex()


def _refuse_md5(form: str) -> NoReturn:
    refuse("InvalidParameter", f"contentMd5 must be an MD5 in {form}.")


def _check_category(body: Mapping[str, Any]) -> None:
    if body.get("category") != "default" or body.get("categoryType") != "SESSION_FILE":
        refuse("InvalidParameter", 'categoryType must be SESSION_FILE, and category must be "default".')


def _workspace(exchange: HttpExchange) -> str:
    """Return the workspace, which is part of the host of the service; here, a header names it."""
    return exchange.headers.get("x-dashscope-workspace", "")


def _without_openapi_headers(refused: RequestRefused) -> RequestRefused:
    """Return the same rejection without the header with which the OpenAPI asks for a pause."""
    return RequestRefused(ErrorReply(refused.reply.status, refused.reply.code, refused.reply.message))
