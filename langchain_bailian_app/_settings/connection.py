"""The fields that say how to reach the service; the model and the retriever inherit them.

Everything about a field that can be checked without the network is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from langchain_core.utils import secret_from_env
from pydantic import AfterValidator, BaseModel, Field, SecretStr, model_validator

from langchain_bailian_app._settings.base_url import check_base_url

Region = Literal[
    "cn-beijing",
    "ap-southeast-1",
    "cn-hongkong",
    "us-east-1",
    "eu-central-1",
    "ap-northeast-1",
]
"""The regions that dashscope 2 knows."""

Seconds = Annotated[float, Field(gt=0, le=2_000_000)]
"""How long to wait, up to 23 days: the system counts milliseconds in 31 bits."""

_ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,128}")


def check_id(value: str) -> str:
    """Keep anything out of the URL that could lead to another path of the service.

    Raises:
        ValueError: It is no id.
    """
    if not _ID_PATTERN.fullmatch(value):
        message = (
            f"{value!r} is no id of the service: an id is no name, it has 1 to 128 letters, digits, "
            "`_` and `-`"
        )
        raise ValueError(message)
    return value


Id = Annotated[str, AfterValidator(check_id)]
"""Id of an application or a knowledge base."""


class ConnectionFields(BaseModel):
    """How to reach the service, and how long to wait for it."""

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

    timeout: Seconds = 300.0
    """Seconds of silence between frames before a call fails. Any frame resets it, also one of
    reasoning."""

    connect_timeout: Seconds = 5.0
    """Seconds to establish a connection."""

    total_timeout: Seconds | None = None
    """Seconds for a whole call. In threads an `http_client` of your own, or a SOCKS proxy, lets it be
    noticed only when something comes, up to `timeout` later."""

    max_retries: int = Field(default=2, ge=0)
    """How often a request is sent again that certainly did not run.

    That is: the connection was never made, or the service refused at the door (429 with a throttling
    code, or 503). Anything else may have run plugins, cost money or added a turn, and is not repeated.
    """

    max_connections: int = Field(default=1000, ge=1)
    """How many calls may be in flight at once, over an event loop or over all threads.

    More of them wait, for at most `timeout`. Models with the same number share it. An HTTP client of
    your own has its own limit.
    """

    http_client: Any = Field(default=None, exclude=True, repr=False)
    """An `httpx.Client` of your own, for proxies and certificates. Never closed by this package."""

    http_async_client: Any = Field(default=None, exclude=True, repr=False)
    """An `httpx.AsyncClient` of your own, used on the event loop that it belongs to."""

    @model_validator(mode="after")
    def _check_connection(self) -> Self:
        if self.base_url is not None:
            check_base_url(self.base_url, allow_insecure_http=self.allow_insecure_http)
        for name, close_method in (("http_client", "close"), ("http_async_client", "aclose")):
            client = getattr(self, name)
            if client is not None and not hasattr(client, close_method):
                expected_class = "httpx.Client" if close_method == "close" else "httpx.AsyncClient"
                message = f"`{name}` is a {type(client).__name__}, but should be an {expected_class}"
                raise ValueError(message)
            if getattr(client, "follow_redirects", False):
                message = f"`{name}` follows redirects, which would carry the key to another host"
                raise ValueError(message)
        return self
