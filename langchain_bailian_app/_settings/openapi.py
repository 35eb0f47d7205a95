"""The fields that say how to reach Bailian's OpenAPI; files and memory inherit them."""

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


def _check_endpoint(endpoint: str) -> str:
    """Return a host with its scheme.

    Raises:
        ValueError: It is more than a host, or would send signed requests in the clear.
    """
    url = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
    if "@" in url.netloc:
        message = "`endpoint` has a user name or password in it: the AccessKey has fields"
        raise ValueError(message)
    extra_parts = url.path.strip("/") or url.query or url.fragment
    if url.scheme not in {"http", "https"} or not url.hostname or extra_parts:
        message = f"`endpoint` {endpoint!r} is no host like 'bailian.cn-beijing.aliyuncs.com'"
        raise ValueError(message)
    if url.scheme == "http" and not is_loopback(endpoint):
        message = f"`endpoint` {endpoint!r} would send signed requests unencrypted: use https"
        raise ValueError(message)
    return f"{url.scheme}://{url.netloc}"


def _check_workspace(workspace_id: Any) -> Any:
    """Say what to do if there is none.

    Raises:
        ValueError: There is none.
    """
    if workspace_id:
        return workspace_id
    message = (
        "give `workspace_id` or set the variable DASHSCOPE_WORKSPACE: the OpenAPI has no default "
        "workspace (ids are in the console, under 业务空间)"
    )
    raise ValueError(message)


class OpenApiFields(BaseModel):
    """How to reach Bailian's OpenAPI, which wants an AccessKey, and not the key of Model Studio.

    The account of the AccessKey needs the policy AliyunBailianDataFullAccess, or the permissions one by
    one, like `sfm:ApplyFileUploadLease` (official guide).
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    workspace_id: Annotated[Id, BeforeValidator(_check_workspace)] = Field(
        default_factory=from_env(["DASHSCOPE_WORKSPACE", "DASHSCOPE_WORKSPACE_ID"], default=""),
        validate_default=True,
    )
    """Id of the workspace of the application. Default: `DASHSCOPE_WORKSPACE`."""

    region: Region = "cn-beijing"
    """Region of the workspace. Session files are documented for Beijing only."""

    endpoint: Annotated[str, AfterValidator(_check_endpoint)] | None = Field(
        default_factory=from_env("BAILIAN_OPENAPI_ENDPOINT", default=None), validate_default=True
    )
    """Host of the OpenAPI. Default: `BAILIAN_OPENAPI_ENDPOINT`, `bailian.{region}.aliyuncs.com`."""

    access_key_id: str | None = None
    """Default: the credential chain of Alibaba Cloud's SDK, which looks into
    `ALIBABA_CLOUD_ACCESS_KEY_ID` and `ALIBABA_CLOUD_ACCESS_KEY_SECRET` as they were when it was first
    imported, its configuration files, and the roles of the machine."""

    access_key_secret: SecretStr | None = Field(default=None, exclude=True)
    """Belongs to `access_key_id`. In no dump and no pickle."""

    security_token: SecretStr | None = Field(default=None, exclude=True)
    """Belongs to a temporary AccessKey (STS). In no dump and no pickle."""

    connect_timeout: Seconds = 5.0
    """Seconds to establish a connection."""

    read_timeout: Seconds = 30.0
    """Seconds without a byte after which a request fails."""

    client: Any = Field(default=None, exclude=True, repr=False)
    """A `Client` of `alibabacloud_bailian20231229` of your own, instead of these settings."""

    @model_validator(mode="after")
    def _check_access_key(self) -> Self:
        if (self.access_key_id is None) != (self.access_key_secret is None):
            message = "`access_key_id` and `access_key_secret` belong together: give both or none"
            raise ValueError(message)
        return self

    def __getstate__(self) -> dict[Any, Any]:
        """Leave secrets and connections out of a pickle."""
        state = super().__getstate__()
        secrets = dict.fromkeys(("access_key_id", "access_key_secret", "security_token", "client"))
        return state | {"__dict__": state["__dict__"] | secrets, "__pydantic_private__": None}
