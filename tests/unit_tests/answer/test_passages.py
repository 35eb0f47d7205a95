"""Tests for the conversion of references, hits and nodes to passages."""

import json
from typing import Any

import pytest

from langchain_bailian_app._answer.passages import (
    Passage,
    passage_from_reference,
    passages_by_marker,
    passages_from_nodes,
    passages_from_observation,
)

TEXT = '【文档名】:茶书\n【标题】:第一章\n文档类型:["书"]\n【正文】:茶是\n一片叶子。\n'


def hit(index: Any = 1, content: str = TEXT, **fields: Any) -> dict[str, Any]:
    return {"content": content, "referenceIndex": index, **fields}


def observation(*hits: Any) -> str:
    return json.dumps(hits, ensure_ascii=False)


def test_a_reference_is_a_passage() -> None:
    reference = {
        "images": ["https://example.com/1.png"],
        "doc_name": "茶书",
        "text": TEXT,
        "index_id": "1",
        "title": "第一章",
        "doc_id": "file_1",
        "doc_url": "https://example.com/tea",
        "page_number": [0],
    }
    expected = Passage(
        index=1,
        text="茶是\n一片叶子。",
        title="第一章",
        doc_name="茶书",
        doc_id="file_1",
        doc_url="https://example.com/tea",
        images=["https://example.com/1.png"],
        page_number=[0],
        extra={"文档类型": ["书"]},
    )

    assert expected == passage_from_reference(reference)


def test_a_hit_is_a_passage_with_a_score() -> None:
    expected = Passage(
        index=2,
        text="茶是\n一片叶子。",
        title="第一章",
        doc_name="茶书",
        doc_id="file_1",
        chunk_id="ws_kb_file_1_0",
        score=0.5,
        extra={"文档类型": ["书"]},
    )
    raw_hit = hit(
        2, dataId="file_1", dataName="茶书", id="ws_kb_file_1_0", images=[], score=0.5, title="第一章"
    )

    assert [expected] == passages_from_observation(observation(raw_hit))


def test_the_row_of_a_table_has_neither_images_nor_title() -> None:
    raw_hit = hit(1, "name:龙井", dataId="table_1", score=1)

    expected = Passage(index=1, text="name:龙井", doc_id="table_1", score=1.0)
    assert [expected] == passages_from_observation(observation(raw_hit))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(TEXT, ("茶书", "第一章", "茶是\n一片叶子。"), id="header"),
        pytest.param("【文档名】：茶书\n【正文】：茶", ("茶书", None, "茶"), id="wide colons"),
        pytest.param("\n 【文档名】:茶书\n【正文】:茶", ("茶书", None, "茶"), id="space in front"),
        pytest.param("【正文】茶", (None, None, "茶"), id="no colon"),
        pytest.param(" 茶 ", (None, None, "茶"), id="no header"),
        pytest.param(
            "【正文】:茶【标题】:不是", (None, None, "茶【标题】:不是"), id="a title in the body"
        ),
        pytest.param(
            "【正文】:茶【正文】:茶", (None, None, "茶【正文】:茶"), id="a header in the body"
        ),
        pytest.param("【正文】:", (None, None, ""), id="empty body"),
        pytest.param("", (None, None, ""), id="empty"),
        pytest.param(None, (None, None, ""), id="null"),
        pytest.param(7, (None, None, "7"), id="a number"),
        pytest.param("引言\n【正文】:茶", (None, None, "引言\n【正文】:茶"), id="quoted in a text"),
    ],
)
def test_the_header_of_a_chunk_becomes_fields(text: Any, expected: tuple[Any, ...]) -> None:
    passage = passage_from_reference({"text": text})

    assert expected == (passage.doc_name, passage.title, passage.text)


def test_fields_take_precedence_over_the_header() -> None:
    fields = {"title": "题", "doc_name": "名"}
    (from_node,) = passages_from_nodes([{"text": TEXT, "metadata": fields}])
    (from_hit,) = passages_from_observation([hit(title="题", dataName="名")])

    for passage in (passage_from_reference({"text": TEXT} | fields), from_node, from_hit):
        assert (passage.title, passage.doc_name) == ("题", "名")


def test_without_fields_the_header_names_title_and_document() -> None:
    (from_node,) = passages_from_nodes([{"text": TEXT}])
    (from_hit,) = passages_from_observation([hit()])

    for passage in (passage_from_reference({"text": TEXT}), from_node, from_hit):
        assert (passage.title, passage.doc_name) == ("第一章", "茶书")
        assert passage.extra == {"文档类型": ["书"]}


def test_the_location_of_a_passage_is_read_from_every_source() -> None:
    location = {"images": "https://example.com/1.png", "page_number": [3, 4]}
    node = {"text": "茶", "metadata": location | {"doc_url": "https://example.com/tea"}}
    passages = [
        passage_from_reference({"doc_url": "https://example.com/tea"} | location),
        *passages_from_observation([hit(webSearchUrl="https://example.com/tea", **location)]),
        *passages_from_nodes([node]),
    ]

    for passage in passages:
        assert passage.doc_url == "https://example.com/tea"
        assert passage.images == ["https://example.com/1.png"]
        assert passage.page_number == [3, 4]


