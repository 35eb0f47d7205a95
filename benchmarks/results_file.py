"""File with the results of the benchmarks, `RESULTS.md`."""

from __future__ import annotations

import subprocess
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
SOAK_HEADING = "## Soak"


def get_commit() -> str:
    """Return the commit of this package."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    completed = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True, check=False)
    return completed.stdout.strip() or "unknown"


def split_results() -> tuple[str, str]:
    """Return the text before the section of the soak, which is the last one, and this section."""
    before, heading, section = RESULTS.read_text("utf-8").partition(f"\n{SOAK_HEADING}\n")
    return before.strip(), (heading + section).strip()
