"""One text out of two: a workflow may tell its answer through its nodes, in `text`, or both.

Streaming the one and then adding the other would double the answer. Who speaks first is believed.
"""

from __future__ import annotations


class OneText:
    """Joins what nodes say with what `text` says."""

    def __init__(self) -> None:
        self._nodes_speak: bool | None = None
        self._shown: list[str] = []  # kept only while nodes speak
        self._told = ""

    @property
    def other_text(self) -> str | None:
        """What `text` came to, if that is another than what the nodes have said."""
        return self._told if self._told and self._told != "".join(self._shown) else None

    def feed(self, of_nodes: str, text: str) -> str:
        """Return what these two add to the answer."""
        if self._nodes_speak is None and (of_nodes or text):
            self._nodes_speak = bool(of_nodes)
        if not self._nodes_speak:
            return text
        if of_nodes:
            self._shown.append(of_nodes)
        return of_nodes + self._rest(text)

    def _rest(self, text: str) -> str:
        """Return what `text` says beyond all that was shown."""
        if not text:
            return ""
        self._told += text
        shown = "".join(self._shown)
        rest = self._told[len(shown) :] if self._told.startswith(shown) else ""
        self._shown = [shown, rest]
        return rest
