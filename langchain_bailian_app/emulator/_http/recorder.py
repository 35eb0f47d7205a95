"""Records of all requests to the emulator, for assertions in tests. Secrets are removed.

The server's thread writes the records. Any thread can read them.
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
    """A recorded request and the status of its response.

    Attributes:
        method: HTTP method.
        path: Path without the query.
        headers: Headers with lower-case names; the values of `authorization`, `proxy-authorization`
            and `cookie` are replaced by `[removed]`.
        body: The JSON body, or `{}` if the body is not a JSON object; the values of
            `user_defined_tokens` are replaced by `[removed]`.
        size: Size of the body in bytes.
        app_id: Id of the application in the path; None for other routes.
        received_at: `time.monotonic()` after the body was read.
        status: HTTP status of the response; None until the response begins.
        frames_sent: Number of frames written; if the body is a replay, number of chunks.
        closed_at: `time.monotonic()` when an incomplete response ended, for example because the client
            disconnected; otherwise None.
        finished: Whether the complete response was written.
        query: Parameters of the query string; for a repeated parameter, the last value.
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
        """Wait until the response has ended; return False if that takes more than `timeout` seconds."""
        return self._done.wait(timeout)

    def end(self, *, finished: bool) -> None:
        """Mark the response as ended; called by the server."""
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
    """Build the record of a request, without its secrets."""
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
    except (ValueError, RecursionError):
        return {}
    if not isinstance(parsed, dict):
        return {}
    _redact_user_tokens(parsed)
    return parsed


def _redact_token(token: Any) -> Any:
    return dict.fromkeys(token, REDACTED) if isinstance(token, dict) else REDACTED


def _redact_user_tokens(body: dict[str, Any]) -> None:
    for parent in (body, body.get("input")):
        params = parent.get("biz_params") if isinstance(parent, dict) else None
        if not isinstance(params, dict) or "user_defined_tokens" not in params:
            continue
        tokens = params["user_defined_tokens"]
        params["user_defined_tokens"] = (
            {tool: _redact_token(token) for tool, token in tokens.items()}
            if isinstance(tokens, dict)
            else REDACTED
        )
