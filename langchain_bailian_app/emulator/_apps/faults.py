"""Transmission faults, which turn an intact response into a faulty one; see `Faults`.

Pure: a fault returns the bytes to write, and how the response ends.
"""

import gzip
import json
import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

_JSON = "application/json"
_INTERIM_RESPONSES = 3
_BOMB_SIZE = 64 * 2**20
_GZIP_FORMAT = 31  # for zlib: a window of 32 KiB, in a gzip file


@dataclass(frozen=True)
class FaultyResponse:
    """A response that is sent instead of the intact one."""

    chunks: Sequence[bytes]
    content_type: str = "text/event-stream;charset=UTF-8"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    is_complete: bool = False
    """Whether the response contains the complete answer. Otherwise, the session keeps the text that was
    sent if `keep_aborted` is set."""
    interim_responses: int = 0
    """Number of responses with status 102 before this one."""
    drips: Literal["head", "body", "chunk-extension"] | None = None
    """Part that is sent one byte at a time: the status line and headers, the body, or an extension in
    the size line of the middle chunk."""
    end: Literal["proper", "abort", "stall", "heartbeats", "reset", "interim-responses"] = "proper"
    """What follows the last chunk: `proper` terminates the body, `abort` drops the connection, `stall`
    sends nothing more, and `heartbeats` sends comments (or white space after a JSON document) without
    an end. Instead of the first byte, `reset` drops the connection, and `interim-responses` sends
    responses with status 102 without an end."""
    unsolicited_response: Literal["copy", "408"] | None = None
    """Response that is sent on the idle connection: another copy of this one, right after its end, or a
    408, after `Faults.interval` seconds."""


Fault: TypeAlias = Callable[[Sequence[bytes], str], FaultyResponse]
"""Function that takes the events of the intact stream (or its JSON document) and the request id."""


