"""Endpoints of Bailian's OpenAPI 2023-12-29 for session files and long-term memory.

Paths, methods and positions of parameters are those of the official client. Signatures are accepted
without verification. The error messages are unverified: no source documents the service's messages.
"""

import json
import logging
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from langchain_bailian_app.emulator._http.errors import ErrorReply, RequestRefused
from langchain_bailian_app.emulator._http.exchange import JSON, HttpExchange, read_request
from langchain_bailian_app.emulator._http.recorder import RecordedRequest
from langchain_bailian_app.emulator._http.server_thread import FindConnection

logger = logging.getLogger("langchain_bailian_app.emulator")

_COUNT = re.compile(r"[0-9]{1,18}")
_FORM_CONTENT_TYPE = "application/x-www-form-urlencoded"
_SIGNATURE_SCHEME = "ACS3-HMAC-SHA256 "


@dataclass(frozen=True)
class OpenApiRequest:
    """A parsed request: its path parameters, and its query or form parameters."""

    path_params: Mapping[str, str]
    parameters: Mapping[str, str]
    host: str
    """Value of the `Host` header, for URLs at which the client can reach the emulator."""


def parse_count(text: str) -> int:
    """Return the number in a parameter, or -1 if it is not one or has more than 18 digits."""
    return int(text) if _COUNT.fullmatch(text) else -1


class ConnectionDropped(Exception):  # noqa: N818 - an outcome for the client, not an error of the emulator
    """Raised after an action has run, to drop the connection instead of sending a reply."""


ActionHandler: TypeAlias = Callable[[OpenApiRequest], dict[str, Any]]
"""Function that runs an action and returns the reply without the request id."""


@dataclass(eq=False)
class OpenApiRouter:
    """State shared by all actions: the AccessKey id, recorded requests and server connections."""

    access_key_id: str
    requests: list[RecordedRequest]
    find_connection: FindConnection

    def route(
        self, method: str, path: str, handler: ActionHandler, *, request_id_key: str = "RequestId"
    ) -> Route:
        """Build the route of an action; its replies contain the request id as `request_id_key`."""
        return Route(path, _ActionEndpoint(self, handler, request_id_key), methods=[method])

    def check_authorization(self, exchange: HttpExchange) -> None:
        """Check that a request is signed with the emulator's AccessKey.

        Raises:
            RequestRefused: The request is not signed, or is signed with another AccessKey.
        """
        authorization = exchange.headers.get("authorization", "")
        if not authorization.startswith(_SIGNATURE_SCHEME):
            raise RequestRefused(ErrorReply(400, "MissingAuthorization", "The request is not signed."))
        if f"Credential={self.access_key_id}," not in authorization:
            message = "Specified access key is not found."
            raise RequestRefused(ErrorReply(404, "InvalidAccessKeyId.NotFound", message))


@dataclass(eq=False)
class _ActionEndpoint:
    """An action as an ASGI application."""

    router: OpenApiRouter
    handler: ActionHandler
    request_id_key: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = await read_request(
            scope,
            receive,
            send,
            requests=self.router.requests,
            find_connection=self.router.find_connection,
        )
        if exchange is None:
            return
        record, headers = exchange.record, exchange.headers
        is_form = headers.get("content-type") == _FORM_CONTENT_TYPE
        # Bytes that are not UTF-8 become U+FFFD, as in the values that `parse_qsl` decodes.
        form = dict(parse_qsl(exchange.content.decode(errors="replace"))) if is_form else {}
        record.body = dict(form)
        query = Request(scope).query_params
        request = OpenApiRequest(
            scope.get("path_params", {}), {**query, **form}, headers.get("host", "")
        )
        await self._respond(exchange, request)
        logger.info("%s %s -> %s", record.method, record.path, record.status)

    async def _respond(self, exchange: HttpExchange, request: OpenApiRequest) -> None:
        request_id = str(uuid.uuid4()).upper()
        headers: dict[str, str] = {}
        try:
            self.router.check_authorization(exchange)
            status, payload = 200, {self.request_id_key: request_id, **self.handler(request)}
        except RequestRefused as exc:
            error = exc.reply
            status, headers = error.status, dict(error.headers)
            payload = {
                "RequestId": request_id,
                "Code": error.code,
                "Message": error.message,
                "HostId": request.host,
            }
        except ConnectionDropped:
            await exchange.abort()
            return
        content = json.dumps(payload, ensure_ascii=False).encode()
        headers |= {"content-type": f"{JSON};charset=utf-8", "content-length": str(len(content))}
        await exchange.send_chunks(status, headers, exchange.pace_chunks([content]))
