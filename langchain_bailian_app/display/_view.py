"""View of an answer in a notebook or a terminal: `AnswerView(message)`.

Markdown in notebooks and colors in terminals require the `display` extra. The rest works without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_bailian_app.display._html import render_html
from langchain_bailian_app.display._image_urls import find_image_hosts
from langchain_bailian_app.display._parts import parse_message
from langchain_bailian_app.display._terminal import render_rich, render_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

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
        message: The answer to show.
        show_images: Whether HTML contains the pictures of the service, instead of links to them.
            Default: False.
        image_hosts: Further hosts whose https pictures are shown if `show_images` is set, such as
            `"my-bucket.oss-cn-beijing.aliyuncs.com"`.

    Raises:
        ValueError: An item of `image_hosts` is not a host name.
    """

    def __init__(
        self, message: AIMessage, *, show_images: bool = False, image_hosts: Collection[str] = ()
    ) -> None:
        self._answer = parse_message(message)
        self._image_hosts = find_image_hosts(show_images=show_images, image_hosts=image_hosts)

    def __repr__(self) -> str:
        return f"<AnswerView: {len(self._answer.parts)} parts, {len(self._answer.sources)} sources>"

    def __str__(self) -> str:
        return render_text(self._answer)

    def _repr_html_(self) -> str:
        return render_html(self._answer, self._image_hosts)

    def __rich_console__(self, _: Console, __: ConsoleOptions) -> Iterator[RenderableType]:
        yield from render_rich(self._answer)