@pytest.mark.parametrize(
    ("index", "expected"),
    [("4", 4), ("[4]", 4), (4, 4), ("12", 12), (None, None), ("", None), ("x", None), ([4], None)],
)
def test_numbers_come_in_several_spellings(index: Any, expected: int | None) -> None:
    assert expected == passage_from_reference({"index_id": index}).index
    assert expected == passages_from_observation(observation(hit(index)))[0].index


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "[]",
        "{}",
        '[{"content": "broken"',
        '["[2025-1-2] 客人喝淡茶。"]',
        '{"temperature": 21}',
        "[1, null]",
        [],
        7,
    ],
)
def test_anything_but_a_list_of_hits_has_no_passages(value: Any) -> None:
    assert passages_from_observation(value) == []


def test_an_observation_that_is_not_a_string_is_read_too() -> None:
    assert [Passage(index=1, text="茶")] == passages_from_observation([hit(1, "茶")])


@pytest.mark.parametrize(
    ("value", "images", "score"),
    [(None, [], None), ("x", ["x"], None), ("0.5", ["0.5"], 0.5), ("", [], None), ([], [], None)],
)
def test_malformed_values_are_tolerated(value: Any, images: list[str], score: float | None) -> None:
    raw_hit = hit(1, "茶", images=value, score=value)

    expected = Passage(index=1, text="茶", images=images, score=score)
    assert [expected] == passages_from_observation(observation(raw_hit))


def test_a_header_may_have_any_lines() -> None:
    header = '【文档名】:茶书\n【标题】:第一章\n绿茶\n关键字:["茶", "水"]\n时间: 2025：三月'
    text = f"{header}\n【正文】:茶"
    (passage,) = passages_from_observation(observation(hit(1, text, webSearch=True, rankWeight=2)))

    assert passage.title == "第一章\n绿茶"
    assert passage.extra == {
        "关键字": ["茶", "水"],
        "时间": "2025：三月",
        "webSearch": True,
        "rankWeight": 2,
    }


def test_a_line_of_a_header_that_has_no_name_is_kept() -> None:
    assert passage_from_reference({"text": "【附注\n【正文】:茶"}).extra == {"": "【附注"}


def test_a_node_is_a_passage() -> None:
    metadata = {
        "parent": "",
        "image_url": ["https://example.com/1.png"],
        "title": "第一章",
        "doc_id": "file_1",
        "doc_name": "茶书",
        "hier_title": "茶书/第一章",
    }
    node = {"score": 0.5, "node": {"id_": "ws_kb_file_1_0", "text": TEXT, "metadata": metadata}}
    expected = Passage(
        text="茶是\n一片叶子。",
        title="第一章",
        doc_name="茶书",
        doc_id="file_1",
        chunk_id="ws_kb_file_1_0",
        score=0.5,
        images=["https://example.com/1.png"],
        extra={"文档类型": ["书"], "parent": "", "hier_title": "茶书/第一章"},
    )

    assert [expected] == passages_from_nodes([node])


@pytest.mark.parametrize(
    "node",
    [
        {"score": 1, "text": "茶", "metadata": {"_id": 7}},
        {"score": "1.0", "metadata": {"_id": "7", "content": "茶"}},
        {"score": 1, "node": {"id_": "7", "text": "茶", "metadata": None}},
        {"score": 1, "id": 7, "text": "茶"},
        {"score": 1, "text": "茶", "metadata": {"nid": "7"}},
        {"score": 1, "text": "茶", "nid": 7, "metadata": {"nid": 7}},
        {"score": 1, "node": '{"id": "7", "text": "茶", "metadata": {"nid": "7", "_id": "7"}}'},
    ],
)
def test_a_node_may_have_another_shape(node: dict[str, Any]) -> None:
    assert [Passage(text="茶", chunk_id="7", score=1.0)] == passages_from_nodes([node])


def test_a_node_may_be_text() -> None:
    nodes = ['{"score": 1, "id_": "7", "text": "茶"}', "水", None, "", " ", 5]

    assert passages_from_nodes(nodes) == [
        Passage(text="茶", chunk_id="7", score=1.0),
        Passage(text="水"),
    ]


TEA_PASSAGE = Passage(
    text="叶子。", title="采摘", doc_name="春茶", doc_id="file_9", chunk_id="c1", score=0.25
)


