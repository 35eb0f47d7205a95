"""Tests for the handling of `<ref>` markers in the text, and for the citations built from them."""

from collections.abc import Iterable, Sequence
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_bailian_app._answer.citations import Marker, MarkerFilter, MarkerMode, build_citations
from langchain_bailian_app._answer.passages import Passage
from tests.fixtures import encode_sse, frame_body, parse_answer, read_recording, split_at

MODES: tuple[MarkerMode, ...] = get_args(MarkerMode)
PASSAGES = {
    number: Passage(index=number, text=f"正文{number}", title=f"第{number}章") for number in (1, 2, 3)
}


def filter_markers(pieces: Iterable[str], mode: MarkerMode) -> tuple[str, list[Marker]]:
    marker_filter = MarkerFilter(mode)
    text = "".join(map(marker_filter.feed, pieces))
    return text + marker_filter.end(), marker_filter.markers


def cited_sentences(text: str, mode: MarkerMode) -> list[tuple[int, str]]:
    """Return the number and the sentence of each citation."""
    emitted, markers = filter_markers([text], mode)
    return [
        (
            citation["extras"]["reference_index"],
            emitted[citation["start_index"] : citation["end_index"]],
        )
        for citation in build_citations(emitted, markers, PASSAGES)
    ]


# -- the text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("strip", "绿茶，红茶。"),
        ("bracket", "绿茶[2]，红茶[13]。"),
        ("keep", "绿茶<ref>[2]</ref>，红茶<ref>[13]</ref>。"),
    ],
)
def test_markers_are_removed_rewritten_or_kept(mode: MarkerMode, expected: str) -> None:
    text = "绿茶<ref>[2]</ref>，红茶<ref>[13]</ref>。"

    assert expected == filter_markers([text], mode)[0]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "text",
    [
        "<ref>[x]</ref>",
        "<ref>[]</ref>",
        "<ref>[-1]</ref>",
        "<ref>[ 1 ]</ref>",
        "<ref>1</ref>",
        "<ref> [1]</ref>",
        "<REF>[1]</REF>",
        "<ref>[1]</re",
        "<ref>[1]<ref>",
        "<ref>[一]</ref>",
        "<ref>[１]</ref>",
        "<ref>[",
        "1 < 2",
        "a <",
        "<<<",
    ],
)
def test_anything_else_is_text(text: str, mode: MarkerMode) -> None:
    assert (text, []) == filter_markers([text], mode)
    assert (text, []) == filter_markers(text, mode)


@pytest.mark.parametrize(
    ("piece", "emitted"),
    [("茶<", "茶"), ("茶<ref>[1", "茶"), ("茶<ref>[1]</ref", "茶"), ("茶<b", "茶<b"), ("<<r", "<")],
)
def test_only_the_beginning_of_a_marker_is_held_back(piece: str, emitted: str) -> None:
    assert emitted == MarkerFilter("strip").feed(piece)


def test_held_back_text_is_emitted_once_it_cannot_be_a_marker() -> None:
    marker_filter = MarkerFilter("strip")

    assert marker_filter.feed("<re") == ""
    assert marker_filter.feed("al>") == "<real>"
    assert marker_filter.feed("<ref") == ""
    assert marker_filter.end() == "<ref"


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("strip", [(2, 2, 0), (1, 5, 0), (3, 5, 0)]),
        ("bracket", [(2, 2, 3), (1, 8, 3), (3, 11, 3)]),
        ("keep", [(2, 2, 14), (1, 19, 14), (3, 33, 14)]),
    ],
)
def test_a_marker_is_positioned_at_the_end_of_the_passage(
    mode: MarkerMode, expected: list[tuple[int, int, int]]
) -> None:
    _, markers = filter_markers(["绿茶<ref>[2]</ref>，红茶<ref>[1]</ref><ref>[3]</ref>。"], mode)

    assert expected == markers


