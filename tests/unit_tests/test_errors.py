"""What can go wrong, as classes that code for either library already catches."""

import copy
import email.utils
import pickle
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from dashscope.v2 import errors as ds
from langchain_core import exceptions as lc
from langchain_core.messages import AIMessage

from langchain_bailian_app import errors
from langchain_bailian_app._transport.error_codes import from_reply, refused_at_the_door
from langchain_bailian_app.errors import BailianError


def all_classes(cls: type[BailianError] = BailianError) -> Iterator[type[BailianError]]:
    yield cls
    for subclass in cls.__subclasses__():
        yield from all_classes(subclass)


CLASSES = sorted(set(all_classes()), key=lambda cls: cls.__name__)


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
        (500, "RequestTimeOut", errors.BailianTimeoutError),
        (500, "ModelServingError", errors.BailianServerError),
        (503, "ModelUnavailable", errors.BailianServerError),
    ],
)
def test_the_code_decides_before_the_status(status: int, code: str, cls: type[BailianError]) -> None:
    for told in (status, 200, 418, 500):
        assert cls is type(from_reply(code=code, message="x", status=told))


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
        (200, errors.BailianRequestError),
    ],
)
@pytest.mark.parametrize("code", ["", "NeverHeardOf", "NeverHeardOf.This"])
def test_the_status_decides_where_the_code_is_unknown(
    status: int, cls: type[BailianError], code: str
) -> None:
    assert cls is type(from_reply(code=code, message="x", status=status))


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
        ("Throttling", "session expired", errors.BailianRateLimitError),
        ("InternalError", "session not found", errors.BailianServerError),
    ],
)
def test_some_refusals_are_known_by_their_message(
    code: str, message: str, cls: type[BailianError]
) -> None:
    assert cls is type(from_reply(code=code, message=message, status=400))


@pytest.mark.parametrize(
    ("cls", "bases"),
    [
        (errors.BailianError, (ds.DashScopeError, lc.ModelError)),
        (errors.BailianAuthenticationError, (ds.AuthenticationError, lc.ModelAuthenticationError)),
        (errors.BailianPermissionError, (ds.PermissionDeniedError, lc.ModelPermissionDeniedError)),
        (errors.BailianRequestError, (ds.BadRequestError, lc.ModelInvalidRequestError)),
        (errors.BailianContentFilterError, (errors.BailianRequestError, ds.ContentFilterError)),
        (errors.BailianContextOverflowError, (errors.BailianRequestError, lc.ContextOverflowError)),
        (errors.BailianSessionError, (errors.BailianRequestError,)),
        (errors.BailianNotFoundError, (ds.NotFoundError, lc.ModelNotFoundError)),
        (errors.BailianRateLimitError, (ds.RateLimitError, lc.ModelRateLimitError)),
        (errors.BailianServerError, (ds.InternalServerError, lc.ModelAPIError)),
        (errors.BailianTimeoutError, (ds.APITimeoutError, lc.ModelTimeoutError)),
        (errors.BailianConnectionError, (ds.APIConnectionError, lc.ModelConnectionError)),
        (errors.BailianStreamError, (errors.BailianConnectionError,)),
    ],
)
def test_handlers_of_either_library_catch_an_error(
    cls: type[BailianError], bases: tuple[type[Exception], ...]
) -> None:
    assert issubclass(cls, BailianError)
    assert all(issubclass(cls, base) for base in bases)


def test_every_class_is_in_the_tree_of_the_docstring() -> None:
    assert all(cls.__name__ in str(errors.__doc__) for cls in CLASSES)


@pytest.mark.parametrize("cls", CLASSES)
def test_nothing_is_retryable_unless_someone_says_so(cls: type[BailianError]) -> None:
    assert cls("x").is_retryable is False


