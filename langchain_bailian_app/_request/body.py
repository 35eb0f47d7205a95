"""Messages and options become the body of one request; nothing is sent here.

`messages` and `session_id` never go together: on the wire one of them silently wins.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
)

from langchain_bailian_app._request.attachments import check_urls, part_of
from langchain_bailian_app._request.transcript import Turn, new_question, whole_conversation
from langchain_bailian_app.options._session_files import SESSION_FILE, check_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_bailian_app._settings.application import ApplicationFields

_ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant"}
_INPUT = ("memory_id", "doc_tag_codes", "doc_reference_type")
# No document of Agent 2.0 has them.
_UNDOCUMENTED = (
    "rag_options",
    "memory_id",
    "dialog_round",
    "enable_web_search",
    "enable_system_time",
    "mcp_servers",
    "flow_stream_mode",
    "answer_node",
    "doc_tag_codes",
    "doc_reference_type",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "max_tokens",
)
_PARAMETERS = {
    "has_thoughts": "has_thoughts",
    "enable_thinking": "enable_thinking",
    "enable_web_search": "enable_web_search",
    "enable_system_time": "enable_system_time",
    "dialog_round": "dialog_round",
    "app_model": "model_id",
    "flow_stream_mode": "flow_stream_mode",
    "mcp_servers": "mcp_servers",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "max_tokens": "max_tokens",
}


@dataclass(frozen=True, slots=True)
class ServiceRequest:
    """One request to the service."""

    path: str
    """Path below the base URL."""

    body: dict[str, Any] | None = None
    stream: bool = False
    """Whether the reply is to come as a stream."""

    method: str = "POST"
    params: dict[str, str] | None = None
    """What stands behind the `?` of the URL."""


def turns_of(messages: Sequence[BaseMessage]) -> list[Turn]:
    """Return messages in the form in which they would be sent, one turn each.

    Raises:
        ValueError: A message cannot be put to an application.
    """
    return [_turn(message) for message in messages]


def whole_request(app_id: str, turns: list[Turn], options: ApplicationFields) -> ServiceRequest:
    """Return the request that tells the whole conversation.

    Raises:
        ValueError: There is no question in it.
    """
    return _request(app_id, whole_conversation(turns, options), turns, options)


def session_request(
    app_id: str, turns: list[Turn], options: ApplicationFields, session_id: str | None
) -> ServiceRequest:
    """Return the request that puts the new question to a session, or to a new one.

    Raises:
        ValueError: There is not exactly one new question.
    """
    rules, question = new_question(turns)
    conversation = {"prompt": "\n\n".join((*rules, question.text))}
    if session_id is not None:
        conversation["session_id"] = session_id
    return _request(app_id, conversation, [question], options)


def _request(
    app_id: str, conversation: dict[str, Any], turns: list[Turn], options: ApplicationFields
) -> ServiceRequest:
    stream = options.streaming is not False
    if options.agent_version == "2.0":
        for name in _UNDOCUMENTED:
            if getattr(options, name) is not None:
                _warn_of_undocumented(app_id, name)
    return ServiceRequest(
        path=f"apps/{app_id}/completion",
        body={
            "input": conversation | _attachments(turns, options) | _input(options),
            "parameters": _parameters(turns, options, stream=stream),
        },
        stream=stream,
    )


def _attachments(turns: list[Turn], options: ApplicationFields) -> dict[str, Any]:
    """Collect images and files, oldest first: the service has no place for them in a message."""
    images = [*(url for turn in turns for url in turn.images), *(options.image_list or ())]
    given = [url for turn in turns for url in turn.files if not url.startswith(SESSION_FILE)]
    files = [*given, *(options.file_list or ())]
    lists = {"image_list": list(dict.fromkeys(images)), "file_list": list(dict.fromkeys(files))}
    for name, urls in lists.items():
        check_urls(name, urls)
    return {name: urls for name, urls in lists.items() if urls}


@lru_cache(maxsize=1024)  # once for each field of an application
def _warn_of_undocumented(app_id: str, name: str) -> None:
    message = f"`{name}` is sent to application {app_id}, but no document of Agent 2.0 has it"
    warnings.warn(message, stacklevel=2)


def _input(options: ApplicationFields) -> dict[str, Any]:
    fields = {name: getattr(options, name) for name in _INPUT}
    if options.biz_params is not None:
        fields["biz_params"] = options.biz_params.to_wire()
    given = {name: value for name, value in fields.items() if value is not None}
    return given | (options.extra_input or {})


def _rag_options(turns: list[Turn], options: ApplicationFields) -> dict[str, Any] | None:
    """Return which knowledge to search, session files in the messages included.

    Raises:
        ValueError: There are more session files than a call takes.
    """
    rag_options = {} if options.rag_options is None else options.rag_options.to_wire()
    given = rag_options.get("session_file_ids") or []
    said = [url for turn in turns for url in turn.files if url.startswith(SESSION_FILE)]
    if said:
        file_ids = list(dict.fromkeys([*said, *given]))
        check_ids(file_ids)
        return rag_options | {"session_file_ids": file_ids}
    return None if options.rag_options is None else rag_options


def _parameters(turns: list[Turn], options: ApplicationFields, *, stream: bool) -> dict[str, Any]:
    fields = {wire: getattr(options, name) for name, wire in _PARAMETERS.items()}
    # Unasked, an application may think without telling.
    if options.has_thoughts is None and options.enable_thinking:
        fields["has_thoughts"] = True
    if options.flow_stream_mode is None and options.answer_node is not None:
        fields["flow_stream_mode"] = "message_format_plus"
    fields["rag_options"] = _rag_options(turns, options)
    if stream:  # a plain POST is refused with it
        fields["incremental_output"] = True
    given = {name: value for name, value in fields.items() if value is not None}
    return given | (options.extra_parameters or {})


def _turn(message: BaseMessage) -> Turn:
    role = _role(message)
    if isinstance(message, AIMessage) and message.tool_calls and not message.text:
        text = (
            "an answer that only calls tools cannot be put to an application: leave it out, or set "
            '`tool_calling="prompt"`'
        )
        raise ValueError(text)
    if isinstance(message.content, str):
        return Turn(role, message.content)
    if role == "assistant":
        return Turn(role, message.text)  # what else it holds, reasoning for instance, is its own
    found: dict[str, list[str]] = {"text": [], "image": [], "file": []}
    for block in message.content:
        kind, value = part_of(block)
        found[kind].append(value)
    if role != "user" and (found["image"] or found["file"]):
        text = "images and files can stand in human messages only"
        raise ValueError(text)
    return Turn(role, "".join(found["text"]), tuple(found["image"]), tuple(found["file"]))


def _role(message: BaseMessage) -> str:
    match message:
        case SystemMessage():
            return "system"
        case HumanMessage():
            return "user"
        case AIMessage():
            return "assistant"
        case ChatMessage(role=role) if role in _ROLES:
            return _ROLES[role]
    text = (
        f"a {type(message).__name__} cannot be put to an application, which knows the roles system, "
        "user and assistant: leave it out, or put its content into a human message"
    )
    raise ValueError(text)
