"""Demo of `at_scale.py` without a key: a throttling emulator, two crashes, and a final check."""

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

from at_scale_records import Records, count_answers

from langchain_bailian_app.emulator import App, BailianEmulator, ErrorReply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_bailian_app.emulator import RecordedRequest

QUESTION_COUNT = 2_000
REQUESTS_PER_MINUTE = 2_400
THROTTLED_SHARE = 0.1  # of all requests
PACE = 0.05  # seconds before each frame
KILL_RUN_AT, KILL_WORKER_AT = 600, 1_300
TOO_MANY_REQUESTS, OK = 429, 200


class RandomError(ErrorReply):
    """Error reply that is returned at random."""

    def take(self) -> bool:
        return random.random() < THROTTLED_SHARE  # noqa: S311  # not for cryptography


@contextmanager
def redis_server() -> Iterator[str]:
    """Yield the URL of the Redis server in REDIS_URL, or of a temporary one without persistence."""
    if "REDIS_URL" in os.environ:
        yield os.environ["REDIS_URL"]
        return
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("missing redis-server: install it, or set REDIS_URL")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([program, *settings], stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def wait_for_answers(count: int, folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until `count` questions are answered."""
    records = Records(folder)
    while len(records.done_ids) < count:
        if process.poll() is not None:
            sys.exit(f"the run ended after {len(records.done_ids)} answers, before it could be killed")
        records.refresh()
        time.sleep(0.05)


def kill_worker(folder: Path) -> None:
    newest = max(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    pid = int(newest.name.partition("-")[0])
    os.kill(pid, signal.SIGKILL)
    print(f"-- worker {pid} was killed", flush=True)


def run_demo(script: Path) -> int:
    with ExitStack() as stack:
        bailian = stack.enter_context(BailianEmulator(pace=PACE))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        connection = {
            "DASHSCOPE_API_KEY": bailian.api_key,
            "DASHSCOPE_BASE_URL": bailian.base_url,
            "BAILIAN_APP_ID": bailian.add_app(make_throttling_app()),
            "REDIS_URL": stack.enter_context(redis_server()),
        }
        questions = [{"id": str(n), "question": f"问题 {n}？"} for n in range(QUESTION_COUNT)]
        questions_file, answers_folder = folder / "questions.jsonl", folder / "answers"
        questions_file.write_text(
            "".join(json.dumps(question) + "\n" for question in questions), "utf-8"
        )
        command = [sys.executable, str(script), str(questions_file), str(answers_folder)]
        command += ["--requests-per-minute", str(REQUESTS_PER_MINUTE)]
        status = run_with_crashes(command, os.environ | connection, answers_folder)
        print_request_counts(bailian)
        result = count_answers(questions, Records(answers_folder).read_new())
        size = sum(path.stat().st_size for path in answers_folder.iterdir())
        print(f"bytes per question in {answers_folder.name}/: {size / QUESTION_COUNT:.0f}")
    verdict = "yes" if result.is_each_answered_once else f"NO, {result}"
    print(f"every question answered exactly once: {verdict}")
    return status or not result.is_each_answered_once


def make_throttling_app() -> App:
    error = RandomError.of("Throttling.RateQuota")
    return App("demo", answer=lambda turn: f"答：{turn.prompt}", error=error)


def run_with_crashes(command: list[str], environment: dict[str, str], answers_folder: Path) -> int:
    """Run, kill the whole run, run again, and kill one worker; return the exit status."""

    def start() -> subprocess.Popen[bytes]:
        # In a separate session, so that the run can be killed with all its processes.
        return subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: S603

    process = start()
    wait_for_answers(KILL_RUN_AT, answers_folder, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    print("-- the run was killed; restarting it", flush=True)
    process = start()
    wait_for_answers(KILL_WORKER_AT, answers_folder, process)
    kill_worker(answers_folder)
    return process.wait()


def print_request_counts(bailian: BailianEmulator) -> None:
    requests = bailian.requests
    statuses = Counter(request.status for request in requests)
    runs = Counter(r.body["input"]["prompt"] for r in requests if r.status == OK and r.finished)
    print(f"requests: {len(requests)}, throttled: {statuses[TOO_MANY_REQUESTS]}, ran: {statuses[OK]}")
    print(f"completed twice, since the first answer was lost in a crash: {count_repeated(runs)}")
    max_per_second, max_per_minute = max_requests_within(requests, 1), max_requests_within(requests, 60)
    print(f"maximum received in any second: {max_per_second}, minute: {max_per_minute}", end="; ")
    print(f"limits: {REQUESTS_PER_MINUTE // 60} and {REQUESTS_PER_MINUTE}")


def count_repeated(counts: Counter[str]) -> int:
    return sum(count > 1 for count in counts.values())


def max_requests_within(requests: list[RecordedRequest], seconds: float) -> int:
    times = sorted(request.received_at for request in requests)
    start = maximum = 0
    for end, time_at_end in enumerate(times):
        while times[start] <= time_at_end - seconds:
            start += 1
        maximum = max(maximum, end - start + 1)
    return maximum
