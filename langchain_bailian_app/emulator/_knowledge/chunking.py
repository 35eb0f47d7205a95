"""Cutting a text into passages: at headings, between paragraphs, at sentence ends, else anywhere.

Pure. No word of the text is lost; images leave it and go with the passage they stood in.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

LONGEST_BODY = 400

_HEADING = re.compile(r"(#{1,6})[ \t]+(\S.*)")
_FENCE = re.compile(r"\s{0,3}(?:```|~~~)")
_IMAGE = re.compile(
    r"""!\[[^\[\]]*\]\(\s*<?((?:[^\s()<>]|\([^\s()<>]*\))+)>?(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)"""
)
_BLANK_LINES = re.compile(r"\n\s*\n")
# A line ends a sentence too: rows of tables and items of lists have no full stop.
_SENTENCE = re.compile(r"\S.*?(?:[。！？!?；]+[”’」』）)\"']*|\.(?=\s)|(?=\n)|\Z)", re.DOTALL)
# Between two words if any end in its second half, else anywhere.
_STRETCH = re.compile(
    rf"\S.{{{LONGEST_BODY // 2},{LONGEST_BODY - 1}}}(?=\s|\Z)|\S.{{0,{LONGEST_BODY - 1}}}", re.DOTALL
)
# No source shows what stands between the headings in `hier_title`.
_STEP = " > "


@dataclass(frozen=True)
class Passage:
    """A piece of a text that is found as one.

    Attributes:
        title: The heading above it, or the name of the document.
        hier_title: That heading with those above it.
        body: Its text, at most a little more than `LONGEST_BODY` characters.
        images: The addresses of the images in it, in order.
        page: Its page, from 1; the whole text counts as one page where there are no pages.
    """

    title: str
    hier_title: str
    body: str
    images: tuple[str, ...] = ()
    page: int = 1


def first_heading(text: str) -> str | None:
    """The first heading of a Markdown text."""
    return next((match.group(2).strip() for _, match in _marked(text) if match), None)


def passages(name: str, pages: Sequence[str]) -> Iterator[Passage]:
    """Cut the pages of a document: a heading holds until the next, a passage ends with its page."""
    sections = [s for s in _sections(name, pages) if s.headed or not s.is_blank]
    for number, section in enumerate(sections):
        if not section.is_blank:
            yield from _cut_section(section)
        elif not _goes_on(section, sections[number + 1 : number + 2]):
            # A heading without a text is a text itself, unless those below it carry it along.
            yield section.passage(section.title, section.images)


class _Heading(NamedTuple):
    level: int
    title: str
    number: int
    """Two headings with the same words are two."""


@dataclass
class _Section:
    """What stands under a heading on one page."""

    name: str
    trail: tuple[_Heading, ...]
    page: int
    headed: bool
    lines: list[str] = field(default_factory=list)
    images: tuple[str, ...] = ()

    @property
    def is_blank(self) -> bool:
        return not any(line.strip() for line in self.lines)

    @property
    def title(self) -> str:
        return self.trail[-1].title if self.trail else self.name

    def passage(self, body: str, images: tuple[str, ...]) -> Passage:
        hier_title = _STEP.join(heading.title for heading in self.trail) or self.name
        return Passage(self.title, hier_title, body, images, self.page)


class _Unit(NamedTuple):
    """What is not cut any further, the blanks that stood before it, and where it begins."""

    text: str
    glue: str
    start: int


def _goes_on(section: _Section, later: Sequence[_Section]) -> bool:
    following = later[0].trail if later else ()
    return not section.images and following[: len(section.trail)] == section.trail


def _marked(text: str) -> Iterator[tuple[str, re.Match[str] | None]]:
    """Each line, with its match if it is a heading; a comment in fenced code is none."""
    fenced = False
    for line in text.split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
        yield line, None if fenced else _HEADING.fullmatch(line.rstrip())


def _sections(name: str, pages: Sequence[str]) -> Iterator[_Section]:
    trail: tuple[_Heading, ...] = ()
    count = 0
    for page, text in enumerate(pages, start=1):
        section = _Section(name, trail, page, headed=False)
        for line, match in _marked(text):
            if match is None:
                section.lines.append(line)
                continue
            yield section
            level, (title, images) = len(match.group(1)), _parted(match.group(2))
            count += 1
            above = tuple(heading for heading in trail if heading.level < level)
            trail = (*above, _Heading(level, title.strip() or name, count))
            urls = tuple(url for _, url in images)
            section = _Section(name, trail, page, headed=True, images=urls)
        yield section


def _parted(text: str) -> tuple[str, list[tuple[int, str]]]:
    """The text without its images, and the address of each with the place where it stood."""
    kept: list[str] = []
    images = []
    length = end = 0
    for match in _IMAGE.finditer(text):
        kept.append(text[end : match.start()])
        length += len(kept[-1])
        end = match.end()
        images.append((length, match.group(1)))
    return "".join([*kept, text[end:]]), images


def _cut_section(section: _Section) -> Iterator[Passage]:
    text, images = _parted("\n".join(section.lines))
    bodies = list(_packed(_units(text))) or [(section.title, 0)]
    for number, (body, start) in enumerate(bodies):
        end = bodies[number + 1][1] if number + 1 < len(bodies) else len(text) + 1
        first = number == 0
        inside = tuple(url for place, url in images if (first or place >= start) and place < end)
        yield section.passage(body, (*section.images, *inside) if first else inside)


def _packed(units: Iterable[_Unit]) -> Iterator[tuple[str, int]]:
    """Bodies of as many units as go into one, each with the place where it begins."""
    body, start = "", 0
    for unit in units:
        # One character between two units counts for nothing.
        if body and len(body) + len(unit.glue) - 1 + len(unit.text) > LONGEST_BODY:
            yield body, start
            body = ""
        if body:
            body += unit.glue + unit.text
        else:
            body, start = unit.text, unit.start
    if body:
        yield body, start


def _units(text: str) -> Iterator[_Unit]:
    """Paragraphs; of those that are too long, sentences; of those, stretches."""
    for start, paragraph in _paragraphs(text):
        if len(paragraph) <= LONGEST_BODY:
            yield _Unit(paragraph, "\n", start)
            continue
        end = 0
        for match in _SENTENCE.finditer(paragraph):
            for stretch in _STRETCH.finditer(match.group()):
                place = match.start() + stretch.start()
                # Blanks at the end of a stretch belong to the glue of the next.
                glue = paragraph[end:place] if end else "\n"
                yield _Unit(stretch.group().rstrip(), glue, start + place)
                end = place + len(stretch.group().rstrip())


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    edges = [0, *(edge for match in _BLANK_LINES.finditer(text) for edge in match.span()), len(text)]
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        paragraph = text[start:end]
        if paragraph.strip():
            indent = len(paragraph) - len(paragraph.lstrip())
            yield start + indent, paragraph.strip()
