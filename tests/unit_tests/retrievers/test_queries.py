"""Tests of the retriever's queries: their requests, when they are complete, and their documents."""

from __future__ import annotations

import json
import logging
import warnings
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage

from langchain_bailian_app._answer.frames import Frame
from langchain_bailian_app._answer.passages import Passage
from langchain_bailian_app._request.service_request import ServiceRequest
from langchain_bailian_app.errors import BailianNotFoundError, BailianServerError, BailianStreamError
from langchain_bailian_app.retrievers import _queries
from langchain_bailian_app.retrievers._queries import (
    ApplicationQuery,
    PipelineQuery,
    build_lookup_request,
    build_retrieve_request,
    passages_from_frame,
    pipeline_id_from_frame,
)
from langchain_bailian_app.retrievers._search_fields import SearchFields
from tests.fixtures import encode_sse, frame_body, parse_frames, read_recording
from tests.unit_tests.retrievers.retrieval_steps import hit, retrieval_step


def shared_metadata(name: str, pipeline_id: str = "kb1", **extra: Any) -> dict[str, Any]:
    """Return the metadata that all chunks of a document share."""
    shared = {"source": name, "doc_name": name, "doc_id": f"file_{name}_1", "pipeline_id": pipeline_id}
    return shared | extra


GREEN = shared_metadata("绿茶手册", 文档类型=["手册", "茶书"])


RED = shared_metadata("红茶手册")


WHITE = shared_metadata("白茶手册")


DARK = shared_metadata("黑茶手册")


OOLONG = shared_metadata("乌龙茶", "kb2", 文档类型=["电子书"], 关键字=["乌龙"])


URL = "https://example.com/green"


# Expected result of each recorded retrieval: the number of frames until the search is complete, and
# the documents found by then.
GOLDEN: dict[str, tuple[int, list[Document]]] = {
    "retrieval-with-references.json": (
        1,
        [
            Document(
                "茶园在山上。",
                id="llm-tea_kb1_file_绿茶手册_1_0_1",
                metadata=GREEN
                | {"title": "茶园图", "score": 0.5756, "reference_index": 1}
                | {"images": ["https://example.com/leaf.png?Expires=1&Signature=s"]},
            ),
            Document(
                "清明前采摘的叫明前茶。",
                id="llm-tea_kb1_file_绿茶手册_1_0_2",
                metadata=GREEN | {"title": "采摘", "score": 0.5756, "reference_index": 2},
            ),
            Document(
                "杀青止住发酵。",
                id="llm-tea_kb1_file_绿茶手册_1_0_3",
                metadata=GREEN | {"title": "杀青", "score": 0.5697, "reference_index": 3},
            ),
        ],
    ),
    "retrieval-then-reasoning.json": (
        1,
        [
            Document(
                "萎凋让叶子变软。",
                id="llm-tea_kb1_file_红茶手册_1_0_1",
                metadata=RED | {"title": "萎凋", "score": 0.57, "reference_index": 1},
            ),
            Document(
                "揉捻让茶汁出来。",
                id="llm-tea_kb1_file_红茶手册_1_0_2",
                metadata=RED | {"title": "揉捻", "score": 0.56, "reference_index": 2},
            ),
        ],
    ),
    "retrieval-with-metadata.json": (
        1,
        [
            Document(
                "做青边发酵边碰撞。",
                id="llm-tea_kb2_file_乌龙茶_1_0_1",
                metadata=OOLONG | {"title": "做青", "score": 0.63, "reference_index": 1},
            ),
            Document(
                "半发酵。",
                id="llm-tea_kb2_file_乌龙茶_1_0_2",
                metadata=OOLONG | {"title": "乌龙茶", "score": 0.61, "reference_index": 2},
            ),
        ],
    ),
    "retrieval-of-rows.json": (
        1,
        [
            Document(
                "品种:龙井\n价格:380",
                id="llm-tea_kb3_table_teas_1_0",
                metadata={"source": "茶价", "doc_name": "茶价", "doc_id": "table_teas_1"}
                | {"pipeline_id": "kb3", "score": 0.21857, "reference_index": 1},
            )
        ],
    ),
    "retrieval-observed-later.sse": (
        3,
        [
            Document(
                "白毫银针只用芽头。",
                id="llm-tea_kb1_file_白茶手册_1_0_1",
                metadata=WHITE | {"title": "白毫", "score": 0.7, "reference_index": 1},
            ),
            Document(
                "贡眉用群体种。",
                id="llm-tea_kb1_file_白茶手册_1_0_2",
                metadata=WHITE | {"title": "贡眉", "score": 0.6, "reference_index": 2},
            ),
        ],
    ),
    "retrieval-twice.sse": (
        1,
        [
            Document(
                "渥堆是后发酵。",
                id="llm-tea_kb1_file_黑茶手册_1_0_1",
                metadata=DARK | {"title": "渥堆", "score": 0.5, "reference_index": 1},
            ),
            Document(
                "茯砖有金花。",
                id="llm-tea_kb1_file_黑茶手册_1_0_2",
                metadata=DARK | {"title": "茯砖", "score": 0.4, "reference_index": 2},
            ),
        ],
    ),
    "markers-without-references.sse": (1, []),
    "references-without-retrieval.json": (
        1,
        [
            Document(
                "贡眉用群体种。",
                metadata={"source": "白茶手册", "doc_name": "白茶手册", "doc_id": "file_白茶手册_1"}
                | {"title": "贡眉", "reference_index": 2, "cited": True},
            )
        ],
    ),
}


