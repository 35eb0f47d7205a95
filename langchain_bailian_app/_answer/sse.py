"""Parser of server-sent events, the first step of reading a stream.

The parser handles the framing, not the meaning of a frame. It works on bytes for two reasons. Text is
never split inside a character, and U+2028, U+2029 and U+0085 remain part of the text, although
`str.splitlines` treats them as line ends.
"""

from __future__ import annotations

import re
from typing import NamedTuple

BOM = b"\xef\xbb\xbf"
MAX_EVENT_BYTES = 2**25
"""Maximum size of one event or one JSON document: 32 MiB.

The largest known fields are a data URL of 10 MB, which is 14 MB in base64, and references of 100 kB. A
parsed event may need thirty times its size.
"""
# The pieces of a line are joined at its end, or if there are more than this, because small pieces need
# many times their size in memory.
_MAX_PIECES = 256
_STATUS_COMMENT = b":HTTP_STATUS/"
_STATUS = re.compile(rb"[1-5][0-9]{2}")
_HTTP_OK = 200
# A complete event as the gateway usually writes it. Matching it is faster than calling `_process_line`
# for each line, with the same result. Long lines are excluded: finding their end without a pattern is
# faster.
_TYPICAL_EVENT = re.compile(rb"(?:id:.*+\n)?event:result\n:HTTP_STATUS/200\ndata: ?(.{0,4000}+)\n\n")


class ServerSentEvent(NamedTuple):
    """One event of a stream."""

    name: str
    """The `event` field, stripped; `"message"` if it is absent."""

    data: bytes
    """The `data` lines, joined by line feeds."""

    status: int | None
    """Status from the `:HTTP_STATUS/n` comment, the only place where the gateway reports it."""


OVERSIZED_EVENT = ServerSentEvent("oversized", b"", None)
"""Stands for an event or a line of more than the maximum size; the stream cannot be read further."""


class SSEDecoder:
    """Incremental decoder. The events do not depend on where the bytes are split."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._pending: list[bytes | bytearray] = []  # the pieces of an incomplete line
        self._pending_bytes = 0
        self._at_start = True
        self._clear()

    def _clear(self) -> None:
        self._name = ""
        self._data: bytes | bytearray | None = None
        self._status: int | None = None

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Consume the next bytes and return the events that they complete.

        If the last one is `OVERSIZED_EVENT`, no further bytes may follow.
        """
        buffer, position = self._complete_line(data) if self._pending else data, 0
        events: list[ServerSentEvent] = []
        while position < len(buffer):
            # Between two events no field is set, and most events have the usual form.
            is_between_events = not (
                self._at_start or self._data is not None or self._name or self._status
            )
            if is_between_events and (typical := _TYPICAL_EVENT.match(buffer, position)):
                events.append(ServerSentEvent("result", typical[1].removesuffix(b"\r"), _HTTP_OK))
                position = typical.end()
                continue
            line_end = buffer.find(b"\n", position)
            if (line_end if line_end >= 0 else len(buffer)) - position > self._max_event_bytes:
                events.append(self._reject())
                break
            if line_end < 0:
                self._pending, self._pending_bytes = [buffer[position:]], len(buffer) - position
                break
            event = self._process_line(buffer[position:line_end].removesuffix(b"\r"))
            position = line_end + 1
            if event is not None:
                events.append(event)
                if event is OVERSIZED_EVENT:
                    break
        return events

    def flush(self) -> ServerSentEvent | None:
        """Return the last event if the stream ended without the blank line that completes an event."""
        last_line, self._pending = b"".join(self._pending).removesuffix(b"\r"), []
        event = self._process_line(last_line) if last_line else None
        return event or self._process_line(b"")

    def _complete_line(self, data: bytes) -> bytes:
        """Return the incomplete line and `data`, or nothing if the line remains incomplete."""
        self._pending.append(data)
        self._pending_bytes += len(data)
        if b"\n" in data or self._pending_bytes > self._max_event_bytes:
            pieces, self._pending = self._pending, []
            return b"".join(pieces)
        if len(self._pending) > _MAX_PIECES:
            first, *others = self._pending
            joined = first if isinstance(first, bytearray) else bytearray(first)
            joined += b"".join(others)  # takes linear time in a bytearray
            self._pending = [joined]
        return b""

    def _process_line(self, line: bytes) -> ServerSentEvent | None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(BOM)
        if not line:
            return self._dispatch()
        if line.startswith(_STATUS_COMMENT):
            digits = line[len(_STATUS_COMMENT) :].strip()
            self._status = int(digits) if _STATUS.fullmatch(digits) else None
            return None
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            return self._add_data(value)
        if field == b"event":
            self._name = value.decode("utf-8", "replace").strip()
        return None  # comments, ids, `retry` and unknown fields are ignored

    def _add_data(self, value: bytes) -> ServerSentEvent | None:
        if self._data is None:
            self._data = value
            return None
        if len(self._data) + len(value) >= self._max_event_bytes:
            return self._reject()
        if isinstance(self._data, bytes):
            self._data = bytearray(self._data)
        self._data += b"\n"
        self._data += value
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        event = None
        if self._data is not None:
            event = ServerSentEvent(self._name or "message", bytes(self._data), self._status)
        self._clear()
        return event

    def _reject(self) -> ServerSentEvent:
        self._clear()
        return OVERSIZED_EVENT
