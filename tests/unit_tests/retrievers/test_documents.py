"""Tests of the conversion of retrieved passages and references to documents."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_bailian_app._answer.answer import Answer
from langchain_bailian_app._answer.events import StepResult
from langchain_bailian_app._answer.passages import Passage
from langchain_bailian_app.retrievers._documents import (
    RetrievedPassage,
    passages_from_answer,
    passages_from_thoughts,
    to_documents,
)
from tests.unit_tests.retrievers.retrieval_steps import hit, retrieval_step

URL = "https://example.com/green"


@pytest.mark.parametrize(
    ("hits_by_step", "expected"),
    [
        pytest.param(
            [[("甲", 0.4), ("乙", 0.5)]], ["甲1 0.4", "乙2 0.5"], id="one search keeps its order"
        ),
        pytest.param(
            [[("甲", 0.4), ("乙", 0.5)], [("丙", 0.6)]],
            ["丙1 0.6", "乙2 0.5", "甲1 0.4"],
            id="several are sorted",
        ),
        pytest.param(
            [[("甲", 0.4), ("乙", 0.5)], []],
            ["甲1 0.4", "乙2 0.5"],
            id="one without hits does not count",
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
        pytest.param([[("甲", 0.5)], [("甲", None)]], ["甲1 0.5"], id="a score wins over no score"),
        pytest.param([[("甲", None)], [("甲", 0.5)]], ["甲1 0.5"], id="a score, though it came later"),
    ],
)
def test_a_chunk_keeps_its_best_score(
    hits_by_step: list[list[tuple[str, float | None]]], expected: list[str]
) -> None:
    def step(hits: list[tuple[str, float | None]]) -> dict[str, Any]:
        numbered = enumerate(hits, 1)
        return retrieval_step(
            *(hit(text, score=score, referenceIndex=n) for n, (text, score) in numbered)
        )

    passages = [passage for passage, _ in passages_from_thoughts(map(step, hits_by_step))]

    assert [f"{passage.text}{passage.index} {passage.score}" for passage in passages] == expected


@pytest.mark.parametrize(
    ("reference", "cited"),
    [
        pytest.param({"text": "甲", "doc_id": "file", "index_id": "9"}, "甲", id="by text"),
        pytest.param({"text": "乙", "doc_id": "file", "index_id": "1"}, "乙", id="text before number"),
        pytest.param({"text": "丁", "doc_id": "file", "index_id": "2"}, "乙", id="by number"),
        pytest.param({"text": "乙"}, "乙", id="without a document"),
        pytest.param({"text": "甲", "doc_id": "other", "index_id": "1"}, "new", id="another document"),
        pytest.param({"text": "丁", "doc_id": "file", "index_id": "9"}, "new", id="neither"),
        pytest.param({"text": "丁", "doc_id": "file"}, "new", id="without a number"),
    ],
)
def test_a_reference_cites_one_hit_or_is_a_document_of_its_own(
    reference: dict[str, Any], cited: str
) -> None:
    hits = retrieval_step(hit("甲", id="1"), hit("乙", id="2", referenceIndex=2), hit("丙", id="3"))
    answer = Answer(steps=[StepResult("1", hits)], doc_references=[reference])

    passages = passages_from_answer(answer)

    cited_texts = [passage.text for passage, is_cited in passages[:3] if is_cited]
    assert (cited_texts or ["new"]) == [cited]
    assert len(passages) == (4 if cited == "new" else 3)


def test_fields_that_only_the_reference_has_are_added_to_its_hit() -> None:
    reference = {
        "index_id": "1",
        "text": "【章】:一\n【卷】:二\n【正文】:茶",
        "title": "出处",
        "doc_id": "file",
        "doc_url": URL,
    }
    hits = retrieval_step(hit("【卷】:三\n【正文】:", title="题", score=0.5))
    answer = Answer(steps=[StepResult("1", hits)], doc_references=[reference])

    ((passage, cited),) = passages_from_answer(answer)

    assert (passage.text, passage.title, passage.doc_url, passage.score) == ("茶", "题", URL, 0.5)
    assert passage.extra == {"章": "一", "卷": "三"}
    assert cited


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
def test_the_knowledge_base_is_read_from_the_id_of_the_chunk(
    chunk_id: str, pipeline_id: str | None
) -> None:
    (document,) = to_documents([RetrievedPassage(Passage(chunk_id=chunk_id, doc_id="file_1"))])

    assert document.metadata.get("pipeline_id") == pipeline_id


def test_documents_of_a_direct_search_name_the_knowledge_base_that_was_searched() -> None:
    passage = Passage(chunk_id="ws_kb_file_1_0", doc_id="file_1")
    (document,) = to_documents([RetrievedPassage(passage)], pipeline_id="searched")

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
def test_documents_are_filtered_and_limited(options: dict[str, Any], texts: list[str]) -> None:
    passages = [Passage(text="甲", score=0.5), Passage(text="乙", score=0.4), Passage(text="丙")]

    assert texts == [d.page_content for d in to_documents(map(RetrievedPassage, passages), **options)]


def test_unknown_fields_do_not_hide_known_ones() -> None:
    (document,) = to_documents(
        [RetrievedPassage(Passage(title="题", extra={"title": "别的", "rankWeight": 2}))]
    )

    assert document.metadata == {"title": "题", "document_title": "别的", "rankWeight": 2}


def test_unknown_fields_take_the_place_of_known_ones_that_are_missing() -> None:
    passage = Passage(text="茶", extra={"source": "a.pdf", "score": "high", "cited": "twice"})

    (document,) = to_documents([RetrievedPassage(passage)])

    assert document.metadata == {"source": "a.pdf", "score": "high", "cited": "twice"}


def test_clashing_values_of_the_document_are_kept_under_another_name() -> None:
    own = {
        "source": "我的",
        "title": "题",
        "doc_id": None,
        "document_source": "已有",
        "images": ["own"],
    }
    passage = Passage(text="茶", title="题", doc_name="茶书", doc_id="f", extra=own)

    (document,) = to_documents([RetrievedPassage(passage)])

    assert document.metadata == {
        "source": "茶书",
        "document_source": "已有",
        "title": "题",
        "doc_id": "f",
        "doc_name": "茶书",
        "images": ["own"],
    }
