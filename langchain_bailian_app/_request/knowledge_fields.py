"""Options of a chat service, as fields of the model and arguments of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, field_validator

from langchain_bailian_app._answer.citations import MarkerMode
from langchain_bailian_app._request.fields import (
    IGNORED_KWARGS,
    TOOL_KWARGS,
    CompletionFields,
    format_suggestion,
)
from langchain_bailian_app._settings.connection import ConnectionFields
from langchain_bailian_app.options._rag_options import StrList
from langchain_bailian_app.options._session_files import SessionFileIds

if TYPE_CHECKING:
    from collections.abc import Iterable

NO_CALLER_TOOLS = (
    "a chat service runs its own tools and accepts no others, and does not support structured output: "
    "pass its answer to another model, or use `BailianRetriever(agent_id=…)` with a search service"
)


class KnowledgeChatFields(BaseModel):
    """Options that are sent with a question to a chat service."""

    model_config = ConfigDict(hide_input_in_errors=True, title="BailianKnowledgeChatModel")

    agent_version: int | str | None = None
    """Version of the service: a number, or `"beta"` for the draft. Default: the version that was
    published last. The field is only in the official command line tool (unverified)."""

    session_files: SessionFileIds | None = None
    """Session files for the question, at most 10: ids, or what `BailianFiles.upload` returns. The
    service must have file pre-parsing turned on."""

    enable_cache_control: bool | None = None
    """Whether the service may cache the beginning of the conversation."""

    citation_markers: MarkerMode = "strip"
    """Handling of `<ref>[n]</ref>` in the text: `strip` removes it, `bracket` converts it to `[n]`,
    `keep` leaves it unchanged. No source shows the form of the marks of a chat service; `[n]` in the
    text stays, and is a citation too if source n exists."""

    stop: StrList | None = None
    """Stop sequences. The client cuts the answer before the first one: the service cannot do this."""

    accept_missing_stop: bool = False
    """Accept a stream that ends cleanly but without a finish reason as complete; otherwise, this is an
    error."""

    streaming: bool | None = None
    """Has no effect if True: the service streams every response, and rejects anything else."""

    extra_agent_options: dict[str, Any] | None = Field(default=None)
    """Fields that this package does not have. They are merged into `agent_options` last."""

    extra_input: dict[str, Any] | None = None
    """Fields that are merged into `input` of the request last, for example a `request_id`."""

    @field_validator("streaming")
    @classmethod
    def _check_streaming(cls, streaming: bool | None) -> bool | None:
        if streaming is False:
            message = (
                "cannot use `streaming=False` with a chat service, which always streams: remove it"
            )
            raise ValueError(message)
        return streaming

    def with_overrides(self, overrides: dict[str, Any]) -> KnowledgeChatFields:
        """Return these fields, overridden by the arguments of a call; None arguments are ignored.

        Raises:
            TypeError: An argument is not a field; the message gives the reason.
            NotImplementedError: An argument passes tools or a response format.
        """
        given = {
            name: value
            for name, value in overrides.items()
            if value is not None and name not in IGNORED_KWARGS
        }
        for name in given:
            if name not in KnowledgeChatFields.model_fields:
                _raise_unknown_argument(name)
        values = {name: getattr(self, name) for name in KnowledgeChatFields.model_fields}
        return KnowledgeChatFields(**values | given)


def explain_unknown_field(name: str, field_names: Iterable[str]) -> str:
    """Return the message for a field that a chat service does not have."""
    if name in CompletionFields.model_fields or name == "app_id":
        return (
            f"cannot use `{name}` with a chat service: it applies to applications; set it in the "
            "console, or use `BailianAppChatModel`"
        )
    return f"unknown field `{name}`{format_suggestion(name, field_names)}"


def _raise_unknown_argument(name: str) -> NoReturn:
    if name in TOOL_KWARGS or name == "response_format":
        raise NotImplementedError(NO_CALLER_TOOLS)
    if name in {"agent_id", *ConnectionFields.model_fields}:
        message = f"cannot pass `{name}` per call: set it in the constructor"
        raise TypeError(message)
    message = explain_unknown_field(name, KnowledgeChatFields.model_fields)
    raise TypeError(message.replace("unknown field", "unknown argument"))
