"""Upload of inline data in content blocks, and its replacement with session files."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64decode
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.messages import ChatMessage, HumanMessage

from langchain_bailian_app.options._session_files import (
    SUFFIX_BY_MIME_TYPE,
    LocalFile,
    find_file_problem,
    kind_from_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_core.messages import BaseMessage

    from langchain_bailian_app.files._client import BailianFiles
    from langchain_bailian_app.options._session_files import SessionFile

_BLOCK_TYPES = ("file", "image", "video", "audio")


class _BlockPosition(NamedTuple):
    """Position of a content block."""

    message_index: int
    block_index: int


class InlineFiles:
    """Content blocks of human messages that contain inline data.

    Raises:
        ValueError: A block contains invalid data, or data that the service does not support.
    """

    def __init__(self, messages: Sequence[BaseMessage]) -> None:
        self._messages = messages
        self._positions: list[_BlockPosition] = []
        self.files: list[LocalFile] = []
        """The data to upload, in the order of the blocks."""
        for position, block in _iter_blocks(messages):
            data = _extract_data(block)
            if data is not None:
                self._positions.append(position)
                self.files.append(_make_local_file(block, *data))

    def replace_with(self, session_files: Sequence[SessionFile]) -> list[BaseMessage]:
        """Return the messages with session files in place of their inline data."""
        messages = list(self._messages)
        for position, file in zip(self._positions, session_files, strict=True):
            content: list[Any] = list(messages[position.message_index].content)
            content[position.block_index] = {"type": "file", "file_id": file.id}
            messages[position.message_index] = messages[position.message_index].model_copy(
                update={"content": content}
            )
        return messages


def upload_inline_files(files: BailianFiles, messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
    """Upload inline data, and return the messages with session files in its place.

    Raises:
        ValueError: A block contains invalid data, or data that the service does not support; nothing
            was sent.
        BailianError: An upload failed.
    """
    inline_files = InlineFiles(messages)
    return inline_files.replace_with(files.upload_local(inline_files.files, progress=False))


async def aupload_inline_files(
    files: BailianFiles, messages: Sequence[BaseMessage]
) -> Sequence[BaseMessage]:
    """Async version of `upload_inline_files`."""
    inline_files = await asyncio.to_thread(InlineFiles, messages)  # it may decode megabytes
    return inline_files.replace_with(await files.aupload_local(inline_files.files, progress=False))


def _iter_blocks(messages: Sequence[BaseMessage]) -> Iterator[tuple[_BlockPosition, dict[str, Any]]]:
    for message_index, message in enumerate(messages):
        if isinstance(message, HumanMessage | ChatMessage) and not isinstance(message.content, str):
            for block_index, block in enumerate(message.content):
                if isinstance(block, dict):
                    yield _BlockPosition(message_index, block_index), block


def _extract_data(block: dict[str, Any]) -> tuple[str, str] | None:
    """Return the MIME type and the base64 data of a block, or None if it has no inline data."""
    match block:
        # Formats of LangChain, of LangChain before 1.0, of LangChain JS, and of OpenAI's two APIs.
        case (
            {"type": block_type, "base64": str(data), "mime_type": str(mime_type)}
            | {"type": block_type, "data": str(data), "mime_type": str(mime_type)}
            | {"type": block_type, "data": str(data), "mimeType": str(mime_type)}
        ) if block_type in _BLOCK_TYPES:
            return mime_type, data
        case {"type": "input_audio", "input_audio": {"data": str(data), "format": str(audio_format)}}:
            return f"audio/{audio_format}", data
        case (
            {"type": "image_url" | "input_image", "image_url": {"url": str(url)} | str(url)}
            | {"type": "file", "file": {"file_data": str(url)}}
            | {"type": "input_file", "file_data": str(url)}
        ):
            return _parse_data_url(url)
        case {"type": block_type, "url": str(url)} if block_type in _BLOCK_TYPES:
            return _parse_data_url(url)
    return None


def _parse_data_url(url: str) -> tuple[str, str] | None:
    head, comma, data = url.partition(",")
    if not comma or not head.lower().startswith("data:") or not head.lower().endswith(";base64"):
        return None
    return head[len("data:") :].partition(";")[0], data


def _make_local_file(block: dict[str, Any], mime_type: str, base64: str) -> LocalFile:
    try:
        data = b64decode("".join(base64.split()), validate=True)
    except ValueError as exc:
        message = f"invalid base64 in a content block of type {block['type']!r}: {exc}"
        raise ValueError(message) from exc
    name = _choose_file_name(block, mime_type, data)
    problem = find_file_problem(name, len(data))
    if problem is not None:
        message = f"cannot upload a content block of type {block['type']!r} as {name!r}: {problem}"
        raise ValueError(message)
    return LocalFile(name, len(data), data=data)


def _choose_file_name(block: dict[str, Any], mime_type: str, data: bytes) -> str:
    """Return the file name in a block, or else a name with a suffix derived from the MIME type."""
    openai_file = block.get("file")
    holders = [block, block.get("extras"), block.get("metadata"), openai_file]
    for holder in holders:
        for key in ("filename", "name"):
            name = holder.get(key) if isinstance(holder, dict) else None
            if isinstance(name, str) and kind_from_name(name):
                return name
    plain_type = mime_type.partition(";")[0].strip().lower()
    suffix = SUFFIX_BY_MIME_TYPE.get(plain_type, plain_type.rpartition("/")[2])
    if not kind_from_name(f"x.{suffix}"):
        message = (
            f"unsupported MIME type {mime_type!r} in a content block: set `filename` to a name with a "
            "suffix that the service accepts"
        )
        raise ValueError(message)
    return f"{hashlib.md5(data, usedforsecurity=False).hexdigest()[:12]}.{suffix}"
