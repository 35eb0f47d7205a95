"""What a call asks, before anything is sent: its options, its tools, who keeps the conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import ToolMessage

from langchain_bailian_app._exchange import Exchange
from langchain_bailian_app._reply import ReplyReader
from langchain_bailian_app._tool_prompt import ToolPrompt, tool_prompt
from langchain_bailian_app._tool_turns import with_calls_as_text
from langchain_bailian_app.sessions import SHARED_STORE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_bailian_app._application_fields import ApplicationFields
    from langchain_bailian_app._connection import Connection
    from langchain_bailian_app.sessions import SessionStore


def asked(
    messages: Sequence[BaseMessage],
    fields: ApplicationFields,
    keywords: dict[str, Any],
    *,
    app_id: str,
    connection: Connection,
    session_store: SessionStore | None,
) -> tuple[Exchange, ReplyReader, SessionStore]:
    """Return the two sides of a call, and the store of its session.

    Raises:
        ValueError: An argument is wrong.
        TypeError: A keyword is no field.
        NotImplementedError: A keyword would give the application tools.
    """
    options = fields.overlaid(keywords)
    tools: ToolPrompt | None = None
    if options.tool_calling is not None:
        _check_no_results(messages, options)
        tools = tool_prompt(keywords)
        messages = tools.told(messages) if tools else with_calls_as_text(messages)
    if tools is not None:
        _check_no_session(options)
        options = options.model_copy(update={"history": "messages"})
    if options.history == "thread" and session_store is None:
        message = (
            "`history='thread'` needs a `session_store`: what it remembers is all there is of the "
            "conversation"
        )
        raise ValueError(message)
    exchange = Exchange(messages, options, app_id=app_id, connection=connection)
    store = SHARED_STORE if session_store is None else session_store
    return exchange, ReplyReader(app_id, options, tools), store


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
