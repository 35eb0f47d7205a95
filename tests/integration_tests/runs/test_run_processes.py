"""Many runs that several processes wait for, one of which is killed."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app import BailianAppChatModel, BailianError
from langchain_bailian_app.emulator import App, BailianEmulator, RunFaults
from langchain_bailian_app.runs import BailianRun, aas_completed, as_completed

if TYPE_CHECKING:
    from pathlib import Path

RUNS, KILL_AT = 500, 120
QUERIES_PER_SECOND = 150.0
PACE = 0.15  # a run takes up to 3 s
FAULTS = {
    "run_failed": 0.1,
    # Eight failures in succession, which end a wait, are then improbable (0.12 ** 8).
    "retrieve_error": 0.04,
    "retrieve_cut": 0.04,
    "retrieve_throttled": 0.04,
}
# Processes that share no state with this one. The modules are imported only once for all of them.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload([__name__])


def read_outcome(run: BailianRun) -> list[str]:
    """Return the status and the answer or the error of a run that has ended."""
    try:
        return [run.status(), run.result().text]
    except BailianError as error:
        return [run.status(), f"{type(error).__name__} {error.code} {error.message}"]


class Records:
    """File to which one process appends the outcome of each run, read twice."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def append(self, run: BailianRun) -> None:
        record = {"id": run.id, "outcomes": [read_outcome(run), read_outcome(run)]}
        os.write(self._file, json.dumps(record).encode() + b"\n")


def collect(path: str, fields: dict[str, Any], run_ids: list[str], *, on_a_loop: bool) -> None:
    """Wait for runs that another process has started, and record their outcomes."""
    model, records = BailianAppChatModel(**fields), Records(path)
    runs = [BailianRun.from_id(run_id, model=model) for run_id in run_ids]

    async def acollect() -> None:
        async for run in aas_completed(runs, timeout=120, queries_per_second=QUERIES_PER_SECOND):
            records.append(run)

    if on_a_loop:
        asyncio.run(acollect())
        return
    for run in as_completed(runs, timeout=120, queries_per_second=QUERIES_PER_SECOND):
        records.append(run)


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the complete lines of a file."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("killed_on_a_loop", [False, True])
def test_each_run_ends_once_and_none_is_lost_if_a_process_is_killed(
    tmp_path: Path, *, killed_on_a_loop: bool
) -> None:
    with BailianEmulator(pace=PACE) as bailian:
        app = App("background", answer=lambda turn: "答" * (1 + int(turn.prompt) % 60) + turn.prompt)
        fields = {
            "app_id": bailian.add_app(app),
            "api_key": bailian.api_key,
            "base_url": bailian.base_url,
        }
        model = BailianAppChatModel(**fields)
        bailian.runs.faults = RunFaults(FAULTS, seed=1)
        with ThreadPoolExecutor(16) as pool:
            runs = list(pool.map(model.submit, map(str, range(RUNS))))
        run_ids = [run.id for run in runs]

        def start(name: str, ids: list[str], *, on_a_loop: bool) -> Any:
            arguments = (str(tmp_path / name), fields, ids)
            process = FORKSERVER.Process(
                target=collect, args=arguments, kwargs={"on_a_loop": on_a_loop}, daemon=True
            )
            process.start()
            return process

        killed = start("killed", run_ids, on_a_loop=killed_on_a_loop)
        other = start("other", run_ids, on_a_loop=not killed_on_a_loop)
        deadline = time.monotonic() + 60
        while len(read_records(tmp_path / "killed")) < KILL_AT:
            assert killed.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        killed.kill()
        killed.join()
        done = {record["id"] for record in read_records(tmp_path / "killed")}
        resumed = start("resumed", [i for i in run_ids if i not in done], on_a_loop=killed_on_a_loop)
        for process in (other, resumed):
            process.join(150)
            assert process.exitcode == 0
        stored = dict(bailian.runs.started)
        methods = Counter(request.method for request in bailian.requests)

    records = {name: read_records(tmp_path / name) for name in ("killed", "other", "resumed")}
    assert KILL_AT <= len(records["killed"]) < RUNS
    assert Counter(record["id"] for record in records["other"]) == Counter(run_ids)
    assert Counter(record["id"] for record in records["killed"] + records["resumed"]) == Counter(
        run_ids
    )

    outcomes = defaultdict(set)
    for record in (record for part in records.values() for record in part):
        outcomes[record["id"]] |= {tuple(outcome) for outcome in record["outcomes"]}
    assert {len(values) for values in outcomes.values()} == {1}
    assert {run_id: status for run_id, ((status, _),) in outcomes.items()} == {
        run_id: run.status for run_id, run in stored.items()
    }
    for run_id, ((status, text),) in outcomes.items():
        if status == "completed":
            assert text == stored[run_id].text
            assert text.endswith(stored[run_id].prompt)
        else:
            assert text.startswith("BailianServerError AppProcessFailed")
    statuses = Counter(run.status for run in stored.values())
    assert statuses["completed"] + statuses["failed"] == RUNS
    assert statuses["failed"] > RUNS * 0.05
    assert methods["POST"] == RUNS  # no run was started twice
