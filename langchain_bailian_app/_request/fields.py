"""Fields of a completion request, which the chat model and the retriever inherit.

`CommonCompletionFields` are those that the chat model and the retriever share; `CompletionFields` add
what a conversation needs. Each may also be given per call. Everything about a field that can be checked
without the network is checked here.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from langchain_bailian_app._answer.citations import MarkerMode
from langchain_bailian_app._settings.connection import ConnectionFields
from langchain_bailian_app.options._biz_params import BizParams
from langchain_bailian_app.options._rag_options import RagOptions, StrList
from langchain_bailian_app.options._signed_urls import SignedUrl

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T", bound=BaseModel)

NO_TOOLS_MESSAGE = (
    "a Bailian application runs its own tools, inside the service, and cannot be given others: add "
    "them to the application in the console, or give the application to another model as a tool, with "
    '`BailianAppTool`; `tool_calling="prompt"` emulates tool calling by words in the request'
)
_NO_RESPONSE_FORMAT_MESSAGE = (
    "the service has no `response_format`: use `with_structured_output`, or `ToolStrategy` in an agent "
    'whose model has `tool_calling="prompt"`'
)
TOOL_KWARGS = {"tools", "tool_choice", "parallel_tool_calls", "strict"}
"""Keywords of LangChain that say which tools a call has; `strict` is what nobody can promise."""

# LangChain's own, with no meaning to the service; `model` is for tracing.
_IGNORED_KWARGS = {
    "stream",
    "stream_usage",
    "ls_structured_output_format",
    "structured_output_format",
    "model",
}

SIGNED_URL_FIELDS = ("image_list", "file_list")
"""Fields with URLs of private files, which carry a signature."""

# What other packages call a field.
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
    """What goes along with a question. `None` leaves a setting to the application's console."""

    # An error message would otherwise show what was given, user tokens included.
    model_config = ConfigDict(hide_input_in_errors=True)

    memory_id: str | None = None
    """Long-term memory to use. Without one, all users share the application's default memory."""

    agent_version: Literal["1.0", "2.0"] | None = None
    """The kind of agent that the console shows. For `"2.0"`, whose document has no `messages`, a
    transcript is sent as one prompt, its turns labelled by role; settings that this document does not
    have are sent with a warning."""

    rag_options: RagOptions | None = None
    """Which knowledge to search."""

    biz_params: BizParams | None = None
    """Prompt variables, plugin parameters and user tokens; variables of a workflow."""

    has_thoughts: bool | None = None
    """Ask for retrieval, memory and plugin steps, and reasoning. `enable_thinking=True` implies it."""

    enable_thinking: bool | None = None
    """Let a model that can do both think first. No effect on models that always think."""

    enable_web_search: bool | None = None
    """Let the application search the web."""

    enable_system_time: bool | None = None
    """Tell the model the current time (Beijing)."""

    dialog_round: int | None = Field(default=None, ge=0)
    """How many rounds of the conversation the model is shown at most."""

    app_model: str | None = None
    """Model to use instead of the application's own (`model_id` on the wire)."""

    flow_stream_mode: (
        Literal["full_thoughts", "agent_format", "message_format", "message_format_plus"] | None
    ) = None
    """How a workflow streams its nodes.

    Default: `message_format_plus` if `answer_node` is set, else that of the service, `full_thoughts`,
    which streams nothing unless `has_thoughts` is set.
    """

    answer_node: str | None = Field(default=None, min_length=1)
    """The node of a workflow whose text is streamed as the answer, by its id, name or type.

    Default: End and output nodes. Which of several models speaks the answer is known only when the
    stream is over, and what was shown cannot be taken back: name the node to see it stream.
    """

    mcp_servers: StrList | None = None
    """MCP servers to use. In the Java SDK only, in no document: unverified."""

    image_list: StrList | None = Field(default=None, exclude=True, repr=False)
    """Images, as URLs or data URLs, besides those in the messages. In no dump: URLs may be signed."""

    file_list: StrList | None = Field(default=None, exclude=True, repr=False)
    """Files, as URLs, besides those in the messages. In no dump: URLs may be signed."""

    doc_tag_codes: StrList | None = None
    """Legacy RAG applications: tags of the documents to search."""

    doc_reference_type: Literal["simple", "indexed"] | None = None
    """Legacy RAG applications: `indexed` puts markers into the text, `simple` does not."""

    streaming: bool | None = None
    """`False` makes calls plain POSTs, which the gateway ends after 180 s. Otherwise every call is a
    stream on the wire, also `invoke`."""

    accept_missing_stop: bool = False
    """Take a stream that ends cleanly, but without a finish reason, for complete.

    One document says that a forced stop ends so. Unverified; by default it is an error.
    """

    extra_parameters: dict[str, Any] | None = None
    """Merged into `parameters` last: for what the service adds next year."""

    extra_input: dict[str, Any] | None = None
    """Merged into `input` last."""


