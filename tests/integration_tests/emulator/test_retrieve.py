"""Tests of the emulator's knowledge base routes, and of retrieval by applications."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from langchain_bailian_app.emulator import App, BailianEmulator, Document, ErrorReply, KnowledgeBase
from langchain_bailian_app.emulator._apps.samples import PHONES_APP_ID
from tests.integration_tests.emulator.test_completion import call_app, get_output

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


def send_request(
    bailian: BailianEmulator, method: str, path: str, key: str | None = None, **request_args: Any
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key or bailian.api_key}"}
    # Without TLS contexts to load, a client is created quickly.
    with httpx.Client(trust_env=False, verify=False) as client:  # noqa: S501
        return client.request(
            method, f"{bailian.base_url}/indices/{path}", headers=headers, **request_args
        )


def retrieve(
    bailian: BailianEmulator, query: Any, pipeline_id: str = BOOKS, **fields: Any
) -> httpx.Response:
    body = {"query": query, **fields}
    return send_request(bailian, "POST", f"pipeline/{pipeline_id}/retrieve", json=body)


def retrieve_nodes(
    bailian: BailianEmulator, query: str, pipeline_id: str = BOOKS, **fields: Any
) -> list[dict[str, Any]]:
    response = retrieve(bailian, query, pipeline_id, **fields)
    assert response.status_code == 200, response.text
    body = response.json()
    result: list[dict[str, Any]] = body["nodes"]
    assert body["total"] == len(result)
    return result


def node_texts(retrieved_nodes: list[dict[str, Any]]) -> list[str]:
    return [node["node"]["text"] for node in retrieved_nodes]


def retrieve_with_app(bailian: BailianEmulator, query: str, **rag_options: Any) -> list[dict[str, Any]]:
    output = get_output(call_app(bailian, query, has_thoughts=True, rag_options=rag_options))
    hits: list[dict[str, Any]] = json.loads(output["thoughts"][0]["observation"])
    return hits


def test_retrieve_returns_the_fields_that_integrations_read(bailian: BailianEmulator) -> None:
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


def test_nodes_have_the_metadata_of_their_page_or_row(bailian: BailianEmulator) -> None:
    (page, *_) = retrieve_nodes(bailian, "还是测试")
    (row, *_) = retrieve_nodes(bailian, "手机3", PRICES, search_filters=[{"价格": 300}])

    assert page["node"]["metadata"]["page_number"] == [2]
    assert row["node"]["text"] == "型号:手机3\n价格:300"
    assert set(row["node"]["metadata"]) == {"parent", "doc_id", "doc_name"}
    assert row["node"]["metadata"]["doc_id"].startswith("table_")


def test_retrieve_is_recorded(bailian: BailianEmulator) -> None:
    retrieve(bailian, "测试", rerank_top_n=1)
    send_request(bailian, "GET", "pipeline_simple", params={"pipeline_name": "书库"})

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
def test_search_filters_restrict_the_nodes(
    bailian: BailianEmulator, filters: Any, names: set[str]
) -> None:
    retrieved = retrieve_nodes(bailian, "测试的书", search_filters=filters)

    assert {node["node"]["metadata"]["doc_name"] for node in retrieved} == names


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
def test_limits_restrict_the_number_of_nodes(
    bailian: BailianEmulator, fields: dict[str, Any], count: int
) -> None:
    assert len(retrieve_nodes(bailian, "价格", PRICES, **fields)) == count


def test_filters_apply_after_the_candidates_are_chosen(bailian: BailianEmulator) -> None:
    fields = {"search_filters": [{"型号": "手机30"}], "sparse_similarity_top_k": 0}

    assert retrieve_nodes(bailian, "价格", PRICES, dense_similarity_top_k=1, **fields) == []
    assert len(retrieve_nodes(bailian, "价格", PRICES, dense_similarity_top_k=100, **fields)) == 1


def test_low_scores_are_dropped(bailian: BailianEmulator) -> None:
    best, *others = retrieve_nodes(bailian, "测试模式")

    remaining = retrieve_nodes(bailian, "测试模式", rerank_min_score=best["score"])

    assert others
    assert remaining == [best]


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

    retrieved = retrieve_nodes(bailian, "它好吗？", query_history=history, **fields)

    assert ("测试模式" in "".join(node_texts(retrieved))) is rewritten
    assert retrieve_nodes(bailian, "好吗？", query_history=history, **fields) == []
    assert retrieve_nodes(bailian, "它好吗？", **fields) == []


@pytest.mark.parametrize("query", [None, "", " \n"])
def test_a_query_is_required(bailian: BailianEmulator, query: str | None) -> None:
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
def test_invalid_values_are_refused(bailian: BailianEmulator, fields: dict[str, Any]) -> None:
    body = {"query": "测试", **fields}
    response = send_request(bailian, "POST", f"pipeline/{BOOKS}/retrieve", json=body)

    assert response.status_code == 400
    assert set(response.json()) == {"code", "message", "request_id"}
    assert response.json()["code"] == "InvalidParameter"


def test_retrieve_requires_a_json_object_and_the_key(bailian: BailianEmulator) -> None:
    path = f"pipeline/{BOOKS}/retrieve"

    assert send_request(bailian, "POST", path, content=b"{").json()["code"] == "BadRequest.IllegalInput"
    for method, requested_path in (("POST", path), ("GET", "pipeline_simple?pipeline_name=x")):
        response = send_request(bailian, method, requested_path, key="sk-wrong")
        assert (response.status_code, response.json()["code"]) == (401, "InvalidApiKey")


def test_unknown_pipelines_are_not_found(bailian: BailianEmulator) -> None:
    by_id = retrieve(bailian, "测试", "none")
    by_name = send_request(bailian, "GET", "pipeline_simple", params={"pipeline_name": "none"})
    unnamed = send_request(bailian, "GET", "pipeline_simple")

    assert [r.status_code for r in (by_id, by_name, unnamed)] == [404, 404, 400]
    assert by_id.json()["code"] == by_name.json()["code"] == "NotFound"
    assert unnamed.json()["code"] == "InvalidParameter"


@pytest.mark.parametrize(
    ("name", "pipeline_id"), [("书库", BOOKS), ("价目", PRICES), ("青禾手机", "phones0001")]
)
def test_a_name_resolves_to_the_id_of_a_searchable_knowledge_base(
    bailian: BailianEmulator, name: str, pipeline_id: str
) -> None:
    response = send_request(bailian, "GET", "pipeline_simple", params={"pipeline_name": name})

    body = response.json()
    request_id = response.headers["x-request-id"]
    envelope = {"status": "SUCCESS", "code": "Success", "message": "", "request_id": request_id}
    assert body == {**envelope, "id": pipeline_id, "name": name}
    assert retrieve_nodes(bailian, "测试 手机 电池", body["id"]) != []


def test_errors_can_be_forced_on_both_routes(bailian: BailianEmulator) -> None:
    (knowledge_base,) = bailian.knowledge_bases
    knowledge_base.error = ErrorReply.of("Throttling", times=2, headers={"Retry-After": "1"})

    first = retrieve(bailian, "测试")
    second = send_request(bailian, "GET", "pipeline_simple", params={"pipeline_name": "书库"})
    third = retrieve(bailian, "测试")

    assert [r.status_code for r in (first, second, third)] == [429, 429, 200]
    assert first.json()["code"] == "Throttling"
    assert first.headers["retry-after"] == "1"


def test_document_filters_take_effect_with_pipeline_ids_only(bailian: BailianEmulator) -> None:
    app = bailian.apps[bailian.app_id]
    app.knowledge_bases = bailian.knowledge_bases
    pipeline_options = {"pipeline_ids": [BOOKS]}

    for filters in ({"file_ids": ["file_a"]}, {"metadata_filter": {"年": "2020"}}):
        assert {hit["dataName"] for hit in retrieve_with_app(bailian, "测试的书", **filters)} == {
            "甲",
            "乙",
        }
        filtered_hits = retrieve_with_app(bailian, "测试的书", **pipeline_options, **filters)
        assert {hit["dataName"] for hit in filtered_hits} == {"甲"}
    for options in ({}, pipeline_options):
        tagged_hits = retrieve_with_app(bailian, "测试的书", tags=["热", "冷"], **options)
        assert {hit["dataName"] for hit in tagged_hits} == {"乙"}


def test_structured_filter_compares_numbers_written_as_text(bailian: BailianEmulator) -> None:
    pipeline_options = {"pipeline_ids": [PRICES]}

    (hit,) = retrieve_with_app(bailian, "价格", structured_filter={"价格": "300"}, **pipeline_options)

    assert hit["content"] == "型号:手机3\n价格:300"
    assert not {"images", "title"} & set(hit)
    assert (
        retrieve_with_app(bailian, "价格", structured_filter={"颜色": "黑"}, **pipeline_options) == []
    )


@pytest.mark.parametrize("options", [{"file_ids": "x"}, {"metadata_filter": []}])
def test_filters_without_effect_are_still_validated(
    bailian: BailianEmulator, options: dict[str, Any]
) -> None:
    assert call_app(bailian, "x", rag_options=options).json()["code"] == "InvalidParameter"


def test_applications_return_images_and_pages(bailian: BailianEmulator) -> None:
    pipeline_options = {"pipeline_ids": [BOOKS]}

    with_images = get_output(
        call_app(bailian, "测试模式的书", has_thoughts=True, rag_options=pipeline_options)
    )
    with_pages = get_output(call_app(bailian, "还是测试", rag_options=pipeline_options))

    hits = json.loads(with_images["thoughts"][0]["observation"])
    assert [hit["images"] for hit in hits] == [[URL], [], []]
    assert [hit["referenceIndex"] for hit in hits] == [1, 2, 3]
    reference = with_images["doc_references"][0]
    assert reference["images"] == [URL]
    assert "page_number" not in reference
    assert with_pages["doc_references"][0]["page_number"] == [2]
    assert with_pages["doc_references"][0]["images"] == []


def test_thoughts_can_be_missing_although_requested(bailian: BailianEmulator) -> None:
    app = bailian.apps[PHONES_APP_ID]
    app.thinking = "on"
    assert "thoughts" in get_output(call_app(bailian, "电池", app_id=PHONES_APP_ID, has_thoughts=True))

    app.never_thoughts = True
    answer = get_output(call_app(bailian, "电池", app_id=PHONES_APP_ID, has_thoughts=True))

    assert "thoughts" not in answer
    assert answer["doc_references"]


def test_the_parts_of_a_node_can_be_in_other_places(bailian: BailianEmulator) -> None:
    (knowledge_base,) = bailian.knowledge_bases
    plain = retrieve_nodes(bailian, "测试模式")[0]
    metadata = plain["node"]["metadata"]

    knowledge_base.node_variants = {"content"}
    assert retrieve_nodes(bailian, "测试模式")[0]["node"] == {
        "id_": plain["node"]["id_"],
        "content": plain["node"]["text"],
        "metadata": metadata,
    }
    knowledge_base.node_variants = {"json-metadata"}
    assert json.loads(retrieve_nodes(bailian, "测试模式")[0]["node"]["metadata"]) == metadata
    knowledge_base.node_variants = {"flat"}
    assert retrieve_nodes(bailian, "测试模式")[0] == {"score": plain["score"], **plain["node"]}
    knowledge_base.node_variants = {"names-beside-text"}
    node = retrieve_nodes(bailian, "测试模式")[0]["node"]
    assert (node["title"], node["doc_name"]) == ("测试", "甲")
    assert not {"title", "doc_name"} & set(node["metadata"])
    knowledge_base.node_variants = {"score-in-metadata"}
    node = retrieve_nodes(bailian, "测试模式")[0]
    assert "score" not in node
    assert node["node"]["metadata"] == metadata | {"_score": plain["score"]}
    knowledge_base.node_variants = {"rerank"}
    reply = retrieve(bailian, "测试模式").json()
    assert reply["rerank"] == []
    assert reply["nodes"][0] == plain | {
        "node": plain["node"]
        | {"metadata": metadata | {"_score": plain["score"], "nid": plain["node"]["id_"]}}
    }


def test_unknown_variants_of_nodes_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"invalid `node_variants`: expected .*'flat'.*, got 'flatt'"):
        KnowledgeBase("书库", node_variants={"flatt"})  # type: ignore[arg-type]


def test_the_error_of_a_node_is_json_text(bailian: BailianEmulator) -> None:
    reply = ErrorReply.of_node("AppProcessFailed", "查库存", "坏", times=1)
    app_id = bailian.add_app(App("坏", error=reply))
    body = call_app(bailian, "x", app_id=app_id).json()

    assert json.loads(body["message"]) == {"nodeName": "查库存", "errorInfo": "坏"}
    assert body["code"] == "AppProcessFailed"
