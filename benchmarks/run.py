"""Entry point of `make bench`: run all benchmarks, print the results and write them to `RESULTS.md`."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import call_path
import early_close
import memory_calls
import session_bytes
import speed_report
import upload_memory
from results_file import RESULTS, get_commit, split_results

README = Path(__file__).parent.with_name("README.md")
BEGIN, END = "<!-- speed -->", "<!-- /speed -->"
BENCHMARKS = (session_bytes, early_close, upload_memory, memory_calls, call_path)
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


def main() -> None:
    """Measure, print the results, and write them to RESULTS.md and a summary to README.md."""
    environment = describe_environment()
    speed = speed_report.measure()
    other_sections = [benchmark.measure() for benchmark in BENCHMARKS]
    sections = [*other_sections, speed.section]
    report = "\n\n".join(["# Results", f"Written by `make bench`. {environment}.", *sections])
    print(report)
    soak_section = split_results()[1]  # written by `make bench-soak`, which takes longer
    RESULTS.write_text("\n\n".join(filter(None, [report, soak_section])) + "\n", "utf-8")
    before, _, after_begin = README.read_text("utf-8").partition(BEGIN)
    _, _, after = after_begin.partition(END)
    README.write_text(f"{before}{BEGIN}\n{speed.summary}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