def search_application(data: bytes, **options: Any) -> tuple[int, list[Document]]:
    """Return the number of frames after which the search is complete, and its documents."""
    query = ApplicationQuery("app", "?", SearchFields(**options))
    frames = parse_frames(data)
    for number, frame in enumerate(frames, 1):
        if query.feed(frame):
            return number, query.documents()
    query.end()
    return len(frames), query.documents()


def search_whole_answer(data: bytes, **options: Any) -> list[Document]:
    """Return the documents of the complete answer."""
    return search_application(data, wait_for_answer=True, **options)[1]


# -- requests ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ({}, {}),
        ({"k": 3}, {"rerank_top_n": 3}),
        ({"k": 20}, {"rerank_top_n": 20}),
        ({"k": 50, "rerank_top_n": 20}, {"rerank_top_n": 20}),
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
def test_a_direct_search_sends_the_query_and_its_options(
    options: dict[str, Any], body: dict[str, Any]
) -> None:
    expected = ServiceRequest(path="indices/pipeline/kb/retrieve", body={"query": "茶"} | body)

    assert expected == build_retrieve_request("kb", "茶", SearchFields(pipeline_id="kb", **options))


def test_an_id_is_looked_up_by_the_name_of_the_pipeline() -> None:
    expected = ServiceRequest(
        "indices/pipeline_simple",
        method="GET",
        params={"pipeline_name": "茶"},
        retry_on="failure",
    )

    assert expected == build_lookup_request("茶")


@pytest.mark.parametrize(
    ("options", "has_thoughts"), [({}, True), ({"has_thoughts": False}, False), ({"k": 1}, True)]
)
def test_an_application_is_asked_for_its_steps(options: dict[str, Any], has_thoughts: bool) -> None:
    query = ApplicationQuery("app", "茶", SearchFields(rag_options={"pipeline_ids": "kb"}, **options))

    assert query.request == ServiceRequest(
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


# -- replies of a knowledge base --------------------------------------------------------------------

NODES = [{"node": {"text": "茶", "id_": "chunk"}, "score": 0.5}]

PASSAGE = Passage(text="茶", chunk_id="chunk", score=0.5)


@pytest.mark.parametrize(("extra", "expected"), [({"id": "kb"}, "kb"), ({"id": 5}, "5")])
def test_an_id_is_read_from_a_reply_that_has_one(extra: dict[str, Any], expected: str) -> None:
    assert pipeline_id_from_frame(Frame(extra=extra), "茶") == expected


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"nodes": NODES}, [PASSAGE]),
        ({"nodes": json.dumps(NODES)}, [PASSAGE]),
        ({"data": {"nodes": NODES}}, [PASSAGE]),
        ({"nodes": NODES, "data": {"nodes": []}}, [PASSAGE]),
        ({"nodes": []}, []),
        ({"nodes": None}, []),
        ({"nodes": "none"}, None),
        ({"nodes": {}}, None),
        ({"data": {"total": 1}}, None),
        ({"data": "none"}, None),
        ({}, None),
    ],
)
def test_an_empty_result_differs_from_a_reply_without_nodes(
    extra: dict[str, Any], expected: list[Passage] | None
) -> None:
    assert passages_from_frame(Frame(extra=extra)) == expected


# -- queries ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDEN)
def test_a_recorded_retrieval_gives_the_expected_documents(name: str) -> None:
    assert search_application(read_recording(name)) == GOLDEN[name]


def test_with_the_whole_answer_documents_show_whether_they_are_cited() -> None:
    first, second, third = search_whole_answer(read_recording("retrieval-with-references.json"))
    _, (_, _, early_document) = GOLDEN["retrieval-with-references.json"]

    assert [d.metadata["cited"] for d in (first, second, third)] == [False, True, True]
    assert third.metadata == early_document.metadata | {
        "cited": True,
        "source": URL,
        "doc_url": URL,
        "page_number": [4, 5],
    }


