"""ASGI application of the emulator: reads and records a request, checks its key, calls the endpoint.

It also turns every `RequestRefused` into an error response, so that endpoints can just raise it.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from langchain_bailian_app.emulator._http.errors import ErrorReply, RequestRefused, refuse
from langchain_bailian_app.emulator._http.exchange import HttpExchange, read_request
from langchain_bailian_app.emulator._http.recorder import RecordedRequest
from langchain_bailian_app.emulator._http.server_thread import FindConnection

logger = logging.getLogger("langchain_bailian_app.emulator")

Endpoint: TypeAlias = Callable[[HttpExchange, str], Awaitable[None]]
"""Function that receives the exchange and the id in the path, or an empty string if there is no id."""


@dataclass(eq=False)
class Gateway:
    """State shared by all routes: the API key, the recorded requests, the server's connections."""

    api_key: str
    requests: list[RecordedRequest]
    find_connection: FindConnection

    def build_router(
        self,
        *,
        completion: Endpoint,
        retrieve: Endpoint,
        find_pipeline: Endpoint,
        v1_endpoints: Mapping[tuple[str, str], Endpoint],
        v2_endpoints: Mapping[tuple[str, str], Endpoint],
        extra_routes: Sequence[Route] = (),
    ) -> Router:
        """Build a router for the service's routes and `extra_routes`; other paths return `NotFound`.

        The keys of `v1_endpoints` and `v2_endpoints` are the method and the path below `/api/v1` or
        `/api/v2`.
        """
        routes = [
            self._route("POST", "/apps/{app_id}/completion", completion),
            self._route("POST", "/indices/pipeline/{pipeline_id}/retrieve", retrieve),
            self._route("GET", "/indices/pipeline_simple", find_pipeline),
            *(self._route(method, path, endpoint) for (method, path), endpoint in v1_endpoints.items()),
            *(
                self._route(method, path, endpoint, version="v2")
                for (method, path), endpoint in v2_endpoints.items()
            ),
            *extra_routes,
        ]
        return Router(routes, default=_AsgiEndpoint(self, _not_found), redirect_slashes=False)

    def _route(self, method: str, path: str, endpoint: Endpoint, *, version: str = "v1") -> Route:
        return Route(f"/api/{version}{path}", _AsgiEndpoint(self, endpoint), methods=[method])

    def check_api_key(self, exchange: HttpExchange) -> None:
        """Check the API key of a request.

        Raises:
            RequestRefused: The key is missing or wrong.
        """
        authorization = exchange.headers.get("authorization", "")
        if not authorization:
            refuse("InvalidApiKey", "No API-key provided.")
        if authorization != f"Bearer {self.api_key}":
            refuse("InvalidApiKey")


@dataclass(eq=False)
class _AsgiEndpoint:
    """An endpoint as an ASGI application."""

    gateway: Gateway
    endpoint: Endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = await read_request(
            scope,
            receive,
            send,
            requests=self.gateway.requests,
            find_connection=self.gateway.find_connection,
        )
        if exchange is None:
            return
        record, ids = exchange.record, scope.get("path_params", {})
        try:
            self.gateway.check_api_key(exchange)
            await self.endpoint(exchange, next(iter(ids.values()), ""))
        except RequestRefused as refused:
            await exchange.send_error(refused.reply)
        except RecursionError:
            # Values in the body, or in JSON text inside it, are nested too deeply to be processed.
            await exchange.send_error(ErrorReply.of("BadRequest.IllegalInput"))
        finally:
            outcome = "finished" if record.finished else "not finished"
            logger.info(
                "%s %s -> %s, %d frame(s), %s",
                record.method,
                record.path,
                record.status,
                record.frames_sent,
                outcome,
            )


async def _not_found(_exchange: HttpExchange, _id: str) -> None:
    refuse("NotFound")
