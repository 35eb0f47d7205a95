"""What a memory step says, typed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from langchain_bailian_app._answer.recalled_memory import recalled_in


def step(*facts: Any) -> dict[str, Any]:
    return {"action_type": "api", "action": "memory", "observation": json.dumps(facts)}


def test_facts_carry_the_time_at_which_they_were_stored() -> None:
    found = recalled_in([step("[2025-3-16 20:47:40 周日] 用户喜欢吃面食。", "没有时间")])

    assert found == [
        {"text": "用户喜欢吃面食。", "stored_at": "2025-03-16T20:47:40"},
        {"text": "没有时间", "stored_at": None},
    ]


def test_each_fact_is_told_once_however_many_steps_tell_it() -> None:
    assert len(recalled_in([step("a", "b"), step("b", "c")])) == 3


@pytest.mark.parametrize("text", ["[2025-13-40 99:99:99 周日] x", "[note] x", "[", ""])
def test_what_is_no_time_stays_in_the_text(text: str) -> None:
    assert recalled_in([step(text)]) == [{"text": text, "stored_at": None}]


@pytest.mark.parametrize("observation", [None, "", "no list", "{}", "[1, null]", 7])
def test_what_cannot_be_read_recalls_nothing(observation: Any) -> None:
    assert recalled_in([{"action": "memory", "observation": observation}]) == []
    assert recalled_in([{"action": "rag", "observation": '["a"]'}]) == []
