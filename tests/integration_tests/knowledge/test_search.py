"""The retriever over search services and over the index route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_tests.integration_tests import RetrieversIntegrationTests

from langchain_bailian_app import BailianAppChatModel, BailianRetriever, errors
from langchain_bailian_app.emulator import ErrorReply, KnowledgeService

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from langchain_core.documents import Document

    from langchain_bailian_app.emulator import BailianEmulator

    Search = Callable[..., Awaitable[list[Document]]]


async def invoke(retriever: BailianRetriever, query: str, **options: Any) -> list[Document]:
    return retriever.invoke(query, **options)


async def ainvoke(retriever: BailianRetriever, query: str, **options: Any) -> list[Document]:
    return await retriever.ainvoke(query, **options)


sync_and_async = pytest.mark.parametrize("search", [invoke, ainvoke])


def connect(pool: BailianEmulator, **fields: Any) -> BailianRetriever:
    target = {} if "pipeline_id" in fields else {"agent_id": "aid-search"}
    connection = {"base_url": pool.base_url, "api_key": pool.api_key, "max_retries": 0}
    return BailianRetriever(**{**connection, **target, **fields})


@sync_and_async
async def test_a_service_searches_all_its_knowledge_bases(
    pool: BailianEmulator, search: Search
) -> None:
    documents = await search(connect(pool), "泳镜 踢腿 开放")

    titles = {document.metadata.get("title") for document in documents}
    assert {"开放", "4秒-17秒"} <= titles
    assert any(document.metadata.get("价格") == 99 for document in documents)
    assert {document.metadata["pipeline_id"] for document in documents} == {"pool", "prices"}
    scores = [document.metadata["score"] for document in documents]
    assert scores == sorted(scores, reverse=True)


@sync_and_async
async def test_media_are_in_the_metadata(pool: BailianEmulator, search: Search) -> None:
    (with_words, *_) = await search(connect(pool), "先踢腿，再划手")
    (silent, *_) = await search(connect(pool), "教练演示换气")
    (page, *_) = await search(connect(pool), "成人票价")

    assert with_words.page_content == "先踢腿，再划手"
    assert with_words.metadata["videos"] == ["https://media.test/v.mp4"]
    assert (with_words.metadata["clip_start_ms"], with_words.metadata["clip_end_ms"]) == (4000, 17000)
    assert with_words.metadata["speakers"] == ["教练"]
    assert silent.page_content == "教练演示换气"
    assert page.metadata["images"] == ["https://media.test/pool.jpg"]


@sync_and_async
async def test_images_are_searched_with_and_without_a_query(
    pool: BailianEmulator, search: Search
) -> None:
    await search(connect(pool), "", images=["https://media.test/踢水.jpg"])
    await search(connect(pool), "?", images=["https://media.test/踢水.jpg"], agent_version="beta")

    first, second = (request.body for request in pool.requests)
    assert first == {"agent_id": "aid-search", "query": "", "images": ["https://media.test/踢水.jpg"]}
    assert (second["query"], second["agent_version"]) == ("?", "beta")


def test_filters_apply_to_their_knowledge_base(pool: BailianEmulator) -> None:
    configs = [{"id": "pool", "search_filters": [{"tags": ["别的"]}]}]
    documents = connect(pool, kb_search_configs=configs).invoke("泳镜 开放 踢腿")

    assert {document.metadata["pipeline_id"] for document in documents} == {"prices"}
    assert pool.requests[-1].body["kb_search_configs"] == configs


@pytest.mark.parametrize("shape", ["flat", "nested"])
@pytest.mark.parametrize("status", [400, 200])
@sync_and_async
async def test_a_rejected_search_is_an_error_whatever_its_status_and_shape(
    pool: BailianEmulator, search: Search, status: Any, shape: Any
) -> None:
    pool.knowledge_switches.error_status = status
    pool.knowledge_switches.error_shape = shape
    configs = [{"id": "other"}]

    with pytest.raises(errors.BailianRequestError, match="kb not bound to agent: other") as caught:
        await search(connect(pool), "?", kb_search_configs=configs)

    assert caught.value.code in {"InvalidParameter", "INVALID_PARAMETER"}
    assert caught.value.request_id


@pytest.mark.parametrize("code", ["AgentApp.NotFound", "KB_NOT_FOUND", "NotFound"])
def test_an_unpublished_service_is_not_found(pool: BailianEmulator, code: str) -> None:
    pool.add_knowledge_service(KnowledgeService("草稿", agent_id="aid-draft", published=False))
    pool.knowledge_switches.unpublished_code = code

    with pytest.raises(errors.BailianNotFoundError):
        connect(pool, agent_id="aid-draft").invoke("?")
    assert connect(pool, agent_id="aid-draft", agent_version="beta").invoke("?") == []


@pytest.mark.parametrize("shape", ["flat", "nested"])
def test_a_throttled_search_is_repeated(pool: BailianEmulator, shape: Any) -> None:
    pool.knowledge_switches.error_shape = shape
    pool.knowledge_services[0].error = ErrorReply.of("Throttling", times=1)

    assert connect(pool, max_retries=1).invoke("开放")
    assert len(pool.requests) == 2


def test_the_emulator_limits_the_rate(pool: BailianEmulator) -> None:
    pool.knowledge_switches.requests_per_10_seconds = 2
    retriever = connect(pool)
    retriever.invoke("开放")
    retriever.invoke("开放")

    with pytest.raises(errors.BailianRateLimitError):
        retriever.invoke("开放")


def test_filters_of_documents_may_be_limited_to_tags_and_meta(pool: BailianEmulator) -> None:
    retriever = connect(pool, kb_search_configs=[{"id": "pool", "search_filters": [{"doc_id": "f"}]}])
    with pytest.raises(errors.BailianRequestError, match="doc_id is not allowed"):
        retriever.invoke("开放")

    pool.knowledge_switches.filter_keys = "all"
    assert all(d.metadata["pipeline_id"] == "prices" for d in retriever.invoke("开放 泳镜"))


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ([{"价格": {"gte": 50}}], 1),
        ([{"_operator": "OR", "_conditions": [{"名称": "泳镜"}, {"名称": "泳帽"}]}], 2),
        ([{"_operator": "AND", "_conditions": [{"名称": "泳镜"}, {"名称": "泳帽"}]}], 0),
    ],
)
def test_filters_of_tables(pool: BailianEmulator, filters: list[Any], count: int) -> None:
    documents = connect(pool, kb_search_configs=[{"id": "prices", "search_filters": filters}]).invoke(
        "泳镜 泳帽"
    )

    assert sum(document.metadata["pipeline_id"] == "prices" for document in documents) == count


def test_the_settings_of_a_model_are_used(pool: BailianEmulator) -> None:
    model = BailianAppChatModel(app_id="app", base_url=pool.base_url, api_key=pool.api_key)

    assert BailianRetriever(model=model, agent_id="aid-search").invoke("开放")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"agent_id": "a/b"}, "invalid `agent_id`"),
        ({"app_id": "app"}, "a search service does not use the application"),
        ({"pipeline_id": "pool", "agent_id": "aid-search"}, "`agent_id` together with `pipeline_id`"),
        ({"agent_version": 0}, "a positive number or 'beta' for a search service, got 0"),
        ({"agent_version": "1.0"}, "a positive number or 'beta'"),
        ({"images": ["pool.jpg"]}, "invalid `images`"),
        ({"images": []}, "images"),
        ({"rerank_top_n": 3}, "cannot use `rerank_top_n` in a search service: it applies to direct"),
        ({"search_filters": [{"a": 1}]}, "cannot use `search_filters` in a search service"),
        ({"memory_id": "m"}, "cannot use `memory_id` in a search service: it applies to applications"),
        ({"wait_for_answer": True}, "cannot use `wait_for_answer` in a search service"),
        ({"route": "index"}, "`route='index'` without `pipeline_id`"),
        (
            {"pipeline_id": "pool", "route": "index", "enable_rewrite": True},
            "cannot use `enable_rewrite`",
        ),
        (
            {"pipeline_id": "pool", "route": "index", "rerank_min_score": 0.1},
            "cannot use `rerank_min_score`",
        ),
        ({"pipeline_id": "pool", "rerank_model": "qwen3-rerank"}, "cannot use `rerank_model`"),
        (
            {"pipeline_id": "pool", "route": "index", "rerank_instruct": "x"},
            "without `rerank_mode='custom'`",
        ),
        ({"pipeline_id": "pool", "images": ["https://x.test/a"]}, "cannot use `images`"),
    ],
)
def test_invalid_fields_are_rejected_by_name(
    pool: BailianEmulator, fields: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        connect(pool, **fields)
    assert not pool.requests


def test_without_images_a_query_is_required(pool: BailianEmulator) -> None:
    with pytest.raises(ValueError, match="invalid query"):
        connect(pool).invoke(" ")


def test_the_host_of_the_workspace_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASHSCOPE_BASE_URL", raising=False)
    retrievers = [
        BailianRetriever(agent_id="aid-search", api_key="k"),
        BailianRetriever(pipeline_id="pool", route="index", api_key="k"),
    ]
    for retriever in retrievers:
        with pytest.raises(ValueError, match="missing `workspace`"):
            retriever.invoke("?")


# -- the index route ----------------------------------------------------------------------------------


@sync_and_async
async def test_the_index_route_searches_one_knowledge_base(
    pool: BailianEmulator, search: Search
) -> None:
    retriever = connect(
        pool,
        pipeline_id="pool",
        route="index",
        rerank_model="qwen3-rerank-hybrid",
        rerank_mode="custom",
        rerank_instruct="时间",
        sparse_similarity_top_k=10,
        dense_similarity_top_k=5,
    )
    documents = await search(retriever, "开放 票价", k=1)

    assert len(documents) == 1
    assert documents[0].metadata["pipeline_id"] == "pool"
    assert pool.requests[-1].body == {
        "index_id": "pool",
        "query": "开放 票价",
        "dense_similarity_top_k": 5,
        "sparse_similarity_top_k": 10,
        "rerank_top_n": 1,
        "rerank": [
            {"model_name": "qwen3-rerank-hybrid", "rerank_mode": "custom", "rerank_instruct": "时间"}
        ],
    }


def test_without_reranking_k_is_applied_here(pool: BailianEmulator) -> None:
    pool.knowledge_switches.rerank = "ignored"

    assert len(connect(pool, pipeline_id="pool", route="index", k=1).invoke("开放 票价 踢腿")) == 1


def test_refused_reranking_is_an_error(pool: BailianEmulator) -> None:
    pool.knowledge_switches.rerank = "refused"

    with pytest.raises(errors.BailianRequestError, match="unexpected field"):
        connect(pool, pipeline_id="pool", route="index", rerank_mode="qa").invoke("开放")


def test_an_unknown_knowledge_base_is_an_error(pool: BailianEmulator) -> None:
    with pytest.raises(errors.BailianRequestError, match="index not found"):
        connect(pool, pipeline_id="none", route="index").invoke("开放")


class _StandardTests(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _connect(self, pool: BailianEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DASHSCOPE_BASE_URL", pool.base_url)
        monkeypatch.setenv("DASHSCOPE_API_KEY", pool.api_key)

    @property
    def retriever_constructor(self) -> type[BailianRetriever]:
        return BailianRetriever

    @property
    def retriever_query_example(self) -> str:
        return "开放 票价 踢腿 换气 泳镜"


class TestSearchService(_StandardTests):
    """LangChain's tests for all retrievers, over a search service."""

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"agent_id": "aid-search"}


class TestIndexRoute(_StandardTests):
    """LangChain's tests for all retrievers, over the index route."""

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"pipeline_id": "pool", "route": "index"}
