"""Mapping of the service's error codes to exception classes and hints."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._answer import wire_json
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
    "RequestTimeOut": BailianTimeoutError,
    "ResponseTimeout": BailianTimeoutError,
    "InternalError.Timeout": BailianTimeoutError,
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
    # Billing errors have status 400 or even 429, but a retry cannot succeed.
    "Arrearage": BailianPermissionError,
    "CommodityNotPurchased": BailianPermissionError,
    "PrepaidBillOverdue": BailianPermissionError,
    "PostpaidBillOverdue": BailianPermissionError,
    "insufficient_quota": BailianPermissionError,
    # The service for knowledge bases has not been activated in the console.
    "BailianIndexServiceNotOpen": BailianPermissionError,
    "Index.BailianIndexServiceNotOpen": BailianPermissionError,
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
    "RetrivalFailed": BailianServerError,  # as on the error code page of 2026-02
    "RetrievalFailed": BailianServerError,
    # Knowledge services; the codes in capitals are from their error page, the others from other pages.
    "AgentApp": BailianNotFoundError,
    "Index.InvalidParameter": BailianRequestError,
    "INVALID_PARAMETER": BailianRequestError,
    "UNAUTHORIZED": BailianAuthenticationError,
    "FORBIDDEN": BailianPermissionError,
    "KB_NOT_FOUND": BailianNotFoundError,
    "RATE_LIMITED": BailianRateLimitError,
}
"""Class by code, or by the part of the code before the dot. Source: the service's error code page,
2026-02; for AccessKey and RAM errors, the common error codes of Alibaba Cloud's OpenAPI."""

_THROTTLING_CODES = ("Throttling", "RATE_LIMITED")

# Any other code for a timeout, such as `RETRIEVAL_TIMEOUT`.
_TIMEOUT_CODE_PATTERN = re.compile(r"time_?out$", re.IGNORECASE)

_CLASS_BY_STATUS: dict[int, type[BailianError]] = {
    401: BailianAuthenticationError,
    402: BailianPermissionError,
    403: BailianPermissionError,
    404: BailianNotFoundError,
    408: BailianTimeoutError,
    413: BailianContextOverflowError,
    429: BailianRateLimitError,
    504: BailianTimeoutError,
}

_KEY_HINT = (
    "check `api_key` or DASHSCOPE_API_KEY, and `region` or DASHSCOPE_REGION, because a key belongs to "
    "one region"
)
_ACTIVATION_HINT = "activate 知识库 (knowledge base) in the console"
_PURCHASE_HINT = "activate 百炼 (Model Studio) in the console"
_BILL_HINT = "pay the bill in the console"
_HINT_BY_CODE = {
    "InvalidApiKey": _KEY_HINT,
    "invalid_api_key": _KEY_HINT,
    "UNAUTHORIZED": _KEY_HINT,
    "AgentApp": "check that `agent_id` is the id of a knowledge service, not of an application, and "
    "that the service is published",
    "Model": "check that the workspace has access to the model",
    "App": "check that `app_id` is correct, that the application is published, and that it is in the "
    "workspace set by `workspace`, or else in the key's default workspace",
    "Workspace": "check `workspace` or DASHSCOPE_WORKSPACE",
    "NOT AUTHORIZED": "check `workspace` or DASHSCOPE_WORKSPACE",
    "WorkSpaceNotFound": "check `workspace` or DASHSCOPE_WORKSPACE",
    "FlowNotPublished": "publish the application in the console",
    "Arrearage": "check the account's balance",
    "PrepaidBillOverdue": _BILL_HINT,
    "PostpaidBillOverdue": _BILL_HINT,
    "CommodityNotPurchased": _PURCHASE_HINT,
    "AccessDenied.Unpurchased": _PURCHASE_HINT,
    "insufficient_quota": "check the account's quota and balance",
    "ModelNotFound": "check `app_model`, or the model that the application uses",
    "BailianIndexServiceNotOpen": _ACTIVATION_HINT,
    "Index.BailianIndexServiceNotOpen": _ACTIVATION_HINT,
}
_TIMEOUT_HINT = "the model, or a step of the application, exceeded the time limit of the service"
_GATEWAY_TIMEOUT_HINT = "the service, or a proxy in front of it, stopped waiting for the answer"

# The text of session errors is undocumented. The pattern must not match “session file”.
_SESSION_PATTERN = re.compile(r"\bsession(?![ _]?file)", re.IGNORECASE)
_INVALID_OR_EXPIRED_PATTERN = re.compile(
    r"expired?\b|invalid|unknown|not ?exist|not ?found|exceed|rounds", re.IGNORECASE
)
# A message about a failed node, from `readable_message`. A node may have a session of its own.
_NODE_PATTERN = re.compile(r"node ['\"]")
_CONTEXT_OVERFLOW_PATTERN = re.compile(
    r"range of input length|input length should be|maximum context", re.IGNORECASE
)
_FREE_QUOTA_CODE = "AllocationQuota.FreeTierOnly"
# A code for throttling may come with this message, but waiting does not help (observed by clients).
_FREE_QUOTA_PATTERN = re.compile(
    r"\bfree\b(?: \w+)? (?:quota|tier)\b[^.,]*\b(?:exceeded|exhausted|used up)", re.IGNORECASE
)
_FREE_QUOTA_HINT = "the free quota is used up: turn on paid use in the console, or use another model"
# Message of a workflow that receives variables in the format of an agent (error code page).
_NO_USER_ROLE = "do not contain elements with the role of user"
_WORKFLOW_HINT = "pass workflow variables directly, `BizParams(city=…)`, not as `user_prompt_params`"
_MAX_MESSAGE_CHARS, _MAX_BODY_CHARS, _MAX_ID_CHARS = 500, 300, 200
_FIRST_SERVER_ERROR = 500
_REJECTED_STATUSES = (400, 429)  # the request did not run, so it cannot have timed out


