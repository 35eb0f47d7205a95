"""Tests of signed URLs, whose signatures are sent but never shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from langchain_bailian_app.options._signed_urls import SignedUrl, redact, redact_url

URL = SignedUrl("https://files.example/a.pdf?Expires=1&Signature=planted?")


def test_a_signed_url_is_sent_as_it_is_and_shown_without_its_signature() -> None:
    assert json.dumps(URL) == '"https://files.example/a.pdf?Expires=1&Signature=planted?"'
    assert repr(URL) == "'https://files.example/a.pdf'"
    assert repr({"url": [URL]}) == "{'url': ['https://files.example/a.pdf']}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://files.example/a.png", "https://files.example/a.png"),
        ("https://files.example/a.png?", "https://files.example/a.png"),
        ("https://files.example/a.png?x=1?y", "https://files.example/a.png"),
        ("data:image/png;base64," + "A" * 1000, "data:image/png;base64," + "A" * 78),
    ],
)
def test_a_redacted_url_has_no_query_and_data_urls_are_cut(url: str, expected: str) -> None:
    assert redact_url(url) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (URL, "https://files.example/a.pdf"),
        ({"a": [{"url": URL}, 1]}, {"a": [{"url": "https://files.example/a.pdf"}, 1]}),
        ("https://page.example/?q=1", "https://page.example/?q=1"),  # not marked as signed
        (None, None),
    ],
)
def test_nested_signatures_are_redacted(value: Any, expected: Any) -> None:
    assert redact(value) == expected
    assert not isinstance(redact(value), SignedUrl)
