"""Progress of a list over its pages, and of an event until it ends."""

from __future__ import annotations

import pickle
import time

import pytest

from langchain_bailian_app.errors import (
    BailianMemoryError,
    BailianServerError,
    BailianTimeoutError,
)
from langchain_bailian_app.memory import LibraryNode, MemoryEvent, MemoryEventEntry
from langchain_bailian_app.memory._progress import EventWait, PageCursor


def nodes(*ids: str) -> list[LibraryNode]:
    return [LibraryNode(node_id, "") for node_id in ids]


def event(**statuses: str) -> MemoryEvent:
    """Return an event with entries: id of the resource → status."""
    entries = [MemoryEventEntry(name, "observation", status) for name, status in statuses.items()]
    return MemoryEvent("e", tuple(entries))


def test_pages_are_read_until_the_total_is_reached() -> None:
    cursor: PageCursor[LibraryNode] = PageCursor()
    first = cursor.accept(nodes("a", "b"), 3)
    assert (first, cursor.page, cursor.has_more) == (nodes("a", "b"), 2, True)
    assert cursor.accept(nodes("c"), 3) == nodes("c")
    assert not cursor.has_more


def test_without_a_total_an_empty_page_is_the_end_and_a_short_one_is_not() -> None:
    cursor: PageCursor[LibraryNode] = PageCursor()
    cursor.accept(nodes("a", "b"), None)
    cursor.accept(nodes("c"), None)
    assert cursor.has_more
    assert cursor.accept([], None) == []
    assert not cursor.has_more


def test_an_empty_page_ends_the_list_although_the_total_is_larger() -> None:
    cursor: PageCursor[LibraryNode] = PageCursor()
    cursor.accept([], 5)
    assert not cursor.has_more


def test_a_node_that_moved_to_the_next_page_is_returned_once() -> None:
    cursor: PageCursor[LibraryNode] = PageCursor()
    cursor.accept(nodes("a", "b"), 3)
    assert cursor.accept(nodes("b", "c"), 4) == nodes("c")


def test_a_page_that_repeats_is_an_error() -> None:
    cursor: PageCursor[LibraryNode] = PageCursor()
    cursor.accept(nodes("a", "b"), 9)
    with pytest.raises(BailianServerError, match="page 1 of the list again as page 2"):
        cursor.accept(nodes("a", "b"), 9)


def test_all_entries_must_have_ended() -> None:
    wait = EventWait(event(a="PENDING", b="PENDING"), 10, 1)

    assert wait.accept(event(b="SUCCEEDED", a="RUNNING")) is None
    assert wait.accept(event(b="SUCCEEDED")) is None  # an entry is missing
    assert wait.accept(event(c="SUCCEEDED", b="SUCCEEDED")) is None
    assert wait.accept(event()) is None
    assert wait.accept(event(a="PAUSED", b="SUCCEEDED")) is None  # not documented, so not final
    ended = wait.accept(event(c="SUCCEEDED", b="SUCCEEDED", a="SUCCEEDED"))
    assert ended == event(a="SUCCEEDED", b="SUCCEEDED", c="SUCCEEDED")


def test_entries_of_an_event_that_is_only_known_by_its_id_are_those_of_the_response() -> None:
    wait = EventWait("e", 10, 1)

    assert wait.accept(event()) is None
    assert wait.accept(event(b="SUCCESS", a="SUCCEEDED")) == event(b="SUCCESS", a="SUCCEEDED")


@pytest.mark.parametrize("status", ["FAILED", "UNRECORDED"])
def test_a_failed_entry_is_an_error_when_all_have_ended(status: str) -> None:
    wait = EventWait(event(a="PENDING", b="PENDING"), 10, 1)
    assert wait.accept(event(b=status, a="RUNNING")) is None
    with pytest.raises(BailianMemoryError) as caught:
        wait.accept(event(b=status, a="SUCCEEDED"))

    assert f"observation SUCCEEDED, observation {status}" in str(caught.value)
    assert caught.value.event == event(a="SUCCEEDED", b=status)
    assert pickle.loads(pickle.dumps(caught.value)).event == caught.value.event  # noqa: S301


def test_the_error_after_the_timeout_says_that_the_service_continues() -> None:
    wait = EventWait(event(a="PENDING"), 0.01, 5)
    assert wait.accept(event(a="RUNNING")) is None
    assert wait.next_delay() <= 0.01
    time.sleep(0.02)

    assert wait.has_expired
    assert wait.query_timeout == 1.0  # for the last query
    with pytest.raises(BailianTimeoutError) as caught:
        wait.next_delay()
    message = str(caught.value)
    assert (
        "did not end within 0.01 s (`timeout`): observation RUNNING. The service continues" in message
    )
    assert "do not add the messages again, but wait with `wait_until_done('e')`" in message
    assert "no status" in str(EventWait("e", 1, 1).timeout_error())


@pytest.mark.parametrize("times", [(0, 1), (-1, 1), (1, 0), (float("nan"), 1)])
def test_times_must_be_positive(times: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"^invalid `(timeout|interval)`: expected seconds"):
        EventWait("e", *times)
