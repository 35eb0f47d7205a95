"""Lists of the knowledge services and knowledge bases of a workspace; they need only the API key.

The routes are on the host of the workspace. They are documented for Beijing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from langchain_bailian_app._request.service_request import ServiceRequest
from langchain_bailian_app._settings.connection import ConnectionFields
from langchain_bailian_app.errors import BailianServerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from langchain_bailian_app._transport.workspace_client import WorkspaceClient, WorkspaceReply

__all__ = [
    "KnowledgeBaseInfo",
    "KnowledgeBaseReference",
    "KnowledgeServiceInfo",
    "alist_knowledge_bases",
    "alist_knowledge_services",
    "list_knowledge_bases",
    "list_knowledge_services",
]

T = TypeVar("T", bound=BaseModel)

_SERVICES_PATH = "indices/rag/app/list"
_KNOWLEDGE_BASES_PATH = "indices/rag/index/list"
_PAGE_SIZE = 100  # the documented maximum

_Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else str(value))]


class _Entry(BaseModel):
    """Entry of a list; it keeps fields that this version does not know."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)


class KnowledgeBaseReference(_Entry):
    """A knowledge base that a service binds."""

    id: str = Field(alias="pipeline_id")
    """Id for `kb_search_configs` and for `BailianRetriever(pipeline_id=…)`."""

    name: _Text = Field(default="", alias="pipeline_name")


class KnowledgeServiceInfo(_Entry):
    """A knowledge service. The service calls it an agent; its id is not the id of an application."""

    agent_id: str
    """Id for `BailianRetriever(agent_id=…)` or `BailianKnowledgeChatModel(agent_id=…)`."""

    name: _Text = Field(default="", alias="agent_name")
    scene: _Text = Field(default="", alias="agent_scene")
    """`"search"` or `"chat"`."""

    status: _Text = Field(default="", alias="agent_status")
    """`"draft"`, `"deployed"`, `"edited"` (published, with later changes) or `"deleted"`."""

    version: _Text = Field(default="", alias="agent_version")
    knowledge_bases: list[KnowledgeBaseReference] = Field(default=[], alias="pipeline_list")


class KnowledgeBaseInfo(_Entry):
    """A knowledge base (知识库)."""

    id: str
    """Id for `BailianRetriever(pipeline_id=…)`."""

    name: _Text = ""
    description: _Text = ""


def list_knowledge_services(
    scene: Literal["search", "chat"],
    *,
    name: str | None = None,
    status: Literal["draft", "deployed", "deleted"] | None = None,
    pipeline_id: str | None = None,
    **connection: Any,
) -> Iterator[KnowledgeServiceInfo]:
    """Yield the knowledge services of a workspace, and request further pages as they are needed.

    Use:
        ```python
        from langchain_bailian_app.knowledge import list_knowledge_services

        for service in list_knowledge_services("search"):
            print(service.agent_id, service.name)
        ```

    Args:
        scene: Search services or chat services.
        name: Only services with this name.
        status: Only services with this status.
        pipeline_id: Only services that bind this knowledge base.
        connection: Settings of the connection, such as `api_key`, `workspace` and `base_url`. Defaults
            as in `BailianAppChatModel`.

    Raises:
        ValueError: An argument is invalid; nothing was sent.
        BailianError: A request failed; see `langchain_bailian_app.errors`.
    """
    client, filters = _prepare_services(scene, name, status, pipeline_id, connection)
    return _iterate(client, lambda page: _request_services(filters, page), KnowledgeServiceInfo)


def alist_knowledge_services(
    scene: Literal["search", "chat"],
    *,
    name: str | None = None,
    status: Literal["draft", "deployed", "deleted"] | None = None,
    pipeline_id: str | None = None,
    **connection: Any,
) -> AsyncIterator[KnowledgeServiceInfo]:
    """Async version of `list_knowledge_services`."""
    client, filters = _prepare_services(scene, name, status, pipeline_id, connection)
    return _aiterate(client, lambda page: _request_services(filters, page), KnowledgeServiceInfo)


