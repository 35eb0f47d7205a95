"""Smoke test of an installed wheel: `python smoke.py bare` or `python smoke.py emulator`."""

import http.server
import json
import sys
import threading
from importlib.metadata import version

import langchain_bailian_app
from langchain_bailian_app import BailianAppChatModel, BailianRetriever

FRAMES = [
    {"output": {"text": "你", "finish_reason": "null", "session_id": "s"}, "request_id": "r"},
    {"output": {"text": "好", "finish_reason": "stop", "session_id": "s"}, "request_id": "r"},
]


class FakeService(http.server.BaseHTTPRequestHandler):
    """Fake service with one fixed answer, based on the standard library only."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for frame in FRAMES:
            self.wfile.write(b"data:" + json.dumps(frame).encode() + b"\n\n")


def check_bare_install() -> None:
    """Call an application without extras, and check that errors name the missing extra."""
    server = http.server.HTTPServer(("127.0.0.1", 0), FakeService)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base_url = f"http://127.0.0.1:{server.server_port}/api/v1"
    model = BailianAppChatModel(app_id="app", api_key="key", base_url=base_url)
    assert model.invoke("？").text == "你好"
    assert [chunk.text for chunk in model.stream("？") if chunk.text] == ["你", "好"]
    server.shutdown()
    for module, extra in (
        ("display", "display"),
        ("redis_sessions", "redis"),
        ("emulator", "emulator"),
    ):
        try:
            __import__(f"langchain_bailian_app.{module}")
        except ImportError as exc:
            assert f"[{extra}]" in str(exc), exc
        # The import may succeed if another package has installed the requirements.


def check_emulator_extra() -> None:
    """Call the emulator, whose samples are part of the wheel."""
    from langchain_bailian_app.emulator import BailianEmulator

    with BailianEmulator() as bailian:
        connection = {"base_url": bailian.base_url, "api_key": bailian.api_key}
        model = BailianAppChatModel(app_id=bailian.app_id, **connection)
        assert "滞报金" in model.invoke("什么是滞报金？").text
        assert BailianRetriever(model=model, k=1).invoke("什么是滞报金？")


if __name__ == "__main__":
    assert "site-packages" in langchain_bailian_app.__file__, (
        "not running against the installed package"
    )
    assert version("langchain-bailian-app") == langchain_bailian_app.__version__
    {"bare": check_bare_install, "emulator": check_emulator_extra}[sys.argv[1]]()
    print(f"{sys.argv[1]}: ok, {langchain_bailian_app.__version__} on Python {sys.version.split()[0]}")
