"""Parser that splits a response into frames but does not interpret their content.

It turns bytes into `Frame`, `ErrorFrame` and `InvalidFrame` objects. A plain JSON response is one
frame. Nulls, missing keys and unknown fields are accepted. `assembler` combines the frames into an
answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from langchain_bailian_app._answer import wire_json
from langchain_bailian_app._answer.repeated_field_cache import (
    MIN_CACHED_FRAME_BYTES,
    RepeatedFieldCache,
)
from langchain_bailian_app._answer.sse import (
    BOM,
    MAX_EVENT_BYTES,
    OVERSIZED_EVENT,
    ServerSentEvent,
    SSEDecoder,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLAIN_FIELDS = frozenset({"text", "finish_reason", "session_id", "reject_status"})
_OUTPUT_FIELDS = _PLAIN_FIELDS | {"thoughts", "doc_references", "workflow_message"}
_BODY_FIELDS = frozenset({"output", "usage", "request_id"})
# Values in a successful response: empty in the documentation, "Success" on related routes.
_SUCCESS_ENVELOPE: dict[str, set[Any]] = {
    "code": {None, "", "Success", "200", 200, 0},
    "message": {None, "", "success"},
}
_RUN_OBJECT = "response"  # `object` of a run on the Responses route
_FAILED = (False, "false")  # values of `success`
_ERROR_FIELDS = ("code", "error", "message")
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
    reject_status: bool | None = None
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
    """Empty if the body is not JSON, or has no message."""

    status: int
    """Status from the `:HTTP_STATUS/n` comment or the body; 200 if neither has one."""

    request_id: str | None
    body: Any
    """The JSON value, or the text if it is not JSON."""


@dataclass(frozen=True, slots=True)
class InvalidFrame:
    """A response or a frame that is not a JSON object, or that is too large."""

    head: str
    """The beginning of the text of the response or frame."""

    is_too_large: bool = False
    """Whether the size limit ended the response; no frame follows."""


class FrameReader:
    """Incremental reader of frames. The result does not depend on where the bytes are split.

    The first byte that is not white space decides whether the response is a stream or one JSON
    document. This also works if the content type is wrong or missing.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._sse = SSEDecoder(max_event_bytes)
        self._field_cache: RepeatedFieldCache | None = None  # created for the first large frame
        self._document: bytearray | None = None
        self._head = b""
        self._skipped_bytes = 0  # white space and the byte order mark
        self._is_stream = False
        self._is_head_complete = False
        self._is_too_large = False

    def feed(self, data: bytes) -> list[Frame | ErrorFrame | InvalidFrame]:
        """Consume the next bytes and return the frames that they complete.

        The response ends with an `InvalidFrame` if a frame is larger than the maximum size.
        """
        if self._is_head_complete:
            return self._parse_events(self._sse.feed(data))
        if self._is_too_large:
            return []
        if not self._is_stream and self._document is None:
            data = self._skip_white_space(data)
        if self._document is not None:
            self._document += data
        if max(self._skipped_bytes, len(self._document or b"")) > self._max_event_bytes:
            return [self._reject()]
        if not self._is_stream:
            return []
        self._head = (self._head + data)[:_MAX_HEAD_CHARS]
        self._is_head_complete = len(self._head) == _MAX_HEAD_CHARS
        return self._parse_events(self._sse.feed(data))

    def _reject(self) -> InvalidFrame:
        """Drop a frame that is too large, and ignore all further bytes."""
        self._is_too_large = True
        self._is_head_complete = self._is_stream = False
        self._document = None
        return InvalidFrame("", is_too_large=True)

    def _skip_white_space(self, data: bytes) -> bytes:
        """Return the bytes after leading white space; the first one decides what the response is."""
        start, self._head = self._head + data, b""
        if not self._skipped_bytes and len(start) < len(BOM) and BOM.startswith(start):
            self._head = start  # the byte order mark may be split
            return b""
        content = (start if self._skipped_bytes else start.removeprefix(BOM)).lstrip()
        self._skipped_bytes += len(start) - len(content)
        if content.startswith(b"{"):
            self._document = bytearray()
        else:
            self._is_stream = bool(content)
        return content

    def end(self) -> list[Frame | ErrorFrame | InvalidFrame]:
        """Return the frames completed by the end of the body; a truncated one is an `InvalidFrame`."""
        if self._document is not None:
            return self._parse_events([ServerSentEvent("message", bytes(self._document), None)])
        event = self._sse.flush()
        return [] if event is None else self._parse_events([event])

    @property
    def head(self) -> str:
        """The beginning of the response, for an error message."""
        return self._head.decode("utf-8", "replace").strip()

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
                if event is OVERSIZED_EVENT:
                    frames.append(self._reject())
                else:
                    frames += _parse_non_json(event, is_error=is_error)
                continue
            is_plain = _BODY_FIELDS.issuperset(body)
            if not is_plain and not is_error and body.get("object") == _RUN_OBJECT:
                frames.append(Frame(extra=body))  # `error` and `status` describe the run
            elif is_error or not (is_plain or _is_success(body)):
                frames.append(_parse_error(body, event.status))
            else:
                frames.append(_parse_frame(body, is_plain=is_plain))
        return frames


