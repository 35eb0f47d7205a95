"""Benchmark of the path of a call: how much code runs before `stream()` yields its first chunk.

It counts the files and functions of this package, and those of `ChatAnthropic` with and without its
SDK, in the second `stream()` of a model: what the first call imports or caches is not counted.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType, ModuleType

QUESTION = "什么是滞报金？"
ANTHROPIC_EVENTS = """\
event: message_start
data: {"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", \
"model": "m", "content": [], "stop_reason": null, "usage": {"input_tokens": 1, "output_tokens": 1}}}

event: content_block_start
data: {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}

event: content_block_delta
data: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}}

event: content_block_stop
data: {"type": "content_block_stop", "index": 0}

event: message_delta
data: {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}

event: message_stop
data: {"type": "message_stop"}

"""


class AnthropicHandler(BaseHTTPRequestHandler):
    """Answers each request with the same stream, in the format of Anthropic's Messages API."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(ANTHROPIC_EVENTS.encode())

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def run_anthropic_server() -> Iterator[str]:
    """Run a server on loopback and yield its URL."""
    server = HTTPServer(("127.0.0.1", 0), AnthropicHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def count_calls(model: Any) -> Counter[CodeType]:
    """Return the calls of each function up to the first chunk with text of a second stream."""
    list(model.stream(QUESTION))
    calls: Counter[CodeType] = Counter()

    def count(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            calls[frame.f_code] += 1

    stream = model.stream(QUESTION)
    sys.setprofile(count)
    try:
        while not next(stream).text:
            pass
    finally:
        sys.setprofile(None)
    list(stream)
    return calls


def summarize(name: str, calls: Counter[CodeType], *packages: ModuleType, without: str = "") -> str:
    """Return a table row with the files, functions and calls of packages, without one folder."""
    folders = [str(Path(package.__file__ or "").parent) + "/" for package in packages]
    counted = {
        code: count
        for code, count in calls.items()
        if code.co_filename.startswith(tuple(folders)) and not (without and without in code.co_filename)
    }
    files = {code.co_filename for code in counted}
    functions = {(code.co_filename, code.co_qualname) for code in counted}
    return f"| {name} | {len(files)} | {len(functions)} | {sum(counted.values())} |"


def measure() -> str:
    """Return a section of the report."""
    import anthropic
    import langchain_anthropic

    import langchain_bailian_app
    from langchain_bailian_app.emulator import BailianEmulator

    with BailianEmulator() as emulator:
        model = langchain_bailian_app.BailianAppChatModel(
            app_id=emulator.app_id, base_url=emulator.base_url, api_key=emulator.api_key
        )
        own_calls = count_calls(model)
    with run_anthropic_server() as url:
        peer: Any = langchain_anthropic.ChatAnthropic
        peer_calls = count_calls(peer(model="m", base_url=url, api_key="k", max_retries=0))
    return "\n".join(
        [
            "## Path of a call",
            "",
            "Code that runs up to the first chunk with text of the second `stream()` of a model",
            "(`call_path.py`). Code of langchain-core, dashscope and HTTP libraries is not counted.",
            "",
            "| package | files | functions | calls |",
            "|---|---:|---:|---:|",
            summarize("this package", own_calls, langchain_bailian_app, without="/emulator/"),
            summarize("`ChatAnthropic`", peer_calls, langchain_anthropic),
            summarize("`ChatAnthropic` with its SDK", peer_calls, langchain_anthropic, anthropic),
        ]
    )


if __name__ == "__main__":
    print(measure())
