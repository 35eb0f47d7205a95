"""Messages and options become the body of one request; nothing is sent here.

`prompt` and `messages` never go together, nor `messages` and `session_id`: on the wire one of each
pair silently wins over the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_bailian_app._application_fields import ApplicationFields

_ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant"}
_SCHEMES = ("https://", "http://", "data:", "oss://")
_ATTACHMENTS = {"image", "image_url", "file", "audio", "input_audio", "video"}
_INPUT = ("memory_id", "doc_tag_codes", "doc_reference_type")
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


@dataclass(frozen=True, slots=True)
class Turn:
    """A message in the form in which it would be sent."""

    role: str
    text: str
    images: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


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
    return _request(app_id, _whole(turns), turns, options)


def session_request(
    app_id: str, turns: list[Turn], options: ApplicationFields, session_id: str | None
) -> ServiceRequest:
    """Return the request that puts the new question to a session, or to a new one.

    Raises:
        ValueError: There is not exactly one new question.
    """
    rules, question = _new_question(turns)
    conversation = {"prompt": "\n\n".join((*rules, question.text))}
    if session_id is not None:
        conversation["session_id"] = session_id
    return _request(app_id, conversation, [question], options)


def _request(
    app_id: str, conversation: dict[str, Any], turns: list[Turn], options: ApplicationFields
) -> ServiceRequest:
    stream = options.streaming is not False
    return ServiceRequest(
        path=f"apps/{app_id}/completion",
        body={
            "input": conversation | _attachments(turns, options) | _input(options),
            "parameters": _parameters(options, stream=stream),
        },
        stream=stream,
    )


def _checked(question: Turn) -> Turn:
    if not question.text.strip():
        message = "the question has no text: an application needs words, also beside an image or a file"
        raise ValueError(message)
    return question


def _whole(turns: list[Turn]) -> dict[str, Any]:
    """One question is a prompt; anything more is a transcript, system messages first."""
    questions = [turn for turn in turns if turn.role == "user"]
    if not questions:
        message = "the messages have no human message: an application answers a question"
        raise ValueError(message)
    _checked(questions[-1])
    if len(turns) == 1:
        return {"prompt": turns[0].text}
    ordered = sorted(turns, key=lambda turn: turn.role != "system")
    return {"messages": [{"role": turn.role, "content": turn.text} for turn in ordered]}


def _new_question(turns: list[Turn]) -> tuple[list[str], Turn]:
    """Return what a session has not seen: the question behind the newest answer.

    A session has no place for system messages but the text of its first prompt.
    """
    answers = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
    new = turns[answers[-1] + 1 :] if answers else turns
    questions = [turn for turn in new if turn.role == "user"]
    if len(questions) != 1:
        message = (
            "a session takes exactly one new human message, after the newest answer, but there are "
            f"{len(questions)}: leave out `session_id` to send the messages as they are"
        )
        raise ValueError(message)
    rules = [] if answers else [turn.text for turn in new if turn.role == "system"]
    return rules, _checked(questions[0])


def _attachments(turns: list[Turn], options: ApplicationFields) -> dict[str, Any]:
    """Collect images and files, oldest first: the service has no place for them in a message."""
    images = [*(url for turn in turns for url in turn.images), *(options.image_list or ())]
    files = [*(url for turn in turns for url in turn.files), *(options.file_list or ())]
    lists = {"image_list": list(dict.fromkeys(images)), "file_list": list(dict.fromkeys(files))}
    for name, urls in lists.items():
        for url in urls:
            if not url.startswith(_SCHEMES):
                message = (
                    f"`{name}` has {url[:60]!r}, which is no URL that the service could read: give the "
                    "content of a local file as base64, with its mime_type, in a content block"
                )
                raise ValueError(message)
    return {name: urls for name, urls in lists.items() if urls}


def _input(options: ApplicationFields) -> dict[str, Any]:
    fields = {name: getattr(options, name) for name in _INPUT}
    if options.biz_params is not None:
        fields["biz_params"] = options.biz_params.to_wire()
    given = {name: value for name, value in fields.items() if value is not None}
    return given | (options.extra_input or {})


def _parameters(options: ApplicationFields, *, stream: bool) -> dict[str, Any]:
    fields = {wire: getattr(options, name) for name, wire in _PARAMETERS.items()}
    # Unasked, an application may think without telling.
    if options.has_thoughts is None and options.enable_thinking:
        fields["has_thoughts"] = True
    if options.flow_stream_mode is None and options.answer_node is not None:
        fields["flow_stream_mode"] = "message_format_plus"
    if options.rag_options is not None:
        fields["rag_options"] = options.rag_options.to_wire()
    if stream:  # a plain POST is refused with it
        fields["incremental_output"] = True
    given = {name: value for name, value in fields.items() if value is not None}
    return given | (options.extra_parameters or {})


def _turn(message: BaseMessage) -> Turn:
    role = _role(message)
    if isinstance(message, AIMessage) and message.tool_calls and not message.text:
        text = "an answer that only calls tools cannot be put to an application: leave it out"
        raise ValueError(text)
    if isinstance(message.content, str):
        return Turn(role, message.content)
    if role != "user":
        for block in message.content:
            if isinstance(block, dict) and block.get("type") in _ATTACHMENTS:
                text = f"a content block of type {block['type']!r} can stand in human messages only"
                raise ValueError(text)
        return Turn(role, message.text)
    found: dict[str, list[str]] = {"text": [], "image": [], "file": []}
    for block in message.content:
        kind, value = _block(block)
        found[kind].append(value)
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


def _block(block: str | dict[str, Any]) -> tuple[str, str]:
    """Return what a content block is to an application: text, the URL of an image, or of a file."""
    if isinstance(block, str):
        return "text", block
    match block:
        case {"type": "text" | "text-plain", "text": str(text)}:
            return "text", text
        case {"type": "image_url", "image_url": {"url": str(url)} | str(url)}:
            return "image", url
        case {"type": "image" | "file" as kind, "url": str(url)}:
            return kind, url
        case {"type": "image" | "file" as kind, "base64": str(data), "mime_type": str(mime_type)}:
            return kind, f"data:{mime_type};base64,{data}"
    text = (
        f"a content block of type {block.get('type')!r} with the keys {sorted(block)} cannot be put to "
        "an application: it takes text, images and files by URL, and base64 data with its mime_type"
    )
    raise ValueError(text)
