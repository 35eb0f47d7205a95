"""Tests of the cache of uploads and its record file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_bailian_app.files._cache import UploadCache

if TYPE_CHECKING:
    from pathlib import Path


def test_recorded_ids_are_reused_only_within_their_scope(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    first = UploadCache(record, "here")
    first.store_file_id("key", "file_session_1")
    first.store_file_id("key", "file_session_2")
    with record.open("a") as file:
        file.write('[1]\n{"half')  # the process died

    second = UploadCache(record, "here")
    assert second.claim("key").file_id == "file_session_2"
    second.store_file_id("other", "file_session_3")
    assert UploadCache(record, "here").claim("other").file_id == "file_session_3"
    assert UploadCache(record, "there").claim("key").file_id is None
