"""What a search makes of replies: documents, and when enough has come."""

from __future__ import annotations

import json
import logging
import warnings
from typing import Any

import pytest
from langchain_core.documents import Document

from langchain_bailian_app._answer.assembler import Answer
from langchain_bailian_app._answer.events import StepResult
from langchain_bailian_app._answer.passages import Passage
from langchain_bailian_app.errors import BailianNotFoundError, BailianServerError, BailianStreamError
from langchain_bailian_app.retrievers import _queries
from langchain_bailian_app.retrievers._documents import Found, documents, found_in_all, found_so_far
from langchain_bailian_app.retrievers._fields import SearchFields
from langchain_bailian_app.retrievers._queries import AppSearch, Lookup, PipelineSearch
from tests.fixtures import frames_of, recording, reply, sse


def book(name: str, pipeline_id: str = "kb1", **more: Any) -> dict[str, Any]:
    """Return what all chunks of a document share."""
    shared = {"source": name, "doc_name": name, "doc_id": f"file_{name}_1", "pipeline_id": pipeline_id}
    return shared | more


GREEN = book("绿茶手册", 文档类型=["手册", "茶书"])
RED = book("红茶手册")
WHITE = book("白茶手册")
DARK = book("黑茶手册")
OOLONG = book("乌龙茶", "kb2", 文档类型=["电子书"], 关键字=["乌龙"])
URL = "https://example.com/green"

# What each recorded retrieval comes to: when the search hangs up, and after how many frames that is.
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


def search(data: bytes, **options: Any) -> tuple[int, list[Document]]:
    """Return after how many frames an application's search is over, and what it found."""
    errand = AppSearch("app", "?", SearchFields(**options))
    frames = frames_of(data)
    for number, frame in enumerate(frames, 1):
        if errand.read(frame):
            return number, errand.documents()
    errand.end()
    return len(frames), errand.documents()


def found(data: bytes, **options: Any) -> list[Document]:
    """Return what the whole answer tells."""
    return search(data, wait_for_answer=True, **options)[1]


def retrieval(*hits: dict[str, Any], **more: Any) -> dict[str, Any]:
    observation = json.dumps(hits, ensure_ascii=False)
    return {"action_type": "agentRag", "action": "rag", "observation": observation} | more


def hit(text: str, **more: Any) -> dict[str, Any]:
    return {"content": text, "referenceIndex": 1, "id": f"ws_kb_file_{text}", "dataId": "file"} | more


@pytest.mark.parametrize("name", GOLDEN)
def test_documents_of_a_recorded_retrieval(name: str) -> None:
    assert search(recording(name)) == GOLDEN[name]


def test_with_the_whole_answer_documents_know_whether_it_cites_them() -> None:
    first, second, third = found(recording("retrieval-with-references.json"))
    _, (_, _, early) = GOLDEN["retrieval-with-references.json"]

    assert [d.metadata["cited"] for d in (first, second, third)] == [False, True, True]
    assert third.metadata == early.metadata | {
        "cited": True,
        "source": URL,
        "doc_url": URL,
        "page_number": [4, 5],
    }


def test_several_searches_merge_by_chunk_and_the_best_come_first() -> None:
    documents = found(recording("retrieval-twice.sse"))

    # The second search has numbered its hits from 1 again: the reference tells which one is cited.
    assert [(d.page_content, d.metadata["score"], d.metadata["cited"]) for d in documents] == [
        ("六堡茶产于梧州。", 0.9, True),
        ("渥堆是后发酵。", 0.5, False),
        ("茯砖有金花。", 0.45, False),
    ]


