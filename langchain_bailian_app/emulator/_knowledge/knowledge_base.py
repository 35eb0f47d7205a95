"""Knowledge bases: documents cut into chunks, and rows of tables, found by BM25.

Knows nothing of HTTP or of frames; a `Hit` becomes JSON in `_completion` and `_retrieve`.
"""

import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

try:
    with warnings.catch_warnings():
        # It imports tqdm, which complains in notebooks without widgets; no bar is shown here.
        warnings.filterwarnings("ignore", message="IProgress not found")
        import bm25s
except ModuleNotFoundError as exc:
    message = 'The emulator needs more packages: pip install "langchain-bailian-app[emulator]"'
    raise ModuleNotFoundError(message) from exc

from langchain_bailian_app.emulator._http.errors import ErrorReply
from langchain_bailian_app.emulator._knowledge.documents import (
    Chunk,
    Document,
    chunk_document,
    chunk_rows,
    compute_hex_digest,
)
from langchain_bailian_app.emulator._knowledge.file_readers import read_folder
from langchain_bailian_app.emulator.text import split_words

# Importing bm25s sets its logger to DEBUG, so any handler of the process would print its progress.
logging.getLogger("bm25s").setLevel(logging.WARNING)

# The service's scores lie between 0 and 1; BM25 has no upper bound. Order is kept.
_HALF_SCORE = 2.0


@dataclass(frozen=True)
class Hit:
    """A chunk that was found; `index` is the number of its `<ref>[n]</ref>` marker."""

    chunk: Chunk
    score: float
    index: int


@dataclass
class KnowledgeBase:
    """A knowledge base: documents to search, or the rows of a table.

    Args:
        name: Its name in the console.
        documents: Its documents.
        rows: Rows of a table, column → value; `rag_options.structured_filter` narrows them.
        pipeline_id: Its id in `rag_options.pipeline_ids`; made of the name when not given.
        workspace: Its workspace, the first part of the id of each chunk.
        error: A refusal that its own routes give instead of the answer; apps do not see it.
    """

    name: str
    documents: Sequence[Document] = ()
    rows: Sequence[Mapping[str, Any]] = ()
    pipeline_id: str = ""
    workspace: str = "llm-emulator"
    error: ErrorReply | None = None

    def __post_init__(self) -> None:
        if not self.pipeline_id:
            self.pipeline_id = compute_hex_digest(self.name)[:10]

    @classmethod
    def from_folder(cls, folder: str | Path, *, name: str | None = None, pipeline_id: str = "") -> Self:
        """Read all files of a folder: Markdown, plain text, Word, PDF; each is one document.

        A Markdown or text file is named by its first heading, if it has one; any other by its file.

        Raises:
            ValueError: The folder is none, or one of its files cannot be read.
            ModuleNotFoundError: A Word or PDF file is met without the package that reads it.
        """
        folder = Path(folder)
        return cls(name or folder.name, read_folder(folder), pipeline_id=pipeline_id)

    @cached_property
    def chunks(self) -> list[Chunk]:
        """All chunks, in the order of the documents."""
        id_prefix = f"{self.workspace}_{self.pipeline_id}"
        document_chunks = [c for d in self.documents for c in chunk_document(d, id_prefix)]
        return document_chunks + chunk_rows(self.name, self.rows, id_prefix)

    @cached_property
    def _index(self) -> bm25s.BM25 | None:
        """The index; bm25s makes none of chunks without any word."""
        texts = [split_words(c.content) for c in self.chunks]
        if not any(texts):
            return None
        index = bm25s.BM25(method="lucene")
        index.index(texts, show_progress=False)
        return index

    def scores(self, query: str) -> list[tuple[Chunk, float]]:
        """Every chunk with its score for the query, between 0 (no word of it) and 1."""
        query_words = split_words(query)
        if self._index is None or not query_words:
            return []
        raw_scores = (float(score) for score in self._index.get_scores(query_words))
        return [(c, r / (r + _HALF_SCORE)) for c, r in zip(self.chunks, raw_scores, strict=True)]


def _accept_all(_: Chunk) -> bool:
    return True


def search(
    knowledge_bases: Iterable[KnowledgeBase],
    query: str,
    predicate: Callable[[Chunk], bool] = _accept_all,
    *,
    limit: int,
) -> tuple[Hit, ...]:
    """Find the best chunks of all knowledge bases, best first, numbered from 1."""
    candidates = [
        (chunk, score)
        for knowledge_base in knowledge_bases
        for chunk, score in knowledge_base.scores(query)
        if score > 0 and predicate(chunk)
    ]
    candidates.sort(key=lambda pair: -pair[1])
    return tuple(Hit(c, score, n) for n, (c, score) in enumerate(candidates[:limit], start=1))
