"""Tests of injected errors and faults, and of starting and stopping the server."""

import gzip
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from langchain_bailian_app.emulator import (
    ERRORS,
    FAULTS,
    App,
    BailianEmulator,
    ErrorReply,
    Faults,
    Turn,
)
from langchain_bailian_app.emulator._apps.samples import ECHO_APP_ID
from tests.integration_tests.emulator.test_completion import call_app, get_output, parse_frames

SSE_HEADERS = {"X-DashScope-SSE": "enable"}
FRAMES = (
    'id:1\nevent:result\n:HTTP_STATUS/200\ndata:{"output":{"text":"你好"}}\n\n'
    'id:2\nevent:result\n:HTTP_STATUS/200\ndata:{"output":{"text":""}}\n\n'
).encode()


@pytest.fixture
def bailian() -> Iterator[BailianEmulator]:
    with BailianEmulator() as emulator:
        yield emulator


@pytest.fixture
def client(bailian: BailianEmulator) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {bailian.api_key}"}
    with httpx.Client(base_url=bailian.base_url, headers=headers, trust_env=False) as client:
        yield client


def completion_request(app_id: str) -> dict[str, Any]:
    """Return the arguments of a streaming request."""
    body = {"input": {"prompt": "说一句长的话"}, "parameters": {"incremental_output": True}}
    return {"url": f"/apps/{app_id}/completion", "json": body, "headers": SSE_HEADERS}


def test_every_error_can_be_provoked(bailian: BailianEmulator, client: httpx.Client) -> None:
    app = bailian.apps[ECHO_APP_ID]
    for code, (status, message) in ERRORS.items():
        app.error = ErrorReply.of(code, headers={"Retry-After": "1"})
        response = client.post(**completion_request(ECHO_APP_ID))
        request_id = response.json()["request_id"]
        assert response.status_code == status
        assert response.json() == {"code": code, "message": message, "request_id": request_id}
        assert response.headers["retry-after"] == "1"


def test_an_error_is_sent_the_given_number_of_times(bailian: BailianEmulator) -> None:
    bailian.apps[ECHO_APP_ID].error = ErrorReply(429, "Throttling", "slow down", times=2)

    statuses = [call_app(bailian, "x", app_id=ECHO_APP_ID).status_code for _ in range(4)]

    assert statuses == [429, 429, 200, 200]


@pytest.mark.parametrize("after", [0, 1, 5, 10_000])
def test_an_error_can_occur_inside_a_stream(
    bailian: BailianEmulator, client: httpx.Client, after: int
) -> None:
    app = bailian.apps[ECHO_APP_ID]
    normal_count = len(parse_frames(client.post(**completion_request(ECHO_APP_ID))))
    app.error = ErrorReply.of("Throttling.RateQuota", in_stream_after=after)

    response = client.post(**completion_request(ECHO_APP_ID))

    *results, error, tail = response.text.split("\n\n")
    assert response.status_code == 200
    assert tail == ""
    assert len(results) == min(after, normal_count)
    head, data = error.split("\ndata:")
    assert head == f"id:{len(results) + 1}\nevent:error\n:HTTP_STATUS/429"
    assert json.loads(data)["code"] == "Throttling.RateQuota"
    assert call_app(bailian, "x", app_id=ECHO_APP_ID).status_code == 429


def test_an_exception_of_a_script_reaches_the_client(bailian: BailianEmulator) -> None:
    def answer(_turn: Turn) -> str:
        msg = "no such luck"
        raise LookupError(msg)

    response = call_app(bailian, "x", app_id=bailian.add_app(App("broken", answer=answer)))

    assert response.status_code == 500
    assert response.json()["code"] == "AppProcessFailed"
    assert "no such luck" in response.json()["message"]


def test_replay_sends_the_bytes_unchanged(bailian: BailianEmulator, client: httpx.Client) -> None:
    cuts = range(1, len(FRAMES))
    app_id = bailian.replay(FRAMES, cuts=cuts, headers={"X-More": "1"})
    with client.stream("POST", **completion_request(app_id)) as response:
        chunks = list(response.iter_raw())

    assert b"".join(chunks) == FRAMES
    assert len(chunks) > 1
    assert response.headers["x-more"] == "1"
    assert response.headers["content-type"] == "text/event-stream;charset=UTF-8"
    assert bailian.requests[0].wait()
    assert bailian.requests[0].frames_sent == len(FRAMES)


