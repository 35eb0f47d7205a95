"""Entry point of `make bench`: run all benchmarks, print the results and write them to `RESULTS.md`."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import call_path
import early_close
import session_bytes
import speed_report
import upload_memory

README = Path(__file__).parent.with_name("README.md")
BEGIN, END = "<!-- speed -->", "<!-- /speed -->"
RESULTS = Path(__file__).with_name("RESULTS.md")
BENCHMARKS = (session_bytes, early_close, upload_memory, call_path)
PACKAGES = (
    "langchain-bailian-app",
    "langchain-core",
    "dashscope",
    "aiohttp",
    "httpx",
    "httpx-aiohttp",
    "orjson",
    "pydantic",
    "urllib3",
    "langchain-anthropic",
    "langchain-community",
    "langchain-openai",
    "langchain-qwq",
)


def describe_environment() -> str:
    """Return the machine, the versions and the commit of the measurement."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"{machine}, Python {platform.python_version()}, {versions}, commit {get_commit()}"


def get_commit() -> str:
    """Return the commit of this package."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    completed = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True, check=False)
    return completed.stdout.strip() or "unknown"


def main() -> None:
    """Measure, print the results, and write them to RESULTS.md and a summary to README.md."""
    environment = describe_environment()
    speed = speed_report.measure()
    other_sections = [benchmark.measure() for benchmark in BENCHMARKS]
    sections = [*other_sections, speed.section]
    report = "\n\n".join(["# Results", f"Written by `make bench`. {environment}.", *sections])
    print(report)
    RESULTS.write_text(f"{report}\n", "utf-8")
    before, _, after_begin = README.read_text("utf-8").partition(BEGIN)
    _, _, after = after_begin.partition(END)
    README.write_text(f"{before}{BEGIN}\n{speed.summary}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
