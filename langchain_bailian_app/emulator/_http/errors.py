"""Errors of the service: a table of error codes, and error replies built from the table.

Pure data. Other modules decide whether an error is sent as an HTTP status or as an `event:error` frame.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NoReturn, Self

# Texts of the service, including its mistakes.
_BAD_REQUEST = {
    "InvalidParameter": "The request has an invalid parameter.",
    "BadRequest.EmptyInput": 'Required input parameter "input" missing from request.',
    "BadRequest.EmptyParameters": 'Required parameter "parameters" missing from request.',
    "BadRequest.IllegalInput": "The input parameter requires json format.",
    "FlowNotPublished": "Flow has not published yet, please publish flow and try again.",
    "Arrearage": "Access denied, please make sure your account is in good standing.",
    "DataInspectionFailed": "Input or output data may contain inappropriate content.",
    "data_inspection_failed": "Input or output data may contain inappropriate content.",
    "FaqRuleBlocked": "Input or output data is blocked by faq rule.",
    "CustomRoleBlocked": "Input or output data may contain inappropriate content with custom rule.",
    "IPInfringementSuspect": "Input data is suspected of being involved in IP infringement.",
}
_UNAUTHORIZED = {
    "InvalidApiKey": "Invalid API-key provided.",
    "invalid_api_key": "Invalid API-key provided.",
    "NOT AUTHORIZED": "Workspace is not authorized, or it does not exist.",
}
_FORBIDDEN = {
    "App.AccessDenied": "App access denied.",
    "Workspace.AccessDenied": "Workspace access denied.",
    "Model.AccessDenied": "Model access denied.",
    "AccessDenied": "Access denied.",
    "AccessDenied.Unpurchased": "Access to model denied. Please make sure you are eligible.",
    "AllocationQuota.FreeTierOnly": "The free tier of the model has been exhausted.",
    # The code is from a client of the service; its status and its message are guesses.
    "BailianIndexServiceNotOpen": "The index service of Bailian is not open.",
}
_NOT_FOUND = {
    "WorkSpaceNotFound": "WorkSpace can not be found.",
    "ModelNotFound": "Model can not be found.",
    "NotFound": "Not found.",
}
_TOO_MANY_REQUESTS = {
    "Throttling": "Requests throttling triggered.",
    "Throttling.RateQuota": "Requests rate limit exceeded, please try again later.",
    "Throttling.BurstRate": "Request rate increased too quickly, please slow down.",
    "Throttling.AllocationQuota": "Allocated quota exceeded, please increase your quota limit.",
    "CommodityNotPurchased": "Commodity has not purchased yet.",
    "PrepaidBillOverdue": "The prepaid bill is overdue.",
    "PostpaidBillOverdue": "The postpaid bill is overdue.",
}
_SERVER_ERROR = {
    "InternalError": "An internal error has occurred, please try again later.",
    "InternalError.Algo": "An internal error has occurred during execution.",
    "SystemError": "An system error has occurred, please try again later.",
    "ModelServiceFailed": "Failed to request model service.",
    "AppProcessFailed": "Failed to proceed application request.",
    "InvokePluginFailed": "Failed to invoke plugin.",
    "RewriteFailed": "Failed to rewrite content for prompt.",
    "RetrivalFailed": "Failed to retrieve data from documents.",
    "RetrievalFailed": "Failed to retrieve data from documents.",
    "RequestTimeOut": "Request timed out, please try again later.",
    "InternalError.Timeout": "An internal timeout error has occurred, please try again later.",
    "ResponseTimeout": "Response timeout.",
    "ModelServingError": "Too many requests. Your requests are being throttled.",
}
_UNAVAILABLE = {"ModelUnavailable": "Model is unavailable, please try again later."}

ERRORS: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        code: (status, message)
        for status, messages in (
            (400, _BAD_REQUEST),
            (401, _UNAUTHORIZED),
            (403, _FORBIDDEN),
            (404, _NOT_FOUND),
            (429, _TOO_MANY_REQUESTS),
            (500, _SERVER_ERROR),
            (503, _UNAVAILABLE),
        )
        for code, message in messages.items()
    }
)
"""Error codes of the service → HTTP status and message."""


@dataclass
class ErrorReply:
    """An error of the service. An `App` with an `error` returns this error instead of its answer.

    Args:
        status: HTTP status, or the status in the comment line of an in-stream error.
        code: Code of the service, e.g. `Throttling.RateQuota`.
        message: Message of the service.
        headers: Additional response headers, e.g. `{"Retry-After": "1"}`.
        times: Number of replies with this error before the app answers normally. None (default) means
            no limit.
        in_stream_after: Number of frames after which a stream ends with an `event:error` frame, with
            HTTP status 200. None (default): the error is the HTTP response. A call without streaming
            always receives the error as an HTTP response.

    Attributes:
        given: Number of replies sent with this error.
    """

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int | None = None
    in_stream_after: int | None = None
    given: int = field(default=0, init=False)

    @classmethod
    def of(
        cls,
        code: str,
        *,
        message: str | None = None,
        headers: Mapping[str, str] | None = None,
        times: int | None = None,
        in_stream_after: int | None = None,
    ) -> Self:
        """Build the error reply for a code in `ERRORS`; `message` replaces the default message.

        Raises:
            ValueError: The code is not in `ERRORS`.
        """
        if code not in ERRORS:
            message = f"unknown error code {code!r}: expected one of {sorted(ERRORS)}"
            raise ValueError(message)
        status, default_message = ERRORS[code]
        return cls(status, code, message or default_message, headers or {}, times, in_stream_after)

    @classmethod
    def of_node(
        cls,
        code: str,
        node_name: str,
        error_info: str,
        *,
        times: int | None = None,
        in_stream_after: int | None = None,
    ) -> Self:
        """Build the error reply for a node of a workflow that fails; its message is JSON text.

        The fields of the JSON text are from a client of the service, not from a recording.

        Raises:
            ValueError: The code is not in `ERRORS`.
        """
        content = {"nodeName": node_name, "errorInfo": error_info}
        message = json.dumps(content, ensure_ascii=False)
        return cls.of(code, message=message, times=times, in_stream_after=in_stream_after)

    def take(self) -> bool:
        """Count one use of this error; return False if it was already used `times` times."""
        if self.times is not None and self.given >= self.times:
            return False
        self.given += 1
        return True

    def body(self, request_id: str) -> dict[str, str]:
        """Return the JSON body of the error response."""
        return {"code": self.code, "message": self.message, "request_id": request_id}


class RequestRefused(Exception):  # noqa: N818 - a refusal is a valid reply, not an error of the emulator
    """Raised before the first byte of a reply, to send this `ErrorReply` instead."""

    def __init__(self, reply: ErrorReply) -> None:
        super().__init__(f"{reply.code}: {reply.message}")
        self.reply = reply


def refuse(code: str, message: str | None = None) -> NoReturn:
    """Reject the request with a code in `ERRORS`.

    Raises:
        RequestRefused: Always.
    """
    raise RequestRefused(ErrorReply.of(code, message=message))
