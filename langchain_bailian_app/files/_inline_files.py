"""Content blocks with data of their own, and what stands in their place once it is uploaded."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from base64 import b64decode
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.messages import BaseMessage, ChatMessage, HumanMessage

from langchain_bailian_app.options._session_files import LocalFile, kind_of, problem_with

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_core.messages import BaseMessage

    from langchain_bailian_app.files._client import BailianFiles
    from langchain_bailian_app.options._session_files import SessionFile


_KINDS = ("file", "image", "video", "audio")


class _Place(NamedTuple):
    """Where a block stands."""

    message: int
    block: int


class LocalBlocks:
    """The blocks of human messages whose data is to be uploaded.

    Raises:
        ValueError: One of them is not such as the service takes.
    """

    def __init__(self, messages: Sequence[BaseMessage]) -> None:
        self._messages = messages
        self._places: list[_Place] = []
        self.files: list[LocalFile] = []
        """What is to be uploaded, in order."""
        for place, block in _blocks(messages):
            data = _data_of(block)
            if data is not None:
                self._places.append(place)
                self.files.append(_file(block, *data))

    def replaced_by(self, uploaded: Sequence[SessionFile]) -> list[BaseMessage]:
        """Return the messages, with uploaded files in the places of their data."""
        messages = list(self._messages)
        for place, file in zip(self._places, uploaded, strict=True):
            content: list[Any] = list(messages[place.message].content)
            content[place.block] = {"type": "file", "file_id": file.id}
            messages[place.message] = messages[place.message].model_copy(update={"content": content})
        return messages


def _blocks(messages: Sequence[BaseMessage]) -> Iterator[tuple[_Place, dict[str, Any]]]:
    for number, message in enumerate(messages):
        if isinstance(message, HumanMessage | ChatMessage) and not isinstance(message.content, str):
            for place, block in enumerate(message.content):
                if isinstance(block, dict):
                    yield _Place(number, place), block


def _data_of(block: dict[str, Any]) -> tuple[str, str] | None:
    """Return MIME type and base64 of a block, or None if it has no data of its own."""
    match block:
        # The shapes of LangChain, of LangChain before 1.0, and of OpenAI's two APIs.
        case {"type": kind, "base64": str(data), "mime_type": str(mime_type)} | {
            "type": kind,
            "data": str(data),
            "mime_type": str(mime_type),
        } if kind in _KINDS:
            return mime_type, data
        case {"type": "input_audio", "input_audio": {"data": str(data), "format": str(ending)}}:
            return f"audio/{ending}", data
        case (
            {"type": "image_url" | "input_image", "image_url": {"url": str(url)} | str(url)}
            | {"type": "file", "file": {"file_data": str(url)}}
            | {"type": "input_file", "file_data": str(url)}
        ):
            return _data_url(url)
        case {"type": kind, "url": str(url)} if kind in _KINDS:
            return _data_url(url)
    return None


def _data_url(url: str) -> tuple[str, str] | None:
    head, comma, data = url.partition(",")
    if not comma or not head.lower().startswith("data:") or not head.lower().endswith(";base64"):
        return None
    return head[len("data:") :].partition(";")[0], data


def _file(block: dict[str, Any], mime_type: str, base64: str) -> LocalFile:
    try:
        data = b64decode("".join(base64.split()), validate=True)
    except ValueError as exc:
        message = f"a content block of type {block['type']!r} has no valid base64: {exc}"
        raise ValueError(message) from exc
    name = _name(block, mime_type, data)
    problem = problem_with(name, len(data))
    if problem is not None:
        message = f"a content block of type {block['type']!r} cannot be uploaded as {name!r}: {problem}"
        raise ValueError(message)
    return LocalFile(name, len(data), data=data)


def _name(block: dict[str, Any], mime_type: str, data: bytes) -> str:
    """Return the name that a block gives, or one that says how to read it."""
    inside = block.get("file")
    holders = [block, block.get("extras"), block.get("metadata"), inside]
    for holder in holders:
        for key in ("filename", "name"):
            name = holder.get(key) if isinstance(holder, dict) else None
            if isinstance(name, str) and kind_of(name):
                return name
    endings = [*mimetypes.guess_all_extensions(mime_type), "." + mime_type.rpartition("/")[2]]
    ending = next((ending for ending in endings if kind_of(f"x{ending}")), None)
    if ending is None:
        message = (
            f"a content block has the type {mime_type!r}, which says nothing of how the service could "
            "read it: give its `filename`, with one of the endings that the service takes"
        )
        raise ValueError(message)
    return f"{hashlib.md5(data, usedforsecurity=False).hexdigest()[:12]}{ending}"


def uploaded(files: BailianFiles | None, messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
    """Return messages with session files in the places of data, if there is somewhere to upload it.

    Raises:
        ValueError: The service would not take what is in a block; nothing was sent.
        BailianError: It could not be uploaded.
    """
    if files is None:
        return messages
    blocks = LocalBlocks(messages)
    return blocks.replaced_by(files.upload_local(blocks.files, progress=False))


async def auploaded(
    files: BailianFiles | None, messages: Sequence[BaseMessage]
) -> Sequence[BaseMessage]:
    """Do what `uploaded` does, on the running event loop."""
    if files is None:
        return messages
    blocks = await asyncio.to_thread(LocalBlocks, messages)  # it decodes megabytes
    return blocks.replaced_by(await files.aupload_local(blocks.files, progress=False))
