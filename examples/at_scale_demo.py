"""`at_scale.py` without a key: an emulator that throttles, two accidents, and a check at the end."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from at_scale_records import Records, tally

from langchain_bailian_app.emulator import App, BailianEmulator, ErrorReply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_bailian_app.emulator import RecordedRequest

QUESTIONS = 2_000
PER_MINUTE = 2_400
THROTTLED = 0.1  # of the requests
PACE = 0.05  # seconds before each frame
RUN_KILLED_AT, WORKER_KILLED_AT = 600, 1_300
TOO_MANY, FINE = 429, 200


class Sometimes(ErrorReply):
    """A refusal that is given by chance."""

    def take(self) -> bool:
        return random.random() < THROTTLED  # noqa: S311  # dice


@contextmanager
def redis_server() -> Iterator[str]:
    """Run a Redis server that keeps nothing, unless there is one; give its URL."""
    if "REDIS_URL" in os.environ:
        yield os.environ["REDIS_URL"]
        return
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("install redis-server, or set REDIS_URL")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([program, *settings], stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def wait_for(count: int, folder: Path, running: subprocess.Popen[bytes]) -> None:
    """Wait until so many questions are answered."""
    records = Records(folder)
    while len(records.known) < count:
        if running.poll() is not None:
            sys.exit(f"the run has ended at {len(records.known)} answers, before it could be killed")
        records.refresh()
        time.sleep(0.05)


def kill_a_worker(folder: Path) -> None:
    newest = max(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    pid = int(newest.name.partition("-")[0])
    os.kill(pid, signal.SIGKILL)
    print(f"-- worker {pid} was killed", flush=True)


def demonstrate(script: Path) -> int:
    with ExitStack() as stack:
        bailian = stack.enter_context(BailianEmulator(pace=PACE))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        connection = {
            "DASHSCOPE_API_KEY": bailian.api_key,
            "DASHSCOPE_BASE_URL": bailian.base_url,
            "BAILIAN_APP_ID": bailian.add_app(throttling_app()),
            "REDIS_URL": stack.enter_context(redis_server()),
        }
        questions = [{"id": str(n), "question": f"问题 {n}？"} for n in range(QUESTIONS)]
        asked, answers = folder / "questions.jsonl", folder / "answers"
        asked.write_text("".join(json.dumps(question) + "\n" for question in questions), "utf-8")
        command = [sys.executable, str(script), str(asked), str(answers)]
        command += ["--requests-per-minute", str(PER_MINUTE)]
        status = run_with_accidents(command, os.environ | connection, answers)
        tell_requests(bailian)
        result = tally(questions, Records(answers).new())
        size = sum(path.stat().st_size for path in answers.iterdir())
        print(f"bytes a question in {answers.name}/: {size / QUESTIONS:.0f}")
    print(f"every question answered exactly once: {'yes' if result.each_once else f'NO, {result}'}")
    return status or not result.each_once


def throttling_app() -> App:
    refusal = Sometimes.of("Throttling.RateQuota")
    return App("demo", answer=lambda turn: f"答：{turn.prompt}", error=refusal)


def run_with_accidents(command: list[str], environment: dict[str, str], answers: Path) -> int:
    """Run, kill all of it, run again, kill a worker; return how it ends."""

    def start() -> subprocess.Popen[bytes]:
        # In a session of its own, so that it can be killed with all its processes.
        return subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: S603

    running = start()
    wait_for(RUN_KILLED_AT, answers, running)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    print("-- the run was killed; it is started again", flush=True)
    running = start()
    wait_for(WORKER_KILLED_AT, answers, running)
    kill_a_worker(answers)
    return running.wait()


def tell_requests(bailian: BailianEmulator) -> None:
    requests = bailian.requests
    statuses = Counter(request.status for request in requests)
    whole = Counter(r.body["input"]["prompt"] for r in requests if r.status == FINE and r.finished)
    print(f"requests: {len(requests)}, throttled: {statuses[TOO_MANY]}, ran: {statuses[FINE]}")
    print(f"ran to their end twice, as the first answer died with its process: {twice(whole)}")
    second, minute = busiest(requests, 1), busiest(requests, 60)
    print(f"most that arrived in any second: {second}, minute: {minute}", end="; ")
    print(f"let through: {PER_MINUTE // 60} and {PER_MINUTE}")


def twice(counts: Counter[str]) -> int:
    return sum(count > 1 for count in counts.values())


def busiest(requests: list[RecordedRequest], seconds: float) -> int:
    times = sorted(request.received_at for request in requests)
    first = most = 0
    for last, at in enumerate(times):
        while times[first] <= at - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most