def full(cls: type[BailianError]) -> BailianError:
    error = cls(
        "Too many requests.",
        code="Throttling",
        status_code=429,
        request_id="r",
        body={"code": "Throttling"},
        headers=httpx.Headers({"Retry-After": "7"}),
    )
    error.is_retryable = True
    error.partial = AIMessage("说到一半")
    return error


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])  # noqa: S301
@pytest.mark.parametrize("cls", CLASSES)
def test_pickling_keeps_everything(cls: type[BailianError], copied: Any) -> None:
    error = full(cls)
    error.add_note("a note")

    again = copied(error)

    assert type(error) is type(again)
    assert vars(error) == vars(again)
    assert str(error) == str(again)
    assert error.args == again.args
    assert error.response == again.response


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_carries_what_the_service_said(cls: type[BailianError]) -> None:
    error = full(cls)

    assert (
        error.code,
        error.status_code,
        error.request_id,
        error.body,
        error.retry_after,
    ) == ("Throttling", 429, "r", {"code": "Throttling"}, 7.0)
    assert ("Too many requests." in str(error), "429" in str(error), "r" in str(error)) == (True,) * 3


def test_an_error_of_our_own_carries_nothing_of_the_service() -> None:
    error = errors.BailianTimeoutError("too slow")

    assert (
        error.code,
        error.status_code,
        error.request_id,
        error.body,
        error.headers,
        error.retry_after,
        error.partial,
    ) == (None, None, None, None, {}, None, None)


def test_the_reply_has_the_shape_that_traces_look_for() -> None:
    response = full(BailianError).response

    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert response.json() == {"code": "Throttling"}
    assert response.text == '{"code": "Throttling"}'
    assert BailianError("x", body="plain").response.text == "plain"


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("InvalidApiKey", "DASHSCOPE_API_KEY"),
        ("App.AccessDenied", "app_id"),
        ("Workspace.AccessDenied", "DASHSCOPE_WORKSPACE"),
        ("WorkSpaceNotFound", "DASHSCOPE_WORKSPACE"),
        ("NOT AUTHORIZED", "DASHSCOPE_WORKSPACE"),
        ("FlowNotPublished", "publish"),
        ("Arrearage", "balance"),
    ],
)
def test_the_message_says_what_to_do(code: str, hint: str) -> None:
    text = str(from_reply(code=code, message="Refused.", status=400))

    assert "Refused." in text
    assert hint in text
    assert code in text


def test_a_reply_without_a_message_is_said_to_have_none() -> None:
    error = from_reply(code="", message="", status=502)

    assert "502" in error.message
    assert error.code is None


def test_a_long_message_is_shown_in_part_and_kept_whole_in_the_body() -> None:
    error = from_reply(code="X", message="x" * 9000, status=400, body={"message": "x" * 9000})

    assert len(str(error)) < 1000
    assert error.body == {"message": "x" * 9000}


@pytest.mark.parametrize(
    ("value", "expected"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("0", 0.0), ("soon", None), ("", None), (" 7 ", 7.0)],
)
def test_retry_after_may_be_seconds(value: str, expected: float | None) -> None:
    assert expected == BailianError("x", headers={"retry-after": value}).retry_after


@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER"])
def test_retry_after_may_be_a_date(name: str) -> None:
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    wait = BailianError("x", headers={name: date}).retry_after

    assert wait is not None
    assert 25 < wait <= 30


def test_a_date_that_is_over_means_now() -> None:
    date = email.utils.formatdate(time.time() - 30, usegmt=True)

    assert BailianError("x", headers={"Retry-After": date}).retry_after == 0.0


@pytest.mark.parametrize(
    "value", ["nan", "Wed, 99 Oct 99999 07:28:00 GMT", "Wed, 21 Oct 2015 99:99:99 GMT"]
)
def test_a_nonsense_retry_after_is_no_obstacle(value: str) -> None:
    assert BailianError("x", headers={"Retry-After": value}).retry_after in {None, 0.0}


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
    assert expected is refused_at_the_door(from_reply(code=code, message="x", status=status))


def test_variables_in_the_form_of_agents_get_a_hint() -> None:
    message = "The input messages do not contain elements with the role of user."

    error = from_reply(code="InvalidParameter", message=message, status=400)

    assert error.message.startswith(message)
    assert "takes its variables flat" in str(error)
