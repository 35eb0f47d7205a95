"""Tests of the retriever against the emulator: requests, documents, and closing of the connection."""

from __future__ import annotations

import asyncio
import copy
import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from langchain_core.load import dumpd, load
from langchain_core.runnables import ConfigurableField
from langchain_tests.integration_tests import RetrieversIntegrationTests
from pydantic import SecretStr

from langchain_bailian_app import BailianRetriever, BizParams, RagOptions
from langchain_bailian_app.emulator import App, ErrorReply, KnowledgeBase
from langchain_bailian_app.emulator._knowledge.knowledge_base import NODE_VARIANTS
from langchain_bailian_app.errors import (
    BailianAuthenticationError,
    BailianNotFoundError,
    BailianPermissionError,
    BailianRateLimitError,
    BailianStreamError,
)
from tests.fixtures import encode_sse, frame_body, read_recording
from tests.raw_server import encode_response, respond_with, run_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever

    from langchain_bailian_app.emulator import BailianEmulator

    MakeRetriever = Callable[..., BailianRetriever]

QUERY = "海关怎么计收滞报金、查验和放行货物？"
PIPELINE = "customs001"
NAME = "海关术语"


@pytest.fixture
def make_retriever(bailian: BailianEmulator) -> MakeRetriever:
    """Return a function that creates retrievers connected to the emulator."""

    def make(**fields: Any) -> BailianRetriever:
        connection = {"base_url": bailian.base_url, "api_key": bailian.api_key}
        return BailianRetriever(**connection | fields)

    return make


async def invoke_and_ainvoke(
    retriever: BailianRetriever, query: str = QUERY, **kwargs: Any
) -> list[Document]:
    """Return the result of `invoke`, and check that `ainvoke` returns the same."""
    documents = await asyncio.to_thread(retriever.invoke, query, **kwargs)
    assert documents == await retriever.ainvoke(query, **kwargs)
    return documents


@pytest.mark.usefixtures("connected_environment")
class _StandardTests(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return BailianRetriever

    @property
    def retriever_query_example(self) -> str:
        return QUERY


class TestThroughAnApplication(_StandardTests):
    """LangChain's standard tests of a retriever, through an application."""


class TestThroughAWholeAnswer(_StandardTests):
    """LangChain's standard tests of a retriever, with `wait_for_answer`."""

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"wait_for_answer": True}


class TestDirectly(_StandardTests):
    """LangChain's standard tests of a retriever, in a direct search by id."""

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"pipeline_id": PIPELINE}


class TestDirectlyByName(_StandardTests):
    """LangChain's standard tests of a retriever, in a direct search by name."""

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"pipeline_name": NAME}


async def test_application_and_direct_search_find_the_same_documents(
    make_retriever: MakeRetriever, bailian: BailianEmulator
) -> None:
    from_app = await invoke_and_ainvoke(make_retriever(app_id=bailian.app_id))
    direct = await invoke_and_ainvoke(make_retriever(pipeline_id=PIPELINE))
    by_name = await invoke_and_ainvoke(make_retriever(pipeline_name=NAME))

    assert [(d.id, d.page_content) for d in from_app] == [(d.id, d.page_content) for d in direct]
    assert direct == by_name
    for app_document, direct_document in zip(from_app, direct, strict=True):
        common_fields = {"score", "source", "title", "doc_id", "doc_name", "pipeline_id", "领域"}
        assert {name: app_document.metadata[name] for name in common_fields} == {
            name: direct_document.metadata[name] for name in common_fields
        }


@pytest.mark.slow
async def test_a_search_closes_the_stream_before_the_answer(
    make_retriever: MakeRetriever, bailian: BailianEmulator
) -> None:
    app_id = bailian.add_app(
        App("long", knowledge_bases=bailian.apps[bailian.app_id].knowledge_bases, pace=0.02)
    )
    retriever = make_retriever(app_id=app_id)
    request_count = len(bailian.requests)

    documents = await invoke_and_ainvoke(retriever)

    assert len(documents) == 5
    for request in bailian.requests[request_count:]:
        assert request.wait()
        assert not request.finished
        assert request.frames_sent < 5

    complete_documents = await make_retriever(app_id=app_id, wait_for_answer=True).ainvoke(QUERY)

    assert bailian.requests[-1].wait()
    assert bailian.requests[-1].finished
    assert {d.id: d.metadata["score"] for d in complete_documents} == {
        d.id: d.metadata["score"] for d in documents
    }
    assert [d.metadata["cited"] for d in complete_documents] == [True, True, False, False, False]


