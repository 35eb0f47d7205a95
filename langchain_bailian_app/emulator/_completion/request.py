"""The request body, read and checked: JSON of the wire in, one `Call` out.

The only module that knows where a field sits in the body; refuses what the service refuses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_bailian_app.emulator._http.errors import refuse
from langchain_bailian_app.emulator._http.fields import object_of, refuse_value, strings, typed
from langchain_bailian_app.emulator._knowledge.filters import Narrowing
from langchain_bailian_app.emulator._state.sessions import Round

NO_USER = "The input messages do not contain elements with the role of user."

_ROLES = ("system", "user", "assistant")
_MAX_PIPELINES = 5
_MAX_SESSION_FILES = 10
_REFERENCE_TYPES = ("simple", "indexed")


@dataclass(frozen=True)
class RagOptions:
    """`parameters.rag_options`; `pipeline_ids` is `None` when the console's bindings hold."""

    pipeline_ids: tuple[str, ...] | None = None
    narrowing: Narrowing = field(default_factory=Narrowing)
    session_file_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """A checked request to an application.

    `history` is `None` unless `messages` were sent, or `history` as the legacy application has it.
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
    rag_options: RagOptions
    reference_type: str | None
    flow_stream_mode: str | None


def call_from_body(body: Mapping[str, Any], *, stream: bool) -> Call:
    """Read a request body.

    Raises:
        RequestRefused: The service would refuse it.
    """
    # One document leaves `parameters` out, so their absence is not refused.
    given, parameters = object_of(body, "input"), object_of(body, "parameters")
    incremental = typed(parameters, "incremental_output", bool) or False
    if incremental and not stream:
        refuse("InvalidParameter", "incremental_output only support stream call")
    # `messages` win over `prompt` and `session_id`: the newest reference says so.
    messages = _messages(given)
    told = _told(given)
    prompt, history, system = _conversation(messages) if messages else (_prompt(given), told, "")
    return Call(
        prompt=prompt,
        history=history,
        system=system,
        session_id=typed(given, "session_id", str) if history is None else None,
        memory_id=typed(given, "memory_id", str),
        images=strings(given, "image_list"),
        files=strings(given, "file_list"),
        biz_params=object_of(given, "biz_params"),
        parameters=parameters,
        stream=stream,
        incremental=incremental,
        has_thoughts=typed(parameters, "has_thoughts", bool) or False,
        enable_thinking=typed(parameters, "enable_thinking", bool),
        dialog_round=typed(parameters, "dialog_round", int),
        model_id=typed(parameters, "model_id", str),
        rag_options=_rag_options(object_of(parameters, "rag_options"), strings(given, "doc_tag_codes")),
        reference_type=_reference_type(given),
        flow_stream_mode=typed(parameters, "flow_stream_mode", str),
    )


def _prompt(given: Mapping[str, Any]) -> str:
    prompt = typed(given, "prompt", str)
    if not prompt:
        refuse("BadRequest.EmptyInput")
    return prompt


def _messages(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    messages = given.get("messages") or []
    if not isinstance(messages, list):
        refuse_value("messages", "a list")
    pairs = []
    for message in messages:
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if role not in _ROLES or not isinstance(content, str) or not content:
            refuse(
                "InvalidParameter",
                "Role must be user or assistant and Content length must be greater than 0",
            )
        pairs.append((role, content))
    return pairs


def _conversation(messages: list[tuple[str, str]]) -> tuple[str, tuple[Round, ...], str]:
    """The last user message, the rounds before it, and all system messages."""
    system = "\n".join(content for role, content in messages if role == "system")
    spoken = [pair for pair in messages if pair[0] != "system"]
    last = max((n for n, (role, _) in enumerate(spoken) if role == "user"), default=None)
    if last is None:
        refuse("InvalidParameter", NO_USER)
    rounds: list[Round] = []
    for role, content in spoken[:last]:
        if role == "user":
            rounds.append(Round(content, ""))
        elif rounds:
            rounds[-1] = Round(rounds[-1].prompt, rounds[-1].answer + content)
    return spoken[last][1], tuple(rounds), system


def _told(given: Mapping[str, Any]) -> tuple[Round, ...] | None:
    """The rounds that `history` tells; an empty one tells none."""
    rounds = given.get("history") or []
    if not isinstance(rounds, list):
        refuse_value("history", "a list")
    told = []
    for item in rounds:
        user, bot = (item.get("user"), item.get("bot")) if isinstance(item, dict) else (None, None)
        if not isinstance(user, str) or not isinstance(bot, str):
            refuse_value("history", "a list of objects with the texts user and bot")
        told.append(Round(user, bot))
    return tuple(told) or None


def _reference_type(given: Mapping[str, Any]) -> str | None:
    kind = typed(given, "doc_reference_type", str)
    if kind is not None and kind not in _REFERENCE_TYPES:
        refuse_value("doc_reference_type", " or ".join(_REFERENCE_TYPES))
    return kind


def _rag_options(options: Mapping[str, Any], tag_codes: tuple[str, ...]) -> RagOptions:
    pipeline_ids = strings(options, "pipeline_ids")
    tags = options.get("tags")
    session_file_ids = strings(options, "session_file_ids")
    if len(session_file_ids) > _MAX_SESSION_FILES:
        refuse_value("session_file_ids", f"at most {_MAX_SESSION_FILES} ids")
    # Checked even where they do nothing: without the ids of knowledge bases, as documented.
    file_ids, metadata = strings(options, "file_ids"), object_of(options, "metadata_filter")
    return RagOptions(
        # More than five are no error: the first five take effect.
        pipeline_ids=pipeline_ids[:_MAX_PIPELINES] if pipeline_ids else None,
        narrowing=Narrowing(
            file_ids=file_ids if pipeline_ids else (),
            # One official example sends a bare string.
            tags=tag_codes or ((tags,) if isinstance(tags, str) else strings(options, "tags")),
            metadata=metadata if pipeline_ids else {},
            columns=object_of(options, "structured_filter"),
        ),
        session_file_ids=session_file_ids,
    )
