"""What a call asks, before anything is sent: its options, its tools, who keeps the conversation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import ToolMessage

from langchain_bailian_app.chat_models._response import ReplyReader
from langchain_bailian_app.chat_models._runnable import EntryPoints, memory_of
from langchain_bailian_app.chat_models._tool_prompt import ToolPrompt, tool_prompt, with_calls_as_text
from langchain_bailian_app.sessions._store import SHARED_STORE
from langchain_bailian_app.sessions._tracker import Exchange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_bailian_app._settings.application import ApplicationFields
    from langchain_bailian_app._transport.credentials import Connection
    from langchain_bailian_app.sessions._store import SessionStore


@dataclass(frozen=True)
class Asking:
    """The options of a call, checked."""

    options: ApplicationFields
    tools: ToolPrompt | None
    store: SessionStore
    """Who may continue which session."""

    def sides(
        self, messages: Sequence[BaseMessage], app_id: str, connection: Connection
    ) -> tuple[Exchange, ReplyReader]:
        """Return what is sent, and what reads the reply.

        Raises:
            ValueError: The messages cannot be put to an application.
        """
        if self.options.tool_calling is not None:
            _check_no_results(messages, self.options)
            messages = self.tools.told(messages) if self.tools else with_calls_as_text(messages)
        exchange = Exchange(messages, self.options, app_id=app_id, connection=connection)
        return exchange, ReplyReader(app_id, self.options, self.tools)


def asking(model: EntryPoints, store: SessionStore | None, keywords: dict[str, Any]) -> Asking:
    """Return what the fields of a model and the keywords of a call ask for, with the model's store.

    Raises:
        ValueError: An argument is wrong.
        TypeError: A keyword is no field.
        NotImplementedError: A keyword would give the application tools.
    """
    options = model.overlaid(keywords)
    tools = tool_prompt(keywords) if options.tool_calling is not None else None
    if tools is not None:
        _check_no_session(options)
        options = options.model_copy(update={"history": "messages"})
    if options.history == "thread" and store is None:
        message = (
            "`history='thread'` needs a `session_store`, as `InMemorySessionStore()` is one: what it "
            "remembers is all there is of the conversation"
        )
        raise ValueError(message)
    if model.memory_ids is not None and options.memory_id is None:
        memory_of(None, model.memory_ids)  # `generate` passes by where the config is read
    return Asking(options, tools, SHARED_STORE if store is None else store)


def _check_no_session(options: ApplicationFields) -> None:
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


def _check_no_results(messages: Sequence[BaseMessage], options: ApplicationFields) -> None:
    alone_in_the_cloud = options.session_id is not None or options.history == "thread"
    if alone_in_the_cloud and any(isinstance(message, ToolMessage) for message in messages):
        message = "a session takes a question of a human, not the results of tools: give all messages"
        raise ValueError(message)
