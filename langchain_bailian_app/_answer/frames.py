"""Parser that splits a response into frames but does not interpret their content.

It turns bytes into `Frame`, `ErrorFrame` and `InvalidFrame` objects. A plain JSON response is one
frame. Nulls, missing keys and unknown fields are accepted. `assembler` combines the frames into an
answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from langchain_bailian_app._answer import wire_json
from langchain_bailian_app._answer.repeated_field_cache import (
    MIN_CACHED_FRAME_BYTES,
    RepeatedFieldCache,
)
from langchain_bailian_app._answer.sse import BOM, ServerSentEvent, SSEDecoder

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLAIN_FIELDS = frozenset({"text", "finish_reason", "session_id"})
_OUTPUT_FIELDS = _PLAIN_FIELDS | {"thoughts", "doc_references", "workflow_message"}
_BODY_FIELDS = frozenset({"output", "usage", "request_id"})
# Values in a successful response: empty in the documentation, "Success" on related routes.
_SUCCESS_ENVELOPE: dict[str, set[Any]] = {
    "code": {None, "", "Success", "200", 200, 0},
    "message": {None, "", "success"},
}
_UNFINISHED = (None, "null", "")
_HTTP_OK = 200
_MIN_ERROR_STATUS = 400
_MAX_HEAD_CHARS = 300


@dataclass(slots=True)
class Frame:
    """A JSON response or one event of a stream, with wire names."""

    text: str = ""
    finish_reason: str | None = None
    """None until the answer ends. On the wire this is the string `"null"`, null, or an absent key."""

    session_id: str | None = None
    request_id: str | None = None
    thoughts: Sequence[dict[str, Any]] = ()
    doc_references: list[dict[str, Any]] | None = None
    workflow_message: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields that this version does not recognize, under their wire names."""


@dataclass(frozen=True, slots=True)
class ErrorFrame:
    """An error that the service reports, in a frame or in a response with HTTP status 200."""

    code: str
    message: str
    status: int
    """Status from the `:HTTP_STATUS/n` comment or the body; 200 if neither has one."""

    request_id: str | None
    body: Any


@dataclass(frozen=True, slots=True)
class InvalidFrame:
    """A response or a frame that is not a JSON object."""

    head: str
    """The beginning of the text of the response or frame."""


class FrameReader:
    """Incremental reader of frames. The result does not depend on where the bytes are split.

    The first byte decides whether the response is a stream or one JSON document. This also works if the
    content type is wrong or missing.
    """

    def __init__(self) -> None:
        self._sse = SSEDecoder()
        self._field_cache: RepeatedFieldCache | None = None  # created for the first large frame
        self._document: bytearray | None = None
        self._head = b""
        self._is_stream = False

    def feed(self, data: bytes) -> list[Frame | ErrorFrame | InvalidFrame]:
        """Consume the next bytes and return the frames that they complete."""
        if self._document is not None:
            self._document += data
            return []
        if not self._is_stream or len(self._head) < _MAX_HEAD_CHARS:
            self._head += data
        if not self._is_stream:
            start = self._head.removeprefix(BOM).lstrip()
            if not start or BOM.startswith(start):
                return []
            if start.startswith(b"{"):
                self._document = bytearray(start)
                return []
            data, self._is_stream = self._head, True
        return self._parse_events(self._sse.feed(data))

    def end(self) -> list[Frame | ErrorFrame | InvalidFrame]:
        """Return the frames completed by the end of the body; a truncated one is an `InvalidFrame`."""
        if self._document is not None:
            return self._parse_events([ServerSentEvent("message", bytes(self._document), None)])
        event = self._sse.flush()
        return [] if event is None else self._parse_events([event])

    @property
    def head(self) -> str:
        """The beginning of the response, for an error message."""
        return self._head[:_MAX_HEAD_CHARS].decode("utf-8", "replace").strip()

    def _loads(self, data: bytes) -> Any:
        if len(data) < MIN_CACHED_FRAME_BYTES:
            try:
                return orjson.loads(data)
            except orjson.JSONDecodeError:
                return wire_json.loads(data)
        if self._field_cache is None:
            self._field_cache = RepeatedFieldCache()
        return self._field_cache.loads(data)

    def _parse_events(self, events: list[ServerSentEvent]) -> list[Frame | ErrorFrame | InvalidFrame]:
        frames: list[Frame | ErrorFrame | InvalidFrame] = []
        for event in events:
            is_error = event.name == "error" or (event.status or _HTTP_OK) >= _MIN_ERROR_STATUS
            try:
                body = self._loads(event.data)
            except ValueError:
                body = None
            if not isinstance(body, dict):
                frames += _parse_non_json(event, is_error=is_error)
                continue
            is_plain = _BODY_FIELDS.issuperset(body)
            error_frame = (
                _parse_error(body, event, is_error=is_error) if is_error or not is_plain else None
            )
            frames.append(error_frame or _parse_frame(body, is_plain=is_plain))
        return frames


