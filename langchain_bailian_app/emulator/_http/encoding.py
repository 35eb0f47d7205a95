"""Encoding of responses: JSON, and the frames of a stream."""

import json
from collections.abc import Mapping
from typing import Any


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
