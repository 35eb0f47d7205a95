"""What can go wrong, as classes that code for either library already catches.

```
ModelError (langchain-core) · DashScopeError (dashscope)
└─ BailianError                        everything below
   ├─ BailianAuthenticationError       the key is missing, wrong, or of another workspace
   ├─ BailianPermissionError           no access to the application or the model, or unpaid bills
   ├─ BailianRequestError              the service refuses the request
   │  ├─ BailianContentFilterError     ... because of its content, or that of the answer
   │  ├─ BailianContextOverflowError   ... because it is too long
   │  └─ BailianSessionError           ... because the session is unknown or has expired
   ├─ BailianNotFoundError             the model, workspace or address does not exist
   ├─ BailianRateLimitError            too many requests
   ├─ BailianServerError               the service or a plugin failed
   ├─ BailianFileError                 a file cannot be asked about
   ├─ BailianUploadError               some of several files cannot
   ├─ BailianTimeoutError              no answer in time
   └─ BailianConnectionError           no connection, or it was lost
      └─ BailianStreamError            the answer ended before it was complete
```

Wrong arguments are a `ValueError` (a `TypeError` for an unknown keyword) before anything is sent.
"""

from __future__ import annotations

import email.utils
import json
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from dashscope.v2 import errors as ds
from langchain_core import exceptions as lc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages import AIMessage

    from langchain_bailian_app._session_files import SessionFile


class ErrorResponse(NamedTuple):
    """What the service replied, in the shape in which LangChain's traces look for it."""

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
    """Anything that failed in a call to an application."""

    is_retryable: bool = False
    """Whether the request certainly did not run, so that sending it again repeats nothing."""

    retry_after: float | None = None
    """Seconds after which the service asks to come back."""

    partial: AIMessage | None = None
    """What had come of the answer, if anything had."""

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
            message,
            code=code,
            status_code=status_code,
            request_id=request_id,
            body=body,
            headers=dict(headers or {}),
        )
        self.retry_after = _retry_after(self.headers)

    @property
    def response(self) -> ErrorResponse:
        """The service's reply."""
        return ErrorResponse(self.status_code, self.headers, self.body)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message,), self.__dict__.copy()


class BailianAuthenticationError(BailianError, ds.AuthenticationError, lc.ModelAuthenticationError):
    """The key is missing, wrong, or of another workspace."""


class BailianPermissionError(BailianError, ds.PermissionDeniedError, lc.ModelPermissionDeniedError):
    """No access to the application or the model, or unpaid bills."""


class BailianRequestError(BailianError, ds.BadRequestError, lc.ModelInvalidRequestError):
    """The service refuses the request."""


class BailianContentFilterError(BailianRequestError, ds.ContentFilterError):
    """The service refuses the content of the request or of the answer."""


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
    """No connection, or it was lost."""


class BailianTimeoutError(BailianError, ds.APITimeoutError, lc.ModelTimeoutError):
    """No answer in time; the message names the setting."""


class BailianStreamError(BailianConnectionError):
    """The answer ended before it was complete; `partial` has what had come."""


class BailianFileError(BailianError):
    """A file did not become ready for questions; the message has the reason."""

    name: str | None = None
    """Name of the file."""

    file_id: str | None = None
    """Its id, if the service has given it one."""

    status: str | None = None
    """What the service says of it, if it says that it failed."""


class BailianUploadError(BailianError):
    """Some of several files did not become ready."""

    files: list[SessionFile]
    """Those that are ready."""

    errors: list[BailianFileError]
    """Why the others are not, each with its `name`."""