@pytest.mark.parametrize("name", ["retrieval-with-references.json", "retrieval-observed-later.sse"])
async def test_unrequested_steps_are_read(
    make_retriever: MakeRetriever, bailian: BailianEmulator, name: str
) -> None:
    content_type = "application/json" if name.endswith("json") else "text/event-stream"
    app_id = bailian.replay(read_recording(name), content_type=content_type)

    documents = await invoke_and_ainvoke(make_retriever(app_id=app_id, has_thoughts=False))

    assert documents[0].metadata["score"] in {0.5756, 0.7}


async def test_without_steps_the_sources_are_the_documents(
    make_retriever: MakeRetriever, bailian: BailianEmulator
) -> None:
    documents = await invoke_and_ainvoke(make_retriever(app_id=bailian.app_id, has_thoughts=False))

    assert len(documents) == 2
    assert all(d.metadata["cited"] and "score" not in d.metadata for d in documents)
    assert bailian.requests[-1].body["parameters"]["has_thoughts"] is False


async def test_the_request_to_an_application(
    make_retriever: MakeRetriever, bailian: BailianEmulator
) -> None:
    retriever = make_retriever(
        app_id=bailian.app_id,
        rag_options=RagOptions(pipeline_ids=[PIPELINE], tags=["海关"]),
        biz_params={"user_prompt_params": {"city": "杭州"}},
        memory_id="m",
    )

    await invoke_and_ainvoke(retriever, k=1, memory_id="n")

    assert bailian.requests[-1].body == {
        "input": {
            "prompt": QUERY,
            "memory_id": "n",
            "biz_params": {"user_prompt_params": {"city": "杭州"}},
        },
        "parameters": {
            "has_thoughts": True,
            "rag_options": {"pipeline_ids": [PIPELINE], "tags": ["海关"]},
            "incremental_output": True,
        },
    }


async def test_the_request_to_a_knowledge_base(
    make_retriever: MakeRetriever, bailian: BailianEmulator
) -> None:
    await invoke_and_ainvoke(
        make_retriever(pipeline_id=PIPELINE, rerank_min_score=0.01, workspace="ws"), k=2
    )

    request = bailian.requests[-1]
    assert (request.method, request.path) == ("POST", f"/api/v1/indices/pipeline/{PIPELINE}/retrieve")
    assert request.body == {"query": QUERY, "rerank_top_n": 2, "rerank_min_score": 0.01}
    assert request.headers["x-dashscope-workspace"] == "ws"


async def test_the_id_of_a_named_knowledge_base_is_requested_once(
    make_retriever: MakeRetriever, bailian: BailianEmulator
) -> None:
    retriever = make_retriever(pipeline_name=NAME)
    bailian.requests.clear()

    await invoke_and_ainvoke(retriever)
    await retriever.ainvoke(QUERY)

    paths = [request.path.rpartition("/")[2] for request in bailian.requests]
    assert paths == ["pipeline_simple", "retrieve", "retrieve", "retrieve"]


async def test_options_of_a_direct_search_take_effect(make_retriever: MakeRetriever) -> None:
    best, *other_documents = await invoke_and_ainvoke(
        make_retriever(pipeline_id=PIPELINE, rerank_top_n=20)
    )

    assert len(other_documents) > 5
    min_score = best.metadata["score"]
    assert await invoke_and_ainvoke(
        make_retriever(pipeline_id=PIPELINE, rerank_min_score=min_score)
    ) == [best]
    doc_filter = {"doc_name": best.metadata["doc_name"]}
    filtered = await invoke_and_ainvoke(
        make_retriever(pipeline_id=PIPELINE, rerank_top_n=20, search_filters=[doc_filter])
    )
    assert filtered == [
        d for d in (best, *other_documents) if d.metadata["doc_name"] == doc_filter["doc_name"]
    ]
    no_candidates = {"dense_similarity_top_k": 0, "sparse_similarity_top_k": 0}
    assert await invoke_and_ainvoke(make_retriever(pipeline_id=PIPELINE), **no_candidates) == []
    history = [{"role": "user", "content": "什么是滞报金？"}]
    rewritten = await invoke_and_ainvoke(
        make_retriever(pipeline_id=PIPELINE, enable_rewrite=True), "它怎么计收？", query_history=history
    )
    assert "滞报金" in rewritten[0].page_content


