"""View of an answer in a notebook or a terminal: `AnswerView(message)`.

Markdown in notebooks and colors in terminals require the `display` extra. The rest works without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage

from langchain_bailian_app.display._html import render_html
from langchain_bailian_app.display._image_urls import find_image_hosts
from langchain_bailian_app.display._markdown import render_markdown
from langchain_bailian_app.display._parts import parse_message
from langchain_bailian_app.display._terminal import render_rich, render_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from rich.console import Console, ConsoleOptions, RenderableType


class AnswerView:
    """View of an answer with its reasoning, steps, text, sources and token usage.

    The content of a message never causes an error: blocks that cannot be parsed are shown as raw
    text. The dict of a message is accepted too, because a LangGraph checkpoint returns the artifact of
    a `ToolMessage` as a dict.

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

    Images:
        An application may answer with pictures, as Markdown with signed URLs that expire. They are
        shown as links, because a document may contain the URL of any host, and loading a picture
        reveals to its host who reads the answer, and when. With `show_images=True`, a notebook also
        shows https pictures in the text if they are on a known storage host of the service: the
        buckets `bailian-datahub-data-origin-prod` and `docmind-api-cn-hangzhou` in Hangzhou for
        documents, and `dashscope-result-bj`, `-sgp`, `-sh`, `-sz` and `-wlcb-acdr-1` for generated
        pictures. Any customer can create other buckets under `aliyuncs.com`: add yours to
        `image_hosts`. Terminals never load pictures.

    Args:
        message: The answer to show: an `AIMessage`, a sum of chunks, or the dict of one of them
            (`model_dump`).
        show_images: Whether HTML contains the pictures of the service, instead of links to them.
            Default: False.
        image_hosts: Further hosts whose https pictures are shown if `show_images` is set, such as
            `"my-bucket.oss-cn-beijing.aliyuncs.com"`.

    Raises:
        TypeError: `message` is something else.
        ValueError: An item of `image_hosts` is not a host name.
    """

    def __init__(
        self,
        message: AIMessage | dict[str, Any],
        *,
        show_images: bool = False,
        image_hosts: Collection[str] = (),
    ) -> None:
        self._answer = parse_message(_read_message(message))
        self._image_hosts = find_image_hosts(show_images=show_images, image_hosts=image_hosts)

    def __repr__(self) -> str:
        return f"<AnswerView: {len(self._answer.parts)} parts, {len(self._answer.sources)} sources>"

    def __str__(self) -> str:
        return render_text(self._answer)

    def _repr_html_(self) -> str:
        return render_html(self._answer, self._image_hosts)

    def _repr_markdown_(self) -> str:
        # nbconvert prefers it in exports to LaTeX and PDF.
        return render_markdown(self._answer)

    def __rich_console__(self, _: Console, __: ConsoleOptions) -> Iterator[RenderableType]:
        yield from render_rich(self._answer)


def _read_message(value: Any) -> AIMessage:
    """Return a message as it is, and the dict of a message as a message.

    Raises:
        TypeError: The value is something else.
    """
    cause: Exception | None = None
    match value:
        case AIMessage():
            return value
        case {"type": "ai" | "AIMessageChunk" as message_type}:
            message_class = AIMessage if message_type == "ai" else AIMessageChunk
            try:
                return message_class.model_validate(value)
            except Exception as exc:  # noqa: BLE001  # LangChain's validators do not check types
                problem, cause = "a dict with invalid fields", exc
        case ToolMessage():
            problem = "ToolMessage: pass its `artifact`"
        case dict():
            problem = f"a dict with the type {value.get('type')!r}"
        case _:
            problem = type(value).__name__
    message = f"invalid `message`: expected an `AIMessage`, or the dict of one, got {problem}"
    raise TypeError(message) from cause