def _take_first_half(events: Sequence[bytes]) -> list[bytes]:
    return list(events[: max(1, len(events) // 2)])


def _encode_error_body(request_id: str) -> bytes:
    body = {"code": "InternalError.Algo", "message": "broken on purpose", "request_id": request_id}
    return json.dumps(body).encode()


def _encode_frame(event: str, data: bytes, *, space: str = "", status: int = 200) -> bytes:
    prefix = f"id:99\n{event}:HTTP_STATUS/{status}\ndata:{space}".encode()
    return prefix + data + b"\n\n"


def _cut_mid_frame(events: Sequence[bytes], _: str) -> FaultyResponse:
    *complete, last = _take_first_half(events)
    return FaultyResponse([*complete, last[: len(last) // 2]], end="abort")


def _end_mid_frame(events: Sequence[bytes], _: str) -> FaultyResponse:
    *complete, last = _take_first_half(events)
    return FaultyResponse([*complete, last[: len(last) // 2]])


def _no_finish_reason(events: Sequence[bytes], _: str) -> FaultyResponse:
    return FaultyResponse(
        [event.replace(b'"finish_reason":"stop"', b'"finish_reason":"null"') for event in events],
        is_complete=True,
    )


def _finish_length(events: Sequence[bytes], _: str) -> FaultyResponse:
    return FaultyResponse(
        [event.replace(b'"finish_reason":"stop"', b'"finish_reason":"length"') for event in events],
        is_complete=True,
    )


def _error_frame(events: Sequence[bytes], request_id: str) -> FaultyResponse:
    return FaultyResponse(
        [
            *_take_first_half(events),
            _encode_frame("event:error\n", _encode_error_body(request_id), status=500),
        ]
    )


def _error_frame_with_space(events: Sequence[bytes], request_id: str) -> FaultyResponse:
    frame = _encode_frame("event: error\n", _encode_error_body(request_id), space=" ", status=500)
    return FaultyResponse([*_take_first_half(events), frame])


def _code_in_frame(events: Sequence[bytes], request_id: str) -> FaultyResponse:
    return FaultyResponse(
        [*_take_first_half(events), _encode_frame("event:result\n", _encode_error_body(request_id))]
    )


def _error_on_200(_: Sequence[bytes], request_id: str) -> FaultyResponse:
    return FaultyResponse([_encode_error_body(request_id)], content_type=_JSON)


def _output_null(_: Sequence[bytes], request_id: str) -> FaultyResponse:
    body: dict[str, Any] = {"output": None, "usage": {}, "request_id": request_id}
    return FaultyResponse([json.dumps(body).encode()], content_type=_JSON)


def _garbage_frame(events: Sequence[bytes], _: str) -> FaultyResponse:
    half = _take_first_half(events)
    return FaultyResponse([*half, b"data:{garbage\n\n", *events[len(half) :]], is_complete=True)


def _gzip(events: Sequence[bytes], _: str) -> FaultyResponse:
    compressed = gzip.compress(b"".join(events), mtime=0)
    middle = len(compressed) // 2
    halves = [compressed[:middle], compressed[middle:]]
    return FaultyResponse(halves, headers={"content-encoding": "gzip"}, is_complete=True)


def _stall_first(_: Sequence[bytes], __: str) -> FaultyResponse:
    return FaultyResponse([], end="stall")


def _stall_later(events: Sequence[bytes], _: str) -> FaultyResponse:
    return FaultyResponse(_take_first_half(events), end="stall")


def _reset(_: Sequence[bytes], __: str) -> FaultyResponse:
    return FaultyResponse([], end="reset")


def _html_502(_: Sequence[bytes], __: str) -> FaultyResponse:
    page = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
    return FaultyResponse([page], content_type="text/html", status=502)


def _redirect(_: Sequence[bytes], __: str) -> FaultyResponse:
    return FaultyResponse([], status=302, headers={"location": "https://elsewhere.example/api/v1/"})


def _drip_head(events: Sequence[bytes], _: str) -> FaultyResponse:
    return FaultyResponse(events, drips="head", is_complete=True)


def _drip_body(events: Sequence[bytes], _: str) -> FaultyResponse:
    return FaultyResponse(events, drips="body", is_complete=True)


def _drip_chunk_extension(events: Sequence[bytes], _: str) -> FaultyResponse:
    return FaultyResponse(events, drips="chunk-extension", is_complete=True)


def _drip_error_body(_: Sequence[bytes], request_id: str) -> FaultyResponse:
    body = _encode_error_body(request_id)
    return FaultyResponse([body], content_type=_JSON, status=500, drips="body")


def _interim_responses(events: Sequence[bytes], _: str) -> FaultyResponse:
    return FaultyResponse(events, interim_responses=_INTERIM_RESPONSES, is_complete=True)


def _endless_interim_responses(_: Sequence[bytes], __: str) -> FaultyResponse:
    return FaultyResponse([], end="interim-responses")


def _endless_heartbeats(events: Sequence[bytes], _: str) -> FaultyResponse:
    return FaultyResponse(events, end="heartbeats", is_complete=True)


def _duplicate_response(events: Sequence[bytes], _: str) -> FaultyResponse:
    return FaultyResponse(events, unsolicited_response="copy", is_complete=True)


def _idle_408(events: Sequence[bytes], _: str) -> FaultyResponse:
    return FaultyResponse(events, unsolicited_response="408", is_complete=True)


def _compress_bomb(events: Sequence[bytes]) -> bytes:
    """Return the compressed events; the JSON of the first one contains many spaces, which are valid."""
    compressor = zlib.compressobj(1, wbits=_GZIP_FORMAT)
    before, brace, after = b"".join(events).partition(b"{")
    spaces = b" " * 2**20
    parts = [compressor.compress(before + brace)]
    parts += [compressor.compress(spaces) for _ in range(_BOMB_SIZE // len(spaces))]
    return b"".join([*parts, compressor.compress(after), compressor.flush()])


def _gzip_bomb(events: Sequence[bytes], _: str) -> FaultyResponse:
    headers = {"content-encoding": "gzip"}
    return FaultyResponse([_compress_bomb(events)], headers=headers, is_complete=True)


def _gzip_twice(events: Sequence[bytes], _: str) -> FaultyResponse:
    body = gzip.compress(gzip.compress(b"".join(events), mtime=0), mtime=0)
    return FaultyResponse([body], headers={"content-encoding": "gzip, gzip"}, is_complete=True)


def _gzip_twice_bomb(events: Sequence[bytes], _: str) -> FaultyResponse:
    body = gzip.compress(_compress_bomb(events), mtime=0)
    return FaultyResponse([body], headers={"content-encoding": "gzip, gzip"}, is_complete=True)


FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "cut-mid-frame": _cut_mid_frame,
        "end-mid-frame": _end_mid_frame,
        "no-finish-reason": _no_finish_reason,
        "finish-length": _finish_length,
        "error-frame": _error_frame,
        "error-frame-with-space": _error_frame_with_space,
        "code-in-frame": _code_in_frame,
        "error-on-200": _error_on_200,
        "output-null": _output_null,
        "garbage-frame": _garbage_frame,
        "gzip": _gzip,
        "stall-first": _stall_first,
        "stall-later": _stall_later,
        "reset": _reset,
        "html-502": _html_502,
        "redirect": _redirect,
        "drip-head": _drip_head,
        "drip-body": _drip_body,
        "drip-chunk-extension": _drip_chunk_extension,
        "drip-error-body": _drip_error_body,
        "interim-responses": _interim_responses,
        "endless-interim-responses": _endless_interim_responses,
        "endless-heartbeats": _endless_heartbeats,
        "duplicate-response": _duplicate_response,
        "idle-408": _idle_408,
        "gzip-twice": _gzip_twice,
        "gzip-bomb": _gzip_bomb,
        "gzip-twice-bomb": _gzip_twice_bomb,
    }
)
"""Faults by name; `Faults` describes them."""


class Faults:
    """Random faults in an app's responses; the same shares and seed always yield the same faults.

    An error of the service itself (401, 429, …) is an `ErrorReply`. The faults are:

    - `cut-mid-frame`, `end-mid-frame`: the response ends inside a frame, and the connection is dropped,
      or the body is terminated properly.
    - `no-finish-reason`, `finish-length`: the finish reason of the last frame is `null` or `length`.
    - `error-frame`, `error-frame-with-space`, `code-in-frame`: half of the frames, then an error: an
      `event:error` frame, the same with spaces after the colons, or an error body in an `event:result`
      frame.
    - `error-on-200`, `output-null`: an error body, or a body without an answer, with status 200.
    - `garbage-frame`: one of the frames is not JSON.
    - `stall-first`, `stall-later`: nothing is sent after the headers, or after half of the frames.
    - `reset`: the connection is dropped instead of sending a response.
    - `html-502`, `redirect`: an HTML page with status 502, or status 302 with another host.
    - `drip-head`, `drip-body`, `drip-chunk-extension`, `drip-error-body`: the status line and headers,
      the body, a chunk extension (300 bytes that a client ignores), or the body of an error with status
      500 is sent one byte at a time. The response is complete.
    - `interim-responses`, `endless-interim-responses`: three responses with status 102 before the
      response, or such responses without an end and nothing else.
    - `endless-heartbeats`: after the last frame, the body does not end; it continues with comments (or
      white space, if the response is not a stream).
    - `duplicate-response`: the complete response is sent twice, so that the second one arrives on an
      idle connection.
    - `idle-408`: some time after the complete response, a response with status 408 is sent, and the
      connection is closed. It is not sent if the client has already sent another request.
    - `gzip`, `gzip-twice`: the response is compressed, or compressed twice
      (`Content-Encoding: gzip, gzip`).
    - `gzip-bomb`, `gzip-twice-bomb`: the first frame contains 64 MiB of white space, and the response
      is compressed once or twice, to less than 0.3 MB or less than 4 kB.

    Args:
        shares: Name of a fault → share of the responses with this fault, from 0 to 1.
        seed: Seed of the random numbers. Default: 0.
        interval: Seconds between the bytes of `drip-…`, the heartbeats or interim responses of
            `endless-…`, and before the 408 of `idle-408`. Default: 0.01.

    Attributes:
        interval: As above. You can change it at any time.

    Raises:
        ValueError: A name is not in `FAULTS`, or `interval` is negative.
    """

    def __init__(self, shares: Mapping[str, float], *, seed: int = 0, interval: float = 0.01) -> None:
        unknown = set(shares) - set(FAULTS)
        if unknown:
            message = f"unknown faults {sorted(unknown)}: expected names from {sorted(FAULTS)}"
            raise ValueError(message)
        if not interval >= 0:
            message = f"invalid `interval`: expected 0 or more seconds, got {interval!r}"
            raise ValueError(message)
        self.interval = interval
        self._shares = dict(shares)
        self._random = random.Random(seed)  # noqa: S311 - not for cryptography

    @classmethod
    def always(cls, name: str, *, interval: float = 0.01) -> "Faults":
        """Build faults that apply one fault to every response.

        Args:
            name: Name in `FAULTS`.
            interval: See `Faults`. Default: 0.01.

        Raises:
            ValueError: The name is not in `FAULTS`, or `interval` is negative.
        """
        return cls({name: 1.0}, interval=interval)

    def draw(self) -> Fault | None:
        """Draw the fault for the next response; None leaves the response intact."""
        remaining = self._random.random()
        for name, share in self._shares.items():
            remaining -= share
            if remaining < 0:
                return FAULTS[name]
        return None
