"""`BailianMemory`, the client for the older kind of long-term memory, 长期记忆（旧）.

Usually, each user has one memory.
"""

import asyncio
import re
import time
from typing import Any, NamedTuple

from pydantic import Field, PrivateAttr

from langchain_bailian_app._settings.openapi import OpenApiFields
from langchain_bailian_app._transport.openapi_client import OpenApiClient
from langchain_bailian_app.errors import (
    BailianConnectionError,
    BailianError,
    BailianNotFoundError,
    BailianRateLimitError,
    BailianServerError,
    BailianTimeoutError,
)

_DESCRIPTION_PATTERN = re.compile(r"[\w:.-]{1,50}")
_MAX_CONTENT_CHARS = 200
_PAGE_SIZE = 50
_PATH_IDS = ("workspace_id", "memory_id", "node_id")
_MAX_RETRY_DELAY = 4.0
_RETRYABLE_ERRORS = (BailianServerError, BailianConnectionError, BailianTimeoutError)


class Memory(NamedTuple):
    """A long-term memory."""

    id: str
    """Id to pass to an application as `memory_id`."""

    description: str
    """Description of the memory, or an empty string."""


class MemoryNode(NamedTuple):
    """A fact in a memory."""

    id: str
    content: str


class BailianMemory(OpenApiFields):
    """Client that creates, lists, reads, updates and deletes memories and the facts (nodes) in them.

    These are the older memories, 长期记忆（旧）, which an application uses by their `memory_id`. For
    any other model, and for searches and profiles of users, use `BailianMemoryLibrary`.

    If 长期记忆 (long-term memory) is turned on for an application, the application stores facts
    automatically, about a minute after a user mentions them. The facts do not expire. They are stored
    in the memory that the call specifies. Without a `memory_id`, all users share the memory of the
    application (memory page).

    Any number of threads and event loops can share one object. Requests are retried after transient
    errors. `create` and `add_node` are retried only if the service rejected the request without running
    it. A method that receives an invalid id raises `ValueError` and sends nothing.

    Setup:
        ```bash
        pip install 'langchain-bailian-app[openapi]'  # you also need an AccessKey:
        export ALIBABA_CLOUD_ACCESS_KEY_ID=... ALIBABA_CLOUD_ACCESS_KEY_SECRET=...
        ```

    Instantiate:
        ```python
        from langchain_bailian_app import BailianAppChatModel
        from langchain_bailian_app.memory import BailianMemory

        memory = BailianMemory()  # or workspace_id="…"; default: DASHSCOPE_WORKSPACE
        ```

    Use:
        ```python
        mine = memory.create("xiaoming")  # async: `await memory.acreate(…)`, and so on
        memory.add_node(mine.id, "用户喜欢吃面食。")
        model = BailianAppChatModel(memory_ids={"xiaoming": mine.id})
        model.invoke("推荐一家餐厅", {"configurable": {"user_id": "xiaoming"}})
        ```
    """

    max_retries: int = Field(default=3, ge=0)
    """Maximum number of retries of a request."""

    _api: OpenApiClient = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Prepare the connection, without creating a client or sending anything."""
        super().model_post_init(context)
        self._api = OpenApiClient(self)

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        self.model_post_init(None)

    def create(self, description: str = "") -> Memory:
        """Create a memory.

        Args:
            description: Optional description, 1 to 50 letters, digits or `:_.-` (OpenAPI).

        Raises:
            ValueError: The description is invalid; nothing was sent.
            BailianError: The request failed. If its response was lost, the memory may still exist.
        """
        _check_description(description)
        body = self._call("create_memory", description=description or None, non_idempotent=True)
        return Memory(_require_id(body, body.memory_id), description)

    def memories(self) -> list[Memory]:
        """Return all memories of the workspace.

        Raises:
            BailianError: The request failed.
        """
        items = self._list_all("list_memories", "memories")
        return [Memory(item.memory_id, item.description or "") for item in items]

    def get(self, memory_id: str) -> Memory:
        """Return a memory.

        Raises:
            BailianNotFoundError: No memory has this id.
        """
        body = self._call("get_memory", memory_id)
        return Memory(memory_id, body.description or "")

    def update(self, memory_id: str, description: str) -> Memory:
        """Change the description of a memory.

        Raises:
            ValueError: The description is invalid (see `create`); nothing was sent.
            BailianNotFoundError: No memory has this id.
        """
        _check_description(description)
        self._call("update_memory", memory_id, description=description)
        return Memory(memory_id, description)

    def delete(self, memory_id: str) -> None:
        """Delete a memory and all facts in it.

        Raises:
            BailianNotFoundError: No memory has this id.
        """
        self._call("delete_memory", memory_id)

    def add_node(self, memory_id: str, content: str) -> MemoryNode:
        """Add a fact to a memory.

        Args:
            memory_id: Id of the memory.
            content: The fact, 1 to 200 characters (OpenAPI).

        Raises:
            ValueError: The content is empty or too long; nothing was sent.
            BailianNotFoundError: No memory has this id.
            BailianError: The request failed. If its response was lost, the fact may still exist.
        """
        _check_content(content)
        body = self._call("create_memory_node", memory_id, content=content, non_idempotent=True)
        return MemoryNode(_require_id(body, body.memory_node_id), content)

    def nodes(self, memory_id: str) -> list[MemoryNode]:
        """Return all facts in a memory.

        Raises:
            BailianNotFoundError: No memory has this id.
        """
        items = self._list_all("list_memory_nodes", "memory_nodes", memory_id)
        return [MemoryNode(item.memory_node_id, item.content or "") for item in items]

    def get_node(self, memory_id: str, node_id: str) -> MemoryNode:
        """Return a fact.

        Raises:
            BailianNotFoundError: No memory or fact has this id.
        """
        body = self._call("get_memory_node", memory_id, node_id)
        return MemoryNode(node_id, body.content or "")

    def update_node(self, memory_id: str, node_id: str, content: str) -> MemoryNode:
        """Replace the content of a fact.

        Raises:
            ValueError: The content is empty or too long; nothing was sent.
            BailianNotFoundError: No memory or fact has this id.
        """
        _check_content(content)
        self._call("update_memory_node", memory_id, node_id, content=content)
        return MemoryNode(node_id, content)

    def delete_node(self, memory_id: str, node_id: str) -> None:
        """Delete a fact.

        Raises:
            BailianNotFoundError: No memory or fact has this id.
        """
        self._call("delete_memory_node", memory_id, node_id)

    # The asynchronous methods of the official client block the event loop while they create a TLS
    # context for each request; see `_transport.openapi_client`.

    async def acreate(self, description: str = "") -> Memory:
        """Async version of `create`."""
        return await asyncio.to_thread(self.create, description)

    async def amemories(self) -> list[Memory]:
        """Async version of `memories`."""
        return await asyncio.to_thread(self.memories)

    async def aget(self, memory_id: str) -> Memory:
        """Async version of `get`."""
        return await asyncio.to_thread(self.get, memory_id)

    async def aupdate(self, memory_id: str, description: str) -> Memory:
        """Async version of `update`."""
        return await asyncio.to_thread(self.update, memory_id, description)

    async def adelete(self, memory_id: str) -> None:
        """Async version of `delete`."""
        await asyncio.to_thread(self.delete, memory_id)

    async def aadd_node(self, memory_id: str, content: str) -> MemoryNode:
        """Async version of `add_node`."""
        return await asyncio.to_thread(self.add_node, memory_id, content)

    async def anodes(self, memory_id: str) -> list[MemoryNode]:
        """Async version of `nodes`."""
        return await asyncio.to_thread(self.nodes, memory_id)

    async def aget_node(self, memory_id: str, node_id: str) -> MemoryNode:
        """Async version of `get_node`."""
        return await asyncio.to_thread(self.get_node, memory_id, node_id)

    async def aupdate_node(self, memory_id: str, node_id: str, content: str) -> MemoryNode:
        """Async version of `update_node`."""
        return await asyncio.to_thread(self.update_node, memory_id, node_id, content)

    async def adelete_node(self, memory_id: str, node_id: str) -> None:
        """Async version of `delete_node`."""
        await asyncio.to_thread(self.delete_node, memory_id, node_id)

    def _list_all(self, action: str, field: str, *path: str) -> list[Any]:
        items: list[Any] = []
        token = None
        while True:
            body = self._call(action, *path, max_results=_PAGE_SIZE, next_token=token)
            page = getattr(body, field) or []
            items += page
            # The last condition ends the loop if the service keeps returning the same page.
            if not page or not body.next_token or body.next_token == token:
                return items
            token = body.next_token

    def _call(self, action: str, *path: str, non_idempotent: bool = False, **parameters: Any) -> Any:
        """Send a request. Retry it only if its effect cannot occur twice.

        Raises:
            BailianError: The request failed.
        """
        ids = dict(zip(_PATH_IDS, (self.workspace_id, *path), strict=False))
        outcome_unknown = False
        for retry in range(self.max_retries + 1):
            try:
                return self._api.call(action, ids, **parameters)
            except BailianNotFoundError:
                if outcome_unknown and action.startswith("delete"):
                    return None  # deleted by the earlier request, whose response was lost
                raise
            except BailianError as exc:
                was_rejected = exc.is_retryable or isinstance(exc, BailianRateLimitError)
                can_retry = was_rejected or (not non_idempotent and isinstance(exc, _RETRYABLE_ERRORS))
                if not can_retry or retry == self.max_retries:
                    raise
                outcome_unknown |= not was_rejected
                delay = exc.retry_after
                time.sleep(min(_MAX_RETRY_DELAY, 0.25 * 2**retry) if delay is None else delay)
        raise AssertionError  # the last attempt returns or raises


def _require_id(body: Any, value: str | None) -> str:
    if not value:
        message = "the response does not contain the id of the created memory or fact"
        raise BailianServerError(message, request_id=body.request_id)
    return value


def _check_description(description: str) -> None:
    if description and not _DESCRIPTION_PATTERN.fullmatch(description):
        message = (
            "invalid `description`: expected 1 to 50 letters, digits or `:_.-`, "
            f"got {description[:60]!r}"
        )
        raise ValueError(message)


def _check_content(content: str) -> None:
    if not 0 < len(content) <= _MAX_CONTENT_CHARS:
        message = (
            f"invalid `content`: expected 1 to {_MAX_CONTENT_CHARS} characters, got {len(content)}"
        )
        raise ValueError(message)
