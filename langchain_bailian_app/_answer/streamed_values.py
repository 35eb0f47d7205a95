"""Values that a stream sends whole, as increments, or as growing snapshots.

No field of the response indicates the form. It is the same for all values of a field in a stream, so it
is detected once: `StreamForm` is shared by these values. Until the form is known, a `StreamedValue`
keeps the value in both forms.

The service's captures contain whole values. Increments are unverified: the legacy reference calls
`action_input_stream` the streamed form of the input, and a deployed client joins the pieces.
"""

from __future__ import annotations

import json
import re
from enum import Enum, auto
from typing import Any, Literal

from langchain_bailian_app._answer import wire_json
from langchain_bailian_app._answer.text_delta import MIN_PREFIX_CHARS

Form = Literal["increments", "snapshots"]

EMPTY_VALUES: tuple[Any, ...] = (None, "")
"""Values that mean that nothing has arrived yet."""

# What follows the position of a parser's error if a document is only truncated.
_TRUNCATED = {
    "Expecting value": re.compile(r"-|t(?:ru?)?|f(?:a(?:ls?)?)?|n(?:ul?)?"),
    "Expecting ',' delimiter": re.compile(r"\.|[eE][-+]?"),
    "Invalid \\uXXXX escape": re.compile(r"u[\da-fA-F]{0,4}"),
}


class StreamForm:
    """The form in which a stream sends a field."""

    def __init__(self) -> None:
        self.form: Form | None = None
        """None until it is known."""
        self.has_pieces = False
        """Whether any value has arrived in pieces. If not, whole values are repeated."""


class Change(Enum):
    """What a new value means for the value so far."""

    NONE = auto()
    """It is repeated."""
    REPLACEMENT = auto()
    """It is the first value, or unrelated to the value so far."""
    INCREMENT = auto()
    SNAPSHOT = auto()
    AMBIGUOUS = auto()
    """An increment or a snapshot."""


