"""Conversion and validation of images and files in content blocks."""

from __future__ import annotations

from base64 import b64encode, encodebytes
from typing import Any

import pytest

from langchain_bailian_app._request.attachments import check_urls, parse_content_block

DATA = "iVBORw0KGgo="
PNG = f"data:image/png;base64,{DATA}"
PDF = f"data:application/pdf;base64,{DATA}"
URL = "https://example.com/a.png"


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("茶", ("text", "茶")),
        ({"type": "text", "text": "茶"}, ("text", "茶")),
        ({"type": "text-plain", "text": "茶", "mime_type": "text/plain"}, ("text", "茶")),
        ({"type": "image_url", "image_url": {"url": URL, "detail": "low"}}, ("image", URL)),
        ({"type": "image_url", "image_url": URL}, ("image", URL)),
        ({"type": "image", "url": URL}, ("image", URL)),
        ({"type": "image", "base64": DATA, "mime_type": "image/png"}, ("image", PNG)),
        ({"type": "image", "source_type": "url", "url": URL}, ("image", URL)),
        (
            {"type": "image", "source_type": "base64", "data": DATA, "mime_type": "image/png"},
            ("image", PNG),
        ),
        (
            {"type": "file", "source_type": "base64", "data": DATA, "mime_type": "application/pdf"},
            ("file", PDF),
        ),
        ({"type": "file", "url": "oss://b/k"}, ("file", "oss://b/k")),
        ({"type": "file", "base64": DATA, "mime_type": "application/pdf"}, ("file", PDF)),
        ({"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}, ("file", PDF)),
        ({"type": "file", "source_type": "text", "text": "茶"}, ("text", "茶")),
        ({"type": "image", "data": DATA, "mimeType": "image/png"}, ("image", PNG)),
        ({"type": "file", "data": DATA, "mimeType": "application/pdf"}, ("file", PDF)),
        ({"type": "text-plain", "text": "茶", "mimeType": "text/plain"}, ("text", "茶")),
        ({"type": "input_text", "text": "茶"}, ("text", "茶")),
        ({"type": "input_image", "image_url": URL}, ("image", URL)),
        ({"type": "input_file", "file_url": URL}, ("file", URL)),
        ({"type": "input_file", "filename": "a.pdf", "file_data": PDF}, ("file", PDF)),
    ],
)
def test_content_blocks_of_all_shapes_are_parsed(block: Any, expected: tuple[str, str]) -> None:
    assert expected == parse_content_block(block)


@pytest.mark.parametrize("key", ["file_id", "fileId"])
@pytest.mark.parametrize("kind", ["file", "image", "audio", "video"])
@pytest.mark.parametrize("file_id", ["file_session_1", "file_1"])
def test_an_uploaded_file_is_named_by_its_id_whatever_its_kind(
    kind: str, key: str, file_id: str
) -> None:
    assert parse_content_block({"type": kind, key: file_id}) == ("file", file_id)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "audio", "url": URL},
        {"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}},
        {"type": "video", "url": URL},
        {"type": "image", "base64": DATA},
        {"type": "image", "file_id": "f"},
        {"type": "image", "fileId": "f"},
        {"type": "image", "data": DATA},
        {"type": "image", "data": {"0": 137}, "mimeType": "image/png"},
        {"type": "audio", "data": DATA, "mimeType": "audio/wav"},
        {"type": "file", "file": {"file_id": "f"}},
        {"type": "tool_result"},
        {},
    ],
)
def test_other_blocks_are_errors_that_name_them(block: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=repr(block.get("type"))):
        parse_content_block(block)


def test_the_error_lists_the_inputs_that_an_application_accepts() -> None:
    with pytest.raises(ValueError, match="content block of type 'video'") as caught:
        parse_content_block({"type": "video", "url": URL})

    assert str(caught.value) == (
        "unsupported content block of type 'video' with the keys ['type', 'url']: an application "
        "accepts text, and images and files as a URL or as base64 data with mime_type; to upload other "
        "kinds of files, such as audio or video, set `files=BailianFiles(…)`"
    )


@pytest.mark.parametrize(
    ("name", "url", "text"),
    [
        ("image_list", "a.png", "invalid URL 'a.png' in .*: .*; pass a local file as base64 data"),
        ("image_list", "x" * 99, f"invalid URL '{'x' * 60}' in"),
        ("image_list", "/tmp/a.png", "invalid URL"),  # noqa: S108  # never opened
        ("image_list", "file:///a.png", "invalid URL"),
        ("image_list", "ftp://h/a.png?Signature=planted", "invalid URL 'ftp://h/a.png' in"),
        ("image_list", PDF, "'application/pdf' is not an image type"),
        ("image_list", "data:image/png,abc", "expected `data:<mime type>;base64,<data>`"),
        ("image_list", "data:image/png;base64", "expected `data:<mime type>;base64,<data>`"),
        ("image_list", f"data:image/{'x' * 99},", f"'data:image/{'x' * 49}' in .*: expected `data:"),
        ("image_list", "data:image/png;base64,", ": no data"),
        ("image_list", f"{PNG},{DATA}", "invalid base64"),
        ("file_list", "data:application/pdf;base64,QUJD%2F%2F", "invalid base64"),
        ("file_list", "data:application/pdf;base64,§", "invalid base64"),
        ("file_list", "data:application/pdf;base64,abc", "invalid base64"),
    ],
)
def test_urls_that_the_service_cannot_read_are_errors(name: str, url: str, text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        check_urls(name, [url])

    assert name in str(caught.value)


def test_a_file_has_at_most_10_megabytes() -> None:
    def url(size: int) -> str:
        return f"data:application/pdf;base64,{b64encode(bytes(size)).decode()}"

    check_urls("file_list", [url(10 * 1024 * 1024)])
    lines = encodebytes(bytes(10 * 1024 * 1024)).decode()
    check_urls("file_list", [f"data:application/pdf;base64,{lines}"])
    with pytest.raises(ValueError, match="limit of 10,485,760 bytes") as caught:
        check_urls("file_list", [url(10 * 1024 * 1024 + 1)])
    assert len(str(caught.value)) < 200


PNG_WITH_LINE_BREAKS = "data:image/png;base64,iVBORw0K\nGgo="


@pytest.mark.parametrize(
    "url",
    [
        *(URL, "http://e.com/a", "HTTPS://e.com/a", "oss://b/k", PNG, PNG.replace("image", "IMAGE")),
        *(
            "DATA:image/png;BASE64,iVBORw0KGgo=",
            "data:image/svg+xml;charset=utf-8;base64,PA==",
            PNG_WITH_LINE_BREAKS,
        ),
    ],
)
def test_readable_urls_are_accepted(url: str) -> None:
    check_urls("image_list", [url])
