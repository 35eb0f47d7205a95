"""Benchmark of calls per second to a memory library, compared with plain httpx.

The server is a separate process with a negligible cost per request. It answers every request to search
with ten nodes, and every other one with one changed node. Both clients keep their connections, send the
same bodies and parse the response; this package also validates the arguments and builds its results.
Rates are per second of CPU time (user and system) of the client, which other processes hardly affect.

As a program with the argument `serve`, this module prints its port and serves until its standard input
is closed.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, cast

import httpx

from langchain_bailian_app.memory import BailianMemoryLibrary

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CALLS, CONCURRENT_CALLS, REPEATS = 500, 50, 5
USER, QUESTION, FACT = "user-1", "周末做什么？", "用户喜欢爬山。"
_SEARCH_BODY = {"user_id": USER, "messages": [{"role": "user", "content": QUESTION}]}
_ADD_BODY = {"user_id": USER, "custom_content": FACT}
_NODE = {
    "memory_node_id": "f0c2d4e65e92f1a8b7c64d0c9d3be7a1",
    "content": FACT,
    "memory_type": "observation",
    "score": 0.81,
    "status": "valid",
    "project_id": "9d02496071ce4463b2f1ecd6c2baa560",
    "meta_data": {},
    "timestamp": 1_790_000_000,
    "created_at": 1_790_000_031,
    "updated_at": 1_790_000_031,
}
_CHANGE = {"memory_node_id": _NODE["memory_node_id"], "content": FACT, "event": "ADD"}


def _build_response(body: dict[str, object]) -> bytes:
    content = json.dumps({"request_id": "r-1", **body}, ensure_ascii=False).encode()
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


_SEARCH_RESPONSE = _build_response({"plan_version": "pro", "memory_nodes": [_NODE] * 10})
_ADD_RESPONSE = _build_response({"memory_nodes": [_CHANGE]})


class _Protocol(asyncio.Protocol):
    """Connection of a client that sends one request after the other."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer a request when it is complete."""
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(body) >= length:
            self._buffer = b""
            is_search = b"/search " in head.partition(b"\r\n")[0]
            self._transport.write(_SEARCH_RESPONSE if is_search else _ADD_RESPONSE)  # type: ignore[attr-defined]


async def serve() -> None:
    """Print the port, and serve until the standard input is closed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Protocol, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


class Row(NamedTuple):
    """Calls per second of one kind of call."""

    label: str
    plain: float
    ours: float

    @property
    def ratio(self) -> float:
        """Calls per second of this package, as a fraction of those of httpx."""
        return self.ours / self.plain


def measure_rate(call: Callable[[], object]) -> float:
    """Return the calls per second, one after the other."""
    started_at = time.process_time()
    for _ in range(CALLS):
        call()
    return CALLS / (time.process_time() - started_at)


async def measure_async_rate(call: Callable[[], Awaitable[object]], concurrent_calls: int) -> float:
    """Return the calls per second with a number of concurrent calls."""

    async def repeat() -> None:
        for _ in range(CALLS // concurrent_calls):
            await call()

    started_at = time.process_time()
    await asyncio.gather(*(repeat() for _ in range(concurrent_calls)))
    return CALLS / (time.process_time() - started_at)


def measure_sync_rows(origin: str) -> list[Row]:
    """Return the rows of synchronous calls."""
    library = BailianMemoryLibrary(base_url=f"{origin}/api/v1", api_key="k")
    root, headers = f"{origin}/api/v2/apps/memory", {"Authorization": "Bearer k"}
    with httpx.Client(headers=headers, trust_env=False) as client:
        calls: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "`search`": (
                lambda: client.post(f"{root}/memory_nodes/search", json=_SEARCH_BODY).json(),
                lambda: library.search(USER, QUESTION),
            ),
            "`add`": (
                lambda: client.post(f"{root}/add", json=_ADD_BODY).json(),
                lambda: library.add(USER, custom_content=FACT),
            ),
        }
        return [
            _make_row(label, [(measure_rate(plain), measure_rate(ours)) for _ in range(REPEATS + 1)])
            for label, (plain, ours) in calls.items()
        ]


async def measure_async_rows(origin: str) -> list[Row]:
    """Return the rows of asynchronous calls."""
    library = BailianMemoryLibrary(base_url=f"{origin}/api/v1", api_key="k")
    url, headers = f"{origin}/api/v2/apps/memory/memory_nodes/search", {"Authorization": "Bearer k"}

    async with httpx.AsyncClient(headers=headers, trust_env=False) as client:

        async def call_plain() -> object:
            return (await client.post(url, json=_SEARCH_BODY)).json()

        async def call_ours() -> object:
            return await library.asearch(USER, QUESTION)

        rows = []
        for count in (1, CONCURRENT_CALLS):
            rounds = [
                (
                    await measure_async_rate(call_plain, count),
                    await measure_async_rate(call_ours, count),
                )
                for _ in range(REPEATS + 1)
            ]
            label = "`asearch`" if count == 1 else f"`asearch`, {count} concurrent calls"
            rows.append(_make_row(label, rounds))
        return rows


def _make_row(label: str, rounds: list[tuple[float, float]]) -> Row:
    """Return the medians; the first round connects and imports, and does not count."""
    plain, ours = zip(*rounds[1:], strict=True)
    return Row(label, statistics.median(plain), statistics.median(ours))


def measure() -> str:
    """Measure, and return the section of the report."""
    command = [sys.executable, str(Path(__file__)), "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        port = int(cast("IO[str]", server.stdout).readline())
        origin = f"http://127.0.0.1:{port}"
        rows = [*measure_sync_rows(origin), *asyncio.run(measure_async_rows(origin))]
        server.communicate()  # closes its standard input
    table = "\n".join(
        f"| {row.label} | {row.plain:,.0f} | {row.ours:,.0f} | {row.ratio:.2f} |" for row in rows
    )
    return (
        "## Calls to a memory library\n\n"
        "Calls per second of CPU time of the client; medians of "
        f"{REPEATS} rounds of {CALLS} calls\n(`memory_calls.py`). The ratio is that of "
        "`BailianMemoryLibrary` to plain httpx: more is better.\n\n"
        "| | httpx | this package | ratio |\n|---|---:|---:|---:|\n"
        f"{table}"
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
    else:
        print(measure())
