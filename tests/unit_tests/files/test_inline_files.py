"""Data in content blocks becomes files, and uploaded files take its place."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage

from langchain_bailian_app.files._inline_files import LocalBlocks
from langchain_bailian_app.options._session_files import LocalFile, SessionFile

BYTES = "火星公司".encode()
DATA = b64encode(BYTES).decode()
DIGEST = hashlib.md5(BYTES).hexdigest()[:12]
NOTE = {"type": "file", "base64": DATA, "mime_type": "text/markdown", "filename": "note.md"}
TEXT = {"type": "text", "text": "这是什么？"}


def files_of(*blocks: Any) -> list[LocalFile]:
    return LocalBlocks([HumanMessage(list(blocks))]).files


def names_of(*blocks: dict[str, Any]) -> list[str]:
    return [file.name for file in files_of(*blocks)]


def uploaded(number: int) -> SessionFile:
    return SessionFile(f"file_session_{number}", "note.md", 1, "FILE_IS_READY")


# -- which blocks have data --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "ending"),
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
        # OpenAI, chat completions and responses.
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}}, ".png"),
        ({"type": "image_url", "image_url": f"data:image/png;base64,{DATA}"}, ".png"),
        ({"type": "input_image", "image_url": f"data:image/png;base64,{DATA}"}, ".png"),
        ({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{DATA}"}}, ".pdf"),
        ({"type": "input_file", "file_data": f"data:application/pdf;base64,{DATA}"}, ".pdf"),
        ({"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}}, ".wav"),
        # A data URL may be written in other ways.
        ({"type": "image", "url": f"DATA:image/png;BASE64,{DATA}"}, ".png"),
        ({"type": "file", "url": f"data:text/plain;charset=utf-8;base64,{DATA}"}, ".txt"),
    ],
)
def test_data_in_every_shape_of_block_is_a_file_named_after_its_bytes_and_type(
    block: dict[str, Any], ending: str
) -> None:
    assert files_of(block) == [LocalFile(f"{DIGEST}{ending}", len(BYTES), data=BYTES)]


@pytest.mark.parametrize(
    "block",
    [
        "这是什么？",
        TEXT,
        TEXT | {"base64": DATA, "mime_type": "text/plain"},
        TEXT | {"url": f"data:text/plain;base64,{DATA}"},
        {"type": "file", "file_id": "file_session_1"},
        {"type": "file", "base64": DATA},  # `_attachments` says what is missing
        {"type": "image", "url": "https://files.example/a.png"},
        {"type": "image", "url": "https://files.example/a.png;base64,b"},
        {"type": "image_url", "image_url": {"url": "https://files.example/a.png"}},
        {"type": "file", "url": "data:text/plain,hello"},
        {"type": "file", "url": "data:text/plain;base64"},
    ],
)
def test_what_has_no_data_of_its_own_is_left_where_it_is(block: Any) -> None:
    blocks = LocalBlocks([HumanMessage([block])])

    assert blocks.files == []
    assert blocks.replaced_by([]) == [HumanMessage([block])]


def test_data_may_be_broken_into_lines() -> None:
    lines = f"{DATA[:4]}\n {DATA[4:]}\r\n"

    assert files_of(NOTE | {"base64": lines}) == [LocalFile("note.md", len(BYTES), data=BYTES)]


# -- their names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "naming",
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
def test_a_file_has_the_name_that_its_block_gives_if_its_ending_says_how_to_read_it(
    naming: dict[str, Any],
) -> None:
    block = {"type": "file", "base64": DATA, "mime_type": "application/octet-stream"} | naming

    assert names_of(block) == ["保修.docx"]


@pytest.mark.parametrize(
    ("mime_type", "ending"),
    [
        ("audio/amr", ".amr"),  # the standard library knows no ending of this type
        ("audio/flv", ".flv"),
        ("pdf", ".pdf"),
    ],
)
def test_a_type_that_is_not_registered_is_taken_for_an_ending(mime_type: str, ending: str) -> None:
    block = {"type": "file", "base64": DATA, "mime_type": mime_type}

    assert names_of(block) == [f"{DIGEST}{ending}"]


# -- what is wrong with them -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"base64": "%%%"}, "^a content block of type 'file' has no valid base64: "),
        ({"base64": DATA[:-1]}, "no valid base64"),
        ({"base64": ""}, "of type 'file' cannot be uploaded as 'note.md': it is empty"),
        ({"filename": "x" * 126 + ".md"}, "as 'x+.md': its name has 129 characters"),
        (
            {"filename": "note.exe", "mime_type": "application/x-tar"},
            "'application/x-tar', which says nothing .*: give its `filename`",
        ),
    ],
)
def test_a_block_that_cannot_be_uploaded_is_an_error_that_says_why(
    change: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        files_of(NOTE | change)


def test_a_comma_ends_only_the_head_of_a_data_url() -> None:
    with pytest.raises(ValueError, match="no valid base64"):
        files_of({"type": "image", "url": f"data:image/png;base64,{DATA},{DATA}"})


# -- what takes their place --------------------------------------------------------------------------


def test_uploaded_files_stand_where_their_data_stood() -> None:
    other = NOTE | {"filename": "other.md"}
    messages: list[BaseMessage] = [
        HumanMessage([TEXT, NOTE, other], id="1"),
        AIMessage("好"),
        HumanMessage("再看"),
        HumanMessage(["还有", NOTE], name="小王"),
    ]
    before = [message.model_copy(deep=True) for message in messages]
    blocks = LocalBlocks(messages)

    assert [file.name for file in blocks.files] == ["note.md", "other.md", "note.md"]
    assert blocks.replaced_by([uploaded(1), uploaded(2), uploaded(1)]) == [
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


def test_only_what_people_give_is_uploaded() -> None:
    messages: list[BaseMessage] = [
        SystemMessage([NOTE]),
        AIMessage([NOTE]),
        ChatMessage([NOTE], role="user"),
    ]
    *others, question = LocalBlocks(messages).replaced_by([uploaded(1)])

    assert others == messages[:2]
    assert question.content == [{"type": "file", "file_id": "file_session_1"}]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_block_has_one_file(count: int) -> None:
    with pytest.raises(ValueError, match="zip"):
        LocalBlocks([HumanMessage([NOTE, NOTE])]).replaced_by([uploaded(1)] * count)
