"""The ASGI application: reads and records a request, checks the key, and finds the endpoint.

Turns every refusal into its reply, so that no endpoint has to.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from langchain_bailian_app.emulator.errors import RequestRefused, refuse
from langchain_bailian_app.emulator.exchanges import Exchange
from langchain_bailian_app.emulator.records import RecordedRequest, record_of

logger = logging.getLogger("langchain_bailian_app.emulator")

Endpoint: TypeAlias = Callable[[Exchange, str], Awaitable[None]]


@dataclass(eq=False)
class Gateway:
    """What all routes share."""

    api_key: str
    requests: list[RecordedRequest]
    drop: Callable[[tuple[str, int]], None]

    def router(self, completion: Endpoint) -> Router:
        """The routes of the service; any other path is `NotFound`."""
        route = Route(
            "/api/v1/apps/{app_id}/completion",
            _Served(self, completion),
            methods=["POST"],
        )
        return Router([route], default=_Served(self, _not_found), redirect_slashes=False)

    def check_key(self, exchange: Exchange) -> None:
        """Refuse a wrong or missing key.

        Raises:
            RequestRefused: The key is not the emulator's.
        """
        given = exchange.headers.get("authorization", "")
        if not given:
            refuse("InvalidApiKey", "No API-key provided.")
        if given != f"Bearer {self.api_key}":
            refuse("InvalidApiKey")


@dataclass(eq=False)
class _Served:
    """An endpoint as an ASGI application."""

    gateway: Gateway
    endpoint: Endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            content = await request.body()
        except ClientDisconnect:
            return
        app_id = scope.get("path_params", {}).get("app_id")
        headers = request.headers.items()
        record = record_of(request.method, request.url.path, headers, content, app_id)
        self.gateway.requests.append(record)
        client: tuple[str, int] = scope["client"]
        exchange = Exchange(
            record, dict(headers), content, receive, send, lambda: self.gateway.drop(client)
        )
        try:
            self.gateway.check_key(exchange)
            await self.endpoint(exchange, app_id or "")
        except RequestRefused as refused:
            await exchange.refuse(refused.reply)
        finally:
            fate = "finished" if record.finished else "client gone"
            logger.info(
                "%s %s -> %s, %d frame(s), %s",
                record.method,
                record.path,
                record.status,
                record.frames_sent,
                fate,
            )


async def _not_found(_exchange: Exchange, _app_id: str) -> None:
    refuse("NotFound")
