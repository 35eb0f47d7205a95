"""`BailianAppRetriever`: what an application or a knowledge base finds, as nodes of LlamaIndex."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode

from langchain_bailian_app.retrievers._retriever import BailianRetriever

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.schema import IndexNode, QueryBundle

# LlamaIndex puts metadata in front of the text that a model reads. Ids, scores and links, which may be
# signed, would only be in its way; titles and the document's own metadata are of use to it.
_EXCLUDED_METADATA_KEYS = [
    "source",
    "doc_id",
    "doc_url",
    "score",
    "reference_index",
    "pipeline_id",
    "images",
    "cited",
]


class BailianAppRetriever(BaseRetriever):
    """Nodes from a knowledge base (知识库) of Bailian, found by an application or directly.

    All fields are those of `langchain_bailian_app.BailianRetriever`, which does the work. Through an
    application (`app_id` or `model`) it hangs up as soon as the application tells what it has found;
    directly (`pipeline_id` or `pipeline_name`) nothing is generated.

    Setup:
        ```bash
        pip install 'langchain-bailian-app[llama-index]'
        export DASHSCOPE_API_KEY=... BAILIAN_APP_ID=...
        ```

    Instantiate:
        ```python
        from langchain_bailian_app.llama_index import BailianAppLLM, BailianAppRetriever

        llm = BailianAppLLM()
        retriever = BailianAppRetriever(k=3)  # or app_id="…"
        retriever = BailianAppRetriever(model=llm.model)  # the settings of its chat model
        retriever = BailianAppRetriever(pipeline_id="customs001", rerank_min_score=0.3)
        ```

    Usage:
        ```python
        nodes = retriever.retrieve("什么是滞报金？")
        nodes = await retriever.aretrieve("什么是滞报金？")
        ```

    Use in a query engine:
        ```python
        from llama_index.core.query_engine import RetrieverQueryEngine

        engine = RetrieverQueryEngine.from_args(retriever, llm=llm)
        (await engine.aquery("什么是滞报金？")).source_nodes
        ```

    Nodes:
        The id of a node is that of the chunk, its score that of the search, None if it tells none.
        `ref_doc_id` is the id of the document. `metadata` is that of the LangChain documents; models
        are shown titles, pages and the document's own metadata of it.

    Args:
        retriever: A ready retriever, instead of fields.
        callback_manager: LlamaIndex's.
        object_map: LlamaIndex's.
        objects: LlamaIndex's.
        verbose: LlamaIndex's.
        fields: Fields of `BailianRetriever`.

    Raises:
        BailianError: The call failed; see `langchain_bailian_app.errors`.
        ValueError: An argument is wrong; nothing was sent.
    """

    def __init__(
        self,
        retriever: BailianRetriever | None = None,
        *,
        callback_manager: CallbackManager | None = None,
        object_map: dict[str, Any] | None = None,
        objects: list[IndexNode] | None = None,
        verbose: bool = False,
        **fields: Any,
    ) -> None:
        super().__init__(callback_manager, object_map, objects, verbose)
        if retriever is not None and fields:
            message = f"give `retriever`, or fields ({', '.join(fields)}), but not both"
            raise ValueError(message)
        self.retriever = retriever or BailianRetriever(**fields)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [
            _node_from_document(document) for document in self.retriever.invoke(query_bundle.query_str)
        ]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [
            _node_from_document(document)
            for document in await self.retriever.ainvoke(query_bundle.query_str)
        ]


def _node_from_document(document: Document) -> NodeWithScore:
    metadata = document.metadata
    # A chunk of a reference alone has no id; LlamaIndex makes one then.
    fields: dict[str, Any] = {} if document.id is None else {"id_": document.id}
    if doc_id := metadata.get("doc_id"):
        fields["relationships"] = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=doc_id)}
    node = TextNode(
        text=document.page_content,
        metadata=metadata,
        excluded_llm_metadata_keys=_EXCLUDED_METADATA_KEYS,
        excluded_embed_metadata_keys=_EXCLUDED_METADATA_KEYS,
        **fields,
    )
    return NodeWithScore(node=node, score=metadata.get("score"))
