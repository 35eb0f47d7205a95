"""Encoding of responses: JSON, the frames of a stream, and HTTP/1.1 messages."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

LAST_CHUNK = b"0\r\n\r\n"
"""The end of a chunked body."""


def compact_json(value: object) -> str:
    """Return compact JSON, with non-ASCII characters unescaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def encode_event(number: int, payload: Mapping[str, Any], *, status: int | None = None) -> bytes:
    """Return the bytes of one frame; if `status` is set, the frame is an in-stream error."""
    event = "result" if status is None else "error"
    prefix = f"id:{number}\nevent:{event}\n:HTTP_STATUS/{status or 200}\ndata:".encode()
    return prefix + encode_json(payload) + b"\n\n"


def encode_json(payload: Mapping[str, Any]) -> bytes:
    """Return compact JSON as UTF-8; non-ASCII characters are escaped only if necessary."""
    try:
        return compact_json(payload).encode()
    except UnicodeEncodeError:
        # A lone surrogate can be written as a JSON escape, but not as UTF-8.
        return json.dumps(payload, separators=(",", ":")).encode()


def encode_head(status: int, headers: Mapping[str, str]) -> bytes:
    """Return the status line and headers of an HTTP/1.1 response, and the empty line after them."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")


def encode_chunk_size(size: int, extension: str = "") -> bytes:
    """Return the line before the data of a chunk; `extension` follows the size after a semicolon."""
    return f"{size:x}{extension and ';'}{extension}\r\n".encode()


def encode_chunk(data: bytes) -> bytes:
    """Return one chunk of a chunked body."""
    return encode_chunk_size(len(data)) + data + b"\r\n"
