"""Converts Word files to Markdown: headings, paragraphs and tables.

Pictures, headers, footers and footnotes are omitted. This module is imported only when a Word file is
read.
"""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import docx
from docx.table import Table
from docx.text.paragraph import Paragraph

_HEADING_STYLE = "Heading "
_MAX_HEADING_LEVEL = 6


def convert_to_markdown(path: Path) -> str:
    """Return a Word file as Markdown, with blank lines between paragraphs and tables."""
    return "\n\n".join(_render_blocks(docx.Document(str(path)).iter_inner_content()))


def _render_blocks(content: Iterable[Paragraph | Table]) -> Iterator[str]:
    for item in content:
        if isinstance(item, Table):
            yield "\n".join(_render_rows(item))
            continue
        text = item.text.strip()
        level = _get_heading_level(item)
        # A Markdown heading must be one line.
        yield f"{'#' * level} {' '.join(text.split())}" if level and text else text


def _render_rows(table: Table) -> Iterator[str]:
    for row in table.rows:
        # `row.cells` contains a cell once for each column it spans.
        cells = [next(duplicates) for _, duplicates in itertools.groupby(row.cells, key=id)]
        texts = (
            " ".join(" ".join(_render_blocks(cell.iter_inner_content())).split()) for cell in cells
        )
        # Without the leading bar, a column named # would start a heading.
        yield f"| {' | '.join(texts)} |"


def _get_heading_level(paragraph: Paragraph) -> int:
    """Return the heading level: 1 for the document title, 2 or more for headings, 0 for other text."""
    name = (paragraph.style.name if paragraph.style else None) or ""
    if name == "Title":
        return 1
    number = name.removeprefix(_HEADING_STYLE)
    return min(int(number) + 1, _MAX_HEADING_LEVEL) if name != number and number.isdigit() else 0
