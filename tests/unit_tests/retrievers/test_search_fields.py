"""Tests of the checks of search fields, which run before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import ValidationError

from langchain_bailian_app import BailianRetriever
from langchain_bailian_app.retrievers._search_fields import SearchFields


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"k": 0}, "k"),
        ({"k": -1}, "k"),
        ({"pipeline_id": "../x"}, "invalid `pipeline_id` '../x'"),
        ({"pipeline_id": "kb", "pipeline_name": "茶"}, "pass one of them"),
        ({"pipeline_name": ""}, "pipeline_name"),
        ({"pipeline_id": "kb", "rag_options": {"pipeline_ids": ["kb"]}}, "cannot use `rag_options`"),
        ({"pipeline_id": "kb", "memory_id": "m"}, "cannot use `memory_id` in a direct"),
        ({"pipeline_id": "kb", "wait_for_answer": True}, "cannot use `wait_for_answer` in a direct"),
        ({"rerank_top_n": 3}, "cannot use `rerank_top_n` without a knowledge base"),
        ({"search_filters": [{"a": 1}]}, "cannot use `search_filters` without a knowledge base"),
        ({"pipeline_id": "kb", "rerank_top_n": 0}, "rerank_top_n"),
        ({"pipeline_id": "kb", "rerank_top_n": 21}, "rerank_top_n"),
        ({"pipeline_id": "kb", "rerank_min_score": 1.1}, "rerank_min_score"),
        ({"pipeline_id": "kb", "dense_similarity_top_k": 101}, "dense_similarity_top_k"),
        ({"pipeline_id": "kb", "sparse_similarity_top_k": -1}, "sparse_similarity_top_k"),
        ({"session_id": "s"}, "unknown field `session_id`"),
        ({"index_name": "茶"}, "did you mean `pipeline_name`"),
    ],
)
def test_wrong_arguments_are_errors(fields: dict[str, Any], error: str) -> None:
    application = {} if {"pipeline_id", "pipeline_name"} & fields.keys() else {"app_id": "app"}

    with pytest.raises(ValidationError, match=error):
        BailianRetriever(**application, **fields)


IMAGE = {"type": "image", "url": "https://x.example/1.png"}


@pytest.mark.parametrize(
    ("history", "problem"),
    [
        ([1], "invalid `query_history`: .*int"),
        ([("tool", "x")], "invalid `query_history`: expected messages: 'tool_call_id'"),
        ([{"role": "user"}], "content"),
        ([HumanMessage([IMAGE])], ", `query_history` contains a message with an image .* without text"),
        ("茶？", "valid list"),
    ],
)
def test_a_history_has_messages_with_texts(history: Any, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        SearchFields(pipeline_id="kb", query_history=history)


def test_messages_without_text_are_left_out_of_a_history() -> None:
    blank = HumanMessage([{"type": "text", "text": " "}])
    history: list[Any] = [blank, HumanMessage("茶？"), AIMessage(""), AIMessage("绿茶。")]

    assert SearchFields(pipeline_id="kb", query_history=history).query_history == [
        {"role": "user", "content": "茶？"},
        {"role": "assistant", "content": "绿茶。"},
    ]


@pytest.mark.parametrize("threshold", [float("nan"), -0.1, 1.1])
def test_a_threshold_is_a_score(threshold: float) -> None:
    with pytest.raises(ValidationError, match="score_threshold"):
        SearchFields(score_threshold=threshold)


def test_a_call_may_search_directly_whatever_the_constructor_has() -> None:
    retriever = BailianRetriever(app_id="app", memory_id="m", k=3, wait_for_answer=True)

    options = retriever.with_overrides({"pipeline_id": "kb", "rerank_top_n": 2, "verbose": True})

    assert options == SearchFields(pipeline_id="kb", k=3, rerank_top_n=2)
    by_name = BailianRetriever(pipeline_id="kb", rerank_min_score=0.5).with_overrides(
        {"pipeline_name": "茶"}
    )
    assert by_name == SearchFields(pipeline_name="茶", rerank_min_score=0.5)


def test_a_call_without_a_pipeline_keeps_the_search_of_the_constructor() -> None:
    retriever = BailianRetriever(app_id="app", memory_id="m", k=3)

    options = retriever.with_overrides({"k": 2, "pipeline_id": None})

    assert (options.memory_id, options.k, options.kind) == ("m", 2, "application")


def test_top_k_is_rejected_with_a_hint_at_k() -> None:
    with pytest.raises(ValidationError, match="did you mean `k`"):
        BailianRetriever(app_id="app", top_k=3)


@pytest.mark.parametrize("fields", [{"pipeline_id": "kb"}, {"pipeline_name": "库"}])
def test_a_direct_search_for_more_than_twenty_documents_is_rejected(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="invalid `k`: expected at most 20 in a direct search, got 21"):
        SearchFields(**fields, k=21)
    with pytest.raises(ValueError, match="invalid `k`"):
        SearchFields(**fields).with_overrides({"k": 21})
    assert SearchFields(**fields, k=21, rerank_top_n=20).k == 21
    assert SearchFields(k=21).k == 21
