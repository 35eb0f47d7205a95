"""Benchmark of single calls to routes of a workspace, as a ratio to the same requests with plain httpx.

    python benchmarks/workspace_calls.py

The emulator runs in another process. Each contender sends the same requests over one kept connection,
in alternating rounds, so that all see the same load of the machine.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx

from langchain_bailian_app import BailianRetriever

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS, CALLS = 7, 100
QUERY = "什么是保税？"
SERVER = """
import json, time
from langchain_bailian_app.emulator import BailianEmulator
with BailianEmulator() as bailian:
    print(json.dumps([bailian.base_url, bailian.api_key]), flush=True)
    time.sleep(3600)
"""


def search_with_httpx(client: httpx.Client, url: str) -> list[str]:
    """Search as a client without this package would."""
    response = client.post(url, json={"agent_id": "aid-customs", "query": QUERY})
    response.raise_for_status()
    body = response.json()
    if not body["success"]:
        raise RuntimeError(body["message"])
    return [node["text"] for node in body["data"]["nodes"]]


def measure(contenders: dict[str, Callable[[], Any]]) -> dict[str, tuple[float, float]]:
    """Return the median wall and CPU time of a call in microseconds."""
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for call in contenders.values():
        call()  # connects, and imports what is imported on the first call
    for _ in range(ROUNDS):
        for name, call in contenders.items():
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(CALLS):
                call()
            times = (time.perf_counter() - wall, time.process_time() - cpu)
            samples[name].append((times[0] / CALLS * 1e6, times[1] / CALLS * 1e6))
    return {
        name: (
            statistics.median(wall for wall, _ in values),
            statistics.median(cpu for _, cpu in values),
        )
        for name, values in samples.items()
    }


def main() -> None:
    """Print a line for each contender."""
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        stdout = server.stdout
        if stdout is None:
            raise RuntimeError
        base_url, key = json.loads(stdout.readline())
        retriever = BailianRetriever(agent_id="aid-customs", base_url=base_url, api_key=key)
        with httpx.Client(headers={"Authorization": f"Bearer {key}"}, trust_env=False) as client:
            url = f"{base_url}/indices/knowledge/search"
            loop = asyncio.new_event_loop()
            results = measure(
                {
                    "httpx": lambda: search_with_httpx(client, url),
                    "invoke": lambda: retriever.invoke(QUERY),
                    "ainvoke": lambda: loop.run_until_complete(retriever.ainvoke(QUERY)),
                }
            )
            loop.close()
    finally:
        server.kill()
        server.wait()
    base_wall, base_cpu = results["httpx"]
    for name, (wall, cpu) in results.items():
        print(
            f"{name}: {1e6 / wall:.0f} searches per second ({base_wall / wall:.2f} of httpx), "
            f"CPU {cpu:.0f} µs ({cpu / base_cpu:.2f} of httpx)"
        )


if __name__ == "__main__":
    main()
