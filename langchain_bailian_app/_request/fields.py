"""Fields of a completion request that the chat model and the retriever inherit.

`CommonCompletionFields` contains the fields that both share, and `CompletionFields` adds those for a
conversation. Each field can also be passed per call. All checks that need no network access are made
here.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from langchain_bailian_app._answer.citations import MarkerMode
from langchain_bailian_app._settings.connection import ConnectionFields
from langchain_bailian_app.options._biz_params import BizParams
from langchain_bailian_app.options._rag_options import RagOptions, StrList
from langchain_bailian_app.options._signed_urls import SignedUrl

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T", bound=BaseModel)

NO_TOOLS_MESSAGE = (
    "a Bailian application runs its own tools inside the service and accepts no others: add tools to "
    "the application in the console, pass the application as a tool to another model with "
    '`BailianAppTool`, or set `tool_calling="prompt"` to emulate tool calling by prompting'
)
_NO_RESPONSE_FORMAT_MESSAGE = (
    "the service does not support `response_format`: use `with_structured_output`; in an agent, "
    'use `ToolStrategy` and set `tool_calling="prompt"` in the model'
)
TOOL_KWARGS = {"tools", "tool_choice", "parallel_tool_calls", "strict"}
"""LangChain's keyword arguments for tools. `strict` is accepted, but cannot be guaranteed."""

IGNORED_KWARGS = {
    "stream",
    "stream_usage",
    "ls_structured_output_format",
    "structured_output_format",
    "model",
}
"""LangChain's keyword arguments that have no meaning for the service; `model` is for tracing."""

SIGNED_URL_FIELDS = ("image_list", "file_list")
"""Fields with URLs of private files. The URLs may be signed."""

# Names of the same fields in other packages.
_ALIASES_IN_OTHER_PACKAGES = {
    "dashscope_api_key": "api_key",
    "model": "app_model",
    "model_id": "app_model",
    "model_name": "app_model",
    "workspace_id": "workspace",
    "base_address": "base_url",
    "index_name": "pipeline_name",
    "top_n": "k",
    "top_k": "k",
}


class CommonCompletionFields(BaseModel):
    """Options that are sent with a question. None keeps the application's setting."""

    # Otherwise, error messages would contain the input values, including user tokens.
    model_config = ConfigDict(hide_input_in_errors=True)

    memory_id: Annotated[str, StringConstraints(strip_whitespace=True)] | None = None
    """Id of the long-term memory to use. Without it, all users share the default memory of the
    application."""

    agent_version: Literal["1.0", "2.0"] | None = None
    """Version of the agent, as shown in the console.

    The documentation of `"2.0"` has no `messages`, so a transcript is sent as one prompt with role
    labels. Undocumented fields are sent, but with a warning.
    """

    rag_options: RagOptions | None = None
    """Options for the retrieval step: which knowledge to search, and how."""

    biz_params: BizParams | None = None
    """Prompt variables, plugin parameters and user tokens for an agent; variables for a workflow."""

    has_thoughts: bool | None = None
    """Return reasoning, and retrieval, memory and plugin steps. Implied by `enable_thinking=True`."""

    enable_thinking: bool | None = None
    """Enable thinking in a model where it is optional. No effect on models that always think."""

    enable_web_search: bool | None = None
    """Let the application search the web."""

    enable_system_time: bool | None = None
    """Provide the current time (Beijing) to the model."""

    dialog_round: int | None = Field(default=None, ge=0)
    """Maximum number of conversation rounds that the model receives."""

    app_model: str | None = None
    """Model to use instead of the application's own (`model_id` on the wire)."""

    flow_stream_mode: (
        Literal["full_thoughts", "agent_format", "message_format", "message_format_plus"] | None
    ) = None
    """Format in which a workflow streams its nodes.

    Default: `message_format_plus` if `answer_node` is set, otherwise `full_thoughts`, the default
    of the service. `full_thoughts` streams nothing unless `has_thoughts` is set.
    """

    answer_node: str | None = Field(default=None, min_length=1)
    """Id, name or type of the workflow node to stream as the answer.

    Default: the End node, whose text is the final text of a workflow. The text of model nodes and
    output nodes is not streamed by default: it is only known at the end of the stream which model node
    produces the answer, and whether output nodes are part of it, and text cannot be withdrawn after it
    was yielded. Set this field to stream the text of such a node.
    """

    mcp_servers: StrList | None = None
    """MCP servers to use. Unverified: the field is only in the Java SDK, not in any document."""

    image_list: StrList | None = Field(default=None, exclude=True, repr=False)
    """URLs or data URLs of images, in addition to those in the messages. Excluded from dumps, because
    URLs may be signed."""

    file_list: StrList | None = Field(default=None, exclude=True, repr=False)
    """URLs of files, in addition to those in the messages. Excluded from dumps, because URLs may be
    signed."""

    doc_tag_codes: StrList | None = None
    """Tags of the documents to search, for legacy RAG applications."""

    doc_reference_type: Literal["simple", "indexed"] | None = None
    """Citation style for legacy RAG applications: `indexed` adds markers to the text, `simple` does
    not."""

    streaming: bool | None = None
    """False sends each call as a plain POST request, which the service ends after the time limit of its
    `gateway`. Otherwise the service streams every response, even that of `invoke`. Whether a stream may
    take longer is unverified."""

    accept_missing_stop: bool = False
    """Accept a stream that ends cleanly but without a finish reason as complete.

    By default, this is an error. According to one document, a forced stop ends a stream like this
    (unverified).
    """

    extra_parameters: dict[str, Any] | None = None
    """Fields that this package does not have. They are merged into `parameters` of the request last."""

    extra_input: dict[str, Any] | None = None
    """Fields that are merged into `input` of the request last."""


