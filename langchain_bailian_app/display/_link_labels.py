"""Search for the ends of link labels in Markdown, in time proportional to the length of the text.

markdown-it-py scans from each `[` over all brackets nested in it, up to its nesting limit. Text such as
`[[[[[[` takes 100 times as long as other text.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it import MarkdownIt


def use_linear_link_labels(parser: MarkdownIt) -> None:
    """Replace the parser's search for the ends of link labels by one with the same results."""
    helpers = SimpleNamespace(**vars(parser.helpers))
    helpers.parseLinkLabel = find_label_end
    parser.helpers = helpers  # type: ignore[assignment]  # the default is a module


def find_label_end(state: Any, start: int, disable_nested: bool = False) -> int:
    """Return the position of the `]` for the `[` at `start`, or -1 if there is none.

    Args:
        state: The `StateInline` of markdown-it-py. Its cache also keeps the results of this function.
        start: Position of the opening bracket.
        disable_nested: Whether a label that contains a link has no end.
    """
    key = (start, disable_nested)
    if key not in state.cache:
        state.cache[key] = _scan_label(state, start, disable_nested)
    end: int = state.cache[key]
    return end


def _scan_label(state: Any, start: int, disable_nested: bool) -> int:
    original_position = state.pos
    state.pos = start + 1
    label_end = -1
    while state.pos < state.posMax:
        position = state.pos
        if state.src[position] == "]":
            label_end = position
            break
        state.md.inline.skipToken(state)
        if state.src[position] == "[":
            if state.pos == position + 1:  # not a link: continue after its closing bracket
                state.pos = find_label_end(state, position, disable_nested) + 1
                if state.pos == 0:
                    break
            elif disable_nested:
                break
    state.pos = original_position
    return label_end