@pytest.mark.parametrize(
    "node",
    [
        pytest.param(
            {
                "score": 0.25,
                "node": {
                    "id_": "c1",
                    "content": "叶子。",
                    "metadata": {"title": "采摘", "doc_name": "春茶", "doc_id": "file_9"},
                },
            },
            id="the text is called content",
        ),
        pytest.param(
            {
                "score": 0.25,
                "node": {
                    "id_": "c1",
                    "text": "叶子。",
                    "metadata": '{"title": "采摘", "doc_name": "春茶", "doc_id": "file_9"}',
                },
            },
            id="the metadata is JSON text",
        ),
        pytest.param(
            {
                "score": 0.25,
                "id_": "c1",
                "content": "叶子。",
                "title": "采摘",
                "doc_name": "春茶",
                "metadata": '{"doc_id": "file_9"}',
            },
            id="title and name are beside the text",
        ),
        pytest.param(
            {
                "score": 0.25,
                "metadata": {"title": "采摘", "doc_id": "file_9", "_id": "c1"},
                "node": {"content": "叶子。", "name": "春茶"},
            },
            id="the metadata is beside the node",
        ),
        pytest.param(
            {
                "node": {
                    "id_": "c1",
                    "text": "叶子。",
                    "title": "采摘",
                    "documentName": "春茶",
                    "metadata": {"_score": "0.25", "doc_id": "file_9"},
                }
            },
            id="the score is in the metadata",
        ),
        pytest.param(
            {
                "score": None,
                "text": "",
                "_score": 0.25,
                "node": '{"id_": "c1", "content": "叶子。"}',
                "metadata": '{"title": "采摘", "doc_name": "春茶", "doc_id": "file_9"}',
            },
            id="the node is JSON text",
        ),
    ],
)
def test_the_parts_of_a_node_may_be_in_several_places(node: dict[str, Any]) -> None:
    (passage,) = passages_from_nodes([node])

    assert passage == TEA_PASSAGE


@pytest.mark.parametrize(
    ("node", "chunk_id", "extra"),
    [
        ({"id": "c1", "metadata": {"nid": "n1", "id": "own"}}, "c1", {"nid": "n1", "id": "own"}),
        ({"id_": "c1", "id": "7", "nid": "n1"}, "c1", {"id": "7", "nid": "n1"}),
        ({"nid": "c1", "metadata": {"id": "own"}}, "c1", {"id": "own"}),
        ({"metadata": {"nid": "", "id": "own"}, "nid": "c1"}, "c1", {"id": "own"}),
        ({"metadata": {"id": "own"}}, None, {"id": "own"}),
    ],
)
def test_other_ids_of_a_node_are_kept(
    node: dict[str, Any], chunk_id: str | None, extra: dict[str, Any]
) -> None:
    (passage,) = passages_from_nodes([{"score": 1, "text": "茶", **node}])

    assert (passage.chunk_id, passage.extra) == (chunk_id, extra)


def test_the_score_of_a_node_takes_precedence_and_the_other_one_is_kept() -> None:
    node = {"score": 0.5, "text": "茶", "metadata": {"_score": 0.25, "nid": "n1"}}
    (passage,) = passages_from_nodes([node])

    assert (passage.score, passage.chunk_id, passage.extra) == (0.5, "n1", {"_score": 0.25})


def test_a_score_that_is_not_a_number_is_kept() -> None:
    (passage,) = passages_from_nodes([{"score": "high", "text": "茶", "metadata": {"_score": 0.25}}])

    assert passage.score == 0.25
    assert passages_from_nodes([{"score": "high", "text": "茶"}])[0].extra == {"score": "high"}


def test_unknown_fields_beside_the_text_and_unreadable_metadata_are_kept() -> None:
    node = {"score": 1, "rank": 2, "node": {"text": "茶", "language": "zh", "metadata": "{not JSON"}}
    (passage,) = passages_from_nodes([node])

    assert passage.extra == {"rank": 2, "language": "zh", "metadata": "{not JSON"}


def test_metadata_takes_precedence_over_the_fields_beside_the_text() -> None:
    node = {"text": "茶", "title": "外", "name": "茶", "metadata": {"title": "内", "name": "own"}}
    (passage,) = passages_from_nodes([node])

    assert (passage.title, passage.doc_name) == ("内", "茶")
    assert passage.extra == {"title": "外", "name": "own"}


def test_metadata_named_like_the_text_field_is_kept() -> None:
    (passage,) = passages_from_nodes([{"text": "茶", "metadata": {"content": "目录"}}])

    assert (passage.text, passage.extra) == ("茶", {"content": "目录"})


@pytest.mark.parametrize("nodes", [None, {}, "x", [], [None, 1]])
def test_anything_but_a_list_of_nodes_has_no_passages(nodes: Any) -> None:
    assert passages_from_nodes(nodes) == []


def test_a_reference_takes_precedence_over_a_hit_with_the_same_number() -> None:
    thoughts = [
        {"observation": observation(hit(1, "命中一"), hit(2, "命中二"))},
        {"observation": None},
        {},
    ]
    references = [{"index_id": "1", "text": "正文一"}, {"text": "没有编号"}]

    passages = passages_by_marker(references, thoughts)

    assert {number: passage.text for number, passage in passages.items()} == {1: "正文一", 2: "命中二"}


def test_without_references_and_hits_there_are_no_passages() -> None:
    assert passages_by_marker(None, []) == {}
