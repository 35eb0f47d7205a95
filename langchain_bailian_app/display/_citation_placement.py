"""Markdown with citations in it: where they can stand, without changing what stands around them.

HTML inside Markdown stays text, links lead to the web only, and images are links: loading one would
tell its host who reads, and when.
"""

from __future__ import annotations

import itertools
import re
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from markdown_it import MarkdownIt

    from langchain_bailian_app.display._parts import Text

PLACEHOLDER = "\ufdd0"
"""Stands for citations while Markdown is rendered: a noncharacter, which no part contains."""

NEW_TAB = 'target="_blank" rel="noopener noreferrer"'
"""Attributes of links to the web."""

_INSIDE_TAGS_AND_LINKS = re.compile(r"<a .*?</a>|<[^>]*>", re.DOTALL)
_WEB_URL = re.compile(r"https?://[^\s/?#\ufffd][^\s\ufffd]*", re.IGNORECASE)
_MARKUP_CHARS = "*_~`| \t\n"
_MAX_DISTANCE_CHARS = 100
_MAX_RENDERED_CHARS = 400_000  # characters to render in search of places; a dense list takes 3 µs each


def make_markdown_parser() -> MarkdownIt:
    """Return a parser that makes no HTML out of HTML and links to the web only."""
    from markdown_it import MarkdownIt  # noqa: PLC0415  # an extra

    # A model means its line breaks. Link definitions are shown: unused ones would vanish.
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": 100})
    parser.enable(["table", "strikethrough"]).disable("reference")
    parser.validateLink = is_web_url  # type: ignore[method-assign]
    parser.add_render_rule("link_open", _render_link_open)
    parser.add_render_rule("image", _render_image)
    return parser


def is_web_url(url: str) -> bool:
    """Whether a link may lead there."""
    return _WEB_URL.fullmatch(url) is not None


def insert_placeholders(source: str, positions: Iterable[int]) -> str:
    """Return Markdown with a placeholder at each of these places, which ascend."""
    boundaries = [0, *positions, len(source)]
    return PLACEHOLDER.join(source[start:end] for start, end in itertools.pairwise(boundaries))


def place_citations(text: Text, render: Callable[[str], str]) -> tuple[dict[int, list[int]], list[int]]:
    """Return the citations of a text at places that leave the rest of its HTML as it is.

    A placeholder behind a code fence, a table row or `**` would turn them into something else, and one
    in a link would be lost. It then goes to the nearest place that fits. The numbers of those that fit
    nowhere come second.
    """
    if not text.citations:
        return {}, []
    plain_html = render(text.markdown)
    attempts = iter(range(_MAX_RENDERED_CHARS // (len(text.markdown) + 1000)))

    def preserves_html(positions: Iterable[int]) -> bool:
        ascending = sorted(set(positions))
        html = render(insert_placeholders(text.markdown, ascending))
        placeholder_count = _INSIDE_TAGS_AND_LINKS.sub("", html).count(PLACEHOLDER)
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
    """Return places to try: back over what is no word, then onward, then back; never within a word."""
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


def _render_image(renderer: Any, tokens: Any, idx: int, options: Any, env: Any) -> str:
    """Return a link."""
    url = tokens[idx].attrs["src"]
    alt = renderer.renderInlineAsText(tokens[idx].children, options, env) or "image"
    if sum(token.nesting for token in tokens[:idx] if token.type.startswith("link_")):
        return escape(f"{alt} ({url})")  # links do not nest
    return f'<a href="{escape(url)}" {NEW_TAB}>{escape(alt)}</a>'
