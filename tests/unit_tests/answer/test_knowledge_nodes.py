"""Parsing of the nodes of search services and of the index route."""

from __future__ import annotations

import json
from typing import Any

import pytest

from langchain_bailian_app._answer.knowledge_nodes import (
    passage_from_knowledge_node,
    passages_from_knowledge_nodes,
)

CLIP = {
    "score": 0.71,
    "text": "文档名: 攀岩.mp4\n标题: 8秒-21秒\n正文: 先看脚点",
    "metadata": {
        "doc_id": "f-7",
        "doc_name": "攀岩.mp4",
        "title": "8秒-21秒",
        "content": "先看脚点",
        "pipeline_id": "kb-9",
        "workspace_id": "ws-9",
        "_id": "c-70",
        "page_number": [],
        "image_url": ["https://media.test/7.jpg"],
        "video_url": ["https://media.test/7.mp4"],
        "audio_url": [],
        "clip_start_time": 8000,
        "clip_end_time": 21000,
        "clip_description": "室内岩壁",
        "audio_segments": [
            {"start_time": 8100, "speaker": {"name": "教练"}, "content": "先看脚点"},
            {"start_time": 9000, "speaker": {"name": "学员"}, "content": "好"},
            {"start_time": 9900, "speaker": {"name": "教练"}, "content": "再来"},
        ],
    },
}


def test_a_clip_has_its_media_times_and_speakers() -> None:
    passage = passage_from_knowledge_node(CLIP)

    assert (passage.text, passage.title, passage.chunk_id) == ("先看脚点", "8秒-21秒", "c-70")
    assert (passage.doc_id, passage.doc_name, passage.score) == ("f-7", "攀岩.mp4", 0.71)
    assert passage.images == ["https://media.test/7.jpg"]
    assert passage.extra == {
        "pipeline_id": "kb-9",
        "workspace_id": "ws-9",
        "videos": ["https://media.test/7.mp4"],
        "clip_start_ms": 8000,
        "clip_end_ms": 21000,
        "clip_description": "室内岩壁",
        "audio_segments": CLIP["metadata"]["audio_segments"],  # type: ignore[index]
        "speakers": ["教练", "学员"],
    }


def test_a_clip_without_text_has_its_description() -> None:
    metadata = {**CLIP["metadata"], "content": ""}  # type: ignore[dict-item]

    assert passage_from_knowledge_node({"text": " ", "metadata": metadata}).text == "室内岩壁"


@pytest.mark.parametrize(
    ("node", "text"),
    [
        ({"text": "文档名: a\n标题: b\n正文: 内容", "metadata": {}}, "内容"),
        ({"text": "正文: 不是标题行", "metadata": {}}, "正文: 不是标题行"),
        ({"text": "没有标签", "metadata": None}, "没有标签"),
        ({"text": "外", "metadata": {"content": "内"}}, "内"),
        ({"text": "外", "metadata": json.dumps({"content": "内"})}, "内"),
        ({"text": None, "metadata": {}}, ""),
        ({}, ""),
    ],
)
def test_the_text_is_the_content_without_its_header(node: dict[str, Any], text: str) -> None:
    assert passage_from_knowledge_node(node).text == text


@pytest.mark.parametrize(
    ("node", "score"),
    [
        ({"score": 0.5, "metadata": {"_score": 0.5}}, 0.5),
        ({"metadata": {"_score": 0.4}}, 0.4),
        ({"score": None, "metadata": {"_score": 0.3}}, None),
        ({"score": "0.25"}, 0.25),
        ({"score": "high"}, None),
        ({"score": float("nan")}, None),
    ],
)
def test_the_score_is_a_finite_number(node: dict[str, Any], score: float | None) -> None:
    assert passage_from_knowledge_node(node).score == score


def test_a_source_of_a_chat_has_no_wrapper() -> None:
    passage = passage_from_knowledge_node(
        {"doc_name": "手册", "content": "内容", "nid": "n-1", "_citation_index": 3, "price": 9}
    )

    assert (passage.index, passage.text, passage.chunk_id) == (3, "内容", "n-1")
    assert passage.extra == {"price": 9}


def test_unknown_fields_and_other_ids_are_kept() -> None:
    passage = passage_from_knowledge_node(
        {"text": "a", "rank": 2, "metadata": {"_id": "c", "nid": "n", "_rank_weight": 0.1, "价格": 3}}
    )

    assert passage.extra == {"rank": 2, "nid": "n", "_rank_weight": 0.1, "价格": 3}


@pytest.mark.parametrize("page_number", [[2, 3], 2, "2"])
def test_page_numbers_are_a_list(page_number: Any) -> None:
    passage = passage_from_knowledge_node({"metadata": {"page_number": page_number}})

    assert passage.page_number == (page_number if isinstance(page_number, list) else [page_number])


def test_what_is_no_object_is_skipped() -> None:
    assert [p.text for p in passages_from_knowledge_nodes([None, "x", {"text": "a"}])] == ["a"]
