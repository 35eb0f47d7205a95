"""Tests of the emulator's session files, without HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from langchain_bailian_app.emulator import FileFaults
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


def upload_and_add(
    store: FileStore, name: str = "note.md", content: bytes = b"# A\n\nB\n"
) -> StoredFile:
    lease = store.lease("ws", name, "0" * 32, len(content))
    upload = store.start_upload(lease)
    upload.write(content)
    upload.close(complete=True)
    return store.add(lease.lease_id)


def test_a_file_goes_through_every_status_and_expires(store: FileStore, clock: Clock) -> None:
    store.parse_seconds = 70.0
    file = upload_and_add(store)
    statuses = []
    for _ in STATUSES:
        statuses.append(store.status_of(file))
        clock.now += 10.0
    clock.now = store.lifetime

    assert tuple(statuses) == STATUSES
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
def test_a_file_fails_at_the_stage_of_its_fault(
    store: FileStore, clock: Clock, fault: str, status: str
) -> None:
    store.parse_seconds = 70.0
    store.faults = FileFaults.always(fault)
    file = upload_and_add(store)
    statuses = []
    for _ in STATUSES:
        statuses.append(store.status_of(file))
        clock.now += 10.0
    failed_at = statuses.index(status)

    assert statuses[:failed_at] == list(STATUSES[:failed_at])
    assert set(statuses[failed_at:]) == {status}


def test_leases_are_limited_expire_and_are_used_up(store: FileStore, clock: Clock) -> None:
    store.leases_per_second = 2
    first, _ = (store.lease("ws", "note.md", "0" * 32, 1) for _ in range(2))
    with pytest.raises(RequestRefused, match="flow control"):
        store.lease("ws", "note.md", "0" * 32, 1)
    clock.now += 1.0
    store.lease("ws", "note.md", "0" * 32, 1)

    assert store.find_lease(first.token) is first
    with pytest.raises(RequestRefused, match="No file was uploaded"):
        store.add(first.lease_id)
    clock.now += store.lease_seconds
    assert store.find_lease(first.token) is None
    assert store.find_lease("unknown") is None

    file = upload_and_add(store)
    (lease,) = (lease for lease in store.leases.values() if lease.used)
    with pytest.raises(RequestRefused, match="has been used"):
        store.add(lease.lease_id)
    assert store.find("ws", file.file_id) is file
    with pytest.raises(RequestRefused, match="does not exist"):
        store.find("other", file.file_id)


def test_only_ready_files_of_the_workspace_are_searched(store: FileStore, clock: Clock) -> None:
    store.parse_seconds = 70.0
    file, picture = upload_and_add(store), upload_and_add(store, "photo.png", b"pixels")
    with pytest.raises(RequestRefused, match="is not ready: INIT"):
        store.find_knowledge_bases([file.file_id], None)
    clock.now += 70.0

    assert [
        base.pipeline_id for base in store.find_knowledge_bases([file.file_id, picture.file_id], "ws")
    ] == [file.file_id]
    with pytest.raises(RequestRefused, match="does not exist"):
        store.find_knowledge_bases([file.file_id], "other")


def test_unreadable_files_fail_with_a_reason_and_names_are_not_paths(
    store: FileStore,
) -> None:
    broken = upload_and_add(store, "broken.pdf", b"no PDF")
    traversal = upload_and_add(store, "../../../escaped.md")

    assert store.status_of(broken) == "PARSE_FAILED"
    assert broken.reason.startswith("cannot read broken.pdf")
    assert store.status_of(traversal) == "FILE_IS_READY"
