"""Which error a reply of the service stands for: the tables of its codes, and what to do about them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from langchain_bailian_app.errors import (
    BailianAuthenticationError,
    BailianContentFilterError,
    BailianContextOverflowError,
    BailianError,
    BailianNotFoundError,
    BailianPermissionError,
    BailianRateLimitError,
    BailianRequestError,
    BailianServerError,
    BailianSessionError,
    BailianTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_CLASS_BY_CODE: dict[str, type[BailianError]] = {
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

_CLASS_BY_STATUS: dict[int, type[BailianError]] = {
    401: BailianAuthenticationError,
    402: BailianPermissionError,
    403: BailianPermissionError,
    404: BailianNotFoundError,
    408: BailianTimeoutError,
    413: BailianContextOverflowError,
    429: BailianRateLimitError,
}

_HINT_BY_CODE = {
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
_SESSION_PATTERN = re.compile(r"\bsession(?![ _]?file)", re.IGNORECASE)
_INVALID_OR_EXPIRED_PATTERN = re.compile(
    r"expired?\b|invalid|unknown|not ?exist|not ?found|exceed|rounds", re.IGNORECASE
)
_CONTEXT_OVERFLOW_PATTERN = re.compile(
    r"range of input length|input length should be|maximum context", re.IGNORECASE
)
# What a workflow says of variables in the form of agents (error-code page).
_NO_USER_ROLE = "do not contain elements with the role of user"
_WORKFLOW_HINT = "a workflow takes its variables flat, `BizParams(city=…)`, and no `user_prompt_params`"
_MAX_MESSAGE_CHARS = 500
_FIRST_SERVER_ERROR = 500


def error_from_response(
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
    cls = _CLASS_BY_CODE.get(code) or _CLASS_BY_CODE.get(family) or _CLASS_BY_STATUS.get(status)
    if cls is None:
        cls = BailianServerError if status >= _FIRST_SERVER_ERROR else BailianRequestError
    if cls in {BailianRequestError, BailianNotFoundError}:
        if any(
            _SESSION_PATTERN.search(text) and _INVALID_OR_EXPIRED_PATTERN.search(text)
            for text in (code, message)
        ):
            cls = BailianSessionError
        elif _CONTEXT_OVERFLOW_PATTERN.search(message):
            cls = BailianContextOverflowError
    text = message[:_MAX_MESSAGE_CHARS] or f"the service gives no reason (status {status})"
    hint = (
        _WORKFLOW_HINT
        if _NO_USER_ROLE in message
        else _HINT_BY_CODE.get(code) or _HINT_BY_CODE.get(family)
    )
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


def was_rejected_before_running(error: BailianError) -> bool:
    """Whether an HTTP error status says that the request did not run.

    That it does so for these is our reading of the codes, unverified.
    """
    if error.status_code == 429:  # noqa: PLR2004
        return (error.code or "").partition(".")[0] == "Throttling"
    return error.status_code == 503 and isinstance(error, BailianServerError | BailianRateLimitError)  # noqa: PLR2004
