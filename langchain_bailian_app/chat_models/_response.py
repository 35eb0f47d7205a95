"""One reply on its way to the user: frames become chunks or a message, or an error with what had come.

The same object serves `invoke` and `stream`, in threads and on event loops; who owns the loop feeds it.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_bailian_app import errors
from langchain_bailian_app._answer.assembler import UNKNOWN_FINISH, Answer, AnswerReader
from langchain_bailian_app._answer.events import Delta, TextDelta
from langchain_bailian_app.chat_models._chunks import generation_chunk
from langchain_bailian_app.chat_models._messages import last_chunk, message_from_answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_core.messages import BaseMessage

    from langchain_bailian_app._answer.frames import Frame
    from langchain_bailian_app._answer.steps import Steps
    from langchain_bailian_app._settings.application import ApplicationFields
    from langchain_bailian_app.chat_models._tool_prompt import ToolPrompt


_logger = logging.getLogger("langchain_bailian_app")


class ReplyReader:
    """Reads the reply to one call."""

    def __init__(
        self, app_id: str, options: ApplicationFields, tools: ToolPrompt | None = None
    ) -> None:
        self._app_id = app_id
        self._accept_missing_stop = options.accept_missing_stop
        self._answer_node = options.answer_node
        self._options = options
        self._tools = tools
        self._reader = self._new_reader()
        self._first: Answer | None = None
        self._has_begun = False
        self._rest: list[Delta] = []
        self.answer = Answer()
        self.conversation: dict[str, Any] = {}
        """What the metadata of the message says of its conversation."""

    @property
    def cut(self) -> bool:
        """Whether a `stop` sequence has come: the rest of the reply is of no interest."""
        return self._reader.cut

    @property
    def whole(self) -> bool:
        """Whether the service has ended the answer, rather than a `stop` sequence or a lost ending."""
        return not self.cut and self.answer.finish_reason not in (None, UNKNOWN_FINISH)

    def read(self, frames: list[Frame]) -> list[Delta]:
        """Take the next frames, return what they add."""
        deltas: list[Delta] = []
        for frame in frames:
            deltas += self._reader.feed(frame)
        if self._first is None:
            return deltas
        rest, self._rest = self._rest, []
        return [*rest, *self._apart(deltas)]

    def chunks(self, frames: list[Frame]) -> list[ChatGenerationChunk]:
        """Take the next frames, return the chunks that they make."""
        return list(map(generation_chunk, self.read(frames)))

    def end(self, *, hint: bool = True) -> None:
        """Note that no more frames come.

        Args:
            hint: Whether to say why an answer from documents names none.

        Raises:
            BailianStreamError: The answer is not complete.
        """
        self._rest += self._apart(self._reader.end(accept_missing_stop=self._accept_missing_stop))
        self.answer = self.so_far()
        if self.answer.finish_reason is None:
            message = (
                "the stream ended without a finish reason, so the answer may be incomplete: see "
                "`partial`, or set `accept_missing_stop=True` to take it as it is"
            )
            raise errors.BailianStreamError(message, request_id=self.answer.request_id)
        if self.answer.final_text is not None:
            who = f"node {self._answer_node!r}" if self._answer_node else "its End and output nodes"
            message = (
                f"workflow {self._app_id} ends with another text than {who} said: it is kept in "
                "`response_metadata['final_text']`"
            )
            warnings.warn(message, stacklevel=2)
        if self._answer_node is not None:
            self._look_for_node(self._answer_node)
        if hint and self.answer.references_missing:
            _hint_at_references(self._app_id)

    def asked_again(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """Return what to say if the answer has to be asked for once more, and read the next reply then.

        Args:
            messages: What was asked.
        """
        if self._tools is None or self._first is not None or self.cut:
            return []
        if self._tools.problem(self.answer) is None:
            return []
        self._first = self.answer
        self._reader = self._new_reader(self._reader.steps)
        return self._tools.asked_again(messages, self.answer)

    def _new_reader(self, steps: Steps | None = None) -> AnswerReader:
        return AnswerReader(
            markers=self._options.citation_markers,
            stop=self._options.stop,
            answer_node=self._options.answer_node,
            calls=self._tools.reader() if self._tools else None,
            steps=steps,
        )

    def _apart(self, deltas: list[Delta]) -> list[Delta]:
        """Keep the text of a second reply apart from that of the first."""
        if self._first is None or not self._first.text or self._has_begun:
            return deltas
        for place, delta in enumerate(deltas):
            if isinstance(delta, TextDelta):
                self._has_begun = True
                return [*deltas[:place], TextDelta(APART + delta.text), *deltas[place + 1 :]]
        return deltas

    def _look_for_node(self, answer_node: str) -> None:
        """Say so if no node of a workflow is called as was asked."""
        nodes = [event.value for event in self.answer.nodes]
        names = ("node_id", "name", "type")
        if nodes and not any(answer_node in map(node.get, names) for node in nodes):
            seen = {str(node.get("name") or node.get("node_id")): None for node in nodes}
            _hint_at_nodes(self._app_id, answer_node, ", ".join(seen))

    def so_far(self) -> Answer:
        """Return what has come of the answer."""
        answer = self._reader.answer()
        return answer if self._first is None else joined(self._first, answer)

    def last_chunks(self) -> list[ChatGenerationChunk]:
        """Return the chunks that close the stream."""
        last = last_chunk(self.answer, self._app_id, self.conversation)
        return [*map(generation_chunk, self._rest), ChatGenerationChunk(message=last)]

    def result(self) -> ChatResult:
        """Return the whole message, as LangChain wants it."""
        message = message_from_answer(self.answer, self._app_id, self.conversation)
        return ChatResult(generations=[ChatGeneration(message=message)])

    @contextmanager
    def partial_on_error(self) -> Iterator[None]:
        """Give what had come of the answer to the error that ends it."""
        try:
            yield
        except errors.BailianError as error:
            self._reader.end()
            answer = self.so_far()
            if answer.session_id or answer.request_id:
                answer.finish_reason = None
                error.partial = message_from_answer(answer, self._app_id, {})
            raise


@lru_cache(maxsize=256)  # once for each node
def _hint_at_nodes(app_id: str, answer_node: str, seen: str) -> None:
    _logger.warning("workflow %s has no node %r: it has %s", app_id, answer_node, seen)


@lru_cache(maxsize=256)  # once for each application
def _hint_at_references(app_id: str) -> None:
    _logger.warning(
        "application %s answers from documents, but does not say which: switch on 展示回答来源 (show "
        "sources) in the console and publish the application again",
        app_id,
    )


APART = "\n\n"
"""What stands between the texts of both, if both have one."""


def joined(first: Answer, second: Answer) -> Answer:
    """Return what both replies sum up to, but for the calls of the first, which the second replaces."""
    before = first.text + (APART if first.text and second.text else "")
    shift = len(before)
    return replace(
        second,
        text=before + second.text,
        reasoning=first.reasoning + second.reasoning,
        steps=[*first.steps, *second.steps],
        nodes=[*first.nodes, *second.nodes],
        order=list(dict.fromkeys((*first.order, *second.order))),
        session_id=second.session_id or first.session_id,
        request_id=second.request_id or first.request_id,
        doc_references=[*(first.doc_references or ()), *(second.doc_references or ())] or None,
        citations=[*first.citations, *(_shifted(citation, shift) for citation in second.citations)],
        usage=second.usage | {"models": [*_counts(first.usage), *_counts(second.usage)]},
        extra=first.extra | second.extra,
        final_text=second.final_text or first.final_text,
        references_missing=first.references_missing or second.references_missing,
    )


def _shifted(citation: dict[str, Any], shift: int) -> dict[str, Any]:
    places = {name: citation[name] + shift for name in ("start_index", "end_index") if name in citation}
    return citation | places


def _counts(usage: dict[str, Any]) -> list[Any]:
    """Return the tokens of each model; of a snapshot that names none, the snapshot."""
    models = usage.get("models")
    if isinstance(models, list):
        return models
    return [usage] if usage else []
