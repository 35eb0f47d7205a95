"""Progress bars of uploads: one of all files, and, while there are few, one for each.

tqdm chooses between terminal and notebook. Numbers are set by one thread, bytes by several.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_BARS = 10
_PHASES = ("waiting", "uploading", "parsing", "indexing", "ready", "failed")


class Progress:
    """What is shown of one call; nothing, if it is switched off."""

    def __init__(self, names: Sequence[str], sizes: Sequence[int], *, shown: bool | None) -> None:
        self._phases = ["waiting"] * len(names)
        self._bars: list[Any] = []
        self._all: Any = None
        if shown is False or not names:
            return
        tqdm = _tqdm()
        if shown is None and not _is_watched(tqdm):
            return
        self._all = tqdm(total=len(names), unit="file", desc="files")
        if len(names) <= _MOST_BARS:
            self._bars = [
                tqdm(total=size, unit="B", unit_scale=True, unit_divisor=1024, desc=name, leave=False)
                for name, size in zip(names, sizes, strict=True)
            ]

    def moved(self, number: int, phase: str) -> None:
        """Show that a file has got to another phase."""
        if self._all is None or self._phases[number] == phase:
            return
        self._phases[number] = phase
        counts = Counter(self._phases)
        self._all.n = counts["ready"] + counts["failed"]
        told = ", ".join(f"{counts[name]} {name}" for name in _PHASES if counts[name])
        self._all.set_postfix_str(told)
        if self._bars:
            self._bars[number].set_postfix_str(phase)

    def sent(self, number: int, count: int) -> None:
        """Show how many bytes of a file have gone; fewer than before if it begins again."""
        if self._bars:
            bar = self._bars[number]
            bar.update(count - bar.n)

    def close(self) -> None:
        """Leave the last state of the bar of all files, and remove the others."""
        for bar in (*self._bars, *([self._all] if self._all is not None else [])):
            bar.close()


def _tqdm() -> Any:
    try:
        from tqdm.auto import tqdm  # noqa: PLC0415
    except ImportError as exc:
        message = "progress bars need tqdm: pip install 'langchain-bailian-app[openapi]'"
        raise ImportError(message) from exc
    return tqdm


def _is_watched(tqdm: Any) -> bool:
    """Whether somebody looks: in a notebook or at a terminal."""
    return any(kind.__name__ == "tqdm_notebook" for kind in tqdm.__mro__) or sys.stderr.isatty()