@pytest.mark.parametrize(
    ("searches", "expected"),
    [
        pytest.param(
            [[("甲", 0.4), ("乙", 0.5)]], ["甲1 0.4", "乙2 0.5"], id="one search keeps its order"
        ),
        pytest.param(
            [[("甲", 0.4), ("乙", 0.5)], [("丙", 0.6)]],
            ["丙1 0.6", "乙2 0.5", "甲1 0.4"],
            id="several are put in order",
        ),
        pytest.param(
            [[("甲", 0.4), ("乙", 0.5)], []], ["甲1 0.4", "乙2 0.5"], id="one without hits is none"
        ),
        pytest.param(
            [[("甲", None), ("乙", 0.5)], [("丙", 0.6)]],
            ["丙1 0.6", "乙2 0.5", "甲1 None"],
            id="without a score comes last",
        ),
        pytest.param(
            [[("甲", 0.9)], [("乙", 0.6), ("甲", 0.5)]], ["甲1 0.9", "乙1 0.6"], id="the better score"
        ),
        pytest.param(
            [[("甲", 0.5)], [("乙", 0.6), ("甲", 0.9)]],
            ["甲2 0.9", "乙1 0.6"],
            id="the better score later",
        ),
        pytest.param(
            [[("甲", 0.5)], [("乙", 0.6), ("甲", 0.5)]], ["乙1 0.6", "甲1 0.5"], id="the first"
        ),
        pytest.param([[("甲", 0.5)], [("甲", None)]], ["甲1 0.5"], id="a score rather than none"),
        pytest.param([[("甲", None)], [("甲", 0.5)]], ["甲1 0.5"], id="a score, though it came later"),
    ],
)
def test_a_chunk_stays_with_its_best_score(
    searches: list[list[tuple[str, float | None]]], expected: list[str]
) -> None:
    def step(hits: list[tuple[str, float | None]]) -> dict[str, Any]:
        numbered = enumerate(hits, 1)
        return retrieval(*(hit(text, score=score, referenceIndex=n) for n, (text, score) in numbered))

    passages = [passage for passage, _ in found_so_far(map(step, searches))]

    assert [f"{passage.text}{passage.index} {passage.score}" for passage in passages] == expected


@pytest.mark.parametrize(
    ("reference", "cited"),
    [
        pytest.param({"text": "甲", "doc_id": "file", "index_id": "9"}, "甲", id="by text"),
        pytest.param({"text": "乙", "doc_id": "file", "index_id": "1"}, "乙", id="text before number"),
        pytest.param({"text": "丁", "doc_id": "file", "index_id": "2"}, "乙", id="by number"),
        pytest.param({"text": "乙"}, "乙", id="of no document"),
        pytest.param({"text": "甲", "doc_id": "other", "index_id": "1"}, "new", id="another document"),
        pytest.param({"text": "丁", "doc_id": "file", "index_id": "9"}, "new", id="neither"),
        pytest.param({"text": "丁", "doc_id": "file"}, "new", id="without a number"),
    ],
)
def test_a_reference_cites_one_hit_or_is_a_document_of_its_own(
    reference: dict[str, Any], cited: str
) -> None:
    hits = retrieval(hit("甲", id="1"), hit("乙", id="2", referenceIndex=2), hit("丙", id="3"))
    answer = Answer(steps=[StepResult("1", hits)], doc_references=[reference])

    found = found_in_all(answer)

    cites = [passage.text for passage, is_cited in found[:3] if is_cited]
    assert (cites or ["new"]) == [cited]
    assert len(found) == (4 if cited == "new" else 3)


def test_what_only_the_reference_says_of_a_hit_is_added_to_it() -> None:
    reference = {
        "index_id": "1",
        "text": "【章】:一\n【卷】:二\n【正文】:茶",
        "title": "出处",
        "doc_id": "file",
        "doc_url": URL,
    }
    hits = retrieval(hit("【卷】:三\n【正文】:", title="题", score=0.5))
    answer = Answer(steps=[StepResult("1", hits)], doc_references=[reference])

    ((passage, cited),) = found_in_all(answer)

    assert (passage.text, passage.title, passage.doc_url, passage.score) == ("茶", "题", URL, 0.5)
    assert passage.extra == {"章": "一", "卷": "三"}
    assert cited


def test_markers_cite_where_the_service_names_no_references() -> None:
    assert [d.metadata["cited"] for d in found(recording("retrieval-of-rows.json"))] == [True]


def test_a_reference_that_no_search_found_is_a_document_too() -> None:
    other = {"index_id": "7", "text": "【正文】:别处", "doc_id": "file_other"}
    data = sse(reply("茶。", "stop", thoughts=[retrieval(hit("茶"))], doc_references=[other]))

    assert [(d.page_content, d.metadata["cited"]) for d in found(data)] == [
        ("茶", False),
        ("别处", True),
    ]


def test_an_unreadable_observation_falls_back_to_references_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="cannot be read"):
        _, documents = search(recording("retrieval-broken.json"))

    assert documents == GOLDEN["references-without-retrieval.json"][1]


def test_an_observation_that_comes_in_pieces_is_waited_for() -> None:
    whole = retrieval(hit("茶"))
    half = whole | {"observation": whole["observation"][:20]}
    data = sse(reply(thoughts=[half]), reply(thoughts=[whole]), reply("茶。"), reply("", "stop"))

    frames, documents = search(data)

    assert (frames, [d.page_content for d in documents]) == (2, ["茶"])


