"""Exceptions of this package, derived from those of LangChain and dashscope.

Handlers for the exceptions of LangChain or dashscope therefore also catch these.

```
ModelError (langchain-core) · DashScopeError (dashscope)
└─ BailianError                        everything below
   ├─ BailianAuthenticationError       the key is missing, wrong, or from another workspace
   ├─ BailianPermissionError           no access to the application or the model, unpaid bills, or a
   │                                   free quota that is used up
   ├─ BailianRequestError              the service rejected the request
   │  ├─ BailianContentFilterError     ... because of its content, or the answer's
   │  ├─ BailianContextOverflowError   ... because it is too long
   │  └─ BailianSessionError           ... because the session is unknown or has expired
   ├─ BailianNotFoundError             the model, workspace or address does not exist
   ├─ BailianRateLimitError            too many requests
   ├─ BailianServerError               the service or a plugin failed
   ├─ BailianFileError                 a file did not become ready for questions
   ├─ BailianUploadError               some of several files did not become ready
   ├─ BailianMemoryError               memories were not extracted, or only in part
   ├─ BailianRunCancelledError         a background run was cancelled
   ├─ BailianTimeoutError              no answer in time, or a time limit inside the service
   └─ BailianConnectionError           the connection failed or was lost
      └─ BailianStreamError            the answer ended before it was complete
```

Invalid arguments raise a `ValueError` (a `TypeError` for an unknown option) before anything is sent.
"""

from __future__ import annotations

import email.utils
import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from dashscope.v2 import errors as ds
from langchain_core import exceptions as lc

from langchain_bailian_app._answer.control_characters import replace_control_characters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages import AIMessage

    from langchain_bailian_app.options._session_files import SessionFile

__all__ = [
    "BailianAuthenticationError",
    "BailianConnectionError",
    "BailianContentFilterError",
    "BailianContextOverflowError",
    "BailianError",
    "BailianFileError",
    "BailianMemoryError",
    "BailianNotFoundError",
    "BailianPermissionError",
    "BailianRateLimitError",
    "BailianRequestError",
    "BailianRunCancelledError",
    "BailianServerError",
    "BailianSessionError",
    "BailianStreamError",
    "BailianTimeoutError",
    "BailianUploadError",
    "ErrorResponse",
]


class ErrorResponse(NamedTuple):
    """Response of the service, in the shape that LangChain's tracers expect."""

    status_code: int | None
    headers: Mapping[str, str]
    body: Any

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body if isinstance(self.body, str) else json.dumps(self.body, default=str)

    def json(self) -> Any:
        """Return the body."""
        return self.body


class BailianError(lc.ModelError, ds.DashScopeError):
    """Base class of all errors of calls to the service.

    In its message, code and request id, control characters are replaced by U+FFFD. `body` keeps them.

    Use:
        ```python
        from langchain_bailian_app import BailianAppChatModel
        from langchain_bailian_app.errors import BailianError

        try:
            BailianAppChatModel(api_key="wrong").invoke("什么是滞报金？")
        except BailianError as error:
            print(error.code, error.status_code, error.request_id, error.is_retryable, error.partial)
        ```
    """

    is_retryable: bool = False
    """Whether the request certainly did not run and can safely be sent again."""

    retry_after: float | None = None
    """Seconds to wait before a retry, as requested by the service (`Retry-After`); otherwise None."""

    partial: AIMessage | None = None
    """The part of the answer that was received before the error, if any."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status_code: int | None = None,
        request_id: str | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            replace_control_characters(message),
            code=_clean_text(code),
            status_code=status_code,
            request_id=_clean_text(request_id),
            body=body,
            headers=dict(headers or {}),
        )
        self.retry_after = _parse_retry_after(self.headers)

    @property
    def response(self) -> ErrorResponse:
        """Response of the service."""
        return ErrorResponse(self.status_code, self.headers, self.body)

    def __str__(self) -> str:
        # dashscope's text begins with the name of the class, which tracebacks also show.
        details = {
            "code": self.code,
            "status_code": self.status_code,
            "request_id": self.request_id,
        }
        shown_details = [f"{name}={value}" for name, value in details.items() if value]
        return " | ".join([self.message, *shown_details])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message,), self.__dict__.copy()


class BailianAuthenticationError(BailianError, ds.AuthenticationError, lc.ModelAuthenticationError):
    """The key is missing, wrong, or from another workspace."""


class BailianPermissionError(BailianError, ds.PermissionDeniedError, lc.ModelPermissionDeniedError):
    """No access to the application, the model or a service, unpaid bills, or a used-up free quota."""


class BailianRequestError(BailianError, ds.BadRequestError, lc.ModelInvalidRequestError):
    """The service rejected the request."""


class BailianContentFilterError(BailianRequestError, ds.ContentFilterError):
    """The service rejected the content of the request or of the answer."""


class BailianContextOverflowError(BailianRequestError, lc.ContextOverflowError):
    """The request is too long."""


class BailianSessionError(BailianRequestError):
    """The session is unknown or has expired."""


class BailianNotFoundError(BailianError, ds.NotFoundError, lc.ModelNotFoundError):
    """The model, workspace or address does not exist."""


class BailianRateLimitError(BailianError, ds.RateLimitError, lc.ModelRateLimitError):
    """Too many requests."""


class BailianServerError(BailianError, ds.InternalServerError, lc.ModelAPIError):
    """The service or one of the application's plugins failed."""


class BailianConnectionError(BailianError, ds.APIConnectionError, lc.ModelConnectionError):
    """The connection failed or was lost."""


class BailianTimeoutError(BailianError, ds.APITimeoutError, lc.ModelTimeoutError):
    """No answer in time.

    The message contains the name of the exceeded timeout. A `code` means that the service exceeded a
    time limit of its own, and the status 504 without a code that a gateway did.
    """


class BailianStreamError(BailianConnectionError):
    """The answer ended before it was complete; `partial` contains the received part."""


class BailianFileError(BailianError):
    """A file did not become ready for questions; the message contains the reason."""

    name: str | None = None
    """Name of the file, or the id that was passed to `wait_until_ready`."""

    file_id: str | None = None
    """Id of the file, if the service reported a failure for it."""

    status: str | None = None
    """Status of the file, if the service reported a failure for it."""


class BailianUploadError(BailianError):
    """Some of several files did not become ready."""

    files: list[SessionFile]
    """The files that are ready."""

    errors: list[BailianFileError]
    """The errors of the other files, each with its `name`."""


class BailianMemoryError(BailianError):
    """The service has ended the extraction of memories, and some of it has failed."""

    event: Any = None
    """The `MemoryEvent` with all entries, also those that have succeeded."""

    @classmethod
    def of_event(cls, message: str, event: Any) -> Self:
        """Return the error for an event."""
        error = cls(message, request_id=event.request_id)
        error.event = event
        return error


class BailianRunCancelledError(BailianError):
    """A background run was cancelled, so it has no answer."""


def _clean_text(value: Any) -> str | None:
    """Return a code or an id as text; the service may send a value of any type."""
    return None if value is None else replace_control_characters(str(value))


def _parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait from `Retry-After`, which contains seconds or a date."""
    value = next((value for name, value in headers.items() if name.lower() == "retry-after"), None)
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        date = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, LookupError, OverflowError, OSError):
        return None
    return max(0.0, date - time.time())
