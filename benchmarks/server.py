"""Server with a negligible cost per frame, so that the benchmarks measure the client.

Replies are built once and cached. The first part of the path is the name of the reply,
`{frames}x{milliseconds}-{kind}`; the last part selects the protocol: that of applications, of
dashscope's models, or of OpenAI.

As a program, this module prints its port and serves until its standard input is closed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

TOKEN = "税"  # noqa: S105  # one token of text
REPEATED_BYTES = 100_000  # size of the references or steps that each frame repeats
SHORT_CALL_SECONDS = 0.02  # duration of a short call in seconds
_LAST_CHUNK = b"0\r\n\r\n"
_RESPONSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream;charset=UTF-8\r\n"
    b"Transfer-Encoding: chunked\r\nx-request-id: r\r\n\r\n"
)


class Reply(NamedTuple):
    """A reply, as a sequence of frames."""

    frames: list[bytes]
    """Frames as sent over the wire; the first one includes the head of the response."""

    pace: float
    """Seconds between two frames; 0 sends all at once."""


@cache
def build_reply(name: str, api: str) -> Reply:
    """Return the reply with this name, in the protocol `api`."""
    size, _, kind = name.partition("-")
    frames, _, milliseconds = size.partition("x")
    events = [*_EVENTS[api](int(frames), kind)]
    chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    chunks[0] = _RESPONSE_HEAD + chunks[0]
    chunks[-1] += _LAST_CHUNK
    pace = float(milliseconds) / 1000
    return Reply(chunks if pace else [b"".join(chunks)], pace)


def _application_events(frames: int, kind: str) -> Iterable[bytes]:
    output: dict[str, Any] = {"session_id": "5e92f1a8b7c64d0c9d3be7a1f0c2d4e6", "finish_reason": "null"}
    if kind == "references":
        output["doc_references"] = [_build_reference(number) for number in range(1, 101)]
    if kind == "steps":
        output["thoughts"] = [_build_retrieval_step()]
    for number in range(1, frames + 1):
        text = TOKEN * number if kind == "cumulative" else TOKEN
        if number == frames:
            output["finish_reason"] = "stop"
        usage = {"models": [{"model_id": "qwen-max", "input_tokens": 24, "output_tokens": number}]}
        body = {"output": output | {"text": text}, "usage": usage, "request_id": "8f3c-4a1b-9d2e-77aa"}
        yield b"id:%d\nevent:result\n:HTTP_STATUS/200\ndata:%b\n\n" % (number, _json(body))


def _build_reference(number: int) -> dict[str, Any]:
    text = "海关" * (REPEATED_BYTES // 600 - 40)
    fields = {"doc_name": "海关词典", "doc_id": f"file_{number}", "images": [], "page_number": [number]}
    return {"index_id": str(number), "title": f"第{number}条", "text": text, **fields}


def _build_retrieval_step() -> dict[str, Any]:
    hits = [
        {"content": f"【正文】:{'海关' * 150}", "dataId": f"file_{n}", "score": 0.5} for n in range(100)
    ]
    observation = _json(hits).decode()
    return {"action": "rag", "action_type": "agentRag", "arguments": "{}", "observation": observation}


def _generation_events(frames: int, _: str) -> Iterable[bytes]:
    for number in range(1, frames + 1):
        message = {"role": "assistant", "content": TOKEN}
        reason = "stop" if number == frames else "null"
        body = {
            "output": {"choices": [{"message": message, "finish_reason": reason}]},
            "usage": {"input_tokens": 24, "output_tokens": number, "total_tokens": 24 + number},
            "request_id": "8f3c-4a1b-9d2e-77aa",
        }
        yield b"id:%d\nevent:result\n:HTTP_STATUS/200\ndata:%b\n\n" % (number, _json(body))


def _openai_events(frames: int, _: str) -> Iterable[bytes]:
    for number in range(1, frames + 1):
        choice = {
            "index": 0,
            "delta": {"content": TOKEN, "role": "assistant"},
            "finish_reason": "stop" if number == frames else None,
        }
        body = {
            "id": "chatcmpl-8f3c4a1b9d2e77aa",
            "object": "chat.completion.chunk",
            "created": 1_760_000_000,
            "model": "qwen-max",
            "choices": [choice],
        }
        end = b"data: [DONE]\n\n" if number == frames else b""
        yield b"data: %b\n\n%b" % (_json(body), end)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()  # as the service does


_EVENTS = {
    "completion": _application_events,
    "generation": _generation_events,
    "completions": _openai_events,
}


class ServerProtocol(asyncio.Protocol):
    """Protocol of one connection."""

    def __init__(self, pacers: dict[float, Pacer]) -> None:
        self._pacers = pacers
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport for replies."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Reply as soon as the request is complete."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        if len(body) < length:
            return
        self._received = b""
        path = head.split(b" ", 2)[1].decode().split("/")
        reply = build_reply(path[1], path[-1])
        if reply.pace:
            pacer = self._pacers.setdefault(reply.pace, Pacer(reply.pace))
            pacer.add(self._transport, reply.frames)
        elif path[1].endswith("-delayed"):
            loop = asyncio.get_running_loop()
            loop.call_later(SHORT_CALL_SECONDS, self._transport.write, reply.frames[0])
        else:
            self._transport.write(reply.frames[0])


class Pacer:
    """Sender of frames to all connections with the same pace, with one timer for all of them."""

    def __init__(self, pace: float) -> None:
        self._pace = pace
        self._queue: deque[tuple[float, asyncio.Transport, list[bytes], int]] = deque()
        self._running = False

    def add(self, transport: asyncio.Transport, frames: list[bytes]) -> None:
        """Start a reply."""
        transport.write(frames[0])
        if len(frames) == 1:
            return
        self._queue.append((time.perf_counter() + self._pace, transport, frames, 1))
        if not self._running:
            self._tick()

    def _tick(self) -> None:
        now = time.perf_counter()
        while self._queue and self._queue[0][0] <= now:
            due, transport, frames, index = self._queue.popleft()
            if transport.is_closing():
                continue
            transport.write(frames[index])
            if index + 1 < len(frames):
                # All have the same pace, so the queue stays sorted by due time.
                self._queue.append((due + self._pace, transport, frames, index + 1))
        self._running = bool(self._queue)
        if self._running:
            wait = max(0.0, self._queue[0][0] - time.perf_counter())
            asyncio.get_running_loop().call_later(wait, self._tick)


async def main() -> None:
    """Print the port and serve until standard input is closed."""
    if hasattr(os, "sched_setaffinity") and len(sys.argv) > 1:
        os.sched_setaffinity(0, {int(sys.argv[1])})
    pacers: dict[float, Pacer] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: ServerProtocol(pacers), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
