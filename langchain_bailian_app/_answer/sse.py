"""Parser of server-sent events, the first step of reading a stream.

The parser handles the framing, not the meaning of a frame. It works on bytes for two reasons. Text is
never split inside a character, and U+2028, U+2029 and U+0085 remain part of the text, although
`str.splitlines` treats them as line ends.
"""

from __future__ import annotations

import re
from typing import NamedTuple

BOM = b"\xef\xbb\xbf"
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


class SSEDecoder:
    """Incremental decoder. The events do not depend on where the bytes are split."""

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._at_start = True
        self._clear()

    def _clear(self) -> None:
        self._name = ""
        self._data: list[bytes] = []
        self._status: int | None = None

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Consume the next bytes and return the events that they complete."""
        buffer, position = data, 0
        events: list[ServerSentEvent] = []
        if self._pending:
            self._pending.append(data)
            if b"\n" not in data:
                return events  # the pieces of a long line are joined once, at its end
            buffer, self._pending = b"".join(self._pending), []
        while position < len(buffer):
            # Between two events no field is set, and most events have the usual form.
            is_between_events = not (self._at_start or self._data or self._name or self._status)
            if is_between_events and (typical := _TYPICAL_EVENT.match(buffer, position)):
                events.append(ServerSentEvent("result", typical[1].removesuffix(b"\r"), _HTTP_OK))
                position = typical.end()
                continue
            line_end = buffer.find(b"\n", position)
            if line_end < 0:
                if position < len(buffer):
                    self._pending = [buffer[position:]]
                break
            event = self._process_line(buffer[position:line_end].removesuffix(b"\r"))
            position = line_end + 1
            if event is not None:
                events.append(event)
        return events

    def flush(self) -> ServerSentEvent | None:
        """Return the last event if the stream ended without the blank line that completes an event."""
        last_line, self._pending = b"".join(self._pending).removesuffix(b"\r"), []
        if last_line:
            self._process_line(last_line)
        return self._process_line(b"")

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
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace").strip()
        return None  # comments, ids, `retry` and unknown fields are ignored

    def _dispatch(self) -> ServerSentEvent | None:
        event = None
        if self._data:
            event = ServerSentEvent(self._name or "message", b"\n".join(self._data), self._status)
        self._clear()
        return event
