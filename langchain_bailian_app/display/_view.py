"""View of an answer in a notebook or a terminal: `AnswerView(message)`.

Markdown in notebooks and colors in terminals require the `display` extra. The rest works without it.
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
    """View of an answer with its reasoning, steps, text, sources and token usage.

    The content of a message never causes an error: blocks that cannot be parsed are shown as raw
    text.

    Setup:
        ```bash
        pip install 'langchain-bailian-app[display]'
        ```

    Instantiate:
        ```python
        from langchain_bailian_app import BailianAppChatModel
        from langchain_bailian_app.display import AnswerView

        answer = BailianAppChatModel().invoke("什么是滞报金？", has_thoughts=True)
        view = AnswerView(answer)  # any `AIMessage`, or the sum of chunks received from a stream
        ```

    Use:
        ```python
        view  # HTML, as the last line of a notebook cell
        print(view)  # plain text; `rich.print(view)` for Markdown and colors
        ```

    Args:
        message: The answer to show.
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