def test_a_compressed_html_page_can_be_replayed(bailian: BailianEmulator, client: httpx.Client) -> None:
    app_id = bailian.replay(
        gzip.compress(b"<html>"),
        content_type="text/html",
        status=502,
        headers={"Content-Encoding": "gzip"},
    )
    response = client.post(**completion_request(app_id))

    assert response.status_code == 502
    assert response.text == "<html>"


def test_pace_can_be_changed(bailian: BailianEmulator) -> None:
    bailian.pace = 0.001
    bailian.unknown_session = "same"

    assert bailian.pace == 0.001
    assert bailian.unknown_session == "same"


def test_replay_pauses_between_chunks(bailian: BailianEmulator, client: httpx.Client) -> None:
    app_id = bailian.replay(FRAMES, cuts=(10, 20, 10_000, 0), pause=0.02)
    started_at = time.monotonic()
    with client.stream("POST", **completion_request(app_id)) as response:
        sizes = [len(chunk) for chunk in response.iter_raw()]

    assert sizes == [10, 10, len(FRAMES) - 20]
    assert time.monotonic() - started_at >= 0.06


def test_a_replay_can_drop_the_connection(bailian: BailianEmulator, client: httpx.Client) -> None:
    app_id = bailian.replay(FRAMES, abort=True)
    received: list[bytes] = []
    with client.stream("POST", **completion_request(app_id)) as response:
        chunks = response.iter_raw()
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            received.extend(chunks)

    assert b"".join(received) == FRAMES
    assert bailian.requests[0].wait()
    assert not bailian.requests[0].finished


def test_a_stream_can_be_cut_or_stalled_after_some_frames(
    bailian: BailianEmulator, client: httpx.Client
) -> None:
    cut_app_id = bailian.add_app(App("cut", cut_after=3))
    stalled_app_id = bailian.add_app(App("stalled", stall_after=2))
    with pytest.raises(httpx.RemoteProtocolError):
        client.post(**completion_request(cut_app_id))
    with pytest.raises(httpx.ReadTimeout):
        client.post(**completion_request(stalled_app_id), timeout=0.05)

    for record, frames in zip(bailian.requests, (3, 2), strict=True):
        assert record.wait()
        assert record.frames_sent == frames
        assert record.closed_at is not None


@pytest.mark.parametrize("pace", [0.01, 60.0])
def test_a_client_disconnect_is_noticed(
    bailian: BailianEmulator, client: httpx.Client, pace: float
) -> None:
    bailian.pace = pace
    app_id = bailian.add_app(App("slow", stall_after=None if pace > 1 else 4))
    with client.stream("POST", **completion_request(app_id)) as response:
        if pace < 1:
            next(response.iter_raw())
        disconnected_at = time.monotonic()

    (record,) = bailian.requests
    assert record.wait()
    assert record.closed_at is not None
    assert record.closed_at - disconnected_at < 0.1
    assert not record.finished
    assert record.frames_sent < 5
    assert len(bailian.session("")) == 0


