"""Construction of request bodies from messages and options.

`messages` and `session_id` are never sent together, because the service silently ignores one of them.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_bailian_app._request.attachments import (
    check_urls,
    parse_content_block,
    text_from_block,
)
from langchain_bailian_app._request.json_values import check_json, is_json, is_unicode
from langchain_bailian_app._request.service_request import ServiceRequest
from langchain_bailian_app._request.transcript import (
    Turn,
    build_conversation,
    find_last_question,
    require_text,
    split_new_turns,
)
from langchain_bailian_app._settings.connection import check_id
from langchain_bailian_app.options._session_files import SESSION_FILE_PREFIX, check_session_file_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_bailian_app._request.fields import CompletionFields

_ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant"}
_INPUT_FIELDS = ("memory_id", "doc_tag_codes", "doc_reference_type")
# Fields that the documentation of Agent 2.0 does not mention.
_UNDOCUMENTED_FOR_AGENT_2 = (
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
_PARAMETER_NAMES = {
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


def turns_from_messages(messages: Sequence[BaseMessage]) -> list[Turn]:
    """Convert each message to a turn, also a message without text, so that indexes stay the same.

    Raises:
        ValueError: A message cannot be sent to an application.
    """
    return [_turn_from_message(message) for message in messages]


def check_question_has_text(messages: Sequence[BaseMessage]) -> None:
    """Reject messages whose newest question has no text.

    This check does not read images and files, which may still have to be uploaded. After a tool result,
    which becomes the newest question, it accepts all messages.

    Raises:
        ValueError: The newest question has no text.
    """
    index = find_last_question(messages)
    if index is None or any(isinstance(message, ToolMessage) for message in messages[index:]):
        return
    content = messages[index].content
    blocks = [content] if isinstance(content, str) else content
    require_text(Turn("user", "".join(filter(None, map(text_from_block, blocks)))))


def build_transcript_request(
    app_id: str, turns: list[Turn], options: CompletionFields
) -> ServiceRequest:
    """Return a request that contains the entire conversation.

    Raises:
        ValueError: The turns contain no question, or the newest question has no text.
    """
    return _build_request(app_id, build_conversation(turns, options), turns, options)


def build_session_request(
    app_id: str, turns: list[Turn], options: CompletionFields, session_id: str | None
) -> ServiceRequest:
    """Return a request that sends the new question to a session. Without an id, it starts one.

    Raises:
        ValueError: There is not exactly one new question with text, or the newest one has no text.
    """
    prompt, new_turns = split_new_turns(turns)
    conversation = {"prompt": prompt}
    if session_id is not None:
        conversation["session_id"] = session_id
    return _build_request(app_id, conversation, new_turns, options)


def _build_request(
    app_id: str, conversation: dict[str, Any], turns: list[Turn], options: CompletionFields
) -> ServiceRequest:
    stream = options.streaming is not False
    if options.agent_version == "2.0":
        for name in _UNDOCUMENTED_FOR_AGENT_2:
            if getattr(options, name) is not None:
                _warn_about_undocumented(app_id, name)
    attachments = _collect_attachments(turns, options)
    input_fields = _build_input(options)
    parameters = _build_parameters(turns, options, stream=stream)
    _check_texts(conversation, turns, attachments)
    _check_fields(input_fields, parameters, options)
    return ServiceRequest(
        path=f"apps/{check_id(app_id, name='app_id')}/completion",
        body={"input": conversation | attachments | input_fields, "parameters": parameters},
        stream=stream,
    )


def _check_texts(
    conversation: dict[str, Any], turns: list[Turn], attachments: dict[str, list[str]]
) -> None:
    """Reject texts that cannot be encoded, now instead of in the HTTP client.

    Raises:
        ValueError: A text contains half of a surrogate pair.
    """
    texts = {
        "messages": [turn.text for turn in turns],
        "session_id": [conversation.get("session_id", "")],
        **attachments,
    }
    for name, values in texts.items():
        if not all(map(is_unicode, values)):
            message = f"invalid `{name}`: expected Unicode text, got half of a surrogate pair"
            raise ValueError(message)


def _check_fields(
    input_fields: dict[str, Any], parameters: dict[str, Any], options: CompletionFields
) -> None:
    """Reject values that JSON does not have, now instead of in the HTTP client.

    Raises:
        ValueError: A value cannot be sent as JSON.
    """
    if is_json((input_fields, parameters)):
        return
    check_json("extra_input", options.extra_input)
    check_json("extra_parameters", options.extra_parameters)
    names = {wire: name for name, wire in _PARAMETER_NAMES.items()}
    for wire, value in (input_fields | parameters).items():
        check_json(names.get(wire, wire), value)


def _collect_attachments(turns: list[Turn], options: CompletionFields) -> dict[str, Any]:
    """Collect images and files, oldest first; the service does not accept them inside messages."""
    images = [*(url for turn in turns for url in turn.images), *(options.image_list or ())]
    message_files = [
        url for turn in turns for url in turn.files if not url.startswith(SESSION_FILE_PREFIX)
    ]
    files = [*message_files, *(options.file_list or ())]
    attachments = {}
    for name, urls in (("image_list", images), ("file_list", files)):
        if urls:
            attachments[name] = list(dict.fromkeys(urls))
            check_urls(name, attachments[name])
    return attachments


@lru_cache(maxsize=1024)  # one warning for each application and field
def _warn_about_undocumented(app_id: str, name: str) -> None:
    message = f"`{name}` is sent to application {app_id}, but is not documented for Agent 2.0"
    warnings.warn(message, stacklevel=2)


def _build_input(options: CompletionFields) -> dict[str, Any]:
    fields = {name: getattr(options, name) for name in _INPUT_FIELDS}
    if options.biz_params is not None:
        fields["biz_params"] = options.biz_params.to_wire()
    values = {name: value for name, value in fields.items() if value is not None}
    return values | (options.extra_input or {})


def _build_rag_options(turns: list[Turn], options: CompletionFields) -> dict[str, Any] | None:
    """Return the retrieval options, including session files in the messages.

    Raises:
        ValueError: There are more session files than a call may have.
    """
    rag_options = {} if options.rag_options is None else options.rag_options.to_wire()
    ids_in_options = rag_options.get("session_file_ids") or []
    ids_in_messages = [
        url for turn in turns for url in turn.files if url.startswith(SESSION_FILE_PREFIX)
    ]
    if ids_in_messages:
        file_ids = list(dict.fromkeys([*ids_in_messages, *ids_in_options]))
        check_session_file_ids(file_ids)
        return rag_options | {"session_file_ids": file_ids}
    return None if options.rag_options is None else rag_options


def _build_parameters(turns: list[Turn], options: CompletionFields, *, stream: bool) -> dict[str, Any]:
    fields = {wire: getattr(options, name) for name, wire in _PARAMETER_NAMES.items()}
    # Otherwise, an application may think without returning its reasoning.
    if options.has_thoughts is None and options.enable_thinking:
        fields["has_thoughts"] = True
    if options.flow_stream_mode is None and options.answer_node is not None:
        fields["flow_stream_mode"] = "message_format_plus"
    fields["rag_options"] = _build_rag_options(turns, options)
    if stream:  # the service rejects `incremental_output` in a plain POST
        fields["incremental_output"] = True
    values = {name: value for name, value in fields.items() if value is not None}
    return values | (options.extra_parameters or {})


def _turn_from_message(message: BaseMessage) -> Turn:
    role = _role_from_message(message)
    calls = isinstance(message, AIMessage) and (message.tool_calls or message.invalid_tool_calls)
    if calls and not message.text.strip():
        error_message = (
            "cannot send an AIMessage that has only tool calls: remove it, or set "
            '`tool_calling="prompt"`'
        )
        raise ValueError(error_message)
    if isinstance(message.content, str):
        return Turn(role, message.content)
    if role == "assistant":
        return Turn(role, message.text)  # other blocks, such as reasoning, are not sent back
    parts: dict[str, list[str]] = {"text": [], "image": [], "file": []}
    for block in message.content:
        kind, value = parse_content_block(block)
        parts[kind].append(value)
    if role != "user" and (parts["image"] or parts["file"]):
        error_message = "images and files are only supported in human messages"
        raise ValueError(error_message)
    return Turn(role, "".join(parts["text"]), tuple(parts["image"]), tuple(parts["file"]))


def _role_from_message(message: BaseMessage) -> str:
    match message:
        case SystemMessage():
            return "system"
        case HumanMessage():
            return "user"
        case AIMessage():
            return "assistant"
        case ChatMessage(role=role) if role in _ROLES:
            return _ROLES[role]
    error_message = (
        f"unsupported message type {type(message).__name__}: an application accepts system, human and "
        "AI messages; remove it, or move its content to a human message"
    )
    raise ValueError(error_message)
