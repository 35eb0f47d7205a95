"""Progress bars for uploads: one for all files, and one for each file if there are at most 10.

tqdm chooses between terminal and notebook. In a notebook without ipywidgets it prints text, where only
one bar can be redrawn. One thread sets the phases. Several threads set the byte counts.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from langchain_bailian_app.display._progress_bar import (
    import_tqdm,
    open_progress_bar,
    shows_several_bars,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_FILE_BARS = 10
_PHASES = ("waiting", "uploading", "parsing", "indexing", "ready", "failed")


class Progress:
    """Progress bars for one call. If they are disabled, all methods do nothing."""

    def __init__(self, names: Sequence[str], sizes: Sequence[int], *, enabled: bool | None) -> None:
        self._phases = ["waiting"] * len(names)
        self._file_bars: list[Any] = []
        self._total_bar: Any = open_progress_bar(
            len(names), unit="file", description="files", enabled=enabled
        )
        if self._total_bar is not None and len(names) <= _MAX_FILE_BARS and shows_several_bars():
            tqdm = import_tqdm()
            self._file_bars = [
                tqdm(total=size, unit="B", unit_scale=True, unit_divisor=1024, desc=name, leave=False)
                for name, size in zip(names, sizes, strict=True)
            ]

    def set_phase(self, index: int, phase: str) -> None:
        """Show that a file has entered another phase."""
        if self._total_bar is None or self._phases[index] == phase:
            return
        self._phases[index] = phase
        counts = Counter(self._phases)
        self._total_bar.n = counts["ready"] + counts["failed"]
        summary = ", ".join(f"{counts[name]} {name}" for name in _PHASES if counts[name])
        self._total_bar.set_postfix_str(summary)
        if self._file_bars:
            self._file_bars[index].set_postfix_str(phase)

    def set_bytes_sent(self, index: int, count: int) -> None:
        """Show how many bytes of a file were sent; the number drops if the upload restarts."""
        if self._file_bars:
            bar = self._file_bars[index]
            bar.update(count - bar.n)

    def close(self) -> None:
        """Close all bars. The bar for all files stays visible in its last state."""
        for bar in (*self._file_bars, *([self._total_bar] if self._total_bar is not None else [])):
            bar.close()
