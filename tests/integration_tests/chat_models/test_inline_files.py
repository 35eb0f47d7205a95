"""Content blocks with data, on a model that has `files`."""

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
def server() -> Iterator[BailianEmulator]:
    with BailianEmulator(seed_apps=False) as emulator:
        emulator.add_app(App("files", app_id=emulator.app_id))
        yield emulator


@pytest.fixture
def cloud(server: BailianEmulator) -> BailianEmulator:
    server.reset()
    server.files.faults = None
    return server.start()


def make_model(cloud: BailianEmulator, **fields: Any) -> BailianAppChatModel:
    connection = {"base_url": cloud.base_url, "api_key": cloud.api_key}
    return BailianAppChatModel(app_id=cloud.app_id, **connection, **{"files": connect(cloud)} | fields)


def last_request(cloud: BailianEmulator) -> dict[str, Any]:
    body = cloud.requests[-1].body
    return body["parameters"].get("rag_options", {}) | {"input": body["input"]}


async def test_a_file_in_a_message_is_uploaded_once_and_asked_about(cloud: BailianEmulator) -> None:
    model = make_model(cloud)
    messages: list[Any] = [HumanMessage([QUESTION, NOTE_BLOCK])]
    answer = model.invoke(messages)
    (file_id,) = cloud.files.added

    assert "三年零四个月" in answer.text
    assert last_request(cloud)["session_file_ids"] == [file_id]
    assert last_request(cloud)["input"] == {"prompt": QUESTION["text"]}
    # The whole conversation goes along with each question; the file is there already.
    messages += [answer, HumanMessage("保修期多长？")]
    assert "三年零四个月" in (await model.ainvoke(messages)).text
    assert "".join(chunk.text for chunk in model.stream(messages))
    assert [chunk async for chunk in model.astream(messages)]
    assert last_request(cloud)["session_file_ids"] == [file_id]
    assert len(cloud.files.leases) == 1
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
    cloud: BailianEmulator, block: dict[str, Any], suffix: str
) -> None:
    cloud.files.faults = FileFaults.always("parse_failed")
    with pytest.raises(BailianFileError, match="PARSE_FAILED"):
        make_model(cloud).invoke([HumanMessage([QUESTION, block])])
    (lease,) = cloud.files.leases.values()

    assert lease.name.endswith(suffix)
    assert lease.received is not None
    assert lease.received[1] == len(NOTE.encode())


def test_files_by_url_and_by_id_are_sent_unchanged(cloud: BailianEmulator) -> None:
    model = make_model(cloud)
    model.invoke([HumanMessage([QUESTION, NOTE_BLOCK])])
    (file_id,) = cloud.files.added
    url_block = {"type": "file", "url": "https://files.example/a.pdf"}
    id_block = {"type": "file", "file_id": file_id}
    make_model(cloud, files=None).invoke(
        [HumanMessage([QUESTION, url_block, id_block])],
        rag_options=RagOptions(session_file_ids=[file_id]),
    )

    assert last_request(cloud)["session_file_ids"] == [file_id]
    assert last_request(cloud)["input"]["file_list"] == ["https://files.example/a.pdf"]


@pytest.mark.parametrize(
    ("block", "error"),
    [
        ({"type": "file", "base64": "%%%", "mime_type": "text/plain"}, "no valid base64"),
        ({"type": "file", "base64": DATA, "mime_type": "application/x-tar"}, "give its `filename`"),
        ({"type": "file", "base64": "", "mime_type": "text/plain"}, "it is empty"),
    ],
)
def test_invalid_data_is_rejected_before_anything_is_sent(
    cloud: BailianEmulator, block: dict[str, Any], error: str
) -> None:
    with pytest.raises(ValueError, match=error):
        make_model(cloud).invoke([HumanMessage([QUESTION, block])])
    assert not cloud.requests


def test_a_wrong_argument_is_detected_before_a_file_is_uploaded(cloud: BailianEmulator) -> None:
    with pytest.raises(TypeError, match="did you mean"):
        make_model(cloud).invoke([HumanMessage([QUESTION, NOTE_BLOCK])], memory="m")
    with pytest.raises(ValueError, match="session_store"):
        make_model(cloud, history="thread").invoke([HumanMessage([QUESTION, NOTE_BLOCK])])
    assert not cloud.requests


def test_without_files_audio_is_an_error_that_says_what_to_do(cloud: BailianEmulator) -> None:
    block = {"type": "audio", "base64": DATA, "mime_type": "audio/mpeg"}
    with pytest.raises(ValueError, match="files=BailianFiles"):
        make_model(cloud, files=None).invoke([HumanMessage([QUESTION, block])])


def test_more_files_than_a_call_takes_are_rejected(cloud: BailianEmulator) -> None:
    blocks = [{"type": "file", "file_id": f"file_session_{number}"} for number in range(11)]
    with pytest.raises(ValueError, match="at most 10"):
        make_model(cloud).invoke([HumanMessage([QUESTION, *blocks])])


def test_a_turn_with_a_file_does_not_continue_the_session(cloud: BailianEmulator) -> None:
    model = make_model(cloud, history="session")
    messages: list[Any] = [HumanMessage([QUESTION, NOTE_BLOCK])]
    messages += [model.invoke(messages), HumanMessage("它是什么？")]
    model.invoke(messages)

    assert isinstance(messages[1], AIMessage)
    assert len(last_request(cloud)["input"]["messages"]) == 3
    assert len(last_request(cloud)["session_file_ids"]) == 1
