"""Behavior of all HTTP transports where urllib3 and aiohttp differ from httpx."""

from __future__ import annotations

import asyncio
import dis
import gc
import itertools
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import httpx
import pytest
import urllib3
import vcr

from langchain_bailian_app import errors
from langchain_bailian_app._transport import http_urllib3
from langchain_bailian_app.emulator import App
from tests.call_styles import (
    ainvoke,
    ainvoke_over_httpx,
    all_clients,
    invoke,
    invoke_over_httpx,
    make_model_at,
    own_clients,
    parametrize_call_styles,
)
from tests.fixtures import encode_sse, frame_body
from tests.proxy_server import ProxyServer
from tests.raw_server import Connection, encode_response, respond_with, run_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator
    from tests.call_styles import CallStyle

    MakeModel = Callable[..., BailianAppChatModel]

RESPONSE = encode_response(encode_sse(frame_body("好", "stop")))
STRIDE = 7  # every position would take half a minute


@pytest.mark.slow
@own_clients
async def test_a_pool_timeout_names_its_setting(
    bailian: BailianEmulator, make_model: MakeModel, call_style: CallStyle
) -> None:
    slow = bailian.add_app(App("slow", answer=lambda _: "慢" * 20, pace=0.2))
    first = make_model(slow, max_connections=1)
    second = make_model(slow, max_connections=1, timeout=0.1, max_retries=0)
    sync_chunks, chunks = first.stream("?"), first.astream("?")
    next(sync_chunks)
    await anext(chunks)
    with pytest.raises(errors.BailianTimeoutError, match="`max_connections` is 1") as caught:
        await call_style(second)

    assert caught.value.is_retryable
    short_deadline = make_model(slow, max_connections=1, total_timeout=0.1)
    with pytest.raises(errors.BailianTimeoutError, match="`total_timeout`"):
        await call_style(short_deadline)
    sync_chunks.close()
    await chunks.aclose()  # type: ignore[attr-defined]
    third = make_model(max_connections=1)
    assert await call_style(third)


@pytest.mark.slow
async def test_failed_and_cancelled_calls_free_their_slots(
    bailian: BailianEmulator, make_model: MakeModel
) -> None:
    slow = bailian.add_app(App("slow", answer=lambda _: "慢" * 20, pace=0.2))
    model = make_model(slow, max_connections=2)
    with socket.socket() as unused_socket:
        unused_socket.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused_socket.getsockname()[1]}/api/v1"
        unreachable = make_model(base_url=url, max_connections=2, max_retries=0)
        for _ in range(3):
            with pytest.raises(errors.BailianConnectionError):
                await unreachable.ainvoke("?")
            task = asyncio.create_task(model.ainvoke("?"))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async for _ in model.astream("?"):
                break

    assert (await make_model(max_connections=2, timeout=1).ainvoke("?")).text


@pytest.mark.slow
def test_failed_and_closed_calls_free_their_slots_in_threads(
    bailian: BailianEmulator, make_model: MakeModel
) -> None:
    slow = make_model(
        bailian.add_app(App("slow", answer=lambda _: "慢" * 20, pace=0.2)), max_connections=2
    )
    refused = make_model("no-such-app", max_connections=2)
    with socket.socket() as unused_socket:
        unused_socket.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused_socket.getsockname()[1]}/api/v1"
        unreachable = make_model(base_url=url, max_connections=2, max_retries=0)
        for _ in range(3):
            with pytest.raises(errors.BailianConnectionError):
                unreachable.invoke("?")
            with pytest.raises(errors.BailianPermissionError):
                refused.invoke("?")
            next(slow.stream("?"))

    assert make_model(max_connections=2, timeout=1).invoke("?").text


async def test_more_calls_than_connections_take_turns(make_model: MakeModel) -> None:
    model = make_model(max_connections=3)
    answers = await asyncio.gather(*(model.ainvoke(str(number)) for number in range(30)))

    assert all(answer.text for answer in answers)


@pytest.mark.slow
def test_more_threads_than_connections_take_turns(
    bailian: BailianEmulator, make_model: MakeModel
) -> None:
    port = urlsplit(bailian.base_url).port or 0
    with ProxyServer(port) as proxy, ThreadPoolExecutor(30) as threads:
        model = make_model(base_url=f"http://127.0.0.1:{proxy.port}/api/v1", max_connections=5)
        answers = list(threads.map(model.invoke, map(str, range(150))))

        assert all(answer.text for answer in answers)
        assert proxy.connection_count <= 5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # for the socket