async def test_tables_have_rows(make_retriever: MakeRetriever, bailian: BailianEmulator) -> None:
    teas = [{"品种": "龙井", "价格": 380}, {"品种": "寿眉", "价格": 90}]
    table = KnowledgeBase("茶价", rows=teas)
    bailian.add_knowledge_base(table)

    from_app = await invoke_and_ainvoke(
        make_retriever(app_id=bailian.app_id),
        "龙井和寿眉的价格",
        rag_options=RagOptions(pipeline_ids=[table.pipeline_id], structured_filter={"价格": 90}),
    )
    direct = await invoke_and_ainvoke(make_retriever(pipeline_id=table.pipeline_id), "龙井和寿眉的价格")

    assert [d.page_content for d in from_app] == ["品种:寿眉\n价格:90"]
    assert from_app[0].metadata["doc_id"].startswith("table_")
    assert "title" not in from_app[0].metadata
    assert {d.page_content for d in direct} == {"品种:龙井\n价格:380", "品种:寿眉\n价格:90"}


async def test_an_empty_result_is_no_error(
    make_retriever: MakeRetriever, bailian: BailianEmulator
) -> None:
    assert await invoke_and_ainvoke(make_retriever(app_id=bailian.app_id), "zzz qqq") == []
    assert (
        await invoke_and_ainvoke(make_retriever(app_id=bailian.app_id, wait_for_answer=True), "zzz qqq")
        == []
    )
    assert await invoke_and_ainvoke(make_retriever(pipeline_id=PIPELINE), "zzz qqq") == []


@pytest.mark.parametrize("fields", [{"app_id": "nowhere"}, {"pipeline_id": PIPELINE}])
async def test_faults_are_the_same_errors_as_those_of_the_model(
    make_retriever: MakeRetriever, fields: dict[str, Any]
) -> None:
    retriever = make_retriever(api_key="wrong", **fields)

    with pytest.raises(BailianAuthenticationError):
        retriever.invoke(QUERY)
    with pytest.raises(BailianAuthenticationError):
        await retriever.ainvoke(QUERY)


@pytest.mark.parametrize("fields", [{"pipeline_id": "nowhere"}, {"pipeline_name": "没有"}])
async def test_an_unknown_knowledge_base_is_not_found(
    make_retriever: MakeRetriever, fields: dict[str, Any]
) -> None:
    with pytest.raises(BailianNotFoundError):
        make_retriever(**fields).invoke(QUERY)
    with pytest.raises(BailianNotFoundError):
        await make_retriever(**fields).ainvoke(QUERY)


async def test_a_throttled_request_is_retried(
    make_retriever: MakeRetriever, bailian: BailianEmulator
) -> None:
    knowledge_bases = bailian.apps[bailian.app_id].knowledge_bases
    busy = ErrorReply.of("Throttling", headers={"retry-after": "0"}, times=1)
    app_id = bailian.add_app(App("busy", knowledge_bases=knowledge_bases, error=busy))

    assert len(await make_retriever(app_id=app_id).ainvoke(QUERY)) == 5

    bailian.apps[app_id].error = ErrorReply.of("Throttling", headers={"retry-after": "0"})
    with pytest.raises(BailianRateLimitError):
        await make_retriever(app_id=app_id).ainvoke(QUERY)


async def test_a_stream_that_breaks_before_the_documents_is_an_error(
    make_retriever: MakeRetriever, bailian: BailianEmulator
) -> None:
    retriever = make_retriever(app_id=bailian.replay(encode_sse(frame_body("茶")), abort=True))

    with pytest.raises(BailianStreamError) as caught:
        await invoke_and_ainvoke(retriever)

    assert caught.value.partial is not None


async def test_a_stream_that_breaks_after_the_documents_is_no_error(
    make_retriever: MakeRetriever, bailian: BailianEmulator
) -> None:
    first = read_recording("retrieval-with-references.json")
    app_id = bailian.replay(encode_sse(first.decode().replace('"stop"', '"null"')), abort=True)

    assert len(await invoke_and_ainvoke(make_retriever(app_id=app_id))) == 3
    with pytest.raises(BailianStreamError):
        await make_retriever(app_id=app_id, wait_for_answer=True).ainvoke(QUERY)


