"""MD5 of local files, and their upload to the service's storage, in constant memory.

Uploads use httpx's transport directly. An httpx client would log the URL, and would add headers that
the signature of the URL may not allow.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import os
import threading
import urllib.request
from contextlib import suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast

import httpx

from langchain_bailian_app import errors
from langchain_bailian_app._settings.base_url import extract_host, is_loopback
from langchain_bailian_app._transport.client_pool import find_proxy_variable
from langchain_bailian_app._transport.redaction import Redactor, copy_cause
from langchain_bailian_app.options._session_files import LocalFile, find_file_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from langchain_bailian_app.options._session_files import UploadTarget

UploadSource: TypeAlias = str | os.PathLike[str] | tuple[str, bytes] | BinaryIO
"""A file to upload: a path, a name and bytes, or a binary file object with a name."""

_CHUNK_BYTES = 256 * 1024
_TIMEOUT = httpx.Timeout(60.0, connect=10.0).as_dict()
# `concurrency` limits the uploads. A limit here, even on idle connections, may make httpx close a
# connection that another thread is acquiring (https://github.com/encode/httpcore/issues/1110).
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)
_MAX_RESPONSE_BYTES = 300  # an error in XML begins with its code
_MAX_PROBLEMS_IN_MESSAGE = 10


def local_files_from_sources(sources: UploadSource | Iterable[UploadSource]) -> list[LocalFile]:
    """Check files and return them: paths, pairs of a name and bytes, or binary file objects.

    Raises:
        ValueError: A path does not exist or is not a file, or the service does not accept the file.
        TypeError: A source is something else; the message names what to pass.
    """
    files, problems = [], []
    for source in [sources] if _is_source(sources) else list(cast("Iterable[UploadSource]", sources)):
        file, problem = _local_file_from_source(source)
        if problem is not None:
            problems.append(f"{file.path or file.name}: {problem}")
        files.append(file)
    if problems:
        more = (
            f" (and {len(problems) - _MAX_PROBLEMS_IN_MESSAGE} more)"
            if len(problems) > _MAX_PROBLEMS_IN_MESSAGE
            else ""
        )
        message = "nothing was uploaded: " + "; ".join(problems[:_MAX_PROBLEMS_IN_MESSAGE]) + more
        raise ValueError(message)
    return files


def _is_source(value: object) -> bool:
    """Return whether a value is one source, or cannot be a collection of sources."""
    return isinstance(value, str | os.PathLike | bytes | bytearray | memoryview) or (
        hasattr(value, "read") or _is_named_bytes(value)
    )


def _is_named_bytes(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2  # noqa: PLR2004  # a name and its content
        and isinstance(value[0], str)
        and isinstance(value[1], bytes | bytearray | memoryview)
    )


def _local_file_from_source(source: Any) -> tuple[LocalFile, str | None]:
    """Return a file, and the problem that the service would have with it.

    Raises:
        TypeError: The source is not a file.
    """
    if _is_named_bytes(source):
        name, data = Path(source[0]).name, bytes(source[1])
        return LocalFile(name, len(data), data=data), find_file_problem(name, len(data))
    if hasattr(source, "read"):
        return _local_file_from_object(source)
    if not isinstance(source, str | os.PathLike):
        message = (
            f"invalid file of type {type(source).__name__}: expected a path, a binary file object, or "
            'a pair of a name and bytes, such as `("report.pdf", data)`'
        )
        raise TypeError(message)
    path, size = Path(source), 0
    try:
        size = path.stat().st_size
        problem = find_file_problem(path.name, size) if path.is_file() else "not a file"
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        problem = getattr(exc, "strerror", None) or str(exc)
    return LocalFile(path.name, size, path), problem


def _local_file_from_object(source: Any) -> tuple[LocalFile, str | None]:
    """Return the rest of an open file as bytes, under the name of the file.

    Raises:
        TypeError: The file is open as text, or has no name.
    """
    name = getattr(source, "name", None)
    if isinstance(source, io.TextIOBase):
        message = f"invalid file {name!r}: it is open as text; open it with mode 'rb', or pass its path"
        raise TypeError(message)
    if not isinstance(name, str) or not name:
        message = (
            f"invalid file object of type {type(source).__name__}: it has no name; pass a pair of a "
            'name and bytes, such as `("report.pdf", buffer.getvalue())`'
        )
        raise TypeError(message)
    data = source.read()
    if not isinstance(data, bytes):
        message = f"invalid file {name!r}: expected bytes, got {type(data).__name__}; open it as 'rb'"
        raise TypeError(message)
    name = Path(name).name
    return LocalFile(name, len(data), data=data), find_file_problem(name, len(data))


class InterruptedUploadError(OSError):
    """Reading or uploading a file was stopped, because the call that needed the file has ended."""


class FileUploader:
    """Reads and uploads files until it is stopped."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Interrupt all reads and uploads at the next chunk of a file."""
        self._stopped.set()

    def compute_md5(self, file: LocalFile) -> str:
        """Return the MD5 of a file in hexadecimal.

        Raises:
            OSError: The file cannot be read, or its size has changed.
        """
        digest = hashlib.md5(usedforsecurity=False)
        for chunk in self._read_chunks(file):
            digest.update(chunk)
        return digest.hexdigest()

    def upload(self, file: LocalFile, target: UploadTarget, on_progress: Callable[[int], None]) -> None:
        """Upload a file with exactly the headers of the lease.

        Args:
            file: File to upload.
            target: URL, method and headers of the lease.
            on_progress: Called after each chunk with the total number of bytes sent.

        Raises:
            BailianError: The upload failed.
            OSError: The file cannot be read, or its size has changed.
        """
        status, text = self._send(file, target, on_progress)
        host = extract_host(target.url)
        if status >= 500:  # noqa: PLR2004
            message = f"{host} failed to store the upload (status {status})"
            raise errors.BailianServerError(message, status_code=status)
        if status >= 300:  # noqa: PLR2004
            message = f"{host} rejected the upload (status {status}): {_extract_error_code(text)}"
            raise errors.BailianRequestError(message, status_code=status)

    def _send(
        self, file: LocalFile, target: UploadTarget, on_progress: Callable[[int], None]
    ) -> tuple[int, str]:
        """Send a file and return the status and the beginning of the response.

        Errors are raised outside of the `except` clause. Otherwise, they would refer to exceptions that
        hold the signed URL, in their request and in variables of their stack frames.
        """
        failure: Exception
        try:
            # The request is not a variable here: error trackers record variables, and its `repr` shows
            # the signed URL.
            response = _send_request(
                _build_request(target, file.size, self._read_with_progress(file, on_progress))
            )
            text = _read_start(response).decode(errors="replace")
        except httpx.RequestError as exc:
            failure = _error_from_httpx(exc, target)
        except OSError as exc:
            failure = exc.with_traceback(None)
        else:
            return response.status_code, text
        raise failure

    def _read_with_progress(
        self, file: LocalFile, on_progress: Callable[[int], None]
    ) -> Iterator[bytes]:
        bytes_sent = 0
        for chunk in self._read_chunks(file):
            yield chunk
            bytes_sent += len(chunk)
            on_progress(bytes_sent)

    def _read_chunks(self, file: LocalFile) -> Iterator[bytes]:
        bytes_left = file.size
        with _open_file(file) as source:
            while chunk := source.read(_CHUNK_BYTES):
                if self._stopped.is_set():
                    raise InterruptedUploadError
                bytes_left -= len(chunk)
                if bytes_left < 0:
                    break
                yield chunk
        if bytes_left:
            message = f"the size of {file.name} changed during the upload"
            raise OSError(message)


