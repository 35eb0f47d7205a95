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
        ({"response": "答", "reasoning_content": "想"}, "想", {"response": "答"}),
        ({"response": "想", "signature": "s", "n": 0}, "想", {"signature": "s", "n": 0}),
        ({"thought": None, "observation": "[1]", "empty": []}, "", {"observation": "[1]"}),
    ],
)
def test_the_other_fields_of_a_reasoning_entry_are_kept(
    entry: dict[str, Any], text: str, others: dict[str, Any]
) -> None:
    assert read_reasoning({"action_type": "reasoning"} | entry) == (text, others)


def test_unknown_fields_are_kept_with_their_newest_value() -> None:
    entry = {"action_type": "reasoning", "thought": "想"}
    fields = [{"id": "a", "n": 1}, {"id": "b"}, {"n": 2, "items": [1]}, {}]
    _, answer = assemble([Frame(thoughts=[entry | extra]) for extra in fields])

    assert answer.reasoning_fields == {"id": "b", "n": 2, "items": [1]}


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param(["答", "案：", "绿茶\ud83c", "\udf75"], id="increments"),
        pytest.param(["答案", "答案：绿", "答案：绿茶🍵"], id="snapshots"),
        pytest.param(["答案：绿茶🍵"] * 3, id="repeated"),
    ],
)
def test_a_text_beside_the_reasoning_is_joined(texts: list[str]) -> None:
    entries = [{"reasoning_content": f"想{n}。", "response": text} for n, text in enumerate(texts)]
    _, answer = assemble([*(Frame(thoughts=[entry]) for entry in entries), Frame(text="茶")])

    assert answer.reasoning == "".join(entry["reasoning_content"] for entry in entries)
    assert answer.reasoning_fields["response"].endswith("绿茶🍵")
    assert len(answer.reasoning_fields["response"]) == len("答案：绿茶🍵")


def test_unknown_fields_of_both_responses_to_a_call_are_kept() -> None:
    first, second = Answer(reasoning_fields={"id": "a", "n": 1}), Answer(reasoning_fields={"id": "b"})

    assert merge_answers(first, second).reasoning_fields == {"id": "b", "n": 1}


def test_reasoning_beside_a_node_is_the_reasoning_of_the_node() -> None:
    response = '{"nodeId": "LLM_1", "nodeType": "LLM", "nodeStatus": "success", "nodeResult": "茶"}'
    frame = Frame(thoughts=[{"response": response, "reasoning_content": "想"}], finish_reason="stop")
    _, answer = assemble([frame])

    assert (answer.reasoning, answer.nodes[-1].value["reasoning"]) == ("想", "想")
