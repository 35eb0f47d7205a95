"""Progress bars, which tqdm shows in a terminal or a notebook; without ipywidgets, as text."""

from __future__ import annotations

import sys
import warnings
from importlib.util import find_spec
from typing import Any


def open_progress_bar(total: int, *, unit: str, description: str, enabled: bool | None) -> Any:
    """Return a bar of tqdm, or None if progress is not shown.

    Args:
        total: Number of items.
        unit: Name of one item.
        description: Text before the bar.
        enabled: Whether to show the bar. None: only in a terminal or a notebook, if tqdm is installed.

    Raises:
        ImportError: `enabled` is True, but tqdm is not installed.
    """
    if enabled is False or not total or (enabled is None and find_spec("tqdm") is None):
        return None
    tqdm = import_tqdm()
    if enabled is None and not _is_interactive(tqdm):
        return None
    return tqdm(total=total, unit=unit, desc=description)


def import_tqdm() -> Any:
    """Return the class for a bar.

    Raises:
        ImportError: tqdm is not installed.
    """
    try:
        from tqdm import TqdmWarning  # noqa: PLC0415

        with warnings.catch_warnings():
            # "IProgress not found": the text output is sufficient.
            warnings.simplefilter("ignore", TqdmWarning)
            from tqdm.auto import tqdm  # noqa: PLC0415
    except ImportError as exc:
        message = "missing package tqdm, required for progress bars: pip install tqdm"
        raise ImportError(message) from exc
    return tqdm


def shows_several_bars() -> bool:
    """Return whether several bars can be shown at once.

    Without widgets, a notebook does not support moving the cursor to one of several lines.
    """
    return _has_widgets(import_tqdm()) or not _is_in_notebook()


def _is_interactive(tqdm: Any) -> bool:
    """Return whether the output goes to a notebook or a terminal."""
    return _has_widgets(tqdm) or _is_in_notebook() or sys.stderr.isatty()


def _has_widgets(tqdm: Any) -> bool:
    return any(cls.__name__ == "tqdm_notebook" for cls in tqdm.__mro__)


def _is_in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
