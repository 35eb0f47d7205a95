"""Errors for failed connections and interrupted replies; each message names the field that helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from langchain_bailian_app import errors
from langchain_bailian_app._settings.base_url import extract_host
from langchain_bailian_app._transport.client_pool import build_connection_hint

if TYPE_CHECKING:
    from langchain_bailian_app._settings.connection import ConnectionFields


class TransportErrorFactory:
    """The errors of one call."""

    request_id: str | None = None
    """From the headers of the reply; None before they arrive."""

    def __init__(self, fields: ConnectionFields, base_url: str) -> None:
        self._fields = fields
        self._base_url = base_url
        self._host = extract_host(base_url)

    def from_httpx_error(
        self, cause: BaseException, *, frame_received: bool, deadline_passed: bool
    ) -> errors.BailianError:
        """Return our error for one of httpx.

        Args:
            cause: What httpx raises.
            frame_received: Whether a frame has come.
            deadline_passed: Whether `total_timeout` is over.
        """
        match cause:
            case httpx.ConnectTimeout():
                return self._timeout_error(
                    f"no connection to {self._host} within {self._fields.connect_timeout:g} s "
                    "(`connect_timeout`)"
                )
            case httpx.PoolTimeout() if not deadline_passed:
                return self._timeout_error(
                    f"no connection was free for {self._fields.timeout:g} s (`timeout`): too many "
                    f"calls at once (`max_connections` is {self._fields.max_connections}; a client of "
                    "your own has a limit of its own)"
                )
            case httpx.TimeoutException():
                return self.total_timeout_error() if deadline_passed else self.read_timeout_error()
        reason = str(cause) or type(cause).__name__
        if isinstance(cause, httpx.ConnectError | httpx.ProxyError):
            text = f"no connection to {self._host}{build_connection_hint(self._base_url)}: {reason}"
        elif self.request_id is None and not frame_received:
            text = f"the connection to {self._host} was lost before a reply came: {reason}"
        else:
            text = f"the connection to {self._host} was lost before the answer was complete: {reason}"
            return errors.BailianStreamError(text, request_id=self.request_id)
        return errors.BailianConnectionError(text)

    def redirect_error(self, target: str, status: int) -> errors.BailianConnectionError:
        """Return the error for a reply that points elsewhere."""
        text = f"{self._host} redirects to {target}, which is not followed: check `base_url`"
        return errors.BailianConnectionError(text, status_code=status, request_id=self.request_id)

    def read_timeout_error(self) -> errors.BailianTimeoutError:
        """Return the error for a service that says nothing."""
        return self._timeout_error(
            f"{self._host} was silent for {self._fields.timeout:g} s (`timeout`)"
        )

    def total_timeout_error(self) -> errors.BailianTimeoutError:
        """Return the error for an answer that takes too long."""
        return self._timeout_error(
            f"the answer took longer than {self._fields.total_timeout:g} s (`total_timeout`)"
        )

    def protocol_error(self, problem: str) -> errors.BailianStreamError:
        """Return the error for an invalid reply; `problem` says what the host did."""
        return errors.BailianStreamError(f"{self._host} {problem}", request_id=self.request_id)

    def _timeout_error(self, text: str) -> errors.BailianTimeoutError:
        return errors.BailianTimeoutError(text, request_id=self.request_id)
