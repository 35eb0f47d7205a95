"""Tests of session files through the public API, against the emulator, over both routes."""

from __future__ import annotations

import _thread
import asyncio
import collections
import copy
import hashlib
import logging
import pickle
import random
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app import BailianAppChatModel, RagOptions
from langchain_bailian_app.emulator import App, BailianEmulator, FileFaults
from langchain_bailian_app.emulator._state.connector_settings import ConnectorSettings
from langchain_bailian_app.errors import (
    BailianAuthenticationError,
    BailianFileError,
    BailianNotFoundError,
    BailianRequestError,
    BailianTimeoutError,
    BailianUploadError,
)
from langchain_bailian_app.files import BailianFiles, SessionFile
from tests.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_bailian_app.emulator import RecordedRequest


API_KEY, ACCESS_KEY = ROUTES = ("api_key", "access_key")
NOTE = "# 火星\n\n火星公司的保修期是三年零四个月。\n"


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def emulator(clock: Clock) -> Iterator[BailianEmulator]:
    with BailianEmulator(clock=clock, seed_apps=False) as emulator:
        emulator.add_app(App("files", app_id=emulator.app_id))
        yield emulator


@pytest.fixture
def bailian(emulator: BailianEmulator) -> BailianEmulator:
    emulator.reset()
    emulator.files.faults = None
    emulator.files.parse_seconds = 0.0
    emulator.files.connector = ConnectorSettings()
    return emulator


@pytest.fixture
def own_bailian() -> Iterator[BailianEmulator]:
    """Yield an emulator for cancelled uploads, whose last requests arrive after the end of the test."""
    with BailianEmulator(seed_apps=False) as emulator:
        yield emulator


@pytest.fixture(params=ROUTES)
def route(request: pytest.FixtureRequest) -> str:
    """Return the route of the uploads; a test that uses it runs over both."""
    return request.param


@pytest.fixture
def files(bailian: BailianEmulator, route: str) -> BailianFiles:
    return connect(bailian, route)


@pytest.fixture
def note(tmp_path: Path) -> Path:
    path = tmp_path / "note.md"
    path.write_text(NOTE, "utf-8")
    return path


def connect(emulator: BailianEmulator, route: str = API_KEY, **fields: Any) -> BailianFiles:
    settings = {"workspace": "ws", "leases_per_second": 1000, "poll_interval": 0.05}
    if route == API_KEY:
        settings |= {"base_url": emulator.base_url, "api_key": emulator.api_key}
    else:
        settings |= {
            "endpoint": emulator.openapi_endpoint,
            "access_key_id": emulator.access_key_id,
            "access_key_secret": emulator.access_key_secret,
        }
    return BailianFiles(**settings | fields)


def upload(files: BailianFiles, call_style: str, *paths: Path, **options: Any) -> list[SessionFile]:
    if call_style == "sync":
        return files.upload(paths, **options)
    return asyncio.run(files.aupload(paths, **options))


def count_requests(emulator: BailianEmulator) -> collections.Counter[str]:
    return collections.Counter(map(name_request, emulator.requests))


def name_request(record: RecordedRequest) -> str:
    if record.path.startswith("/storage"):
        return "upload"
    if record.path.startswith("/api/v1/apps"):
        return "question"
    actions = {"applyFileUploadLease": "lease", "addFile": "add", "describeFile": "describe"}
    methods = {"POST": "lease", "GET": "describe", "PUT": "add"}  # of the OpenAPI
    return actions.get(record.path.rpartition("/")[2]) or methods[record.method]


sync_and_async = pytest.mark.parametrize("call_style", ["sync", "async"])


