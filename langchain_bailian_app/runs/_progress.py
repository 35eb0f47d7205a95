"""Progress bar for background runs: one for all of them, with the number of runs in each status."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, get_args

from langchain_bailian_app.display._progress_bar import open_progress_bar
from langchain_bailian_app.runs._state import RunStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNKNOWN = "unknown"


class RunProgress:
    """Progress bar for one wait. If it is disabled, all methods do nothing."""

    def __init__(self, statuses: Sequence[RunStatus | None], *, enabled: bool | None) -> None:
        self._statuses: list[str] = [status or _UNKNOWN for status in statuses]
        self._ended_count = 0
        self._bar = open_progress_bar(len(statuses), unit="run", description="runs", enabled=enabled)

    def set_status(self, index: int, status: RunStatus | None, *, has_ended: bool) -> None:
        """Show the status of a run; None if it is unknown."""
        self._statuses[index] = status or _UNKNOWN
        self._ended_count += has_ended
        if self._bar is None:
            return
        counts = Counter(self._statuses)
        names = (_UNKNOWN, *get_args(RunStatus))
        summary = ", ".join(f"{counts[name]} {name}" for name in names if counts[name])
        self._bar.n = self._ended_count
        self._bar.set_postfix_str(summary)

    def close(self) -> None:
        """Close the bar, which stays visible."""
        if self._bar is not None:
            self._bar.close()