def test_a_response_that_is_garbage_collected_frees_its_slot(bailian: BailianEmulator) -> None:
    url = bailian.base_url.removesuffix("/api/v1")
    context = ssl.create_default_context()
    with http_urllib3.Urllib3Client(max_connections=1, verify=context, trust_env=False) as client:
        for _ in range(2):  # simulates Ctrl-C, which httpx does not expect below its transport
            client.send(client.build_request("GET", url, timeout=1), stream=True)
            gc.collect()


class Interruption:
    """Raises `KeyboardInterrupt` where Python could handle Ctrl-C, in this thread and in `DIRECTORIES`.

    Python handles signals after a call, at the start of a function and at the end of a loop's turn.
    """

    DIRECTORIES = tuple(
        f"{Path(module.__file__).parent}{os.sep}" for module in (http_urllib3, urllib3, httpx)
    )
    INSTRUCTIONS = frozenset(
        code for name, code in dis.opmap.items() if name.startswith(("CALL", "JUMP_BACKWARD", "RESUME"))
    )

    def __init__(self, position: int) -> None:
        self._positions_left = position
        self.happened = False

    def __enter__(self) -> Self:
        self._previous_tracer = sys.gettrace()
        sys.settrace(self._trace_call)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        sys.settrace(self._previous_tracer)
        return kind is KeyboardInterrupt

    def _trace_call(self, frame: FrameType, *_: object) -> Callable[..., object] | None:
        if not frame.f_code.co_filename.startswith(self.DIRECTORIES):
            return None

        def trace(frame: FrameType, event: str, _: object) -> object:
            nonlocal handles_signals
            if event == "opcode":
                if handles_signals and not self.happened:
                    self._pass_position()
                handles_signals = instructions[frame.f_lasti] in self.INSTRUCTIONS
            return trace

        frame.f_trace_opcodes = True
        instructions, handles_signals = frame.f_code.co_code, False
        return trace

    def _pass_position(self) -> None:
        if self._positions_left == 0:
            self.happened = True
            raise KeyboardInterrupt
        self._positions_left -= 1


