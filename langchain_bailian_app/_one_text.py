"""One text out of two: a workflow may tell its answer through its nodes, in `text`, or both.

Streaming the one and then adding the other would double the answer. Who speaks first is believed; the
other may be ahead, and adds what was not said yet.
"""

from __future__ import annotations


class OneText:
    """Joins what nodes say with what `text` says.

    Args:
        tail_is_enough: Whether `text` may have only the last of what was shown, as where output nodes
            have spoken before the End node.
    """

    def __init__(self, *, tail_is_enough: bool) -> None:
        self._tail_is_enough = tail_is_enough
        self._nodes_speak: bool | None = None
        self._shown: list[str] = []  # kept only while nodes speak, as is the next one
        self._told = ""
        self._ahead = ""
        """What `text` has said, and the nodes have not yet."""

    @property
    def other_text(self) -> str | None:
        """What `text` came to, if that is another than what was shown."""
        shown = "".join(self._shown)
        known = shown.endswith(self._told) if self._tail_is_enough else self._told in ("", shown)
        return None if known else self._told

    @property
    def is_one(self) -> bool:
        """Whether `text` alone speaks."""
        return self._nodes_speak is False

    def feed(self, of_nodes: str, text: str) -> str:
        """Return what these two add to the answer."""
        if self._nodes_speak is None and (of_nodes or text):
            self._nodes_speak = bool(of_nodes)
        if not self._nodes_speak:
            return text
        return self._hear_nodes(of_nodes) + self._hear_text(text)

    def accept(self) -> str:
        """Return `other_text`, which from now on is part of the answer."""
        other = self.other_text or ""
        self._shown.append(other)
        return other

    def _hear_nodes(self, said: str) -> str:
        if self._ahead.startswith(said):
            self._ahead = self._ahead[len(said) :]
            return ""
        new = said.removeprefix(self._ahead)
        self._ahead = ""
        self._shown.append(new)
        return new

    def _hear_text(self, said: str) -> str:
        if not said:
            return ""
        self._told += said
        shown = "".join(self._shown)
        new = self._told[len(shown) :] if self._told.startswith(shown) else ""
        self._ahead += new
        self._shown = [shown, new]
        return new
