"""Rendering of an answer as Markdown, for exports of notebooks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_bailian_app.display._citation_placement import insert_placeholders, is_web_url
from langchain_bailian_app.display._parts import Text
from langchain_bailian_app.display._terminal import replace_placeholders

if TYPE_CHECKING:
    from langchain_bailian_app.display._parts import AnswerParts
    from langchain_bailian_app.display._sources import Source

_PUNCTUATION = re.compile(r"([\\`*_{}\[\]<>()#+!|$~-])")


def render_markdown(answer: AnswerParts) -> str:
    """Return the text of an answer with numbered citations, and its sources as a list."""
    sections = [_format_text(part) for part in answer.parts if isinstance(part, Text)]
    if answer.sources:
        items = "\n".join(f"- {_format_source(source)}" for source in answer.sources)
        sections.append(f"**{answer.labels.sources}**\n\n{items}")
    if answer.usage:
        sections.append(f"*{_escape(' · '.join(answer.usage))}*")
    return "\n\n".join(sections)


def _format_text(text: Text) -> str:
    source = insert_placeholders(text.markdown, text.citations)
    labels = ("".join(rf"\[{n}\]" for n in numbers) for numbers in text.citations.values())
    return replace_placeholders(source, labels)


def _format_source(source: Source) -> str:
    number = "" if source.number is None else rf"\[{source.number}\] "
    title = _escape(source.title)
    if is_web_url(source.url):
        title = f"[{title}](<{source.url.replace('>', '%3E').replace('<', '%3C')}>)"
    return number + " · ".join([title, *map(_escape, source.details)])


def _escape(text: str) -> str:
    return _PUNCTUATION.sub(r"\\\1", " ".join(text.split()))