class CompletionFields(CommonCompletionFields):
    """What to ask of an application in a conversation, and what becomes of its answer."""

    history: Literal["messages", "session", "thread"] = "messages"
    """Who keeps the conversation.

    - `"messages"`: the caller; the answer depends on the messages given, and they are all sent.
    - `"session"`: the caller, and the cloud a copy. The answer is the same, but only the new question
      is sent, as long as the copy is known to be the same; otherwise all messages are.
    - `"thread"`: the cloud alone; the caller sends one new question a call. Needs a `session_store` and
      a `session_key`, else `configurable.thread_id`.
    """

    session_key: str | None = None
    """Names the conversation with `history="thread"`; give it per call. Default: the config's
    `configurable.thread_id`."""

    session_id: str | None = None
    """A conversation that the cloud keeps, used as it is: the newest human message continues it.

    As a field it makes the model object one conversation, shared by all its users; rather give it per
    call, or as `configurable.bailian_session_id`.
    """

    tool_calling: Literal["prompt"] | None = None
    """Lets `bind_tools` give the application tools that the caller runs, by describing them in words.

    Emulated: the service has no field for such tools, and whether an application follows the words is
    up to its model and its own prompt. No session is used then, as the words would stand in it. Calls
    that cannot be run, and none where one is demanded, are asked for once more, which costs a second
    request.
    """

    legacy_history: bool = False
    """Send earlier messages as `history`, rounds of `user` and `bot`, as legacy RAG applications want
    it."""

    temperature: float | None = None
    """Sampling temperature; documented for legacy applications, from 0 up to but not including 2."""

    top_p: float | None = None
    """Nucleus sampling; documented for legacy applications, between 0 and 1."""

    top_k: int | None = None
    """Sampling from the k most likely tokens; documented for legacy applications."""

    seed: int | None = None
    """Seed of the sampling; documented for legacy applications."""

    max_tokens: int | None = Field(default=None, gt=0)
    """Longest answer in tokens. Sent when set, but documented for no application: unverified."""

    stop: StrList | None = None
    """Texts before which the answer is cut, on this side: the service knows no such parameter."""

    citation_markers: MarkerMode = "strip"
    """What becomes of `<ref>[n]</ref>` in the text: removed, written as `[n]`, or kept."""

    @model_validator(mode="after")
    def _check_conversation(self) -> Self:
        if self.legacy_history and self.agent_version is not None:
            message = "`legacy_history` is for legacy RAG applications, `agent_version` for agents"
            raise ValueError(message)
        return self

    def with_overrides(self, overrides: dict[str, Any]) -> CompletionFields:
        """Return these fields with the keywords of a call laid over them; None changes nothing.

        Raises:
            TypeError: A keyword is no field; the message names the nearest one.
            NotImplementedError: A keyword would give the application tools.
        """
        ignored = _IGNORED_KWARGS
        if overrides.get("tool_calling") or self.tool_calling:
            ignored = ignored | TOOL_KWARGS
        overrides = {name: value for name, value in overrides.items() if name not in ignored}
        return merge_options(CompletionFields, self, overrides)


def merge_options(fields_class: type[T], fields: T, overrides: dict[str, Any]) -> T:
    """Return fields of this kind with the keywords of a call laid over them; None changes nothing.

    Raises:
        TypeError: A keyword is no field; the message names the nearest one.
        NotImplementedError: A keyword would give the application tools.
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
    """Return keywords whose user tokens and signed URLs no trace and no `repr` shows."""
    biz_params = kwargs.get("biz_params")
    if isinstance(biz_params, dict):
        kwargs = kwargs | {"biz_params": BizParams(**biz_params)}
    for name in SIGNED_URL_FIELDS:
        if urls := kwargs.get(name):
            urls = [urls] if isinstance(urls, str) else urls
            kwargs = kwargs | {name: [SignedUrl(url) for url in urls]}
    return kwargs


def format_suggestion(name: str, field_names: Iterable[str]) -> str:
    """Return a hint at the field that a wrong name may mean, or nothing."""
    candidates = list(field_names)
    suggestion = _ALIASES_IN_OTHER_PACKAGES.get(name)
    if suggestion not in candidates:
        suggestion = next(iter(difflib.get_close_matches(name, candidates)), None)
    return f": did you mean `{suggestion}`?" if suggestion else ""


def _raise_unknown_keyword(keyword: str, fields_class: type[BaseModel]) -> NoReturn:
    if keyword in TOOL_KWARGS:
        raise NotImplementedError(NO_TOOLS_MESSAGE)
    if keyword == "response_format":
        raise NotImplementedError(_NO_RESPONSE_FORMAT_MESSAGE)
    if keyword in {"app_id", *ConnectionFields.model_fields}:
        message = f"`{keyword}` is for the constructor: make another object, the connections are shared"
        raise TypeError(message)
    hint = format_suggestion(keyword, fields_class.model_fields)
    message = f"a call has no argument `{keyword}`{hint}"
    raise TypeError(message)
