"""What a node has said, whether the service sends increments or the whole text so far.

The same question as in `_text`, for the nodes in `thoughts`, answered once for all nodes of a stream.
There is less evidence here: usage moves with any node, and the entries of idle nodes are repeated.
"""

from __future__ import annotations

# A text that goes on from so many characters of the one before repeats it.
_PHRASE = 8


class Verdict:
    """Whether the nodes of a stream are told cumulatively; None until that is known."""

    cumulative: bool | None = None


class NodeText:
    """The text of a node, and what of it is new. What is in doubt waits until the verdict is known."""

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self._pieces: list[str] = []
        self._new = 0  # the first piece that was not passed on
        self._held: list[str] = []
        self._last = ""
        self._grown = 0  # frames in a row that went on from the one before
        self.length = 0

    def __str__(self) -> str:
        return "".join(self._pieces)

    def add(self, increment: str) -> None:
        """Take what is known to be an increment."""
        if increment:
            self._pieces.append(increment)
            self.length += len(increment)

    def take(self, text: str) -> None:
        """Take an increment, or the whole text so far."""
        if not text:
            return
        if self._verdict.cumulative is None and self._last:
            self._judge(text)
        self._settle()
        if self._verdict.cumulative:
            self.add(text[self.length :])
        elif self._verdict.cumulative is None and self._last:
            self._held.append(text)
        else:
            self.add(text)
        self._last = text

    def end(self) -> None:
        """Note that no more comes: what is in doubt are increments, which is what was asked for."""
        self._settle()
        self.add("".join(self._held))
        self._held.clear()

    def new(self) -> str:
        """Return what was not passed on yet."""
        new, self._new = self._pieces[self._new :], len(self._pieces)
        return "".join(new)

    def _judge(self, text: str) -> None:
        if not text.startswith(self._last):
            self._verdict.cumulative = False
        elif text != self._last:
            self._grown += 1
            if self._grown > 1 or len(self._last) >= _PHRASE:
                self._verdict.cumulative = True

    def _settle(self) -> None:
        """Take what was held, now that the verdict is known."""
        if self._verdict.cumulative is None:
            return
        for text in self._held:
            self.add(text[self.length :] if self._verdict.cumulative else text)
        self._held.clear()


class WorkflowTextMerger:
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
