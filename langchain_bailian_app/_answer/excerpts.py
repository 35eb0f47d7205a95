"""Excerpts that end with a whole word."""

from __future__ import annotations

import re

# Chinese and Japanese text has no spaces; it can be cut after each character.
_PARTIAL_WORD = re.compile(r"[^\s\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef]+\Z")
_MAX_WORD_CHARS = 40


def cut_at_word(text: str, max_chars: int) -> str:
    """Return the beginning of a text, without the start of a word at its end.

    A word of more than 40 characters is cut nevertheless.
    """
    excerpt = text[:max_chars]
    if excerpt == text:
        return text
    partial = _PARTIAL_WORD.search(excerpt, max(0, max_chars - _MAX_WORD_CHARS))
    if partial is None or _PARTIAL_WORD.match(text[max_chars]) is None:
        return excerpt
    is_too_long = partial.start() == max(0, max_chars - _MAX_WORD_CHARS)
    return excerpt if is_too_long else excerpt[: partial.start()]
