"""What is checked of a search before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import ValidationError

from langchain_bailian_app import BailianAppChatModel, BailianRetriever, RagOptions
from langchain_bailian_app._request.body import ServiceRequest
from langchain_bailian_app.retrievers._fields import SearchFields
from langchain_bailian_app.retrievers._queries import AppSearch, lookup_request, retrieve_request


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ({}, {}),
        ({"k": 3}, {"rerank_top_n": 3}),
        ({"k": 50}, {"rerank_top_n": 20}),
        ({"k": 3, "rerank_top_n": 9}, {"rerank_top_n": 9}),
        ({"dense_similarity_top_k": 0}, {"dense_similarity_top_k": 0}),
        ({"sparse_similarity_top_k": 100}, {"sparse_similarity_top_k": 100}),
        ({"enable_rewrite": False}, {"enable_rewrite": False}),
        ({"enable_reranking": False}, {"enable_reranking": False}),
        ({"rerank_min_score": 0.5}, {"rerank_min_score": 0.5}),
        ({"search_filters": {"年": 2025}}, {"search_filters": [{"年": 2025}]}),
        ({"search_filters": [{"a": 1}, {"b": 2}]}, {"search_filters": [{"a": 1}, {"b": 2}]}),
        (
            {"query_history": [HumanMessage("茶？"), AIMessage("叶子。")]},
            {
                "query_history": [
                    {"role": "user", "content": "茶？"},
                    {"role": "assistant", "content": "叶子。"},
                ]
            },
        ),
        (
            {"query_history": [{"role": "user", "content": "茶？"}]},
            {"query_history": [{"role": "user", "content": "茶？"}]},
        ),
        ({"extra_parameters": {"rerank": [{"model_name": "m"}]}}, {"rerank": [{"model_name": "m"}]}),
        ({"score_threshold": 0.5}, {}),
    ],
)
def test_the_body_of_a_direct_search(options: dict[str, Any], body: dict[str, Any]) -> None:
    expected = ServiceRequest(path="indices/pipeline/kb/retrieve", body={"query": "茶"} | body)

    assert expected == retrieve_request("kb", "茶", SearchFields(pipeline_id="kb", **options))


def test_the_question_for_an_id() -> None:
    expected = ServiceRequest("indices/pipeline_simple", method="GET", params={"pipeline_name": "茶"})

    assert expected == lookup_request("茶")


@pytest.mark.parametrize(
    ("options", "has_thoughts"), [({}, True), ({"has_thoughts": False}, False), ({"k": 1}, True)]
)
def test_an_application_is_asked_for_its_steps(options: dict[str, Any], has_thoughts: bool) -> None:
    errand = AppSearch("app", "茶", SearchFields(rag_options={"pipeline_ids": "kb"}, **options))

    assert errand.request == ServiceRequest(
        path="apps/app/completion",
        body={
            "input": {"prompt": "茶"},
            "parameters": {
                "has_thoughts": has_thoughts,
                "rag_options": {"pipeline_ids": ["kb"]},
                "incremental_output": True,
            },
        },
        stream=True,
    )


@pytest.mark.parametrize(
    ("fields", "text"),
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
def test_wrong_arguments_are_errors(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        BailianRetriever(app_id="app", **fields)


@pytest.mark.parametrize("query", ["", " \n"])
def test_a_query_needs_words(query: str) -> None:
    for fields in ({"app_id": "app"}, {"pipeline_id": "kb"}):
        with pytest.raises(ValueError, match="no text"):
            BailianRetriever(api_key="k", **fields).invoke(query)


@pytest.mark.parametrize(
    ("keywords", "error", "text"),
    [
        ({"top_n": 3}, TypeError, "did you mean `k`"),
        ({"session_id": "s"}, TypeError, "no argument `session_id`"),
        ({"api_key": "k"}, TypeError, "for the constructor"),
        ({"k": 0}, ValueError, "k"),
        ({"rerank_top_n": 3}, ValueError, "direct search"),
    ],
)
def test_wrong_keywords_of_a_call_are_errors(
    keywords: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        BailianRetriever(app_id="app", api_key="k").invoke("茶", **keywords)


def test_without_anything_to_search_the_error_says_what_to_give() -> None:
    with pytest.raises(ValidationError, match="BAILIAN_APP_ID"):
        BailianRetriever()


def test_a_model_lends_its_settings() -> None:
    model = BailianAppChatModel(
        app_id="app", api_key="k", timeout=7, rag_options=RagOptions(tags=["a"]), history="session"
    )

    retriever = BailianRetriever(model=model, timeout=9)

    assert retriever.app_id == "app"
    assert retriever.rag_options == RagOptions(tags=["a"])
    assert retriever.timeout == 9


def test_a_model_lends_only_its_connection_to_a_direct_search() -> None:
    model = BailianAppChatModel(app_id="app", timeout=7, rag_options=RagOptions(tags=["a"]))

    retriever = BailianRetriever(model=model, pipeline_id="kb")

    assert (retriever.timeout, retriever.rag_options) == (7, None)


@pytest.mark.parametrize("query", [None, 5, [HumanMessage("茶")]])
def test_a_query_is_a_text(query: Any) -> None:
    with pytest.raises(ValueError, match="no text"):
        BailianRetriever(app_id="app", api_key="k").invoke(query)


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


def test_an_empty_variable_names_no_application(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAILIAN_APP_ID", "")

    assert BailianRetriever(pipeline_id="kb").app_id is None


def test_a_model_does_not_lend_how_its_own_calls_come() -> None:
    model = BailianAppChatModel(app_id="app", has_thoughts=False, streaming=False)

    retriever = BailianRetriever(model=model)

    assert (retriever.has_thoughts, retriever.streaming) == (None, None)


def test_a_call_may_search_directly_whatever_the_constructor_says() -> None:
    retriever = BailianRetriever(app_id="app", memory_id="m", k=3, wait_for_answer=True)

    options = retriever.overlaid({"pipeline_id": "kb", "rerank_top_n": 2, "verbose": True})

    assert options == SearchFields(pipeline_id="kb", k=3, rerank_top_n=2)
    by_name = BailianRetriever(pipeline_id="kb", rerank_min_score=0.5).overlaid({"pipeline_name": "茶"})
    assert by_name == SearchFields(pipeline_name="茶", rerank_min_score=0.5)


def test_a_call_that_names_no_other_way_keeps_the_way_of_the_constructor() -> None:
    retriever = BailianRetriever(app_id="app", memory_id="m", k=3)

    options = retriever.overlaid({"k": 2, "pipeline_id": None})

    assert (options.memory_id, options.k, options.direct) == ("m", 2, False)


def test_k_is_what_vector_stores_call_top_k() -> None:
    with pytest.raises(ValidationError, match="did you mean `k`"):
        BailianRetriever(app_id="app", top_k=3)
