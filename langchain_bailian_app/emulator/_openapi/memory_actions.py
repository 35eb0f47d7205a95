"""Actions for long-term memories and their nodes. Applications recall the same memories.

Unlike replies to file actions, these replies have no envelope, and their keys start with a lower-case
letter.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.routing import Route

from langchain_bailian_app.emulator._http.errors import refuse
from langchain_bailian_app.emulator._openapi.endpoint import (
    OpenApiRequest,
    OpenApiRouter,
    parse_count,
)
from langchain_bailian_app.emulator._state.memories import MemoryStore, StoredMemory

_DESCRIPTION_PATTERN = re.compile(r"[\w:.-]{1,50}")
_MAX_CONTENT_CHARS = 200
_DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE = 10, 50


class MemoryActions:
    """Actions on a store of long-term memories."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def build_routes(self, router: OpenApiRouter) -> list[Route]:
        """Build the routes of the actions."""
        memories_path, memory_path = "/{workspace}/memories", "/{workspace}/memories/{memory_id}"
        nodes_path, node_path = f"{memory_path}/memoryNodes", f"{memory_path}/memoryNodes/{{node_id}}"
        actions = [
            ("POST", memories_path, self._create_memory),
            ("GET", memories_path, self._list_memories),
            ("GET", memory_path, self._get_memory),
            ("PUT", memory_path, self._update_memory),
            ("DELETE", memory_path, self._delete_memory),
            ("POST", nodes_path, self._create_node),
            ("GET", nodes_path, self._list_nodes),
            ("GET", node_path, self._get_node),
            ("PUT", node_path, self._update_node),
            ("DELETE", node_path, self._delete_node),
        ]
        return [
            router.route(method, path, handler, request_id_key="requestId")
            for method, path, handler in actions
        ]

    def _create_memory(self, request: OpenApiRequest) -> dict[str, Any]:
        return {"memoryId": self._store.create_memory(_read_description(request)).memory_id}

    def _list_memories(self, request: OpenApiRequest) -> dict[str, Any]:
        memories = [
            {"memoryId": memory.memory_id, "description": memory.description}
            for memory in list(self._store.memories.values())
        ]
        page = _paginate("memories", memories, request.parameters)
        return page | {"workspaceId": request.path_params["workspace"]}

    def _get_memory(self, request: OpenApiRequest) -> dict[str, Any]:
        memory = self._find_memory(request)
        return {
            "memoryId": memory.memory_id,
            "description": memory.description,
            "workspaceId": request.path_params["workspace"],
        }

    def _update_memory(self, request: OpenApiRequest) -> dict[str, Any]:
        self._find_memory(request).description = _read_description(request)
        return {}

    def _delete_memory(self, request: OpenApiRequest) -> dict[str, Any]:
        del self._store.memories[self._find_memory(request).memory_id]
        return {}

    def _create_node(self, request: OpenApiRequest) -> dict[str, Any]:
        return {
            "memoryNodeId": self._store.put_node(self._find_memory(request), _read_content(request))
        }

    def _list_nodes(self, request: OpenApiRequest) -> dict[str, Any]:
        nodes = [
            {"memoryNodeId": node_id, "content": fact}
            for node_id, (_, fact) in self._find_memory(request).nodes.items()
        ]
        return _paginate("memoryNodes", nodes, request.parameters)

    def _get_node(self, request: OpenApiRequest) -> dict[str, Any]:
        memory, node_id = self._find_node(request)
        return {
            "memoryId": memory.memory_id,
            "memoryNodeId": node_id,
            "content": memory.nodes[node_id][1],
            "workspaceId": request.path_params["workspace"],
        }

    def _update_node(self, request: OpenApiRequest) -> dict[str, Any]:
        memory, node_id = self._find_node(request)
        self._store.put_node(memory, _read_content(request), node_id)
        return {}

    def _delete_node(self, request: OpenApiRequest) -> dict[str, Any]:
        memory, node_id = self._find_node(request)
        del memory.nodes[node_id]
        return {}

    def _find_memory(self, request: OpenApiRequest) -> StoredMemory:
        memory = self._store.memories.get(request.path_params["memory_id"])
        if memory is None:
            refuse("NotFound", f"The memory {request.path_params['memory_id']} does not exist.")
        return memory

    def _find_node(self, request: OpenApiRequest) -> tuple[StoredMemory, str]:
        memory, node_id = self._find_memory(request), request.path_params["node_id"]
        if node_id not in memory.nodes:
            refuse("NotFound", f"The memory node {node_id} does not exist.")
        return memory, node_id


def _read_description(request: OpenApiRequest) -> str:
    description = request.parameters.get("description", "")
    if description and not _DESCRIPTION_PATTERN.fullmatch(description):
        refuse("InvalidParameter", "description must have 1 to 50 letters, digits, or : _ . -")
    return description


def _read_content(request: OpenApiRequest) -> str:
    content = request.parameters.get("content", "")
    if not 0 < len(content) <= _MAX_CONTENT_CHARS:
        refuse("InvalidParameter", f"content must have 1 to {_MAX_CONTENT_CHARS} characters.")
    return content


def _paginate(name: str, items: Sequence[Any], params: Mapping[str, str]) -> dict[str, Any]:
    size = parse_count(params.get("maxResults", str(_DEFAULT_PAGE_SIZE)))
    start = parse_count(params.get("nextToken", "0"))
    if not 0 < size <= _MAX_PAGE_SIZE or start < 0:
        refuse("InvalidParameter", f"maxResults must be between 1 and {_MAX_PAGE_SIZE}.")
    end = start + size
    page = {name: items[start:end], "maxResults": size, "totalCount": len(items)}
    return page | ({"nextToken": str(end)} if end < len(items) else {})
