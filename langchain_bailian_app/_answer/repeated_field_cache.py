"""Cache for parsed lists that every frame repeats.

`doc_references` and `thoughts` may add 100 kB to the frame of each token. Once a list has arrived
twice, later frames are searched for its bytes. If a frame contains them, only the rest of the frame is
parsed.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from langchain_bailian_app._answer import wire_json

_CACHED_FIELDS = ("doc_references", "thoughts")
MIN_CACHED_FRAME_BYTES = 4096
"""Minimum frame size for using the cache; smaller frames are parsed fast enough without it."""

_PLACEHOLDER = b"0"
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]]', re.DOTALL)


class _CachedField(NamedTuple):
    value: Any
    raw: bytes | None
    """Bytes of the key and the value; None until the value has arrived twice."""


class RepeatedFieldCache:
    """JSON parser for the frames of one stream. It caches the lists that the frames repeat."""

    def __init__(self) -> None:
        self._cache: dict[str, _CachedField] = {}

    def loads(self, data: bytes) -> Any:
        """Parse a frame; raise `ValueError` if it is not valid JSON.

        Frames that repeat a cached list share one list object.
        """
        cached, reduced = {}, data
        for name, (value, raw) in self._cache.items():
            if raw is None:
                continue
            start = reduced.find(_encode_key(name))
            if start >= 0 and reduced.startswith(raw, start):
                cached[name] = value
                reduced = b"".join(
                    (reduced[:start], _encode_key(name), _PLACEHOLDER, reduced[start + len(raw) :])
                )
        body = wire_json.loads(reduced)
        output = body.get("output") if isinstance(body, dict) else None
        if not isinstance(output, dict):
            return wire_json.loads(data) if cached else body
        for name, value in cached.items():
            if output.get(name) != 0:  # the bytes were not a field of `output`
                return wire_json.loads(data)
            output[name] = value
        self._update(output, data, [name for name in _CACHED_FIELDS if name not in cached])
        return body

    def _update(self, output: dict[str, Any], data: bytes, names: list[str]) -> None:
        for name in names:
            value = output.get(name)
            entry = self._cache.get(name)
            if not isinstance(value, list) or not value:
                continue
            if entry is None or entry.value != value:
                self._cache[name] = _CachedField(value, None)
            elif entry.raw is None:
                self._cache[name] = entry._replace(raw=_raw_slice(name, data))


def _raw_slice(name: str, data: bytes) -> bytes | None:
    """Return the bytes of a list and its key in a frame, or None if their position is ambiguous."""
    start = data.find(_encode_key(name))
    if start < 0 or data.count(_encode_key(name)) > 1:
        return None  # a space before the colon, or two occurrences
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(data, start + len(_encode_key(name))):
        depth += {b"[": 1, b"]": -1}.get(token[0], 0)
        if depth == 0:
            return data[start : token.end()]
    return None


def _encode_key(name: str) -> bytes:
    # These bytes cannot occur inside a string, where the quotes would be escaped.
    return b'"%b":' % name.encode()
