"""Splits text into passages: at headings, paragraphs and sentence ends, or anywhere if needed.

Pure. No word is lost. Images are removed from the text and listed with their passage.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_BODY_CHARS = 400

_HEADING = re.compile(r"(#{1,6})[ \t]+(\S.*)")
_FENCE = re.compile(r"\s{0,3}(?:```|~~~)")
_IMAGE = re.compile(
    r"""!\[[^\[\]]*\]\(\s*<?((?:[^\s()<>]|\([^\s()<>]*\))+)>?(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)"""
)
_BLANK_LINES = re.compile(r"\n\s*\n")
# The end of a line also ends a sentence: table rows and list items have no full stop.
_SENTENCE = re.compile(r"\S.*?(?:[。！？!?；]+[”’」』）)\"']*|\.(?=\s)|(?=\n)|\Z)", re.DOTALL)
# Cut between two words if a word ends in the second half of the fragment, otherwise anywhere.
_FRAGMENT = re.compile(
    rf"\S.{{{MAX_BODY_CHARS // 2},{MAX_BODY_CHARS - 1}}}(?=\s|\Z)|\S.{{0,{MAX_BODY_CHARS - 1}}}",
    re.DOTALL,
)
# Unverified: no source shows the separator of the headings in `hier_title`.
_TITLE_SEPARATOR = " > "


@dataclass(frozen=True)
class Passage:
    """Part of a document that search returns as a unit.

    Attributes:
        title: Heading above the passage, or the name of the document.
        hier_title: The same heading, preceded by its parent headings.
        body: Text of the passage, at most about `MAX_BODY_CHARS` characters.
        images: URLs of the images in the passage, in order.
        page: Page number, from 1; always 1 if the document has no pages.
    """

    title: str
    hier_title: str
    body: str
    images: tuple[str, ...] = ()
    page: int = 1


def find_first_heading(text: str) -> str | None:
    """Return the first heading in Markdown text, or None."""
    return next((match.group(2).strip() for _, match in _match_headings(text) if match), None)


def split_into_passages(name: str, pages: Sequence[str]) -> Iterator[Passage]:
    """Yield the passages of a document; a heading applies until the next one, even across pages."""
    sections = [s for s in _iter_sections(name, pages) if s.has_heading or not s.is_blank]
    for index, section in enumerate(sections):
        if not section.is_blank:
            yield from _split_section(section)
        elif not _continues_in_next(section, sections[index + 1 : index + 2]):
            # A heading without text is a passage, unless the next section's `hier_title` contains it.
            yield section.make_passage(section.title, section.images)


class _Heading(NamedTuple):
    level: int
    title: str
    number: int
    """Distinguishes headings with the same text."""


@dataclass
class _Section:
    """The lines under a heading on one page."""

    name: str
    heading_path: tuple[_Heading, ...]
    page: int
    has_heading: bool
    lines: list[str] = field(default_factory=list)
    images: tuple[str, ...] = ()

    @property
    def is_blank(self) -> bool:
        return not any(line.strip() for line in self.lines)

    @property
    def title(self) -> str:
        return self.heading_path[-1].title if self.heading_path else self.name

    def make_passage(self, body: str, images: tuple[str, ...]) -> Passage:
        hier_title = _TITLE_SEPARATOR.join(heading.title for heading in self.heading_path) or self.name
        return Passage(self.title, hier_title, body, images, self.page)


class _Unit(NamedTuple):
    """Text that is not split further, the whitespace before it, and its start position."""

    text: str
    separator: str
    start: int


def _continues_in_next(section: _Section, next_sections: Sequence[_Section]) -> bool:
    next_path = next_sections[0].heading_path if next_sections else ()
    return not section.images and next_path[: len(section.heading_path)] == section.heading_path


def _match_headings(text: str) -> Iterator[tuple[str, re.Match[str] | None]]:
    """Yield each line, with a match if it is a heading; `#` in fenced code is not one."""
    in_code_fence = False
    for line in text.split("\n"):
        if _FENCE.match(line):
            in_code_fence = not in_code_fence
        yield line, None if in_code_fence else _HEADING.fullmatch(line.rstrip())


def _iter_sections(name: str, pages: Sequence[str]) -> Iterator[_Section]:
    heading_path: tuple[_Heading, ...] = ()
    heading_count = 0
    for page, text in enumerate(pages, start=1):
        section = _Section(name, heading_path, page, has_heading=False)
        for line, match in _match_headings(text):
            if match is None:
                section.lines.append(line)
                continue
            yield section
            level, (title, images) = len(match.group(1)), _extract_images(match.group(2))
            heading_count += 1
            parents = tuple(heading for heading in heading_path if heading.level < level)
            heading_path = (*parents, _Heading(level, title.strip() or name, heading_count))
            urls = tuple(url for _, url in images)
            section = _Section(name, heading_path, page, has_heading=True, images=urls)
        yield section


def _extract_images(text: str) -> tuple[str, list[tuple[int, str]]]:
    """Return the text without its images, and the position and URL of each."""
    text_parts: list[str] = []
    images = []
    length = end = 0
    for match in _IMAGE.finditer(text):
        text_parts.append(text[end : match.start()])
        length += len(text_parts[-1])
        end = match.end()
        images.append((length, match.group(1)))
    return "".join([*text_parts, text[end:]]), images


def _split_section(section: _Section) -> Iterator[Passage]:
    text, images = _extract_images("\n".join(section.lines))
    bodies = list(_pack_units(_split_units(text))) or [(section.title, 0)]
    for index, (body, start) in enumerate(bodies):
        end = bodies[index + 1][1] if index + 1 < len(bodies) else len(text) + 1
        is_first = index == 0
        body_images = tuple(
            url for position, url in images if (is_first or position >= start) and position < end
        )
        yield section.make_passage(body, (*section.images, *body_images) if is_first else body_images)


def _pack_units(units: Iterable[_Unit]) -> Iterator[tuple[str, int]]:
    """Join units into bodies, as many as fit; yield each body with its start position."""
    body, start = "", 0
    for unit in units:
        # One character between two units does not count towards the limit.
        if body and len(body) + len(unit.separator) - 1 + len(unit.text) > MAX_BODY_CHARS:
            yield body, start
            body = ""
        if body:
            body += unit.separator + unit.text
        else:
            body, start = unit.text, unit.start
    if body:
        yield body, start


def _split_units(text: str) -> Iterator[_Unit]:
    """Yield paragraphs; split long ones into sentences, and long sentences into fragments."""
    for start, paragraph in _split_paragraphs(text):
        if len(paragraph) <= MAX_BODY_CHARS:
            yield _Unit(paragraph, "\n", start)
            continue
        end = 0
        for match in _SENTENCE.finditer(paragraph):
            for fragment in _FRAGMENT.finditer(match.group()):
                position = match.start() + fragment.start()
                # Whitespace at the end of a fragment is part of the next separator.
                separator = paragraph[end:position] if end else "\n"
                yield _Unit(fragment.group().rstrip(), separator, start + position)
                end = position + len(fragment.group().rstrip())


def _split_paragraphs(text: str) -> Iterator[tuple[int, str]]:
    bounds = [0, *(bound for match in _BLANK_LINES.finditer(text) for bound in match.span()), len(text)]
    for start, end in zip(bounds[::2], bounds[1::2], strict=True):
        paragraph = text[start:end]
        if paragraph.strip():
            indent = len(paragraph) - len(paragraph.lstrip())
            yield start + indent, paragraph.strip()
