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
from langchain_bailian_app._settings.base_url import host_of, is_loopback
from langchain_bailian_app._transport.client_pool import proxy_variable
from langchain_bailian_app.options._session_files import LocalFile, problem_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from langchain_bailian_app.options._session_files import Target

_CHUNK = 256 * 1024  # bytes
_TIMEOUT = httpx.Timeout(60.0, connect=10.0).as_dict()
# `concurrency` is the limit. One here, of unused connections too, lets httpx close a connection that
# another thread is just taking (https://github.com/encode/httpcore/issues/1110).
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)
_SHOWN = 300  # characters of a reply
_MOST_SHOWN = 10  # files in a message


def local_files(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[LocalFile]:
    """Return files on this machine, checked.

    Raises:
        ValueError: One of them does not exist, or is not such as the service takes.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    files, problems = [], []
    for path in map(Path, given):
        try:
            size = path.stat().st_size
            problem = problem_with(path.name, size) if path.is_file() else "it is no file"
        except OSError as exc:
            size, problem = 0, exc.strerror or str(exc)
        if problem is not None:
            problems.append(f"{path}: {problem}")
        files.append(LocalFile(path.name, size, path))
    if problems:
        more = f" (and {len(problems) - _MOST_SHOWN} more)" if len(problems) > _MOST_SHOWN else ""
        message = "nothing was uploaded. " + "; ".join(problems[:_MOST_SHOWN]) + more
        raise ValueError(message)
    return files


class InterruptedUploadError(OSError):
    """The call that this step belongs to is over."""


class Storage:
    """Reads files and uploads them, until it is told to stop."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Break off all that is being done, at the next piece of a file."""
        self._stopped.set()

    def md5_of(self, file: LocalFile) -> str:
        """Return the MD5 of a file, in hexadecimal.

        Raises:
            OSError: It cannot be read.
        """
        digest = hashlib.md5(usedforsecurity=False)
        for piece in self._pieces(file):
            digest.update(piece)
        return digest.hexdigest()

    def put(self, file: LocalFile, target: Target, sent: Callable[[int], None]) -> None:
        """Upload a file, with the headers of the lease and no others.

        Args:
            file: What is sent.
            target: Where it goes.
            sent: Told how many bytes of it have gone so far.

        Raises:
            BailianError: It did not arrive.
            OSError: It cannot be read, or has changed.
        """
        host = host_of(target.url)
        try:
            request = httpx.Request(
                target.method,
                target.url,
                headers={**target.headers, "Content-Length": str(file.size)},
                content=self._counted(file, sent),
                extensions={"timeout": _TIMEOUT},
            )
            response = _transport(_proxy_of(target.url), os.getpid()).handle_request(request)
            status, text = response.status_code, response.read()[:_SHOWN].decode(errors="replace")
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
            message = f"{host} refuses the upload (status {status}): {_code_in(text)}"
            raise errors.BailianRequestError(message, status_code=status)

    def _counted(self, file: LocalFile, sent: Callable[[int], None]) -> Iterator[bytes]:
        count = 0
        for piece in self._pieces(file):
            yield piece
            count += len(piece)
            sent(count)

    def _pieces(self, file: LocalFile) -> Iterator[bytes]:
        left = file.size
        with _opened(file) as source:
            while piece := source.read(_CHUNK):
                if self._stopped.is_set():
                    raise InterruptedUploadError
                left -= len(piece)
                if left < 0:
                    break
                yield piece
        if left:
            message = f"{file.name} changed its size while it was being uploaded"
            raise OSError(message)


def _opened(file: LocalFile) -> BinaryIO:
    return BytesIO(file.data) if file.path is None else file.path.open("rb")


def _code_in(text: str) -> str:
    """Return the code of the storage's XML; the rest of it repeats the signature."""
    _, _, rest = text.partition("<Code>")
    return rest.partition("</Code>")[0] or "no reason given"


def _proxy_of(url: str) -> str | None:
    variable = None if is_loopback(url) else proxy_variable(url)
    return urllib.request.getproxies()[variable.removesuffix("_proxy")] if variable else None


@cache
def _transport(proxy: str | None, process: int) -> httpx.HTTPTransport:
    """Return the connections through a proxy, or without; a forked child makes its own."""
    made = httpx.HTTPTransport(proxy=proxy, limits=_LIMITS)
    atexit.register(lambda: made.close() if os.getpid() == process else None)
    return made
