"""Benchmark of the installation, from a clone to the first streamed text of the demo.

    python benchmarks/install.py [REVISION ...]

For each revision (default: HEAD), the script clones the repository and runs `make demo`. It prints the
seconds until the demo shows the first text of a streamed answer, and the size of the virtual
environment. pip has no cache: the time includes downloads, so it depends on the network.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {"PIP_NO_CACHE_DIR": "1", "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}
KEYS = {"DASHSCOPE_API_KEY", "BAILIAN_APP_ID"}
STREAM_HEADING = b"2. A stream"


def measure(revision: str, folder: Path) -> tuple[float, float]:
    """Return the seconds until the first streamed text, and the size of the environment in MB."""
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    subprocess.run(["git", "checkout", "--quiet", revision], cwd=folder, check=True)
    environment = {name: value for name, value in os.environ.items() if name not in KEYS} | ENVIRONMENT
    start = time.perf_counter()
    with subprocess.Popen(
        ["make", "demo"], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        stdout = process.stdout
        if stdout is None:
            raise RuntimeError
        while STREAM_HEADING not in (line := stdout.readline()):
            if not line:
                message = f"{revision}: the demo ended before its first stream"
                raise RuntimeError(message)
        stdout.readline()  # the call
        stdout.readline()  # an empty line
        stdout.read(1)
        seconds = time.perf_counter() - start
        stdout.read()
    size = sum(path.lstat().st_size for path in (folder / ".venv").rglob("*") if path.is_file())
    return seconds, size / 1e6


def main() -> None:
    """Print one line for each revision."""
    for revision in sys.argv[1:] or ["HEAD"]:
        with tempfile.TemporaryDirectory() as folder:
            seconds, megabytes = measure(revision, Path(folder, "clone"))
        print(
            f"{revision}: {seconds:.1f} s until the first streamed text, {megabytes:.0f} MB installed"
        )


if __name__ == "__main__":
    main()