def readable_message(message: str) -> str:
    """Return the message of the service; for JSON text, return the message inside.

    If a node of a workflow fails, clients receive `{"nodeName": …, "errorInfo": …}` (unverified).
    """
    content = wire_json.parse_nested(message)
    if not isinstance(content, dict):
        return message
    node_name = content.get("nodeName")
    if "errorInfo" not in content and node_name is None:
        text = _find_message(content)
        return message if text is None else text
    info = _to_message(content.get("errorInfo")) or _find_message(content)
    if node_name is None:
        return info or message
    return f"node {str(node_name)!r}: {info}" if info else f"node {str(node_name)!r} failed"


def _find_message(content: dict[str, Any]) -> str | None:
    """Return the message in a JSON object, or None."""
    for name in ("message", "errorMessage", "error_msg", "errorMsg", "msg", "error"):
        if text := _to_message(content.get(name)):
            return text
    return None


def _to_message(value: Any) -> str:
    value = wire_json.parse_nested(value)
    if isinstance(value, dict):
        return _find_message(value) or json.dumps(value, ensure_ascii=False)
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def error_from_response(
    *,
    code: str,
    message: str,
    status: int,
    request_id: str | None = None,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> BailianError:
    """Return the exception for an error response; the code takes precedence over the status.

    The arguments contain no secrets. Without a message, the error shows the beginning of the body.

    Args:
        code: Code of the service.
        message: Message of the service, from `readable_message`.
        status: HTTP status, or the status in the frame.
        request_id: Id of the request.
        body: Body of the response.
        headers: Headers of the response.
    """
    message = message or _describe_body(body)
    family = code.partition(".")[0]
    cls = _choose_class(code, family, status)
    is_free_quota_exceeded = code == _FREE_QUOTA_CODE or (
        cls in {BailianRateLimitError, BailianPermissionError} and _FREE_QUOTA_PATTERN.search(message)
    )
    if is_free_quota_exceeded:
        cls = BailianPermissionError
    if cls in {BailianRequestError, BailianNotFoundError}:
        texts = (code,) if _NODE_PATTERN.match(message) else (code, message)
        if any(
            _SESSION_PATTERN.search(text) and _INVALID_OR_EXPIRED_PATTERN.search(text) for text in texts
        ):
            cls = BailianSessionError
        elif _CONTEXT_OVERFLOW_PATTERN.search(message):
            cls = BailianContextOverflowError
    text = message[:_MAX_MESSAGE_CHARS] or f"the service returned no error message (status {status})"
    if _NO_USER_ROLE in message:
        hint: str | None = _WORKFLOW_HINT
    elif is_free_quota_exceeded:
        hint = _FREE_QUOTA_HINT
    elif cls is BailianTimeoutError:
        hint = _TIMEOUT_HINT if code else _GATEWAY_TIMEOUT_HINT
    else:
        hint = _HINT_BY_CODE.get(code) or _HINT_BY_CODE.get(family)
    if hint:
        text = f"{text} ({hint})"
    return cls(
        text,
        code=code[:_MAX_ID_CHARS] or None,
        status_code=status,
        request_id=request_id and request_id[:_MAX_ID_CHARS],
        body=body,
        headers=headers,
    )


def _choose_class(code: str, family: str, status: int) -> type[BailianError]:
    cls = _CLASS_BY_CODE.get(code)
    if cls is None and _TIMEOUT_CODE_PATTERN.search(code) and status not in _REJECTED_STATUSES:
        cls = BailianTimeoutError
    cls = cls or _CLASS_BY_CODE.get(family) or _CLASS_BY_STATUS.get(status)
    if cls is None:
        cls = BailianServerError if status >= _FIRST_SERVER_ERROR else BailianRequestError
    return cls


def _describe_body(body: Any) -> str:
    if body is None:
        return ""
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=str)
    return text.strip()[:_MAX_BODY_CHARS]


def was_rejected_before_running(error: BailianError) -> bool:
    """Return whether an HTTP error implies that the request did not run.

    The selection of errors is our reading of the documented codes (unverified).
    """
    if error.status_code == 429:  # noqa: PLR2004
        is_throttled = (error.code or "").partition(".")[0] in _THROTTLING_CODES
        return is_throttled and isinstance(error, BailianRateLimitError)
    return error.status_code == 503 and isinstance(error, BailianServerError | BailianRateLimitError)  # noqa: PLR2004
