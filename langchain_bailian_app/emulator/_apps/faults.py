"""Transmission faults, which turn an intact response into a faulty one; see `App.faults`.

Pure: a fault returns the bytes to write, and how the response ends.
"""

import gzip
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

_JSON = "application/json"


@dataclass(frozen=True)
class FaultyResponse:
    """A response that is sent instead of the intact one."""

    chunks: Sequence[bytes]
    content_type: str = "text/event-stream;charset=UTF-8"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    end: Literal["proper", "abort", "stall", "reset"] = "proper"
    """End of the response after the last chunk: `proper` terminates the body, `abort` drops the
    connection, and `stall` sends nothing more. `reset` drops the connection before the first byte."""
    is_complete: bool = False
    """Whether the response contains the complete answer."""


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
    }
)
"""Faults by name. An error of the service itself (401, 429, …) is an `ErrorReply`."""


class Faults:
    """Random faults in an app's responses; the same shares and seed always yield the same faults.

    Args:
        shares: Name in `FAULTS` → share of the responses with this fault, from 0 to 1.
        seed: Seed of the random numbers. Default: 0.

    Raises:
        ValueError: A name is not in `FAULTS`.
    """

    def __init__(self, shares: Mapping[str, float], *, seed: int = 0) -> None:
        unknown = set(shares) - set(FAULTS)
        if unknown:
            message = f"unknown faults {sorted(unknown)}: expected names from {sorted(FAULTS)}"
            raise ValueError(message)
        self._shares = dict(shares)
        self._random = random.Random(seed)  # noqa: S311 - not for cryptography

    @classmethod
    def always(cls, name: str) -> "Faults":
        """Build faults that apply one fault to every response.

        Args:
            name: Name in `FAULTS`.

        Raises:
            ValueError: The name is not in `FAULTS`.
        """
        return cls({name: 1.0})

    def draw(self) -> Fault | None:
        """Draw the fault for the next response; None leaves the response intact."""
        remaining = self._random.random()
        for name, share in self._shares.items():
            remaining -= share
            if remaining < 0:
                return FAULTS[name]
        return None