class StreamedValue:
    """The value of one field of a step, read from the values in successive frames."""

    def __init__(self, form: StreamForm) -> None:
        self._form = form
        self._pieces: list[str] = []
        self._has_one_piece = True
        self._value: Any = None  # of any type; text in `_pieces` is joined into it on demand
        self._snapshot: str | None = None  # while the form is unknown: the value if it is a snapshot
        self._is_complete = False
        self._is_open: bool | None = None  # None until it is needed

    @property
    def is_empty(self) -> bool:
        """Whether nothing has arrived yet."""
        return not self._pieces and self._value in EMPTY_VALUES

    @property
    def is_complete(self) -> bool:
        """Whether the value is an object or an array, in JSON or as text. Nothing can follow it."""
        self._apply_form()
        return self._is_complete

    @property
    def is_text(self) -> bool:
        """Whether the value is text to which more may be added."""
        return bool(self._pieces) and not self.is_complete

    @property
    def is_open(self) -> bool:
        """Whether the value is the beginning of JSON text, so more must follow."""
        if not self.is_text:
            return False
        if self._is_open is None:
            self._is_open = _is_open_json(self.get())
        return self._is_open

    def get(self) -> Any:
        """Return the value so far."""
        self._apply_form()
        if self._snapshot is not None:
            joined = "".join(self._pieces)
            # Increments rarely begin with everything before them.
            return joined if is_complete_json(joined) else self._snapshot
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else self._value

    def known_text(self) -> str:
        """Return the text with which the value begins in either form."""
        text = self.get() if self._snapshot is None else self._pieces[0]
        return _strip_trailing_surrogate(text) if isinstance(text, str) else ""

    def equals(self, value: Any) -> bool:
        """Return whether a value, or the JSON in it, equals the value so far."""
        current = self.get()
        if value == current:
            return True
        return bool(wire_json.parse_nested(value) == wire_json.parse_nested(current))

    def compare(self, new: Any, *, is_whole: bool = False, is_last: bool = False) -> Change | None:
        """Return what a new value changes, or None if it belongs to another step.

        Args:
            new: The value in this frame.
            is_whole: Whether text that is not JSON cannot be an increment.
            is_last: Whether this frame ends the answer.
        """
        if new in EMPTY_VALUES:
            return Change.NONE
        if self.is_empty:
            return Change.REPLACEMENT
        if not (self.is_text and isinstance(new, str)):
            return self._compare_with_complete(new)
        if is_whole or self._form.form == "snapshots":
            return self._compare_with_snapshot(new)
        if self._form.form == "increments":
            return self._compare_with_increments(new, is_last=is_last)
        return self._compare_with_either(new)

    def apply(self, new: Any, change: Change) -> None:
        """Add a new value, given the result of `compare`."""
        form = self._form
        if change is Change.NONE:
            if new and isinstance(new, str):  # an increment does not repeat everything before it
                form.form = form.form or "snapshots"
            return
        self._is_open = None
        if not isinstance(new, str):
            self._value, self._pieces, self._snapshot, self._is_complete = new, [], None, True
            return
        match change:
            case Change.INCREMENT:
                form.form, form.has_pieces, self._snapshot = "increments", True, None
                self._pieces.append(new)
            case Change.AMBIGUOUS:
                self._snapshot = new
                self._pieces.append(new)
            case _:
                if change is Change.SNAPSHOT:
                    form.form, form.has_pieces = form.form or "snapshots", True
                self._pieces, self._snapshot = [new], None
        self._has_one_piece = len(self._pieces) == 1
        self._is_complete = (
            self._snapshot is None
            and new.rstrip().endswith(("}", "]"))
            and _looks_like_json(self._pieces[0])
            and is_complete_json(self.get())
        )

    def _compare_with_complete(self, new: Any) -> Change | None:
        """Compare with a value that nothing can follow: `{"a": 1}`, or 1.

        An object may replace its own incomplete text: `{"a"`, then the object.
        """
        if self.equals(new):
            return Change.NONE
        return Change.REPLACEMENT if self.is_open and isinstance(new, dict | list) else None

    def _compare_with_increments(self, new: str, *, is_last: bool) -> Change | None:
        """Compare with increments: `今天`, `有风`. A frame may repeat the whole: `今天有风`.

        If new text begins with the text so far, the syntax of JSON decides, or the length. Short text
        that is not JSON is a repetition if it equals several increments. If it equals the only one, it
        cannot be distinguished: `哈` and `哈` are two increments, except in the last frame.
        """
        if not (_looks_like_json(new) or new.startswith(_strip_trailing_surrogate(self._pieces[0]))):
            return Change.INCREMENT
        text = self.get()
        is_increment, is_snapshot = _find_forms(text, text, new)
        is_equal = new == text and not _looks_like_json(text) and (is_last or not self._has_one_piece)
        is_certain = is_equal or len(text) >= MIN_PREFIX_CHARS
        if is_snapshot and (is_certain or not is_increment):
            return Change.NONE if new == text else Change.SNAPSHOT
        return Change.INCREMENT if is_increment else None

    def _compare_with_snapshot(self, new: str) -> Change | None:
        """Compare with a snapshot: `今天`, `今天有风`, or the same text again.

        If JSON text continues, the form was wrong: `{"a"`, `: 1}`.
        """
        snapshot = self.get() if self._snapshot is None else self._snapshot
        if new == snapshot:
            return Change.NONE
        if new.startswith(_strip_trailing_surrogate(snapshot)):
            return Change.SNAPSHOT
        text = "".join(self._pieces)
        return Change.INCREMENT if _looks_like_json(text) and is_json_start(text + new) else None

    def _compare_with_either(self, new: str) -> Change | None:
        """Compare while the form is unknown.

        `{"a"` and `: 1}` are increments, and `{"a"` and `{"a": 1}` are snapshots. `[` and `[1]` may be
        either. So may `哈` and `哈哈`, but longer text does not begin with the text before it by
        chance, nor does short text twice in a row, unless it is JSON.
        """
        snapshot = self._pieces[0] if self._snapshot is None else self._snapshot
        text = "".join(self._pieces)
        is_certain = len(snapshot) >= MIN_PREFIX_CHARS or not (
            self._snapshot is None or _looks_like_json(text)
        )
        if is_certain and new == snapshot:
            return Change.NONE
        is_increment, is_snapshot = _find_forms(text, snapshot, new)
        if is_increment and is_snapshot and not is_certain:
            return Change.AMBIGUOUS
        return Change.SNAPSHOT if is_snapshot else Change.INCREMENT if is_increment else None

    def _apply_form(self) -> None:
        """Use the form that another value of the same field has shown."""
        if self._snapshot is None or self._form.form is None:
            return
        if self._form.form == "snapshots":
            self._pieces = [self._snapshot]
        self._snapshot = self._is_open = None
        self._is_complete = is_complete_json(self.get())


def is_complete_json(value: Any) -> bool:
    """Return whether a value is an object or an array, or JSON text of one."""
    return isinstance(value, dict | list) or wire_json.parse_nested(value) is not value


def is_json_start(text: str) -> bool:
    """Return whether text is a JSON document or the beginning of one."""
    text = text.strip()
    try:
        json.loads(text, strict=False)
    except json.JSONDecodeError as error:
        rest = text[error.pos :]
        if not rest or error.msg.startswith("Unterminated string"):
            return True
        pattern = _TRUNCATED.get(error.msg)
        return pattern is not None and pattern.fullmatch(rest) is not None
    except RecursionError:
        return False
    return True


def _find_forms(text: str, snapshot: str, new: str) -> tuple[bool, bool]:
    """Return whether new text may be an increment of `text`, and whether it may follow `snapshot`."""
    is_snapshot = new.startswith(_strip_trailing_surrogate(snapshot))
    if not _is_open_json(text):
        return True, is_snapshot
    return is_json_start(text + new), is_snapshot and is_json_start(new)


def _is_open_json(text: str) -> bool:
    return _looks_like_json(text) and is_json_start(text)


def _looks_like_json(text: str) -> bool:
    return text.lstrip().startswith(("{", "["))


def _strip_trailing_surrogate(text: str) -> str:
    # The other half of the pair follows it in the next snapshot.
    return text[:-1] if text and wire_json.is_high_surrogate(text[-1]) else text
