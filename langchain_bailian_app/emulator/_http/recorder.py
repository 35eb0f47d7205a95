"""What the emulator remembers of every request, for assertions. Secrets are removed.

Written by the server's thread, read by any other.
"""

import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

REDACTED = "[removed]"
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})


@dataclass(eq=False)
class RecordedRequest:
    """A request and the fate of its answer.

    Attributes:
        method: HTTP method.
        path: Path without the query.
        headers: Headers with lower-case names; the value of `authorization` is removed.
        body: The JSON body, `{}` if it is none; the values of `user_defined_tokens` are removed.
        size: Bytes of the body.
        app_id: The app asked, or `None` on another route.
        received_at: `time.monotonic()` when the body had been read.
        status: HTTP status of the answer, `None` until it begins.
        frames_sent: Frames written so far; of a replay, pieces.
        closed_at: `time.monotonic()` when the client was found gone before the answer's end.
        finished: Whether the whole answer was written.
        query: Parameters of the query string; of one that is repeated, the last.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    size: int
    app_id: str | None = None
    received_at: float = field(default_factory=time.monotonic)
    status: int | None = None
    frames_sent: int = 0
    closed_at: float | None = None
    finished: bool = False
    query: dict[str, str] = field(default_factory=dict)
    _done: threading.Event = field(default_factory=threading.Event, repr=False)

    def wait(self, timeout: float = 5.0) -> bool:
        """Wait until the answer is written or the client has gone; `False` after `timeout` s."""
        return self._done.wait(timeout)

    def end(self, *, finished: bool) -> None:
        """Note that the answer is over; called by the server."""
        self.finished = finished
        if not finished:
            self.closed_at = time.monotonic()
        self._done.set()


def record_request(
    method: str,
    path: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    *,
    query: Iterable[tuple[str, str]] = (),
    app_id: str | None = None,
) -> RecordedRequest:
    """Record a request, its secrets removed."""
    redacted_headers = {
        name.lower(): REDACTED if name.lower() in _SECRET_HEADERS else value for name, value in headers
    }
    redacted_body = _parse_redacted(body)
    return RecordedRequest(
        method, path, redacted_headers, redacted_body, len(body), app_id, query=dict(query)
    )


def _parse_redacted(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    if not isinstance(parsed, dict):
        return {}
    _redact_user_tokens(parsed)
    return parsed


def _redact_token(token: Any) -> Any:
    return dict.fromkeys(token, REDACTED) if isinstance(token, dict) else REDACTED


def _redact_user_tokens(body: dict[str, Any]) -> None:
    params: Any = body
    for name in ("input", "biz_params"):
        params = params.get(name) if isinstance(params, dict) else None
    if isinstance(params, dict) and "user_defined_tokens" in params:
        tokens = params["user_defined_tokens"]
        params["user_defined_tokens"] = (
            {tool: _redact_token(token) for tool, token in tokens.items()}
            if isinstance(tokens, dict)
            else REDACTED
        )