def test_several_searches_merge_by_chunk_and_the_best_come_first() -> None:
    documents = search_whole_answer(read_recording("retrieval-twice.sse"))

    # The second search also numbers its hits from 1; the reference identifies the cited one.
    assert [(d.page_content, d.metadata["score"], d.metadata["cited"]) for d in documents] == [
        ("六堡茶产于梧州。", 0.9, True),
        ("渥堆是后发酵。", 0.5, False),
        ("茯砖有金花。", 0.45, False),
    ]


def test_markers_cite_hits_where_the_service_names_no_references() -> None:
    assert [
        d.metadata["cited"] for d in search_whole_answer(read_recording("retrieval-of-rows.json"))
    ] == [True]


def test_a_reference_that_no_search_found_is_a_document_too() -> None:
    other = {"index_id": "7", "text": "【正文】:别处", "doc_id": "file_other"}
    data = encode_sse(
        frame_body("茶。", "stop", thoughts=[retrieval_step(hit("茶"))], doc_references=[other])
    )

    assert [(d.page_content, d.metadata["cited"]) for d in search_whole_answer(data)] == [
        ("茶", False),
        ("别处", True),
    ]


def test_an_unreadable_observation_falls_back_to_references_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="could not parse"):
        _, documents = search_application(read_recording("retrieval-broken.json"))

    assert documents == GOLDEN["references-without-retrieval.json"][1]


def test_an_observation_that_comes_in_pieces_is_read_when_complete() -> None:
    full_step = retrieval_step(hit("茶"))
    partial_step = full_step | {"observation": full_step["observation"][:20]}
    data = encode_sse(
        frame_body(thoughts=[partial_step]),
        frame_body(thoughts=[full_step]),
        frame_body("茶。"),
        frame_body("", "stop"),
    )

    frames, documents = search_application(data)

    assert (frames, [d.page_content for d in documents]) == (2, ["茶"])


def test_an_empty_result_is_accepted_when_the_answer_starts() -> None:
    empty_step = retrieval_step()
    data = encode_sse(
        frame_body(thoughts=[empty_step]),
        frame_body(thoughts=[empty_step]),
        frame_body("没有"),
        frame_body("。", "stop"),
    )

    assert search_application(data) == (3, [])


def test_an_empty_result_gives_no_documents_with_the_whole_answer_either() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (
            search_whole_answer(encode_sse(frame_body("没有。", "stop", thoughts=[retrieval_step()])))
            == []
        )


def test_other_steps_do_not_count_as_searches() -> None:
    memory = {"action": "memory", "action_type": "api", "observation": '["喜欢淡茶"]'}
    plugin = {"action": "shop", "action_type": "api", "observation": '[{"content": "货架", "id": 1}]'}
    data = encode_sse(
        frame_body(thoughts=[memory, plugin]),
        frame_body(thoughts=[retrieval_step(hit("茶"))]),
        frame_body("茶"),
    )

    frames, documents = search_application(data)

    assert (frames, [d.page_content for d in documents]) == (2, ["茶"])


def test_a_search_of_an_unknown_kind_is_recognized_by_its_numbered_hits() -> None:
    web = retrieval_step(hit("网页", webSearch=True, webSearchUrl=URL)) | {
        "action": "web",
        "action_type": "w",
    }

    _, (document,) = search_application(encode_sse(frame_body(thoughts=[web])))

    assert document.metadata["source"] == URL
    assert document.metadata["webSearch"] is True


def test_an_application_that_reports_no_search_gets_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _queries._warn_about_missing_retrieval.cache_clear()
    with caplog.at_level(logging.WARNING, logger="langchain_bailian_app"):
        assert search_application(encode_sse(frame_body("你好。", "stop"))) == (1, [])
        search_application(encode_sse(frame_body("你好。", "stop")))

    assert caplog.text.count("展示回答来源") == 1


def test_an_answer_that_is_cut_before_its_documents_is_an_error() -> None:
    with pytest.raises(BailianStreamError):
        search_application(encode_sse(frame_body("茶")))


def test_only_chunks_with_an_id_are_merged() -> None:
    hits = [hit("甲", id=None), hit("乙", id=""), hit("甲", id=None)]

    _, documents = search_application(encode_sse(frame_body(thoughts=[retrieval_step(*hits)])))

    assert [(d.page_content, d.id) for d in documents] == [("甲", None), ("乙", None), ("甲", None)]
    assert "pipeline_id" not in documents[0].metadata


