"""Builder of the chunks and the message of one call from its frames.

The same class serves `invoke` and `stream`, in threads and on event loops; its caller feeds it frames.
It also attaches the partial answer to an error.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_core.outputs import ChatGenerationChunk

from langchain_bailian_app import errors
from langchain_bailian_app._answer.answer import (
    TEXT_SEPARATOR,
    UNKNOWN_FINISH_REASON,
    Answer,
    merge_answers,
)
from langchain_bailian_app._answer.assembler import AnswerAssembler
from langchain_bailian_app._answer.events import Delta, TextDelta
from langchain_bailian_app._answer.recalled_memory import parse_recalled_memories
from langchain_bailian_app.chat_models._messages import (
    build_last_chunk,
    message_from_answer,
)
from langchain_bailian_app.chat_models._results import (
    chat_result_from_message,
    generation_info_from_message,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatResult

    from langchain_bailian_app._answer.frames import Frame
    from langchain_bailian_app._request.fields import CompletionFields
    from langchain_bailian_app.chat_models._shown_warnings import ShownWarnings
    from langchain_bailian_app.chat_models._tool_prompt import ToolPrompt


_logger = logging.getLogger("langchain_bailian_app")


class ResponseBuilder:
    """Builder of the chunks and the message of one call."""

    def __init__(
        self,
        app_id: str | None,
        options: CompletionFields,
        tool_prompt: ToolPrompt | None = None,
        shown_warnings: ShownWarnings | None = None,
    ) -> None:
        self._app_id = app_id
        self._options = options
        self._tool_prompt = tool_prompt
        self._shown_warnings = shown_warnings
        self._assembler = self._new_assembler()
        self._first_answer: Answer | None = None
        self._second_text_started = False
        self.answer = Answer()
        self.session_metadata: dict[str, Any] = {}
        """Entries about the session, for the `response_metadata` of the message."""

    @property
    def stopped(self) -> bool:
        """True if a `stop` sequence was found. The rest of the response can then be discarded."""
        return self._assembler.stopped

    @property
    def complete(self) -> bool:
        """True if the service sent a finish reason, and no `stop` sequence cut off the answer."""
        return not self.stopped and self.answer.finish_reason not in (None, UNKNOWN_FINISH_REASON)

    def feed(self, frames: list[Frame]) -> list[Delta]:
        """Read the next frames and return their deltas."""
        deltas: list[Delta] = []
        for frame in frames:
            deltas += self._assembler.feed(frame)
        return deltas if self._first_answer is None else self._separate_texts(deltas)

    def end(self, *, warn_missing_references: bool = True) -> list[Delta]:
        """Finish the answer after the last frame and return the last deltas.

        Args:
            warn_missing_references: Whether to log a warning if the text cites documents but there
                are no references.

        Raises:
            BailianStreamError: The answer is incomplete.
        """
        deltas = self._separate_texts(
            self._assembler.end(accept_missing_stop=self._options.accept_missing_stop)
        )
        self.answer = self.build_current_answer()
        if self.answer.finish_reason is None:
            message = (
                "the stream ended without a finish reason, so the answer may be incomplete: see "
                "`partial`, or set `accept_missing_stop=True` to accept it"
            )
            raise errors.BailianStreamError(message, request_id=self.answer.request_id)
        if self.answer.final_text is not None:
            source = (
                f"node {self._options.answer_node!r}" if self._options.answer_node else "its End node"
            )
            message = (
                f"the final text of workflow {self._app_id} (`response_metadata['final_text']`) "
                f"differs from the text of {source}"
            )
            warnings.warn(message, stacklevel=2)
        if self._options.answer_node is not None:
            self._check_answer_node(self._options.answer_node)
        if warn_missing_references and self.answer.references_missing:
            _warn_about_missing_references(self._app_id)
        self._warn_about_shared_memory()
        return deltas

    def start_retry(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """Return the messages to append for a retry, or [] if no retry is needed.

        Before a retry, this method also prepares for the second response.

        Args:
            messages: The messages of the first request.

        Raises:
            BailianError: A required tool call is missing, and there is no further retry.
        """
        if self._tool_prompt is None:
            return []
        reason = self._tool_prompt.retry_reason(self.answer)
        if reason is None:
            return []
        if self._first_answer is not None or self.stopped:
            if self._tool_prompt.requires_call:
                raise _missing_call_error(reason, self.answer.request_id)
            return []
        self._first_answer = self.answer
        self._assembler = self._new_assembler(self._assembler)
        return self._tool_prompt.build_retry_messages(messages, self.answer)

    def _new_assembler(self, previous: AnswerAssembler | None = None) -> AnswerAssembler:
        return AnswerAssembler(
            markers=self._options.citation_markers,
            stop=self._options.stop,
            answer_node=self._options.answer_node,
            tool_call_parser=self._tool_prompt.new_parser() if self._tool_prompt else None,
            previous=previous,
        )

    def _separate_texts(self, deltas: list[Delta]) -> list[Delta]:
        """Insert a separator between the texts of the first and the second answer."""
        if self._first_answer is None or not self._first_answer.text or self._second_text_started:
            return deltas
        for index, delta in enumerate(deltas):
            if isinstance(delta, TextDelta):
                self._second_text_started = True
                return [*deltas[:index], TextDelta(TEXT_SEPARATOR + delta.text), *deltas[index + 1 :]]
        return deltas

    def _check_answer_node(self, answer_node: str) -> None:
        """Log a warning if the workflow has nodes, but none of them matches `answer_node`."""
        nodes = [event.value for event in self.answer.nodes]
        name_fields = ("node_id", "name", "type")
        if nodes and not any(answer_node in map(node.get, name_fields) for node in nodes):
            node_names = {str(node.get("name") or node.get("node_id")): None for node in nodes}
            _warn_about_unknown_node(self._app_id, answer_node, ", ".join(node_names))

    def _warn_about_shared_memory(self) -> None:
        """Show a warning if one of several conversations recalls memories that all users share."""
        options, shown_warnings, kind = self._options, self._shown_warnings, "shared memory"
        has_memory_id = options.memory_id is not None or "memory_id" in (options.extra_input or {})
        if shown_warnings is None or kind in shown_warnings or has_memory_id:
            return
        has_session = options.history == "thread" or options.session_key or options.session_id
        if not (has_session or shown_warnings.serves_threads):
            return
        if parse_recalled_memories(self.answer.thoughts):
            message = (
                f"application {self._app_id} recalled long-term memories in a call without "
                "`memory_id`: all users share the default memory of the application, so an answer may "
                "reveal facts about another user. Pass the `memory_id` of the user in each call, or "
                "set `memory_ids` on the model and pass `configurable.user_id`"
            )
            shown_warnings.warn_once(kind, message)

    def build_current_answer(self) -> Answer:
        """Return the answer received so far."""
        answer = self._assembler.build_answer()
        return answer if self._first_answer is None else merge_answers(self._first_answer, answer)

    def build_last_chunk(self) -> ChatGenerationChunk:
        """Return the last chunk of the stream."""
        last = build_last_chunk(
            self.answer, self._app_id, self.session_metadata, self._options.app_model
        )
        return ChatGenerationChunk(message=last, generation_info=generation_info_from_message(last))

    def build_result(self) -> ChatResult:
        """Return the complete message as a `ChatResult`."""
        message = message_from_answer(
            self.answer, self._app_id, self.session_metadata, self._options.app_model
        )
        return chat_result_from_message(message)

    @contextmanager
    def partial_on_error(
        self, take_withheld_frames: Callable[[errors.BailianError], list[Frame]] | None = None
    ) -> Iterator[None]:
        """Attach the partial answer to a `BailianError` that ends the call.

        Args:
            take_withheld_frames: Function that returns the frames that arrived before the error and
                were not passed to `feed`.
        """
        try:
            yield
        except errors.BailianError as error:
            if take_withheld_frames is not None:
                self.feed(take_withheld_frames(error))
            self._assembler.end()
            answer = self.build_current_answer()
            answer.finish_reason = None
            if answer != Answer():  # something was received, perhaps without an id
                error.partial = message_from_answer(answer, self._app_id, {}, self._options.app_model)
            raise


def _missing_call_error(reason: str, request_id: str | None) -> errors.BailianError:
    """Return the error for an answer without the required call.

    An agent would ask again: `create_agent` with a `response_format` stops after 9,999 steps.
    """
    message = (
        f"missing tool call: `tool_choice` requires one, but {reason} (see `partial`). An application "
        "may ignore the instructions: change its prompt or its model, let it choose with "
        '`tool_choice="auto"`, or use `with_structured_output` if you need an object'
    )
    return errors.BailianError(message, request_id=request_id)


@lru_cache(maxsize=256)  # once for each node
def _warn_about_unknown_node(app_id: str, answer_node: str, node_names: str) -> None:
    _logger.warning("workflow %s has no node %r; its nodes are %s", app_id, answer_node, node_names)


@lru_cache(maxsize=256)  # once for each application
def _warn_about_missing_references(app_id: str) -> None:
    _logger.warning(
        "the answer of application %s cites documents but does not return them: turn on "
        "展示回答来源 (show answer sources) in the console, then publish the application again",
        app_id,
    )
