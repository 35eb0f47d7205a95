"""Tests of one worker of the at-scale example, without Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from at_scale import answer_all
from at_scale_records import Records, count_answers

from langchain_bailian_app.emulator import App, ErrorReply

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
