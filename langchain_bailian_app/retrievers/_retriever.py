"""`BailianRetriever`, which returns passages found by the service, as LangChain documents."""

import os
from contextlib import aclosing, closing
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from langchain_core.runnables import Runnable
from pydantic import Field, PrivateAttr, model_validator

from langchain_bailian_app._answer.answer import PROVIDER
from langchain_bailian_app._request.fields import CommonCompletionFields, wrap_secrets
from langchain_bailian_app._settings.connection import ConnectionFields, Id
from langchain_bailian_app._settings.signature import with_readable_signature
from langchain_bailian_app._transport.service_client_mixin import ServiceClientMixin
from langchain_bailian_app.chat_models._model import BailianAppChatModel
from langchain_bailian_app.retrievers._search_fields import SearchFields

if TYPE_CHECKING:
    from langchain_bailian_app._transport.transport import Transport
    from langchain_bailian_app.retrievers._queries import SearchQuery

_MAX_CACHED_IDS = 100
_TARGETS_WITHOUT_APPLICATION = ("agent_id", "pipeline_id", "pipeline_name")


@with_readable_signature
class BailianRetriever(ServiceClientMixin, SearchFields, BaseRetriever):
    """Retriever for Bailian knowledge bases (知识库): with an application, a service, or directly.

    Through an application (`app_id` or `model`), the retriever sends the query and closes the
    connection as soon as the application reports a retrieval step, without waiting for the answer. It
    is unverified whether the service then stops generating and billing. In a direct search
    (`pipeline_id` or `pipeline_name`), nothing is generated, and the retrieval settings in the
    application's console (rewriting, weights, prompt) do not apply. A search service (`agent_id`)
    searches several knowledge bases as set in its console, and generates nothing either.

    The retriever does not use a session. It uses long-term memory only if `memory_id` is given.

    Setup:
        ```bash
        pip install langchain-bailian-app
        export DASHSCOPE_API_KEY=... BAILIAN_APP_ID=...
        ```

    Instantiate:
        ```python
        from langchain_bailian_app import BailianAppChatModel, BailianRetriever, RagOptions

        retriever = BailianRetriever(rag_options=RagOptions(tags=["2025"]), k=3)  # or app_id="…"
        retriever = BailianRetriever(model=BailianAppChatModel())  # uses the settings of a chat model
        retriever = BailianRetriever(pipeline_id="customs001", rerank_min_score=0.3)
        retriever = BailianRetriever(agent_id="aid-customs")  # a search service
        ```

    Usage:
        ```python
        documents = retriever.invoke("什么是滞报金？")
        documents = retriever.invoke("什么是滞报金？", k=1)
        documents = await retriever.ainvoke("什么是滞报金？")
        ```

    Use within a chain:
        ```python
        from langchain_core.prompts import ChatPromptTemplate
        from langchain_core.runnables import RunnablePassthrough

        prompt = ChatPromptTemplate.from_template("资料：{context}。问题：{question}")
        inputs = {"context": retriever, "question": RunnablePassthrough()}
        message = (inputs | prompt | BailianAppChatModel()).invoke("什么是滞报金？")
        ```

    Documents:
        `page_content` is the text of the chunk without its header. `id` is the id of the chunk.
        `metadata` contains, where available, `source` (the URL of the document, otherwise its name or
        id), `title`, `score`, `doc_id`, `doc_name`, `doc_url`, `pipeline_id`, `reference_index` (number
        of the reference in the answer), `page_number` (a list), `images` (URLs that expire), `cited`
        (with `wait_for_answer`), and all other fields from the chunk's header and from the service,
        under their original names. If the document's own metadata has one of these names with another
        value, that value has the prefix `document_`, as in `document_title`.

        A search service also returns `videos` and `audios` (URLs that expire), `clip_start_ms`,
        `clip_end_ms` and `clip_description` of a part of a video (that the unit is milliseconds is
        inferred), and `speakers` (a list). A clip without text has its description as `page_content`.

    Duplicates:
        The same chunk has the same `id` in each search, but another `score`. So compare ids, not
        documents, to combine the results of several queries. For `index()` of LangChain, pass
        `key_encoder=lambda document: document.id`.
        ```python
        found = retriever.batch(["什么是滞报金？", "滞报金怎么计收？"])
        unique = {document.id: document for documents in found for document in documents}
        ```

    Raises:
        BailianError: The call failed; see `langchain_bailian_app.errors`.
        ValueError: An argument is invalid; nothing was sent.
    """

    app_id: Id | None = Field(
        default_factory=lambda: os.environ.get("BAILIAN_APP_ID") or None, validate_default=True
    )
    """Id of the application to query. Default: `BAILIAN_APP_ID`; None in a direct search, where the
    argument is an error unless it is the id in the environment."""

    model: BailianAppChatModel | None = Field(default=None, exclude=True, repr=False)
    """Chat model whose connection and settings apply unless they are set here."""

    _pipeline_ids: dict[Any, str] | None = PrivateAttr(default=None)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002  # LangChain passes it
        **kwargs: Any,
    ) -> list[Document]:
        options = self._merge_options(query, kwargs)
        transport = self._create_transport(requires_workspace_host=options.requires_workspace_host)
        search = self._create_search(query, options, self._resolve_pipeline_id(transport, options))
        with search.handle_errors(), closing(transport.stream(search.request)) as batches:
            for frames in batches:
                if any(map(search.feed, frames)):
                    break
            else:
                search.end()
        return search.documents()

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,  # noqa: ARG002  # as above
        **kwargs: Any,
    ) -> list[Document]:
        options = self._merge_options(query, kwargs)
        transport = self._create_transport(requires_workspace_host=options.requires_workspace_host)
        pipeline_id = await self._aresolve_pipeline_id(transport, options)
        search = self._create_search(query, options, pipeline_id)
        with search.handle_errors():
            async with aclosing(transport.astream(search.request)) as batches:
                async for frames in batches:
                    if any(map(search.feed, frames)):
                        break
                else:
                    search.end()
        return search.documents()

    def _merge_options(self, query: str, kwargs: dict[str, Any]) -> SearchFields:
        options = self.with_overrides(kwargs)
        if not isinstance(query, str) or not (query.strip() or options.images):
            message = f"invalid query: expected a non-blank string, got {query!r}"
            raise ValueError(message)
        return options

    def _resolve_pipeline_id(self, transport: "Transport", options: SearchFields) -> str | None:
        """Return the id of the knowledge base to search; None if the application searches."""
        from langchain_bailian_app.retrievers._queries import (
            build_lookup_request,
            pipeline_id_from_frame,
        )

        name, pipeline_id = options.pipeline_name, self._find_pipeline_id(options)
        if name is not None and pipeline_id is None:
            frame = transport.fetch(build_lookup_request(name))
            pipeline_id = pipeline_id_from_frame(frame, name)
            self._cache_pipeline_id(name, pipeline_id)
        return pipeline_id

    async def _aresolve_pipeline_id(self, transport: "Transport", options: SearchFields) -> str | None:
        """Async version of `_resolve_pipeline_id`."""
        from langchain_bailian_app.retrievers._queries import (
            build_lookup_request,
            pipeline_id_from_frame,
        )

        name, pipeline_id = options.pipeline_name, self._find_pipeline_id(options)
        if name is not None and pipeline_id is None:
            frame = await transport.afetch(build_lookup_request(name))
            pipeline_id = pipeline_id_from_frame(frame, name)
            self._cache_pipeline_id(name, pipeline_id)
        return pipeline_id

    def _find_pipeline_id(self, options: SearchFields) -> str | None:
        """Return the id that is set, or the id that is cached for the name, or None."""
        if options.pipeline_name is None:
            return options.pipeline_id
        return (self._pipeline_ids or {}).get(self._cache_key(options.pipeline_name))

    def _cache_pipeline_id(self, name: str, pipeline_id: str | None) -> None:
        """Cache the id of a knowledge base, or remove the entry if the id is None. Thread-safe."""
        key = self._cache_key(name)
        remaining = {
            cached_key: cached_id
            for cached_key, cached_id in (self._pipeline_ids or {}).items()
            if cached_key != key
        }
        if len(remaining) >= _MAX_CACHED_IDS:
            remaining = {}
        self._pipeline_ids = remaining | ({} if pipeline_id is None else {key: pipeline_id})

    def _cache_key(self, name: str) -> Any:
        return self._resolve_connection(), name

    def _create_search(
        self, query: str, options: SearchFields, pipeline_id: str | None
    ) -> "SearchQuery":
        from langchain_bailian_app.retrievers._queries import ApplicationQuery, PipelineQuery
        from langchain_bailian_app.retrievers._service_queries import (
            create_index_query,
            create_service_query,
        )

        if options.agent_id is not None:
            return create_service_query(options.agent_id, query, options)
        if options.kind == "index" and pipeline_id is not None:
            return create_index_query(pipeline_id, query, options)
        if pipeline_id is None:
            return ApplicationQuery(self.app_id or "", query, options)
        if options.pipeline_name is None:
            return PipelineQuery(pipeline_id, query, options)
        # If the knowledge base was deleted, another one may have its name now.
        evict = partial(self._cache_pipeline_id, options.pipeline_name, None)
        return PipelineQuery(pipeline_id, query, options, on_not_found=evict)

    def bind(self, **kwargs: Any) -> Runnable[str, list[Document]]:
        """Return a runnable that passes these keyword arguments to every call."""
        return super().bind(**wrap_secrets(kwargs))

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        return super()._get_ls_params(**kwargs) | {"ls_vector_store_provider": PROVIDER}

    @model_validator(mode="before")
    @classmethod
    def _copy_model_settings(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        is_direct = any(map(values.get, _TARGETS_WITHOUT_APPLICATION))
        if is_direct:
            _check_no_application(values)
            # Otherwise, a rebuilt or loaded object would get the id from the environment explicitly.
            values = values | {"app_id": None}
        model = values.get("model")
        if not isinstance(model, BailianAppChatModel):
            return values
        names = set(ConnectionFields.model_fields)
        if not is_direct:
            # `has_thoughts` and `streaming` affect only the output of the model's own calls.
            names |= {"app_id", *CommonCompletionFields.model_fields} - {"has_thoughts", "streaming"}
        return {name: getattr(model, name) for name in names} | values

    @model_validator(mode="after")
    def _check_has_target(self) -> Self:
        if self.app_id is None and self.kind == "application":
            message = (
                "missing `app_id`: pass it, set BAILIAN_APP_ID, or pass `model`, `agent_id`, "
                "`pipeline_id` or `pipeline_name`"
            )
            raise ValueError(message)
        return self


def _check_no_application(values: dict[str, Any]) -> None:
    """Reject an explicit application in a direct search.

    Raises:
        ValueError: `app_id` is set, and is not the id in the environment.
    """
    app_id = values.get("app_id")
    if app_id is None or str(app_id).strip() == os.environ.get("BAILIAN_APP_ID", "").strip():
        return
    name = next(filter(values.get, _TARGETS_WITHOUT_APPLICATION))
    advice = "remove one of them"
    if name != "agent_id":
        advice += ", or search through the application with `rag_options=RagOptions(pipeline_ids=[…])`"
    search = "a search service" if name == "agent_id" else "a direct search"
    message = (
        f"cannot use `app_id` together with `{name}`: {search} does not use the application; {advice}"
    )
    raise ValueError(message)
