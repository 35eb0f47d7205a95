"""Peak memory of a process, for the benchmarks that report it."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

_PROC_STATUS = Path("/proc/self/status")
_MEGABYTE = 1024**2


def read_peak_memory(*, reset: bool = False) -> float:
    """Return the peak memory of this process in MB; `reset` (Linux only) restarts the measurement."""
    if not _PROC_STATUS.exists():
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MEGABYTE
    if reset:
        _PROC_STATUS.with_name("clear_refs").write_text("5")
    # Not `ru_maxrss`, whose value a process inherits from its parent.
    lines = dict(line.split(":", 1) for line in _PROC_STATUS.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024
