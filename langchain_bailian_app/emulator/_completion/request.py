"""Parser of completion requests: turns a JSON body into a validated `CompletionRequest`.

Only this module depends on the positions of fields in the body. It rejects the same requests as the
service.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_bailian_app.emulator._http.errors import refuse
from langchain_bailian_app.emulator._http.fields import get_object, get_strings, get_typed, refuse_value
from langchain_bailian_app.emulator._knowledge.filters import RagFilters
from langchain_bailian_app.emulator._state.sessions import Round

NO_USER_MESSAGE = "The input messages do not contain elements with the role of user."

_ROLES = ("system", "user", "assistant")
_MAX_PIPELINES = 5
_MAX_SESSION_FILES = 10
_REFERENCE_TYPES = ("simple", "indexed")


@dataclass(frozen=True)
class ParsedRagOptions:
    """`parameters.rag_options`; if `pipeline_ids` is None, the bindings of the app apply."""

    pipeline_ids: tuple[str, ...] | None = None
    chunk_filter: RagFilters = field(default_factory=RagFilters)
    session_file_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class CompletionRequest:
    """A validated request to an application.

    `history` is None unless the request contains `messages` or the legacy field `history`.
    """

    prompt: str
    history: tuple[Round, ...] | None
    system: str
    session_id: str | None
    memory_id: str | None
    images: tuple[str, ...]
    files: tuple[str, ...]
    biz_params: Mapping[str, Any]
    parameters: Mapping[str, Any]
    stream: bool
    incremental: bool
    has_thoughts: bool
    enable_thinking: bool | None
    dialog_round: int | None
    model_id: str | None
    rag_options: ParsedRagOptions
    reference_type: str | None
    flow_stream_mode: str | None


def completion_request_from_body(
    body: Mapping[str, Any], *, stream: bool, accept_empty_turns: bool = False
) -> CompletionRequest:
    """Parse a request body.

    Args:
        body: The body.
        stream: Whether the client requested a stream.
        accept_empty_turns: Whether `messages` may contain messages without content.

    Raises:
        RequestRefused: The service would reject the request.
    """
    # One document omits `parameters`, so a request without this field is accepted.
    input_fields, parameters = get_object(body, "input"), get_object(body, "parameters")
    incremental = get_typed(parameters, "incremental_output", bool) or False
    if incremental and not stream:
        refuse("InvalidParameter", "incremental_output only support stream call")
    # `messages` override `prompt` and `session_id`, according to the newest reference.
    messages = _parse_messages(input_fields, accept_empty_turns=accept_empty_turns)
    legacy_rounds = _parse_history(input_fields)
    prompt, history, system = (
        _split_messages(messages) if messages else (_read_prompt(input_fields), legacy_rounds, "")
    )
    return CompletionRequest(
        prompt=prompt,
        history=history,
        system=system,
        session_id=get_typed(input_fields, "session_id", str) if history is None else None,
        memory_id=get_typed(input_fields, "memory_id", str),
        images=get_strings(input_fields, "image_list"),
        files=get_strings(input_fields, "file_list"),
        biz_params=get_object(input_fields, "biz_params"),
        parameters=parameters,
        stream=stream,
        incremental=incremental,
        has_thoughts=get_typed(parameters, "has_thoughts", bool) or False,
        enable_thinking=get_typed(parameters, "enable_thinking", bool),
        dialog_round=get_typed(parameters, "dialog_round", int),
        model_id=get_typed(parameters, "model_id", str),
        rag_options=_parse_rag_options(
            get_object(parameters, "rag_options"), get_strings(input_fields, "doc_tag_codes")
        ),
        reference_type=_read_reference_type(input_fields),
        flow_stream_mode=get_typed(parameters, "flow_stream_mode", str),
    )


def _read_prompt(input_fields: Mapping[str, Any]) -> str:
    prompt = get_typed(input_fields, "prompt", str)
    if not prompt:
        refuse("BadRequest.EmptyInput")
    return prompt


def _parse_messages(
    input_fields: Mapping[str, Any], *, accept_empty_turns: bool
) -> list[tuple[str, str]]:
    messages = input_fields.get("messages") or []
    if not isinstance(messages, list):
        refuse_value("messages", "a list")
    role_contents = []
    for message in messages:
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        is_empty = not content and not accept_empty_turns
        if role not in _ROLES or not isinstance(content, str) or is_empty:
            refuse(
                "InvalidParameter",
                "Role must be user or assistant and Content length must be greater than 0",
            )
        role_contents.append((role, content))
    return role_contents


def _split_messages(messages: list[tuple[str, str]]) -> tuple[str, tuple[Round, ...], str]:
    """Return the last user message, the rounds before it, and all system messages."""
    system = "\n".join(content for role, content in messages if role == "system")
    dialogue = [message for message in messages if message[0] != "system"]
    last_user_index = max(
        (index for index, (role, _) in enumerate(dialogue) if role == "user"), default=None
    )
    if last_user_index is None:
        refuse("InvalidParameter", NO_USER_MESSAGE)
    rounds: list[Round] = []
    for role, content in dialogue[:last_user_index]:
        if role == "user":
            rounds.append(Round(content, ""))
        elif rounds:
            rounds[-1] = Round(rounds[-1].prompt, rounds[-1].answer + content)
    return dialogue[last_user_index][1], tuple(rounds), system


def _parse_history(input_fields: Mapping[str, Any]) -> tuple[Round, ...] | None:
    """Return the rounds in `history`, or None if the field is missing or empty."""
    items = input_fields.get("history") or []
    if not isinstance(items, list):
        refuse_value("history", "a list")
    rounds = []
    for item in items:
        user, bot = (item.get("user"), item.get("bot")) if isinstance(item, dict) else (None, None)
        if not isinstance(user, str) or not isinstance(bot, str):
            refuse_value("history", "a list of objects with the string fields user and bot")
        rounds.append(Round(user, bot))
    return tuple(rounds) or None


def _read_reference_type(input_fields: Mapping[str, Any]) -> str | None:
    reference_type = get_typed(input_fields, "doc_reference_type", str)
    if reference_type is not None and reference_type not in _REFERENCE_TYPES:
        refuse_value("doc_reference_type", " or ".join(_REFERENCE_TYPES))
    return reference_type


def _parse_rag_options(rag_options: Mapping[str, Any], tag_codes: tuple[str, ...]) -> ParsedRagOptions:
    pipeline_ids = get_strings(rag_options, "pipeline_ids")
    tags = rag_options.get("tags")
    session_file_ids = get_strings(rag_options, "session_file_ids")
    if len(session_file_ids) > _MAX_SESSION_FILES:
        refuse_value("session_file_ids", f"a list of at most {_MAX_SESSION_FILES} ids")
    # As documented, neither has an effect without `pipeline_ids`. Both are validated nevertheless.
    file_ids, metadata = (
        get_strings(rag_options, "file_ids"),
        get_object(rag_options, "metadata_filter"),
    )
    return ParsedRagOptions(
        # More than five ids are not an error; only the first five are used.
        pipeline_ids=pipeline_ids[:_MAX_PIPELINES] if pipeline_ids else None,
        chunk_filter=RagFilters(
            file_ids=file_ids if pipeline_ids else (),
            # One official example sends a string instead of a list.
            tags=tag_codes or ((tags,) if isinstance(tags, str) else get_strings(rag_options, "tags")),
            metadata=metadata if pipeline_ids else {},
            columns=get_object(rag_options, "structured_filter"),
        ),
        session_file_ids=session_file_ids,
    )