class CompletionFields(CommonCompletionFields):
    """Options for a question in a conversation, and for processing the answer."""

    history: Literal["messages", "session", "thread"] = "messages"
    """Where the conversation is stored.

    - `"messages"`: by the caller. All messages of a call are sent; the answer depends only on them.
    - `"session"`: by the caller, with a copy in the cloud. The answer is the same. Only the new
      question is sent if the copy is known to match; otherwise all messages are sent.
    - `"thread"`: only in the cloud. The caller passes one new question per call. Requires
      `session_store`, and either `session_key` or `configurable.thread_id`. Earlier messages are not
      sent; the first time, a warning reports their number.

    Messages without text are not sent, but their images and files are. The newest question must have
    text.
    """

    session_key: str | None = None
    """Key of the conversation for `history="thread"`, usually passed per call. Default:
    `configurable.thread_id` of the config."""

    session_id: str | None = None
    """Id of a session in the cloud. It is sent unchanged, and the newest human message continues it.
    Earlier messages are not sent; the first time, a warning reports their number.

    If this field is set on the model, all users of the model object share one conversation. Pass it per
    call instead, or as `configurable.bailian_session_id`.
    """

    tool_calling: Literal["prompt"] | None = None
    """Let `bind_tools` accept tools that the caller runs, and describe them in the prompt.

    Tool calling is emulated by prompting, because the service has no field for such tools. Whether an
    application follows the description depends on its model and prompt. Calls with tools do not use
    sessions, because a session would keep the description. If tool calls cannot be run, or a required
    call is missing, the application is prompted once more, which costs a second request.
    """

    legacy_history: bool = False
    """Send earlier messages as `history`, in rounds of `user` and `bot`, as legacy RAG applications
    require."""

    temperature: float | None = None
    """Sampling temperature; documented for legacy applications, from 0 to less than 2."""

    top_p: float | None = None
    """Nucleus sampling; documented for legacy applications, between 0 and 1."""

    top_k: int | None = None
    """Sampling from the k most likely tokens; documented for legacy applications."""

    seed: int | None = None
    """Seed for sampling; documented for legacy applications."""

    max_tokens: int | None = Field(default=None, gt=0)
    """Maximum answer length in tokens. Sent if set, but documented for no application: unverified."""

    stop: StrList | None = None
    """Stop sequences. The client cuts the answer before the first one: the service cannot do this."""

    citation_markers: MarkerMode = "strip"
    """Handling of `<ref>[n]</ref>` in the text: `strip` removes it, `bracket` converts it to
    `[n]`, `keep` leaves it unchanged."""

    @model_validator(mode="after")
    def _check_conversation(self) -> Self:
        if self.legacy_history and self.agent_version is not None:
            message = (
                "cannot use `legacy_history` (legacy RAG applications) together with `agent_version` "
                "(agents)"
            )
            raise ValueError(message)
        return self

    def with_overrides(self, overrides: dict[str, Any]) -> CompletionFields:
        """Return these fields, overridden by the arguments of a call; None arguments are ignored.

        Raises:
            TypeError: An argument is not a field; the message suggests the closest field.
            NotImplementedError: An argument passes tools or a response format.
        """
        ignored = IGNORED_KWARGS
        if overrides.get("tool_calling") or self.tool_calling:
            ignored = ignored | TOOL_KWARGS
        overrides = {name: value for name, value in overrides.items() if name not in ignored}
        return merge_options(CompletionFields, self, overrides)


def merge_options(fields_class: type[T], fields: T, overrides: dict[str, Any]) -> T:
    """Return fields of this class, overridden by the arguments of a call; None arguments are ignored.

    Raises:
        TypeError: An argument is not a field; the message suggests the closest field.
        NotImplementedError: An argument passes tools or a response format.
    """
    overrides = {name: value for name, value in overrides.items() if value is not None}
    for name in overrides:
        if name not in fields_class.model_fields:
            _raise_unknown_keyword(name, fields_class)
    if not overrides:
        return fields
    return fields_class(
        **{name: getattr(fields, name) for name in fields_class.model_fields} | overrides
    )


def wrap_secrets(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with user tokens and signed URLs hidden from traces and `repr`."""
    biz_params = kwargs.get("biz_params")
    if isinstance(biz_params, dict):
        kwargs = kwargs | {"biz_params": BizParams(**biz_params)}
    for name in SIGNED_URL_FIELDS:
        if urls := kwargs.get(name):
            urls = [urls] if isinstance(urls, str) else urls
            kwargs = kwargs | {name: [SignedUrl(url) for url in urls]}
    return kwargs


def format_suggestion(name: str, field_names: Iterable[str]) -> str:
    """Return a suggestion of the field meant by an unknown name, or an empty string."""
    candidates = list(field_names)
    suggestion = _ALIASES_IN_OTHER_PACKAGES.get(name)
    if suggestion not in candidates:
        suggestion = next(iter(difflib.get_close_matches(name, candidates)), None)
    return f"; did you mean `{suggestion}`?" if suggestion else ""


def _raise_unknown_keyword(keyword: str, fields_class: type[BaseModel]) -> NoReturn:
    if keyword in TOOL_KWARGS:
        raise NotImplementedError(NO_TOOLS_MESSAGE)
    if keyword == "response_format":
        raise NotImplementedError(_NO_RESPONSE_FORMAT_MESSAGE)
    if keyword in {"app_id", *ConnectionFields.model_fields}:
        message = (
            f"cannot pass `{keyword}` per call: set it in the constructor, and create another object "
            "for another value (objects share their connections)"
        )
        raise TypeError(message)
    hint = format_suggestion(keyword, fields_class.model_fields)
    message = f"unknown argument `{keyword}`{hint}"
    raise TypeError(message)
