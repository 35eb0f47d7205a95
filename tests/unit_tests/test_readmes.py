"""The Chinese README says what the English one says, as far as that can be told without reading it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = "README.md", "README.zh-CN.md"

_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# What scripts write into the English README is not translated: the Chinese one leads to it.
_WRITTEN = re.compile(r"<!-- (\w+) -->\n(.*?)<!-- /\1 -->", re.DOTALL)


class Section(NamedTuple):
    """A heading and what stands under it, up to the next one."""

    level: int
    title: str
    text: str


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def sections(name: str) -> list[Section]:
    """Return the sections without blocks of code, and without what scripts write."""
    text = _WRITTEN.sub("", _CODE.sub("", read(name)))
    parts = re.split(r"^(#+) (.*)\n", text, flags=re.MULTILINE)
    return [Section(len(parts[i]), parts[i + 1], parts[i + 2]) for i in range(1, len(parts), 3)]


def slug(title: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def links(name: str) -> list[Counter[str | int]]:
    """Return where each section leads: to a file or address, or to a section, told by its number."""
    found = sections(name)
    anchors = {f"#{slug(section.title)}": number for number, section in enumerate(found)}
    targets = [re.findall(r"\]\(([^)]+)\)", section.text) for section in found]
    return [Counter(anchors[t] if t.startswith("#") else t for t in section) for section in targets]


def inline_code(section: Section) -> set[str]:
    return {" ".join(code.split()) for code in re.findall(r"`([^`]+)`", section.text)}


def rows(section: Section) -> list[int]:
    """Return how many columns each row of the tables has."""
    lines = re.findall(r"^\|.*\|$", section.text, re.MULTILINE)
    return [line.count("|") for line in lines]


def test_both_have_the_same_headings_in_the_same_order() -> None:
    assert [s.level for s in sections(CHINESE)] == [s.level for s in sections(ENGLISH)]


def test_both_have_the_same_blocks_of_code() -> None:
    assert _CODE.findall(read(CHINESE)) == _CODE.findall(read(ENGLISH))
    assert len(_CODE.findall(read(CHINESE))) == read(ENGLISH).count("```") / 2


def test_each_section_has_the_same_tables_lists_and_names() -> None:
    for english, chinese in zip(sections(ENGLISH), sections(CHINESE), strict=True):
        assert rows(chinese) == rows(english), chinese.title
        items = [len(re.findall(r"^- ", s.text, re.MULTILINE)) for s in (english, chinese)]
        assert items[0] == items[1], chinese.title
        assert inline_code(chinese) == inline_code(english), chinese.title


def test_each_section_leads_to_the_same_places() -> None:
    english, chinese = links(ENGLISH), links(CHINESE)
    assert english[0].pop(CHINESE) == chinese[0].pop(ENGLISH) == 1  # each leads to the other
    assert chinese == english


def test_what_scripts_write_is_a_link_to_the_english_section() -> None:
    written = _WRITTEN.findall(read(CHINESE))
    assert [name for name, _ in written] == [name for name, _ in _WRITTEN.findall(read(ENGLISH))]
    assert written

    for name, text in written:
        [anchor] = re.findall(r"\(README\.md#(.*)\)", text)
        around = re.split(r"^#+ ", read(ENGLISH).partition(f"<!-- {name} -->")[0], flags=re.MULTILINE)
        assert anchor == slug(around[-1].partition("\n")[0])


def test_the_page_on_migration_leads_to_its_own_sections() -> None:
    assert any(section.total() for section in links("docs/migration.md"))  # a wrong one is a KeyError


@pytest.mark.parametrize("name", [ENGLISH, CHINESE])
def test_files_that_are_led_to_exist(name: str) -> None:
    targets = re.findall(r"\]\(([^)#:]+)[)#]", read(name))
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
