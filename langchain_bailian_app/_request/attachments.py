"""Images and files: read from content blocks, checked before anything is sent.

An application takes them by URL, or as data URLs. That it reads data URLs of files is unverified.
"""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

from langchain_bailian_app.options._session_files import SESSION_FILE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable

_URL_SCHEMES = ("https://", "http://", "data:", "oss://")
_MAX_FILE_BYTES = 10 * 1024 * 1024  # bytes a file (official page on files)


def parse_content_block(block: str | dict[str, Any]) -> tuple[str, str]:
    """Return what a content block is to an application: text, the URL of an image, or of a file.

    A session file (one that was uploaded) is told by its id.

    Raises:
        ValueError: The application cannot be given it; it is never left out.
    """
    if isinstance(block, str):
        return "text", block
    match block:
        # The shapes of LangChain, of LangChain before 1.0, and of OpenAI's two APIs.
        case {"type": "text" | "text-plain" | "input_text" | "file", "text": str(text)}:
            return "text", text
        case {"type": "image_url" | "input_image", "image_url": {"url": str(url)} | str(url)}:
            return "image", url
        case {"type": "image" | "file" as kind, "url": str(url)}:
            return kind, url
        case {"type": "image" | "file" as kind, "base64": str(data), "mime_type": str(mime_type)} | {
            "type": "image" | "file" as kind,
            "data": str(data),
            "mime_type": str(mime_type),
        }:
            return kind, f"data:{mime_type};base64,{data}"
        case (
            {"type": "file", "file": {"file_data": str(url)}}
            | {"type": "input_file", "file_url": str(url)}
            | {"type": "input_file", "file_data": str(url)}
            | {"type": "file" | "image" | "audio" | "video", "file_id": str(url)}
        ) if "file_id" not in block or url.startswith(SESSION_FILE_PREFIX):
            return "file", url
    message = (
        f"a content block of type {block.get('type')!r} with the keys {sorted(block)} cannot be put to "
        "an application: it takes text, images and files by URL, and base64 data with its mime_type; "
        "other data is uploaded by a model that has `files=BailianFiles(…)`"
    )
    raise ValueError(message)


def check_urls(name: str, urls: Iterable[str]) -> None:
    """Refuse what the service could not read.

    Raises:
        ValueError: A URL is none, or a data URL is too large, or of another type.
    """
    for url in urls:
        if not url.lower().startswith(_URL_SCHEMES):
            message = (
                f"`{name}` has {url[:60]!r}, which is no URL that the service could read: give the "
                "content of a local file as base64, with its mime_type, in a content block"
            )
            raise ValueError(message)
        if url[:5].lower() == "data:":
            _check_data_url(name, url)


def _check_data_url(name: str, url: str) -> None:
    header, comma, data = url.partition(",")
    mime_type, *attributes = header[len("data:") :].lower().split(";")
    data = "".join(data.split())  # some encoders break lines
    problem = None
    if not comma or attributes[-1:] != ["base64"]:
        problem = "is no base64 data URL: `data:<mime type>;base64,<data>`"
    elif name == "image_list" and not mime_type.startswith("image/"):
        problem = f"is of the type {mime_type!r}, which is no image: give it as a file"
    elif len(data) * 3 // 4 - data.count("=") > _MAX_FILE_BYTES:
        problem = (
            f"has more than {_MAX_FILE_BYTES:,} bytes, which the service does not take: give a URL"
        )
    elif not data:
        problem = "is empty"
    else:
        try:
            b64decode(data, validate=True)
        except ValueError as exc:  # binascii.Error is one; another says that it is not ASCII
            problem = f"is no valid base64: {exc}"
    if problem is not None:
        message = f"`{name}`: {header[:60]!r} {problem}"
        raise ValueError(message)