async def test_concurrent_searches_return_their_own_documents(
    make_retriever: MakeRetriever, bailian: BailianEmulator
) -> None:
    queries = ["什么是滞报金？", "什么是保税？", "什么是查验？", "什么是放行？"] * 10
    retriever = make_retriever(app_id=bailian.app_id, k=1)

    expected = {query: retriever.invoke(query) for query in set(queries)}

    assert await retriever.abatch(queries) == [expected[query] for query in queries]
    assert retriever.batch(queries) == [expected[query] for query in queries]


def test_a_chat_model_passes_on_its_connection(
    make_model: Callable[..., Any], bailian: BailianEmulator
) -> None:
    retriever = BailianRetriever(model=make_model(history="session"), k=1)

    assert len(retriever.invoke(QUERY)) == 1
    assert "session_id" not in bailian.requests[-1].body["input"]


def test_a_rebuilt_retriever_works(make_retriever: MakeRetriever, bailian: BailianEmulator) -> None:
    retriever = make_retriever(app_id=bailian.app_id).configurable_fields(k=ConfigurableField(id="k"))

    assert len(retriever.with_config(configurable={"k": 2}).invoke(QUERY)) == 2
    assert len(copy.deepcopy(make_retriever(app_id=bailian.app_id, k=1)).invoke(QUERY)) == 1


def test_a_pickle_has_no_key_and_uses_that_of_its_process(
    make_retriever: MakeRetriever, bailian: BailianEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickled = pickle.dumps(make_retriever(pipeline_name=NAME, k=1))
    monkeypatch.setenv("DASHSCOPE_API_KEY", bailian.api_key)

    assert bailian.api_key.encode() not in pickled
    assert len(pickle.loads(pickled).invoke(QUERY)) == 1  # noqa: S301  # pickled by this test


def test_a_dump_has_no_secret(make_retriever: MakeRetriever, bailian: BailianEmulator) -> None:
    retriever = make_retriever(
        app_id=bailian.app_id,
        k=2,
        rag_options=RagOptions(tags=["海关"]),
        biz_params=BizParams(user_defined_tokens={"tool": "planted"}),
    )
    dump = dumpd(retriever)

    assert bailian.api_key not in str(dump)
    assert "planted" not in str(dump) + repr(retriever) + repr(retriever.bind(k=1))
    with pytest.warns(UserWarning, match="omitted from the dump"):
        loaded = load(
            dump,
            secrets_map={"DASHSCOPE_API_KEY": bailian.api_key},
            valid_namespaces=["langchain_bailian_app"],
            allowed_objects=[BailianRetriever, RagOptions, BizParams],
        )
    assert isinstance(loaded.api_key, SecretStr)
    assert len(loaded.invoke(QUERY)) == 2


def test_tokens_of_a_call_are_shown_nowhere(
    make_retriever: MakeRetriever, bailian: BailianEmulator
) -> None:
    biz_params = {"user_defined_tokens": {"tool": "planted"}}

    bound = make_retriever(app_id=bailian.app_id).bind(biz_params=biz_params)

    assert "planted" not in repr(bound)
    assert bound.invoke(QUERY)
    assert "user_defined_tokens" in bailian.requests[-1].body["input"]["biz_params"]


async def test_a_recreated_knowledge_base_is_found_again(
    make_retriever: MakeRetriever, bailian: BailianEmulator
) -> None:
    retriever = make_retriever(pipeline_name="新茶")
    old_knowledge_base = KnowledgeBase("新茶", rows=[{"品种": "龙井"}], pipeline_id="old")
    bailian.add_knowledge_base(old_knowledge_base)
    assert await invoke_and_ainvoke(retriever, "龙井")

    bailian.knowledge_bases.remove(old_knowledge_base)
    bailian.add_knowledge_base(KnowledgeBase("新茶", rows=[{"品种": "龙井"}], pipeline_id="new"))
    with pytest.raises(BailianNotFoundError):
        await retriever.ainvoke("龙井")

    (document,) = await invoke_and_ainvoke(retriever, "龙井")
    assert document.metadata["pipeline_id"] == "new"


def test_threads_with_several_names_do_not_mix_them_up(
    make_retriever: MakeRetriever, bailian: BailianEmulator
) -> None:
    retriever = make_retriever(pipeline_name=NAME, k=1)
    names = {NAME: PIPELINE, "青禾手机": "phones0001"}

    def search(name: str) -> bool:
        (document,) = retriever.invoke("手机和海关", pipeline_name=name)
        return document.metadata["pipeline_id"] == names[name]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(search, [*names] * 50))


