"""Bytes of local files: their MD5, and the way into the service's storage, in constant memory.

The upload goes through httpx's transport alone, since its client adds headers, which the signature of
the URL may not allow, and logs the URL.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import threading
import urllib.request
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import httpx

from langchain_bailian_app import errors
from langchain_bailian_app._settings.base_url import extract_host, is_loopback
from langchain_bailian_app._transport.client_pool import find_proxy_variable
from langchain_bailian_app.options._session_files import LocalFile, find_file_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from langchain_bailian_app.options._session_files import UploadTarget

_CHUNK_BYTES = 256 * 1024
_TIMEOUT = httpx.Timeout(60.0, connect=10.0).as_dict()
# `concurrency` is the limit. One here, of unused connections too, lets httpx close a connection that
# another thread is just taking (https://github.com/encode/httpcore/issues/1110).
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)
_MAX_RESPONSE_CHARS = 300
_MAX_PROBLEMS_IN_MESSAGE = 10


def local_files_from_paths(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> list[LocalFile]:
    """Return files on this machine, checked.

    Raises:
        ValueError: One of them does not exist, or is not such as the service takes.
    """
    path_list = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    files, problems = [], []
    for path in map(Path, path_list):
        try:
            size = path.stat().st_size
            problem = find_file_problem(path.name, size) if path.is_file() else "it is no file"
        except OSError as exc:
            size, problem = 0, exc.strerror or str(exc)
        if problem is not None:
            problems.append(f"{path}: {problem}")
        files.append(LocalFile(path.name, size, path))
    if problems:
        more = (
            f" (and {len(problems) - _MAX_PROBLEMS_IN_MESSAGE} more)"
            if len(problems) > _MAX_PROBLEMS_IN_MESSAGE
            else ""
        )
        message = "nothing was uploaded. " + "; ".join(problems[:_MAX_PROBLEMS_IN_MESSAGE]) + more
        raise ValueError(message)
    return files


class InterruptedUploadError(OSError):
    """The call that this step belongs to is over."""


class FileUploader:
    """Reads files and uploads them, until it is told to stop."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Break off all that is being done, at the next piece of a file."""
        self._stopped.set()

    def compute_md5(self, file: LocalFile) -> str:
        """Return the MD5 of a file, in hexadecimal.

        Raises:
            OSError: It cannot be read.
        """
        digest = hashlib.md5(usedforsecurity=False)
        for chunk in self._read_chunks(file):
            digest.update(chunk)
        return digest.hexdigest()

    def upload(self, file: LocalFile, target: UploadTarget, on_progress: Callable[[int], None]) -> None:
        """Upload a file, with the headers of the lease and no others.

        Args:
            file: What is sent.
            target: Where it goes.
            on_progress: Told how many bytes of it have gone so far.

        Raises:
            BailianError: It did not arrive.
            OSError: It cannot be read, or has changed.
        """
        host = extract_host(target.url)
        try:
            request = httpx.Request(
                target.method,
                target.url,
                headers={**target.headers, "Content-Length": str(file.size)},
                content=self._read_with_progress(file, on_progress),
                extensions={"timeout": _TIMEOUT},
            )
            response = _get_http_transport(_find_proxy(target.url), os.getpid()).handle_request(request)
            status, text = (
                response.status_code,
                response.read()[:_MAX_RESPONSE_CHARS].decode(errors="replace"),
            )
        except httpx.TimeoutException as exc:
            message = f"{host} took no bytes, or did not answer, for a minute ({type(exc).__name__})"
            raise errors.BailianTimeoutError(message) from None
        except httpx.TransportError as exc:
            message = f"no connection to {host}, or it was lost ({type(exc).__name__})"
            raise errors.BailianConnectionError(message) from None
        if status >= 500:  # noqa: PLR2004
            message = f"{host} could not take the upload (status {status})"
            raise errors.BailianServerError(message, status_code=status)
        if status >= 300:  # noqa: PLR2004
            message = f"{host} refuses the upload (status {status}): {_extract_error_code(text)}"
            raise errors.BailianRequestError(message, status_code=status)

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
            message = f"{file.name} changed its size while it was being uploaded"
            raise OSError(message)


def _open_file(file: LocalFile) -> BinaryIO:
    return BytesIO(file.data) if file.path is None else file.path.open("rb")


def _extract_error_code(text: str) -> str:
    """Return the code of the storage's XML; the rest of it repeats the signature."""
    _, _, after_tag = text.partition("<Code>")
    return after_tag.partition("</Code>")[0] or "no reason given"


def _find_proxy(url: str) -> str | None:
    variable = None if is_loopback(url) else find_proxy_variable(url)
    return urllib.request.getproxies()[variable.removesuffix("_proxy")] if variable else None


@cache
def _get_http_transport(proxy: str | None, pid: int) -> httpx.HTTPTransport:
    """Return the connections through a proxy, or without; a forked child makes its own."""
    transport = httpx.HTTPTransport(proxy=proxy, limits=_LIMITS)
    atexit.register(lambda: transport.close() if os.getpid() == pid else None)
    return transport
