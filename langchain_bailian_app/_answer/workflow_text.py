"""Reader of the new text of a workflow node, and merger of node text with the `text` field.

Like `text_delta`, `NodeTextReader` detects whether the server sends increments or cumulative text. It
decides once for all nodes in the `thoughts` of a stream. It has less evidence than `text_delta`,
because any node can change the usage, and because frames repeat the entries of idle nodes.

A workflow may send its answer in its nodes, in `text`, or in both. Streaming one and then appending the
other would duplicate the answer. `WorkflowTextMerger` follows the source that arrives first, and adds
text from the other source only if that source is ahead. The final `text` decides, as far as the text
that was already emitted allows it.
"""

from __future__ import annotations

from langchain_bailian_app._answer.text_delta import MIN_PREFIX_CHARS


class SharedStreamMode:
    """Stream mode shared by all nodes of a stream; `is_cumulative` is None until it is known."""

    is_cumulative: bool | None = None


class NodeTextReader:
    """Reader of the text of one node; ambiguous text is pending until the mode is known."""

    def __init__(self, mode: SharedStreamMode) -> None:
        self._mode = mode
        self._increments: list[str] = []
        self._emitted_count = 0  # number of increments that `take_new` has returned
        self._pending: list[str] = []
        self._previous_text = ""
        self._extension_count = 0  # frames that extended the previous one
        self.length = 0

    def __str__(self) -> str:
        return "".join(self._increments)

    def add(self, increment: str) -> None:
        """Append an increment."""
        if increment:
            self._increments.append(increment)
            self.length += len(increment)

    def add_unclassified(self, text: str) -> None:
        """Append text that is either an increment or cumulative."""
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
        """Append the pending text at the end of the stream.

        If the mode is still unknown, pending text counts as increments, as requested.
        """
        self._resolve_pending()
        self.add("".join(self._pending))
        self._pending.clear()

    def take_new(self) -> str:
        """Return the text that was added since the previous `take_new`."""
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
        """Append the pending text once the mode is known."""
        if self._mode.is_cumulative is None:
            return
        for text in self._pending:
            self.add(text[self.length :] if self._mode.is_cumulative else text)
        self._pending.clear()


class WorkflowTextMerger:
    """Merges the text of nodes and the `text` field into one answer.

    Args:
        prefers_output_text: Whether `text` takes precedence over text of nodes in the same frame. False
            if the caller has named the node that provides the answer.
        output_text_only: Whether the answer started with text from `text`. Nodes then add no text.
    """

    def __init__(self, *, prefers_output_text: bool, output_text_only: bool = False) -> None:
        self._prefers_output_text = prefers_output_text
        self._has_node_text: bool | None = False if output_text_only else None
        self._emitted: list[str] = []  # like `_output_text`, filled only if nodes have text
        self._output_text = ""
        self._unconfirmed = ""
        """Text that was emitted from `text` and that the nodes have not repeated yet."""

    @property
    def final_text(self) -> str | None:
        """The complete `text`, or None if the emitted text contains all of it.

        The emitted text may have more white space at its beginning and its end.
        """
        emitted = "".join(self._emitted).rstrip()
        is_emitted = self._output_text.rstrip() in ("", emitted, emitted.lstrip())
        return None if is_emitted else self._output_text

    @property
    def has_output_text_only(self) -> bool:
        """Whether the answer comes from `text` only."""
        return self._has_node_text is False

    def feed(self, node_text: str, output_text: str, *, last: bool = False) -> str:
        """Return the text to add to the answer, given the new text of the nodes and of `text`.

        Args:
            node_text: New text of the nodes.
            output_text: New text of the `text` field.
            last: Whether `text` is complete, and thus the final text.
        """
        prefers_output_text = last and bool(output_text) and self._prefers_output_text
        if self._has_node_text is None and (node_text or output_text):
            self._has_node_text = bool(node_text) and not prefers_output_text
        if not self._has_node_text:
            return output_text
        if prefers_output_text:
            new = self._add_output_text(output_text)
            return new if self.final_text is None else self._add_node_text(node_text)
        return self._add_node_text(node_text) + self._add_output_text(output_text)

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
        shared = emitted if self._output_text.startswith(emitted) else emitted.lstrip()
        new = self._output_text.removeprefix(shared) if self._output_text.startswith(shared) else ""
        self._unconfirmed += new
        self._emitted = [emitted, new]
        return new
