"""The most memory that a process has used, for the benchmarks that tell it."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

_PROC_STATUS = Path("/proc/self/status")
_MEGABYTE = 1024**2


def read_peak_memory(*, reset: bool = False) -> float:
    """Return the most memory that was in use, in MB; `reset` forgets what was before, on Linux."""
    if not _PROC_STATUS.exists():
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MEGABYTE
    if reset:
        _PROC_STATUS.with_name("clear_refs").write_text("5")
    # Not `ru_maxrss`, which a program inherits from the one that started it.
    lines = dict(line.split(":", 1) for line in _PROC_STATUS.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024
