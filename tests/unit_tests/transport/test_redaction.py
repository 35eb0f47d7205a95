"""Removal of secrets from errors, and copies of causes without their request."""

from __future__ import annotations

import json
import pickle
from typing import Any

import httpx
import pytest

from langchain_bailian_app._transport.redaction import Redactor, copy_cause
from langchain_bailian_app.options._signed_urls import SignedUrl

KEY = "sk-0123456789"


@pytest.mark.parametrize(
    ("text", "complete", "truncated"),
    [
        (f"a {KEY} b {KEY}", "a [removed] b [removed]", "a [removed] b [removed]"),
        ("cut off: sk-01234567", "cut off: sk-01234567", "cut off: [removed]"),
        ("cut off: sk-0123", "cut off: sk-0123", "cut off: sk-0123"),  # too short to be useful
        ("sk-01234567 ends here", "sk-01234567 ends here", "sk-01234567 ends here"),
        ("nothing", "nothing", "nothing"),
    ],
)
def test_a_key_is_removed_from_a_text_and_its_beginning_from_a_truncated_text(
    text: str, complete: str, truncated: str
) -> None:
    assert Redactor([KEY]).text(text) == complete
    assert Redactor([KEY]).truncated_text(text) == truncated


def test_a_secret_that_contains_another_is_removed_completely() -> None:
    assert Redactor(["12345678", "12345678-abcdefgh"]).text("12345678-abcdefgh") == "[removed]"


def test_a_secret_can_be_added() -> None:
    redactor = Redactor(["token-123456"])

    assert redactor.with_secret(KEY).text(f"{KEY} token-123456") == "[removed] [removed]"
    assert redactor.with_secret(KEY).truncated_text("sk-01234567") == "[removed]"
    assert redactor.text(KEY) == KEY


def test_urls_in_parts_of_a_message_are_secrets() -> None:
    url = "https://files.example/cat.png?Signature=abcdefgh12345678"
    body = {"input": [{"content": [{"type": "input_image", "image_url": url}]}]}

    assert (
        Redactor.for_request("", body).text(f"bad {url}")
        == "bad https://files.example/cat.png?[removed]"
    )


def test_short_secrets_are_ordinary_text() -> None:
    assert Redactor(["k", ""]).text("kick") == "kick"


@pytest.mark.parametrize(
    "secret", ['pass"word', "back\\slash", "令牌和密钥和口令", "a=b&c<d>e'f", "😀😀😀😀😀😀😀😀"]
)
@pytest.mark.parametrize("ensure_ascii", [False, True])
def test_a_secret_that_a_json_text_escapes_is_removed(secret: str, *, ensure_ascii: bool) -> None:
    echo = json.dumps({"token": secret}, ensure_ascii=ensure_ascii)
    gson_echo = echo.replace("=", "\\u003d").replace("&", "\\u0026").replace("'", "\\u0027")
    gson_echo = gson_echo.replace("<", "\\u003c").replace(">", "\\u003e")
    redactor = Redactor([secret, "another secret"])

    assert redactor.text(echo) == redactor.text(gson_echo) == '{"token": "[removed]"}'
    assert redactor.truncated_text(echo[:-2]) == '{"token": "[removed]'


def test_secrets_are_removed_from_keys_and_values_at_any_depth() -> None:
    value = {KEY: [{"a": f"x{KEY}", "b": 1, "c": None, "d": KEY[:-1]}]}

    assert Redactor([KEY]).body(value) == {
        "[removed]": [{"a": "x[removed]", "b": 1, "c": None, "d": KEY[:-1]}]
    }


def test_a_body_that_is_not_json_may_be_truncated() -> None:
    assert Redactor([KEY]).body(f"x {KEY[:-1]}") == "x [removed]"


def test_deeply_nested_values_are_cut_off() -> None:
    value: Any = KEY
    for _ in range(5000):
        value = [value]

    assert KEY not in repr(Redactor([KEY]).body(value))


REQUEST_BODY = {
    "input": {
        "prompt": "https://host.example/?page=public-page",
        "image_list": [
            "https://host.example/1.png?Expires=1&Signature=signature%2B1",
            "https://host.example/2.png?size=original-size",
            "https://host.example/3.png",
        ],
        "biz_params": {
            "file": SignedUrl("https://host.example/2.txt?auth_key=1-second-2"),
            "other": "other-value",
            "user_defined_tokens": {"tool": {"user_token": "user-token-1", "more": ["user-token-2"]}},
        },
    }
}


@pytest.mark.parametrize(
    ("echo", "expected"),
    [
        ("Expires=1&Signature=signature%2B1", "[removed]"),
        ("the signature is signature%2B1", "the signature is [removed]"),
        ("the signature is signature+1", "the signature is [removed]"),
        ("/2.png?size=original-size", "/2.png?[removed]"),
        ("1-second-2", "[removed]"),
        ("user-token-1 user-token-2", "[removed] [removed]"),
        (KEY, "[removed]"),
        # A parameter is not a secret by itself, and the text of a prompt never is.
        ("original-size", "original-size"),
        ("page=public-page, other-value", "page=public-page, other-value"),
    ],
)
def test_tokens_and_signatures_of_a_request_are_removed(echo: str, expected: str) -> None:
    assert Redactor.for_request(KEY, REQUEST_BODY).text(echo) == expected


@pytest.mark.parametrize(
    "text", ["InvalidSignature", "no response", "Throttling", "https://a.example/?"]
)
def test_the_beginning_of_a_query_is_ordinary_text(text: str) -> None:
    urls = ["https://host.example/1.png?Signature=abcdefgh", "https://host.example/?response-type=x"]
    redactor = Redactor([KEY], urls)

    assert redactor.text(text) == redactor.truncated_text(text) == text


def test_a_signature_that_is_cut_off_is_removed_from_a_truncated_text() -> None:
    redactor = Redactor([KEY], ["https://host.example/1.png?Signature=abcdefghijk&x=1"])

    assert redactor.truncated_text("1.png?Signature=abcdefghi") == "1.png?Signature=[removed]"


class OwnTimeout(httpx.ReadTimeout):
    """Error of a custom client, with another signature."""

    def __init__(self) -> None:
        super().__init__("slow", request=httpx.Request("POST", "https://x.example", headers={"a": KEY}))


def test_a_copied_cause_has_class_and_text_but_no_request_and_no_stack() -> None:
    try:
        try:
            raise ConnectionResetError(104, f"reset {KEY}")
        except OSError as exc:
            raise OwnTimeout from exc
    except httpx.RequestError as exc:
        copied = copy_cause(exc, exc, Redactor([KEY]))

    assert (type(copied), str(copied)) == (httpx.ReadTimeout, "slow")
    assert isinstance(copied.__cause__, ConnectionResetError)
    assert copied.__cause__.args == (104, "reset [removed]")
    assert (copied.__context__, copied.__traceback__, copied.__cause__.__traceback__) == (None,) * 3
    assert KEY.encode() not in pickle.dumps([copied, copied.__cause__])


def test_a_chain_of_causes_may_be_circular() -> None:
    first, second = httpx.ReadError("first"), httpx.ReadError("second")
    first.__context__, second.__context__ = second, first

    assert copy_cause(first, first, Redactor([])).__cause__ is None
