"""Tests of session files over the route for API keys: settings, switches, models and secrets."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from langchain_core.messages import HumanMessage

from langchain_bailian_app import BailianAppChatModel, RagOptions
from langchain_bailian_app.emulator import App, BailianEmulator, FileFaults
from langchain_bailian_app.emulator._state.connector_settings import ConnectorSettings
from langchain_bailian_app.errors import (
    BailianFileError,
    BailianRequestError,
    BailianServerError,
    BailianStreamError,
    BailianTimeoutError,
)
from langchain_bailian_app.files import BailianFiles
from tests.integration_tests.files.test_uploads import NOTE, connect, count_requests, upload
from tests.raw_server import encode_response, respond_using, respond_with, run_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

QUESTION = "火星公司的保修期？"
NOTE_BLOCK = {
    "type": "file",
    "base64": base64.b64encode(NOTE.encode()).decode(),
    "mime_type": "text/markdown",
    "filename": "note.md",
}
MESSAGES: list[Any] = [HumanMessage([{"type": "text", "text": QUESTION}, NOTE_BLOCK])]
ANSWER = "三年零四个月"
SIGNATURE = "planted-signature"
OPENAPI_MODULES = (
    "alibabacloud_bailian20231229",
    "alibabacloud_credentials",
    "darabonba",
    "tqdm",
    "tqdm.auto",
)

sync_and_async = pytest.mark.parametrize("call_style", ["sync", "async"])


@pytest.fixture(scope="module")
def emulator() -> Iterator[BailianEmulator]:
    with BailianEmulator(seed_apps=False) as emulator:
        emulator.add_app(App("files", app_id=emulator.app_id))
        yield emulator


@pytest.fixture
def bailian(emulator: BailianEmulator) -> BailianEmulator:
    emulator.reset()
    emulator.files.faults = emulator.files.leases_per_second = None
    emulator.files.parse_seconds = 0.0
    emulator.files.connector = ConnectorSettings()
    return emulator


@pytest.fixture
def environment(bailian: BailianEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what a user needs, and the address of the emulator."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", bailian.api_key)
    monkeypatch.setenv("DASHSCOPE_WORKSPACE", "ws")
    monkeypatch.setenv("BAILIAN_APP_ID", bailian.app_id)
    monkeypatch.setenv("DASHSCOPE_BASE_URL", bailian.base_url)


@pytest.fixture
def note(tmp_path: Path) -> Path:
    path = tmp_path / "note.md"
    path.write_text(NOTE, "utf-8")
    return path


# -- in a model --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("environment")
async def test_the_environment_of_a_model_is_enough_in_every_way_of_calling(
    bailian: BailianEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in OPENAPI_MODULES:
        monkeypatch.setitem(sys.modules, module, None)  # the extra `openapi` is not installed
    model = BailianAppChatModel(files=BailianFiles())

    assert ANSWER in model.invoke(MESSAGES).text
    assert ANSWER in "".join([chunk.text for chunk in model.stream(MESSAGES)])
    assert ANSWER in (await model.ainvoke(MESSAGES)).text
    assert ANSWER in "".join([chunk.text async for chunk in model.astream(MESSAGES)])
    assert count_requests(bailian) == {"lease": 1, "upload": 1, "add": 1, "describe": 1, "question": 4}
    (file_id,) = bailian.files.added
    assert bailian.files.added[file_id].workspace == "ws"
    rag_options = bailian.requests[-1].body["parameters"]["rag_options"]
    assert rag_options == {"session_file_ids": [file_id]}


@pytest.mark.usefixtures("environment")
@sync_and_async
def test_without_the_extra_files_are_uploaded_and_only_progress_bars_are_missing(
    note: Path, monkeypatch: pytest.MonkeyPatch, call_style: str
) -> None:
    for module in OPENAPI_MODULES:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    files = BailianFiles()

    assert upload(files, call_style, note)[0].is_ready
    assert files.status(files.upload(note)[0]).is_ready
    with pytest.raises(ImportError, match="pip install tqdm"):
        upload(files, call_style, note, progress=True)


async def test_a_model_passes_its_connection_to_files_without_their_own(
    bailian: BailianEmulator, note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", "of-another-workspace")
    monkeypatch.setenv("DASHSCOPE_WORKSPACE", "other")
    connection = {"base_url": bailian.base_url, "api_key": bailian.api_key, "workspace": "ws"}
    files = BailianFiles()
    model = BailianAppChatModel(app_id=bailian.app_id, files=files, **connection)

    assert ANSWER in model.invoke(MESSAGES).text
    assert ANSWER in (await model.ainvoke(MESSAGES)).text
    assert count_requests(bailian)["upload"] == 1
    assert [file.workspace for file in bailian.files.added.values()] == ["ws"]
    # The methods of `files` do not know the model.
    monkeypatch.setenv("DASHSCOPE_BASE_URL", bailian.base_url)
    with pytest.raises(Exception, match="InvalidApiKey"):
        files.upload(note)


async def test_files_with_a_connection_of_their_own_keep_it(bailian: BailianEmulator) -> None:
    files = connect(bailian, workspace="of-the-files")
    model = BailianAppChatModel(
        app_id=bailian.app_id,
        files=files,
        base_url=bailian.base_url,
        api_key=bailian.api_key,
        workspace="of-the-model",
    )
    model.invoke(MESSAGES)

    assert [file.workspace for file in bailian.files.added.values()] == ["of-the-files"]


@pytest.mark.usefixtures("environment")
def test_a_model_and_its_files_remember_the_same_uploads(
    bailian: BailianEmulator, note: Path, tmp_path: Path
) -> None:
    files = BailianFiles(record=tmp_path / "record.jsonl")
    (file,) = files.upload(note)
    answer = BailianAppChatModel(files=files).invoke(MESSAGES)

    assert ANSWER in answer.text
    assert list(bailian.files.added) == [file.id]


# -- settings ----------------------------------------------------------------------------------------


@sync_and_async
@pytest.mark.parametrize(
    ("fields", "problem"),
    [({}, "missing API key"), ({"api_key": "k"}, "missing `workspace`: pass it or set DASHSCOPE_WORK")],
)
def test_a_missing_setting_is_named_and_nothing_is_sent(
    bailian: BailianEmulator, note: Path, call_style: str, fields: dict[str, str], problem: str
) -> None:
    files = BailianFiles(**({"workspace": "ws"} if not fields else {}), **fields)
    with pytest.raises(ValueError, match=problem):
        upload(files, call_style, note)
    with pytest.raises(ValueError, match=problem):
        files.status("file_1")
    assert not bailian.requests


@pytest.mark.parametrize("file_id", ["../evil", "a b", "", "文件"])
def test_an_invalid_id_is_not_sent(bailian: BailianEmulator, file_id: str) -> None:
    files = connect(bailian)
    with pytest.raises(ValueError, match="invalid `file_id`"):
        files.status(file_id)
    with pytest.raises(ValueError, match="invalid `file_id`"):
        files.wait_until_ready([file_id])
    assert not bailian.requests


def test_a_key_may_come_from_a_function_and_requests_may_use_a_custom_client(
    bailian: BailianEmulator, note: Path
) -> None:
    paths: list[str] = []
    with httpx.Client(
        trust_env=False, event_hooks={"request": [lambda request: paths.append(request.url.path)]}
    ) as client:
        files = connect(bailian, api_key=lambda: bailian.api_key, http_client=client)
        assert files.upload(note)[0].is_ready

    assert [path.rpartition("/")[2] for path in paths] == [
        "applyFileUploadLease",
        "addFile",
        "describeFile",
    ]


def test_the_requests_have_the_documented_fields(bailian: BailianEmulator, note: Path) -> None:
    (file,) = connect(bailian, use_internal_endpoint=True).upload(note)
    lease, upload_request, add, describe = bailian.requests
    (lease_id,) = bailian.files.leases

    assert lease.body == {
        "category": "default",
        "categoryType": "SESSION_FILE",
        "fileName": "note.md",
        "sizeBytes": str(len(NOTE.encode())),
        "contentMd5": base64.b64encode(bytes.fromhex(bailian.files.added[file.id].md5)).decode(),
        "useInternalEndpoint": True,
    }
    assert add.body == {
        "leaseId": lease_id,
        "category": "default",
        "categoryType": "SESSION_FILE",
        "parser": "AUTO_SELECT",
    }
    assert describe.body == {"fileId": file.id}
    assert {record.path for record in (lease, add, describe)} == {
        "/api/v1/connector/dash/applyFileUploadLease",
        "/api/v1/connector/dash/addFile",
        "/api/v1/connector/dash/describeFile",
    }
    assert "authorization" not in upload_request.headers
    assert upload_request.headers["content-type"] == "text/plain"


def test_a_timeout_of_a_request_names_its_setting(note: Path) -> None:
    with run_server(respond_with(b"", keep_open=True)) as base_url:
        files = connect_to(base_url, read_timeout=0.05, timeout=0.2)
        with pytest.raises(BailianTimeoutError, match=r"for 0.05 s \(`read_timeout`\)"):
            files.status("file_1")


# -- what no source settles --------------------------------------------------------------------------


@sync_and_async
def test_a_service_that_wants_a_hexadecimal_md5_is_asked_once_more(
    bailian: BailianEmulator, tmp_path: Path, call_style: str
) -> None:
    bailian.files.connector.md5 = "hex"
    paths = [tmp_path / f"part{number}.md" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_text(f"{NOTE}{number}", "utf-8")
    uploaded = upload(connect(bailian, concurrency=1), call_style, *paths)

    assert all(file.is_ready for file in uploaded)
    assert count_requests(bailian)["lease"] == 4  # only the first one was sent in both forms


@sync_and_async
@pytest.mark.parametrize(("states", "status"), [("short", "PARSE_SUCCESS"), ("long", "FILE_IS_READY")])
@pytest.mark.parametrize("id_prefix", ["file_session_", "file_"])
@pytest.mark.parametrize("status_key", ["examples", "status", "status_code"])
def test_files_are_ready_whatever_the_service_returns(
    bailian: BailianEmulator,
    note: Path,
    call_style: str,
    states: Any,
    status: str,
    id_prefix: str,
    status_key: Any,
) -> None:
    bailian.files.connector = ConnectorSettings(
        states=states, id_prefix=id_prefix, status_key=status_key
    )
    (file,) = upload(connect(bailian), call_style, note)
    model = BailianAppChatModel(
        app_id=bailian.app_id, base_url=bailian.base_url, api_key=bailian.api_key
    )

    assert (file.status, file.is_ready) == (status, True)
    assert file.id.startswith(id_prefix)
    assert ANSWER in model.invoke(QUESTION, rag_options=RagOptions(session_file_ids=[file])).text
    block = {"type": "file", "file_id": file.id}
    assert ANSWER in model.invoke([HumanMessage([QUESTION, block])]).text


@pytest.mark.parametrize("states", ["short", "long"])
@pytest.mark.parametrize("status_key", ["examples", "status", "status_code"])
def test_failures_are_errors_whatever_the_service_returns(
    bailian: BailianEmulator, note: Path, states: Any, status_key: Any
) -> None:
    bailian.files.connector = ConnectorSettings(states=states, status_key=status_key)
    bailian.files.faults = FileFaults.always("parse_failed")
    status = "FAIL" if states == "short" else "PARSE_FAILED"

    with pytest.raises(BailianFileError, match=rf"note\.md: parsing failed \({status}\)"):
        connect(bailian).upload(note)


def test_an_application_that_refuses_these_files_is_an_error_of_the_call(
    bailian: BailianEmulator,
) -> None:
    bailian.files.connector.usable_in_applications = False
    model = BailianAppChatModel(
        app_id=bailian.app_id,
        base_url=bailian.base_url,
        api_key=bailian.api_key,
        files=connect(bailian),
    )

    with pytest.raises(BailianRequestError, match="session file"):
        model.invoke(MESSAGES)


@sync_and_async
def test_throttled_leases_are_requested_again(
    bailian: BailianEmulator, tmp_path: Path, call_style: str
) -> None:
    bailian.files.faults = FileFaults({"lease_throttled": 0.5})
    paths = [tmp_path / f"part{number}.md" for number in range(6)]
    for number, path in enumerate(paths):
        path.write_text(f"{NOTE}{number}", "utf-8")
    uploaded = upload(connect(bailian), call_style, *paths)

    assert len({file.id for file in uploaded}) == 6
    assert {record.status for record in bailian.requests if "Lease" in record.path} == {200, 429}


# -- odd responses -----------------------------------------------------------------------------------


def connect_to(base_url: str, **fields: Any) -> BailianFiles:
    settings = {"base_url": base_url, "api_key": "k", "workspace": "ws", "poll_interval": 0.01}
    return BailianFiles(**settings | {"timeout": 0.1} | fields)


def respond_with_json(*bodies: dict[str, Any] | bytes) -> Callable[[Any], None]:
    """Return a handler that answers each request with the next body; the last one is repeated."""
    remaining = list(bodies)

    def respond(_: bytes) -> bytes:
        body = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
        return encode_response(content, head)

    return respond_using(respond)


LEASE = {
    "type": "OSS.PreSignedURL",
    "leaseId": "L",
    "param": {"url": f"https://s.example/?Signature={SIGNATURE}", "method": "PUT", "headers": {}},
}


@sync_and_async
@pytest.mark.parametrize(
    ("body", "error_class", "problem"),
    [
        ({"code": "Success", "requestId": "r", "data": None}, BailianServerError, "returned no lease"),
        (
            {"code": "Success", "data": LEASE | {"leaseId": ""}},
            BailianServerError,
            "returned no lease",
        ),
        (
            {"code": "Success", "data": LEASE | {"param": LEASE["param"] | {"headers": [SIGNATURE]}}},
            BailianServerError,
            "returned no lease",
        ),
        (
            {"code": "Success", "data": LEASE | {"type": "FTP"}},
            BailianFileError,
            "unsupported upload target 'FTP'",
        ),
        (json.dumps({"data": LEASE}).encode()[:-1], BailianStreamError, "incomplete or is not JSON"),
        (f"<html>{SIGNATURE}</html>".encode(), BailianStreamError, "incomplete or is not JSON"),
    ],
)
def test_an_odd_lease_is_an_error_without_the_signed_url(
    note: Path,
    call_style: str,
    body: dict[str, Any] | bytes,
    error_class: type[Exception],
    problem: str,
) -> None:
    with (
        run_server(respond_with_json(body)) as base_url,
        pytest.raises(BailianFileError, match=problem) as caught,
    ):
        upload(connect_to(base_url), call_style, note)

    error: BaseException | None = caught.value
    causes = []
    while error is not None:
        causes.append(error)
        assert SIGNATURE not in f"{error!r} {error} {vars(error)}"
        traceback = error.__traceback__
        while traceback is not None:
            if "langchain_bailian_app" in traceback.tb_frame.f_code.co_filename:
                assert SIGNATURE not in repr(traceback.tb_frame.f_locals)
            traceback = traceback.tb_next
        error = error.__cause__ or error.__context__
    assert any(isinstance(cause, error_class) for cause in causes)


@pytest.mark.parametrize(
    ("data", "problem"),
    [({}, "AddFile returned no file id"), ({"fileId": "../evil"}, "invalid file id: '../evil'")],
)
def test_an_odd_id_is_an_error(
    bailian: BailianEmulator, note: Path, data: dict[str, Any], problem: str
) -> None:
    lease = bailian.files.lease("ws", "note.md", "0" * 32, len(NOTE.encode()))
    url = f"{bailian.openapi_endpoint}/storage/{lease.token}"
    headers = {"x-bailian-extra": lease.extra, "Content-Type": ""}
    target = LEASE | {"type": None, "param": {"url": url, "headers": json.dumps(headers)}}
    added = {"code": "Success", "status_code": 200, "data": data}
    with (
        run_server(respond_with_json({"code": "Success", "data": target}, added)) as base_url,
        pytest.raises(BailianFileError, match=problem),
    ):
        connect_to(base_url, timeout=0.5).upload(note)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"status": "PARSING"}, ("", 0, "PARSING", None)),
        ({"status": "FAIL", "sizeBytes": "21"}, ("", 21, "FAIL", None)),
        ({"status": "INIT", "fileName": "a.md", "sizeBytes": None}, ("a.md", 0, "INIT", None)),
        ({"status": "INIT", "uploadTime": "1970-01-01 08:00:09"}, ("", 0, "INIT", 9.0)),
    ],
)
def test_missing_fields_of_a_status_have_defaults(
    data: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    with run_server(respond_with_json({"code": "Success", "data": data})) as base_url:
        file = connect_to(base_url).status("file_1")

    assert (file.name, file.size, file.status, file.created_at) == expected
    assert (file.id, file.is_ready) == ("file_1", False)


def test_a_response_without_a_status_is_an_error() -> None:
    with (
        run_server(respond_with_json({"code": "Success", "data": {}})) as base_url,
        pytest.raises(BailianServerError, match="describeFile returned no status"),
    ):
        asyncio.run(connect_to(base_url).astatus("file_1"))
