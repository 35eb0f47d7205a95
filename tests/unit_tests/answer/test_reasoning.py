"""Tests for the reasoning entries of `thoughts`, in each field that may contain the reasoning."""

from typing import Any

import pytest

from langchain_bailian_app._answer.answer import Answer, merge_answers
from langchain_bailian_app._answer.events import ReasoningDelta
from langchain_bailian_app._answer.frames import Frame
from langchain_bailian_app._answer.reasoning import is_reasoning, read_reasoning
from tests.fixtures import assemble


@pytest.mark.parametrize("field", ["thought", "response", "reasoning_content"])
@pytest.mark.parametrize("names", [{"action_type": "reasoning"}, {"action_type": "", "action": None}])
def test_each_field_may_contain_the_reasoning(field: str, names: dict[str, Any]) -> None:
    names = names if field == "reasoning_content" else {"action_type": "reasoning"}
    frames = [Frame(thoughts=[names | {field: text}]) for text in ("先想", "再答")]
    deltas, answer = assemble([*frames, Frame(text="茶", finish_reason="stop")])

    assert deltas[:2] == [ReasoningDelta("先想"), ReasoningDelta("再答")]
    assert (answer.reasoning, answer.steps) == ("先想再答", [])


@pytest.mark.parametrize(
    ("entry", "is_entry"),
    [
        ({"action_type": "reasoning"}, True),
        ({"reasoning_content": "想"}, True),
        ({"reasoning_content": "想", "action": "rag"}, False),
        ({"reasoning_content": "想", "observation": "[]"}, False),
        ({"reasoning_content": ""}, False),
        ({"response": "{}"}, False),
    ],
)
def test_an_entry_with_the_fields_of_a_step_is_a_step(entry: dict[str, Any], is_entry: bool) -> None:
    assert is_reasoning(entry) == is_entry


@pytest.mark.parametrize(
    ("entry", "text", "others"),
    [
        ({"thought": "想", "response": "想", "reasoning_content": "想"}, "想", {}),
        ({"thought": "想", "response": "", "action": "reasoning"}, "想", {}),
        ({"thought": "想", "reasoning_content": "细想"}, "想", {"reasoning_content": "细想"}),
        ({"response": "想", "signature": "s", "n": 0}, "想", {"signature": "s", "n": 0}),
        ({"thought": None, "observation": "[1]", "empty": []}, "", {"observation": "[1]"}),
    ],
)
def test_the_other_fields_of_a_reasoning_entry_are_kept(
    entry: dict[str, Any], text: str, others: dict[str, Any]
) -> None:
    assert read_reasoning({"action_type": "reasoning"} | entry) == (text, others)


def test_unknown_fields_that_frames_repeat_are_kept_once() -> None:
    entry = {"action_type": "reasoning", "thought": "想"}
    fields = [{"id": "a"}, {"id": "a"}, {"id": "b"}, {"id": "a"}, {}]
    _, answer = assemble([Frame(thoughts=[entry | extra]) for extra in fields])

    assert answer.reasoning_fields == [{"id": "a"}, {"id": "b"}]


def test_unknown_fields_of_both_responses_to_a_call_are_kept() -> None:
    first, second = Answer(reasoning_fields=[{"id": "a"}]), Answer(reasoning_fields=[{"id": "b"}])

    assert merge_answers(first, second).reasoning_fields == [{"id": "a"}, {"id": "b"}]


def test_reasoning_beside_a_node_is_the_reasoning_of_the_node() -> None:
    response = '{"nodeId": "LLM_1", "nodeType": "LLM", "nodeStatus": "success", "nodeResult": "茶"}'
    frame = Frame(thoughts=[{"response": response, "reasoning_content": "想"}], finish_reason="stop")
    _, answer = assemble([frame])

    assert (answer.reasoning, answer.nodes[-1].value["reasoning"]) == ("想", "想")
