"""Settings of Bailian's OpenAPI: `BailianMemory` requires them, and `BailianFiles` accepts them."""

from __future__ import annotations

from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from langchain_core.utils import from_env
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)

from langchain_bailian_app._settings.base_url import is_loopback
from langchain_bailian_app._settings.connection import Id, Region, Seconds

WORKSPACE_VARIABLES = ["DASHSCOPE_WORKSPACE", "DASHSCOPE_WORKSPACE_ID"]
"""Environment variables with the id of the workspace, in order of precedence."""


def _check_endpoint(endpoint: str) -> str:
    """Validate an endpoint and return its scheme and host.

    Raises:
        ValueError: The endpoint is not just a host, or signed requests would be sent unencrypted.
    """
    url = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
    if "@" in url.netloc:
        message = (
            "invalid `endpoint`: it contains a user name or password; pass `access_key_id` and "
            "`access_key_secret` instead"
        )
        raise ValueError(message)
    extra_parts = url.path.strip("/") or url.query or url.fragment
    if url.scheme not in {"http", "https"} or not url.hostname or extra_parts:
        message = (
            f"invalid `endpoint` {endpoint!r}: expected a host like 'bailian.cn-beijing.aliyuncs.com'"
        )
        raise ValueError(message)
    if url.scheme == "http" and not is_loopback(endpoint):
        message = (
            f"insecure `endpoint` {endpoint!r}: signed requests would be sent unencrypted; use https"
        )
        raise ValueError(message)
    return f"{url.scheme}://{url.netloc}"


def _check_workspace(workspace_id: Any) -> Any:
    """Require a workspace id.

    Raises:
        ValueError: The id is missing.
    """
    if workspace_id:
        return workspace_id
    message = (
        "missing `workspace_id`: pass it or set DASHSCOPE_WORKSPACE; Bailian's OpenAPI has no "
        "default workspace (the console lists the ids under 业务空间, workspaces)"
    )
    raise ValueError(message)


class AccessKeyFields(BaseModel):
    """Address and credentials of Bailian's OpenAPI, which requires an AccessKey, not an API key.

    The account of the AccessKey needs the policy AliyunBailianDataFullAccess or the individual
    permissions, such as `sfm:ApplyFileUploadLease` (user guide).
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    region: Region | None = None
    """Region of the workspace. Default: `cn-beijing`."""

    endpoint: Annotated[str, AfterValidator(_check_endpoint)] | None = Field(
        default_factory=from_env("BAILIAN_OPENAPI_ENDPOINT", default=None), validate_default=True
    )
    """Host of Bailian's OpenAPI, with an optional scheme.

    Default: `BAILIAN_OPENAPI_ENDPOINT`, then `bailian.{region}.aliyuncs.com`.
    """

    access_key_id: str | None = None
    """Id of the AccessKey.

    Default: the credential chain of Alibaba Cloud's SDK. The SDK tries `ALIBABA_CLOUD_ACCESS_KEY_ID`
    and `ALIBABA_CLOUD_ACCESS_KEY_SECRET`, its configuration files, and the roles of the machine. It
    reads the two variables when it is first imported.
    """

    access_key_secret: SecretStr | None = Field(default=None, exclude=True)
    """Secret of the AccessKey; required with `access_key_id`. Excluded from dumps and pickles."""

    security_token: SecretStr | None = Field(default=None, exclude=True)
    """Token of a temporary AccessKey (STS). Excluded from dumps and pickles."""

    connect_timeout: Seconds = 5.0
    """Maximum seconds to establish a connection."""

    read_timeout: Seconds = 30.0
    """Maximum seconds without received data before a request fails."""

    client: Any = Field(default=None, exclude=True, repr=False)
    """Custom `Client` of `alibabacloud_bailian20231229`, used instead of these settings."""

    @model_validator(mode="after")
    def _check_access_key(self) -> Self:
        if (self.access_key_id is None) != (self.access_key_secret is None):
            message = "`access_key_id` and `access_key_secret` belong together: pass both or neither"
            raise ValueError(message)
        return self

    def __getstate__(self) -> dict[Any, Any]:
        """Return the state without secrets or connections."""
        state = super().__getstate__()
        secrets = dict.fromkeys(("access_key_id", "access_key_secret", "security_token", "client"))
        return state | {"__dict__": state["__dict__"] | secrets, "__pydantic_private__": None}


class OpenApiFields(AccessKeyFields):
    """Settings of the classes that always use the OpenAPI, which has no default workspace."""

    workspace_id: Annotated[Id, BeforeValidator(_check_workspace)] = Field(
        default_factory=from_env(WORKSPACE_VARIABLES, default=""), validate_default=True
    )
    """Id of the application's workspace. Default: `DASHSCOPE_WORKSPACE`, `DASHSCOPE_WORKSPACE_ID`."""
