"""Tests of the exceptions, which handlers for LangChain or dashscope also catch."""

import copy
import email.utils
import pickle
import time
import traceback
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from dashscope.v2 import errors as ds
from langchain_core import exceptions as lc
from langchain_core.messages import AIMessage

from langchain_bailian_app import errors
from langchain_bailian_app.errors import BailianError


def iter_classes(cls: type[BailianError] = BailianError) -> Iterator[type[BailianError]]:
    yield cls
    for subclass in cls.__subclasses__():
        yield from iter_classes(subclass)


CLASSES = sorted(set(iter_classes()), key=lambda cls: cls.__name__)


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


@pytest.mark.parametrize("cls", CLASSES)
def test_a_traceback_shows_the_name_of_the_class_once(cls: type[BailianError]) -> None:
    error = cls("No.", code="Code", status_code=500, request_id="r-1")

    (last_line,) = traceback.format_exception_only(error)

    assert (
        last_line
        == f"{errors.__name__}.{cls.__name__}: No. | code=Code | status_code=500 | request_id=r-1\n"
    )


def test_every_class_is_in_the_tree_of_the_docstring() -> None:
    assert all(cls.__name__ in str(errors.__doc__) for cls in CLASSES)


@pytest.mark.parametrize("cls", CLASSES)
def test_errors_are_not_retryable_by_default(cls: type[BailianError]) -> None:
    assert cls("x").is_retryable is False


def make_full_error(cls: type[BailianError]) -> BailianError:
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "copy_error",
    [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],  # noqa: S301
)
@pytest.mark.parametrize("cls", CLASSES)
def test_pickling_keeps_everything(cls: type[BailianError], copy_error: Any) -> None:
    error = make_full_error(cls)
    error.add_note("a note")

    duplicate = copy_error(error)

    assert type(error) is type(duplicate)
    assert vars(error) == vars(duplicate)
    assert str(error) == str(duplicate)
    assert error.args == duplicate.args
    assert error.response == duplicate.response


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_carries_the_response_of_the_service(cls: type[BailianError]) -> None:
    error = make_full_error(cls)

    assert (
        error.code,
        error.status_code,
        error.request_id,
        error.body,
        error.retry_after,
    ) == ("Throttling", 429, "r", {"code": "Throttling"}, 7.0)
    assert ("Too many requests." in str(error), "429" in str(error), "r" in str(error)) == (True,) * 3


def test_an_error_without_a_response_has_no_response_fields() -> None:
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


def test_the_response_has_the_shape_that_tracers_expect() -> None:
    response = make_full_error(BailianError).response

    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert response.json() == {"code": "Throttling"}
    assert response.text == '{"code": "Throttling"}'
    assert BailianError("x", body="plain").response.text == "plain"


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


def test_a_date_in_the_past_means_now() -> None:
    date = email.utils.formatdate(time.time() - 30, usegmt=True)

    assert BailianError("x", headers={"Retry-After": date}).retry_after == 0.0


@pytest.mark.parametrize(
    "value",
    [
        "nan",
        "Wed, 99 Oct 99999 07:28:00 GMT",
        "Wed, 21 Oct 2015 99:99:99 GMT",
        "Mon, 01 Jan 0001 00:00:00 -0000",
        " ",
        ",",
        "\x00",
        "1 Jan",
    ],
)
def test_an_invalid_retry_after_is_ignored(value: str) -> None:
    assert BailianError("x", headers={"Retry-After": value}).retry_after in {None, 0.0}


def test_control_characters_of_the_service_are_replaced_in_the_text_and_kept_in_the_body() -> None:
    text = "\x1b]0;title\x07\x1b[31mred\u202e\ud800\x9b\r\nnext\tcolumn"
    error = BailianError(text, code=text, request_id=text, body={"message": text})

    for shown in (str(error), error.message, str(error.args), str(error.code), str(error.request_id)):
        assert not set("\x1b\x07\u202e\ud800\x9b\r") & set(shown)
    assert "red" in str(error)
    assert "next\tcolumn" in str(error)
    assert error.body == {"message": text}
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301


def test_ids_of_any_type_become_text() -> None:
    ids: dict[str, Any] = {"code": 7, "request_id": ["r"]}
    error = BailianError("x", **ids)

    assert (error.code, error.request_id) == ("7", "['r']")