def _build_request(target: UploadTarget, size: int, content: Iterator[bytes]) -> httpx.Request:
    with suppress(httpx.InvalidURL, ValueError):
        if extract_host(target.url) != target.url:
            return httpx.Request(
                target.method,
                target.url,
                headers={**target.headers, "Content-Length": str(size)},
                content=content,
                extensions={"timeout": _TIMEOUT},
            )
    message = "the service returned a lease with an invalid URL or header"
    raise errors.BailianServerError(message)


def _send_request(request: httpx.Request) -> httpx.Response:
    proxy = _find_proxy(str(request.url))
    return _get_http_transport(proxy, os.getpid()).handle_request(request)


def _read_start(response: httpx.Response) -> bytes:
    """Return the first bytes of a response as they were sent, and close it."""
    start = b""
    try:
        for data in response.iter_raw():
            start += data[:_MAX_RESPONSE_BYTES]
            if len(start) >= _MAX_RESPONSE_BYTES:
                break
    finally:
        response.close()
    return start[:_MAX_RESPONSE_BYTES]


def _error_from_httpx(exc: httpx.RequestError, target: UploadTarget) -> errors.BailianError:
    host, name = extract_host(target.url), type(exc).__name__
    error: errors.BailianError
    if isinstance(exc, httpx.TimeoutException):
        message = f"upload to {host} timed out ({name}): no progress for a minute"
        error = errors.BailianTimeoutError(message)
    else:
        message = f"connection to {host} failed or was lost ({name})"
        error = errors.BailianConnectionError(message)
    redactor = Redactor((target.url, *target.headers.values()), [target.url])
    error.__cause__ = copy_cause(exc, exc, redactor)
    return error


def _open_file(file: LocalFile) -> BinaryIO:
    return BytesIO(file.data) if file.path is None else file.path.open("rb")


def _extract_error_code(text: str) -> str:
    """Return the code of an XML error from the storage. The rest of the XML repeats the signature."""
    _, _, after_tag = text.partition("<Code>")
    return after_tag.partition("</Code>")[0] or "no error code"


def _find_proxy(url: str) -> str | None:
    variable = None if is_loopback(url) else find_proxy_variable(url)
    return urllib.request.getproxies()[variable.removesuffix("_proxy")] if variable else None


@cache
def _get_http_transport(proxy: str | None, pid: int) -> httpx.HTTPTransport:
    """Return the shared transport with or without a proxy; a forked child process creates its own."""
    transport = httpx.HTTPTransport(proxy=proxy, limits=_LIMITS)
    atexit.register(lambda: transport.close() if os.getpid() == pid else None)
    return transport