@sync_and_async
def test_a_file_is_uploaded_and_an_application_answers_from_it(
    bailian: BailianEmulator, files: BailianFiles, note: Path, call_style: str
) -> None:
    (file,) = upload(files, call_style, note)
    model = BailianAppChatModel(
        app_id=bailian.app_id, base_url=bailian.base_url, api_key=bailian.api_key
    )
    answer = model.invoke("火星公司的保修期？", rag_options=RagOptions(session_file_ids=[file]))

    assert (file.name, file.size) == ("note.md", len(NOTE.encode()))
    assert file.status == ("FILE_IS_READY" if files.uses_access_key else "PARSE_SUCCESS")
    assert file.id.startswith("file_session_")
    assert file.is_ready
    assert file.kind == "document"
    assert "三年零四个月" in answer.text
    md5 = hashlib.md5(NOTE.encode()).hexdigest()
    assert bailian.files.added[file.id].md5 == md5
    assert [lease.md5 for lease in bailian.files.leases.values()] == [md5]
    requests = ("lease", "upload", "add", "describe", "question")
    assert count_requests(bailian) == dict.fromkeys(requests, 1)


@pytest.mark.slow
@sync_and_async
def test_an_upload_waits_through_every_status(
    bailian: BailianEmulator,
    files: BailianFiles,
    note: Path,
    clock: Clock,
    call_style: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bailian.files.parse_seconds = 70.0
    files.poll_interval = 0.01
    statuses: list[str] = []
    original_status_of = bailian.files.status_of

    def status_of(file: Any) -> str:
        statuses.append(original_status_of(file))
        clock.now += 10.0
        return statuses[-1]

    # Patches the emulator, so that time passes with each status query.
    monkeypatch.setattr(bailian.files, "status_of", status_of)
    (file,) = upload(files, call_style, note)

    assert file.is_ready
    assert file.status == ("FILE_IS_READY" if files.uses_access_key else "PARSE_SUCCESS")
    assert statuses == [
        "INIT",
        "IN_PARSE_QUEUE",
        "PARSING",
        "PARSE_SUCCESS",
        "SAFE_CHECKING",
        "INDEX_BUILDING",
        "INDEX_BUILD_SUCCESS",
        "FILE_IS_READY",
    ]


@sync_and_async
@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("parse_failed", "PARSE_FAILED", "cannot be parsed"),
        ("safe_check_failed", "SAFE_CHECK_FAILED", "inappropriate"),
        ("index_failed", "INDEX_BUILDING_FAILED", "index"),
    ],
)
def test_a_failure_of_the_service_is_an_error_with_its_reason(
    bailian: BailianEmulator,
    files: BailianFiles,
    note: Path,
    call_style: str,
    fault: str,
    status: str,
    reason: str,
) -> None:
    bailian.files.faults = FileFaults.always(fault)

    if not files.uses_access_key:  # the route for API keys has one status, and no reason
        status, reason = "FAIL", "no reason given"
    with pytest.raises(BailianFileError, match=f"note.md.*{status}.*{reason}") as caught:
        upload(files, call_style, note)

    assert (caught.value.name, caught.value.status) == ("note.md", status)
    assert caught.value.file_id in bailian.files.added


@pytest.mark.slow
@sync_and_async
@pytest.mark.parametrize(
    ("fault", "repeated"),
    [
        ("lease_throttled", {"lease": 3}),
        ("lease_error", {"lease": 3}),
        ("upload_error", {"upload": 3}),
        ("upload_cut", {"upload": 3}),
        ("add_error", {"add": 3}),
        ("describe_error", {"describe": 3}),
        ("describe_cut", {"describe": 3}),
        # A new lease is requested, and the bytes are uploaded again.
        ("lease_expired", {"lease": 3, "upload": 3}),
        ("add_lease_expired", {"lease": 3, "upload": 3, "add": 3}),
    ],
)
def test_repeatable_requests_are_retried(
    bailian: BailianEmulator,
    files: BailianFiles,
    note: Path,
    call_style: str,
    fault: str,
    repeated: dict[str, int],
) -> None:
    bailian.files.faults = FileFaults.always(fault, times=2)
    (file,) = upload(files, call_style, note)

    assert file.is_ready
    assert count_requests(bailian) == {"lease": 1, "upload": 1, "add": 1, "describe": 1} | repeated
    assert len(bailian.files.added) == 1


