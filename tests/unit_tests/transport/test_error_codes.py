"""Mapping of error responses to exception classes."""

import pytest

from langchain_bailian_app import errors
from langchain_bailian_app._transport.error_codes import (
    error_from_response,
    readable_message,
    was_rejected_before_running,
)
from langchain_bailian_app.emulator._http.errors import ERRORS
from langchain_bailian_app.errors import BailianError


@pytest.mark.parametrize(
    ("status", "code", "cls"),
    [
        (400, "InvalidParameter", errors.BailianRequestError),
        (400, "BadRequest.EmptyInput", errors.BailianRequestError),
        (400, "BadRequest.EmptyParameters", errors.BailianRequestError),
        (400, "FlowNotPublished", errors.BailianRequestError),
        (400, "Arrearage", errors.BailianPermissionError),
        (400, "DataInspectionFailed", errors.BailianContentFilterError),
        (400, "data_inspection_failed", errors.BailianContentFilterError),
        (400, "FaqRuleBlocked", errors.BailianContentFilterError),
        (400, "CustomRoleBlocked", errors.BailianContentFilterError),
        (400, "IPInfringementSuspect", errors.BailianContentFilterError),
        (401, "InvalidApiKey", errors.BailianAuthenticationError),
        (401, "invalid_api_key", errors.BailianAuthenticationError),
        (401, "NOT AUTHORIZED", errors.BailianAuthenticationError),
        (403, "App.AccessDenied", errors.BailianPermissionError),
        (403, "Workspace.AccessDenied", errors.BailianPermissionError),
        (403, "Model.AccessDenied", errors.BailianPermissionError),
        (403, "AccessDenied", errors.BailianPermissionError),
        (403, "AccessDenied.Unpurchased", errors.BailianPermissionError),
        (403, "AllocationQuota.FreeTierOnly", errors.BailianPermissionError),
        (404, "WorkSpaceNotFound", errors.BailianNotFoundError),
        (404, "ModelNotFound", errors.BailianNotFoundError),
        (404, "NotFound", errors.BailianNotFoundError),
        (429, "Throttling", errors.BailianRateLimitError),
        (429, "Throttling.RateQuota", errors.BailianRateLimitError),
        (429, "Throttling.BurstRate", errors.BailianRateLimitError),
        (429, "Throttling.AllocationQuota", errors.BailianRateLimitError),
        (429, "CommodityNotPurchased", errors.BailianPermissionError),
        (429, "PrepaidBillOverdue", errors.BailianPermissionError),
        (429, "PostpaidBillOverdue", errors.BailianPermissionError),
        (500, "InternalError", errors.BailianServerError),
        (500, "InternalError.Algo", errors.BailianServerError),
        (500, "SystemError", errors.BailianServerError),
        (500, "ModelServiceFailed", errors.BailianServerError),
        (500, "AppProcessFailed", errors.BailianServerError),
        (500, "InvokePluginFailed", errors.BailianServerError),
        (500, "RewriteFailed", errors.BailianServerError),
        (500, "RetrivalFailed", errors.BailianServerError),
        (500, "RetrievalFailed", errors.BailianServerError),
        (500, "RequestTimeOut", errors.BailianTimeoutError),
        (500, "ResponseTimeout", errors.BailianTimeoutError),
        (500, "InternalError.Timeout", errors.BailianTimeoutError),
        (504, "RETRIEVAL_TIMEOUT", errors.BailianTimeoutError),
        (403, "BailianIndexServiceNotOpen", errors.BailianPermissionError),
        (403, "Index.BailianIndexServiceNotOpen", errors.BailianPermissionError),
        (500, "ModelServingError", errors.BailianServerError),
        (503, "ModelUnavailable", errors.BailianServerError),
    ],
)
def test_the_code_takes_precedence_over_the_status(
    status: int, code: str, cls: type[BailianError]
) -> None:
    for reported_status in (status, 200, 418, 500):
        assert cls is type(error_from_response(code=code, message="x", status=reported_status))


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, errors.BailianRequestError),
        (401, errors.BailianAuthenticationError),
        (402, errors.BailianPermissionError),
        (403, errors.BailianPermissionError),
        (404, errors.BailianNotFoundError),
        (408, errors.BailianTimeoutError),
        (413, errors.BailianContextOverflowError),
        (422, errors.BailianRequestError),
        (429, errors.BailianRateLimitError),
        (500, errors.BailianServerError),
        (502, errors.BailianServerError),
        (503, errors.BailianServerError),
        (504, errors.BailianTimeoutError),
        (200, errors.BailianRequestError),
    ],
)
@pytest.mark.parametrize("code", ["", "NeverHeardOf", "NeverHeardOf.This"])
def test_an_unknown_code_is_classified_by_its_status(
    status: int, cls: type[BailianError], code: str
) -> None:
    assert cls is type(error_from_response(code=code, message="x", status=status))


