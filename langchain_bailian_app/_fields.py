"""The fields that users set, in two groups: how to reach the service, and what to ask of it.

The model, the retriever and the tool inherit both; `ApplicationFields` may also be given per call.
Everything about a field that can be checked without the network is checked here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, NoReturn, Self

from langchain_core.utils import from_env, secret_from_env
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)

from langchain_bailian_app._base_url import check_base_url
from langchain_bailian_app._citations import MarkerMode
from langchain_bailian_app.options import BizParams, RagOptions

Region = Literal[
    "cn-beijing",
    "ap-southeast-1",
    "cn-hongkong",
    "us-east-1",
    "eu-central-1",
    "ap-northeast-1",
]
"""The regions that dashscope 2 knows."""

NO_TOOLS = (
    "a Bailian application runs its own tools, inside the service, and cannot be given others: add "
    "them to the application in the console, or give the application to another model as a tool"
)
_TOOL_KEYWORDS = {"tools", "tool_choice", "parallel_tool_calls", "strict", "response_format"}
# LangChain's own, with no meaning to the service; `model` is for tracing.
_IGNORED_KEYWORDS = {
    "stream",
    "stream_usage",
    "ls_structured_output_format",
    "structured_output_format",
    "model",
}

# What other packages call a field.
_ELSEWHERE = {
    "dashscope_api_key": "api_key",
    "model": "app_model",
    "model_id": "app_model",
    "model_name": "app_model",
    "workspace_id": "workspace",
    "base_address": "base_url",
}

_APP_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def _check_app_id(app_id: str) -> str:
    """Keep anything out of the URL that could lead to another path of the service."""
    if not _APP_ID.fullmatch(app_id):
        message = (
            f"`app_id` {app_id!r} is no application id: it has 1 to 128 letters, digits, `_` and `-`"
        )
        raise ValueError(message)
    return app_id


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_Strings = Annotated[list[str], BeforeValidator(_as_list)]


class ConnectionFields(BaseModel):
    """How to reach an application."""

    app_id: Annotated[str, AfterValidator(_check_app_id)] = Field(
        default_factory=from_env(
            "BAILIAN_APP_ID", error_message="give `app_id` or set the variable BAILIAN_APP_ID"
        ),
        validate_default=True,
    )
    """Id of the application, from the console's application list. Default: `BAILIAN_APP_ID`."""

    api_key: SecretStr | Callable[[], str] | None = Field(
        default_factory=secret_from_env("DASHSCOPE_API_KEY", default=None)
    )
    """Key of Model Studio, or a function that returns one, called before each request.

    Default: `DASHSCOPE_API_KEY`, then what dashscope is configured with: `~/.dashscope/config.toml`
    and its key file.
    """

    base_url: str | None = None
    """Root of the API, ending in `/api/v1`, for instance of a private endpoint.

    Default: `DASHSCOPE_BASE_URL`, `DASHSCOPE_HTTP_BASE_URL`, dashscope's configuration, then the host
    that `gateway` and `region` name.
    """

    workspace: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]+$")
    """Id of the workspace that the application is in; needed for any but the default workspace.

    Default: `DASHSCOPE_WORKSPACE`, `DASHSCOPE_WORKSPACE_ID`, then dashscope's configuration.
    """

    region: Region | None = None
    """Default: `DASHSCOPE_REGION`, dashscope's configuration, then `cn-beijing`."""

    gateway: Literal["shared", "workspace"] = "shared"
    """Which host serves the region: the shared one of the documents, or the workspace's own.

    That the workspace gateway (`{workspace}.{region}.maas…`) serves applications is unverified: no
    source shows it.
    """

    allow_insecure_http: bool = False
    """Allow an `http://` base URL that is not on this machine: the key travels in the clear."""

    timeout: float = Field(default=300.0, gt=0)
    """Seconds of silence between frames before a call fails. Any frame resets it, also one of
    reasoning."""

    connect_timeout: float = Field(default=5.0, gt=0)
    """Seconds to establish a connection."""

    total_timeout: float | None = Field(default=None, gt=0)
    """Seconds for a whole call. Checked at every frame, so that a synchronous call may take up to
    `timeout` longer."""

    max_retries: int = Field(default=2, ge=0)
    """How often a request is sent again that certainly did not run.

    That is: the connection was never made, or the service refused at the door (429 with a throttling
    code, or 503). Anything else may have run plugins, cost money or added a turn, and is not repeated.
    """

    http_client: Any = Field(default=None, exclude=True, repr=False)
    """An `httpx.Client` of your own, for proxies and certificates. Never closed by this package."""

    http_async_client: Any = Field(default=None, exclude=True, repr=False)
    """An `httpx.AsyncClient` of your own, used on the event loop that it belongs to."""

    @model_validator(mode="after")
    def _check_connection(self) -> Self:
        if self.base_url is not None:
            check_base_url(self.base_url, allow_insecure_http=self.allow_insecure_http)
        for name, close in (("http_client", "close"), ("http_async_client", "aclose")):
            client = getattr(self, name)
            if client is not None and not hasattr(client, close):
                kind = "httpx.Client" if close == "close" else "httpx.AsyncClient"
                message = f"`{name}` is a {type(client).__name__}, but should be an {kind}"
                raise ValueError(message)
            if getattr(client, "follow_redirects", False):
                message = f"`{name}` follows redirects, which would carry the key to another host"
                raise ValueError(message)
        return self


