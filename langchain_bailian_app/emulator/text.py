"""Text functions shared by several modules: words, sentences, language and token counts.

Pure functions. Chinese text is split into pairs of characters, since that needs no dictionary.
"""

import hashlib
import re

_CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD_OR_CJK_RUN = re.compile(rf"[a-z0-9]+|[{_CJK}]+")
_CHINESE = re.compile(rf"[{_CJK}]")
_SENTENCE_END = re.compile(r"(?<=[。！？!?；\n])|(?<=\. )")
_CHARACTERS_PER_TOKEN = 4
_MAX_PIECE_CHARS = 6

MARKER = re.compile(r"<ref>\[(\d+)\]</ref>")
"""A citation marker in the text of an answer."""


PICTURE = re.compile(r"!\[[^\]]*\]\([^)\s]*\)")
"""A picture in Markdown."""

# Words that occur in nearly every text and do not help a search.
_STOP_WORDS = frozenset(
    {"a", "an", "and", "are", "do", "does", "for", "how", "i", "in"}
    | {"is", "it", "my", "of", "on", "that", "the", "to", "what", "which", "who"}
)


def split_words(text: str) -> list[str]:
    """Split text into search words: ASCII words, and pairs of adjacent Chinese characters."""
    words: list[str] = []
    for run in _WORD_OR_CJK_RUN.findall(text.lower()):
        if run in _STOP_WORDS:
            continue
        if run.isascii() or len(run) == 1:
            words.append(run)
        else:
            words.extend(run[i : i + 2] for i in range(len(run) - 1))
    return words


def split_sentences(text: str) -> list[str]:
    """Split text into sentences without surrounding whitespace."""
    return [sentence.strip() for sentence in _SENTENCE_END.split(text) if sentence.strip()]


def is_chinese(text: str) -> bool:
    """Return whether the text contains a Chinese character."""
    return bool(_CHINESE.search(text))


class TokenCounter:
    """Estimated number of tokens: one per Chinese character, and one per four other characters."""

    def __init__(self, text: str = "") -> None:
        self._chinese_chars = self._other_chars = 0
        self.add(text)

    def add(self, piece: str) -> None:
        """Add the tokens of a piece of text."""
        chinese_count = len(_CHINESE.findall(piece))
        self._chinese_chars += chinese_count
        self._other_chars += len(piece) - chinese_count

    @property
    def tokens(self) -> int:
        """The estimated number of tokens of all pieces."""
        return self._chinese_chars + -(-self._other_chars // _CHARACTERS_PER_TOKEN)


def split_into_pieces(text: str) -> list[str]:
    """Split text into pieces of one to six characters; the same text always yields the same pieces.

    As in the recordings, a picture is one piece, and citation markers are split: `<ref>[4]</` `ref>，`
    and `<ref` `>[2]</ref`.
    """
    boundaries: set[int] = set()
    seed = hashlib.shake_128(text.encode("utf-8", "surrogatepass")).digest(len(text) or 1)
    position = 0
    for byte in seed:
        position += 1 + byte % _MAX_PIECE_CHARS
        boundaries.add(position)
    for number, marker in enumerate(MARKER.finditer(text)):
        start, end = marker.span()
        boundaries -= set(range(start, end + 1))
        boundaries |= {end - len("ref>")} if number % 2 == 0 else {start + len("<ref"), end - 1}
    for picture in PICTURE.finditer(text):
        boundaries -= set(range(*picture.span()))
        boundaries |= set(picture.span())
    offsets = [boundary for boundary in sorted(boundaries) if 0 < boundary < len(text)]
    return [text[a:b] for a, b in zip([0, *offsets], [*offsets, len(text)], strict=True) if a < b]


def strip_markers(text: str) -> str:
    """Remove the citation markers from text."""
    return MARKER.sub("", text)
