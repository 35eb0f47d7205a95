"""Exceptions for failed connections and interrupted responses, with the setting in the message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from langchain_bailian_app import errors
from langchain_bailian_app._settings.base_url import extract_host
from langchain_bailian_app._transport.client_pool import build_connection_hint

if TYPE_CHECKING:
    from langchain_bailian_app._settings.connection import ConnectionFields


_INVALID_ADDRESS = "an invalid address"
_MAX_HOST_CHARS = 253


def error_from_httpx(
    cause: httpx.RequestError,
    fields: ConnectionFields,
    base_url: str,
    *,
    request_id: str | None,
    frame_received: bool,
) -> errors.BailianError:
    """Return the `BailianError` for an httpx error.

    Args:
        cause: Error that httpx raised, without secrets in its text.
        fields: Settings of the connection.
        base_url: Base URL of the request.
        request_id: From the response headers; None until they arrive.
        frame_received: Whether a frame was received.
    """
    host = extract_host(base_url)
    match cause:
        case httpx.ConnectTimeout():
            text = f"no connection to {host} within {fields.connect_timeout:g} s (`connect_timeout`)"
            return errors.BailianTimeoutError(text, request_id=request_id)
        case httpx.PoolTimeout():
            text = (
                f"no free connection for {fields.timeout:g} s (`timeout`): too many concurrent calls "
                f"(`max_connections` is {fields.max_connections}; a custom HTTP client has its own "
                "limit)"
            )
            return errors.BailianTimeoutError(text, request_id=request_id)
        case httpx.TimeoutException():
            return read_timeout_error(fields, base_url, request_id)
    reason = str(cause) or type(cause).__name__
    if isinstance(cause, httpx.ConnectError | httpx.ProxyError):
        text = f"no connection to {host}{build_connection_hint(base_url)}: {reason}"
    elif "location header" in reason:
        text = _describe_redirect(base_url, _INVALID_ADDRESS)
    elif request_id is None and not frame_received and not isinstance(cause, httpx.DecodingError):
        text = f"connection to {host} lost before a response was received: {reason}"
    else:
        text = f"connection to {host} lost before the answer was complete: {reason}"
        if isinstance(cause, httpx.DecodingError):
            text = f"{host} sent a response that cannot be decoded: {reason}"
        return errors.BailianStreamError(text, request_id=request_id)
    return errors.BailianConnectionError(text)


def find_redirect_target(response: httpx.Response) -> str:
    """Return the host to which a response redirects, for a message."""
    try:
        host = response.url.join(response.headers.get("location", "")).host
    except (httpx.InvalidURL, ValueError):
        return _INVALID_ADDRESS
    return host[:_MAX_HOST_CHARS] or _INVALID_ADDRESS


def redirect_error(
    base_url: str, target: str, status: int, request_id: str | None
) -> errors.BailianConnectionError:
    """Return the error for a redirect to the host `target`."""
    text = _describe_redirect(base_url, target)
    return errors.BailianConnectionError(text, status_code=status, request_id=request_id)


def _describe_redirect(base_url: str, target: str) -> str:
    return (
        f"{extract_host(base_url)} redirects to {target}: redirects are not followed; check `base_url`"
    )


def read_timeout_error(
    fields: ConnectionFields, base_url: str, request_id: str | None
) -> errors.BailianTimeoutError:
    """Return the error for a service that sends no frame within `timeout`."""
    text = f"no response from {extract_host(base_url)} for {fields.timeout:g} s (`timeout`)"
    return errors.BailianTimeoutError(text, request_id=request_id)


def first_token_timeout_error(
    fields: ConnectionFields, base_url: str, request_id: str | None
) -> errors.BailianTimeoutError:
    """Return the error for a service that sends no token within `first_token_timeout`."""
    text = (
        f"no text, reasoning or step from {extract_host(base_url)} within "
        f"{fields.first_token_timeout:g} s (`first_token_timeout`)"
    )
    return errors.BailianTimeoutError(text, request_id=request_id)


def total_timeout_error(fields: ConnectionFields, request_id: str | None) -> errors.BailianTimeoutError:
    """Return the error for an answer that exceeds `total_timeout`."""
    text = f"the answer took longer than {fields.total_timeout:g} s (`total_timeout`)"
    return errors.BailianTimeoutError(text, request_id=request_id)


def protocol_error(base_url: str, problem: str, request_id: str | None) -> errors.BailianStreamError:
    """Return the error for an invalid response; the message is the host followed by `problem`."""
    return errors.BailianStreamError(f"{extract_host(base_url)} {problem}", request_id=request_id)
