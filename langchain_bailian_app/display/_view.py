"""Answers to look at, in a notebook or a terminal: `AnswerView(message)`.

Markdown in notebooks, and colours in terminals, need the extra `display`; the rest does without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_bailian_app.display._html import render_html
from langchain_bailian_app.display._parts import parse_message
from langchain_bailian_app.display._terminal import render_rich, render_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.messages import AIMessage
    from rich.console import Console, ConsoleOptions, RenderableType


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
        self._answer = parse_message(message)

    def __repr__(self) -> str:
        return f"<AnswerView: {len(self._answer.parts)} parts, {len(self._answer.sources)} sources>"

    def __str__(self) -> str:
        return render_text(self._answer)

    def _repr_html_(self) -> str:
        return render_html(self._answer)

    def __rich_console__(self, _: Console, __: ConsoleOptions) -> Iterator[RenderableType]:
        yield from render_rich(self._answer)
