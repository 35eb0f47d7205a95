"""`BailianMemoryRetriever` and `BailianMemoryTool`: memories of a user as documents and as a tool."""

from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig, ensure_config
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field

from langchain_bailian_app.memory._library import BailianMemoryLibrary
from langchain_bailian_app.memory._records import LibraryNode
from langchain_bailian_app.memory._user_memory import check_user_id, user_id_from_configurable

_NODE_FIELDS = ("score", "memory_type", "project_id", "timestamp", "created_at", "updated_at")


class BailianMemoryRetriever(BaseRetriever):
    """Retriever for the memories of one user in a memory library.

    The user is `configurable.user_id` in the config of a call, or the argument `user_id`. A call
    without one is an error: it would search a memory that all users share.

    Instantiate:
        ```python
        from langchain_bailian_app.memory import BailianMemoryLibrary, BailianMemoryRetriever

        retriever = BailianMemoryRetriever(library=BailianMemoryLibrary(), k=5)
        ```

    Usage:
        ```python
        documents = retriever.invoke("周末做什么？", {"configurable": {"user_id": "xiaoming"}})
        tool = retriever.create_tool()  # for an agent
        ```

    Documents:
        `page_content` is the fact, and `id` is the id of the node. `metadata` contains `score`,
        `memory_type`, `project_id`, the times, and your own `meta_data`.

    Raises:
        ValueError: The user id is missing or invalid; nothing was sent.
        BailianError: The search failed.
    """

    library: BailianMemoryLibrary = Field(default_factory=BailianMemoryLibrary)
    """The memory library. Default: the default library of the account."""

    k: int | None = Field(default=None, ge=1, le=100)
    """Maximum number of documents. Default of the service: 10."""

    min_score: float | None = Field(default=None, ge=0, le=1)
    """Minimum score, from 0 to 1. Default of the service: 0.3."""

    project_id: str | None = None
    """Rule whose memories are searched. Default: the default rule for facts."""

    def invoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        return super().invoke(input, config, **self._add_user(config, kwargs))

    async def ainvoke(
        self, input: str, config: RunnableConfig | None = None, **kwargs: Any
    ) -> list[Document]:
        return await super().ainvoke(input, config, **self._add_user(config, kwargs))

    def _get_relevant_documents(  # type: ignore[override]  # `_add_user` adds the user id
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002  # LangChain passes it
        user_id: str,
    ) -> list[Document]:
        found = self.library.search(user_id, query, **self._build_options())
        return [_document_from_node(node) for node in found.nodes]

    async def _aget_relevant_documents(  # type: ignore[override]  # as above
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,  # noqa: ARG002  # as above
        user_id: str,
    ) -> list[Document]:
        found = await self.library.asearch(user_id, query, **self._build_options())
        return [_document_from_node(node) for node in found.nodes]

    def create_tool(
        self,
        name: str = "recall_memories",
        description: str = "Recalls facts about the user, from earlier conversations.",
    ) -> "BailianMemoryTool":
        """Return a tool with which an agent recalls memories of its user."""
        return BailianMemoryTool(name=name, description=description, retriever=self)

    def _add_user(self, config: RunnableConfig | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        if kwargs.get("user_id") is not None:
            return kwargs | {"user_id": check_user_id(kwargs["user_id"])}
        return kwargs | {
            "user_id": user_id_from_configurable(ensure_config(config).get("configurable"))
        }

    def _build_options(self) -> Any:
        options = {"top_k": self.k, "min_score": self.min_score, "project_id": self.project_id}
        return {name: value for name, value in options.items() if value is not None}


class _MemoryQuery(BaseModel):
    """Arguments of the tool."""

    query: str = Field(description="What to recall, as a short question")


class BailianMemoryTool(BaseTool):
    """Tool that recalls memories of the user in `configurable.user_id`; see `BailianMemoryRetriever`.

    The calling model cannot choose the user.
    """

    retriever: BailianMemoryRetriever
    args_schema: type[BaseModel] = _MemoryQuery
    response_format: str = "content_and_artifact"  # type: ignore[assignment]

    def _run(self, query: str, config: RunnableConfig) -> tuple[str, list[Document]]:
        return _format_result(self.retriever.invoke(query, config))

    async def _arun(self, query: str, config: RunnableConfig) -> tuple[str, list[Document]]:
        return _format_result(await self.retriever.ainvoke(query, config))


def _format_result(documents: list[Document]) -> tuple[str, list[Document]]:
    text = "\n".join(f"- {document.page_content}" for document in documents)
    return text or "No memories found.", documents


def _document_from_node(node: LibraryNode) -> Document:
    fields = {name: getattr(node, name) for name in _NODE_FIELDS}
    metadata = {**node.meta_data, **{n: value for n, value in fields.items() if value is not None}}
    return Document(node.content, id=node.id, metadata=metadata)
