"""Tests of one worker of the at-scale example, without Ray."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from at_scale import answer_all, answer_all_in_background
from at_scale_records import Records, count_answers

from langchain_bailian_app.emulator import App, ErrorReply, RunFaults

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

QUESTIONS = [{"id": str(number), "question": f"问题 {number}？"} for number in range(30)]


async def test_throttled_questions_are_retried_and_each_is_answered_once(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], tmp_path: Path
) -> None:
    error = ErrorReply.of("Throttling.RateQuota", times=5)
    app_id = bailian.add_app(App("busy", answer=lambda turn: turn.prompt, error=error))
    bailian.reset()
    await answer_all(make_model(app_id, max_retries=0), QUESTIONS, 10, Records(tmp_path))
    records = list(Records(tmp_path).read_new())

    assert count_answers(QUESTIONS, records).is_each_answered_once
    assert len(bailian.requests) == len(QUESTIONS) + 5
    assert {record["answer"] for record in records} == {question["question"] for question in QUESTIONS}
    assert all(record["usage"] and record["request_id"] for record in records)


async def test_a_request_that_may_have_run_is_recorded_and_not_repeated(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], tmp_path: Path
) -> None:
    error = ErrorReply.of("DataInspectionFailed", times=1)
    app_id = bailian.add_app(App("strict", answer="答", error=error))
    bailian.reset()
    await answer_all(make_model(app_id, max_retries=0), QUESTIONS[:3], 1, Records(tmp_path))
    failed, *answered = Records(tmp_path).read_new()

    assert len(bailian.requests) == 3
    assert [record["answer"] for record in answered] == ["答", "答"]
    assert failed["id"] == "0"
    assert failed["error"]["type"] == "BailianContentFilterError"
    assert failed["error"]["code"] == "DataInspectionFailed"
    assert failed["error"]["request_id"]


async def test_background_runs_are_not_started_again_after_a_crash(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], tmp_path: Path
) -> None:
    error = ErrorReply.of("Throttling.RateQuota", times=5)
    app = App("slow", answer=lambda turn: turn.prompt, error=error, pace=0.3)
    model = make_model(bailian.add_app(app), max_retries=0)
    bailian.reset()
    crashed = asyncio.create_task(answer_all_in_background(model, QUESTIONS, 10, Records(tmp_path)))
    for _ in range(3000):
        if sum("answer" not in record for record in Records(tmp_path).read_new()) == len(QUESTIONS):
            break
        await asyncio.sleep(0.01)
    crashed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await crashed

    records = Records(tmp_path)
    records.refresh()
    await answer_all_in_background(model, QUESTIONS, 10, records)
    answers = [record for record in Records(tmp_path).read_new() if "answer" in record]
    assert count_answers(QUESTIONS, Records(tmp_path).read_new()).is_each_answered_once
    assert {record["answer"] for record in answers} == {question["question"] for question in QUESTIONS}
    assert {record["run"] for record in answers} == set(bailian.runs.started)
    assert len(bailian.runs.started) == len(QUESTIONS)


async def test_a_failed_background_run_is_only_started_again_on_request(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], tmp_path: Path
) -> None:
    model = make_model(bailian.add_app(App("app", answer="答")), max_retries=0)
    bailian.reset()
    bailian.runs.faults = RunFaults.always("run_failed", times=1)
    try:
        await answer_all_in_background(model, QUESTIONS[:2], 1, Records(tmp_path))
    finally:
        bailian.runs.faults = None
    repeated = Records(tmp_path)
    repeated.refresh()
    retried = Records(tmp_path, retry_failed=True)
    retried.refresh()
    assert repeated.done_ids == {"0", "1"}
    assert retried.done_ids == {"1"}
    assert retried.find_run("0") is None

    await answer_all_in_background(model, QUESTIONS[:1], 1, retried)
    tally = count_answers(QUESTIONS[:2], Records(tmp_path).read_new())
    assert tally.is_each_answered_once
    assert len(bailian.runs.started) == 3


async def test_a_run_that_may_have_started_is_recorded_as_an_error(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel], tmp_path: Path
) -> None:
    model = make_model(bailian.add_app(App("app", answer="答")), max_retries=0)
    bailian.reset()
    bailian.runs.faults = RunFaults.always("create_reply_lost")
    try:
        await answer_all_in_background(model, QUESTIONS[:1], 1, Records(tmp_path))
    finally:
        bailian.runs.faults = None
    (record,) = Records(tmp_path).read_new()

    assert "a run may exist" in record["error"]["message"]
    assert len(bailian.requests) == 1