def test_signed_urls_are_in_no_pickle_and_no_repr(
    make_retriever: MakeRetriever, bailian: BailianEmulator
) -> None:
    url = "https://example.com/a.png?Signature=planted"
    retriever = make_retriever(app_id=bailian.app_id, image_list=[url])
    bound = make_retriever(app_id=bailian.app_id).bind(image_list=url)

    assert b"planted" not in pickle.dumps(retriever)
    assert "planted" not in repr(retriever) + repr(bound)
    assert bound.invoke(QUERY)
    assert bailian.requests[-1].body["input"]["image_list"] == [url]


async def search_in_all_ways(retriever: BailianRetriever, query: str = QUERY) -> list[Document]:
    """Return the result of `invoke`; check that `stream`, `ainvoke` and `astream` return the same."""
    documents = await invoke_and_ainvoke(retriever, query)
    (streamed,) = await asyncio.to_thread(lambda: list(retriever.stream(query)))
    (async_streamed,) = [batch async for batch in retriever.astream(query)]
    assert documents == streamed == async_streamed
    return documents


@pytest.mark.parametrize(
    "variants",
    [
        {*variants}
        for size in range(1, len(NODE_VARIANTS) + 1)
        for variants in itertools.combinations(NODE_VARIANTS, size)
    ],
    ids=lambda variants: "+".join(sorted(variants)),
)
async def test_nodes_of_any_shape_are_the_same_documents(
    make_retriever: MakeRetriever, bailian: BailianEmulator, variants: set[Any]
) -> None:
    customs = bailian.apps[bailian.app_id].knowledge_bases[0]
    expected = await make_retriever(pipeline_id=customs.pipeline_id).ainvoke(QUERY)
    scores = [document.metadata["score"] for document in expected]
    other = KnowledgeBase(
        "同库", customs.documents, pipeline_id=customs.pipeline_id, node_variants=variants
    )
    bailian.add_knowledge_base(other)
    try:
        documents = await search_in_all_ways(make_retriever(pipeline_id=customs.pipeline_id))
        best = await search_in_all_ways(
            make_retriever(pipeline_id=customs.pipeline_id, score_threshold=scores[1])
        )
    finally:
        bailian.knowledge_bases.remove(other)

    for document in (*documents, *best):
        assert (document.metadata.pop("nid", document.id)) == document.id
    assert documents == expected
    assert best == expected[:2]


@pytest.mark.parametrize(
    ("node", "metadata"),
    [
        ({"id": "c1", "metadata": {"nid": "n1", "id": "own"}}, {"nid": "n1", "id": "own"}),
        ({"metadata": {"nid": "c1", "shelf": 3}}, {"shelf": 3}),
        ({"id_": "c1", "id": 7, "nid": "n1"}, {"id": 7, "nid": "n1"}),
    ],
)
async def test_a_document_has_the_id_of_its_node_wherever_that_is(
    node: dict[str, Any], metadata: dict[str, Any]
) -> None:
    nodes = [{"score": 0.5, "text": "茶", **node}]
    body = orjson.dumps({"code": "Success", "request_id": "r", "nodes": nodes})
    response = encode_response(body, b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")

    with run_server(respond_with(response)) as base_url:
        retriever = BailianRetriever(pipeline_id="kb", base_url=base_url, api_key="k")
        (document,) = await search_in_all_ways(retriever)

    assert document.id == "c1"
    assert document.metadata == {"score": 0.5, "pipeline_id": "kb", **metadata}


async def test_a_search_with_a_used_up_free_quota_is_sent_once(
    make_retriever: MakeRetriever, bailian: BailianEmulator
) -> None:
    message = "Free allocated quota exceeded."
    error = ErrorReply.of("Throttling.AllocationQuota", message=message)
    bailian.add_knowledge_base(KnowledgeBase("限额", pipeline_id="quota", error=error))
    before = len(bailian.requests)

    with pytest.raises(BailianPermissionError, match="paid"):
        await make_retriever(pipeline_id="quota").ainvoke(QUERY)
    with pytest.raises(BailianPermissionError, match="paid"):
        make_retriever(pipeline_id="quota").invoke(QUERY)

    assert len(bailian.requests) == before + 2
