"""Progress of what takes several requests: the pages of a list, and an event until it ends."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Generic, TypeVar

from langchain_bailian_app.errors import (
    BailianMemoryError,
    BailianServerError,
    BailianTimeoutError,
)
from langchain_bailian_app.memory._records import (
    LibraryNode,
    MemoryEvent,
    MemoryEventEntry,
    ProfileSchema,
)

Item = TypeVar("Item", LibraryNode, ProfileSchema)

_MIN_QUERY_SECONDS = 1.0  # for the last query of a status


class PageCursor(Generic[Item]):
    """Position in a list of pages."""

    def __init__(self) -> None:
        self.page = 1
        self.has_more = True
        self._received = 0
        self._ids: set[str] = set()
        self._last_ids: list[str] = []

    def accept(self, items: Sequence[Item], total: int | None) -> list[Item]:
        """Return the items of a page without those of earlier pages, and move to the next page.

        Items move to other pages if others are added or deleted meanwhile.

        Raises:
            BailianServerError: The service sent the same page twice.
        """
        ids = [item.id for item in items]
        if ids and ids == self._last_ids:
            message = f"the service sent page {self.page - 1} of the list again as page {self.page}"
            raise BailianServerError(message)
        self._last_ids = ids
        self._received += len(items)
        self.page += 1
        # Not: a page that is shorter than requested, because the service may limit the size.
        self.has_more = bool(items) and (total is None or self._received < total)
        new_items = [item for item in items if item.id not in self._ids]
        self._ids.update(ids)
        return new_items


class EventWait:
    """Wait for the end of all entries of an event.

    Args:
        event: The event as it was started, or its id. The entries of an event are matched by their
            `resource_id`; for an id, those of each response count.
        timeout: Seconds to wait.
        interval: Seconds between two queries.

    Raises:
        ValueError: A time is not positive.
    """

    def __init__(self, event: MemoryEvent | str, timeout: float, interval: float) -> None:
        for name, seconds in (("timeout", timeout), ("interval", interval)):
            if not seconds > 0:
                message = f"invalid `{name}`: expected seconds greater than 0, got {seconds!r}"
                raise ValueError(message)
        started_entries = event.entries if isinstance(event, MemoryEvent) else ()
        self.event_id: str = event.id if isinstance(event, MemoryEvent) else event
        self._order = [entry.resource_id for entry in started_entries]
        self._timeout = timeout
        self._interval = interval
        self._ends_at = time.monotonic() + timeout
        self._entries: tuple[MemoryEventEntry, ...] = ()

    @property
    def query_timeout(self) -> float:
        """Seconds that the next query may take."""
        return max(self._remaining, _MIN_QUERY_SECONDS)

    @property
    def has_expired(self) -> bool:
        """Whether the time is over."""
        return self._remaining <= 0

    @property
    def _remaining(self) -> float:
        return self._ends_at - time.monotonic()

    def accept(self, event: MemoryEvent) -> MemoryEvent | None:
        """Return the event if all of its entries have ended, otherwise None.

        Raises:
            BailianMemoryError: All entries have ended, and some have failed.
        """
        positions = {resource_id: number for number, resource_id in enumerate(self._order)}
        entries = sorted(
            event.entries, key=lambda entry: positions.get(entry.resource_id, len(positions))
        )
        self._entries = tuple(entries)
        missing = Counter(self._order) - Counter(entry.resource_id for entry in entries)
        if missing or not entries or not all(entry.has_ended for entry in entries):
            return None
        ended = MemoryEvent(event.id, self._entries, event.request_id, event.extra)
        if any(entry.has_failed for entry in entries):
            message = (
                f"the memory event {self.event_id!r} has failed, at least in part: {self._statuses}; "
                "what has succeeded is stored, and adding the same messages again may store it twice"
            )
            raise BailianMemoryError.of_event(message, ended)
        return ended

    def next_delay(self) -> float:
        """Return the seconds until the next query.

        Raises:
            BailianTimeoutError: The time is over.
        """
        if self.has_expired:
            raise self.timeout_error()
        return min(self._interval, self._remaining)

    def timeout_error(self) -> BailianTimeoutError:
        """Return the error for an event that did not end in time."""
        statuses = self._statuses or "no status"
        return BailianTimeoutError(
            f"the memory event {self.event_id!r} did not end within {self._timeout:g} s (`timeout`): "
            f"{statuses}. The service continues: do not add the messages again, but wait with "
            f"`wait_until_done({self.event_id!r})`"
        )

    @property
    def _statuses(self) -> str:
        return ", ".join(
            f"{entry.resource_type or entry.resource_id} {entry.status}" for entry in self._entries
        )