def list_knowledge_bases(*, name: str | None = None, **connection: Any) -> Iterator[KnowledgeBaseInfo]:
    """Yield the knowledge bases of a workspace, and request further pages as they are needed.

    Use:
        ```python
        from langchain_bailian_app.knowledge import list_knowledge_bases

        for knowledge_base in list_knowledge_bases():
            print(knowledge_base.id, knowledge_base.name)
        ```

    Args:
        name: Only knowledge bases with this name.
        connection: Settings of the connection, as for `list_knowledge_services`.

    Raises:
        ValueError: An argument is invalid; nothing was sent.
        BailianError: A request failed; see `langchain_bailian_app.errors`.
    """
    client = _create_client(connection)
    return _iterate(client, lambda page: _request_knowledge_bases(name, page), KnowledgeBaseInfo)


def alist_knowledge_bases(
    *, name: str | None = None, **connection: Any
) -> AsyncIterator[KnowledgeBaseInfo]:
    """Async version of `list_knowledge_bases`."""
    client = _create_client(connection)
    return _aiterate(client, lambda page: _request_knowledge_bases(name, page), KnowledgeBaseInfo)


def _prepare_services(
    scene: str,
    name: str | None,
    status: str | None,
    pipeline_id: str | None,
    connection: dict[str, Any],
) -> tuple[WorkspaceClient, dict[str, Any]]:
    if scene not in ("search", "chat"):
        message = f"invalid `scene`: expected 'search' or 'chat', got {scene!r}"
        raise ValueError(message)
    if status not in (None, "draft", "deployed", "deleted"):
        message = f"invalid `status`: expected 'draft', 'deployed' or 'deleted', got {status!r}"
        raise ValueError(message)
    filters = {
        "agent_scene": scene,
        "agent_name": name,
        "agent_status": status,
        "pipeline_id": pipeline_id,
    }
    values = {key: value for key, value in filters.items() if value is not None}
    return _create_client(connection), values


def _create_client(connection: dict[str, Any]) -> WorkspaceClient:
    from langchain_bailian_app._transport.workspace_client import WorkspaceClient  # noqa: PLC0415

    if unknown := next(
        (name for name in connection if name not in ConnectionFields.model_fields), None
    ):
        message = f"unknown argument `{unknown}`: expected a setting of the connection"
        raise TypeError(message)
    return WorkspaceClient(ConnectionFields(**connection))


def _request_services(filters: dict[str, Any], page: int) -> ServiceRequest:
    return ServiceRequest(_SERVICES_PATH, filters | {"page_number": page, "page_size": _PAGE_SIZE})


def _request_knowledge_bases(name: str | None, page: int) -> ServiceRequest:
    params = {"page_number": str(page), "page_size": str(_PAGE_SIZE)}
    if name is not None:
        params["pipeline_name"] = name
    return ServiceRequest(_KNOWLEDGE_BASES_PATH, method="GET", params=params)


def _iterate(
    client: WorkspaceClient, build_request: Callable[[int], ServiceRequest], entry_class: type[T]
) -> Iterator[T]:
    count, page, is_last = 0, 1, False
    while not is_last:
        reply = client.call(build_request(page))
        rows = _read_rows(reply, entry_class)
        yield from rows
        count, page = count + len(rows), page + 1
        is_last = _is_last(reply, rows, count)


async def _aiterate(
    client: WorkspaceClient, build_request: Callable[[int], ServiceRequest], entry_class: type[T]
) -> AsyncIterator[T]:
    count, page, is_last = 0, 1, False
    while not is_last:
        reply = await client.acall(build_request(page))
        rows = _read_rows(reply, entry_class)
        for row in rows:
            yield row
        count, page = count + len(rows), page + 1
        is_last = _is_last(reply, rows, count)


def _read_rows(reply: WorkspaceReply, entry_class: type[T]) -> list[T]:
    rows = reply.data.get("rows")
    if rows is None:
        rows = []
    if not isinstance(rows, list):
        message = "invalid response: the list `data.rows` is missing"
        raise BailianServerError(message, request_id=reply.request_id, body=reply.fields)
    try:
        return [entry_class.model_validate(row) for row in rows]
    except ValueError as exc:
        message = f"invalid response: an entry is not a {entry_class.__name__}"
        raise BailianServerError(message, request_id=reply.request_id, body=reply.fields) from exc


def _is_last(reply: WorkspaceReply, rows: list[T], count: int) -> bool:
    """Return whether a page is the last one. Without a total, a page that is not full is the last."""
    total = reply.data.get("total_count")
    if isinstance(total, int):
        return not rows or count >= total
    return len(rows) < _PAGE_SIZE
