"""Bailian's OpenAPI 2023-12-29, as the official client calls it: session files and long-term memory.

Paths, methods and where parameters stand are those of the client; signatures are accepted as they are.
How the service words its refusals no source says.
"""

import json
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from langchain_bailian_app.emulator._http.errors import ErrorReply, RequestRefused
from langchain_bailian_app.emulator._http.exchange import JSON, Exchange, received
from langchain_bailian_app.emulator._http.recorder import RecordedRequest

logger = logging.getLogger("langchain_bailian_app.emulator")

_FORM = "application/x-www-form-urlencoded"
_DIALECT = "ACS3-HMAC-SHA256 "


@dataclass(frozen=True)
class OpenApiCall:
    """A request, read: what stands in its path, and its parameters from the query or the form."""

    ids: Mapping[str, str]
    parameters: Mapping[str, str]
    host: str
    """Where the client reached the emulator, for URLs that lead back to it."""


class ReplyLost(Exception):  # noqa: N818 - what it stands for happens to the client
    """Raised when all is done, and the client is not to hear of it."""


Action: TypeAlias = Callable[[OpenApiCall], dict[str, Any]]
"""Makes the reply to a call, without the id of the request."""


@dataclass(eq=False)
class OpenApi:
    """What all actions share: the AccessKey, the records, and the way back."""

    access_key_id: str
    requests: list[RecordedRequest]
    drop: Callable[[tuple[str, int]], None]

    def route(self, method: str, path: str, action: Action, *, request_id: str = "RequestId") -> Route:
        """Serve an action; `request_id` is what its replies call the id of the request."""
        return Route(path, _Served(self, action, request_id), methods=[method])

    def check_signed(self, exchange: Exchange) -> None:
        """Refuse a request that no AccessKey has signed, or another one.

        Raises:
            RequestRefused: It is so.
        """
        given = exchange.headers.get("authorization", "")
        if not given.startswith(_DIALECT):
            raise RequestRefused(ErrorReply(400, "MissingAuthorization", "The request is not signed."))
        if f"Credential={self.access_key_id}," not in given:
            message = "Specified access key is not found."
            raise RequestRefused(ErrorReply(404, "InvalidAccessKeyId.NotFound", message))


@dataclass(eq=False)
class _Served:
    """An action as an ASGI application."""

    openapi: OpenApi
    action: Action
    request_id: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = await received(
            scope, receive, send, requests=self.openapi.requests, drop=self.openapi.drop
        )
        if exchange is None:
            return
        record, headers = exchange.record, exchange.headers
        is_form = headers.get("content-type") == _FORM
        form = dict(parse_qsl(exchange.content.decode())) if is_form else {}
        record.body = dict(form)
        query = Request(scope).query_params
        call = OpenApiCall(scope.get("path_params", {}), {**query, **form}, headers.get("host", ""))
        await self._answer(exchange, call)
        logger.info("%s %s -> %s", record.method, record.path, record.status)

    async def _answer(self, exchange: Exchange, call: OpenApiCall) -> None:
        request_id = str(uuid.uuid4()).upper()
        headers: dict[str, str] = {}
        try:
            self.openapi.check_signed(exchange)
            status, payload = 200, {self.request_id: request_id, **self.action(call)}
        except RequestRefused as refused:
            reply = refused.reply
            status, headers = reply.status, dict(reply.headers)
            payload = {
                "RequestId": request_id,
                "Code": reply.code,
                "Message": reply.message,
                "HostId": call.host,
            }
        except ReplyLost:
            await exchange.hang_up()
            return
        content = json.dumps(payload, ensure_ascii=False).encode()
        headers |= {"content-type": f"{JSON};charset=utf-8", "content-length": str(len(content))}
        await exchange.write(status, headers, [content])
