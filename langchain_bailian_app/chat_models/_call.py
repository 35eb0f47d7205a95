"""Preparation of a call: validates its options, messages and tools before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import ToolMessage

from langchain_bailian_app._request.body import check_question_has_text
from langchain_bailian_app._settings.connection import check_id
from langchain_bailian_app.chat_models._agent_messages import has_new_results, render_without_tools
from langchain_bailian_app.chat_models._response_builder import ResponseBuilder
from langchain_bailian_app.chat_models._runnable import memory_id_for_user
from langchain_bailian_app.chat_models._tool_prompt import ToolPrompt, tool_prompt_from_kwargs
from langchain_bailian_app.sessions._store import SHARED_STORE
from langchain_bailian_app.sessions._tracker import SessionTracker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_bailian_app._request.fields import CompletionFields
    from langchain_bailian_app._transport.credentials import Connection
    from langchain_bailian_app.chat_models._runnable import RunnableMethods
    from langchain_bailian_app.chat_models._shown_warnings import ShownWarnings
    from langchain_bailian_app.files._client import BailianFiles
    from langchain_bailian_app.sessions._store import SessionStore


@dataclass(frozen=True)
class PreparedCall:
    """Validated call, ready to be run by `_delta_stream`."""

    app_id: str
    messages: Sequence[BaseMessage]
    options: CompletionFields
    tool_prompt: ToolPrompt | None
    files: BailianFiles | None
    """Client that uploads data in content blocks; None to send the data in the request."""

    store: SessionStore
    """Store that decides whether a call may continue a session."""

    response: ResponseBuilder
    """Builder of the answer, which is complete when the call has ended."""

    shown_warnings: ShownWarnings
    """Warnings that the model has shown."""

    def create_tracker(self, messages: Sequence[BaseMessage], connection: Connection) -> SessionTracker:
        """Return the session tracker for the messages; their data must already be uploaded.

        Raises:
            ValueError: The messages cannot be sent to an application.
        """
        if self.tool_prompt is not None:
            messages = self.tool_prompt.add_instructions(messages)
        else:
            _check_no_new_results(messages, self.options)
            messages = render_without_tools(messages)
        tracker = SessionTracker(messages, self.options, app_id=self.app_id, connection=connection)
        self._warn_about_unsent_messages(tracker.count_unsent_messages())
        return tracker

    def _warn_about_unsent_messages(self, count: int) -> None:
        if not count:
            return
        if self.options.session_id is not None:
            cause, advice = "`session_id` (or `configurable.bailian_session_id`)", "omit the session id"
        else:
            cause, advice = "`history='thread'`", "set `history='session'` or `history='messages'`"
        message = (
            f"{count} {'message of this call is' if count == 1 else 'messages of this call are'} not "
            f"sent to application {self.app_id}: with {cause}, only the newest human message is sent, "
            "because the cloud has its own copy of the conversation. If that copy is what you want, "
            f"pass only the new message, or ignore this warning; to send all messages, {advice}"
        )
        self.shown_warnings.warn_once("unsent messages", message)


def prepare_call(
    model: RunnableMethods,
    messages: Sequence[BaseMessage],
    kwargs: dict[str, Any],
    *,
    app_id: str,
    files: BailianFiles | None,
    store: SessionStore | None,
    shown_warnings: ShownWarnings,
) -> PreparedCall:
    """Combine the fields of a model with the arguments of a call, and validate the result.

    Args:
        model: The model that is called.
        messages: The messages to send.
        kwargs: The options of the call.
        app_id: The application.
        files: The model's client for uploads.
        store: The model's session store; None for the store that all models share.
        shown_warnings: Warnings that the model has shown.

    Raises:
        ValueError: An option is invalid, or the newest question has no text.
        TypeError: An argument is not an option of calls.
        NotImplementedError: Tools were passed although `tool_calling` is not set, or `response_format`
            was passed.
    """
    app_id = check_id(app_id, name="app_id")  # before files are uploaded or a session is claimed
    options = model.with_overrides(kwargs)
    tool_prompt = tool_prompt_from_kwargs(kwargs) if options.tool_calling is not None else None
    if tool_prompt is not None:
        _check_no_session(options)
        options = options.model_copy(update={"history": "messages"})
    if options.history == "thread" and store is None:
        message = (
            "missing `session_store`: `history='thread'` requires one to link the thread to its "
            "session; pass one, for example `InMemorySessionStore()`"
        )
        raise ValueError(message)
    if model.memory_ids is not None and options.memory_id is None:
        memory_id_for_user(None, model.memory_ids)  # raises: the user is unknown
    # Before files are uploaded or a session is claimed. With tools, a result may be the question.
    check_question_has_text(
        messages if tool_prompt else [m for m in messages if not isinstance(m, ToolMessage)]
    )
    return PreparedCall(
        app_id=app_id,
        messages=messages,
        options=options,
        tool_prompt=tool_prompt,
        files=files,
        store=SHARED_STORE if store is None else store,
        response=ResponseBuilder(app_id, options, tool_prompt, shown_warnings),
        shown_warnings=shown_warnings,
    )


def _check_no_session(options: CompletionFields) -> None:
    if options.session_id is not None:
        message = (
            "cannot use `session_id` (or `configurable.bailian_session_id`) in a call with tools: "
            "the session would keep the descriptions of the tools; remove it and pass all messages"
        )
        raise ValueError(message)
    if options.history == "thread":
        message = (
            "cannot use `history='thread'` in a call with tools: the call must send all messages, but "
            "only the service has them; set `history='messages'` or `'session'`"
        )
        raise ValueError(message)


def _check_no_new_results(messages: Sequence[BaseMessage], options: CompletionFields) -> None:
    has_server_history = options.session_id is not None or options.history == "thread"
    if has_server_history and has_new_results(messages):
        message = (
            "cannot send a ToolMessage to a session, which accepts only new human messages: pass all "
            "messages, without `session_id` or `history='thread'`, or add the result to a human message"
        )
        raise ValueError(message)
