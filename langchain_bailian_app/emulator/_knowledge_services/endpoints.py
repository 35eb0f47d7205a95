"""Endpoints of knowledge services: search, the index route, and the two lists.

The routes exist only on the host of a workspace. Messages of errors are guesses, except where a page
shows them.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_bailian_app.emulator._apps.app import App, collect_knowledge_bases
from langchain_bailian_app.emulator._http.app import Endpoint
from langchain_bailian_app.emulator._http.errors import ErrorReply, RequestRefused, refuse
from langchain_bailian_app.emulator._http.exchange import HttpExchange
from langchain_bailian_app.emulator._http.fields import get_int, get_strings, get_typed
from langchain_bailian_app.emulator._knowledge.documents import Chunk
from langchain_bailian_app.emulator._knowledge.knowledge_base import Hit, KnowledgeBase, search
from langchain_bailian_app.emulator._knowledge_services.filters import Predicate, parse_service_filters
from langchain_bailian_app.emulator._knowledge_services.nodes import render_node
from langchain_bailian_app.emulator._knowledge_services.service import (
    KnowledgeService,
    KnowledgeSwitches,
)

_MAX_FILTER_BYTES = 80_000
_MAX_PAGE_SIZE = 100
_MAX_CANDIDATES = 100
_DEFAULT_NODES = 5
_UNAUTHORIZED = 401
_RATE_WINDOW = 10  # seconds
_NESTED_CODES = {
    "InvalidParameter": "INVALID_PARAMETER",
    "InvalidApiKey": "UNAUTHORIZED",
    "NotFound": "KB_NOT_FOUND",
    "Throttling": "RATE_LIMITED",
}


@dataclass
class KnowledgeServiceEndpoints:
    """The endpoints, for the services and knowledge bases of the emulator."""

    services: Sequence[KnowledgeService]
    switches: KnowledgeSwitches
    apps: Mapping[str, App]
    extra_knowledge: Sequence[KnowledgeBase]
    clock: Callable[[], float] = time.monotonic

    def by_route(self) -> dict[tuple[str, str], Endpoint]:
        """Return the endpoints by method and path."""
        return {
            ("POST", "/indices/knowledge/search"): self.wrap(self._search),
            ("POST", "/indices/rag/index/retrieve"): self.wrap(self._retrieve),
            ("POST", "/indices/rag/app/list"): self.wrap(self._list_services),
            ("GET", "/indices/rag/index/list"): self.wrap(self._list_knowledge_bases),
        }

    def wrap(self, handler: Callable[[HttpExchange], dict[str, Any]]) -> Endpoint:
        """Return an endpoint that sends the data of a handler, or its rejection, in an envelope."""

        async def respond(exchange: HttpExchange, _id: str) -> None:
            try:
                data = handler(exchange)
            except RequestRefused as refused:
                await exchange.send_error_body(*self.render_error(refused.reply, exchange.request_id))
                return
            envelope = {"code": "Success", "status_code": 200, "status": "SUCCESS", "success": True}
            await exchange.send_json(
                {**envelope, "message": "", "request_id": exchange.request_id, "data": data}
            )

        return respond

    def render_error(self, reply: ErrorReply, request_id: str) -> tuple[int, dict[str, Any]]:
        """Return the HTTP status and the body of an error."""
        status = reply.status
        if self.switches.error_shape == "nested":
            code = _NESTED_CODES.get(reply.code, reply.code)
            return status, {
                "error": {"code": code, "message": reply.message, "param": None},
                "request_id": request_id,
            }
        if status != _UNAUTHORIZED:
            status = self.switches.error_status if status == 400 else status  # noqa: PLR2004 - a bad request
        return status, {
            "code": reply.code,
            "status_code": reply.status,
            "status": "ERROR",
            "success": False,
            "message": reply.message,
            "request_id": request_id,
        }

    def find_service(self, body: Mapping[str, Any], scene: str) -> KnowledgeService:
        """Return the service that a request names.

        Raises:
            RequestRefused: There is no such service, or the version is not available.
        """
        self.check_rate()
        agent_id = get_typed(body, "agent_id", str)
        if not agent_id:
            refuse("InvalidParameter", "agent_id is required")
        service = next((s for s in self.services if s.agent_id == agent_id and s.scene == scene), None)
        version = body.get("agent_version")
        is_available = service is not None and (
            version == "beta"
            or (service.published and version in (None, service.version, str(service.version)))
        )
        if service is None or not is_available:
            code = self.switches.unpublished_code
            raise RequestRefused(ErrorReply(500, code, f"agent not found: {agent_id}"))
        return service

    def check_rate(self) -> None:
        """Reject a request above the rate limit.

        Raises:
            RequestRefused: There were too many requests in the last ten seconds.
        """
        limit, times, now = (
            self.switches.requests_per_10_seconds,
            self.switches.request_times,
            self.clock(),
        )
        times[:] = [moment for moment in times if now - moment < _RATE_WINDOW]
        if limit is not None and len(times) >= limit:
            refuse("Throttling")
        times.append(now)

    def search_service(
        self, service: KnowledgeService, query: str, configs: object = None
    ) -> list[tuple[Hit, KnowledgeBase]]:
        """Return the best hits in the knowledge bases of a service.

        Raises:
            RequestRefused: A filter is invalid.
        """
        filters = self._parse_configs(service, configs)
        hits = [
            (hit, knowledge_base)
            for knowledge_base in service.knowledge_bases
            for hit in search(
                [knowledge_base],
                query,
                filters.get(knowledge_base.pipeline_id, _accept_all),
                limit=_MAX_CANDIDATES,
            )
        ]
        hits.sort(key=lambda pair: -pair[0].score)
        return hits[: service.top_n]

    def _search(self, exchange: HttpExchange) -> dict[str, Any]:
        body = exchange.json()
        service = self.find_service(body, "search")
        if service.error is not None and service.error.take():
            raise RequestRefused(service.error)
        query, images = get_typed(body, "query", str) or "", get_strings(body, "images")
        if not query and not images:
            refuse("InvalidParameter", "query is required")
        # The emulator cannot see: it searches for the names of the image files.
        words = " ".join([query, *(url.rpartition("/")[2].rpartition(".")[0] for url in images)])
        start = time.monotonic()
        hits = self.search_service(service, words, body.get("kb_search_configs"))
        nodes = [render_node(hit, knowledge_base) for hit, knowledge_base in hits]
        cost_ms = round((time.monotonic() - start) * 1000)
        return {"total": len(nodes), "cost_time": cost_ms, "nodes": nodes}

    def _parse_configs(self, service: KnowledgeService, configs: object) -> dict[str, Predicate]:
        if configs is None:
            return {}
        if not isinstance(configs, list) or not all(isinstance(config, dict) for config in configs):
            refuse("InvalidParameter", "kb_search_configs must be a list")
        if len(str(configs).encode()) > _MAX_FILTER_BYTES * 2:
            refuse("InvalidParameter", "kb_search_configs is too large")
        bound = {kb.pipeline_id: kb for kb in service.knowledge_bases}
        filters: dict[str, Predicate] = {}
        for config in configs:
            knowledge_base_id = config.get("id")
            if knowledge_base_id not in bound:
                refuse("InvalidParameter", f"kb not bound to agent: {knowledge_base_id}")
            if knowledge_base_id in filters:
                refuse("InvalidParameter", f"duplicate kb: {knowledge_base_id}")
            filters[knowledge_base_id] = parse_service_filters(
                config.get("search_filters"),
                any_key=self.switches.filter_keys == "all" or bool(bound[knowledge_base_id].rows),
            )
        return filters

    def _retrieve(self, exchange: HttpExchange) -> dict[str, Any]:
        body = exchange.json()
        knowledge_base = self._knowledge_bases().get(get_typed(body, "index_id", str) or "")
        if knowledge_base is None:
            refuse("InvalidParameter", f"index not found: {body.get('index_id')}")
        query = get_typed(body, "query", str)
        if not query:
            refuse("InvalidParameter", "query is required")
        rerank_fields = [name for name in ("rerank", "rerank_top_n") if name in body]
        if rerank_fields and self.switches.rerank == "refused":
            refuse("InvalidParameter", f"unexpected field: {rerank_fields[0]}")
        limit = max(
            get_int(body, name, minimum=0, maximum=_MAX_CANDIDATES, default=_MAX_CANDIDATES)
            for name in ("dense_similarity_top_k", "sparse_similarity_top_k")
        )
        predicate = parse_service_filters(body.get("search_filters"), any_key=True)
        hits = search([knowledge_base], query, predicate, limit=limit)
        if self.switches.rerank == "honored" and body.get("enable_reranking") is not False:
            hits = hits[: get_int(body, "rerank_top_n", minimum=1, maximum=100, default=_DEFAULT_NODES)]
        nodes = [render_node(hit, knowledge_base) for hit in hits]
        return {"total": len(nodes), "nodes": nodes}

    def _list_services(self, exchange: HttpExchange) -> dict[str, Any]:
        body = exchange.json()
        scene = get_typed(body, "agent_scene", str)
        if scene not in ("chat", "search"):
            refuse("InvalidParameter", "agent_scene must be chat or search")
        status, name = body.get("agent_status"), body.get("agent_name") or ""
        services = [
            service
            for service in self.services
            if service.scene == scene
            and status in (None, _status_of(service))
            and name in service.name
            and body.get("agent_id") in (None, service.agent_id)
            and body.get("pipeline_id") in (None, *(kb.pipeline_id for kb in service.knowledge_bases))
        ]
        number = get_int(body, "page_number", minimum=1, maximum=10_000, default=1)
        size = get_int(body, "page_size", minimum=1, maximum=_MAX_PAGE_SIZE, default=10)
        return _page([_describe_service(service) for service in services], number, size)

    def _list_knowledge_bases(self, exchange: HttpExchange) -> dict[str, Any]:
        query = exchange.record.query
        name = query.get("pipeline_name", "")
        rows = [
            {
                "id": knowledge_base.pipeline_id,
                "name": knowledge_base.name,
                "description": "",
                "structureType": None,  # the service sends null, an acknowledged mistake
                "knowledgeType": None,
                "chunkSize": 500,
            }
            for knowledge_base in self._knowledge_bases().values()
            if name in knowledge_base.name
        ]
        numbers = {key: int(value) for key, value in query.items() if value.isdecimal()}
        number = get_int(numbers, "page_number", minimum=1, maximum=10_000, default=1)
        size = get_int(numbers, "page_size", minimum=1, maximum=_MAX_PAGE_SIZE, default=10)
        return _page(rows, number, size)

    def _knowledge_bases(self) -> dict[str, KnowledgeBase]:
        bound = [
            knowledge_base for service in self.services for knowledge_base in service.knowledge_bases
        ]
        return collect_knowledge_bases(self.apps, [*self.extra_knowledge, *bound])


def _accept_all(_: Chunk) -> bool:
    return True


def _status_of(service: KnowledgeService) -> str:
    return "deployed" if service.published else "draft"


def _describe_service(service: KnowledgeService) -> dict[str, Any]:
    return {
        "agent_id": service.agent_id,
        "agent_name": service.name,
        "agent_scene": service.scene,
        "agent_status": _status_of(service),
        "agent_version": str(service.version) if service.published else "beta",
        "create_time": "2026-11-01 10:00:00",
        "modify_time": "2026-11-02 10:00:00",
        "pipeline_list": [
            {"pipeline_id": knowledge_base.pipeline_id, "pipeline_name": knowledge_base.name}
            for knowledge_base in service.knowledge_bases
        ],
    }


def _page(rows: list[dict[str, Any]], number: int, size: int) -> dict[str, Any]:
    start = (number - 1) * size
    return {
        "page_number": number,
        "page_size": size,
        "total_count": len(rows),
        "rows": rows[start : start + size],
    }
