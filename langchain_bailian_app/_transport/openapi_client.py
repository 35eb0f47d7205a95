"""Client for Bailian's OpenAPI, built on the official SDK. It raises `BailianError`s.

Only this module uses the SDK, `alibabacloud_bailian20231229`. The SDK is imported at the first request,
because the import takes half a second. Its synchronous methods are called in threads. The asynchronous
methods would open a new connection for every request, and create a TLS context each time, which blocks
the event loop for 50 ms.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, get_args

from langchain_bailian_app import errors
from langchain_bailian_app._settings.connection import Region, check_id
from langchain_bailian_app._transport.error_codes import (
    error_from_response,
    readable_message,
    was_rejected_before_running,
)
from langchain_bailian_app._transport.redaction import Redactor
from langchain_bailian_app._version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_bailian_app._settings.openapi import AccessKeyFields

_MISSING_PACKAGE = (
    "missing package alibabacloud-bailian20231229, required for files and memory: "
    "pip install 'langchain-bailian-app[openapi]'"
)
_MAX_IDLE_CONNECTIONS = 40
_DEFAULT_REGION = "cn-beijing"


class OpenApiClient:
    """The official client for these settings, created on first use."""

    def __init__(self, fields: AccessKeyFields) -> None:
        self._fields = fields
        self._lock = threading.Lock()
        self._cached_client: Any = None

    def call(self, action: str, ids: Mapping[str, str], **parameters: Any) -> Any:
        """Send a request.

        Args:
            action: Name of the client's method, such as `"add_file"`.
            ids: Ids in the path of the URL by name, in the order of the method's parameters.
            parameters: Other fields of the request; None values are omitted.

        Returns:
            The body of the response.

        Raises:
            ValueError: An id or the region is invalid; nothing was sent.
            BailianError: The request failed.
            ImportError: The official client is not installed.
        """
        # The official client does not escape `..`.
        valid_ids = [check_id(value, name=name) for name, value in ids.items()]
        models, runtime_options_class = _import_official_models()
        client = self._get_client()
        request = getattr(models, f"{action.title().replace('_', '')}Request")(**parameters)
        runtime = runtime_options_class(
            connect_timeout=int(self._fields.connect_timeout * 1000),
            read_timeout=int(self._fields.read_timeout * 1000),
            max_idle_conns=_MAX_IDLE_CONNECTIONS,
        )
        try:
            response = getattr(client, f"{action}_with_options")(*valid_ids, request, {}, runtime)
        except Exception as exc:  # noqa: BLE001  # the client raises errors of many libraries
            error = _to_bailian_error(exc, client, self._redactor)
        else:
            _raise_for_failure(response.body, self._redactor)
            return response.body
        # Not chained: the client's exception contains the request with its credentials.
        raise error from None

    @property
    def _redactor(self) -> Redactor:
        # The message about a wrong signature repeats the headers, including the security token.
        secrets = (self._fields.access_key_secret, self._fields.security_token)
        return Redactor(_reveal_secret(secret) or "" for secret in secrets)

    def _get_client(self) -> Any:
        if self._fields.client is not None:
            return self._fields.client
        with self._lock:
            if self._cached_client is None:
                self._cached_client = _create_client(self._fields)
            return self._cached_client


def _import_official_models() -> tuple[Any, Any]:
    """Return the official request models and the class of runtime options.

    Raises:
        ImportError: The extra is not installed.
    """
    try:
        from alibabacloud_bailian20231229 import models  # noqa: PLC0415
        from darabonba.runtime import RuntimeOptions  # noqa: PLC0415
    except ImportError as exc:
        raise ImportError(_MISSING_PACKAGE) from exc
    return models, RuntimeOptions


def _create_client(fields: AccessKeyFields) -> Any:
    from alibabacloud_bailian20231229.client import Client  # noqa: PLC0415
    from alibabacloud_credentials.client import Client as Credentials  # noqa: PLC0415
    from alibabacloud_tea_openapi.utils_models import Config  # noqa: PLC0415

    region = fields.region or _DEFAULT_REGION
    if region not in get_args(Region):  # the official client inserts it into the host
        message = f"invalid `region` {region!r}: expected one of {', '.join(get_args(Region))}"
        raise ValueError(message)
    scheme, _, host = (fields.endpoint or "https://").partition("://")
    config = Config(
        region_id=region,
        endpoint=host or None,
        protocol=scheme,
        user_agent=f"langchain-bailian-app/{__version__}",
    )
    if fields.access_key_id is None:
        config.credential = Credentials()
    else:
        config.access_key_id = fields.access_key_id
        config.access_key_secret = _reveal_secret(fields.access_key_secret)
        config.security_token = _reveal_secret(fields.security_token)
    return Client(config)


def _reveal_secret(secret: Any) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _raise_for_failure(body: Any, redactor: Redactor) -> None:
    """Raise an error if the body of a response reports a failure; one action sends "false" as a string.

    Raises:
        BailianError: The body reports a failure.
    """
    success = getattr(body, "success", None)
    if success is False or str(success).lower() == "false":
        status = str(body.status or "")
        raise error_from_response(
            code=redactor.text(str(body.code or "")),
            message=redactor.text(readable_message(str(body.message or ""))),
            status=int(status) if status.isdecimal() and status != "200" else 400,
            request_id=body.request_id,
        )


def _to_bailian_error(exc: Exception, client: Any, redactor: Redactor) -> errors.BailianError:
    """Return the `BailianError` for an exception of the client.

    Contract tests cover the attributes of the client that are used here.
    """
    status = getattr(exc, "status_code", None)
    if status is not None:
        return _status_error(exc, status, redactor)
    cause = getattr(exc, "inner_exception", exc)
    host = getattr(client, "_endpoint", None) or "Bailian's OpenAPI"
    if type(cause).__name__ == "CredentialException":
        message = (
            "missing AccessKey: pass `access_key_id` and `access_key_secret`, or set "
            "ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET"
        )
        return errors.BailianAuthenticationError(message)
    # A RetryError stores the text of a network error, but not the exception.
    network_cause = cause.__context__ if type(cause).__name__ == "RetryError" else cause
    if isinstance(network_cause, OSError):
        return _network_error(network_cause, host)
    if isinstance(cause, ValueError | AttributeError | UnicodeDecodeError):
        return errors.BailianServerError(f"cannot parse response from {host}: {type(cause).__name__}")
    message = f"the request to {host} failed: {type(cause).__name__}: {redactor.text(str(cause))}"
    return errors.BailianError(message)


def _status_error(exc: Any, status: int, redactor: Redactor) -> errors.BailianError:
    body = exc.data if isinstance(exc.data, dict) else {}
    message = str(body.get("Message") or body.get("message") or exc.message)
    request_id = body.get("RequestId") or body.get("requestId")
    error = error_from_response(
        code=redactor.text(str(body.get("Code") or body.get("code") or "")),
        message=redactor.text(readable_message(message)),
        status=status,
        request_id=request_id,
        body=redactor.body(body),
    )
    if exc.retry_after is not None:
        error.retry_after = exc.retry_after / 1000  # milliseconds
    error.is_retryable = was_rejected_before_running(error)
    return error


def _network_error(cause: OSError, host: str) -> errors.BailianError:
    from requests import exceptions  # noqa: PLC0415  # a dependency of the client

    if isinstance(cause, exceptions.Timeout):
        is_connect_timeout = isinstance(cause, exceptions.ConnectTimeout)
        setting = "connect_timeout" if is_connect_timeout else "read_timeout"
        message = f"no response from {host} within `{setting}`"
        timeout_error = errors.BailianTimeoutError(message)
        timeout_error.is_retryable = is_connect_timeout
        return timeout_error
    reason = getattr(cause.args[0] if cause.args else None, "reason", None)
    error = errors.BailianConnectionError(
        f"connection to {host} failed or was lost ({type(reason or cause).__name__})"
    )
    error.is_retryable = type(reason).__name__ == "NewConnectionError"
    return error
