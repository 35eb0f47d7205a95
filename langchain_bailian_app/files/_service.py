"""The requests of an upload, which both routes implement: by API key and by AccessKey."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

from langchain_bailian_app._settings.connection import check_id
from langchain_bailian_app.errors import BailianFileError, BailianServerError

if TYPE_CHECKING:
    from langchain_bailian_app.options._session_files import LocalFile, SessionFile, UploadTarget

CATEGORY, CATEGORY_TYPE = "default", "SESSION_FILE"  # the only values for session files
PARSER = "AUTO_SELECT"  # required, although the parser for session files cannot be chosen


class FileService(Protocol):
    """Requests for session files. All methods wait, so they are called in threads."""

    def request_lease(self, file: LocalFile, md5: str) -> UploadTarget:
        """Request an upload lease.

        Args:
            file: The file to upload.
            md5: Its MD5 in hexadecimal.

        Raises:
            BailianError: The request failed, or the response contains no lease.
        """
        ...

    def add_file(self, lease_id: str) -> str:
        """Add the uploaded bytes as a session file, and return the id of the file.

        Raises:
            BailianError: The request failed, or the response contains no valid id.
        """
        ...

    def describe_file(self, file_id: str) -> SessionFile:
        """Query the status of a file.

        Raises:
            ValueError: The id is invalid; nothing was sent.
            BailianError: The request failed, or the response contains no status.
        """
        ...


def check_added_id(file_id: Any, request_id: str | None) -> str:
    """Return the id in a response to `AddFile`.

    Raises:
        BailianServerError: There is no id.
        BailianFileError: The id is invalid. This error is not retried: the file was added.
    """
    if not file_id:
        message = "AddFile returned no file id"
        raise BailianServerError(message, request_id=request_id)
    try:
        return check_id(file_id, name="file_id")
    except ValueError as exc:
        message = f"AddFile returned an invalid file id: {file_id!r}"
        raise BailianFileError(message, request_id=request_id) from exc


def parse_headers(headers: Any) -> dict[str, str]:
    """Return the headers of a lease, which the service sends as an object or as JSON text.

    Raises:
        BailianServerError: The headers are neither.
    """
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
