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

PLACE = "\ufdd0"
"""Stands for citations while Markdown is rendered: a noncharacter, which no part contains."""

NEW_TAB = 'target="_blank" rel="noopener noreferrer"'
"""Attributes of links to the web."""

_INSIDE_TAGS_AND_LINKS = re.compile(r"<a .*?</a>|<[^>]*>", re.DOTALL)
_WEB_URL = re.compile(r"https?://[^\s/?#\ufffd][^\s\ufffd]*", re.IGNORECASE)
_MARKUP = "*_~`| \t\n"
_NEAR = 100
_WORK = 400_000  # characters to render in search of places; a dense list takes 3 µs each


def markdown() -> MarkdownIt:
    """Return a parser that makes no HTML out of HTML and links to the web only."""
    from markdown_it import MarkdownIt  # noqa: PLC0415  # an extra

    # A model means its line breaks. Link definitions are shown: unused ones would vanish.
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": 100})
    parser.enable(["table", "strikethrough"]).disable("reference")
    parser.validateLink = is_web_url  # type: ignore[method-assign]
    parser.add_render_rule("link_open", _link_open)
    parser.add_render_rule("image", _image)
    return parser


def is_web_url(url: str) -> bool:
    """Whether a link may lead there."""
    return _WEB_URL.fullmatch(url) is not None


def inserted(source: str, places: Iterable[int]) -> str:
    """Return Markdown with a placeholder at each of these places, which ascend."""
    cuts = [0, *places, len(source)]
    return PLACE.join(source[start:end] for start, end in itertools.pairwise(cuts))


def settled(text: Text, render: Callable[[str], str]) -> tuple[dict[int, list[int]], list[int]]:
    """Return the marks of a text at places that leave the rest of its HTML as it is.

    A placeholder behind a code fence, a table row or `**` would turn them into something else, and one
    in a link would be lost. It then goes to the nearest place that fits. The numbers of those that fit
    nowhere come second.
    """
    if not text.marks:
        return {}, []
    plain = render(text.source)
    trials = iter(range(_WORK // (len(text.source) + 1000)))

    def fits(places: Iterable[int]) -> bool:
        ascending = sorted(set(places))
        html = render(inserted(text.source, ascending))
        seen = _INSIDE_TAGS_AND_LINKS.sub("", html).count(PLACE)
        return seen == len(ascending) and html.replace(PLACE, "") == plain

    def search(places: list[int]) -> dict[int, int]:
        before_markup = [len(text.source[:place].rstrip(_MARKUP)) for place in places]
        guesses = [places, before_markup]
        if len(places) == 1:
            guesses += [[at] for at in _near(text.source, places[0])]
        for guess in guesses:
            if next(trials, None) is not None and fits(guess):
                return dict(zip(places, guess, strict=True))
        half = len(places) // 2
        return search(places[:half]) | search(places[half:]) if half else {}

    found = search(list(text.marks))
    if not fits(found.values()):
        found = {}
    marks: dict[int, list[int]] = {}
    rest: dict[int, None] = {}
    for place, numbers in text.marks.items():
        if place in found:
            marks.setdefault(found[place], []).extend(numbers)
        else:
            rest |= dict.fromkeys(numbers)
    return dict(sorted(marks.items())), list(rest)


def _near(source: str, place: int) -> list[int]:
    """Return places to try: back over what is no word, then onward, then back; never within a word."""
    back = range(place - 1, max(place - _NEAR, 0) - 1, -1)
    onward = range(place + 1, min(place + _NEAR, len(source)) + 1)
    first = itertools.takewhile(lambda at: not source[at].isalnum(), back)
    between = (
        at
        for at in (*onward, *back)
        if not (source[at - 1 : at].isalnum() and source[at : at + 1].isalnum())
    )
    return [*first, *between]


def _link_open(renderer: Any, tokens: Any, idx: int, options: Any, env: Any) -> str:
    tokens[idx].attrs |= {"target": "_blank", "rel": "noopener noreferrer"}
    html: str = renderer.renderToken(tokens, idx, options, env)
    return html


def _image(renderer: Any, tokens: Any, idx: int, options: Any, env: Any) -> str:
    """Return a link."""
    url = tokens[idx].attrs["src"]
    alt = renderer.renderInlineAsText(tokens[idx].children, options, env) or "image"
    if sum(token.nesting for token in tokens[:idx] if token.type.startswith("link_")):
        return escape(f"{alt} ({url})")  # links do not nest
    return f'<a href="{escape(url)}" {NEW_TAB}>{escape(alt)}</a>'
