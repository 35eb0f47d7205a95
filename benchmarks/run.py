"""Run all benchmarks, print what they find, and write it to `RESULTS.md`: `make bench`."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import early_close
import session_bytes
import upload_memory

RESULTS = Path(__file__).with_name("RESULTS.md")
PACKAGES = ("langchain-bailian-app", "langchain-core", "dashscope")


def circumstances() -> str:
    """Say where this was measured."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"{machine}, Python {platform.python_version()}, {versions}"


def main() -> None:
    """Measure, print, and write the results."""
    sections = [benchmark.measure() for benchmark in (session_bytes, early_close, upload_memory)]
    report = "\n\n".join(["# Results", f"Written by `make bench`. {circumstances()}.", *sections])
    print(report)
    RESULTS.write_text(f"{report}\n", "utf-8")


if __name__ == "__main__":
    main()
