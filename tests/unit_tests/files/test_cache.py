"""Tests of the cache of uploads and its record file."""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from langchain_bailian_app.files._cache import Claim, UploadCache

if TYPE_CHECKING:
    from collections.abc import Iterator
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


class CollectingOrderedDict(OrderedDict[str, str]):
    """Dictionary in which the garbage collector runs, as it may at any allocation."""

    def get(self, key: str, default: Any = None) -> Any:
        gc.collect()
        return super().get(key, default)

    def pop(self, *arguments: Any) -> Any:
        gc.collect()
        return super().pop(*arguments)


def test_an_upload_may_be_closed_in_the_middle_of_an_operation_of_the_same_thread() -> None:
    cache = UploadCache(None, "here")
    cache._file_ids = CollectingOrderedDict()

    def upload(key: str) -> Iterator[None]:
        cache.claim(key)
        try:
            yield
        finally:
            cache.release(key, None)

    def drop_upload(key: str) -> None:
        cycle: list[Any] = [upload(key)]
        next(cycle[0])
        cycle.append(cycle)

    waiting: list[Claim] = []

    def use_cache() -> None:
        drop_upload("a")
        waiting.append(cache.claim("a"))
        cache.claim("b")
        drop_upload("c")
        waiting.append(cache.claim("c"))
        cache.store_file_id("d", "file_session_1")

    gc.disable()
    try:
        thread = threading.Thread(target=use_cache, daemon=True)
        thread.start()
        thread.join(5)
        assert not thread.is_alive(), "deadlock"
    finally:
        gc.enable()

    for claim in waiting:
        assert claim.in_progress is not None
        assert claim.in_progress.result(0) is None


def test_ends_of_claims_are_applied_by_the_thread_that_holds_the_lock() -> None:
    cache = UploadCache(None, "here")
    with ThreadPoolExecutor(8) as pool:

        def claim_and_release(number: int) -> None:
            key = str(number % 3)
            claim = cache.claim(key)
            if claim.in_progress is None:
                cache.release(key, None)
            else:
                assert claim.in_progress.result(5) is None

        list(pool.map(claim_and_release, range(500)))

    assert all(cache.claim(str(number)).in_progress is None for number in range(3))
