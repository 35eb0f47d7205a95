"""What the emulator remembers of every request, for assertions. Secrets are removed.

Written by the server's thread, read by any other.
"""

import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

REMOVED = "[removed]"
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
    _over: threading.Event = field(default_factory=threading.Event, repr=False)

    def wait(self, timeout: float = 5.0) -> bool:
        """Wait until the answer is written or the client has gone; `False` after `timeout` s."""
        return self._over.wait(timeout)

    def end(self, *, finished: bool) -> None:
        """Note that the answer is over; called by the server."""
        self.finished = finished
        if not finished:
            self.closed_at = time.monotonic()
        self._over.set()


def record_of(
    method: str,
    path: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    *,
    query: Iterable[tuple[str, str]] = (),
    app_id: str | None = None,
) -> RecordedRequest:
    """Record a request, its secrets removed."""
    shown = {
        name.lower(): REMOVED if name.lower() in _SECRET_HEADERS else value for name, value in headers
    }
    public = _public_body(body)
    return RecordedRequest(method, path, shown, public, len(body), app_id, query=dict(query))


def _public_body(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    if not isinstance(parsed, dict):
        return {}
    _remove_tokens(parsed)
    return parsed


def _hidden(token: Any) -> Any:
    return dict.fromkeys(token, REMOVED) if isinstance(token, dict) else REMOVED


def _remove_tokens(body: dict[str, Any]) -> None:
    holder: Any = body
    for name in ("input", "biz_params"):
        holder = holder.get(name) if isinstance(holder, dict) else None
    if isinstance(holder, dict) and "user_defined_tokens" in holder:
        tokens = holder["user_defined_tokens"]
        holder["user_defined_tokens"] = (
            {tool: _hidden(token) for tool, token in tokens.items()}
            if isinstance(tokens, dict)
            else REMOVED
        )
