"""What is new in each text frame, whether the server sends increments or the whole text so far.

We ask for increments (`incremental_output: true`). A server that ignores the flag repeats the whole
text in each frame, and nothing on the wire says which of the two it does. `TextDeltaReader` decides
that once per stream, on evidence; a rule that looks at one frame at a time doubles or eats text.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Any

from langchain_bailian_app._answer import wire_json

# A frame that begins with so many characters of the one before it repeats it: by chance that happens
# to `1` and `1.`, to `哈` and `哈哈`, but not to whole phrases.
MIN_PREFIX_CHARS = 8

_SURROGATE = re.compile("[\ud800-\udfff]")


class _StreamMode(Enum):
    UNDECIDED = auto()
    INCREMENTAL = auto()
    CUMULATIVE = auto()


class TextDeltaReader:
    """Turns the text of frames into what each of them adds.

    Until the stream is decided, the frame in doubt is held back (the first never is: both readings
    agree on it). A stream that ends in doubt is incremental, which is what was asked for, unless its
    last frame repeats all before it.
    """

    def __init__(self) -> None:
        self._mode = _StreamMode.UNDECIDED
        # The text of the frame before; once cumulative, the longest text so far.
        self._previous_text = ""
        self._pending = ""
        # Characters of the first frame, which is all that is shown while in doubt.
        self._first_length = 0
        self._deltas: list[str] = []
        self._previous_usage: Any = None
        self._pending_surrogate = ""

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
        if self._mode is _StreamMode.INCREMENTAL:
            delta = self._strip_emitted_prefix(text) if last else text
        else:
            usage = usage if usage and any(usage.values()) else None
            delta = self._read_delta(text, usage, last=last) if text else ""
            if last:
                delta += self._take_pending()
            if text:
                self._previous_usage = usage
        self._deltas.append(delta)
        return (
            self._join_surrogates(delta)
            if self._pending_surrogate or _SURROGATE.search(delta)
            else delta
        )

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held back."""
        return not self._pending

    def flush(self) -> str:
        """Return what is held when something else begins, so that it does not come behind that."""
        return self._join_surrogates(self._switch_to_incremental("")) if self._pending else ""

    def end(self) -> str:
        """Return what is still held when no more frames come."""
        pending = self._join_surrogates(self._take_pending())
        surrogate, self._pending_surrogate = self._pending_surrogate, ""
        return pending + "\ufffd" if surrogate else pending

    def _read_delta(self, text: str, usage: Any, *, last: bool) -> str:
        if self._mode is _StreamMode.CUMULATIVE:
            return self._read_cumulative(text)
        if not self._previous_text:
            self._previous_text, self._first_length = text, len(text)
            return text
        return self._read_undecided(text, usage, last=last)

    def _strip_emitted_prefix(self, text: str) -> str:
        """Return the rest of a last frame that says all of the answer again."""
        emitted = "".join(self._deltas)
        return (
            text[len(emitted) :]
            if len(emitted) >= MIN_PREFIX_CHARS and text.startswith(emitted)
            else text
        )

    def _read_undecided(self, text: str, usage: Any, *, last: bool) -> str:
        previous, self._previous_text = self._previous_text, text
        if text == previous:
            is_repeated = last and len(text) >= MIN_PREFIX_CHARS
            if not is_repeated and (usage is None or usage != self._previous_usage):
                return self._switch_to_incremental(text)
            return self._switch_to_cumulative(text) if last else ""
        if not text.startswith(_strip_trailing_surrogate(previous)):
            return self._switch_to_incremental(text)
        if last or self._pending or len(previous) >= MIN_PREFIX_CHARS:
            return self._switch_to_cumulative(text)
        self._pending = text
        return ""

    def _switch_to_incremental(self, text: str) -> str:
        self._mode = _StreamMode.INCREMENTAL
        return self._take_pending() + text

    def _switch_to_cumulative(self, text: str) -> str:
        self._mode, self._pending = _StreamMode.CUMULATIVE, ""
        # A half that was held back comes again, with its other half.
        emitted_length, self._pending_surrogate = self._first_length - len(self._pending_surrogate), ""
        self._previous_text = _strip_trailing_surrogate(text)
        return self._previous_text[emitted_length:]

    def _read_cumulative(self, text: str) -> str:
        previous, text = self._previous_text, _strip_trailing_surrogate(text)
        if len(text) > len(previous):
            self._previous_text = text
            return text[len(previous) :]
        if text[:MIN_PREFIX_CHARS] == previous[: len(text)][:MIN_PREFIX_CHARS]:
            return ""  # the same again, or with its end revised
        # Not the text so far at all: rather show an increment of a misread stream than lose it.
        self._previous_text += text
        return text

    def _take_pending(self) -> str:
        pending, self._pending = self._pending, ""
        return pending

    def _join_surrogates(self, text: str) -> str:
        """Join surrogate pairs that two frames share, replace what stays half by U+FFFD."""
        text, self._pending_surrogate = self._pending_surrogate + text, ""
        if text and wire_json.is_high_surrogate(text[-1]):
            text, self._pending_surrogate = text[:-1], text[-1]
        return wire_json.join_surrogates(text)


def _strip_trailing_surrogate(text: str) -> str:
    return text[:-1] if text and wire_json.is_high_surrogate(text[-1]) else text


class StopFilter:
    """Cuts a text before the first of the `stop` sequences; the service knows no such parameter."""

    def __init__(self, stop: list[str]) -> None:
        self._pattern = re.compile("|".join(map(re.escape, stop)))
        self._max_length = max(map(len, stop))
        self._prefixes = {sequence[:n] for sequence in stop for n in range(1, len(sequence))}
        self._pending = ""
        self.hit = False

    def feed(self, text: str) -> str:
        """Return the text that is certainly before any stop sequence."""
        text = self._pending + text
        pending_start = self._find_pending_start(text)
        match = self._pattern.search(text)
        # A match behind the start of a longer sequence waits: that one may still come first.
        if match and match.start() <= pending_start:
            self.hit, self._pending = True, ""
            return text[: match.start()]
        self._pending = text[pending_start:]
        return text[:pending_start]

    def end(self) -> str:
        """Return what was held back, now that no more text comes."""
        pending, self._pending = self._pending, ""
        match = self._pattern.search(pending)
        self.hit = match is not None
        return pending[: match.start()] if match else pending

    def _find_pending_start(self, text: str) -> int:
        for length in range(min(self._max_length - 1, len(text)), 0, -1):
            if text[-length:] in self._prefixes:
                return len(text) - length
        return len(text)
