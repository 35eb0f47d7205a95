"""Client for the routes of a workspace: session files, memory libraries, knowledge services.

Most of these routes exist only on the workspace's own host. Requests, retries, timeouts and errors are
those of `Transport`. A response whose body reports a failure raises an error, whatever its HTTP status.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._transport.credentials import resolve_connection
from langchain_bailian_app._transport.transport import Transport

if TYPE_CHECKING:
    from langchain_bailian_app._answer.frames import Frame
    from langchain_bailian_app._request.service_request import ServiceRequest
    from langchain_bailian_app._settings.connection import ConnectionFields
    from langchain_bailian_app._transport.credentials import Connection
    from langchain_bailian_app._transport.request_state import OnSend


@dataclass(frozen=True, slots=True)
class WorkspaceReply:
    """Body of a successful response. `repr` omits the fields, which may contain signed URLs."""

    fields: dict[str, Any] = field(repr=False)
    """Fields of the body, without the request id, and without a code and a message of success."""

    request_id: str | None
    """Id of the request, which the service sends as `request_id` or `requestId`."""

    @property
    def data(self) -> dict[str, Any]:
        """The object in the field `data`; empty if there is none."""
        data = self.fields.get("data")
        return data if isinstance(data, dict) else {}


class WorkspaceClient:
    """Sends requests to the host of a workspace; cheap to create and safe to share.

    Args:
        fields: Settings of the connection. A base URL that is set there, in the environment or in
            dashscope's configuration takes precedence over the host of the workspace. The field
            `gateway` has no effect.
        connection: The connection to use instead, for routes that the shared host has too.
    """

    def __init__(self, fields: ConnectionFields, connection: Connection | None = None) -> None:
        self._fields = fields
        self._connection = connection

    def call(self, request: ServiceRequest, on_send: OnSend | None = None) -> WorkspaceReply:
        """Send a request and return its response, which is not a stream; see `Transport.stream`.

        Raises:
            ValueError: The workspace or the API key is missing or invalid; nothing was sent.
            BailianError: The request failed.
        """
        return _reply_from_frame(self.create_transport().fetch(request, on_send))

    async def acall(self, request: ServiceRequest, on_send: OnSend | None = None) -> WorkspaceReply:
        """Async version of `call`."""
        return _reply_from_frame(await self.create_transport().afetch(request, on_send))

    def create_transport(self) -> Transport:
        """Return the transport for a request whose response is a stream.

        Raises:
            ValueError: The workspace or the API key is missing or invalid.
        """
        connection = self._connection or resolve_connection(self._fields, requires_workspace_host=True)
        return Transport(self._fields, connection)


def _reply_from_frame(frame: Frame) -> WorkspaceReply:
    fields = dict(frame.extra)
    if frame.usage is not None:
        fields["usage"] = frame.usage
    request_id = fields.pop("requestId", None)
    return WorkspaceReply(fields, frame.request_id or (None if request_id is None else str(request_id)))
