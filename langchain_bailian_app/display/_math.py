r"""Protection of formulas in Markdown, whose syntax would change them: `\(E=mc^2\)`, `\[…\]`, `$…$`.

Without it, Markdown removes the backslashes and reads underscores as emphasis. The formulas are shown
as they are written; they are not typeset.
"""

from __future__ import annotations

import re

# Code is skipped. A run of backticks is matched as a whole, so that masses of them take linear time.
_CODE = r"^ {0,3}(?P<fence>`{3,}|~{3,})[^\n]*\n|(?<!`)(?P<ticks>`+)(?!`)"
_OPENING = re.compile(rf"{_CODE}|(?<!\\)(?:\\\\)*(?P<math>\\[(\[]|\$\$?)", re.MULTILINE)
_CLOSING = {r"\(": r"\)", r"\[": r"\]", "$$": "$$", "$": "$"}
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")


def escape_formulas(source: str, placeholder: str) -> str:
    """Return Markdown in which all punctuation of formulas is escaped.

    A placeholder inside a formula is removed, because a citation must not be part of the formula.
    """
    if "$" not in source and "\\" not in source:
        return source
    parts: list[str] = []
    end_of_part = position = 0
    missing: set[str] = set()  # closing delimiters that do not occur any more
    while match := _OPENING.search(source, position):
        position = match.end()
        if fence := match["fence"]:
            position = _find_end_of_fence(source, position, fence, missing)
        elif ticks := match["ticks"]:
            position = _find_after(source, position, ticks, missing)
        else:
            start, opening = match.start("math"), match["math"]
            end = _find_after(source, position, _CLOSING[opening], missing)
            content = source[position : end - len(opening)]
            if end > position and _is_formula(content, opening, source[end : end + 1]):
                formula = source[start:end].replace(placeholder, "")
                parts += (source[end_of_part:start], _PUNCTUATION.sub(r"\\\g<0>", formula))
                end_of_part = position = end
    return "".join((*parts, source[end_of_part:]))


def _is_formula(content: str, opening: str, next_char: str) -> bool:
    """Return whether the text between two delimiters is a formula, and not between two prices."""
    if not content.strip() or _BLANK_LINE.search(content):
        return False
    if opening != "$":
        return True
    return not (content[0].isspace() or content[-1].isspace() or next_char.isdigit())


def _find_after(source: str, position: int, text: str, missing: set[str]) -> int:
    """Return the position after the next occurrence of a text, or `position` if there is none."""
    if text in missing:
        return position
    found = source.find(text, position)
    if found < 0:
        missing.add(text)
        return position
    return found + len(text)


def _find_end_of_fence(source: str, position: int, fence: str, missing: set[str]) -> int:
    """Return the position after the closing fence; an open fence extends to the end."""
    end = _find_after(source, position, f"\n{fence}", missing)
    return end if end > position else len(source)
