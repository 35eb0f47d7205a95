"""Reader of the new text in each frame, and the filter for `stop` sequences.

The request asks for increments (`incremental_output: true`). A server that ignores the flag repeats the
whole text in each frame, and no field of the response indicates whether it does.
`TextDeltaReader` decides this once per stream, after comparing frames. A decision for each frame alone
would duplicate or drop text.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Any

from langchain_bailian_app._answer import wire_json

# Minimum length of the previous frame's text for a frame that begins with it to count as a repetition.
# Shorter text may match by chance (`1` and `1.`, `哈` and `哈哈`), but whole phrases do not.
MIN_PREFIX_CHARS = 8

_SURROGATE = re.compile("[\ud800-\udfff]")


class _StreamMode(Enum):
    UNDECIDED = auto()
    INCREMENTAL = auto()
    CUMULATIVE = auto()


class TextDeltaReader:
    """Converts the text of each frame into the text that it adds.

    Until the mode is decided, ambiguous frames are buffered. The first frame is emitted at once,
    because it is new text in both modes. If the mode is still undecided at the end of the stream, it is
    incremental, as requested, unless the last frame repeats all text before it.
    """

    def __init__(self) -> None:
        self._mode = _StreamMode.UNDECIDED
        # Text of the previous frame; in cumulative mode, the longest text so far.
        self._previous_text = ""
        self._pending = ""
        # Length of the first frame, the only text that is emitted while the mode is undecided.
        self._first_length = 0
        self._deltas: list[str] = []
        self._previous_usage: Any = None
        self._pending_surrogate = ""

    def feed(self, text: str, usage: Any = None, *, last: bool = False) -> str:
        """Return the text that this frame adds; empty while the mode is undecided.

        Args:
            text: The text of the frame.
            usage: The usage snapshot of the frame. If the text equals that of the previous frame, it
                is a repetition if the usage is unchanged, and an increment if the usage has changed or
                is empty.
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
        """Whether the buffer is empty."""
        return not self._pending

    def flush(self) -> str:
        """Return the buffered text before other content begins, to preserve the order."""
        return self._join_surrogates(self._switch_to_incremental("")) if self._pending else ""

    def end(self) -> str:
        """Return the buffered text after the last frame."""
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
        """Return the text of the last frame, or its new part if the frame repeats the whole answer."""
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
        # The text contains the pending surrogate again, with its other half.
        emitted_length, self._pending_surrogate = self._first_length - len(self._pending_surrogate), ""
        self._previous_text = _strip_trailing_surrogate(text)
        return self._previous_text[emitted_length:]

    def _read_cumulative(self, text: str) -> str:
        previous, text = self._previous_text, _strip_trailing_surrogate(text)
        if len(text) > len(previous):
            self._previous_text = text
            return text[len(previous) :]
        if text[:MIN_PREFIX_CHARS] == previous[: len(text)][:MIN_PREFIX_CHARS]:
            return ""  # repeated, possibly with a revised end
        # The mode was wrong: this is an increment. Emitting it is better than losing it.
        self._previous_text += text
        return text

    def _take_pending(self) -> str:
        pending, self._pending = self._pending, ""
        return pending

    def _join_surrogates(self, text: str) -> str:
        """Join surrogate pairs that are split between frames; replace lone surrogates with U+FFFD."""
        text, self._pending_surrogate = self._pending_surrogate + text, ""
        if text and wire_json.is_high_surrogate(text[-1]):
            text, self._pending_surrogate = text[:-1], text[-1]
        return wire_json.join_surrogates(text)


def _strip_trailing_surrogate(text: str) -> str:
    return text[:-1] if text and wire_json.is_high_surrogate(text[-1]) else text


class StopFilter:
    """Cuts the text before the first `stop` sequence. The service has no parameter for this."""

    def __init__(self, stop: list[str]) -> None:
        self._pattern = re.compile("|".join(map(re.escape, stop)))
        self._max_length = max(map(len, stop))
        self._prefixes = {sequence[:n] for sequence in stop for n in range(1, len(sequence))}
        self._pending = ""
        self.hit = False

    def feed(self, text: str) -> str:
        """Return the text that certainly precedes any stop sequence."""
        text = self._pending + text
        pending_start = self._find_pending_start(text)
        match = self._pattern.search(text)
        # Wait if another sequence may begin before the match: the earlier one wins.
        if match and match.start() <= pending_start:
            self.hit, self._pending = True, ""
            return text[: match.start()]
        self._pending = text[pending_start:]
        return text[:pending_start]

    def end(self) -> str:
        """Return the buffered text at the end of the answer, cut before a stop sequence."""
        pending, self._pending = self._pending, ""
        match = self._pattern.search(pending)
        self.hit = match is not None
        return pending[: match.start()] if match else pending

    def _find_pending_start(self, text: str) -> int:
        for length in range(min(self._max_length - 1, len(text)), 0, -1):
            if text[-length:] in self._prefixes:
                return len(text) - length
        return len(text)
