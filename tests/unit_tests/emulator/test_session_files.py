"""The emulator's session files, without HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from langchain_bailian_app.emulator import FILE_FAULTS, FileFaults
from langchain_bailian_app.emulator._http.errors import RequestRefused
from langchain_bailian_app.emulator._state.session_files import STATUSES, FileStore, StoredFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clock import Clock


@pytest.fixture
def store(clock: Clock) -> Iterator[FileStore]:
    store = FileStore(clock, lambda: datetime(2025, 3, 16, 16, 0, tzinfo=UTC))
    yield store
    store.close()


def added(store: FileStore, name: str = "note.md", content: bytes = b"# A\n\nB\n") -> StoredFile:
    lease = store.lease("ws", name, "0" * 32, len(content))
    receiver = store.receiver(lease)
    receiver.take(content)
    receiver.end(whole=True)
    return store.add(lease.lease_id)


def test_a_file_goes_through_every_status_and_expires(store: FileStore, clock: Clock) -> None:
    store.parse_seconds = 70.0
    file = added(store)
    seen = []
    for _ in STATUSES:
        seen.append(store.status_of(file))
        clock.now += 10.0
    clock.now = store.lifetime

    assert tuple(seen) == STATUSES
    assert store.status_of(file) == "FILE_EXPIRED"
    assert file.created == "2025-03-17 00:00:00"  # Beijing


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("parse_failed", "PARSE_FAILED"),
        ("safe_check_failed", "SAFE_CHECK_FAILED"),
        ("index_failed", "INDEX_BUILDING_FAILED"),
    ],
)
def test_a_file_fails_where_its_fault_strikes(
    store: FileStore, clock: Clock, fault: str, status: str
) -> None:
    store.parse_seconds = 70.0
    store.faults = FileFaults.always(fault)
    file = added(store)
    seen = []
    for _ in STATUSES:
        seen.append(store.status_of(file))
        clock.now += 10.0
    before = seen.index(status)

    assert seen[:before] == list(STATUSES[:before])
    assert set(seen[before:]) == {status}


def test_leases_are_limited_expire_and_are_used_up(store: FileStore, clock: Clock) -> None:
    store.leases_per_second = 2
    first, _ = (store.lease("ws", "note.md", "0" * 32, 1) for _ in range(2))
    with pytest.raises(RequestRefused, match="flow control"):
        store.lease("ws", "note.md", "0" * 32, 1)
    clock.now += 1.0
    store.lease("ws", "note.md", "0" * 32, 1)

    assert store.lease_for(first.token) is first
    with pytest.raises(RequestRefused, match="No file was uploaded"):
        store.add(first.lease_id)
    clock.now += store.lease_seconds
    assert store.lease_for(first.token) is None
    assert store.lease_for("unknown") is None

    file = added(store)
    (lease,) = (lease for lease in store.leases.values() if lease.used)
    with pytest.raises(RequestRefused, match="has been used"):
        store.add(lease.lease_id)
    assert store.find("ws", file.file_id) is file
    with pytest.raises(RequestRefused, match="does not exist"):
        store.find("other", file.file_id)


def test_only_what_is_ready_and_of_the_workspace_is_searched(store: FileStore, clock: Clock) -> None:
    store.parse_seconds = 70.0
    file, picture = added(store), added(store, "photo.png", b"pixels")
    with pytest.raises(RequestRefused, match="is not ready: INIT"):
        store.knowledge([file.file_id], None)
    clock.now += 70.0

    assert [base.pipeline_id for base in store.knowledge([file.file_id, picture.file_id], "ws")] == [
        file.file_id
    ]
    with pytest.raises(RequestRefused, match="does not exist"):
        store.knowledge([file.file_id], "other")


def test_what_cannot_be_read_is_a_failure_with_its_reason_and_a_name_is_no_path(
    store: FileStore,
) -> None:
    broken = added(store, "broken.pdf", b"no PDF")
    escaped = added(store, "../../../escaped.md")

    assert store.status_of(broken) == "PARSE_FAILED"
    assert broken.reason.startswith("broken.pdf cannot be read")
    assert store.status_of(escaped) == "FILE_IS_READY"


def test_faults_are_named_and_shared_out() -> None:
    with pytest.raises(ValueError, match="no fault 'fire'"):
        FileFaults({"fire": 1.0})
    with pytest.raises(ValueError, match="more than 1"):
        FileFaults({"lease_error": 0.6, "lease_expired": 0.6})
    faults = FileFaults(dict.fromkeys(FILE_FAULTS, 0.1))
    drawn = {faults.draw("lease") for _ in range(200)}

    assert drawn == {None, "lease_throttled", "lease_error", "lease_expired"}
    once = FileFaults.always("lease_error", times=1)
    assert [once.draw("lease"), once.draw("lease"), once.draw("add")] == ["lease_error", None, None]