@pytest.mark.parametrize(
    ("code", "message", "cls"),
    [
        ("InvalidParameter", "The session_id is invalid.", errors.BailianSessionError),
        ("InvalidParameter", "session abc does not exist", errors.BailianSessionError),
        ("InvalidParameter", "Session expired", errors.BailianSessionError),
        ("InvalidParameter", "session not found", errors.BailianSessionError),
        ("InvalidParameter", "Invalid session_id: abc", errors.BailianSessionError),
        ("InvalidParameter", "unknown session", errors.BailianSessionError),
        ("SessionNotFound", "x", errors.BailianSessionError),
        ("NotFound", "session not found", errors.BailianSessionError),
        ("InvalidParameter", "file_session_1 does not exist", errors.BailianRequestError),
        (
            "InvalidParameter",
            "Range of input length should be [1, 6000]",
            errors.BailianContextOverflowError,
        ),
        ("InvalidParameter", "The session goes well.", errors.BailianRequestError),
        ("InvalidParameter", "node 'session': invalid column", errors.BailianRequestError),
        ("InvalidParameter", "node 'HTTP': session expired", errors.BailianRequestError),
        (
            "InvalidParameter",
            "node '大模型': Range of input length should be [1, 6000]",
            errors.BailianContextOverflowError,
        ),
        ("Throttling", "session expired", errors.BailianRateLimitError),
        ("InternalError", "session not found", errors.BailianServerError),
    ],
)
def test_some_errors_are_recognized_by_their_message(
    code: str, message: str, cls: type[BailianError]
) -> None:
    assert cls is type(error_from_response(code=code, message=message, status=400))


FREE_QUOTA = "the free quota is used up: turn on paid use"
TIME_LIMIT = "exceeded the time limit of the service"
WORKSPACE = "check `workspace` or DASHSCOPE_WORKSPACE"

# Status, code, part of the hint (None: the message of the service is enough, or nothing can be done),
# and whether the request can safely be sent again.
DOCUMENTED_ERRORS = [
    (400, "InvalidParameter", None, False),
    (400, "BadRequest.EmptyInput", None, False),
    (400, "BadRequest.EmptyParameters", None, False),
    (400, "BadRequest.IllegalInput", None, False),
    (400, "FlowNotPublished", "publish the application", False),
    (400, "Arrearage", "check the account's balance", False),
    (400, "DataInspectionFailed", None, False),
    (400, "data_inspection_failed", None, False),
    (400, "FaqRuleBlocked", None, False),
    (400, "CustomRoleBlocked", None, False),
    (400, "IPInfringementSuspect", None, False),
    (401, "InvalidApiKey", "DASHSCOPE_API_KEY", False),
    (401, "invalid_api_key", "DASHSCOPE_API_KEY", False),
    (401, "NOT AUTHORIZED", WORKSPACE, False),
    (403, "App.AccessDenied", "check that `app_id` is correct", False),
    (403, "Workspace.AccessDenied", WORKSPACE, False),
    (403, "Model.AccessDenied", "access to the model", False),
    (403, "AccessDenied", None, False),
    (403, "AccessDenied.Unpurchased", "activate 百炼", False),
    (403, "AllocationQuota.FreeTierOnly", FREE_QUOTA, False),
    (403, "BailianIndexServiceNotOpen", "activate 知识库", False),
    (403, "Index.BailianIndexServiceNotOpen", "activate 知识库", False),
    (404, "WorkSpaceNotFound", WORKSPACE, False),
    (404, "ModelNotFound", "check `app_model`", False),
    (404, "NotFound", None, False),
    (429, "Throttling", None, True),
    (429, "Throttling.RateQuota", None, True),
    (429, "Throttling.BurstRate", None, True),
    (429, "Throttling.AllocationQuota", None, True),
    (429, "CommodityNotPurchased", "activate 百炼", False),
    (429, "PrepaidBillOverdue", "pay the bill", False),
    (429, "PostpaidBillOverdue", "pay the bill", False),
    (429, "insufficient_quota", "quota and balance", False),
    (500, "InternalError", None, False),
    (500, "InternalError.Algo", None, False),
    (500, "InternalError.Timeout", TIME_LIMIT, False),
    (500, "SystemError", None, False),
    (500, "ModelServiceFailed", None, False),
    (500, "AppProcessFailed", None, False),
    (500, "InvokePluginFailed", None, False),
    (500, "RewriteFailed", None, False),
    (500, "RetrivalFailed", None, False),
    (500, "RetrievalFailed", None, False),
    (500, "RequestTimeOut", TIME_LIMIT, False),
    (500, "ResponseTimeout", TIME_LIMIT, False),
    (500, "ModelServingError", None, False),
    (503, "ModelServingError", None, True),
    (503, "ModelUnavailable", None, True),
    (504, "RequestTimeOut", TIME_LIMIT, False),
    (504, "", "stopped waiting", False),
    (408, "", "stopped waiting", False),
]


@pytest.mark.parametrize(("status", "code", "hint", "is_retryable"), DOCUMENTED_ERRORS)
def test_each_documented_error_has_its_hint_and_can_be_repeated_or_not(
    *, status: int, code: str, hint: str | None, is_retryable: bool
) -> None:
    error = error_from_response(code=code, message="Refused.", status=status)

    assert error.code == (code or None)
    assert was_rejected_before_running(error) is is_retryable
    if hint is None:
        assert error.message == "Refused."
    else:
        assert error.message.startswith("Refused. (")
        assert hint in error.message


