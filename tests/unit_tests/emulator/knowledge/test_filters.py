"""Filters of the emulator's searches: they select chunks, and never match a missing value."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_bailian_app.emulator import Document, ErrorReply, KnowledgeBase
from langchain_bailian_app.emulator._http.errors import RequestRefused
from langchain_bailian_app.emulator._knowledge.documents import Chunk
from langchain_bailian_app.emulator._knowledge.filters import (
    RagFilters,
    is_equal,
    matches_any,
    parse_search_filters,
)

LEAF = st.one_of(st.text("0123456789.ab", max_size=4), st.integers(-20, 20), st.floats(-20, 20))
ROW = st.dictionaries(st.sampled_from(["a", "b", "c"]), LEAF, max_size=3)
CONDITION = st.one_of(
    LEAF,
    st.lists(LEAF, max_size=3),
    st.fixed_dictionaries({}, optional={"eq": LEAF, "neq": LEAF, "gt": st.integers(-20, 20)}).filter(
        bool
    ),
)
GROUPS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "z"]), CONDITION, max_size=2), max_size=3)


def make_row_chunk(row: Mapping[str, Any]) -> Chunk:
    (chunk,) = KnowledgeBase("表", rows=[row]).chunks
    return chunk


def make_document_chunk(metadata: Mapping[str, Any], tags: list[str] | None = None) -> Chunk:
    document = Document("手册", "正文。", "file_1", metadata, tags or [])
    (chunk,) = KnowledgeBase("书", [document]).chunks
    return chunk


def is_match(chunk: Chunk, *groups: Any) -> bool:
    return parse_search_filters(list(groups)).matches(chunk)


@pytest.mark.parametrize(
    ("expected", "actual", "equal"),
    [
        (12, 12, True),
        (12, 12.0, True),
        ("12", 12, True),
        (12, "12", True),
        (1.5, "1.5", True),
        ("-3", -3, True),
        ("12", "12", True),
        ("12", "12.0", False),
        ("abc", "abc", True),
        ("abc", "Abc", False),
        ("abc", "abc ", False),
        ("x", 12, False),
        (" 12", 12, False),
        ("1_2", 12, False),
        ("١٢", 12, False),
        (True, True, True),
        (True, 1, False),
        (1, True, False),
        (None, None, True),
        (None, "", False),
        (float("nan"), float("nan"), False),
        ({"a": 1}, {"a": 1}, True),
    ],
)
def test_numbers_are_compared_by_value_and_texts_exactly(
    expected: Any, actual: Any, equal: bool
) -> None:
    assert is_equal(expected, actual) is equal


def test_lists_match_if_any_value_does() -> None:
    assert matches_any("a", ["b", "a"])
    assert matches_any(["1", "x"], 1)
    assert matches_any(["1"], [3, 1])
    assert not matches_any([], "a")
    assert not matches_any("a", [])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, True),
        ({"价格": 1999}, True),
        ({"价格": "1999"}, True),
        ({"价格": 2000}, False),
        ({"型号": "小暑"}, True),
        ({"型号": "小"}, False),
        ({"型号": "小暑", "价格": 1}, False),
        ({"颜色": "黑"}, False),
        ({"颜色": None}, False),
    ],
)
def test_structured_filter_narrows_rows_and_leaves_documents_alone(
    columns: dict[str, Any], expected: bool
) -> None:
    filters = RagFilters(columns=columns)

    assert filters.matches(make_row_chunk({"型号": "小暑", "价格": 1999})) is expected
    assert filters.matches(make_document_chunk({}))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (RagFilters(file_ids=["file_1", "file_2"]), True),
        (RagFilters(file_ids=["file_2"]), False),
        (RagFilters(tags=["新", "旧"]), True),
        (RagFilters(tags=["旧"]), False),
        (RagFilters(metadata={"年": "2024"}), True),
        (RagFilters(metadata={"年": 2025}), False),
        (RagFilters(metadata={"作者": "乙"}), True),
        (RagFilters(metadata={"作者": ["丙", "甲"]}), True),
        (RagFilters(metadata={"作者": "丙"}), False),
        (RagFilters(metadata={"作者": "乙", "年": 1}), False),
        (RagFilters(metadata={"无": "x"}), False),
    ],
)
def test_document_filters_narrow_documents_and_leave_rows_alone(
    filters: RagFilters, expected: bool
) -> None:
    chunk = make_document_chunk({"年": 2024, "作者": ["甲", "乙"]}, ["新"])

    assert filters.matches(chunk) is expected
    assert filters.matches(make_row_chunk({"型号": "小暑"}))


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([], True),
        ([{}], True),
        ([{"姓名": "张三"}], True),
        ([{"姓名": "李四"}], False),
        ([{"姓名": ["李四", "张三"]}], True),
        ([{"姓名": ["李四"]}], False),
        ([{"姓名": []}], False),
        ([{"姓名": '["李四","张三"]'}], True),
        ([{"姓名": '["李四"]'}], False),
        ([{"姓名": "[张三"}], False),
        ([{"年龄": "30"}], True),
        ([{"年龄": {"eq": 30.0}}], True),
        ([{"年龄": {"eq": 31}}], False),
        ([{"年龄": {"neq": 31}}], True),
        ([{"年龄": {"neq": "30"}}], False),
        ([{"年龄": {"gt": 29}}], True),
        ([{"年龄": {"gt": 30}}], False),
        ([{"年龄": {"gte": 30}}], True),
        ([{"年龄": {"gte": 30.5}}], False),
        ([{"年龄": {"lt": 31}}], True),
        ([{"年龄": {"lt": 30}}], False),
        ([{"年龄": {"lte": 30}}], True),
        ([{"年龄": {"lte": "29"}}], False),
        ([{"年龄": {"gt": 20, "lt": 25}}], False),
        ([{"年龄": {"gt": 20, "lt": 40}}], True),
        ([{"姓名": {"gt": 1}}], False),
        ([{"姓名": {"like": "张"}}], True),
        ([{"姓名": {"like": "李"}}], False),
        ([{"年龄": {"like": "3"}}], True),
        ([{"性别": "男"}], False),
        ([{"性别": {"neq": "男"}}], False),
        ([{"姓名": "张三", "年龄": 31}], False),
        ([{"姓名": "张三"}, {"年龄": 31}], False),
        ([{"姓名": "张三"}, {"年龄": 30}], True),
        ([{"doc_name": "表"}], True),
        ([{"doc_name": "书"}], False),
        ([{"tags": "x"}], False),
    ],
)
def test_search_filters_match_the_columns_of_a_row(groups: list[Any], expected: bool) -> None:
    assert is_match(make_row_chunk({"姓名": "张三", "年龄": 30}), *groups) is expected


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([{"作者": "乙"}], True),
        ([{"作者": {"neq": "乙"}}], False),
        ([{"作者": {"like": "乙"}}], True),
        ([{"作者": "丙"}], False),
        ([{"file_id": "file_1"}], True),
        ([{"file_id": "file_2"}], False),
        ([{"doc_name": {"like": "手"}}], True),
        ([{"doc_name": {"like": "脚"}}], False),
        ([{"tags": ["新", "旧"]}], True),
        ([{"tags": '["旧", "新"]'}], True),
        ([{"tags": "新"}], True),
        ([{"tags": ["旧"]}], False),
        ([{"tags": '["旧"]'}], False),
    ],
)
def test_search_filters_match_the_fields_of_a_document(groups: list[Any], expected: bool) -> None:
    assert is_match(make_document_chunk({"作者": ["甲", "乙"]}, ["新"]), *groups) is expected


@pytest.mark.parametrize(
    "filters",
    [
        {},
        "x",
        ["x"],
        [{"a": {}}],
        [{"a": {"regex": "x"}}],
        [{"a": {"in": ["x"]}}],
        [{"a": {"eq": 1, "GT": 1}}],
        [{"a": None}],
        [{"a": [[1]]}],
        [{"a": {"eq": [1]}}],
        [{"a": {"gt": "x"}}],
        [{"a": {"lte": True}}],
        [{"a": {"like": 1}}],
    ],
)
def test_invalid_search_filters_are_refused(filters: Any) -> None:
    with pytest.raises(RequestRefused) as refused:
        parse_search_filters(filters)

    assert refused.value.reply.code == ErrorReply.of("InvalidParameter").code


@given(ROW, GROUPS)
def test_search_filters_never_match_a_row_without_their_columns(
    row: dict[str, Any], groups: list[Any]
) -> None:
    chunk = make_row_chunk(row)
    names = {name for group in groups for name in group}

    if is_match(chunk, *groups):
        assert names <= set(row)
        # A chunk that matches all subgroups also matches every single condition.
        assert all(is_match(chunk, {name: value}) for group in groups for name, value in group.items())
    else:
        assert not is_match(chunk, *groups, {})


@given(ROW, ROW)
def test_structured_filter_matches_only_rows_that_have_all_values(
    row: dict[str, Any], columns: dict[str, Any]
) -> None:
    result = RagFilters(columns=columns).matches(make_row_chunk(row))

    assert result == all(name in row and is_equal(columns[name], row[name]) for name in columns)
    assert RagFilters(columns=row).matches(make_row_chunk(row))
