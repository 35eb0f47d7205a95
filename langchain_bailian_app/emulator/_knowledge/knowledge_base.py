"""Knowledge bases: chunks of documents and table rows, searched with BM25.

Independent of HTTP and frames; `_completion` and `_retrieve` render a `Hit` as JSON.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, get_args

from langchain_bailian_app.emulator._http.errors import ErrorReply
from langchain_bailian_app.emulator._knowledge.bm25 import Bm25Index
from langchain_bailian_app.emulator._knowledge.documents import (
    Chunk,
    Document,
    chunk_document,
    chunk_rows,
    compute_hex_digest,
)
from langchain_bailian_app.emulator._knowledge.file_readers import read_folder
from langchain_bailian_app.emulator.text import split_words

# BM25 score that becomes 0.5. BM25 has no upper bound, but the service's scores are between 0 and 1.
# The order is preserved.
_HALF_SCORE = 2.0


NodeVariant: TypeAlias = Literal[
    "content", "json-metadata", "flat", "names-beside-text", "score-in-metadata", "rerank"
]
NODE_VARIANTS: tuple[NodeVariant, ...] = get_args(NodeVariant)


@dataclass(frozen=True)
class Hit:
    """A chunk found by a search; `index` is the number in its `<ref>[n]</ref>` marker."""

    chunk: Chunk
    score: float
    index: int


@dataclass
class KnowledgeBase:
    """A knowledge base: documents to search, or the rows of a table.

    Args:
        name: Name in the console.
        documents: Documents to search.
        rows: Rows of a table, column → value; `rag_options.structured_filter` selects among them.
        pipeline_id: Id in `rag_options.pipeline_ids`; derived from `name` if empty.
        workspace: Id of the workspace, the first part of each chunk id.
        error: Error that the knowledge base routes return instead of a result. It does not affect
            applications.
        node_variants: Deviations of the nodes in the reply to a direct search from their usual form, as
            clients of the service report them. They can be combined. `content`: the text is called
            `content`. `json-metadata`: `metadata` is JSON text. `flat`: the fields of `node` are beside
            `score`. `names-beside-text`: `title` and `doc_name` are beside the text, not in the
            metadata. `score-in-metadata`: the score is only in `metadata._score`. `rerank`: the reply
            has `rerank`, and the metadata also have `_score` and `nid`, whose values are guesses.

    Raises:
        ValueError: A variant is unknown.
    """

    name: str
    documents: Sequence[Document] = ()
    rows: Sequence[Mapping[str, Any]] = ()
    pipeline_id: str = ""
    workspace: str = "llm-emulator"
    error: ErrorReply | None = None
    node_variants: Collection[NodeVariant] = ()

    def __post_init__(self) -> None:
        """Reject unknown variants, and derive the id from the name if none is given."""
        for variant in self.node_variants:
            if variant not in NODE_VARIANTS:
                message = f"invalid `node_variants`: expected any of {NODE_VARIANTS}, got {variant!r}"
                raise ValueError(message)
        if not self.pipeline_id:
            self.pipeline_id = compute_hex_digest(self.name)[:10]

    @classmethod
    def from_folder(cls, folder: str | Path, *, name: str | None = None, pipeline_id: str = "") -> Self:
        """Read all Markdown, plain text, Word and PDF files in a folder, each as one document.

        A Markdown or text file is named after its first heading, if it has one; any other document
        is named after its file. Word and PDF files require the `documents` extra.

        Args:
            folder: The folder, searched recursively. Links that lead out of it are skipped, with a
                warning.
            name: Name of the knowledge base. Default: the name of the folder.
            pipeline_id: Id of the knowledge base; derived from the name if empty.

        Raises:
            ValueError: The path is not a folder, or one of its files cannot be read.
            ModuleNotFoundError: The package for a Word or PDF file is not installed.
        """
        folder = Path(folder)
        return cls(name or folder.name, read_folder(folder), pipeline_id=pipeline_id)

    @cached_property
    def chunks(self) -> list[Chunk]:
        """All chunks, in the order of the documents, followed by the rows."""
        id_prefix = f"{self.workspace}_{self.pipeline_id}"
        document_chunks = [c for d in self.documents for c in chunk_document(d, id_prefix)]
        return document_chunks + chunk_rows(self.name, self.rows, id_prefix)

    @cached_property
    def _index(self) -> Bm25Index:
        return Bm25Index([split_words(chunk.content) for chunk in self.chunks])

    def scores(self, query: str) -> list[tuple[Chunk, float]]:
        """Return each chunk with its score for the query.

        A score is below 1, and 0 if the chunk and the query have no word in common.
        """
        scores = self._index.compute_scores(split_words(query))
        return [(c, s / (s + _HALF_SCORE)) for c, s in zip(self.chunks, scores, strict=True)]


def _accept_all(_: Chunk) -> bool:
    return True


def search(
    knowledge_bases: Iterable[KnowledgeBase],
    query: str,
    predicate: Callable[[Chunk], bool] = _accept_all,
    *,
    limit: int,
) -> tuple[Hit, ...]:
    """Return the best matching chunks of all knowledge bases, best first, numbered from 1."""
    candidates = [
        (chunk, score)
        for knowledge_base in knowledge_bases
        for chunk, score in knowledge_base.scores(query)
        if score > 0 and predicate(chunk)
    ]
    candidates.sort(key=lambda pair: -pair[1])
    return tuple(Hit(c, score, n) for n, (c, score) in enumerate(candidates[:limit], start=1))
