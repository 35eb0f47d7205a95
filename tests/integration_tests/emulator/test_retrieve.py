"""The emulator's knowledge bases on the wire: their own routes, and what applications tell of them."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from langchain_bailian_app.emulator import App, BailianEmulator, Document, ErrorReply, KnowledgeBase
from langchain_bailian_app.emulator._apps.samples import PHONES_APP_ID
from tests.integration_tests.emulator.test_completion import ask, output

BOOKS = "books00001"
PRICES = "prices0001"
URL = "https://x.oss/a.png?Signature=b"


@pytest.fixture
def bailian() -> Iterator[BailianEmulator]:
    books = [
        Document("甲", f"# 上册\n## 测试\n测试模式的书。![图]({URL})", "file_a", {"年": 2020}, ["旧"]),
        Document("乙", pages=["测试方法的书。", "测试，测试，还是测试。"], file_id="file_b"),
    ]
    books[1].metadata, books[1].tags = {"年": ["2024", 2025]}, ["新", "热"]
    rows = [{"型号": f"手机{n}", "价格": 100 * n} for n in range(1, 31)]
    with BailianEmulator() as emulator:
        emulator.add_knowledge_base(KnowledgeBase("书库", books, pipeline_id=BOOKS))
        emulator.add_app(
            App("店", knowledge_bases=[KnowledgeBase("价目", rows=rows, pipeline_id=PRICES)])
        )
        yield emulator


def call(
    bailian: BailianEmulator, method: str, path: str, key: str | None = None, **sent: Any
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key or bailian.api_key}"}
    # Without TLS contexts to load, a client is made in no time.
    with httpx.Client(trust_env=False, verify=False) as client:  # noqa: S501
        return client.request(method, f"{bailian.base_url}/indices/{path}", headers=headers, **sent)


def retrieve(
    bailian: BailianEmulator, query: Any, pipeline_id: str = BOOKS, **fields: Any
) -> httpx.Response:
    body = {"query": query, **fields}
    return call(bailian, "POST", f"pipeline/{pipeline_id}/retrieve", json=body)


def nodes(
    bailian: BailianEmulator, query: str, pipeline_id: str = BOOKS, **fields: Any
) -> list[dict[str, Any]]:
    response = retrieve(bailian, query, pipeline_id, **fields)
    assert response.status_code == 200, response.text
    body = response.json()
    found: list[dict[str, Any]] = body["nodes"]
    assert body["total"] == len(found)
    return found


def texts(found: list[dict[str, Any]]) -> list[str]:
    return [node["node"]["text"] for node in found]


def observed(bailian: BailianEmulator, query: str, **rag_options: Any) -> list[dict[str, Any]]:
    given = output(ask(bailian, query, has_thoughts=True, rag_options=rag_options))
    hits: list[dict[str, Any]] = json.loads(given["thoughts"][0]["observation"])
    return hits


def test_retrieve_replies_as_integrations_read_it(bailian: BailianEmulator) -> None:
    response = retrieve(bailian, "测试模式")

    body = response.json()
    assert set(body) == {"status", "message", "code", "request_id", "total", "nodes"}
    assert (body["status"], body["message"], body["code"]) == ("SUCCESS", "", "Success")
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["total"] == len(body["nodes"]) == 3
    scores = [node["score"] for node in body["nodes"]]
    assert scores == sorted(scores, reverse=True)
    assert 0 < scores[-1] < scores[0] < 1
    assert body["nodes"][0]["node"] == {
        "id_": "llm-emulator_books00001_file_a_0_0",
        "text": '【文档名】:甲\n【标题】:测试\n年:["2020"]\n【正文】:测试模式的书。\n',
        "metadata": {
            "parent": "",
            "image_url": [URL],
            "title": "测试",
            "doc_id": "file_a",
            "doc_name": "甲",
            "hier_title": "上册 > 测试",
        },
    }


def test_nodes_of_pages_and_of_rows(bailian: BailianEmulator) -> None:
    (page, *_) = nodes(bailian, "还是测试")
    (row, *_) = nodes(bailian, "手机3", PRICES, search_filters=[{"价格": 300}])

    assert page["node"]["metadata"]["page_number"] == [2]
    assert row["node"]["text"] == "型号:手机3\n价格:300"
    assert set(row["node"]["metadata"]) == {"parent", "doc_id", "doc_name"}
    assert row["node"]["metadata"]["doc_id"].startswith("table_")


def test_retrieve_is_recorded(bailian: BailianEmulator) -> None:
    retrieve(bailian, "测试", rerank_top_n=1)
    call(bailian, "GET", "pipeline_simple", params={"pipeline_name": "书库"})

    first, second = bailian.requests
    assert (first.method, first.path) == ("POST", f"/api/v1/indices/pipeline/{BOOKS}/retrieve")
    assert first.body == {"query": "测试", "rerank_top_n": 1}
    assert first.app_id is second.app_id is None
    assert first.wait()
    assert first.finished
    assert first.status == 200
    assert first.headers["authorization"] == "[removed]"
    assert (first.query, second.query) == ({}, {"pipeline_name": "书库"})
    assert second.path == "/api/v1/indices/pipeline_simple"


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ([], {"甲", "乙"}),
        ([{"年": 2020}], {"甲"}),
        ([{"年": {"gt": 2024}}], {"乙"}),
        ([{"doc_name": {"like": "乙"}}], {"乙"}),
        ([{"file_id": ["file_a", "file_c"]}], {"甲"}),
        ([{"tags": ["新"]}], {"乙"}),
        ([{"tags": '["旧", "热"]'}], {"甲", "乙"}),
        ([{"tags": ["热"]}, {"年": 2020}], set()),
        ([{"无": 1}], set()),
    ],
)
def test_search_filters_narrow(bailian: BailianEmulator, filters: Any, names: set[str]) -> None:
    found = nodes(bailian, "测试的书", search_filters=filters)

    assert {node["node"]["metadata"]["doc_name"] for node in found} == names


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({}, 5),
        ({"rerank_top_n": 1}, 1),
        ({"rerank_top_n": 20}, 20),
        ({"rerank_top_n": 20, "enable_reranking": False}, 20),
        ({"dense_similarity_top_k": 0, "sparse_similarity_top_k": 0}, 0),
        ({"dense_similarity_top_k": 3, "sparse_similarity_top_k": 2}, 3),
        ({"dense_similarity_top_k": 0, "sparse_similarity_top_k": 4}, 4),
        ({"dense_similarity_top_k": 100, "sparse_similarity_top_k": 100}, 5),
        ({"rerank_min_score": 0}, 5),
        ({"rerank_min_score": 1}, 0),
        ({"rewrite": [{"model_name": "x"}], "rerank": [{"model_name": "y"}]}, 5),
        ({"query_history": None, "search_filters": None, "rerank_min_score": None}, 5),
    ],
)
def test_bounds_bound_the_nodes(bailian: BailianEmulator, fields: dict[str, Any], count: int) -> None:
    assert len(nodes(bailian, "价格", PRICES, **fields)) == count


def test_filters_come_after_the_candidates(bailian: BailianEmulator) -> None:
    asked = {"search_filters": [{"型号": "手机30"}], "sparse_similarity_top_k": 0}

    assert nodes(bailian, "价格", PRICES, dense_similarity_top_k=1, **asked) == []
    assert len(nodes(bailian, "价格", PRICES, dense_similarity_top_k=100, **asked)) == 1


def test_low_scores_are_dropped(bailian: BailianEmulator) -> None:
    best, *others = nodes(bailian, "测试模式")

    kept = nodes(bailian, "测试模式", rerank_min_score=best["score"])

    assert others
    assert kept == [best]


@pytest.mark.parametrize(
    ("fields", "rewritten"),
    [
        ({"enable_rewrite": True}, True),
        ({"enable_rewrite": False}, False),
        ({}, False),
    ],
)
def test_queries_that_refer_back_are_rewritten_on_request(
    bailian: BailianEmulator, fields: dict[str, Any], rewritten: bool
) -> None:
    history = [
        {"role": "user", "content": "手机7"},
        {"role": "user", "content": "什么是测试模式？"},
        {"role": "assistant", "content": "手机8"},
    ]

    found = nodes(bailian, "它好吗？", query_history=history, **fields)

    assert ("测试模式" in "".join(texts(found))) is rewritten
    assert nodes(bailian, "好吗？", query_history=history, **fields) == []
    assert nodes(bailian, "它好吗？", **fields) == []


@pytest.mark.parametrize("query", [None, "", " \n"])
def test_a_query_must_be_given(bailian: BailianEmulator, query: str | None) -> None:
    response = retrieve(bailian, query)

    assert response.status_code == 400
    assert response.json()["code"] == "BadRequest.EmptyInput"


@pytest.mark.parametrize(
    "fields",
    [
        {"query": 1},
        {"dense_similarity_top_k": -1},
        {"dense_similarity_top_k": 101},
        {"sparse_similarity_top_k": 101},
        {"sparse_similarity_top_k": "5"},
        {"sparse_similarity_top_k": True},
        {"rerank_top_n": 0},
        {"rerank_top_n": 21},
        {"rerank_top_n": 1.5},
        {"rerank_min_score": -0.1},
        {"rerank_min_score": 1.1},
        {"rerank_min_score": "0.5"},
        {"rerank_min_score": True},
        {"enable_reranking": "yes"},
        {"enable_rewrite": 1},
        {"query_history": "x"},
        {"query_history": [1]},
        {"query_history": [{"role": "tool", "content": "x"}]},
        {"query_history": [{"role": "user", "content": 1}]},
        {"search_filters": {"a": 1}},
        {"search_filters": [{"年": {"between": [1, 2]}}]},
    ],
)
def test_wrong_values_are_refused(bailian: BailianEmulator, fields: dict[str, Any]) -> None:
    body = {"query": "测试", **fields}
    response = call(bailian, "POST", f"pipeline/{BOOKS}/retrieve", json=body)

    assert response.status_code == 400
    assert set(response.json()) == {"code", "message", "request_id"}
    assert response.json()["code"] == "InvalidParameter"


def test_retrieve_takes_a_json_object_and_the_key(bailian: BailianEmulator) -> None:
    path = f"pipeline/{BOOKS}/retrieve"

    assert call(bailian, "POST", path, content=b"{").json()["code"] == "BadRequest.IllegalInput"
    for method, place in (("POST", path), ("GET", "pipeline_simple?pipeline_name=x")):
        response = call(bailian, method, place, key="sk-wrong")
        assert (response.status_code, response.json()["code"]) == (401, "InvalidApiKey")


def test_unknown_pipelines_are_not_found(bailian: BailianEmulator) -> None:
    by_id = retrieve(bailian, "测试", "none")
    by_name = call(bailian, "GET", "pipeline_simple", params={"pipeline_name": "none"})
    unnamed = call(bailian, "GET", "pipeline_simple")

    assert [r.status_code for r in (by_id, by_name, unnamed)] == [404, 404, 400]
    assert by_id.json()["code"] == by_name.json()["code"] == "NotFound"
    assert unnamed.json()["code"] == "InvalidParameter"


@pytest.mark.parametrize(
    ("name", "pipeline_id"), [("书库", BOOKS), ("价目", PRICES), ("青禾手机", "phones0001")]
)
def test_names_lead_to_ids_and_ids_to_knowledge(
    bailian: BailianEmulator, name: str, pipeline_id: str
) -> None:
    response = call(bailian, "GET", "pipeline_simple", params={"pipeline_name": name})

    body = response.json()
    request_id = response.headers["x-request-id"]
    head = {"status": "SUCCESS", "code": "Success", "message": "", "request_id": request_id}
    assert body == {**head, "id": pipeline_id, "name": name}
    assert nodes(bailian, "测试 手机 电池", body["id"]) != []


def test_errors_can_be_provoked_on_both_routes(bailian: BailianEmulator) -> None:
    (base,) = bailian.knowledge_bases
    base.error = ErrorReply.of("Throttling", times=2, headers={"Retry-After": "1"})

    first = retrieve(bailian, "测试")
    second = call(bailian, "GET", "pipeline_simple", params={"pipeline_name": "书库"})
    third = retrieve(bailian, "测试")

    assert [r.status_code for r in (first, second, third)] == [429, 429, 200]
    assert first.json()["code"] == "Throttling"
    assert first.headers["retry-after"] == "1"


def test_document_filters_take_effect_with_pipeline_ids_only(bailian: BailianEmulator) -> None:
    app = bailian.apps[bailian.app_id]
    app.knowledge_bases = bailian.knowledge_bases
    named = {"pipeline_ids": [BOOKS]}

    for narrowed in ({"file_ids": ["file_a"]}, {"metadata_filter": {"年": "2020"}}):
        assert {hit["dataName"] for hit in observed(bailian, "测试的书", **narrowed)} == {"甲", "乙"}
        with_ids = observed(bailian, "测试的书", **named, **narrowed)
        assert {hit["dataName"] for hit in with_ids} == {"甲"}
    for options in ({}, named):
        tagged = observed(bailian, "测试的书", tags=["热", "冷"], **options)
        assert {hit["dataName"] for hit in tagged} == {"乙"}


def test_structured_filter_compares_numbers_written_as_text(bailian: BailianEmulator) -> None:
    named = {"pipeline_ids": [PRICES]}

    (hit,) = observed(bailian, "价格", structured_filter={"价格": "300"}, **named)

    assert hit["content"] == "型号:手机3\n价格:300"
    assert not {"images", "title"} & set(hit)
    assert observed(bailian, "价格", structured_filter={"颜色": "黑"}, **named) == []


@pytest.mark.parametrize("options", [{"file_ids": "x"}, {"metadata_filter": []}])
def test_filters_without_effect_are_checked_all_the_same(
    bailian: BailianEmulator, options: dict[str, Any]
) -> None:
    assert ask(bailian, "x", rag_options=options).json()["code"] == "InvalidParameter"


def test_images_and_pages_are_told_by_applications(bailian: BailianEmulator) -> None:
    named = {"pipeline_ids": [BOOKS]}

    pictured = output(ask(bailian, "测试模式的书", has_thoughts=True, rag_options=named))
    paged = output(ask(bailian, "还是测试", rag_options=named))

    hits = json.loads(pictured["thoughts"][0]["observation"])
    assert [hit["images"] for hit in hits] == [[URL], [], []]
    assert [hit["referenceIndex"] for hit in hits] == [1, 2, 3]
    reference = pictured["doc_references"][0]
    assert reference["images"] == [URL]
    assert "page_number" not in reference
    assert paged["doc_references"][0]["page_number"] == [2]
    assert paged["doc_references"][0]["images"] == []


def test_thoughts_may_stay_away_though_asked_for(bailian: BailianEmulator) -> None:
    app = bailian.apps[PHONES_APP_ID]
    app.thinking = "on"
    assert "thoughts" in output(ask(bailian, "电池", app_id=PHONES_APP_ID, has_thoughts=True))

    app.never_thoughts = True
    answer = output(ask(bailian, "电池", app_id=PHONES_APP_ID, has_thoughts=True))

    assert "thoughts" not in answer
    assert answer["doc_references"]