def test_positions_count_code_points() -> None:
    assert filter_markers(["🍵茶<ref>[1]</ref>"], "strip")[1] == [(1, 2, 0)]


PARTS = st.sampled_from(
    [
        "<ref>[1]</ref>",
        "<ref>[22]</ref>",
        "<ref>",
        "[3]",
        "</ref>",
        "<",
        "<r",
        "茶",
        "。",
        "🍵",
        "<ref>[x]</ref>",
    ]
)


@given(st.lists(PARTS, max_size=8).map("".join), st.sampled_from(MODES), st.data())
def test_markers_do_not_depend_on_how_the_text_is_cut(
    text: str, mode: MarkerMode, data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=12))

    assert filter_markers([text], mode) == filter_markers(split_at(text, cuts), mode)
    assert filter_markers([text], mode) == filter_markers(text, mode)


@given(st.lists(PARTS, max_size=8).map("".join))
def test_keeping_markers_leaves_the_text_unchanged_and_finds_the_same_markers(text: str) -> None:
    emitted, markers = filter_markers([text], "keep")

    assert text == emitted
    assert [m.number for m in markers] == [m.number for m in filter_markers([text], "strip")[1]]
    assert all(text[m.position : m.position + m.width] == f"<ref>[{m.number}]</ref>" for m in markers)


# -- the citations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("绿茶不发酵<ref>[1]</ref>。", [(1, "绿茶不发酵")], id="first sentence"),
        pytest.param("一。二！三<ref>[1]</ref>", [(1, "三")], id="later sentence"),
        pytest.param("一？二；三<ref>[1]</ref>", [(1, "三")], id="other sentence ends"),
        pytest.param("one! two? three<ref>[1]</ref>", [(1, " three")], id="ascii sentence ends"),
        pytest.param("One is 1.5 m. Two<ref>[1]</ref>", [(1, "Two")], id="a full stop needs a space"),
        pytest.param("标题\n- 条目<ref>[1]</ref>", [(1, "- 条目")], id="line end"),
        pytest.param("一，二<ref>[1]</ref>", [(1, "一，二")], id="a comma ends nothing"),
        pytest.param("绿茶不发酵。<ref>[1]</ref>", [(1, "绿茶不发酵。")], id="behind the full stop"),
        pytest.param("一。二。<ref>[1]</ref>三。", [(1, "二。")], id="behind the second full stop"),
        pytest.param(
            "Tea. Green tea. <ref>[1]</ref>", [(1, "Green tea. ")], id="behind stop and space"
        ),
        pytest.param("一\n二\n\n<ref>[1]</ref>", [(1, "二\n\n")], id="on its own line"),
        pytest.param("## 题\n**一<ref>[1]</ref>**。", [(1, "**一")], id="in bold"),
        pytest.param("**一**<ref>[1]</ref>。二", [(1, "**一**")], id="behind bold"),
        pytest.param("1. 一。\n2. 二<ref>[1]</ref>", [(1, "二")], id="in a numbered list"),
        pytest.param("| 甲 | 乙<ref>[1]</ref> |", [(1, "| 甲 | 乙")], id="in a table"),
        pytest.param("> 一。二<ref>[1]</ref>", [(1, "二")], id="in a quotation"),
        pytest.param("```\nx = 1<ref>[1]</ref>\n```", [(1, "x = 1")], id="in code"),
        pytest.param("[链接](https://e.com)<ref>[1]</ref>", [(1, "[链接](https://e.com)")], id="link"),
        pytest.param("一<ref>[9]</ref>。二<ref>[2]</ref>。", None, id="unknown number"),
        pytest.param("<ref>[1]</ref>一", [(1, "")], id="at the beginning"),
    ],
)
def test_the_indices_delimit_the_cited_sentence(
    text: str, expected: list[tuple[int, str]] | None, mode: MarkerMode
) -> None:
    assert (expected if expected is not None else [(2, "二")]) == cited_sentences(text, mode)


