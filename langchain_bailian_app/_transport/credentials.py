"""Resolution of base URL, workspace and API key from the fields of a model and dashscope's settings.

dashscope 2 resolves key, workspace, region and base URL from the environment and its configuration
file. The host that serves applications is chosen here, because dashscope's own default is a gateway
that is not documented for applications.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import dashscope
from pydantic import SecretStr

from langchain_bailian_app._settings.base_url import check_base_url, default_base_url
from langchain_bailian_app._settings.connection import check_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app._settings.connection import ConnectionFields

_MISSING_WORKSPACE = (
    "missing `workspace`: pass it or set DASHSCOPE_WORKSPACE; only the workspace's own host has this "
    "route (the console lists the ids under 业务空间, workspaces)"
)


@dataclass(frozen=True)
class Connection:
    """Base URL, workspace and API key for the requests of a model."""

    base_url: str
    workspace: str | None
    api_key: Callable[[], str] = field(repr=False)


class _Configuration(NamedTuple):
    """Settings of dashscope. The `repr` of dashscope's own object contains the key."""

    workspace: str | None
    region: str
    base_url: str | None
    api_key: SecretStr


def resolve_connection(
    fields: ConnectionFields, *, requires_workspace_host: bool = False
) -> Connection:
    """Return the connection for these fields, the environment and dashscope's configuration.

    Args:
        fields: Settings of the connection.
        requires_workspace_host: Whether to use the workspace's own host, whatever the field `gateway`
            is. A base URL that is set still takes precedence.

    Raises:
        ValueError: The API key or a required workspace is missing, or a setting is invalid.
    """
    config = _read_configuration(fields)
    workspace = config.workspace or os.environ.get("DASHSCOPE_WORKSPACE_ID") or None
    if workspace is not None:
        # Part of a header and perhaps of the host. Fields may be assigned without validation.
        workspace = check_id(workspace, name="workspace")
    base_url = fields.base_url or config.base_url
    if base_url is None:
        if requires_workspace_host and workspace is None:
            raise ValueError(_MISSING_WORKSPACE)
        gateway = "workspace" if requires_workspace_host else fields.gateway
        base_url = default_base_url(gateway, workspace, config.region)
    return Connection(
        base_url=check_base_url(base_url, allow_insecure_http=fields.allow_insecure_http),
        workspace=workspace,
        api_key=_resolve_api_key(config.api_key if fields.api_key is None else fields.api_key),
    )


def _read_configuration(fields: ConnectionFields) -> _Configuration:
    # Only the configuration of these two clients is used, so they need no HTTP client. A client
    # without a base URL or a workspace would warn that no workspace is configured. Therefore the first
    # client gets a base URL, and the second a workspace.
    client_options: dict[str, Any] = {"http_client": object(), "region": fields.region}
    config = dashscope.Client(base_url="unused:", workspace=fields.workspace, **client_options).config
    configured_base_url = dashscope.Client(
        workspace="unused", **client_options
    ).config.configured_base_url
    return _Configuration(
        config.workspace, config.region, configured_base_url, SecretStr(config.api_key or "")
    )


def _resolve_api_key(api_key: SecretStr | Callable[[], str]) -> Callable[[], str]:
    if callable(api_key):
        return lambda: _validate_key(SecretStr(api_key() or "")).get_secret_value()
    return _validate_key(api_key).get_secret_value


def _validate_key(api_key: SecretStr) -> SecretStr:
    """Return the key without surrounding whitespace, such as a line feed read from a file.

    No variable here is the bare key, because error trackers record the variables of a failed call.

    Raises:
        ValueError: The key is missing, or has characters that are invalid in a header. The message does
            not contain the key.
    """
    api_key = SecretStr(api_key.get_secret_value().strip())
    if not api_key.get_secret_value():
        message = (
            "missing API key: pass `api_key`, set DASHSCOPE_API_KEY, or add it to dashscope's "
            "configuration; create a key in the console (a pickled model does not contain its key)"
        )
        raise ValueError(message)
    if not _is_header_value(api_key.get_secret_value()):
        message = "invalid API key: it contains whitespace, control characters or non-ASCII characters"
        raise ValueError(message)
    return api_key


def _is_header_value(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text
