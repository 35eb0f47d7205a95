"""What a call asks, before anything is sent: its options, its tools, who keeps the conversation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import ToolMessage

from langchain_bailian_app.chat_models._response_builder import ResponseBuilder
from langchain_bailian_app.chat_models._runnable import RunnableMethods, memory_id_for_user
from langchain_bailian_app.chat_models._tool_prompt import (
    ToolPrompt,
    render_tool_messages,
    tool_prompt_from_kwargs,
)
from langchain_bailian_app.sessions._store import SHARED_STORE
from langchain_bailian_app.sessions._tracker import SessionTracker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_bailian_app._request.fields import CompletionFields
    from langchain_bailian_app._transport.credentials import Connection
    from langchain_bailian_app.sessions._store import SessionStore


@dataclass(frozen=True)
class PreparedCall:
    """The options of a call, checked."""

    options: CompletionFields
    tool_prompt: ToolPrompt | None
    store: SessionStore
    """Who may continue which session."""

    def create_tracker_and_builder(
        self, messages: Sequence[BaseMessage], app_id: str, connection: Connection
    ) -> tuple[SessionTracker, ResponseBuilder]:
        """Return what is sent, and what reads the reply.

        Raises:
            ValueError: The messages cannot be put to an application.
        """
        if self.options.tool_calling is not None:
            _check_no_tool_results(messages, self.options)
            messages = (
                self.tool_prompt.add_instructions(messages)
                if self.tool_prompt
                else render_tool_messages(messages)
            )
        tracker = SessionTracker(messages, self.options, app_id=app_id, connection=connection)
        return tracker, ResponseBuilder(app_id, self.options, self.tool_prompt)


def prepare_call(
    model: RunnableMethods, store: SessionStore | None, kwargs: dict[str, Any]
) -> PreparedCall:
    """Return what the fields of a model and the keywords of a call ask for, with the model's store.

    Raises:
        ValueError: An argument is wrong.
        TypeError: A keyword is no field.
        NotImplementedError: A keyword would give the application tools.
    """
    options = model.with_overrides(kwargs)
    tool_prompt = tool_prompt_from_kwargs(kwargs) if options.tool_calling is not None else None
    if tool_prompt is not None:
        _check_no_session(options)
        options = options.model_copy(update={"history": "messages"})
    if options.history == "thread" and store is None:
        message = (
            "`history='thread'` needs a `session_store`, as `InMemorySessionStore()` is one: what it "
            "remembers is all there is of the conversation"
        )
        raise ValueError(message)
    if model.memory_ids is not None and options.memory_id is None:
        memory_id_for_user(None, model.memory_ids)  # `generate` passes by where the config is read
    return PreparedCall(options, tool_prompt, SHARED_STORE if store is None else store)


def _check_no_session(options: CompletionFields) -> None:
    if options.session_id is not None:
        message = (
            "a call with tools takes no session, in which the description of the tools would stay: "
            "leave out `session_id` (or `configurable.bailian_session_id`), and give all messages"
        )
        raise ValueError(message)
    if options.history == "thread":
        message = (
            "a call with tools needs all messages, and `history='thread'` has them in the cloud alone: "
            "set `history='messages'` or `'session'`"
        )
        raise ValueError(message)


def _check_no_tool_results(messages: Sequence[BaseMessage], options: CompletionFields) -> None:
    has_server_history = options.session_id is not None or options.history == "thread"
    if has_server_history and any(isinstance(message, ToolMessage) for message in messages):
        message = "a session takes a question of a human, not the results of tools: give all messages"
        raise ValueError(message)