@pytest.mark.parametrize(
    "sentence", ["他说：“茶好。”", "（喝茶。）", "「喝茶。」", "**喝茶。**", '"Tea is good."', "(Tea.)"]
)
def test_quotes_after_the_full_stop_belong_to_the_sentence(sentence: str) -> None:
    assert [(1, sentence)] == cited_sentences(f"一。{sentence}<ref>[1]</ref>", "strip")


@pytest.mark.parametrize("mode", MODES)
def test_adjacent_markers_share_their_sentence(mode: MarkerMode) -> None:
    emitted, markers = filter_markers(["一。二<ref>[1]</ref><ref>[2]</ref> <ref>[3]</ref>。"], mode)
    first, second, third = build_citations(emitted, markers, PASSAGES)

    assert 2 == first["start_index"] == second["start_index"] == third["start_index"]
    assert [marker.position for marker in markers] == [c["end_index"] for c in (first, second, third)]


def test_adjacent_markers_after_the_full_stop_share_their_sentence() -> None:
    expected = [(1, "二。"), (2, "二。")]

    assert expected == cited_sentences("一。二。<ref>[1]</ref><ref>[2]</ref>三。", "strip")


@pytest.mark.parametrize("mode", MODES)
def test_an_unknown_number_between_two_others_does_not_separate_them(mode: MarkerMode) -> None:
    emitted, markers = filter_markers(["一。二<ref>[1]</ref><ref>[9]</ref><ref>[2]</ref>。"], mode)

    assert [citation["start_index"] for citation in build_citations(emitted, markers, PASSAGES)] == [
        2,
        2,
    ]


@pytest.mark.parametrize("mode", ["bracket", "keep"])
def test_a_marker_after_a_full_stop_is_not_part_of_the_next_sentence(mode: MarkerMode) -> None:
    expected = [(1, "一。"), (2, "二。")]

    assert expected == cited_sentences("一。<ref>[1]</ref>二。<ref>[2]</ref>", mode)


def test_a_marker_beyond_the_end_of_a_cut_text_cites_nothing() -> None:
    markers = [Marker(1, 1, 0), Marker(2, 5, 0)]

    assert [c["extras"]["reference_index"] for c in build_citations("茶馆", markers, PASSAGES)] == [1]


def test_a_citation_contains_the_known_fields_of_its_source() -> None:
    passage = Passage(
        index=4,
        text="正" * 600,
        title="第四章",
        doc_name="茶书",
        doc_id="file_4",
        doc_url="https://example.com/tea",
        score=0.0,
        images=["https://example.com/4.png"],
        page_number=[0, 1],
    )
    expected = {
        "type": "citation",
        "url": "https://example.com/tea",
        "title": "第四章",
        "start_index": 0,
        "end_index": 1,
        "cited_text": "正" * 500,
        "extras": {
            "reference_index": 4,
            "doc_id": "file_4",
            "doc_name": "茶书",
            "page_number": [0, 1],
            "images": ["https://example.com/4.png"],
            "score": 0.0,
        },
    }

    assert [expected] == build_citations("茶", [Marker(4, 1, 0)], {4: passage})


def test_unknown_details_of_a_source_are_omitted() -> None:
    expected = {"type": "citation", "start_index": 0, "end_index": 1, "extras": {"reference_index": 4}}

    assert [expected] == build_citations("茶", [Marker(4, 1, 0)], {4: Passage(index=4)})


def test_the_document_name_replaces_a_missing_title() -> None:
    (citation,) = build_citations("茶", [Marker(4, 1, 0)], {4: Passage(index=4, doc_name="茶书")})

    assert citation["title"] == "茶书"


SENTENCES = st.lists(st.text("一二三abc，1.5", min_size=1, max_size=6), min_size=1, max_size=5)


