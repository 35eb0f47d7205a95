"""Connection settings of `BailianFiles`, which uses an API key or an AccessKey."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from langchain_core.utils import from_env
from pydantic import AliasChoices, ConfigDict, Field, SecretStr, ValidationError, model_validator

from langchain_bailian_app._settings.connection import ConnectionFields, Id
from langchain_bailian_app._settings.openapi import WORKSPACE_VARIABLES, AccessKeyFields

_KEY_FIELDS = ("api_key", "base_url", "http_client", "allow_insecure_http")  # not for the OpenAPI
_CONNECTION_FIELDS = (*_KEY_FIELDS, "workspace", "region")


class _KeyConnection(ConnectionFields):
    """Settings of the requests that are sent with the API key."""

    model_config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True)


class SessionFileFields(AccessKeyFields):
    """Connection settings of `BailianFiles`.

    Files are uploaded with the API key, unless `access_key_id` or `client` is set.
    """

    access_key_id: str | None = None
    """Id of an AccessKey, to upload files over Bailian's OpenAPI. Default: None (API key)."""

    api_key: SecretStr | Callable[[], str] | None = Field(default=None, exclude=True)
    """API key of Model Studio, or a function that returns one and is called before each request.

    Default: as for the model. Excluded from dumps and pickles.
    """

    workspace: Id | None = Field(
        default=None, validation_alias=AliasChoices("workspace", "workspace_id")
    )
    """Id of the application's workspace, also accepted as `workspace_id`.

    It is part of the host, so that it is required even if it is the default workspace of the key.

    Default: as for the model (`DASHSCOPE_WORKSPACE`).
    """

    base_url: str | None = None
    """Root URL of the API, for instance of a private endpoint; it must end in `/api/v1`.

    Default: as for the model, except for the host: session files exist only on the workspace's own
    host, `{workspace}.{region}.maas.aliyuncs.com`.
    """

    allow_insecure_http: bool = False
    """Allow an `http://` base URL on another machine, to which the key is sent unencrypted."""

    http_client: Any = Field(default=None, exclude=True, repr=False)
    """Custom `httpx.Client` for requests with the API key, for proxies and certificates.

    The contents of files are uploaded without it. This package never closes it.
    """

    use_internal_endpoint: bool = False
    """Whether to upload over the region's internal network. Only for workspaces with secure storage."""

    @property
    def workspace_id(self) -> str:
        """Id of the workspace, from `workspace` or from the environment; empty if neither has one."""
        return self.workspace or from_env(WORKSPACE_VARIABLES, default="")()

    @workspace_id.setter
    def workspace_id(self, value: str) -> None:
        self.workspace = value

    @property
    def uses_access_key(self) -> bool:
        """Whether files are uploaded with an AccessKey, over Bailian's OpenAPI."""
        return self.access_key_id is not None or self.client is not None

    @property
    def has_connection_settings(self) -> bool:
        """Whether a setting of the connection was passed, so that those of a model do not apply."""
        return self.uses_access_key or any(getattr(self, name) for name in _CONNECTION_FIELDS)

    def make_connection(self) -> ConnectionFields:
        """Return the settings of the requests that are sent with the API key.

        They have no retries, because the steps of an upload are retried.

        Raises:
            ValueError: A setting is invalid.
        """
        values = {name: getattr(self, name) for name in _CONNECTION_FIELDS}
        return _KeyConnection(
            timeout=self.read_timeout, connect_timeout=self.connect_timeout, max_retries=0, **values
        )

    def copy_connection(self, model: ConnectionFields) -> dict[str, Any]:
        """Return the values of all fields, with the connection settings of a model."""
        return dict(self) | {name: getattr(model, name) for name in _CONNECTION_FIELDS}

    @model_validator(mode="after")
    def _check_route(self) -> Self:
        if self.uses_access_key:
            for name in _KEY_FIELDS:
                if getattr(self, name):
                    message = f"`{name}` has no effect with an AccessKey: remove one of the two"
                    raise ValueError(message)
            if not self.workspace_id:
                message = (
                    "missing `workspace`: pass it or set DASHSCOPE_WORKSPACE; Bailian's OpenAPI has no "
                    "default workspace (the console lists the ids under 业务空间, workspaces)"
                )
                raise ValueError(message)
        elif unused := self._find_openapi_setting():
            message = f"`{unused}` has no effect without `access_key_id`: pass it, or remove `{unused}`"
            raise ValueError(message)
        else:
            try:
                self.make_connection()
            except ValidationError as exc:
                message = exc.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
                raise ValueError(message) from None
        return self

    def _find_openapi_setting(self) -> str | None:
        """Return the name of a setting that has no effect without an AccessKey, or None."""
        if self.security_token is not None:
            return "security_token"
        # The endpoint in the environment may be for `BailianMemory`.
        is_passed = self.endpoint is not None and "endpoint" in self.model_fields_set
        return "endpoint" if is_passed else None

    def __getstate__(self) -> dict[Any, Any]:
        """Return the state without secrets or connections.

        Without its AccessKey, an object that is loaded from a pickle uses the API key.
        """
        state = super().__getstate__()
        secrets = dict.fromkeys(("api_key", "http_client"))
        return state | {"__dict__": state["__dict__"] | secrets}