def test_no_hits_are_believed_when_the_answer_begins() -> None:
    nothing = retrieval()
    data = sse(reply(thoughts=[nothing]), reply(thoughts=[nothing]), reply("没有"), reply("。", "stop"))

    assert search(data) == (3, [])


def test_no_hits_are_no_documents_with_the_whole_answer_either() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found(sse(reply("没有。", "stop", thoughts=[retrieval()]))) == []


def test_other_steps_are_no_searches() -> None:
    memory = {"action": "memory", "action_type": "api", "observation": '["喜欢淡茶"]'}
    plugin = {"action": "shop", "action_type": "api", "observation": '[{"content": "货架", "id": 1}]'}
    data = sse(reply(thoughts=[memory, plugin]), reply(thoughts=[retrieval(hit("茶"))]), reply("茶"))

    frames, documents = search(data)

    assert (frames, [d.page_content for d in documents]) == (2, ["茶"])


def test_a_search_of_an_unknown_kind_shows_in_its_numbered_hits() -> None:
    web = retrieval(hit("网页", webSearch=True, webSearchUrl=URL)) | {
        "action": "web",
        "action_type": "w",
    }

    _, (document,) = search(sse(reply(thoughts=[web])))

    assert document.metadata["source"] == URL
    assert document.metadata["webSearch"] is True


def test_an_application_that_tells_of_no_search_is_diagnosed_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _queries._hint_at_retrieval.cache_clear()
    with caplog.at_level(logging.WARNING, logger="langchain_bailian_app"):
        assert search(sse(reply("你好。", "stop"))) == (1, [])
        search(sse(reply("你好。", "stop")))

    assert caplog.text.count("展示回答来源") == 1


def test_an_answer_that_is_cut_before_its_documents_is_an_error() -> None:
    with pytest.raises(BailianStreamError):
        search(sse(reply("茶")))


def test_without_ids_chunks_are_told_apart_by_their_text() -> None:
    hits = [hit("甲", id=None), hit("乙", id=""), hit("甲", id=None)]

    _, documents = search(sse(reply(thoughts=[retrieval(*hits)])))

    assert [(d.page_content, d.id) for d in documents] == [("甲", None), ("乙", None)]
    assert "pipeline_id" not in documents[0].metadata


@pytest.mark.parametrize(
    ("chunk_id", "pipeline_id"),
    [
        ("llm-ws_kb_file_1_0", "kb"),
        ("llm-a_b_kb_file_1_3_7", "kb"),
        ("file_1_0", None),
        ("_file_1_0", None),
        ("other", None),
    ],
)
def test_the_knowledge_base_stands_in_the_id_of_the_chunk(
    chunk_id: str, pipeline_id: str | None
) -> None:
    (document,) = documents([Found(Passage(chunk_id=chunk_id, doc_id="file_1"))])

    assert document.metadata.get("pipeline_id") == pipeline_id


def test_documents_of_a_direct_search_are_of_the_knowledge_base_that_was_searched() -> None:
    passage = Passage(chunk_id="ws_kb_file_1_0", doc_id="file_1")
    (document,) = documents([Found(passage)], pipeline_id="searched")

    assert document.metadata["pipeline_id"] == "searched"


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({}, ["甲", "乙", "丙"]),
        ({"k": 2}, ["甲", "乙"]),
        ({"k": 9}, ["甲", "乙", "丙"]),
        ({"score_threshold": 0.5}, ["甲", "丙"]),
        ({"score_threshold": 0.9}, ["丙"]),
        ({"score_threshold": 0.5, "k": 1}, ["甲"]),
    ],
)
def test_documents_are_narrowed(options: dict[str, Any], texts: list[str]) -> None:
    passages = [Passage(text="甲", score=0.5), Passage(text="乙", score=0.4), Passage(text="丙")]

    assert texts == [d.page_content for d in documents(map(Found, passages), **options)]


def test_what_is_unknown_to_us_does_not_hide_what_is_known() -> None:
    (document,) = documents([Found(Passage(title="题", extra={"title": "别的", "rankWeight": 2}))])

    assert document.metadata == {"title": "题", "rankWeight": 2}


