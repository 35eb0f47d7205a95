"""One reply on its way to the user: frames become chunks or a message, or an error with what had come.

The same object serves `invoke` and `stream`, in threads and on event loops; who owns the loop feeds it.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_bailian_app import errors
from langchain_bailian_app._answer import UNKNOWN_FINISH, Answer, AnswerReader, Delta
from langchain_bailian_app._messages import chunk_from_delta, last_chunk, message_from_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun

    from langchain_bailian_app._application_fields import ApplicationFields
    from langchain_bailian_app._frames import Frame

_logger = logging.getLogger("langchain_bailian_app")


class ReplyReader:
    """Reads the reply to one call."""

    def __init__(self, app_id: str, options: ApplicationFields) -> None:
        self._app_id = app_id
        self._accept_missing_stop = options.accept_missing_stop
        self._answer_node = options.answer_node
        self._reader = AnswerReader(
            markers=options.citation_markers, stop=options.stop, answer_node=options.answer_node
        )
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

    def read(self, frame: Frame) -> list[Delta]:
        """Take a frame, return what it adds."""
        return self._reader.feed(frame)

    def chunks(self, frame: Frame) -> list[ChatGenerationChunk]:
        """Take a frame, return the chunks that it makes."""
        return _chunks(self._reader.feed(frame))

    def end(self, *, hint: bool = True) -> None:
        """Note that no more frames come.

        Args:
            hint: Whether to say why an answer from documents names none.

        Raises:
            BailianStreamError: The answer is not complete.
        """
        self._rest = self._reader.end(accept_missing_stop=self._accept_missing_stop)
        self.answer = self._reader.answer()
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

    def _look_for_node(self, answer_node: str) -> None:
        """Say so if no node of a workflow is called as was asked."""
        nodes = [event.value for event in self.answer.nodes]
        names = ("node_id", "name", "type")
        if nodes and not any(answer_node in map(node.get, names) for node in nodes):
            seen = {str(node.get("name") or node.get("node_id")): None for node in nodes}
            _hint_at_nodes(self._app_id, answer_node, ", ".join(seen))

    def so_far(self) -> Answer:
        """Return what has come of the answer."""
        return self._reader.answer()

    def last_chunks(self) -> list[ChatGenerationChunk]:
        """Return the chunks that close the stream."""
        last = last_chunk(self.answer, self._app_id, self.conversation)
        return [*_chunks(self._rest), ChatGenerationChunk(message=last)]

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
            answer = self._reader.answer()
            if answer.session_id or answer.request_id:
                answer.finish_reason = None
                error.partial = message_from_answer(answer, self._app_id, {})
            raise


def wants_tokens(
    run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None,
) -> bool:
    """Whether a handler listens for tokens: they come anyway, as every call is a stream."""
    return run_manager is not None and any(
        type(handler).on_llm_new_token is not BaseCallbackHandler.on_llm_new_token
        and not handler.ignore_llm
        for handler in run_manager.handlers
    )


def _chunks(deltas: list[Delta]) -> list[ChatGenerationChunk]:
    return [ChatGenerationChunk(message=chunk_from_delta(delta)) for delta in deltas]


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