_BY_CODE: dict[str, type[BailianError]] = {
    "InvalidApiKey": BailianAuthenticationError,
    "invalid_api_key": BailianAuthenticationError,
    "NOT AUTHORIZED": BailianAuthenticationError,
    "InvalidAccessKeyId": BailianAuthenticationError,
    "InvalidSecurityToken": BailianAuthenticationError,
    "SignatureDoesNotMatch": BailianAuthenticationError,
    "Forbidden": BailianPermissionError,
    "NoPermission": BailianPermissionError,
    "AccessDenied": BailianPermissionError,
    "App": BailianPermissionError,
    "Workspace": BailianPermissionError,
    "Model.AccessDenied": BailianPermissionError,
    "AllocationQuota": BailianPermissionError,
    # Bills come as 400 and even as 429, but waiting does not pay them.
    "Arrearage": BailianPermissionError,
    "CommodityNotPurchased": BailianPermissionError,
    "PrepaidBillOverdue": BailianPermissionError,
    "PostpaidBillOverdue": BailianPermissionError,
    "insufficient_quota": BailianPermissionError,
    "DataInspectionFailed": BailianContentFilterError,
    "data_inspection_failed": BailianContentFilterError,
    "FaqRuleBlocked": BailianContentFilterError,
    "CustomRoleBlocked": BailianContentFilterError,
    "IPInfringementSuspect": BailianContentFilterError,
    "InvalidParameter": BailianRequestError,
    "BadRequest": BailianRequestError,
    "FlowNotPublished": BailianRequestError,
    "WorkSpaceNotFound": BailianNotFoundError,
    "ModelNotFound": BailianNotFoundError,
    "Model.NotExist": BailianNotFoundError,
    "NotFound": BailianNotFoundError,
    "Throttling": BailianRateLimitError,
    "InternalError": BailianServerError,
    "SystemError": BailianServerError,
    "ModelServiceFailed": BailianServerError,
    "ModelServingError": BailianServerError,
    "ModelUnavailable": BailianServerError,
    "AppProcessFailed": BailianServerError,
    "InvokePluginFailed": BailianServerError,
    "RewriteFailed": BailianServerError,
    "RetrivalFailed": BailianServerError,
    "RequestTimeOut": BailianTimeoutError,
}
"""Class by code, or by its part before the dot. Source: the service's page of error codes, 2026-02; for
AccessKeys and RAM the codes common to Alibaba Cloud's OpenAPI."""

_BY_STATUS: dict[int, type[BailianError]] = {
    401: BailianAuthenticationError,
    402: BailianPermissionError,
    403: BailianPermissionError,
    404: BailianNotFoundError,
    408: BailianTimeoutError,
    413: BailianContextOverflowError,
    429: BailianRateLimitError,
}

_HINTS = {
    "InvalidApiKey": "check `api_key` or DASHSCOPE_API_KEY, and that the key is of the region called",
    "invalid_api_key": "check `api_key` or DASHSCOPE_API_KEY, and the region called",
    "Model": "check that the workspace may use the model",
    "App": "check `app_id`, that the application is published, and that it is in the workspace of the "
    "key or of `workspace`",
    "Workspace": "check `workspace` or DASHSCOPE_WORKSPACE",
    "NOT AUTHORIZED": "check `workspace` or DASHSCOPE_WORKSPACE",
    "WorkSpaceNotFound": "check `workspace` or DASHSCOPE_WORKSPACE",
    "FlowNotPublished": "publish the application in the console",
    "Arrearage": "check the account's balance",
    "RequestTimeOut": "the model took too long for the service",
}

# No source tells how the service says it; a session file is something else.
_SESSION = re.compile(r"\bsession(?![ _]?file)", re.IGNORECASE)
_GONE = re.compile(r"expired?\b|invalid|unknown|not ?exist|not ?found|exceed|rounds", re.IGNORECASE)
_TOO_LONG = re.compile(r"range of input length|input length should be|maximum context", re.IGNORECASE)
# What a workflow says of variables in the form of agents (error-code page).
_NO_USER = "do not contain elements with the role of user"
_WORKFLOW_HINT = "a workflow takes its variables flat, `BizParams(city=…)`, and no `user_prompt_params`"
_SHOWN = 500
_FIRST_SERVER_ERROR = 500


def from_reply(
    *,
    code: str,
    message: str,
    status: int,
    request_id: str | None = None,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> BailianError:
    """Return the error that a reply of the service stands for; its code decides before its status."""
    family = code.partition(".")[0]
    cls = _BY_CODE.get(code) or _BY_CODE.get(family) or _BY_STATUS.get(status)
    if cls is None:
        cls = BailianServerError if status >= _FIRST_SERVER_ERROR else BailianRequestError
    if cls in {BailianRequestError, BailianNotFoundError}:
        if any(_SESSION.search(text) and _GONE.search(text) for text in (code, message)):
            cls = BailianSessionError
        elif _TOO_LONG.search(message):
            cls = BailianContextOverflowError
    text = message[:_SHOWN] or f"the service gives no reason (status {status})"
    hint = _WORKFLOW_HINT if _NO_USER in message else _HINTS.get(code) or _HINTS.get(family)
    if hint:
        text = f"{text} ({hint})"
    return cls(
        text,
        code=code or None,
        status_code=status,
        request_id=request_id,
        body=body,
        headers=headers,
    )


def refused_at_the_door(error: BailianError) -> bool:
    """Whether an HTTP error status says that the request did not run.

    That it does so for these is our reading of the codes, unverified.
    """
    if error.status_code == 429:  # noqa: PLR2004
        return (error.code or "").partition(".")[0] == "Throttling"
    return error.status_code == 503 and isinstance(error, BailianServerError | BailianRateLimitError)  # noqa: PLR2004


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read `Retry-After`: seconds, or a date."""
    value = next((value for name, value in headers.items() if name.lower() == "retry-after"), None)
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, date.timestamp() - time.time())
