"""Placement of citations in Markdown, without a change to the HTML around them.

HTML inside Markdown is shown as text. Only links to the web become links. Images become links too,
because loading an image would reveal to its host who reads the answer, and when. Images of hosts that
the caller trusts are shown.
"""

from __future__ import annotations

import itertools
import re
from html import escape
from typing import TYPE_CHECKING, Any

from langchain_bailian_app.display._image_urls import is_image_of
from langchain_bailian_app.display._link_labels import use_linear_link_labels
from langchain_bailian_app.display._math import escape_formulas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from markdown_it import MarkdownIt

    from langchain_bailian_app.display._parts import Text

PLACEHOLDER = "\ufdd0"
"""Placeholder for citations while Markdown is rendered: a noncharacter, which no part contains."""

NEW_TAB = 'target="_blank" rel="noopener noreferrer"'
"""HTML attributes of links to the web."""

# Without a referrer, the host does not learn the address of the page that shows the answer.
_IMAGE_ATTRIBUTES = 'loading="lazy" referrerpolicy="no-referrer" style="max-width:100%;max-height:30em"'
# Links and inline code. A citation after a code block has no other place than its last line.
_NO_CITATIONS = re.compile(r"<a .*?</a>|(?<!<pre>)<code>.*?</code>|<[^>]*>", re.DOTALL)
_WEB_URL = re.compile(r"https?://[^\s/?#\ufffd][^\s\ufffd]*", re.IGNORECASE)
# Numbers, dates, times and amounts, which break at hyphens and spaces.
_NUMERIC_CELL = re.compile(r"(?=.*\d)[-+−–~≈<>≤≥()\d\s.,:/%‰°$€£¥￥]{1,32}")
_MARKUP_CHARS = "*_~`| \t\n"
_MAX_DISTANCE_CHARS = 100
_MAX_RENDERED_CHARS = 400_000  # total for one search; rendering a dense list takes 3 µs per character


def make_markdown_parser(image_hosts: frozenset[str] = frozenset()) -> MarkdownIt:
    """Return a parser that escapes HTML, renders links to the web, and shows images of these hosts."""
    from markdown_it import MarkdownIt  # noqa: PLC0415  # an extra

    # Line breaks in a model's text are intentional. Link definitions are shown as text, because unused
    # ones would disappear.
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": 100})
    parser.enable(["table", "strikethrough"]).disable("reference")
    use_linear_link_labels(parser)
    parser.core.ruler.before("block", "formulas", _escape_formulas)
    parser.validateLink = is_web_url  # type: ignore[method-assign]
    parser.add_render_rule("link_open", _render_link_open)
    parser.add_render_rule("td_open", _render_cell_open)

    def render_image(renderer: Any, tokens: Any, idx: int, options: Any, env: Any) -> str:
        return _render_image(renderer, tokens, idx, options, env, image_hosts=image_hosts)

    parser.add_render_rule("image", render_image)
    return parser


def _escape_formulas(state: Any) -> None:
    state.src = escape_formulas(state.src, PLACEHOLDER)


def is_web_url(url: str) -> bool:
    """Return whether the URL may be rendered as a link."""
    return _WEB_URL.fullmatch(url) is not None


def insert_placeholders(source: str, positions: Iterable[int]) -> str:
    """Return Markdown with a placeholder at each of the positions, which must be in ascending order."""
    boundaries = [0, *positions, len(source)]
    return PLACEHOLDER.join(source[start:end] for start, end in itertools.pairwise(boundaries))