def _parse_non_json(event: ServerSentEvent, *, is_error: bool) -> list[ErrorFrame | InvalidFrame]:
    text = event.data.decode("utf-8", "replace")
    if is_error:
        return [ErrorFrame("", text[:_MAX_HEAD_CHARS], event.status or _HTTP_OK, None, text)]
    # No recording has `[DONE]`, but a gateway in between may add it, as in OpenAI's protocol.
    return [] if text.strip() in ("", "[DONE]") else [InvalidFrame(text[:_MAX_HEAD_CHARS])]


def _parse_error(body: dict[str, Any], event: ServerSentEvent, *, is_error: bool) -> ErrorFrame | None:
    error = body.get("error")
    if not (error or is_error) and _is_success(body, "code"):
        return None
    error = error if isinstance(error, dict) else {"message": error}
    code = body.get("code") or error.get("code") or error.get("type")
    status = event.status
    if status is None or status < _MIN_ERROR_STATUS:
        body_status = body.get("status_code")
        status = (
            body_status
            if isinstance(body_status, int) and body_status >= _MIN_ERROR_STATUS
            else (status or _HTTP_OK)
        )
    message = body.get("message") or error.get("message") or ""
    return ErrorFrame(str(code or ""), str(message), status, _to_text(body.get("request_id")), body)


def _is_success(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    return isinstance(value, str | int | None) and value in _SUCCESS_ENVELOPE[name]


def _parse_frame(body: dict[str, Any], *, is_plain: bool) -> Frame:
    output = body.get("output")
    if not isinstance(output, dict):
        output = {} if output is None else {"output": output}
    usage = body.get("usage")
    text, reason = output.get("text"), output.get("finish_reason")
    session_id, request_id = output.get("session_id"), body.get("request_id")
    frame = Frame(
        text if isinstance(text, str) else _to_text(text) or "",
        None if reason in _UNFINISHED else str(reason),
        session_id if isinstance(session_id, str) else _to_text(session_id),
        request_id if isinstance(request_id, str) else _to_text(request_id),
        usage=usage if isinstance(usage, dict) else None,
    )
    if is_plain and _PLAIN_FIELDS.issuperset(output):
        return frame
    unknown = {name: value for name, value in output.items() if name not in _OUTPUT_FIELDS}
    frame.thoughts = _parse_object_list("thoughts", output, unknown) or ()
    frame.doc_references = _parse_object_list("doc_references", output, unknown)
    workflow_message = output.get("workflow_message")
    if isinstance(workflow_message, dict):
        frame.workflow_message = workflow_message
    elif workflow_message is not None:
        unknown["workflow_message"] = workflow_message
    if unknown or not is_plain:
        frame.extra = _unknown_body_fields(body) | ({"output": unknown} if unknown else {})
    return frame


def _parse_object_list(
    name: str, output: dict[str, Any], unknown: dict[str, Any]
) -> list[dict[str, Any]] | None:
    """Return the objects in a list field; add the field to `unknown` if its shape is undocumented."""
    value = output.get(name)
    if value is None:
        return None
    if isinstance(value, list):
        objects = [item for item in value if isinstance(item, dict)]
        if len(objects) + value.count(None) < len(value):
            unknown[name] = value
        return objects
    unknown[name] = value
    return None


def _unknown_body_fields(body: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in body.items()
        if name not in _BODY_FIELDS and not (name in _SUCCESS_ENVELOPE and _is_success(body, name))
    }


def _to_text(value: Any) -> str | None:
    return None if value is None else str(value)