@pytest.fixture
def fast_garbage_collection() -> Iterator[None]:
    """Ignore older objects: each interrupted call collects garbage, which would take 0.1 s."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    gc.collect()  # the sockets of interrupted calls, whose warnings would reach another test


def echo_prompts(connection: Connection) -> None:
    while request := connection.receive_request():
        prompt = json.loads(request.partition(b"\r\n\r\n")[2])["input"]["prompt"]
        connection.send(encode_response(encode_sse(frame_body(prompt), frame_body("。", "stop"))))


@contextmanager
def run_call_and_check(
    *, use_stream: bool
) -> Iterator[tuple[Callable[[], object], Callable[[], bool]]]:
    """Yield a function that calls a model, and one that checks its client after an interruption.

    The second one returns whether all slots were free before the collection of garbage.
    """

    def check() -> bool:
        are_free = client.slots.free_slots == 2
        gc.collect()
        assert client.slots.free_slots == 2
        prompt = str(next(prompts))
        assert model.invoke(prompt).text == f"{prompt}。"
        pools = client._transport._pool_manager.pools._container.values()
        idle = [connection for pool in pools for connection in pool.pool._connections]
        assert len(idle) == len(set(idle))
        return are_free

    prompts = itertools.count(1)
    with http_urllib3.Urllib3Client(max_connections=2) as client, run_server(echo_prompts) as base_url:
        model = make_model_at(base_url, http_client=client, timeout=5, max_connections=2)
        check()  # the first call takes longer
        yield (lambda: list(model.stream("?"))) if use_stream else (lambda: model.invoke("?")), check


@pytest.mark.slow
@pytest.mark.usefixtures("fast_garbage_collection")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a finalizer
@pytest.mark.parametrize("use_stream", [False, True], ids=["invoke", "stream"])
def test_an_interruption_anywhere_loses_no_slot_and_no_connection(*, use_stream: bool) -> None:
    with run_call_and_check(use_stream=use_stream) as (call, check):
        freed_at_once = []
        for position in itertools.count(use_stream, step=STRIDE):
            with Interruption(position) as interruption:
                call()
            freed_at_once.append(check())
            if not interruption.happened:
                break

    assert len(freed_at_once) > 100
    assert all(freed_at_once)


@pytest.mark.slow
@pytest.mark.usefixtures("fast_garbage_collection")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a finalizer
@pytest.mark.parametrize("use_stream", [False, True], ids=["invoke", "stream"])
def test_ctrl_c_loses_no_slot_and_no_connection(*, use_stream: bool) -> None:
    with run_call_and_check(use_stream=use_stream) as (call, check):
        started_at = time.monotonic()
        call()
        longest_delay = max(0.005, time.monotonic() - started_at)
        previous_handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
        interruptions = 0
        try:
            for _ in range(40):
                try:
                    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, longest_delay))
                    call()
                    time.sleep(2 * longest_delay)
                except KeyboardInterrupt:
                    interruptions += 1
                check()
        finally:
            signal.signal(signal.SIGALRM, previous_handler)

    assert interruptions > 30


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # vcrpy drops a socket
@pytest.mark.parametrize("call_style", ["invoke", "stream"])
def test_vcrpy_records_and_replays_calls_from_threads(
    bailian: BailianEmulator, make_model: MakeModel, tmp_path: Path, call_style: str
) -> None:
    def call() -> str:
        if call_style == "invoke":
            return model.invoke("?").text
        return "".join(chunk.text for chunk in model.stream("?"))

    before = len(bailian.requests)
    with http_urllib3.Urllib3Client(max_connections=2) as client:
        model = make_model(http_client=client)
        live_answer = call()
        with vcr.use_cassette(tmp_path / "calls.yaml"):
            recorded_answer = call()
        assert len(bailian.requests) == before + 2
        with vcr.use_cassette(tmp_path / "calls.yaml", record_mode="none") as cassette:
            replayed_answer = call()
            with pytest.raises(vcr.errors.CannotOverwriteExistingCassetteException):
                call()
        assert len(bailian.requests) == before + 2
        assert cassette.play_count == 1
        assert client.slots.free_slots == 2
        assert recorded_answer == replayed_answer == live_answer == call()
    gc.collect()  # the socket that vcrpy drops, whose warning would reach another test


@pytest.mark.slow
def test_the_transport_may_be_imported_while_a_cassette_is_in_use(
    bailian: BailianEmulator, tmp_path: Path
) -> None:
    script = f"""
import vcr
from langchain_bailian_app import BailianAppChatModel
model = BailianAppChatModel()
for _ in range(2):
    with vcr.use_cassette({str(tmp_path / "calls.yaml")!r}):
        print(model.invoke("?").text)
