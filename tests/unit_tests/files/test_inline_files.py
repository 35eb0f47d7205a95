"""Tests of inline data in content blocks, and of its replacement by session files."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage

from langchain_bailian_app.files._inline_files import InlineFiles
from langchain_bailian_app.options._session_files import (
    MIME_TYPE_BY_SUFFIX,
    SUFFIXES,
    LocalFile,
    SessionFile,
)

BYTES = "火星公司".encode()
DATA = b64encode(BYTES).decode()
DIGEST = hashlib.md5(BYTES).hexdigest()[:12]
NOTE = {"type": "file", "base64": DATA, "mime_type": "text/markdown", "filename": "note.md"}
TEXT = {"type": "text", "text": "这是什么？"}


def extract_files(*blocks: Any) -> list[LocalFile]:
    return InlineFiles([HumanMessage(list(blocks))]).files


def extract_file_names(*blocks: dict[str, Any]) -> list[str]:
    return [file.name for file in extract_files(*blocks)]


def session_file(number: int) -> SessionFile:
    return SessionFile(f"file_session_{number}", "note.md", 1, "FILE_IS_READY")


# -- blocks with data --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "suffix"),
    [
        # LangChain, since 1.0 and before.
        ({"type": "file", "base64": DATA, "mime_type": "application/pdf"}, ".pdf"),
        ({"type": "image", "base64": DATA, "mime_type": "image/png"}, ".png"),
        ({"type": "video", "base64": DATA, "mime_type": "video/mp4"}, ".mp4"),
        ({"type": "audio", "base64": DATA, "mime_type": "audio/wav"}, ".wav"),
        (
            {"type": "file", "source_type": "base64", "data": DATA, "mime_type": "application/pdf"},
            ".pdf",
        ),
        ({"type": "image", "url": f"data:image/png;base64,{DATA}"}, ".png"),
        # LangChain JS.
        ({"type": "file", "data": DATA, "mimeType": "application/pdf"}, ".pdf"),
        ({"type": "image", "data": DATA, "mimeType": "image/png"}, ".png"),
        ({"type": "audio", "data": DATA, "mimeType": "audio/wav"}, ".wav"),
        ({"type": "video", "data": DATA, "mimeType": "video/mp4"}, ".mp4"),
        # OpenAI, chat completions and responses.
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}}, ".png"),
        ({"type": "image_url", "image_url": f"data:image/png;base64,{DATA}"}, ".png"),
        ({"type": "input_image", "image_url": f"data:image/png;base64,{DATA}"}, ".png"),
        ({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{DATA}"}}, ".pdf"),
        ({"type": "input_file", "file_data": f"data:application/pdf;base64,{DATA}"}, ".pdf"),
        ({"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}}, ".wav"),
        # Variants of data URLs.
        ({"type": "image", "url": f"DATA:image/png;BASE64,{DATA}"}, ".png"),
        ({"type": "file", "url": f"data:text/plain;charset=utf-8;base64,{DATA}"}, ".txt"),
    ],
)
def test_data_in_any_shape_of_block_becomes_a_file_named_after_its_bytes_and_type(
    block: dict[str, Any], suffix: str
) -> None:
    assert extract_files(block) == [LocalFile(f"{DIGEST}{suffix}", len(BYTES), data=BYTES)]


@pytest.mark.parametrize(
    "block",
    [
        "这是什么？",
        TEXT,
        TEXT | {"base64": DATA, "mime_type": "text/plain"},
        TEXT | {"url": f"data:text/plain;base64,{DATA}"},
        {"type": "file", "file_id": "file_session_1"},
        {"type": "file", "fileId": "file_session_1"},
        {"type": "file", "base64": DATA},  # `_request.attachments` reports the missing MIME type
        {"type": "image", "url": "https://files.example/a.png"},
        {"type": "image", "url": "https://files.example/a.png;base64,b"},
        {"type": "image_url", "image_url": {"url": "https://files.example/a.png"}},
        {"type": "file", "url": "data:text/plain,hello"},
        {"type": "file", "url": "data:text/plain;base64"},
    ],
)
def test_content_without_inline_data_is_left_unchanged(block: Any) -> None:
    inline_files = InlineFiles([HumanMessage([block])])

    assert inline_files.files == []
    assert inline_files.replace_with([]) == [HumanMessage([block])]


def test_data_may_be_broken_into_lines() -> None:
    lines = f"{DATA[:4]}\n {DATA[4:]}\r\n"

    assert extract_files(NOTE | {"base64": lines}) == [LocalFile("note.md", len(BYTES), data=BYTES)]


# -- names of files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name_fields",
    [
        {"filename": "保修.docx"},
        {"name": "保修.docx"},
        {"extras": {"filename": "保修.docx"}},
        {"metadata": {"name": "保修.docx"}},
        {"file": {"filename": "保修.docx"}},
        {"filename": 1, "name": "保修.docx"},
        {"filename": "保修", "extras": {"name": "保修.docx"}},
        {"extras": "保修.docx", "metadata": {"filename": "保修.docx"}},
    ],
)
def test_a_file_takes_the_name_in_its_block_if_the_suffix_is_supported(
    name_fields: dict[str, Any],
) -> None:
    block = {"type": "file", "base64": DATA, "mime_type": "application/octet-stream"} | name_fields

    assert extract_file_names(block) == ["保修.docx"]


@pytest.mark.parametrize(
    ("mime_type", "suffix"),
    [
        ("audio/amr", ".amr"),  # the standard library has no suffix for this type
        ("audio/flv", ".flv"),
        ("pdf", ".pdf"),
    ],
)
def test_an_unregistered_mime_subtype_is_used_as_the_suffix(mime_type: str, suffix: str) -> None:
    block = {"type": "file", "base64": DATA, "mime_type": mime_type}

    assert extract_file_names(block) == [f"{DIGEST}{suffix}"]


# -- invalid data ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"base64": "%%%"}, "^invalid base64 in a content block of type 'file': "),
        ({"base64": DATA[:-1]}, "invalid base64"),
        ({"base64": ""}, "of type 'file' as 'note.md': the file is empty"),
        ({"filename": "x" * 126 + ".md"}, "as 'x+.md': invalid file name length: .*, got 129"),
        (
            {"filename": "note.exe", "mime_type": "application/x-tar"},
            "unsupported MIME type 'application/x-tar' .*: set `filename` to a name",
        ),
    ],
)
def test_a_block_that_cannot_be_uploaded_raises_an_error_that_explains_why(
    change: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        extract_files(NOTE | change)


def test_only_the_first_comma_of_a_data_url_ends_its_header() -> None:
    with pytest.raises(ValueError, match="invalid base64"):
        extract_files({"type": "image", "url": f"data:image/png;base64,{DATA},{DATA}"})


# -- replacement -------------------------------------------------------------------------------------


def test_uploaded_files_replace_their_data_in_place() -> None:
    other_note = NOTE | {"filename": "other.md"}
    messages: list[BaseMessage] = [
        HumanMessage([TEXT, NOTE, other_note], id="1"),
        AIMessage("好"),
        HumanMessage("再看"),
        HumanMessage(["还有", NOTE], name="小王"),
    ]
    before = [message.model_copy(deep=True) for message in messages]
    inline_files = InlineFiles(messages)

    assert [file.name for file in inline_files.files] == ["note.md", "other.md", "note.md"]
    assert inline_files.replace_with([session_file(1), session_file(2), session_file(1)]) == [
        HumanMessage(
            [
                TEXT,
                {"type": "file", "file_id": "file_session_1"},
                {"type": "file", "file_id": "file_session_2"},
            ],
            id="1",
        ),
        messages[1],
        messages[2],
        HumanMessage(["还有", {"type": "file", "file_id": "file_session_1"}], name="小王"),
    ]
    assert messages == before


def test_only_files_in_human_messages_are_uploaded() -> None:
    messages: list[BaseMessage] = [
        SystemMessage([NOTE]),
        AIMessage([NOTE]),
        ChatMessage([NOTE], role="user"),
    ]
    *others, question = InlineFiles(messages).replace_with([session_file(1)])

    assert others == messages[:2]
    assert question.content == [{"type": "file", "file_id": "file_session_1"}]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_each_block_needs_exactly_one_uploaded_file(count: int) -> None:
    with pytest.raises(ValueError, match="zip"):
        InlineFiles([HumanMessage([NOTE, NOTE])]).replace_with([session_file(1)] * count)


OFFICE = "application/vnd.openxmlformats-officedocument."


@pytest.mark.parametrize(
    ("mime_type", "suffix"),
    [
        (f"{OFFICE}wordprocessingml.document", "docx"),
        (f"{OFFICE}spreadsheetml.sheet", "xlsx"),
        (f"{OFFICE}presentationml.presentation", "pptx"),
        ("application/msword", "doc"),
        ("text/markdown; charset=utf-8", "md"),
        ("application/epub+zip", "epub"),
        ("video/x-matroska", "mkv"),
        ("video/x-ms-wmv", "wmv"),
        ("video/x-flv", "flv"),
        ("VIDEO/QUICKTIME", "mov"),
        ("audio/mpeg", "mp3"),
    ],
)
def test_types_do_not_depend_on_the_table_of_the_operating_system(
    monkeypatch: pytest.MonkeyPatch, mime_type: str, suffix: str
) -> None:
    for function in ("guess_extension", "guess_all_extensions", "guess_type"):
        monkeypatch.setattr(f"mimetypes.{function}", lambda *_, **__: (None, None))
    block = {"type": "file", "base64": b64encode(b"x").decode(), "mime_type": mime_type}
    (file,) = InlineFiles([HumanMessage([block])]).files

    assert file.name.endswith(f".{suffix}")


def test_every_suffix_has_a_type() -> None:
    suffixes = {suffix for names in SUFFIXES.values() for suffix in names.split()}

    assert set(MIME_TYPE_BY_SUFFIX) == suffixes - {"jpeg"}