def test_a_client_disconnect_is_noticed_without_a_stream(bailian: BailianEmulator) -> None:
    bailian.pace = 60
    body = b'{"input":{"prompt":"x"}}'
    head = (
        f"POST /api/v1/apps/{bailian.app_id}/completion HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {bailian.api_key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    port = httpx.URL(bailian.base_url).port or 0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode() + body)
        while not bailian.requests:
            time.sleep(0.001)
        assert not bailian.requests[0].wait(0.02)

    assert bailian.requests[0].wait()
    assert bailian.requests[0].status is None


def test_a_client_may_disconnect_while_it_sends_the_request(bailian: BailianEmulator) -> None:
    port = httpx.URL(bailian.base_url).port or 0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = (
            "POST /api/v1/apps/x/completion HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
        )
        connection.sendall(head.encode())

    assert call_app(bailian, "x").status_code == 200
    assert len(bailian.requests) == 1


def test_unfinished_answers_add_no_round(bailian: BailianEmulator, client: httpx.Client) -> None:
    session_id = get_output(call_app(bailian, "一", app_id=ECHO_APP_ID))["session_id"]
    app = bailian.apps[ECHO_APP_ID]
    body = {"input": {"prompt": "二", "session_id": session_id}}
    frame_count = len(
        parse_frames(client.post(f"/apps/{ECHO_APP_ID}/completion", json=body, headers=SSE_HEADERS))
    )
    rounds = bailian.session(session_id)
    app.cut_after = frame_count - 1
    with pytest.raises(httpx.RemoteProtocolError):
        client.post(f"/apps/{ECHO_APP_ID}/completion", json=body, headers=SSE_HEADERS)

    assert [r.prompt for r in rounds] == ["一", "二"]
    assert bailian.session(session_id) == rounds


def test_an_answer_without_a_stream_takes_as_long_as_a_streamed_one(bailian: BailianEmulator) -> None:
    bailian.add_app(App("slow", app_id="5" * 32, pace=0.01, answer=lambda _: "一" * 10))
    started_at = time.monotonic()
    call_app(bailian, "x", app_id="5" * 32)

    assert time.monotonic() - started_at > 0.03


def test_stop_ends_open_streams(client: httpx.Client, bailian: BailianEmulator) -> None:
    bailian.apps[ECHO_APP_ID].pace = 60
    with client.stream("POST", **completion_request(ECHO_APP_ID)) as response:
        started_at = time.monotonic()
        bailian.stop()
        assert time.monotonic() - started_at < 1
        with pytest.raises(httpx.HTTPError):
            response.read()
    with pytest.raises(RuntimeError, match="not running"):
        _ = bailian.base_url
    assert bailian.requests[0].wait()


def test_an_emulator_can_restart_and_several_can_run_at_once(bailian: BailianEmulator) -> None:
    base_url = bailian.base_url
    assert bailian.start().base_url == base_url
    with BailianEmulator(seed_apps=False) as second:
        assert second.base_url != base_url
        assert second.apps == {}
        assert call_app(second, "x").json()["code"] == "App.AccessDenied"
        assert call_app(bailian, "x").status_code == 200
    bailian.stop()
    bailian.stop()
    bailian.start()
    assert call_app(bailian, "x").status_code == 200
    assert len(bailian.requests) == 2


def test_many_clients_can_call_at_once(bailian: BailianEmulator) -> None:
    def run_conversation(number: int) -> None:
        first = get_output(call_app(bailian, f"我叫甲{number}。", app_id=ECHO_APP_ID))
        input_fields = {"prompt": "我叫什么？", "session_id": first["session_id"]}
        texts[number] = get_output(call_app(bailian, input_fields, app_id=ECHO_APP_ID))["text"]

    texts: dict[int, str] = {}
    threads = [threading.Thread(target=run_conversation, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(f"你叫甲{number}。" in text for number, text in texts.items())
    assert len(texts) == 20


def test_a_port_in_use_raises_an_error(bailian: BailianEmulator) -> None:
    port = httpx.URL(bailian.base_url).port or 0

    with pytest.raises(OSError, match="in use"):
        BailianEmulator(port=port).start()


def test_proxies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with BailianEmulator() as bailian:
        assert call_app(bailian, "x").status_code == 200


@pytest.mark.slow
def test_the_command_line_starts_an_emulator() -> None:
    warnings = ["-W", "error", "-W", "ignore::DeprecationWarning"]  # from langsmith, on Python 3.14
    command = [sys.executable, *warnings, "-m", "langchain_bailian_app.emulator"]
    with subprocess.Popen(
        [*command, "--port", "0", "--pace", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        banner = ""
        while "Ctrl-C" not in banner:
            line = process.stdout.readline()
            assert line
            banner += line
        environment = dict(re.findall(r"export (\w+)=(\S+)", banner))
        headers = {"Authorization": f"Bearer {environment['DASHSCOPE_API_KEY']}"}
        response = httpx.post(
            f"{environment['DASHSCOPE_HTTP_BASE_URL']}/apps/{environment['BAILIAN_APP_ID']}/completion",
            json={"input": {"prompt": "什么是保税？"}},
            headers=headers,
            trust_env=False,
        )
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=5)

    assert "no model" in banner
    assert "海关术语助手" in banner
    assert response.status_code == 200
    assert process.returncode == 0
    (line,) = errors.splitlines()
    assert line.endswith("200, 1 frame(s), finished")


def test_faults_affect_the_same_replies_for_the_same_seed() -> None:
    shares = {"reset": 0.2, "gzip": 0.3}
    drawn = [[faults.draw() for _ in range(200)] for faults in (Faults(shares), Faults(shares))]

    assert drawn[0] == drawn[1]
    assert 20 < drawn[0].count(FAULTS["reset"]) < 60
    assert 40 < drawn[0].count(FAULTS["gzip"]) < 80


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown faults \['gremlins'\]"):
        Faults({"gremlins": 1.0})


def test_reset_clears_requests_sessions_and_memories(bailian: BailianEmulator) -> None:
    session_id = get_output(call_app(bailian, "我叫小明", app_id=ECHO_APP_ID))["session_id"]
    bailian.reset()

    assert bailian.requests == []
    assert bailian.session(session_id) == []
    assert "小明" not in get_output(call_app(bailian, "我叫什么", app_id=ECHO_APP_ID))["text"]