def test_the_documented_errors_are_those_of_the_emulator() -> None:
    documented = {code for _, code, _, _ in DOCUMENTED_ERRORS}

    assert set(ERRORS) == documented - {"", "insufficient_quota", "Index.BailianIndexServiceNotOpen"}


def test_a_response_without_a_message_gets_a_default_message() -> None:
    error = error_from_response(code="", message="", status=502)

    assert "502" in error.message
    assert error.code is None


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<h1>坏网关</h1>", "<h1>坏网关</h1>"),
        ({"detail": "拒绝", "code": None}, '{"detail": "拒绝", "code": null}'),
        (["no"], '["no"]'),
        ({"detail": "session expired"}, '{"detail": "session expired"}'),
    ],
)
def test_an_error_without_a_message_shows_its_body(body: object, text: str) -> None:
    error = error_from_response(code="", message="", status=400, body=body)

    assert text in error.message
    assert isinstance(error, errors.BailianSessionError) == ("session" in text)


def test_a_long_body_is_truncated_in_the_message() -> None:
    assert len(error_from_response(code="", message="", status=400, body="x" * 9000).message) == 300


def test_a_long_message_is_truncated_but_complete_in_the_body() -> None:
    error = error_from_response(
        code="X" * 9000,
        message="x" * 9000,
        status=400,
        request_id="r" * 9000,
        body={"message": "x" * 9000},
    )

    assert len(str(error)) < 1000
    assert error.body == {"message": "x" * 9000}


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (429, "Throttling", True),
        (429, "Throttling.RateQuota", True),
        (429, "", False),
        (429, "PrepaidBillOverdue", False),
        (503, "", True),
        (503, "ModelUnavailable", True),
        (500, "InternalError", False),
        (200, "Throttling", False),
        (400, "InvalidParameter", False),
        (408, "", False),
    ],
)
def test_only_throttling_and_503_mean_that_nothing_ran(
    *, status: int, code: str, expected: bool
) -> None:
    assert expected is was_rejected_before_running(
        error_from_response(code=code, message="x", status=status)
    )


def test_variables_in_the_format_of_agents_get_a_hint() -> None:
    message = "The input messages do not contain elements with the role of user."

    error = error_from_response(code="InvalidParameter", message=message, status=400)

    assert error.message.startswith(message)
    assert "pass workflow variables directly" in str(error)


@pytest.mark.parametrize(
    "message",
    [
        "Free allocated quota exceeded.",
        "free quota has been used up",
        "The free tier of the model has been exhausted.",
    ],
)
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (429, "Throttling.AllocationQuota"),
        (429, "Throttling"),
        (429, ""),
        (429, "LimitExceeded"),
        (403, "AllocationQuota.FreeTierOnly"),
        (429, "AllocationQuota.FreeTierOnly"),
        (403, "AccessDenied"),
        (403, ""),
    ],
)
def test_a_used_up_free_quota_is_not_a_rate_limit(status: int, code: str, message: str) -> None:
    error = error_from_response(code=code, message=message, status=status)

    assert type(error) is errors.BailianPermissionError
    assert not was_rejected_before_running(error)
    assert "paid" in str(error)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("Throttling.AllocationQuota", "Allocated quota exceeded, please increase your quota limit."),
        ("Throttling.RateQuota", "Requests rate limit exceeded; feel free to retry."),
    ],
)
def test_other_quotas_are_rate_limits(code: str, message: str) -> None:
    error = error_from_response(code=code, message=message, status=429)

    assert type(error) is errors.BailianRateLimitError
    assert was_rejected_before_running(error)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ('{"nodeName": "查库存", "errorInfo": "no such column"}', "node '查库存': no such column"),
        ('{"errorInfo": "no such column"}', "no such column"),
        (
            '{"nodeName": "查库存", "nodeId": "SQL_1", "errorInfo": "no such column"}',
            "node '查库存': no such column",
        ),
        (
            '{"nodeName":"查库存","errorInfo":"{\\"errorMessage\\":\\"no such column\\"}"}',
            "node '查库存': no such column",
        ),
        (
            '{"nodeName": "查库存", "errorInfo": {"code": "SQL.7", "detail": ["列"]}}',
            """node '查库存': {"code": "SQL.7", "detail": ["列"]}""",
        ),
        ('{"nodeName": "查库存"}', "node '查库存' failed"),
        ('{"nodeName": "查库存", "errorInfo": null}', "node '查库存' failed"),
        ('{"message": "no such column"}', "no such column"),
        ('{"error": {"message": "no such column"}}', "no such column"),
        ("[1]", "[1]"),
        ('{"a": 1}', '{"a": 1}'),
        ('{"nodeName": ', '{"nodeName": '),
        ("{" * 5000, "{" * 5000),
        ("no such column", "no such column"),
        ("", ""),
    ],
)
def test_a_message_that_is_json_is_parsed(message: str, text: str) -> None:
    assert readable_message(message) == text
