"""Tests for parsing the memories in a memory step."""

from __future__ import annotations

import json
from typing import Any

import pytest

from langchain_bailian_app._answer.recalled_memory import parse_recalled_memories


def step(*facts: Any) -> dict[str, Any]:
    return {"action_type": "api", "action": "memory", "observation": json.dumps(facts)}


def test_facts_carry_the_time_at_which_they_were_stored() -> None:
    memories = parse_recalled_memories([step("[2025-3-16 20:47:40 周日] 用户喜欢吃面食。", "没有时间")])

    assert memories == [
        {"text": "用户喜欢吃面食。", "stored_at": "2025-03-16T20:47:40"},
        {"text": "没有时间", "stored_at": None},
    ]


def test_each_fact_is_returned_once_even_if_several_steps_contain_it() -> None:
    assert len(parse_recalled_memories([step("a", "b"), step("b", "c")])) == 3


@pytest.mark.parametrize("text", ["[2025-13-40 99:99:99 周日] x", "[note] x", "[", ""])
def test_text_that_is_not_a_timestamp_is_kept(text: str) -> None:
    assert parse_recalled_memories([step(text)]) == [{"text": text, "stored_at": None}]


@pytest.mark.parametrize("observation", [None, "", "no list", "{}", "[1, null]", 7])
def test_an_unreadable_observation_yields_no_memories(observation: Any) -> None:
    assert parse_recalled_memories([{"action": "memory", "observation": observation}]) == []
    assert parse_recalled_memories([{"action": "rag", "observation": '["a"]'}]) == []
