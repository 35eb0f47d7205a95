"""Exceptions for failed connections and interrupted responses; messages include the setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from langchain_bailian_app import errors
from langchain_bailian_app._settings.base_url import extract_host
from langchain_bailian_app._transport.client_pool import build_connection_hint

if TYPE_CHECKING:
    from langchain_bailian_app._settings.connection import ConnectionFields


class TransportErrorFactory:
    """Factory for the transport errors of one call."""

    request_id: str | None = None
    """From the response headers; None until they arrive."""

    def __init__(self, fields: ConnectionFields, base_url: str) -> None:
        self._fields = fields
        self._base_url = base_url
        self._host = extract_host(base_url)

    def from_httpx_error(
        self, cause: BaseException, *, frame_received: bool, deadline_passed: bool
    ) -> errors.BailianError:
        """Return the `BailianError` for an httpx error.

        Args:
            cause: Error that httpx raised.
            frame_received: Whether a frame was received.
            deadline_passed: Whether `total_timeout` has expired.
        """
        match cause:
            case httpx.ConnectTimeout():
                return self._timeout_error(
                    f"no connection to {self._host} within {self._fields.connect_timeout:g} s "
                    "(`connect_timeout`)"
                )
            case httpx.PoolTimeout() if not deadline_passed:
                return self._timeout_error(
                    f"no free connection for {self._fields.timeout:g} s (`timeout`): too many "
                    f"concurrent calls (`max_connections` is {self._fields.max_connections}; a custom "
                    "HTTP client has its own limit)"
                )
            case httpx.TimeoutException():
                return self.total_timeout_error() if deadline_passed else self.read_timeout_error()
        reason = str(cause) or type(cause).__name__
        if isinstance(cause, httpx.ConnectError | httpx.ProxyError):
            text = f"no connection to {self._host}{build_connection_hint(self._base_url)}: {reason}"
        elif self.request_id is None and not frame_received:
            text = f"connection to {self._host} lost before a response was received: {reason}"
        else:
            text = f"connection to {self._host} lost before the answer was complete: {reason}"
            return errors.BailianStreamError(text, request_id=self.request_id)
        return errors.BailianConnectionError(text)

    def redirect_error(self, target: str, status: int) -> errors.BailianConnectionError:
        """Return the error for a redirect."""
        text = f"{self._host} redirects to {target}: redirects are not followed; check `base_url`"
        return errors.BailianConnectionError(text, status_code=status, request_id=self.request_id)

    def read_timeout_error(self) -> errors.BailianTimeoutError:
        """Return the error for a service that sends no frame within `timeout`."""
        return self._timeout_error(
            f"no response from {self._host} for {self._fields.timeout:g} s (`timeout`)"
        )

    def total_timeout_error(self) -> errors.BailianTimeoutError:
        """Return the error for an answer that exceeds `total_timeout`."""
        return self._timeout_error(
            f"the answer took longer than {self._fields.total_timeout:g} s (`total_timeout`)"
        )

    def protocol_error(self, problem: str) -> errors.BailianStreamError:
        """Return the error for an invalid response; `problem` continues "{host} …"."""
        return errors.BailianStreamError(f"{self._host} {problem}", request_id=self.request_id)

    def _timeout_error(self, text: str) -> errors.BailianTimeoutError:
        return errors.BailianTimeoutError(text, request_id=self.request_id)
