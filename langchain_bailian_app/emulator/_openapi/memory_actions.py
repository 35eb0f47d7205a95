"""The actions for long-term memories and the nodes in them: the same memories that apps recall.

Replies have no envelope here, and their keys begin with a small letter.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.routing import Route

from langchain_bailian_app.emulator._http.errors import refuse
from langchain_bailian_app.emulator._openapi.endpoint import OpenApi, OpenApiCall
from langchain_bailian_app.emulator._state.memories import Memory, MemoryStore

_DESCRIPTION = re.compile(r"[\w:.-]{1,50}")
_LONGEST_CONTENT = 200
_PAGE, _LARGEST_PAGE = 10, 50


class MemoryCalls:
    """Long-term memories over a store."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def routes(self, openapi: OpenApi) -> list[Route]:
        """The routes of the actions."""
        all_, one = "/{workspace}/memories", "/{workspace}/memories/{memory_id}"
        nodes, node = f"{one}/memoryNodes", f"{one}/memoryNodes/{{node_id}}"
        actions = [
            ("POST", all_, self._create),
            ("GET", all_, self._list),
            ("GET", one, self._get),
            ("PUT", one, self._update),
            ("DELETE", one, self._delete),
            ("POST", nodes, self._create_node),
            ("GET", nodes, self._list_nodes),
            ("GET", node, self._get_node),
            ("PUT", node, self._update_node),
            ("DELETE", node, self._delete_node),
        ]
        return [
            openapi.route(method, path, action, request_id="requestId")
            for method, path, action in actions
        ]

    def _create(self, call: OpenApiCall) -> dict[str, Any]:
        return {"memoryId": self._store.create(_description(call)).memory_id}

    def _list(self, call: OpenApiCall) -> dict[str, Any]:
        memories = [
            {"memoryId": memory.memory_id, "description": memory.description}
            for memory in list(self._store.memories.values())
        ]
        page = _paged("memories", memories, call.parameters)
        return page | {"workspaceId": call.ids["workspace"]}

    def _get(self, call: OpenApiCall) -> dict[str, Any]:
        memory = self._memory(call)
        return {
            "memoryId": memory.memory_id,
            "description": memory.description,
            "workspaceId": call.ids["workspace"],
        }

    def _update(self, call: OpenApiCall) -> dict[str, Any]:
        self._memory(call).description = _description(call)
        return {}

    def _delete(self, call: OpenApiCall) -> dict[str, Any]:
        del self._store.memories[self._memory(call).memory_id]
        return {}

    def _create_node(self, call: OpenApiCall) -> dict[str, Any]:
        return {"memoryNodeId": self._store.put(self._memory(call), _content(call))}

    def _list_nodes(self, call: OpenApiCall) -> dict[str, Any]:
        nodes = [
            {"memoryNodeId": node_id, "content": fact}
            for node_id, (_, fact) in self._memory(call).nodes.items()
        ]
        return _paged("memoryNodes", nodes, call.parameters)

    def _get_node(self, call: OpenApiCall) -> dict[str, Any]:
        memory, node_id = self._node(call)
        return {
            "memoryId": memory.memory_id,
            "memoryNodeId": node_id,
            "content": memory.nodes[node_id][1],
            "workspaceId": call.ids["workspace"],
        }

    def _update_node(self, call: OpenApiCall) -> dict[str, Any]:
        memory, node_id = self._node(call)
        self._store.put(memory, _content(call), node_id)
        return {}

    def _delete_node(self, call: OpenApiCall) -> dict[str, Any]:
        memory, node_id = self._node(call)
        del memory.nodes[node_id]
        return {}

    def _memory(self, call: OpenApiCall) -> Memory:
        memory = self._store.memories.get(call.ids["memory_id"])
        if memory is None:
            refuse("NotFound", f"The memory {call.ids['memory_id']} does not exist.")
        return memory

    def _node(self, call: OpenApiCall) -> tuple[Memory, str]:
        memory, node_id = self._memory(call), call.ids["node_id"]
        if node_id not in memory.nodes:
            refuse("NotFound", f"The memory node {node_id} does not exist.")
        return memory, node_id


def _description(call: OpenApiCall) -> str:
    description = call.parameters.get("description", "")
    if description and not _DESCRIPTION.fullmatch(description):
        refuse("InvalidParameter", "description must have 1 to 50 letters, digits, or : _ . -")
    return description


def _content(call: OpenApiCall) -> str:
    content = call.parameters.get("content", "")
    if not 0 < len(content) <= _LONGEST_CONTENT:
        refuse("InvalidParameter", f"content must have 1 to {_LONGEST_CONTENT} characters.")
    return content


def _paged(name: str, items: Sequence[Any], given: Mapping[str, str]) -> dict[str, Any]:
    size, start = given.get("maxResults", str(_PAGE)), given.get("nextToken", "0")
    if not size.isdecimal() or not 0 < int(size) <= _LARGEST_PAGE or not start.isdecimal():
        refuse("InvalidParameter", f"maxResults must be between 1 and {_LARGEST_PAGE}.")
    end = int(start) + int(size)
    page = {name: items[int(start) : end], "maxResults": int(size), "totalCount": len(items)}
    return page | ({"nextToken": str(end)} if end < len(items) else {})
