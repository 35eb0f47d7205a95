"""What is new in the text of workflow nodes, and how that text and `text` make one answer.

`NodeTextReader` answers the same question as `text_delta`, increments or the whole text so far, for the
nodes in `thoughts`, once for all nodes of a stream. There is less evidence here: usage moves with any
node, and the entries of idle nodes are repeated.

A workflow may send its answer through its nodes, in `text`, or both. Streaming one and then appending
the other would double the answer. `WorkflowTextMerger` follows the one that comes first; if the other
is ahead, it adds the missing text.
"""

from __future__ import annotations

from langchain_bailian_app._answer.text_delta import MIN_PREFIX_CHARS


class SharedStreamMode:
    """Whether the nodes of a stream are sent cumulatively; None until that is known."""

    is_cumulative: bool | None = None


class NodeTextReader:
    """The text of a node, and what of it is new. What is in doubt waits until the mode is known."""

    def __init__(self, mode: SharedStreamMode) -> None:
        self._mode = mode
        self._increments: list[str] = []
        self._emitted_count = 0  # the first piece that was not passed on
        self._pending: list[str] = []
        self._previous_text = ""
        self._extension_count = 0  # frames in a row that went on from the one before
        self.length = 0

    def __str__(self) -> str:
        return "".join(self._increments)

    def add(self, increment: str) -> None:
        """Take what is known to be an increment."""
        if increment:
            self._increments.append(increment)
            self.length += len(increment)

    def add_unclassified(self, text: str) -> None:
        """Take an increment, or the whole text so far."""
        if not text:
            return
        if self._mode.is_cumulative is None and self._previous_text:
            self._detect_mode(text)
        self._resolve_pending()
        if self._mode.is_cumulative:
            self.add(text[self.length :])
        elif self._mode.is_cumulative is None and self._previous_text:
            self._pending.append(text)
        else:
            self.add(text)
        self._previous_text = text

    def end(self) -> None:
        """Note that no more comes: what is in doubt are increments, which is what was asked for."""
        self._resolve_pending()
        self.add("".join(self._pending))
        self._pending.clear()

    def take_new(self) -> str:
        """Return what was not passed on yet."""
        increments, self._emitted_count = self._increments[self._emitted_count :], len(self._increments)
        return "".join(increments)

    def _detect_mode(self, text: str) -> None:
        if not text.startswith(self._previous_text):
            self._mode.is_cumulative = False
        elif text != self._previous_text:
            self._extension_count += 1
            if self._extension_count > 1 or len(self._previous_text) >= MIN_PREFIX_CHARS:
                self._mode.is_cumulative = True

    def _resolve_pending(self) -> None:
        """Take what was held, now that the mode is known."""
        if self._mode.is_cumulative is None:
            return
        for text in self._pending:
            self.add(text[self.length :] if self._mode.is_cumulative else text)
        self._pending.clear()


class WorkflowTextMerger:
    """Joins what nodes say with what `text` says.

    Args:
        allow_suffix: Whether `text` may have only the last of what was shown, as where output nodes
            have spoken before the End node.
    """

    def __init__(self, *, allow_suffix: bool) -> None:
        self._allow_suffix = allow_suffix
        self._has_node_text: bool | None = None
        self._emitted: list[str] = []  # kept only while nodes speak, as is the next one
        self._output_text = ""
        self._unconfirmed = ""
        """What `text` has said, and the nodes have not yet."""

    @property
    def final_text(self) -> str | None:
        """What `text` came to, if that is another than what was shown."""
        emitted = "".join(self._emitted)
        is_emitted = (
            emitted.endswith(self._output_text)
            if self._allow_suffix
            else self._output_text in ("", emitted)
        )
        return None if is_emitted else self._output_text

    @property
    def has_output_text_only(self) -> bool:
        """Whether `text` alone speaks."""
        return self._has_node_text is False

    def feed(self, node_text: str, output_text: str) -> str:
        """Return what these two add to the answer."""
        if self._has_node_text is None and (node_text or output_text):
            self._has_node_text = bool(node_text)
        if not self._has_node_text:
            return output_text
        return self._add_node_text(node_text) + self._add_output_text(output_text)

    def take_final_text(self) -> str:
        """Return `final_text`, which from now on is part of the answer."""
        text = self.final_text or ""
        self._emitted.append(text)
        return text

    def _add_node_text(self, text: str) -> str:
        if self._unconfirmed.startswith(text):
            self._unconfirmed = self._unconfirmed[len(text) :]
            return ""
        new = text.removeprefix(self._unconfirmed)
        self._unconfirmed = ""
        self._emitted.append(new)
        return new

    def _add_output_text(self, text: str) -> str:
        if not text:
            return ""
        self._output_text += text
        emitted = "".join(self._emitted)
        new = self._output_text[len(emitted) :] if self._output_text.startswith(emitted) else ""
        self._unconfirmed += new
        self._emitted = [emitted, new]
        return new
