"""Connection settings that the model and the retriever inherit.

All checks that need no network access are made here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from langchain_core.utils import secret_from_env
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    SecretStr,
    ValidationInfo,
    model_validator,
)

from langchain_bailian_app._settings.base_url import check_base_url

Region = Literal[
    "cn-beijing",
    "ap-southeast-1",
    "cn-hongkong",
    "us-east-1",
    "eu-central-1",
    "ap-northeast-1",
]
"""Regions that dashscope 2 supports; not all of them offer applications."""

Seconds = Annotated[float, Field(gt=0, le=2_000_000)]
"""A timeout in seconds, at most 23 days, because the system counts milliseconds in 31 bits."""

_ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,128}")


def check_id(value: str, *, name: str) -> str:
    """Return a valid id, without the white space around it; `name` is for the message.

    An invalid id could change the URL that contains it.
    This is called wherever a URL is built. A field is only validated when an object is created: ids
    that are assigned later, and those of `model_copy` and `model_construct`, are not.

    Raises:
        ValueError: The id is invalid.
    """
    stripped = value.strip() if isinstance(value, str) else ""
    if not _ID_PATTERN.fullmatch(stripped):
        message = (
            f"invalid `{name}` {value!r}: expected 1 to 128 letters, digits, `_` or `-` (an id, not a "
            "name)"
        )
        raise ValueError(message)
    return stripped


def _check_id_field(value: str, info: ValidationInfo) -> str:
    return check_id(value, name=info.field_name or "id")


Id = Annotated[str, AfterValidator(_check_id_field)]
"""Id of an application, a knowledge base or a workspace."""


class ConnectionFields(BaseModel):
    """Address and credentials of the service, timeouts, retries and HTTP clients."""

    api_key: SecretStr | Callable[[], str] | None = Field(
        default_factory=secret_from_env("DASHSCOPE_API_KEY", default=None)
    )
    """API key of Model Studio, or a function that returns one and is called before each request.

    Default: `DASHSCOPE_API_KEY`, then dashscope's configuration (`~/.dashscope/config.toml`, and
    dashscope's key file).
    """

    base_url: str | None = None
    """Root URL of the API, for instance of a private endpoint; it must end in `/api/v1`.

    It takes precedence over `gateway` and `region`, which are then not checked. The trial gateway
    `https://trial.cn-beijing.maas.aliyuncs.com/api/v1` accepts the key of any workspace; it is
    documented for models, with lower rate limits, and unverified for applications.

    The key is sent to this host. LangChain's `load` sets this field to the value in the dump, so load
    only dumps that you trust, or pass an `init_validator` that rejects other hosts.

    Default: `DASHSCOPE_BASE_URL`, `DASHSCOPE_HTTP_BASE_URL`, dashscope's configuration, then the host
    for `gateway` and `region`.
    """

    workspace: Id | None = None
    """Id of the application's workspace; required unless that is the default workspace.

    Default: `DASHSCOPE_WORKSPACE`, `DASHSCOPE_WORKSPACE_ID`, then dashscope's configuration.
    """

    region: Region | None = None
    """Region of the service.

    Applications are documented for `cn-beijing` and `ap-southeast-1` (Singapore). In Singapore, only
    accounts that created an application there before 2025-04-21 can use applications. Whether
    `cn-hongkong` (Hong Kong) and `eu-central-1` (Frankfurt) offer them is unverified; Frankfurt has no
    shared host, so `workspace` is required there. They are not offered in `us-east-1` (Virginia) and
    `ap-northeast-1` (Tokyo): without a `base_url`, a call then raises a `ValueError`.

    Default: `DASHSCOPE_REGION`, dashscope's configuration, then `cn-beijing`.
    """

    gateway: Literal["shared", "workspace"] = "shared"
    """Host to call: the shared host of the region, or the workspace's own host.

    The workspace's host (`{workspace}.{region}.maas.aliyuncs.com`) is recommended for models, and
    accepts only keys of the workspace. Whether it serves applications is unverified. A region without
    a shared host uses it in any case.

    The service ends a request after 600 s on the shared host and the trial gateway, and after 3,600 s
    on the workspace's host. This is documented for models, and unverified for applications.
    """

    allow_insecure_http: bool = False
    """Allow an `http://` base URL on another machine, to which the key is sent unencrypted."""

    timeout: Seconds = 300.0
    """Maximum seconds without a frame before a call fails. Any frame restarts the timeout, even
    one that contains only reasoning."""

    first_token_timeout: Seconds | None = None
    """Maximum seconds from sending a request to the first text, reasoning or step. Default: no limit.

    Connecting counts, and so does waiting for a free connection. Empty frames and heartbeats do not end
    the wait. A response that is not a stream must be complete within this time. The limit applies
    to each request of a call, so it restarts for a retry. A request that exceeds it is not retried.

    Synchronous calls through a custom `http_client` or a SOCKS proxy check this limit only when a part
    of the body arrives.
    """

    connect_timeout: Seconds = 5.0
    """Maximum seconds to establish a connection."""

    total_timeout: Seconds | None = None
    """Maximum seconds for an entire call.

    Synchronous calls through a custom `http_client` or a SOCKS proxy check this limit and `timeout`
    only when a part of the body arrives. httpx limits the wait for each byte, but a server that sends
    the head of its response byte by byte is not limited.
    """

    max_retries: int = Field(default=2, ge=0)
    """Maximum number of retries for a request that certainly did not run.

    This is the case if no connection was established, or if the service rejected the request before
    running it (429 with a throttling code, or 503). Any other request may have run plugins, cost money
    or added a turn, and is not sent again.
    """

    max_connections: int = Field(default=1000, ge=1)
    """Maximum number of concurrent calls on one event loop, or in all threads together.

    Further calls wait for at most `timeout`. Models with the same value share the limit. A custom HTTP
    client has its own limit.
    """

    http_client: Any = Field(default=None, exclude=True, repr=False)
    """Custom `httpx.Client`, for proxies and certificates. This package never closes it."""

    http_async_client: Any = Field(default=None, exclude=True, repr=False)
    """Custom `httpx.AsyncClient`, used on the event loop that it belongs to. This package never closes
    it."""

    @model_validator(mode="after")
    def _check_connection(self) -> Self:
        if self.base_url is not None:
            check_base_url(self.base_url, allow_insecure_http=self.allow_insecure_http)
        for name, close_method in (("http_client", "close"), ("http_async_client", "aclose")):
            client = getattr(self, name)
            if client is not None and not hasattr(client, close_method):
                expected_class = "httpx.Client" if close_method == "close" else "httpx.AsyncClient"
                message = f"invalid `{name}`: expected an {expected_class}, got {type(client).__name__}"
                raise ValueError(message)
            if getattr(client, "follow_redirects", False):
                message = (
                    f"invalid `{name}`: it follows redirects, which would send the key to another host"
                )
                raise ValueError(message)
        return self