@given(SENTENCES, st.sampled_from(["。", "！", "？", "；", "\n", "? "]), st.sampled_from(MODES))
def test_each_marker_before_a_sentence_end_cites_its_own_sentence(
    sentences: Sequence[str], end: str, mode: MarkerMode
) -> None:
    sentences = [f"甲{sentence}乙" for sentence in sentences]
    text = "".join(f"{sentence}<ref>[1]</ref>{end}" for sentence in sentences)

    assert sentences == [sentence.lstrip() for _, sentence in cited_sentences(text, mode)]


# -- in an answer ------------------------------------------------------------------------------------


def test_references_take_precedence_over_hits_and_unknown_numbers_cite_nothing() -> None:
    answer = parse_answer(read_recording("markers-split.sse"))

    cited_passages = [
        (
            c["extras"]["reference_index"],
            c["cited_text"],
            answer.text[c["start_index"] : c["end_index"]],
        )
        for c in answer.citations
    ]
    assert answer.text == "绿茶不发酵，红茶全发酵。黑茶后发酵。"
    assert cited_passages == [
        (2, "正文2", "绿茶不发酵"),
        (1, "正文1", "绿茶不发酵，红茶全发酵"),
        (3, "命中3", "绿茶不发酵，红茶全发酵"),
    ]


@pytest.mark.parametrize("index_id", ["4", "[4]", 4])
def test_the_number_of_a_reference_may_be_written_in_three_ways(index_id: Any) -> None:
    body = frame_body(
        "茶<ref>[4]</ref>", "stop", doc_references=[{"index_id": index_id, "title": "茶书"}]
    )
    (citation,) = parse_answer(encode_sse(body)).citations

    assert (citation["extras"]["reference_index"], citation["title"]) == (4, "茶书")


def test_markers_are_found_in_a_cumulative_stream() -> None:
    texts = ["绿茶<ref>[1]</r", "绿茶<ref>[1]</ref>，红", "绿茶<ref>[1]</ref>，红茶<ref>[2]</ref>"]
    references = [{"index_id": "1", "title": "一"}, {"index_id": "2", "title": "二"}]
    bodies = [frame_body(text, doc_references=references) for text in texts]
    answer = parse_answer(encode_sse(*bodies, frame_body(texts[-1], "stop")))

    assert answer.text == "绿茶，红茶"
    assert [(c["start_index"], c["end_index"]) for c in answer.citations] == [(0, 2), (0, 5)]


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("<ref>[1]</ref><ref>[2]</ref>一。", "bracket", [(1, ""), (2, "[1]")]),
        (" 。<ref>[1]</ref>", "strip", [(1, " 。")]),
        ("\n<ref>[1]</ref><ref>[2]</ref>", "strip", [(1, "\n"), (2, "\n")]),
        ("\n<ref>[1]</ref>）<ref>[2]</ref>", "bracket", [(1, "\n"), (2, "）")]),
    ],
)
def test_markers_with_no_words_before_them_share_a_start_only_if_nothing_is_between_them(
    text: str, mode: MarkerMode, expected: list[tuple[int, str]]
) -> None:
    assert cited_sentences(text, mode) == expected


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("见 https://x.test/?a=1&b=2 一页", "见 https://x.test/?a=1&b=2 一页"),
        ("如果 a != b 就停", "如果 a != b 就停"),
        ("看图 ![图](https://x.test/a.png) 里", "看图 ![图](https://x.test/a.png) 里"),
        ("Really?! Yes it is", "Yes it is"),
        ("Is it? Yes", "Yes"),
        ('He asked "why?" and left', '" and left'),
        ("(Why?) Because", "Because"),
        ("真的？是的", "是的"),
        ("真的！是的", "是的"),
        ("真的!是的", "真的!是的"),
    ],
)
def test_ascii_marks_end_a_sentence_only_before_space_quotes_or_brackets(text: str, cited: str) -> None:
    marker = Marker(1, len(text), 0)
    (citation,) = build_citations(text, [marker], {1: Passage(index=1, title="a")})

    assert text[citation["start_index"] : citation["end_index"]].strip() == cited.strip()