def place_citations(text: Text, render: Callable[[str], str]) -> tuple[dict[int, list[int]], list[int]]:
    """Return the citations at positions that leave the other HTML unchanged, and the unplaced ones.

    A placeholder after a code fence, a table row or `**` would break that markup. A placeholder inside
    a link would be lost, and inside inline code it would look like code. Such a citation moves to the
    nearest position that fits. The second value contains the source numbers of citations that fit
    nowhere.
    """
    if not text.citations:
        return {}, []
    plain_html = render(text.markdown)
    attempts = iter(range(_MAX_RENDERED_CHARS // (len(text.markdown) + 1000)))

    def preserves_html(positions: Iterable[int]) -> bool:
        ascending = sorted(set(positions))
        html = render(insert_placeholders(text.markdown, ascending))
        placeholder_count = _NO_CITATIONS.sub("", html).count(PLACEHOLDER)
        return placeholder_count == len(ascending) and html.replace(PLACEHOLDER, "") == plain_html

    def find_positions(positions: list[int]) -> dict[int, int]:
        before_markup = [len(text.markdown[:position].rstrip(_MARKUP_CHARS)) for position in positions]
        candidates = [positions, before_markup]
        if len(positions) == 1:
            candidates += [[position] for position in _nearby_positions(text.markdown, positions[0])]
        for candidate in candidates:
            if next(attempts, None) is not None and preserves_html(candidate):
                return dict(zip(positions, candidate, strict=True))
        middle = len(positions) // 2
        return find_positions(positions[:middle]) | find_positions(positions[middle:]) if middle else {}

    new_positions = find_positions(list(text.citations))
    if not preserves_html(new_positions.values()):
        new_positions = {}
    citations: dict[int, list[int]] = {}
    unplaced: dict[int, None] = {}
    for position, numbers in text.citations.items():
        if position in new_positions:
            citations.setdefault(new_positions[position], []).extend(numbers)
        else:
            unplaced |= dict.fromkeys(numbers)
    return dict(sorted(citations.items())), list(unplaced)


def _nearby_positions(source: str, position: int) -> list[int]:
    """Return candidate positions, never inside a word, in the order in which they are tried.

    The search first goes back to the end of the previous word, then forward, then back past that word.
    """
    backward = range(position - 1, max(position - _MAX_DISTANCE_CHARS, 0) - 1, -1)
    forward = range(position + 1, min(position + _MAX_DISTANCE_CHARS, len(source)) + 1)
    over_non_words = itertools.takewhile(lambda at: not source[at].isalnum(), backward)
    outside_words = (
        at
        for at in (*forward, *backward)
        if not (source[at - 1 : at].isalnum() and source[at : at + 1].isalnum())
    )
    return [*over_non_words, *outside_words]


def _render_link_open(renderer: Any, tokens: Any, idx: int, options: Any, env: Any) -> str:
    tokens[idx].attrs |= {"target": "_blank", "rel": "noopener noreferrer"}
    html: str = renderer.renderToken(tokens, idx, options, env)
    return html


def _render_cell_open(renderer: Any, tokens: Any, idx: int, options: Any, env: Any) -> str:
    if _NUMERIC_CELL.fullmatch(tokens[idx + 1].content.replace(PLACEHOLDER, "")):
        tokens[idx].attrs["class"] = "ba-nowrap"
    html: str = renderer.renderToken(tokens, idx, options, env)
    return html


def _render_image(
    renderer: Any, tokens: Any, idx: int, options: Any, env: Any, *, image_hosts: frozenset[str]
) -> str:
    """Return a link to the image, or plain text if the image is inside another link.

    An image of a trusted host is shown: in a link to itself, or in the other link.
    """
    url = tokens[idx].attrs["src"]
    alt = renderer.renderInlineAsText(tokens[idx].children, options, env) or "image"
    is_inside_link = sum(token.nesting for token in tokens[:idx] if token.type.startswith("link_"))
    if is_image_of(url, image_hosts):
        html = f'<img src="{escape(url)}" alt="{escape(alt)}" {_IMAGE_ATTRIBUTES}>'
    elif is_inside_link:
        return escape(f"{alt} ({url})")  # links cannot be nested
    else:
        html = escape(alt)
    return html if is_inside_link else f'<a href="{escape(url)}" {NEW_TAB}>{html}</a>'
