"""Tests for merging the answers of two responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app._answer.answer import Answer, merge_answers
from langchain_bailian_app._answer.events import NodeEvent, StepCall, ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable

BAD = ToolCall("sub", {}, "<tool_call>…</tool_call>", "call_1", 0, "unknown function 'sub'")
GOOD = ToolCall("add", {"a": 1}, "<tool_call>…</tool_call>", "call_2", 0)
FIRST = Answer(
    text="我来算。",
    reasoning="想。",
    steps=[StepCall("bailian_0", "天气", {})],
    nodes=[NodeEvent("1", {"name": "开始"})],
    tool_calls=[BAD],
    order=["reasoning", "text"],
    finish_reason="stop",
    session_id="s1",
    request_id="r1",
    doc_references=[{"index_id": "1"}],
    citations=[{"start_index": 0, "end_index": 4, "title": "茶"}],
    usage={"models": [{"model_id": "m", "output_tokens": 1}], "credits": 1},
    extra={"mood": "calm", "tier": 1},
    final_text="一",
    references_missing=True,
)
SECOND = Answer(
    text="更正。",
    reasoning="再想。",
    steps=[StepCall("bailian_1", "天气", {})],
    nodes=[NodeEvent("again:1", {"name": "开始"})],
    tool_calls=[GOOD],
    order=["text", "call:bailian_1"],
    finish_reason="length",
    session_id="s2",
    request_id="r2",
    doc_references=[{"index_id": "2"}],
    citations=[{"start_index": 0, "end_index": 3, "title": "书"}],
    usage={"models": [{"model_id": "m", "output_tokens": 2}], "credits": 2},
    extra={"tier": 2},
    final_text="二",
)


def test_merging_joins_lists_keeps_the_newest_scalars_and_shifts_citations() -> None:
    assert merge_answers(FIRST, SECOND) == Answer(
        text="我来算。\n\n更正。",
        reasoning="想。再想。",
        steps=[*FIRST.steps, *SECOND.steps],
        nodes=[*FIRST.nodes, *SECOND.nodes],
        tool_calls=[GOOD],
        order=["reasoning", "text", "call:bailian_1"],
        finish_reason="length",
        session_id="s2",
        request_id="r2",
        doc_references=[{"index_id": "1"}, {"index_id": "2"}],
        citations=[
            {"start_index": 0, "end_index": 4, "title": "茶"},
            {"start_index": 6, "end_index": 9, "title": "书"},
        ],
        usage={
            "models": [{"model_id": "m", "output_tokens": 1}, {"model_id": "m", "output_tokens": 2}],
            "credits": 2,
        },
        extra={"mood": "calm", "tier": 2},
        final_text="二",
        references_missing=True,
    )


@pytest.mark.parametrize("field", ["session_id", "request_id", "doc_references", "final_text"])
def test_values_only_the_first_reply_has_are_kept(field: str) -> None:
    assert getattr(merge_answers(FIRST, Answer(text="更正。")), field) == getattr(FIRST, field)


def test_values_only_the_second_reply_has_are_kept() -> None:
    expected = Answer(**{name: getattr(SECOND, name) for name in SECOND.__slots__})

    assert merge_answers(Answer(), SECOND) == expected


@pytest.mark.parametrize(
    ("first", "second", "merged"),
    [
        (None, None, None),
        (None, False, False),
        (False, None, False),
        (False, True, True),
        (True, False, True),
        (True, None, True),
    ],
)
def test_an_answer_is_rejected_if_either_reply_is(
    first: bool | None, second: bool | None, merged: bool | None
) -> None:
    answer = merge_answers(Answer(reject_status=first), Answer(reject_status=second))

    assert answer.reject_status is merged


def test_values_neither_reply_has_stay_absent() -> None:
    assert merge_answers(Answer(), Answer()).doc_references is None


@pytest.mark.parametrize(("first", "second", "text"), [("a", "", "a"), ("", "b", "b"), ("", "", "")])
def test_a_reply_without_text_leaves_no_gap(first: str, second: str, text: str) -> None:
    assert merge_answers(Answer(text=first), Answer(text=second)).text == text


@pytest.mark.parametrize(
    "make_pair", [lambda answer: (answer, Answer()), lambda answer: (Answer(), answer)]
)
def test_references_are_missing_if_either_reply_lacks_them(
    make_pair: Callable[[Answer], tuple[Answer, Answer]],
) -> None:
    assert merge_answers(*make_pair(Answer(references_missing=True))).references_missing


def test_a_citation_without_indices_gets_none() -> None:
    (citation,) = merge_answers(FIRST, Answer(text="更正。", citations=[{"title": "书"}])).citations[1:]

    assert citation == {"title": "书"}


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"models": [{"output_tokens": 2}]}, [{"output_tokens": 2}]),
        ({"input_tokens": 4}, [{"input_tokens": 4}]),  # a snapshot without a model
        ({"models": "none", "input_tokens": 4}, [{"models": "none", "input_tokens": 4}]),
        ({}, []),
    ],
)
def test_tokens_of_both_replies_are_counted_in_every_usage_format(
    usage: dict[str, Any], counts: list[Any]
) -> None:
    answer = Answer(usage={"models": [{"output_tokens": 1}]})

    assert merge_answers(Answer(usage=usage), answer).usage["models"] == [*counts, {"output_tokens": 1}]
    assert merge_answers(answer, Answer(usage=usage)).usage["models"] == [{"output_tokens": 1}, *counts]