class ApplicationFields(BaseModel):
    """What to ask of an application. `None` leaves a setting to the application's console."""

    # An error message would otherwise show what was given, user tokens included.
    model_config = ConfigDict(hide_input_in_errors=True)

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

    memory_id: str | None = None
    """Long-term memory to use. Without one, all users share the application's default memory."""

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
    """How a workflow streams its nodes."""

    mcp_servers: _Strings | None = None
    """MCP servers to use. In the Java SDK only, in no document: unverified."""

    image_list: _Strings | None = Field(default=None, exclude=True, repr=False)
    """Images, as URLs or data URLs, besides those in the messages. In no dump: URLs may be signed."""

    file_list: _Strings | None = Field(default=None, exclude=True, repr=False)
    """Files, as URLs, besides those in the messages. In no dump: URLs may be signed."""

    doc_tag_codes: _Strings | None = None
    """Legacy RAG applications: tags of the documents to search."""

    doc_reference_type: Literal["simple", "indexed"] | None = None
    """Legacy RAG applications: `indexed` puts markers into the text, `simple` does not."""

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

    stop: Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_as_list)] | None = None
    """Texts before which the answer is cut, on this side: the service knows no such parameter."""

    streaming: bool | None = None
    """`False` makes calls plain POSTs, which the gateway ends after 180 s. Otherwise every call is a
    stream on the wire, also `invoke`."""

    citation_markers: MarkerMode = "strip"
    """What becomes of `<ref>[n]</ref>` in the text: removed, written as `[n]`, or kept."""

    accept_missing_stop: bool = False
    """Take a stream that ends cleanly, but without a finish reason, for complete.

    One document says that a forced stop ends so. Unverified; by default it is an error.
    """

    extra_parameters: dict[str, Any] | None = None
    """Merged into `parameters` last: for what the service adds next year."""

    extra_input: dict[str, Any] | None = None
    """Merged into `input` last."""

    def overlaid(self, keywords: dict[str, Any]) -> ApplicationFields:
        """Return these fields with the keywords of a call laid over them; None changes nothing.

        Raises:
            TypeError: A keyword is no field; the message names the nearest one.
            NotImplementedError: A keyword would give the application tools.
        """
        given = {
            name: value
            for name, value in keywords.items()
            if value is not None and name not in _IGNORED_KEYWORDS
        }
        fields = ApplicationFields.model_fields
        for name in given:
            if name not in fields:
                _refuse(name)
        if not given:
            return self
        return ApplicationFields(**{name: getattr(self, name) for name in fields} | given)


def nearest(name: str, fields: Iterable[str]) -> str:
    """Return a hint at the field that a wrong name may mean, or nothing."""
    near = _ELSEWHERE.get(name) or next(iter(difflib.get_close_matches(name, fields, n=1)), None)
    return f": did you mean `{near}`?" if near else ""


def _refuse(keyword: str) -> NoReturn:
    if keyword in _TOOL_KEYWORDS:
        raise NotImplementedError(NO_TOOLS)
    if keyword in ConnectionFields.model_fields:
        message = f"`{keyword}` belongs to the model: make another one, the connections are shared"
        raise TypeError(message)
    hint = nearest(keyword, ApplicationFields.model_fields)
    message = f"a call to an application has no argument `{keyword}`{hint}"
    raise TypeError(message)
