"""Progress bars of uploads: one of all files, and, while there are few, one for each.

tqdm chooses between terminal and notebook. Numbers are set by one thread, bytes by several.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_FILE_BARS = 10
_PHASES = ("waiting", "uploading", "parsing", "indexing", "ready", "failed")


class Progress:
    """What is shown of one call; nothing, if it is switched off."""

    def __init__(self, names: Sequence[str], sizes: Sequence[int], *, enabled: bool | None) -> None:
        self._phases = ["waiting"] * len(names)
        self._file_bars: list[Any] = []
        self._total_bar: Any = None
        if enabled is False or not names:
            return
        tqdm = _import_tqdm()
        if enabled is None and not _is_interactive(tqdm):
            return
        self._total_bar = tqdm(total=len(names), unit="file", desc="files")
        if len(names) <= _MAX_FILE_BARS:
            self._file_bars = [
                tqdm(total=size, unit="B", unit_scale=True, unit_divisor=1024, desc=name, leave=False)
                for name, size in zip(names, sizes, strict=True)
            ]

    def set_phase(self, index: int, phase: str) -> None:
        """Show that a file has got to another phase."""
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
        """Show how many bytes of a file have gone; fewer than before if it begins again."""
        if self._file_bars:
            bar = self._file_bars[index]
            bar.update(count - bar.n)

    def close(self) -> None:
        """Leave the last state of the bar of all files, and remove the others."""
        for bar in (*self._file_bars, *([self._total_bar] if self._total_bar is not None else [])):
            bar.close()


def _import_tqdm() -> Any:
    try:
        from tqdm.auto import tqdm  # noqa: PLC0415
    except ImportError as exc:
        message = "progress bars need tqdm: pip install 'langchain-bailian-app[openapi]'"
        raise ImportError(message) from exc
    return tqdm


def _is_interactive(tqdm: Any) -> bool:
    """Whether somebody looks: in a notebook or at a terminal."""
    return any(cls.__name__ == "tqdm_notebook" for cls in tqdm.__mro__) or sys.stderr.isatty()
