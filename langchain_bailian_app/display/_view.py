"""Answers to look at, in a notebook or a terminal: `AnswerView(message)`.

Markdown in notebooks, and colours in terminals, need the extra `display`; the rest does without.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

from langchain_bailian_app.display._html import page
from langchain_bailian_app.display._markdown import PLACE, inserted, markdown, settled
from langchain_bailian_app.display._parts import Reasoning, Step, Text, read
from langchain_bailian_app.display._sources import Source, excerpt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from langchain_core.messages import AIMessage
    from rich.console import Console, ConsoleOptions, RenderableType

    from langchain_bailian_app.display._parts import Shown

_MISSING = 'colours need the package rich: pip install "langchain-bailian-app[display]"'


class AnswerView:
    """An answer with its reasoning, steps, text and sources.

    Setup:
        ```bash
        pip install 'langchain-bailian-app[display]'
        ```

    Instantiate:
        ```python
        from langchain_bailian_app import BailianAppChatModel
        from langchain_bailian_app.display import AnswerView

        answer = BailianAppChatModel().invoke("什么是滞报金？", has_thoughts=True)
        view = AnswerView(answer)  # any `AIMessage`, also the sum of the chunks of a stream so far
        ```

    Use:
        ```python
        view  # as the last line of a cell of a notebook: HTML
        print(view)  # plain text; `rich.print(view)` with Markdown and colours
        ```
    """

    def __init__(self, message: AIMessage) -> None:
        self._shown = read(message)

    def __repr__(self) -> str:
        return f"<AnswerView: {len(self._shown.parts)} parts, {len(self._shown.sources)} sources>"

    def __str__(self) -> str:
        return "\n\n".join(map(_plain, _sections(self._shown)))

    def _repr_html_(self) -> str:
        return page(self._shown)

    def __rich_console__(self, _: Console, __: ConsoleOptions) -> Iterator[RenderableType]:
        try:
            from rich.padding import Padding  # noqa: PLC0415  # an extra
            from rich.text import Text as Line  # noqa: PLC0415  # an extra
        except ModuleNotFoundError as exc:
            raise ModuleNotFoundError(_MISSING, name=exc.name) from exc
        for section in _sections(self._shown):
            if isinstance(section, Text):
                yield Padding(_markdown(section), (0, 0, 1, 0))
                continue
            heading, body = section
            yield Line(heading, style="bold cyan")
            yield Padding(Line(body, style="dim"), (0, 0, 1, 2) if body else 0)


def _sections(shown: Shown) -> Iterator[Text | tuple[str, str]]:
    """Return the texts, and between them headings with what belongs to them."""
    for part in shown.parts:
        match part:
            case Text():
                yield part
            case Reasoning():
                yield "Reasoning", part.text
            case Step():
                yield part.name, "\n".join(_step_lines(part))
            case _:
                yield part.kind, part.text
    if shown.sources:
        yield "Sources", "\n".join(map(_entry, shown.sources))
    if shown.usage:
        yield "Usage", " · ".join(shown.usage)


def _step_lines(step: Step) -> Iterator[str]:
    for name, value in step.args:
        yield f"{name}: {value}" if name else value
    if not step.done:
        yield "(no result yet)"
    if step.failed:
        yield "(failed)"
    if step.result:
        yield step.result
    yield from map(_entry, step.hits)


def _entry(source: Source) -> str:
    number = [] if source.number is None else [f"[{source.number}]"]
    head = " ".join([*number, " · ".join([source.title, *source.about])])
    below = [source.url, *source.images, excerpt(source.text)]
    return "\n".join([head, *(f"    {line}" for line in below if line)])


def _plain(section: Text | tuple[str, str]) -> str:
    if isinstance(section, Text):
        text = inserted(section.source, section.marks)
        return _labelled(text, map(_labels, section.marks.values()))
    heading, body = section
    return f"{heading}\n{textwrap.indent(body, '  ')}" if body else heading


def _labels(numbers: Iterable[int]) -> str:
    return "".join(f"[{number}]" for number in numbers)


def _labelled(text: str, labels: Iterator[str]) -> str:
    return re.sub(PLACE, lambda _: next(labels), text)


def _markdown(text: Text) -> RenderableType:
    from rich.markdown import Markdown  # noqa: PLC0415  # an extra

    # Without pictures and hyperlinks: where a link leads is to be read, not to be guessed.
    parser = markdown().disable("image")
    marks, rest = settled(text, parser.render)
    labels = map(_labels, [*marks.values(), rest])
    shown = Markdown("", hyperlinks=False)
    source = inserted(text.source, marks)
    shown.parsed = parser.parse(f"{source}\n\n{PLACE}" if rest else source)
    for token in shown.parsed:
        for leaf in token.children or [token]:
            leaf.content = _labelled(leaf.content, labels)
            leaf.type = "hardbreak" if leaf.type == "softbreak" else leaf.type
    return shown
