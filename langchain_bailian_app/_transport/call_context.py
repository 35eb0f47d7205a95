"""Context of a call in a thread, which our HTTP transport shares with the transport that calls it.

dashscope's `open_stream` and httpx are between the two, and have no arguments for it.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from langchain_bailian_app._transport.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


class CallContext:
    """The deadline of a call, and the body of its response.

    Attributes:
        deadline: The deadline of the call.
        body: The body of the newest response; None before there is one.
    """

    __slots__ = ("body", "deadline")

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self.body: httpx.SyncByteStream | None = None

    def close_body(self) -> None:
        """Close the body of the response; further calls have no effect.

        If Ctrl-C interrupts httpx before it returns the response, no one else can close it.
        """
        if self.body is not None:
            self.body.close()

    @contextmanager
    def apply(self) -> Iterator[None]:
        """Apply this context to the requests that are sent inside the `with` statement."""
        token = _current_context.set(self)
        try:
            yield
        finally:
            _current_context.reset(token)


_current_context: ContextVar[CallContext | None] = ContextVar("current_context", default=None)


def current_context() -> CallContext:
    """Return the context of the call; without one, return a context whose deadline never passes."""
    return _current_context.get() or CallContext(Deadline())
