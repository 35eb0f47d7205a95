"""Rendering of an answer as plain text, or in a terminal with rich."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, assert_never

from langchain_bailian_app.display._citation_placement import (
    PLACEHOLDER,
    insert_placeholders,
    make_markdown_parser,
    place_citations,
)
from langchain_bailian_app.display._parts import GenericBlock, Reasoning, Step, Text
from langchain_bailian_app.display._sources import Source, make_excerpt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import RenderableType

    from langchain_bailian_app.display._labels import Labels
    from langchain_bailian_app.display._parts import AnswerParts

_MISSING_PACKAGE = (
    "missing package rich, required for colors and formatting in the terminal: "
    "pip install 'langchain-bailian-app[display]'"
)


def render_text(answer: AnswerParts) -> str:
    """Return an answer as plain text."""
    return "\n\n".join(map(_format_section, _iter_sections(answer)))


def render_rich(answer: AnswerParts) -> Iterator[RenderableType]:
    """Yield an answer as renderables for rich.

    Raises:
        ModuleNotFoundError: rich is not installed.
    """
    try:
        from rich.padding import Padding  # noqa: PLC0415  # an extra
        from rich.text import Text as RichText  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError(_MISSING_PACKAGE, name=exc.name) from exc
    for section in _iter_sections(answer):
        if isinstance(section, Text):
            yield Padding(_render_markdown(section), (0, 0, 1, 0))
            continue
        heading, body = section
        yield RichText(heading, style="bold cyan")
        yield Padding(RichText(body, style="dim"), (0, 0, 1, 2) if body else 0)


def _iter_sections(answer: AnswerParts) -> Iterator[Text | tuple[str, str]]:
    """Yield each text as it is, and each of the remaining sections as a pair of heading and body."""
    labels = answer.labels
    for part in answer.parts:
        match part:
            case Text():
                yield part
            case Reasoning():
                yield labels.reasoning, part.text
            case Step():
                yield part.name, "\n".join(_iter_step_lines(part, labels))
            case GenericBlock():
                yield part.kind, part.text
            case _:
                assert_never(part)
    if answer.sources:
        yield labels.sources, "\n".join(map(_format_source, answer.sources))
    if answer.usage:
        yield labels.usage, " · ".join(answer.usage)


def _iter_step_lines(step: Step, labels: Labels) -> Iterator[str]:
    for name, value in step.args:
        yield f"{name}: {value}" if name else value
    if not step.done:
        yield f"({labels.no_result})"
    if step.failed:
        yield f"({labels.failed})"
    if step.result:
        yield step.result
    yield from map(_format_source, step.hits)


def _format_source(source: Source) -> str:
    number = [] if source.number is None else [f"[{source.number}]"]
    head = " ".join([*number, " · ".join([source.title, *source.details])])
    indented_lines = [source.url, *source.images, *source.videos, make_excerpt(source.text)]
    return "\n".join([head, *(f"    {line}" for line in indented_lines if line)])


def _format_section(section: Text | tuple[str, str]) -> str:
    if isinstance(section, Text):
        text = insert_placeholders(section.markdown, section.citations)
        return replace_placeholders(text, map(_format_labels, section.citations.values()))
    heading, body = section
    return f"{heading}\n{textwrap.indent(body, '  ')}" if body else heading


def _format_labels(numbers: Iterable[int]) -> str:
    return "".join(f"[{number}]" for number in numbers)


def replace_placeholders(text: str, labels: Iterator[str]) -> str:
    """Replace each placeholder with the next label."""
    return re.sub(PLACEHOLDER, lambda _: next(labels), text)


def _render_markdown(text: Text) -> RenderableType:
    from rich.markdown import Markdown  # noqa: PLC0415  # an extra

    # No images and no terminal hyperlinks, so that the reader sees the target of each link.
    parser = make_markdown_parser().disable("image")
    citations, unplaced = place_citations(text, parser.render)
    labels = map(_format_labels, [*citations.values(), unplaced])
    rendered = Markdown("", hyperlinks=False)
    source = insert_placeholders(text.markdown, citations)
    rendered.parsed = parser.parse(f"{source}\n\n{PLACEHOLDER}" if unplaced else source)
    for token in rendered.parsed:
        for leaf in token.children or [token]:
            leaf.content = replace_placeholders(leaf.content, labels)
            leaf.type = "hardbreak" if leaf.type == "softbreak" else leaf.type
    return rendered
