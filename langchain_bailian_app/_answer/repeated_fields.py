"""What every frame repeats, read once: `doc_references` and `thoughts` may be 100 kB for each token.

A list that came twice is looked for in the next frame by its bytes. If they are there, only the rest of
the frame is parsed.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from langchain_bailian_app._answer import wire_json

_NAMES = ("doc_references", "thoughts")
_LARGE = 4096  # bytes; anything smaller is parsed in no time
_STUB = b"0"
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]]', re.DOTALL)


class _Snapshot(NamedTuple):
    value: Any
    raw: bytes | None
    """With its name in front; None until it has come twice."""


class Snapshots:
    """Parses the frames of one stream."""

    def __init__(self) -> None:
        self._known: dict[str, _Snapshot] = {}

    def loads(self, data: bytes) -> Any:
        """Parse a frame; a `ValueError` says that it is no JSON. Lists are the same objects again."""
        if len(data) < _LARGE:
            return wire_json.loads(data)
        found, rest = {}, data
        for name, (value, raw) in self._known.items():
            if raw is None:
                continue
            start = rest.find(_key(name))
            if start >= 0 and rest.startswith(raw, start):
                found[name] = value
                rest = b"".join((rest[:start], _key(name), _STUB, rest[start + len(raw) :]))
        body = wire_json.loads(rest)
        output = body.get("output") if isinstance(body, dict) else None
        if not isinstance(output, dict):
            return wire_json.loads(data) if found else body
        for name, value in found.items():
            if output.get(name) != 0:  # it stood in another place
                return wire_json.loads(data)
            output[name] = value
        self._learn(output, data, [name for name in _NAMES if name not in found])
        return body

    def _learn(self, output: dict[str, Any], data: bytes, names: list[str]) -> None:
        for name in names:
            value = output.get(name)
            known = self._known.get(name)
            if not isinstance(value, list) or not value:
                continue
            if known is None or known.value != value:
                self._known[name] = _Snapshot(value, None)
            elif known.raw is None:
                self._known[name] = known._replace(raw=_raw(name, data))


def _raw(name: str, data: bytes) -> bytes | None:
    """Return a list as it stands in the frame, if it can be told from anything else there."""
    start = data.find(_key(name))
    if start < 0 or data.count(_key(name)) > 1:
        return None  # with a space in front of the colon, or in two places
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(data, start + len(_key(name))):
        depth += {b"[": 1, b"]": -1}.get(token[0], 0)
        if depth == 0:
            return data[start : token.end()]
    return None


def _key(name: str) -> bytes:
    # Inside of a string the quotes would be escaped.
    return b'"%b":' % name.encode()