def test_a_direct_search_returns_its_nodes() -> None:
    node = {
        "id_": "ws_kb_file_1_0",
        "text": "【文档名】:茶书\n【正文】:茶",
        "metadata": {"doc_id": "file_1"},
    }
    errand = PipelineSearch("kb", "?", SearchFields(pipeline_id="kb"))
    body = {"code": "Success", "nodes": [{"score": 0.5, "node": node}], "total": 1, "status": "SUCCESS"}
    (frame,) = frames_of(json.dumps(body).encode())

    assert errand.read(frame)
    assert errand.documents() == [
        Document(
            "茶",
            id="ws_kb_file_1_0",
            metadata={"source": "茶书", "doc_name": "茶书", "doc_id": "file_1"}
            | {"pipeline_id": "kb", "score": 0.5},
        )
    ]


@pytest.mark.parametrize("body", [{"nodes": None}, {"nodes": []}, {"data": {"nodes": []}}])
def test_a_direct_search_may_find_nothing(body: dict[str, Any]) -> None:
    errand = PipelineSearch("kb", "?", SearchFields(pipeline_id="kb"))
    (frame,) = frames_of(json.dumps(body).encode())

    assert errand.read(frame)
    assert errand.documents() == []


def test_a_reply_to_a_direct_search_that_does_not_say_what_was_found_is_an_error() -> None:
    errand = PipelineSearch("kb", "?", SearchFields(pipeline_id="kb"))
    (frame,) = frames_of(b'{"code": "Success", "request_id": "r"}')

    with pytest.raises(BailianServerError, match="nodes"):
        errand.read(frame)


@pytest.mark.parametrize("body", [b'{"code": "Success"}', b'{"code": "Success", "id": null}'])
def test_a_name_without_an_id_is_not_found(body: bytes) -> None:
    (frame,) = frames_of(body)

    with pytest.raises(BailianNotFoundError, match="茶"):
        Lookup("茶").read(frame)


def test_a_reference_cites_the_hit_with_its_text_whatever_the_number() -> None:
    first = retrieval(hit("甲", id="1", score=0.9))
    second = retrieval(hit("乙", id="2", score=0.5)) | {"arguments": '{"query": "再"}'}
    reference = {"index_id": "1", "text": "乙", "doc_id": "file"}
    data = sse(reply("茶。", "stop", thoughts=[first, second], doc_references=[reference]))

    assert [(d.page_content, d.metadata["cited"]) for d in found(data)] == [("甲", False), ("乙", True)]


def test_a_chunk_that_two_searches_have_numbered_is_one_document() -> None:
    first = retrieval(hit("甲", id="1", score=0.9))
    second = retrieval(hit("甲", id="1", score=0.5, referenceIndex=2)) | {
        "arguments": '{"query": "再"}'
    }
    reference = {"index_id": "2", "text": "甲", "doc_id": "file"}
    data = sse(reply("茶。", "stop", thoughts=[first, second], doc_references=[reference]))

    assert [(d.id, d.metadata["cited"]) for d in found(data)] == [("1", True)]


@pytest.mark.parametrize("hits", ['[{"id": "a", "score": 0.3}]', '["x"]', "{}", '"x"', "[1"])
def test_hits_that_cannot_be_read_are_no_empty_result(hits: str) -> None:
    step = {"action": "rag", "observation": hits}
    reference = {"index_id": "1", "text": "出处"}

    with pytest.warns(UserWarning, match="cannot be read"):
        _, documents = search(sse(reply("茶", "stop", thoughts=[step], doc_references=[reference])))

    assert [d.page_content for d in documents] == ["出处"]


def test_odd_types_in_hits_become_text() -> None:
    odd = hit("茶", id=None, dataId=["x"], dataName=["y"], webSearchUrl=8, score="nan", title=5)

    _, (document,) = search(sse(reply(thoughts=[retrieval(odd)])))

    assert document.metadata == {
        "source": "8",
        "title": "5",
        "doc_id": "['x']",
        "doc_name": "['y']",
        "doc_url": "8",
        "reference_index": 1,
    }


@pytest.mark.parametrize("found_id", ["../../x", "a?b=1", ["a"]])
def test_an_id_that_could_lead_elsewhere_gets_into_no_url(found_id: Any) -> None:
    (frame,) = frames_of(json.dumps({"code": "Success", "id": found_id}).encode())

    with pytest.raises(BailianServerError, match="an id for '茶' that is none"):
        Lookup("茶").read(frame)


@pytest.mark.parametrize("nodes", [{"a": 1}, 5, "x"])
def test_nodes_that_are_no_list_are_an_error(nodes: Any) -> None:
    errand = PipelineSearch("kb", "?", SearchFields(pipeline_id="kb"))
    (frame,) = frames_of(json.dumps({"nodes": nodes}).encode())

    with pytest.raises(BailianServerError, match="nodes"):
        errand.read(frame)