def parse_error_response(content: bytes, status: int) -> ErrorFrame:
    """Return the error in a response with an error status: a JSON document, a stream, or any text."""
    decoder = SSEDecoder()
    events = [*decoder.feed(content), decoder.flush()]
    stream_data = [event.data for event in events if event is not None]
    body: Any = content.decode("utf-8", "replace")
    for data in (content.removeprefix(BOM), *stream_data):
        try:
            document = wire_json.loads(data)
        except ValueError:
            continue
        if isinstance(document, dict) or not isinstance(body, dict):
            body = document
        if isinstance(document, dict) and any(map(document.get, _ERROR_FIELDS)):
            break  # frames of an answer may come before the error
    if not isinstance(body, dict):
        return ErrorFrame("", "", status, None, body)
    return _parse_error(body, status)


def _parse_non_json(event: ServerSentEvent, *, is_error: bool) -> list[ErrorFrame | InvalidFrame]:
    text = event.data.decode("utf-8", "replace")
    if is_error:
        return [ErrorFrame("", "", event.status or _HTTP_OK, None, text)]
    # No recording has `[DONE]`, but a gateway in between may add it, as in OpenAI's protocol.
    return [] if text.strip() in ("", "[DONE]") else [InvalidFrame(text[:_MAX_HEAD_CHARS])]


def _parse_error(body: dict[str, Any], status: int | None) -> ErrorFrame:
    error = body.get("error")
    error = error if isinstance(error, dict) else {"message": error}
    code = None if _has_success_value(body, "code") else body["code"]
    code = code or error.get("code") or error.get("type")
    if status is None or status < _MIN_ERROR_STATUS:
        status = _find_error_status(body) or status or _HTTP_OK
    message = body.get("message") or error.get("message") or ""
    if isinstance(message, dict | list):
        message = json.dumps(message, ensure_ascii=False)
    request_id = _to_text(body.get("request_id") or body.get("requestId"))
    return ErrorFrame(str(code or ""), str(message), status, request_id, body)


def _find_error_status(body: dict[str, Any]) -> int | None:
    """Return the error status in a body; routes differ in its name. `status` may also be a word."""
    for name in ("status_code", "status"):
        status = body.get(name)
        if isinstance(status, int) and status >= _MIN_ERROR_STATUS:
            return status
    return None


def _is_success(body: dict[str, Any]) -> bool:
    return (
        not body.get("error")
        and _has_success_value(body, "code")
        and body.get("success") not in _FAILED
        and _find_error_status(body) is None
    )


def _has_success_value(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    return isinstance(value, str | int | None) and value in _SUCCESS_ENVELOPE[name]


def _parse_frame(body: dict[str, Any], *, is_plain: bool) -> Frame:
    output = body.get("output")
    if not isinstance(output, dict):
        output = {} if output is None else {"output": output}
    usage = body.get("usage")
    text, reason = output.get("text"), output.get("finish_reason")
    session_id, request_id = output.get("session_id"), body.get("request_id")
    reject_status = output.get("reject_status")
    has_known_reject_status = reject_status is None or isinstance(reject_status, bool)
    frame = Frame(
        text if isinstance(text, str) else _to_answer_text(text),
        None if reason in _UNFINISHED else str(reason),
        session_id if isinstance(session_id, str) else _to_text(session_id),
        request_id if isinstance(request_id, str) else _to_text(request_id),
        reject_status if has_known_reject_status else None,
        usage=usage if isinstance(usage, dict) else None,
    )
    if is_plain and has_known_reject_status and _PLAIN_FIELDS.issuperset(output):
        return frame
    unknown = {name: value for name, value in output.items() if name not in _OUTPUT_FIELDS}
    if not has_known_reject_status:
        unknown["reject_status"] = reject_status
    frame.thoughts = _parse_object_list("thoughts", output, unknown) or ()
    frame.doc_references = _parse_object_list("doc_references", output, unknown)
    workflow_message = output.get("workflow_message")
    if isinstance(workflow_message, dict):
        frame.workflow_message = workflow_message
    elif workflow_message is not None:
        unknown["workflow_message"] = workflow_message
    if "choices" in unknown:
        frame.finish_reason = frame.finish_reason or _find_finish_reason(unknown["choices"])
    if unknown or not is_plain:
        frame.extra = _unknown_body_fields(body) | ({"output": unknown} if unknown else {})
    return frame


def _find_finish_reason(choices: Any) -> str | None:
    """Return the finish reason of an answer of a chat service, which is not that of a tool call."""
    for choice in choices if isinstance(choices, list) else ():
        message = choice.get("message") if isinstance(choice, dict) else None
        extra = message.get("extra") if isinstance(message, dict) else None
        is_answer = isinstance(extra, dict) and extra.get("step") == "generating"
        if is_answer and choice.get("finish_reason") not in _UNFINISHED:
            return str(choice["finish_reason"])
    return None


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
        if name not in _BODY_FIELDS
        and not (name in _SUCCESS_ENVELOPE and _has_success_value(body, name))
    }


def _to_answer_text(value: Any) -> str:
    """Return a text that is not a string, for example the JSON that a workflow returns."""
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _to_text(value: Any) -> str | None:
    return None if value is None else str(value)