def test_a_direct_search_returns_its_nodes() -> None:
    node = {
        "id_": "ws_kb_file_1_0",
        "text": "【文档名】:茶书\n【正文】:茶",
        "metadata": {"doc_id": "file_1"},
    }
    query = PipelineQuery("kb", "?", SearchFields(pipeline_id="kb"))
    body = {"code": "Success", "nodes": [{"score": 0.5, "node": node}], "total": 1, "status": "SUCCESS"}
    (frame,) = parse_frames(json.dumps(body).encode())

    assert query.feed(frame)
    assert query.documents() == [
        Document(
            "茶",
            id="ws_kb_file_1_0",
            metadata={"source": "茶书", "doc_name": "茶书", "doc_id": "file_1"}
            | {"pipeline_id": "kb", "score": 0.5},
        )
    ]


@pytest.mark.parametrize("body", [{"nodes": None}, {"nodes": []}, {"data": {"nodes": []}}])
def test_a_direct_search_may_find_nothing(body: dict[str, Any]) -> None:
    query = PipelineQuery("kb", "?", SearchFields(pipeline_id="kb"))
    (frame,) = parse_frames(json.dumps(body).encode())

    assert query.feed(frame)
    assert query.documents() == []


def test_a_reply_to_a_direct_search_without_nodes_is_an_error() -> None:
    query = PipelineQuery("kb", "?", SearchFields(pipeline_id="kb"))
    (frame,) = parse_frames(b'{"code": "Success", "request_id": "r"}')

    with pytest.raises(BailianServerError, match="nodes"):
        query.feed(frame)


@pytest.mark.parametrize(
    "body",
    [b'{"code": "Success"}', b'{"code": "Success", "id": null}', b'{"code": "Success", "id": ""}'],
)
def test_a_name_without_an_id_is_not_found(body: bytes) -> None:
    (frame,) = parse_frames(body)

    with pytest.raises(BailianNotFoundError, match="茶"):
        pipeline_id_from_frame(frame, "茶")


def test_a_reference_cites_the_hit_with_its_text_whatever_the_number() -> None:
    first = retrieval_step(hit("甲", id="1", score=0.9))
    second = retrieval_step(hit("乙", id="2", score=0.5)) | {"arguments": '{"query": "再"}'}
    reference = {"index_id": "1", "text": "乙", "doc_id": "file"}
    data = encode_sse(frame_body("茶。", "stop", thoughts=[first, second], doc_references=[reference]))

    assert [(d.page_content, d.metadata["cited"]) for d in search_whole_answer(data)] == [
        ("甲", False),
        ("乙", True),
    ]


def test_a_chunk_that_two_searches_have_numbered_is_one_document() -> None:
    first = retrieval_step(hit("甲", id="1", score=0.9))
    second = retrieval_step(hit("甲", id="1", score=0.5, referenceIndex=2)) | {
        "arguments": '{"query": "再"}'
    }
    reference = {"index_id": "2", "text": "甲", "doc_id": "file"}
    data = encode_sse(frame_body("茶。", "stop", thoughts=[first, second], doc_references=[reference]))

    assert [(d.id, d.metadata["cited"]) for d in search_whole_answer(data)] == [("1", True)]


@pytest.mark.parametrize("hits", ['[{"id": "a", "score": 0.3}]', '["x"]', "{}", '"x"', "[1"])
def test_unreadable_hits_are_not_an_empty_result(hits: str) -> None:
    step = {"action": "rag", "observation": hits}
    reference = {"index_id": "1", "text": "出处"}

    with pytest.warns(UserWarning, match="could not parse"):
        _, documents = search_application(
            encode_sse(frame_body("茶", "stop", thoughts=[step], doc_references=[reference]))
        )

    assert [d.page_content for d in documents] == ["出处"]


def test_unexpected_types_in_hits_become_text() -> None:
    malformed = hit("茶", id=None, dataId=["x"], dataName=["y"], webSearchUrl=8, score="nan", title=5)

    _, (document,) = search_application(encode_sse(frame_body(thoughts=[retrieval_step(malformed)])))

    assert document.metadata == {
        "source": "8",
        "title": "5",
        "doc_id": "['x']",
        "doc_name": "['y']",
        "doc_url": "8",
        "reference_index": 1,
    }


@pytest.mark.parametrize("invalid_id", ["../../x", "a?b=1", ["a"]])
def test_an_id_that_is_no_valid_path_segment_is_an_error(invalid_id: Any) -> None:
    (frame,) = parse_frames(json.dumps({"code": "Success", "id": invalid_id}).encode())

    with pytest.raises(BailianServerError, match="an invalid id for '茶'"):
        pipeline_id_from_frame(frame, "茶")


@pytest.mark.parametrize("nodes", [{"a": 1}, 5, "x"])
def test_nodes_that_are_no_list_are_an_error(nodes: Any) -> None:
    query = PipelineQuery("kb", "?", SearchFields(pipeline_id="kb"))
    (frame,) = parse_frames(json.dumps({"nodes": nodes}).encode())

    with pytest.raises(BailianServerError, match="nodes"):
        query.feed(frame)
