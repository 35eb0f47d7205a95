"""Benchmark of the memory for an upload of the largest file, compared with that of a tiny file.

The emulator runs in this process. The uploads run in another process, whose peak memory is reset and
read after the tiny file, and read again after the large file.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

from peak_memory import read_peak_memory

from langchain_bailian_app.emulator import BailianEmulator
from langchain_bailian_app.files import BailianFiles

FILE_BYTES = 512 * 1024**2  # maximum size that the service accepts
MEGABYTE = 1024**2


def upload(method: str, route: str, folder: str, *credentials: str) -> None:
    """Upload a tiny and a large file; print both memory peaks and the duration of the second upload."""
    address, key, secret = credentials
    connection = (
        {"base_url": address, "api_key": key}
        if route == "API key"
        else {"endpoint": address, "access_key_id": key, "access_key_secret": secret}
    )
    files = BailianFiles(workspace="ws", progress=False, **connection)
    files.upload(Path(folder, "tiny.mp4"))
    peak_before, started_at = read_peak_memory(reset=True), time.perf_counter()
    large = Path(folder, "large.mp4")
    if method == "upload":
        files.upload(large)
    else:
        asyncio.run(files.aupload(large))
    print(peak_before, read_peak_memory(), time.perf_counter() - started_at)


def measure_upload(
    method: str, route: str, bailian: BailianEmulator, folder: str
) -> tuple[float, float, float]:
    """Run the upload in another process; return its memory peaks in MB and the duration in seconds."""
    bailian.reset()
    credentials = (
        [bailian.base_url, bailian.api_key, ""]
        if route == "API key"
        else [bailian.openapi_endpoint, bailian.access_key_id, bailian.access_key_secret]
    )
    completed = subprocess.run(  # runs this file
        [sys.executable, __file__, method, route, folder, *credentials],
        check=True,
        capture_output=True,
        text=True,
    )
    peak_before, peak_after, seconds = map(float, completed.stdout.split())
    return peak_before, peak_after, seconds


def measure() -> str:
    """Measure, and return the section of the report."""
    lines = [
        "| | peak before (MB) | peak after (MB) | difference (MB) | seconds |",
        "|---|---:|---:|---:|---:|",
    ]
    with BailianEmulator() as bailian, tempfile.TemporaryDirectory() as folder:
        Path(folder, "tiny.mp4").write_bytes(b"tiny")
        with Path(folder, "large.mp4").open("wb") as file:
            file.truncate(FILE_BYTES)
        for route, method in product(("API key", "AccessKey"), ("upload", "aupload")):
            peak_before, peak_after, seconds = measure_upload(method, route, bailian, folder)
            lines.append(
                f"| `{method}`, {route} | {peak_before:.1f} | {peak_after:.1f}"
                f" | {peak_after - peak_before:.1f} | {seconds:.1f} |"
            )
    return "\n".join(
        [
            "## Memory of an upload",
            "",
            f"A file of {FILE_BYTES // MEGABYTE} MB, in a process that has already uploaded a small",
            "file (`upload_memory.py`). The file is read twice, for its MD5 and for the upload; the",
            "emulator receives it on the same machine.",
            "",
            *lines,
        ]
    )


if __name__ == "__main__":
    upload(*sys.argv[1:])
