"""Tests of content blocks with data on a model with `files`."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from langchain_bailian_app import BailianAppChatModel, RagOptions
from langchain_bailian_app.emulator import App, BailianEmulator, FileFaults
from langchain_bailian_app.errors import BailianFileError
from tests.integration_tests.files.test_uploads import NOTE, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = base64.b64encode(NOTE.encode()).decode()
NOTE_BLOCK = {"type": "file", "base64": DATA, "mime_type": "text/markdown", "filename": "note.md"}
QUESTION = {"type": "text", "text": "火星公司的保修期？"}


@pytest.fixture(scope="module")
def emulator() -> Iterator[BailianEmulator]:
    with BailianEmulator(seed_apps=False) as emulator:
        emulator.add_app(App("files", app_id=emulator.app_id))
        yield emulator


@pytest.fixture
def bailian(emulator: BailianEmulator) -> BailianEmulator:
    emulator.reset()
    emulator.files.faults = None
    return emulator.start()


def make_model(bailian: BailianEmulator, **fields: Any) -> BailianAppChatModel:
    connection = {"base_url": bailian.base_url, "api_key": bailian.api_key}
    return BailianAppChatModel(
        app_id=bailian.app_id, **connection, **{"files": connect(bailian)} | fields
    )


def last_request(bailian: BailianEmulator) -> dict[str, Any]:
    body = bailian.requests[-1].body
    return body["parameters"].get("rag_options", {}) | {"input": body["input"]}


async def test_a_file_in_a_message_is_uploaded_once_and_asked_about(bailian: BailianEmulator) -> None:
    model = make_model(bailian)
    messages: list[Any] = [HumanMessage([QUESTION, NOTE_BLOCK])]
    answer = model.invoke(messages)
    (file_id,) = bailian.files.added

    assert "三年零四个月" in answer.text
    assert last_request(bailian)["session_file_ids"] == [file_id]
    assert last_request(bailian)["input"] == {"prompt": QUESTION["text"]}
    # Each request contains all messages, but the file has already been uploaded.
    messages += [answer, HumanMessage("保修期多长？")]
    assert "三年零四个月" in (await model.ainvoke(messages)).text
    assert "".join(chunk.text for chunk in model.stream(messages))
    assert [chunk async for chunk in model.astream(messages)]
    assert last_request(bailian)["session_file_ids"] == [file_id]
    assert len(bailian.files.leases) == 1
    assert messages[0].content[1] == NOTE_BLOCK


@pytest.mark.parametrize(
    ("block", "suffix"),
    [
        ({"type": "image", "base64": DATA, "mime_type": "image/jpeg"}, ".jpg"),
        ({"type": "audio", "base64": DATA, "mime_type": "audio/mpeg"}, ".mp3"),
        ({"type": "video", "base64": DATA, "mime_type": "video/mp4"}, ".mp4"),
        (
            {"type": "file", "source_type": "base64", "data": DATA, "mime_type": "application/pdf"},
            ".pdf",
        ),
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}}, ".png"),
        ({"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}}, ".wav"),
        (  # LangChain JS, as agent-chat-ui sends it
            {
                "type": "file",
                "data": DATA,
                "mimeType": "text/markdown",
                "metadata": {"filename": "n.md"},
            },
            "n.md",
        ),
        (
            {
                "type": "file",
                "file": {"file_data": f"data:text/plain;base64,{DATA}", "filename": "n.md"},
            },
            "n.md",
        ),
    ],
)
def test_every_shape_of_block_is_uploaded(
    bailian: BailianEmulator, block: dict[str, Any], suffix: str
) -> None:
    bailian.files.faults = FileFaults.always("parse_failed")
    with pytest.raises(BailianFileError, match=r"parsing failed \(FAIL\)"):
        make_model(bailian).invoke([HumanMessage([QUESTION, block])])
    (lease,) = bailian.files.leases.values()

    assert lease.name.endswith(suffix)
    assert lease.received is not None
    assert lease.received[1] == len(NOTE.encode())


def test_files_by_url_and_by_id_are_sent_unchanged(bailian: BailianEmulator) -> None:
    model = make_model(bailian)
    model.invoke([HumanMessage([QUESTION, NOTE_BLOCK])])
    (file_id,) = bailian.files.added
    url_block = {"type": "file", "url": "https://files.example/a.pdf"}
    id_block = {"type": "file", "file_id": file_id}
    make_model(bailian, files=None).invoke(
        [HumanMessage([QUESTION, url_block, id_block])],
        rag_options=RagOptions(session_file_ids=[file_id]),
    )

    assert last_request(bailian)["session_file_ids"] == [file_id]
    assert last_request(bailian)["input"]["file_list"] == ["https://files.example/a.pdf"]


@pytest.mark.parametrize(
    ("block", "error"),
    [
        ({"type": "file", "base64": "%%%", "mime_type": "text/plain"}, "invalid base64"),
        ({"type": "file", "base64": DATA, "mime_type": "application/x-tar"}, "set `filename` to"),
        ({"type": "file", "base64": "", "mime_type": "text/plain"}, "the file is empty"),
    ],
)
def test_invalid_data_is_rejected_before_anything_is_sent(
    bailian: BailianEmulator, block: dict[str, Any], error: str
) -> None:
    with pytest.raises(ValueError, match=error):
        make_model(bailian).invoke([HumanMessage([QUESTION, block])])
    assert not bailian.requests


def test_a_wrong_argument_is_detected_before_a_file_is_uploaded(bailian: BailianEmulator) -> None:
    with pytest.raises(TypeError, match="did you mean"):
        make_model(bailian).invoke([HumanMessage([QUESTION, NOTE_BLOCK])], memory="m")
    with pytest.raises(ValueError, match="session_store"):
        make_model(bailian, history="thread").invoke([HumanMessage([QUESTION, NOTE_BLOCK])])
    assert not bailian.requests


def test_without_files_audio_is_an_error_with_advice(bailian: BailianEmulator) -> None:
    block = {"type": "audio", "base64": DATA, "mime_type": "audio/mpeg"}
    with pytest.raises(ValueError, match="files=BailianFiles"):
        make_model(bailian, files=None).invoke([HumanMessage([QUESTION, block])])


def test_more_files_than_a_call_takes_are_rejected(bailian: BailianEmulator) -> None:
    blocks = [{"type": "file", "file_id": f"file_session_{number}"} for number in range(11)]
    with pytest.raises(ValueError, match="at most 10"):
        make_model(bailian).invoke([HumanMessage([QUESTION, *blocks])])


def test_a_turn_with_a_file_does_not_continue_the_session(bailian: BailianEmulator) -> None:
    model = make_model(bailian, history="session")
    messages: list[Any] = [HumanMessage([QUESTION, NOTE_BLOCK])]
    messages += [model.invoke(messages), HumanMessage("它是什么？")]
    model.invoke(messages)

    assert isinstance(messages[1], AIMessage)
    assert len(last_request(bailian)["input"]["messages"]) == 3
    assert len(last_request(bailian)["session_file_ids"]) == 1
