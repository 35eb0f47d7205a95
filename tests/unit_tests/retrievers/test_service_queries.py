"""Responses of search services and of the index route."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_bailian_app._answer.frames import Frame
from langchain_bailian_app.errors import BailianServerError
from langchain_bailian_app.retrievers._search_fields import SearchFields
from langchain_bailian_app.retrievers._service_queries import create_index_query, create_service_query


def create_query(**options: Any) -> Any:
    return create_service_query("aid-1", "?", SearchFields(agent_id="aid-1", **options))


@pytest.mark.parametrize("data", [None, [], {}, {"total": 1}, {"total": 1, "nodes": {}}])
def test_a_response_without_nodes_is_an_error(data: Any) -> None:
    with pytest.raises(BailianServerError, match=r"data\.nodes"):
        create_query().feed(Frame(extra={"data": data}))


@pytest.mark.parametrize("data", [{"total": 0}, {"total": 0, "nodes": None}, {"nodes": []}])
def test_no_hits_are_no_documents(data: Any) -> None:
    query = create_query()

    assert query.feed(Frame(extra={"data": data}))
    assert query.documents() == []


def test_k_and_the_threshold_select_documents() -> None:
    query = create_query(k=1, score_threshold=0.5)
    nodes = [{"text": str(score), "score": score} for score in (0.9, 0.4, 0.8)]
    query.feed(Frame(extra={"data": {"nodes": nodes}}))

    assert [document.page_content for document in query.documents()] == ["0.9"]


def test_k_is_sent_to_the_index_route_unless_its_own_field_is_set() -> None:
    fields: dict[str, Any] = {"pipeline_id": "kb", "route": "index", "k": 30}

    assert create_index_query("kb", "?", SearchFields(**fields)).request.body == {
        "index_id": "kb",
        "query": "?",
        "rerank_top_n": 30,
    }
    body = create_index_query("kb", "?", SearchFields(**fields, rerank_top_n=2)).request.body
    assert body is not None
    assert body["rerank_top_n"] == 2


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        ({}, "service"),
        ({"agent_id": "aid-2"}, "service"),
        ({"pipeline_id": "kb"}, "pipeline"),
        ({"pipeline_id": "kb", "route": "index"}, "index"),
    ],
)
def test_a_call_may_search_elsewhere(overrides: dict[str, Any], kind: str) -> None:
    fields = SearchFields(agent_id="aid-1", images=["https://x.test/a.png"], k=2)
    options = fields.with_overrides(overrides)

    assert (options.kind, options.k) == (kind, 2)
    assert (options.images is None) is (kind != "service")


def test_a_call_to_a_service_drops_the_fields_of_a_direct_search() -> None:
    fields = SearchFields(pipeline_id="kb", route="index", rerank_mode="qa", search_filters=[{"a": 1}])
    options = fields.with_overrides({"agent_id": "aid-2"})

    assert (options.kind, options.rerank_mode, options.search_filters) == ("service", None, None)
