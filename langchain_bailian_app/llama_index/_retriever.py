"""`BailianAppRetriever`: a LlamaIndex retriever for an application or a knowledge base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode

from langchain_bailian_app.retrievers._retriever import BailianRetriever

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.schema import IndexNode, QueryBundle

# LlamaIndex prepends metadata to the text for the model. Titles and the document's own metadata help
# the model; ids, scores and links (which may be signed) do not.
_EXCLUDED_METADATA_KEYS = [
    "source",
    "doc_id",
    "doc_url",
    "pipeline_id",
    "images",
    "videos",
    "audios",
    "audio_segments",
]
# Values that depend on the query. LlamaIndex identifies a node by the hash of its text and metadata,
# for example to fuse the results of several queries.
_QUERY_METADATA_KEYS = {"score", "reference_index", "cited"}
# URLs may be signed, so that they differ in each response.
_URL_METADATA_KEYS = {"images", "videos", "audios", "doc_url", "source"}


class _PassageNode(TextNode):
    """Node whose hash does not depend on signed URLs."""

    @property
    def hash(self) -> str:
        """The hash of the text and of the metadata without URLs."""
        metadata = {
            name: value for name, value in self.metadata.items() if name not in _URL_METADATA_KEYS
        }
        return TextNode(text=self.text, metadata=metadata).hash


class BailianAppRetriever(BaseRetriever):
    """LlamaIndex retriever for a Bailian knowledge base (知识库), directly or through an application.

    The fields are those of `langchain_bailian_app.BailianRetriever`, which this class wraps. A search
    through an application (`app_id` or `model`) closes the connection as soon as the application has
    reported the retrieved passages. A direct search (`pipeline_id` or `pipeline_name`) generates no
    answer.

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
        The id of a node is the id of the passage, and `ref_doc_id` is the id of the document. The score
        comes from the search; it is None if the search returns no score. `metadata` is that of the
        LangChain document without `score`, `reference_index` and `cited`, so that the same passage is
        the same node in each query. Models only see titles, pages and the document's own metadata.

    Args:
        retriever: An existing retriever; cannot be combined with fields.
        callback_manager: See LlamaIndex's `BaseRetriever`.
        object_map: See LlamaIndex's `BaseRetriever`.
        objects: See LlamaIndex's `BaseRetriever`.
        verbose: See LlamaIndex's `BaseRetriever`.
        fields: Fields of `BailianRetriever`.

    Raises:
        BailianError: The call failed; see `langchain_bailian_app.errors`.
        ValueError: An argument is invalid; nothing was sent.
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
            message = (
                f"cannot use `retriever` together with fields ({', '.join(fields)}): "
                "pass one or the other"
            )
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
    # A passage that is only known from a reference has no id. LlamaIndex generates one.
    fields: dict[str, Any] = {} if document.id is None else {"id_": document.id}
    if doc_id := metadata.get("doc_id"):
        fields["relationships"] = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=doc_id)}
    node = _PassageNode(
        text=document.page_content,
        metadata={name: value for name, value in metadata.items() if name not in _QUERY_METADATA_KEYS},
        excluded_llm_metadata_keys=_EXCLUDED_METADATA_KEYS,
        excluded_embed_metadata_keys=_EXCLUDED_METADATA_KEYS,
        **fields,
    )
    return NodeWithScore(node=node, score=metadata.get("score"))