@sync_and_async
def test_a_lost_reply_to_adding_a_file_never_yields_two_files(
    bailian: BailianEmulator,
    files: BailianFiles,
    note: Path,
    call_style: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bailian.files.faults = FileFaults.always("add_reply_lost", times=1)
    (file,) = upload(files, call_style, note)

    assert file.is_ready
    # The lease was used up: the retry is rejected, all steps are repeated, and the first copy expires.
    assert count_requests(bailian) == {"lease": 2, "upload": 2, "add": 3, "describe": 1}
    assert len(bailian.files.added) == 2
    assert "the response to AddFile was lost" in caplog.text


def test_uploads_whose_leases_always_expire_are_given_up(
    bailian: BailianEmulator, files: BailianFiles, note: Path
) -> None:
    bailian.files.faults = FileFaults.always("lease_expired")

    with pytest.raises(BailianFileError, match=r"rejected the upload.*AccessDenied"):
        files.upload(note)

    assert count_requests(bailian) == {"lease": 4, "upload": 4}


@pytest.mark.slow
@sync_and_async
def test_a_timeout_ends_the_wait_and_names_how_to_continue(
    bailian: BailianEmulator, files: BailianFiles, note: Path, clock: Clock, call_style: str
) -> None:
    bailian.files.parse_seconds = 100.0

    with pytest.raises(
        BailianFileError, match=r"not ready within 0.3 s \(`timeout`\), status INIT"
    ) as caught:
        upload(files, call_style, note, timeout=0.3)

    assert isinstance(caught.value.__cause__, BailianTimeoutError)
    (file_id,) = bailian.files.added
    clock.now += 100.0

    assert files.wait_until_ready(file_id)[0].is_ready
    assert asyncio.run(files.await_until_ready(file_id))[0].is_ready
    # The uploaded bytes are not uploaded again.
    assert upload(files, call_style, note)[0].id == file_id
    assert count_requests(bailian)["upload"] == 1


@sync_and_async
def test_the_same_bytes_are_uploaded_once(
    bailian: BailianEmulator, files: BailianFiles, tmp_path: Path, call_style: str
) -> None:
    paths = [tmp_path / f"copy{number}.md" for number in range(20)]
    for path in paths:
        path.write_text(NOTE, "utf-8")
    bailian.files.faults = FileFaults.always("describe_error", times=1)
    uploaded = upload(files, call_style, *paths)

    assert [file.name for file in uploaded] == [path.name for path in paths]
    assert len({file.id for file in uploaded}) == 1
    assert count_requests(bailian)["upload"] == 1
    assert RagOptions(session_file_ids=uploaded).session_file_ids == [uploaded[0].id]

    # With another suffix, the service reads the bytes differently.
    text_copy = tmp_path / "copy.txt"
    text_copy.write_text(NOTE, "utf-8")
    assert upload(files, call_style, text_copy)[0].id != uploaded[0].id


def test_calls_in_threads_and_on_loops_upload_the_same_bytes_once(
    bailian: BailianEmulator, files: BailianFiles, note: Path
) -> None:
    uploaded: list[SessionFile] = []
    threads = [
        threading.Thread(target=lambda: uploaded.extend(files.upload(note))) for _ in range(4)
    ] + [
        threading.Thread(target=lambda: uploaded.extend(asyncio.run(files.aupload(note))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(uploaded) == 8
    assert len({file.id for file in uploaded}) == 1
    assert count_requests(bailian)["upload"] == 1


@pytest.mark.slow
@sync_and_async
def test_200_files_with_failures_at_every_step_each_get_their_own_result(
    bailian: BailianEmulator, tmp_path: Path, route: str, call_style: str
) -> None:
    suffixes = ["md", "txt", "png", "mp3", "mp4", "xlsx"]
    rng = random.Random(8)
    paths = []
    count = 200 if call_style == "sync" else 100
    for number in range(count):
        path = tmp_path / f"file{number:03}.{suffixes[number % 6]}"
        path.write_bytes(f"# Datei {number}\n\n".encode() * rng.randint(1, 400))
        paths.append(path)
    bailian.files.faults = FileFaults(
        {
            "lease_throttled": 0.05,
            "lease_error": 0.05,
            "lease_expired": 0.05,
            "upload_error": 0.05,
            "upload_cut": 0.05,
            "add_error": 0.05,
            "add_reply_lost": 0.05,
            "add_lease_expired": 0.03,
            "parse_failed": 0.05,
            "safe_check_failed": 0.03,
            "index_failed": 0.03,
            "describe_error": 0.05,
            "describe_cut": 0.05,
        },
        seed=1,
    )
    with pytest.raises(BailianUploadError, match=f"of {count} files are not ready") as caught:
        upload(connect(bailian, route), call_style, *paths)

    ready, errors = caught.value.files, caught.value.errors
    assert sorted([file.name for file in ready] + [error.name or "" for error in errors]) == [
        path.name for path in paths
    ]
    assert len({file.id for file in ready}) == len(ready)
    assert all(
        bailian.files.status_of(bailian.files.added[file.id]) == "FILE_IS_READY" for file in ready
    )
    assert count * 0.04 <= len(errors) <= count * 0.25
    for error in errors:
        assert error.name in error.message
        assert error.status or error.status_code or "connection" in error.message
    for file in ready:
        content = (tmp_path / file.name).read_bytes()
        assert bailian.files.added[file.id].md5 == hashlib.md5(content).hexdigest()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of the memory from /proc")
def test_512_mb_are_uploaded_in_constant_memory(
    own_bailian: BailianEmulator, tmp_path: Path, route: str
) -> None:
    tmp_path.joinpath("tiny.mp4").write_bytes(b"tiny")
    with tmp_path.joinpath("large.mp4").open("wb") as file:
        file.truncate(512 * 1024**2)
    names = {API_KEY: "API key", ACCESS_KEY: "AccessKey"}
    credentials = {
        API_KEY: [own_bailian.base_url, own_bailian.api_key, ""],
        ACCESS_KEY: [
            own_bailian.openapi_endpoint,
            own_bailian.access_key_id,
            own_bailian.access_key_secret,
        ],
    }
    script = Path(__file__).parents[3] / "benchmarks" / "upload_memory.py"
    completed = subprocess.run(
        [sys.executable, script, "upload", names[route], tmp_path, *credentials[route]],
        check=True,
        capture_output=True,
        text=True,
    )

    peak_before, peak_after, _ = map(float, completed.stdout.split())
    assert peak_after - peak_before < 8
    tiny, large = own_bailian.files.leases.values()
    assert (tiny.received, large.received) == ((tiny.md5, 4), (large.md5, 512 * 1024**2))


@pytest.mark.parametrize(
    ("name", "size", "problem"),
    [
        ("movie.exe", 1, "unsupported suffix 'exe'"),
        ("nothing.md", 0, "is empty"),
        ("large.pdf", 100 * 1024**2 + 1, "at most 104,857,600"),
        ("large.png", 20 * 1024**2 + 1, "at most 20,971,520"),
        ("large.mp4", 512 * 1024**2 + 1, "at most 536,870,912"),
        ("x" * 126 + ".md", 1, "characters, got 129"),
        ("no_ending", 1, "unsupported suffix ''"),
    ],
)
@sync_and_async
def test_unsupported_files_are_refused_before_anything_is_sent(
    bailian: BailianEmulator,
    files: BailianFiles,
    note: Path,
    tmp_path: Path,
    call_style: str,
    name: str,
    size: int,
    problem: str,
) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(size)

    with pytest.raises(ValueError, match=problem):
        upload(files, call_style, note, tmp_path / name)
    assert not bailian.requests


def test_missing_files_and_folders_are_named_all_at_once(
    bailian: BailianEmulator, files: BailianFiles, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"nothing was uploaded.*gone.md: No such file.*not a file"):
        files.upload([tmp_path / "gone.md", tmp_path])
    assert not bailian.requests


def test_a_file_that_changes_while_it_is_uploaded_is_an_error(
    bailian: BailianEmulator, files: BailianFiles, note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original_lease = bailian.files.lease

    def lease_and_grow(*arguments: Any) -> Any:
        note.write_text(NOTE * 2, "utf-8")
        return original_lease(*arguments)

    # Patches the emulator, which acts as another program that writes to the file.
    monkeypatch.setattr(bailian.files, "lease", lease_and_grow)
    with pytest.raises(BailianFileError, match=r"the size of note.md changed"):
        files.upload(note)
    assert not bailian.files.added


# -- interrupted -------------------------------------------------------------------------------------


def create_files(folder: Path) -> list[Path]:
    paths = [folder / f"slow{number}.md" for number in range(12)]
    for number, path in enumerate(paths):
        path.write_text(f"{NOTE}{number}", "utf-8")
    return paths


@pytest.mark.slow
async def test_a_cancelled_upload_leaves_nothing_behind_and_can_be_started_again(
    own_bailian: BailianEmulator, route: str, tmp_path: Path
) -> None:
    files = connect(own_bailian, route)
    paths = create_files(tmp_path)
    own_bailian.files.parse_seconds = 100.0
    task = asyncio.create_task(files.aupload(paths))
    await asyncio.to_thread(wait_for, lambda: len(own_bailian.files.added) >= 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # Requests in flight are completed, and no others follow.
    request_count = len(own_bailian.requests)
    await asyncio.sleep(0.3)
    assert len(own_bailian.requests) <= request_count + files.concurrency

    own_bailian.files.parse_seconds = 0.0
    uploaded = await files.aupload(paths)

    assert [file.name for file in uploaded] == [path.name for path in paths]
    # A file that was being added when the task was cancelled may exist twice.
    assert len(own_bailian.files.added) <= 12 + files.concurrency


def test_ctrl_c_ends_an_upload_and_the_next_process_resumes_it(
    own_bailian: BailianEmulator, route: str, tmp_path: Path
) -> None:
    paths = create_files(tmp_path)
    record = tmp_path / "record.jsonl"
    own_bailian.files.parse_seconds = 100.0

    def interrupt() -> None:
        wait_for(lambda: record.exists() and record.read_text("utf-8").count("\n") == len(paths))
        _thread.interrupt_main()

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        connect(own_bailian, route, record=record).upload(paths)
    interrupter.join()
    assert len(own_bailian.files.added) == 12
    with record.open("a") as file:
        file.write('{"place": "half of a li')  # a process that died while writing

    own_bailian.files.parse_seconds = 0.0
    upload_count = count_requests(own_bailian)["upload"]
    uploaded = connect(own_bailian, route, record=record).upload(paths)

    assert [file.id for file in uploaded] == [
        next(added.file_id for added in own_bailian.files.added.values() if added.name == path.name)
        for path in paths
    ]
    assert count_requests(own_bailian)["upload"] == upload_count == 12


def wait_for(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


def test_recorded_files_that_are_gone_are_uploaded_again(
    bailian: BailianEmulator, route: str, note: Path, tmp_path: Path, clock: Clock
) -> None:
    record = tmp_path / "record.jsonl"
    first = connect(bailian, route, record=record).upload(note)[0]
    clock.now += bailian.files.lifetime
    second = connect(bailian, route, record=record).upload(note)[0]
    assert second.id != first.id

    bailian.files.added.clear()
    third = connect(bailian, route, record=record).upload(note)[0]
    assert third.id not in {first.id, second.id}
    # Ids of another workspace are not reused.
    assert connect(bailian, route, record=record, workspace="other").upload(note)[0].id != third.id
    assert "火星" not in record.read_text("utf-8")


# -- status and age of files -------------------------------------------------------------------------


async def test_the_status_of_a_file_can_be_queried(
    bailian: BailianEmulator, files: BailianFiles, note: Path, clock: Clock
) -> None:
    file = files.upload(note)[0]
    clock.now += bailian.files.lifetime

    with pytest.raises(BailianNotFoundError):
        files.status("file_session_unknown")
    if files.uses_access_key:
        assert files.status(file).status == "FILE_EXPIRED"
        assert (await files.astatus(file.id)).may_have_expired
    else:
        with pytest.raises(BailianNotFoundError):
            await files.astatus(file.id)
    with pytest.raises(BailianFileError, match=r"the file has expired|does not exist"):
        files.wait_until_ready(file)
    with pytest.raises(BailianUploadError, match="2 of 2"):
        await files.await_until_ready([file, "file_session_unknown"])


def test_a_file_that_is_not_ready_cannot_be_asked_about(
    bailian: BailianEmulator, files: BailianFiles, note: Path
) -> None:
    file = files.upload(note)[0]
    bailian.files.added[file.id].status = "INDEX_BUILDING"

    with pytest.raises(ValueError, match="not ready yet; wait for it"):
        RagOptions(session_file_ids=[files.status(file)])
    model = BailianAppChatModel(
        app_id=bailian.app_id, base_url=bailian.base_url, api_key=bailian.api_key
    )
    with pytest.raises(BailianRequestError, match="is not ready: INDEX_BUILDING"):
        model.invoke("?", rag_options=RagOptions(session_file_ids=[file.id]))


def test_an_old_file_is_warned_about_once() -> None:
    old = SessionFile("file_session_old", "old.md", 1, "FILE_IS_READY", time.time() - 25 * 3600)
    young = SessionFile("file_session_young", "young.md", 1, "FILE_IS_READY", time.time() - 3600)

    with pytest.warns(UserWarning, match="older than 24 hours"):
        RagOptions(session_file_ids=[old, young])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RagOptions(session_file_ids=[old])


def test_more_than_ten_files_are_refused(tmp_path: Path) -> None:
    many = [SessionFile(f"file_session_{n}", "a.md", 1, "FILE_IS_READY") for n in range(11)]
    with pytest.raises(ValueError, match="at most 10"):
        RagOptions(session_file_ids=many)


# -- secrets, progress, settings ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["upload_error", "upload_cut", "lease_expired", "add_reply_lost"])
def test_signed_urls_and_keys_are_shown_nowhere(
    bailian: BailianEmulator, route: str, note: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bailian.files.faults = FileFaults({fault: 0.9})
    secrets = {"access_key_secret": "planted-secret", "security_token": "planted-token"}
    files = connect(bailian, route, **(secrets if route == ACCESS_KEY else {}))
    error_text = ""
    try:
        files.upload(note)
    except BailianFileError as error:
        error_text = f"{error!r} {error} {error.__cause__!r} {error.__cause__} {error.__dict__}"
    # The emulator's server runs in this process and logs its requests.
    logs = [record.getMessage() for record in caplog.records if not record.name.startswith("uvicorn")]
    visible_text = (
        str(logs) + error_text + repr(files) + str(files.model_dump()) + str(pickle.dumps(files))
    )
    visible_text += str(
        [(r.path, r.query, r.headers, r.body) for r in bailian.requests if "storage" in r.path]
    )

    assert bailian.files.leases
    for lease in bailian.files.leases.values():
        assert lease.token not in visible_text
        assert lease.extra not in visible_text
    assert "planted" not in visible_text
    assert bailian.api_key not in visible_text


@pytest.mark.parametrize(
    ("wrong_key", "route", "code"),
    [
        ({"access_key_id": "other"}, ACCESS_KEY, "InvalidAccessKeyId.NotFound"),
        ({"api_key": "other"}, API_KEY, "InvalidApiKey"),
    ],
)
@sync_and_async
def test_a_wrong_key_ends_the_whole_call(
    own_bailian: BailianEmulator,
    tmp_path: Path,
    wrong_key: dict[str, str],
    route: str,
    code: str,
    call_style: str,
) -> None:
    with pytest.raises(BailianAuthenticationError) as caught:
        upload(connect(own_bailian, route, **wrong_key), call_style, *create_files(tmp_path))

    assert caught.value.code == code
    assert caught.value.request_id


def test_progress_is_shown_without_a_terminal_and_can_be_switched_off(
    bailian: BailianEmulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = create_files(tmp_path)[:2]
    connect(bailian, progress=True).upload(paths)
    output = capsys.readouterr().err
    assert "2 ready" in output
    assert "uploading" in output
    assert "slow0.md" in output

    connect(bailian).upload(paths)  # not a terminal
    connect(bailian, progress=True).upload(paths, progress=False)
    assert not capsys.readouterr().err


def test_progress_counts_copies_and_files_that_failed(
    bailian: BailianEmulator, note: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note_copy = tmp_path / "copy.md"
    note_copy.write_text(NOTE, "utf-8")
    files = connect(bailian, progress=True)

    files.upload([note, note_copy])
    assert "files: 100%" in capsys.readouterr().err

    bailian.files.faults = FileFaults.always("lease_expired")
    note.write_text("Mars", "utf-8")
    with pytest.raises(BailianUploadError):
        files.upload([note, note_copy])
    assert "1 ready, 1 failed" in capsys.readouterr().err


@pytest.mark.slow
async def test_the_event_loop_is_never_blocked(
    bailian: BailianEmulator, files: BailianFiles, tmp_path: Path
) -> None:
    max_blocked_seconds = 0.0

    async def measure_blocking() -> None:
        nonlocal max_blocked_seconds
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.005)
            max_blocked_seconds = max(max_blocked_seconds, time.thread_time() - before)

    await files.aupload(create_files(tmp_path)[:1])  # modules are imported here
    large = tmp_path / "large.mp4"
    with large.open("wb") as file:
        file.truncate(100 * 1024**2)
    measurement = asyncio.create_task(measure_blocking())
    await files.aupload([large, *create_files(tmp_path)])
    measurement.cancel()

    # CPU time of this thread only, independent of other load; the MD5 of 100 MB takes twice as long.
    assert max_blocked_seconds < 0.1


@sync_and_async
def test_without_the_official_client_the_first_request_names_the_extra_to_install(
    bailian: BailianEmulator, note: Path, monkeypatch: pytest.MonkeyPatch, call_style: str
) -> None:
    monkeypatch.setitem(sys.modules, "alibabacloud_bailian20231229", None)

    with pytest.raises(ImportError, match=r"langchain-bailian-app\[openapi\]"):
        upload(connect(bailian, ACCESS_KEY), call_style, note)


def test_copies_share_the_upload_cache_and_a_pickle_has_its_own(
    bailian: BailianEmulator, files: BailianFiles, note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.upload(note)
    copy.deepcopy(files).upload(note)
    assert count_requests(bailian)["upload"] == 1

    unpickled = pickle.loads(pickle.dumps(files))  # noqa: S301
    assert (unpickled.workspace, unpickled.access_key_id, unpickled.api_key) == ("ws", None, None)
    # A pickle has no key. The new process supplies its own.
    monkeypatch.setenv("DASHSCOPE_API_KEY", bailian.api_key)
    monkeypatch.setenv("DASHSCOPE_BASE_URL", bailian.base_url)
    unpickled.upload(note)
    assert count_requests(bailian)["upload"] == 2
