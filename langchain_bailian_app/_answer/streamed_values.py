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

# Number of times in a row that short text must begin with the text before it to be a snapshot. By
# chance, an increment may do so once (`哈` and `哈哈`). For JSON text, the syntax decides.
_MIN_SNAPSHOTS = 2

# What follows the position of a parser's error if a document is only truncated.
_TRUNCATED = {
    "Expecting value": re.compile(r"-|t(?:ru?)?|f(?:a(?:ls?)?)?|n(?:ul?)?"),
    "Expecting ',' delimiter": re.compile(r"\.|[eE][-+]?"),
    "Invalid \\uXXXX escape": re.compile(r"u[\da-fA-F]{0,4}"),
}


class StreamForm:
    """The form in which a stream sends a field; None until it is known."""

    def __init__(self) -> None:
        self.form: Form | None = None


class Change(Enum):
    """What a new value means for the value so far."""

    NONE = auto()
    FIRST = auto()
    INCREMENT = auto()
    SNAPSHOT = auto()
    AMBIGUOUS = auto()
    """An increment or a snapshot."""


class StreamedValue:
    """The value of one field of a step, read from the values in successive frames."""

    def __init__(self, form: StreamForm) -> None:
        self._form = form
        self._pieces: list[str] = []
        self._value: Any = None  # of any type; text in `_pieces` is joined into it on demand
        self._snapshot: str | None = None  # while the form is unknown: the value if it is a snapshot
        self._snapshots_in_a_row = 0
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
    def is_open(self) -> bool:
        """Whether the value is the beginning of JSON text, so more must follow."""
        if self.is_complete or not (self._pieces and _looks_like_json(self._pieces[0])):
            return False
        if self._is_open is None:
            self._is_open = is_json_start(self.get())
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

    def compare(self, new: Any) -> Change | None:
        """Return what a new value changes, or None if it belongs to another step."""
        if new in EMPTY_VALUES:
            return Change.NONE
        if self.is_empty:
            return Change.FIRST
        if self.is_complete or not (self._pieces and isinstance(new, str)):
            value = self.get()
            is_equal = new == value or wire_json.parse_nested(new) == wire_json.parse_nested(value)
            return Change.NONE if is_equal else None
        return self._compare_text(new)

    def apply(self, new: Any, change: Change) -> None:
        """Add a new value, given the result of `compare`."""
        form = self._form
        if change is Change.NONE:
            if new not in EMPTY_VALUES:  # an increment does not repeat everything before it
                form.form = form.form or "snapshots"
            return
        self._is_open = None
        match change:
            case Change.FIRST if not isinstance(new, str):
                self._value, self._pieces, self._is_complete = new, [], True
                return
            case Change.FIRST:
                self._pieces, self._snapshot = [new], None
            case Change.INCREMENT:
                form.form, self._snapshot = "increments", None
                self._pieces.append(new)
            case Change.SNAPSHOT:
                form.form = form.form or "snapshots"
                self._pieces, self._snapshot = [new], None
            case _:  # AMBIGUOUS
                self._snapshots_in_a_row += 1
                self._snapshot = new
                self._pieces.append(new)
        self._is_complete = (
            self._snapshot is None
            and new.rstrip().endswith(("}", "]"))
            and _looks_like_json(self._pieces[0])
            and is_complete_json(self.get())
        )

    def _compare_text(self, new: str) -> Change | None:
        form = self._form.form
        snapshot = self._pieces[0] if self._snapshot is None else self._snapshot
        is_equal = new == snapshot and len(self._pieces) == 1
        if is_equal and (form == "snapshots" or len(new) >= MIN_PREFIX_CHARS):
            return Change.NONE
        is_snapshot = new.startswith(_strip_trailing_surrogate(snapshot))
        if form == "increments" and not is_snapshot:
            return Change.INCREMENT
        joined = "".join(self._pieces)
        if self._snapshot is None:
            snapshot = joined
            is_snapshot = new.startswith(_strip_trailing_surrogate(snapshot))
        can_continue = not _looks_like_json(joined) or is_json_start(joined + new)
        if form == "increments":
            # A last frame may repeat the whole value.
            is_repeated = is_snapshot and (len(snapshot) >= MIN_PREFIX_CHARS or not can_continue)
            return Change.SNAPSHOT if is_repeated else Change.INCREMENT
        if form == "snapshots":
            # If JSON text continues, the form was wrong.
            is_increment = not is_snapshot and can_continue and _looks_like_json(joined)
            return Change.SNAPSHOT if is_snapshot else Change.INCREMENT if is_increment else None
        is_json = _looks_like_json(joined) and is_json_start(joined)
        is_snapshot = is_snapshot and (not is_json or is_json_start(new))
        if not (is_snapshot and can_continue):
            return Change.SNAPSHOT if is_snapshot else Change.INCREMENT if can_continue else None
        is_certain = len(snapshot) >= MIN_PREFIX_CHARS or (
            not is_json and self._snapshots_in_a_row + 1 >= _MIN_SNAPSHOTS
        )
        return Change.SNAPSHOT if is_certain else Change.AMBIGUOUS

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


def _looks_like_json(text: str) -> bool:
    return text.lstrip().startswith(("{", "["))


def _strip_trailing_surrogate(text: str) -> str:
    # The other half of the pair follows it in the next snapshot.
    return text[:-1] if text and wire_json.is_high_surrogate(text[-1]) else text
