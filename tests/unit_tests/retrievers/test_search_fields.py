"""What is checked of a search before anything is sent."""

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
        ({"pipeline_id": "../x"}, "no id of the service"),
        ({"pipeline_id": "kb", "pipeline_name": "茶"}, "not both"),
        ({"pipeline_name": ""}, "pipeline_name"),
        ({"pipeline_id": "kb", "rag_options": {"pipeline_ids": ["kb"]}}, "`rag_options` is for appl"),
        ({"pipeline_id": "kb", "memory_id": "m"}, "`memory_id` is for applications"),
        ({"pipeline_id": "kb", "wait_for_answer": True}, "`wait_for_answer` is for applications"),
        ({"rerank_top_n": 3}, "`rerank_top_n` is for a direct search"),
        ({"search_filters": [{"a": 1}]}, "`search_filters` is for a direct search"),
        ({"pipeline_id": "kb", "rerank_top_n": 0}, "rerank_top_n"),
        ({"pipeline_id": "kb", "rerank_top_n": 21}, "rerank_top_n"),
        ({"pipeline_id": "kb", "rerank_min_score": 1.1}, "rerank_min_score"),
        ({"pipeline_id": "kb", "dense_similarity_top_k": 101}, "dense_similarity_top_k"),
        ({"pipeline_id": "kb", "sparse_similarity_top_k": -1}, "sparse_similarity_top_k"),
        ({"session_id": "s"}, "no field `session_id`"),
        ({"index_name": "茶"}, "did you mean `pipeline_name`"),
    ],
)
def test_wrong_arguments_are_errors(fields: dict[str, Any], error: str) -> None:
    with pytest.raises(ValidationError, match=error):
        BailianRetriever(app_id="app", **fields)


@pytest.mark.parametrize(
    ("history", "problem"),
    [
        ([1], "these are no messages: .*int"),
        ([("tool", "x")], "these are no messages: 'tool_call_id'"),
        ([{"role": "user"}], "content"),
        ([HumanMessage([{"type": "text", "text": " "}])], ", a message without a text tells a search"),
        ([HumanMessage("茶？"), AIMessage("")], ", a message without a text tells a search"),
        ("茶？", "valid list"),
    ],
)
def test_a_history_has_messages_with_texts(history: Any, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        SearchFields(pipeline_id="kb", query_history=history)


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

    assert (options.memory_id, options.k, options.direct) == ("m", 2, False)


def test_top_k_is_rejected_with_a_hint_at_k() -> None:
    with pytest.raises(ValidationError, match="did you mean `k`"):
        BailianRetriever(app_id="app", top_k=3)
