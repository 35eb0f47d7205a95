"""The bytes of a reply: JSON, and frames of a stream."""

import json
from collections.abc import Mapping
from typing import Any


def compact_json(value: object) -> str:
    """JSON without spaces, with characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def encode_event(number: int, payload: Mapping[str, Any], *, status: int | None = None) -> bytes:
    """One frame on the wire; with a `status` it is an in-stream error."""
    event = "result" if status is None else "error"
    prefix = f"id:{number}\nevent:{event}\n:HTTP_STATUS/{status or 200}\ndata:".encode()
    return prefix + encode_json(payload) + b"\n\n"


def encode_json(payload: Mapping[str, Any]) -> bytes:
    """Compact JSON with characters as they are."""
    try:
        return compact_json(payload).encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair is a valid JSON escape, and no valid UTF-8.
        return json.dumps(payload, separators=(",", ":")).encode()
