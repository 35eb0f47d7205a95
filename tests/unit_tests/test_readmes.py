"""Tests that the Chinese README matches the English one in structure, code and links."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = "README.md", "README.zh-CN.md"

_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# Generated parts of the English README are not translated: the Chinese one links to them.
_GENERATED = re.compile(r"<!-- (\w+) -->\n(.*?)<!-- /\1 -->", re.DOTALL)


class Section(NamedTuple):
    """A heading, and the text below it up to the next heading."""

    level: int
    title: str
    text: str


def read_page(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def parse_sections(name: str) -> list[Section]:
    """Return the sections, without code blocks and generated parts."""
    text = _GENERATED.sub("", _CODE.sub("", read_page(name)))
    parts = re.split(r"^(#+) (.*)\n", text, flags=re.MULTILINE)
    return [Section(len(parts[i]), parts[i + 1], parts[i + 2]) for i in range(1, len(parts), 3)]


def slugify(title: str) -> str:
    """Return the anchor that GitHub generates for a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def find_links(name: str) -> list[Counter[str | int]]:
    """Return the link targets of each section: files, URLs, or sections by their number."""
    all_sections = parse_sections(name)
    anchors = {f"#{slugify(section.title)}": number for number, section in enumerate(all_sections)}
    targets = [re.findall(r"\]\(([^)]+)\)", section.text) for section in all_sections]
    return [Counter(anchors[t] if t.startswith("#") else t for t in section) for section in targets]


def find_inline_code(section: Section) -> set[str]:
    return {" ".join(code.split()) for code in re.findall(r"`([^`]+)`", section.text)}


def count_table_columns(section: Section) -> list[int]:
    """Return the number of columns in each row of the tables."""
    lines = re.findall(r"^\|.*\|$", section.text, re.MULTILINE)
    return [line.count("|") for line in lines]


def test_both_have_the_same_headings_in_the_same_order() -> None:
    assert [s.level for s in parse_sections(CHINESE)] == [s.level for s in parse_sections(ENGLISH)]


def test_both_have_the_same_blocks_of_code() -> None:
    assert _CODE.findall(read_page(CHINESE)) == _CODE.findall(read_page(ENGLISH))
    assert len(_CODE.findall(read_page(CHINESE))) == read_page(ENGLISH).count("```") / 2


def test_each_section_has_the_same_tables_lists_and_names() -> None:
    for english, chinese in zip(parse_sections(ENGLISH), parse_sections(CHINESE), strict=True):
        assert count_table_columns(chinese) == count_table_columns(english), chinese.title
        items = [len(re.findall(r"^- ", s.text, re.MULTILINE)) for s in (english, chinese)]
        assert items[0] == items[1], chinese.title
        assert find_inline_code(chinese) == find_inline_code(english), chinese.title


def test_each_section_has_the_same_links() -> None:
    english, chinese = find_links(ENGLISH), find_links(CHINESE)
    assert english[0].pop(CHINESE) == chinese[0].pop(ENGLISH) == 1  # each links to the other
    assert chinese == english


def test_generated_parts_link_to_the_english_section() -> None:
    generated_parts = _GENERATED.findall(read_page(CHINESE))
    assert [name for name, _ in generated_parts] == [
        name for name, _ in _GENERATED.findall(read_page(ENGLISH))
    ]
    assert generated_parts

    for name, text in generated_parts:
        [anchor] = re.findall(r"\(README\.md#(.*)\)", text)
        headings_before = re.split(
            r"^#+ ", read_page(ENGLISH).partition(f"<!-- {name} -->")[0], flags=re.MULTILINE
        )
        assert anchor == slugify(headings_before[-1].partition("\n")[0])


def test_the_migration_page_links_to_its_own_sections() -> None:
    # An invalid anchor raises KeyError.
    assert any(section.total() for section in find_links("docs/migration.md"))


@pytest.mark.parametrize("name", [ENGLISH, CHINESE])
def test_linked_files_exist(name: str) -> None:
    targets = re.findall(r"\]\(([^)#:]+)[)#]", read_page(name))
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
