"""What is new in each text frame, whether the server sends increments or the whole text so far.

We ask for increments (`incremental_output: true`). A server that ignores the flag repeats the whole
text in each frame, and nothing on the wire says which of the two it does. `TextChannel` decides that
once per stream, on evidence; a rule that looks at one frame at a time doubles or eats text.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Any

from langchain_bailian_app._answer import wire_json

# A frame that begins with so many characters of the one before it repeats it: by chance that happens
# to `1` and `1.`, to `哈` and `哈哈`, but not to whole phrases.
_PHRASE = 8

_HALF = re.compile("[\ud800-\udfff]")


class _Mode(Enum):
    UNDECIDED = auto()
    INCREMENTAL = auto()
    CUMULATIVE = auto()


class TextChannel:
    """Turns the text of frames into what each of them adds.

    Until the stream is decided, the frame in doubt is held back (the first never is: both readings
    agree on it). A stream that ends in doubt is incremental, which is what was asked for, unless its
    last frame repeats all before it.
    """

    def __init__(self) -> None:
        self._mode = _Mode.UNDECIDED
        self._last = ""  # the text of the frame before; once cumulative, the longest text so far
        self._held = ""
        self._shown = 0  # characters of the first frame, which is all that is shown while in doubt
        self._said: list[str] = []
        self._usage: Any = None
        self._half = ""

    def feed(self, text: str, usage: Any = None, *, last: bool = False) -> str:
        """Return what this frame adds to the text; empty while in doubt.

        Args:
            text: The text of the frame.
            usage: The usage snapshot of the frame: an equal text is a repetition if this did not
                move, and an increment otherwise. An empty one tells nothing.
            last: Whether this frame ends the answer.
        """
        if not (text or last):
            return ""
        if self._mode is _Mode.INCREMENTAL:
            new = self._remainder(text) if last else text
        else:
            usage = usage if usage and any(usage.values()) else None
            new = self._new(text, usage, last=last) if text else ""
            if last:
                new += self._release()
            if text:
                self._usage = usage
        self._said.append(new)
        return self._without_halves(new) if self._half or _HALF.search(new) else new

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held back."""
        return not self._held

    def pause(self) -> str:
        """Return what is held when something else begins, so that it does not come behind that."""
        return self._without_halves(self._settle_incremental("")) if self._held else ""

    def end(self) -> str:
        """Return what is still held when no more frames come."""
        rest = self._without_halves(self._release())
        half, self._half = self._half, ""
        return rest + "\ufffd" if half else rest

    def _new(self, text: str, usage: Any, *, last: bool) -> str:
        if self._mode is _Mode.CUMULATIVE:
            return self._grown(text)
        if not self._last:
            self._last, self._shown = text, len(text)
            return text
        return self._compared(text, usage, last=last)

    def _remainder(self, text: str) -> str:
        """Return the rest of a last frame that says all of the answer again."""
        said = "".join(self._said)
        return text[len(said) :] if len(said) >= _PHRASE and text.startswith(said) else text

    def _compared(self, text: str, usage: Any, *, last: bool) -> str:
        before, self._last = self._last, text
        if text == before:
            repeated = last and len(text) >= _PHRASE
            if not repeated and (usage is None or usage != self._usage):
                return self._settle_incremental(text)
            return self._settle_cumulative(text) if last else ""
        if not text.startswith(_without_half(before)):
            return self._settle_incremental(text)
        if last or self._held or len(before) >= _PHRASE:
            return self._settle_cumulative(text)
        self._held = text
        return ""

    def _settle_incremental(self, text: str) -> str:
        self._mode = _Mode.INCREMENTAL
        return self._release() + text

    def _settle_cumulative(self, text: str) -> str:
        self._mode, self._held = _Mode.CUMULATIVE, ""
        # A half that was held back comes again, with its other half.
        shown, self._half = self._shown - len(self._half), ""
        self._last = _without_half(text)
        return self._last[shown:]

    def _grown(self, text: str) -> str:
        before, text = self._last, _without_half(text)
        if len(text) > len(before):
            self._last = text
            return text[len(before) :]
        if text[:_PHRASE] == before[: len(text)][:_PHRASE]:
            return ""  # the same again, or with its end revised
        # Not the text so far at all: rather show an increment of a misread stream than lose it.
        self._last += text
        return text

    def _release(self) -> str:
        held, self._held = self._held, ""
        return held

    def _without_halves(self, text: str) -> str:
        """Join surrogate pairs that two frames share, replace what stays half by U+FFFD."""
        text, self._half = self._half + text, ""
        if text and wire_json.is_high(text[-1]):
            text, self._half = text[:-1], text[-1]
        return wire_json.whole(text)


def _without_half(text: str) -> str:
    return text[:-1] if text and wire_json.is_high(text[-1]) else text


class StopFilter:
    """Cuts a text before the first of the `stop` sequences; the service knows no such parameter."""

    def __init__(self, stop: list[str]) -> None:
        self._pattern = re.compile("|".join(map(re.escape, stop)))
        self._longest = max(map(len, stop))
        self._starts = {sequence[:n] for sequence in stop for n in range(1, len(sequence))}
        self._held = ""
        self.hit = False

    def feed(self, text: str) -> str:
        """Return the text that is certainly before any stop sequence."""
        text = self._held + text
        open_from = self._open_from(text)
        match = self._pattern.search(text)
        # A match behind the start of a longer sequence waits: that one may still come first.
        if match and match.start() <= open_from:
            self.hit, self._held = True, ""
            return text[: match.start()]
        self._held = text[open_from:]
        return text[:open_from]

    def end(self) -> str:
        """Return what was held back, now that no more text comes."""
        held, self._held = self._held, ""
        match = self._pattern.search(held)
        self.hit = match is not None
        return held[: match.start()] if match else held

    def _open_from(self, text: str) -> int:
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            if text[-length:] in self._starts:
                return len(text) - length
        return len(text)
