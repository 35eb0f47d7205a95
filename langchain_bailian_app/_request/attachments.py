"""Conversion and validation of images and files in content blocks.

An application accepts URLs and data URLs. Whether it can read data URLs of files is unverified.
"""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

from langchain_bailian_app.options._session_files import SESSION_FILE_PREFIX
from langchain_bailian_app.options._signed_urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_URL_SCHEMES = ("https://", "http://", "data:", "oss://")
_MAX_FILE_BYTES = 10 * 1024 * 1024  # for each file (file page)


def text_from_block(block: str | dict[str, Any]) -> str | None:
    """Return the text of a content block; None if the block contains something else."""
    match block:
        # The formats of LangChain, LangChain before 1.0, and OpenAI's two APIs.
        case str(text) | {"type": "text" | "text-plain" | "input_text" | "file", "text": str(text)}:
            return text
    return None


def split_content(content: str | Sequence[str | dict[str, Any]]) -> tuple[str, list[Any]]:
    """Return the text in the content of a message, and the blocks with images and files.

    Raises:
        ValueError: A block contains something else.
    """
    blocks = [content] if isinstance(content, str) else content
    parts = [(parse_content_block(block), block) for block in blocks]
    text = "".join(value for (kind, value), _ in parts if kind == "text")
    return text, [block for (kind, _), block in parts if kind != "text"]


def parse_content_block(block: str | dict[str, Any]) -> tuple[str, str]:
    """Return the kind of a content block and its value.

    The kind is `"text"` with the text, or `"image"` or `"file"` with its URL. For a session file (an
    uploaded file), the kind is `"file"` and the value is its id.

    Raises:
        ValueError: The application does not support the block. Blocks are never silently dropped.
    """
    text = text_from_block(block)
    if text is not None or isinstance(block, str):
        return "text", text or ""
    match block:
        # The same formats as for text, and that of LangChain JS (`mimeType` and `fileId`).
        case {"type": "image_url" | "input_image", "image_url": {"url": str(url)} | str(url)}:
            return "image", url
        case {"type": "image" | "file" as kind, "url": str(url)}:
            return kind, url
        case (
            {"type": "image" | "file" as kind, "base64": str(data), "mime_type": str(mime_type)}
            | {"type": "image" | "file" as kind, "data": str(data), "mime_type": str(mime_type)}
            | {"type": "image" | "file" as kind, "data": str(data), "mimeType": str(mime_type)}
        ):
            return kind, f"data:{mime_type};base64,{data}"
        case (
            {"type": "file", "file": {"file_data": str(url)}}
            | {"type": "input_file", "file_url": str(url)}
            | {"type": "input_file", "file_data": str(url)}
            | {"type": "file" | "image" | "audio" | "video", "file_id": str(url)}
            | {"type": "file" | "image" | "audio" | "video", "fileId": str(url)}
        ) if block.keys().isdisjoint(("file_id", "fileId")) or url.startswith(SESSION_FILE_PREFIX):
            return "file", url
    message = (
        f"unsupported content block of type {block.get('type')!r} with the keys {sorted(block)}: an "
        "application accepts text, and images and files as a URL or as base64 data with mime_type; to "
        "upload other kinds of files, such as audio or video, set `files=BailianFiles(…)`"
    )
    raise ValueError(message)


def check_urls(name: str, urls: Iterable[str]) -> None:
    """Reject URLs that the service cannot read.

    Raises:
        ValueError: A value is not a URL, or a data URL is invalid, too large or of the wrong type.
    """
    for url in urls:
        if not url.lower().startswith(_URL_SCHEMES):
            message = (
                f"invalid URL {redact_url(url)[:60]!r} in `{name}`: the service cannot read it; pass a "
                "local file as base64 data with mime_type in a content block"
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
        problem = "expected `data:<mime type>;base64,<data>`"
    elif name == "image_list" and not mime_type.startswith("image/"):
        problem = f"{mime_type!r} is not an image type; pass it as a file"
    elif len(data) * 3 // 4 - data.count("=") > _MAX_FILE_BYTES:
        problem = f"larger than the service's limit of {_MAX_FILE_BYTES:,} bytes; pass a URL instead"
    elif not data:
        problem = "no data"
    else:
        try:
            b64decode(data, validate=True)
        except ValueError as exc:  # binascii.Error, or the error for non-ASCII text
            problem = f"invalid base64: {exc}"
    if problem is not None:
        message = f"invalid data URL {header[:60]!r} in `{name}`: {problem}"
        raise ValueError(message)
