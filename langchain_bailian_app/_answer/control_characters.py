"""Replacement of characters that a terminal would interpret in texts of the service."""

from __future__ import annotations

import re

# Control characters, lone surrogates, and noncharacters. The placeholder for citations in Markdown is a
# noncharacter. Of the characters for text direction, only embeddings and overrides are replaced. Marks
# and isolates belong to the spelling of texts in Arabic and Hebrew, and end with their paragraph.
_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


def replace_control_characters(text: str) -> str:
    """Return a text with U+FFFD in place of each control character except tabs and line feeds.

    Code points keep their positions.
    """
    return _UNPRINTABLE.sub("\ufffd", text.replace("\r\n", " \n").replace("\r", "\n"))
