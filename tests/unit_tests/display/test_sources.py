"""Tests of sources, excerpts, and the sanitizing of strings for display."""

from typing import Any

import pytest

from langchain_bailian_app.display._labels import ENGLISH
from langchain_bailian_app.display._parts import Step, Text, parse_message
from langchain_bailian_app.display._sources import CitedSources, Source, make_excerpt
from tests.unit_tests.display.messages import make_message, tool_result


def test_a_hit_includes_every_known_detail() -> None:
    hit = {"content": "茶", "title": "第一章", "dataName": "茶书", "images": ["i"]}
    (step,) = parse_message(make_message(tool_result([hit | {"page_number": [3]}]))).parts

    assert isinstance(step, Step)
    assert step.hits == [Source(None, "第一章", ["茶书", "p. 3"], "茶", "", ["i"])]


@pytest.mark.parametrize(("length", "end"), [(160, ""), (161, "…")])
def test_an_excerpt_is_one_line_of_up_to_160_characters(length: int, end: str) -> None:
    text = f"茶\n {'叶' * (length - 2)}"

    assert make_excerpt(text) == f"茶 {'叶' * 158}{end}"


@pytest.mark.parametrize(
    ("text", "end"),
    [
        pytest.param("leaf " * 31 + "extraordinary tea", "leaf…", id="before a word that does not fit"),
        pytest.param("leaf " * 31 + "leafs tea", "leaf leafs…", id="after a word that fits exactly"),
        pytest.param("叶" * 155 + "1,234,567.89 元", "叶…", id="before a number"),
        pytest.param("叶" * 159 + "茶叶", "叶茶…", id="between Chinese characters"),
        pytest.param("叶" * 158 + "ab茶", "叶ab…", id="between scripts"),
        pytest.param("x" * 200, "x…", id="inside an endless word"),
    ],
)
def test_an_excerpt_ends_with_a_whole_word(text: str, end: str) -> None:
    excerpt = make_excerpt(text)

    assert excerpt.endswith(end)
    assert text.startswith(excerpt[:-1])
    assert 120 <= len(excerpt) <= 161


def test_line_breaks_are_normalized_without_moving_code_points() -> None:
    """Positions of citations are counted in code points."""
    (part,) = parse_message(make_message("一\r\n二\r三\n四")).parts

    assert part == Text("一 \n二\n三\n四", {})


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ({}, Source(1, "无标题", [], "", "", [])),
        ({"title": "T", "url": "u", "cited_text": "c"}, Source(1, "T", [], "c", "u", [])),
        ({"url": "u"}, Source(1, "u", [], "", "u", [])),
        ({"extras": {"reference_index": 4, "doc_name": "D"}}, Source(4, "D", [], "", "", [])),
        (
            {"title": "T", "extras": {"doc_name": "D", "page_number": [3, 4], "score": 0.5}},
            Source(1, "T", ["D", "第 3, 4 页", "相关度 0.50"], "", "", []),
        ),
        ({"title": "T", "extras": {"images": ["i", 7]}}, Source(1, "T", [], "", "", ["i", "7"])),
        ({"extras": {"reference_index": "x", "images": "i", "page_number": 3, "score": [1]}},
         Source(1, "无标题", ["[1]"], "", "", [])),
        ({"extras": ["x"], "title": ["T"]}, Source(1, '["T"]', [], "", "", [])),
        ({"title": "D", "extras": {"doc_name": "D"}}, Source(1, "D", [], "", "", [])),
        ({"extras": {"reference_index": 0}}, Source(0, "无标题", [], "", "", [])),
        ({"extras": {"reference_index": 10**9}}, Source(1, "无标题", [], "", "", [])),
        ({"extras": {"reference_index": -1}}, Source(1, "无标题", [], "", "", [])),
    ],
)  # fmt: skip
def test_a_citation_has_a_source(note: dict[str, Any], expected: Source) -> None:
    annotations = [{"type": "citation", **note}, {"type": "other"}, "x"]

    answer = parse_message(make_message({"type": "text", "text": "茶", "annotations": annotations}))

    assert answer.sources == [expected]
    assert answer.parts == [Text("茶", {1: [expected.number]})]


def test_citations_without_numbers_are_numbered() -> None:
    notes = [{"type": "citation", "title": title, "end_index": 0} for title in ("a", "b", "a")]

    answer = parse_message(make_message({"type": "text", "text": "茶", "annotations": notes}))

    assert [(source.number, source.title) for source in answer.sources] == [(1, "a"), (2, "b")]
    assert answer.parts == [Text("茶", {0: [1, 2]})]


def test_a_part_of_a_video_is_a_link_to_its_seconds() -> None:
    extras = {"videos": ["https://x.test/v.mp4"], "clip_start_ms": 4500, "clip_end_ms": 17000}
    sources = CitedSources(ENGLISH)
    number = sources.assign_number({"title": "clip", "extras": extras | {"reference_index": 2}})

    assert sources.sources[number].videos == ["https://x.test/v.mp4#t=4.5,17"]


def test_a_whole_video_is_a_link() -> None:
    sources = CitedSources(ENGLISH)
    number = sources.assign_number({"title": "video", "extras": {"videos": ["https://x.test/v.mp4"]}})

    assert sources.sources[number].videos == ["https://x.test/v.mp4"]