print(model.invoke("?").text)
"""
    variables = {
        "BAILIAN_APP_ID": bailian.app_id,
        "DASHSCOPE_API_KEY": bailian.api_key,
        "DASHSCOPE_BASE_URL": bailian.base_url,
    }
    before = len(bailian.requests)
    completed = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )

    assert len(set(completed.stdout.splitlines())) == 1
    assert len(bailian.requests) == before + 2


def test_idle_connections_are_closed_in_time(bailian: BailianEmulator, make_model: MakeModel) -> None:
    client = http_urllib3.Urllib3Client(max_connections=3, max_idle_seconds=0.2)
    with client, ProxyServer(urlsplit(bailian.base_url).port or 0) as proxy:
        model = make_model(base_url=f"http://127.0.0.1:{proxy.port}/api/v1", http_client=client)
        streams = [model.stream("?") for _ in range(3)]
        for stream in streams:
            next(stream)
        for stream in streams:
            list(stream)
        assert proxy.connection_count == 3

        time.sleep(0.2)
        model.invoke("?")
        for _ in range(100):
            if proxy.open_connections > 1:
                time.sleep(0.01)
        assert (proxy.connection_count, proxy.open_connections) == (4, 1)


@pytest.mark.parametrize(("max_idle_seconds", "connections"), [(5.0, 1), (0.0, 3)])
def test_a_connection_is_reused_unless_it_was_idle_for_long(
    bailian: BailianEmulator, make_model: MakeModel, max_idle_seconds: float, connections: int
) -> None:
    client = http_urllib3.Urllib3Client(max_connections=1, max_idle_seconds=max_idle_seconds)
    with client, ProxyServer(urlsplit(bailian.base_url).port or 0) as proxy:
        model = make_model(base_url=f"http://127.0.0.1:{proxy.port}/api/v1", http_client=client)
        for _ in range(3):
            list(model.stream("?"))
        assert proxy.connection_count == connections


@pytest.mark.slow
@parametrize_call_styles(invoke, invoke_over_httpx, ainvoke, ainvoke_over_httpx)
async def test_a_service_that_does_not_read_the_body_is_a_timeout(
    make_model: MakeModel, call_style: CallStyle
) -> None:
    with run_server(Connection.wait) as url:
        model = make_model(
            base_url=url, timeout=0.15, connect_timeout=0.15, extra_input={"long": "x" * 8_000_000}
        )
        with pytest.raises(errors.BailianTimeoutError) as caught:
            await asyncio.wait_for(call_style(model), 5)

    assert not caught.value.is_retryable


@pytest.mark.slow
@own_clients
async def test_a_service_may_wait_before_it_reads_the_body(
    make_model: MakeModel, call_style: CallStyle
) -> None:
    def handle(connection: Connection) -> None:
        time.sleep(0.3)
        respond_with(RESPONSE)(connection)

    with run_server(handle) as url:
        model = make_model(base_url=url, connect_timeout=0.1, extra_input={"long": "x" * 8_000_000})

        assert await call_style(model) == "好"


@pytest.mark.slow
@pytest.mark.parametrize("informational", [b"102 Processing", b"103 Early Hints\r\nLink: </a>"])
@all_clients
async def test_informational_responses_are_skipped(
    make_model: MakeModel, call_style: CallStyle, informational: bytes
) -> None:
    interim = b"HTTP/1.1 %b\r\n\r\n" % informational
    with run_server(respond_with(interim, RESPONSE, pause=0.02)) as url:
        assert await call_style(make_model(base_url=url)) == "好"


@all_clients
async def test_headers_may_have_any_characters(make_model: MakeModel, call_style: CallStyle) -> None:
    response = RESPONSE.replace(b"\r\n", "\r\nX-Reason: 充值…\r\n".encode(), 1)
    with run_server(respond_with(response)) as url:
        assert await call_style(make_model(base_url=url)) == "好"


@all_clients
async def test_a_response_that_is_not_http_is_a_connection_error(
    make_model: MakeModel, call_style: CallStyle
) -> None:
    def handle(connection: Connection) -> None:
        requests.append(connection.receive_request())
        connection.send(b"220 mail.example ESMTP\r\n\r\n")

    requests: list[bytes] = []
    with run_server(handle) as url, pytest.raises(errors.BailianConnectionError) as caught:
        await call_style(make_model(base_url=url))

    assert not caught.value.is_retryable
    assert "220 mail.example" in str(caught.value)
    assert "BadStatusLine(" not in str(caught.value)
    assert len(requests) == 1


@own_clients
async def test_a_large_body_arrives_complete(
    bailian: BailianEmulator, make_model: MakeModel, call_style: CallStyle
) -> None:
    assert await call_style(make_model(extra_input={"long": "长" * 1_000_000}))
    assert bailian.requests[-1].body["input"]["long"] == "长" * 1_000_000


@own_clients
async def test_a_connection_that_was_closed_meanwhile_is_not_reused(
    make_model: MakeModel, call_style: CallStyle
) -> None:
    with run_server(respond_with(RESPONSE)) as url:
        model = make_model(base_url=url, max_retries=0)
        for _ in range(3):
            assert await call_style(model) == "好"
            time.sleep(0.02)  # noqa: ASYNC251  # the blocked loop cannot detect the closed connection


@pytest.mark.slow
def test_connections_are_closed_with_their_loop_without_warnings(bailian: BailianEmulator) -> None:
    script = """
import asyncio
from langchain_bailian_app import BailianAppChatModel
model = BailianAppChatModel()
for end in ("just closed", "just closed", "closed in order", "left open"):
    loop = asyncio.new_event_loop()
    print(loop.run_until_complete(model.ainvoke("?")).text[:3])
    if end == "closed in order":
        loop.run_until_complete(loop.shutdown_asyncgens())
    if end != "left open":
        loop.close()
"""
    variables = {
        "BAILIAN_APP_ID": bailian.app_id,
        "DASHSCOPE_API_KEY": bailian.api_key,
        "DASHSCOPE_BASE_URL": bailian.base_url,
    }
    completed = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )

    assert completed.stderr == ""
    assert len(completed.stdout.split()) == 4
