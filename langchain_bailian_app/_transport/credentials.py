"""Where requests go and with which credentials: the fields of a model, completed by dashscope.

dashscope 2 resolves key, workspace, region and base URL from the environment and its configuration
file; which host serves applications is decided here, since its own default is a gateway that no
document shows applications on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dashscope

from langchain_bailian_app._settings.base_url import check_base_url, default_base_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import SecretStr

    from langchain_bailian_app._settings.connection import ConnectionFields


@dataclass(frozen=True)
class Connection:
    """What every request of a model needs."""

    base_url: str
    workspace: str | None
    api_key: Callable[[], str] = field(repr=False)


def resolve_connection(fields: ConnectionFields) -> Connection:
    """Complete the fields from the environment and dashscope's configuration.

    Raises:
        ValueError: There is no key, or the base URL is none of this API.
    """
    # Only the configuration of these clients is used, so that they need no HTTP client. Each is spared
    # the case in which dashscope warns that no workspace is configured: one by a base URL, the other
    # by a workspace.
    client_options: dict[str, Any] = {"http_client": object(), "region": fields.region}
    config = dashscope.Client(base_url="unused:", workspace=fields.workspace, **client_options).config
    configured_base_url = dashscope.Client(
        workspace="unused", **client_options
    ).config.configured_base_url
    workspace = config.workspace or os.environ.get("DASHSCOPE_WORKSPACE_ID") or None
    base_url = fields.base_url or configured_base_url
    if base_url is None:
        base_url = default_base_url(fields.gateway, workspace, config.region)
    return Connection(
        base_url=check_base_url(base_url, allow_insecure_http=fields.allow_insecure_http),
        workspace=workspace,
        api_key=_resolve_api_key(fields.api_key, config.api_key),
    )


def _resolve_api_key(
    api_key: SecretStr | Callable[[], str] | None, configured: str | None
) -> Callable[[], str]:
    if callable(api_key):
        return lambda: _validate_key(api_key() or "")
    key = _validate_key(api_key.get_secret_value() if api_key is not None else configured or "")
    return lambda: key


def _validate_key(key: str) -> str:
    """Return the key without white space around it, a line feed from a file for instance.

    Raises:
        ValueError: There is none, or it has characters that no header takes; they are not shown.
    """
    key = key.strip()
    if not key:
        message = (
            "there is no API key: give `api_key`, set the variable DASHSCOPE_API_KEY, or put it into "
            "dashscope's configuration; keys are made in the console, and never pickled with a model"
        )
        raise ValueError(message)
    if not key.isascii() or not key.isprintable() or " " in key:
        message = "the API key has white space or characters that are not ASCII inside"
        raise ValueError(message)
    return key
