"""Knowledge bases: documents cut into chunks, found by BM25, narrowed by `rag_options`.

Knows nothing of HTTP or of frames; a `Hit` becomes JSON in `thoughts`.
"""

import hashlib
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

try:
    import bm25s
except ModuleNotFoundError as exc:
    msg = 'The emulator needs more packages: pip install "langchain-bailian-app[emulator]"'
    raise ModuleNotFoundError(msg) from exc

from langchain_bailian_app.emulator.wording import words

# Importing bm25s sets its logger to DEBUG, so any handler of the process would print its progress.
logging.getLogger("bm25s").setLevel(logging.WARNING)

_HEADING = re.compile(r"^#{1,6}\s+(.*)$", re.MULTILINE)
_CHUNK_LENGTH = 400
# The service's scores lie between 0 and 1; BM25 has no upper bound. Order is kept.
_HALF_SCORE = 2.0


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Document:
    """A document of a knowledge base.

    Args:
        name: Its name, as citations show it.
        text: Its text, in Markdown: every heading begins a chunk.
        file_id: `file_…`; made of the name when it is not given.
        metadata: What `rag_options.metadata_filter` compares.
        tags: What `rag_options.tags` compares.
    """

    name: str
    text: str
    file_id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.file_id:
            self.file_id = f"file_{_digest(self.name)[:32]}_{10_000_000 + len(self.name)}"


@dataclass(frozen=True)
class Chunk:
    """A piece of a document, or a row of a table."""

    chunk_id: str
    content: str
    body: str
    title: str
    name: str
    data_id: str
    document: Document | None = None
    row: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Hit:
    """A chunk that was found; `index` is the number of its `<ref>[n]</ref>` marker."""

    chunk: Chunk
    score: float
    index: int


@dataclass(frozen=True)
class Narrowing:
    """The filters of `rag_options`; an empty one lets everything pass."""

    file_ids: Sequence[str] = ()
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)

    def lets_pass(self, chunk: Chunk) -> bool:
        """Whether a chunk may be found. Filters for documents leave rows of tables alone."""
        if chunk.row is not None:
            row = chunk.row
            return all(row.get(column) == value for column, value in self.columns.items())
        document = chunk.document
        return document is None or (
            (not self.file_ids or document.file_id in self.file_ids)
            and (not self.tags or bool(set(self.tags) & set(document.tags)))
            and all(document.metadata.get(key) == value for key, value in self.metadata.items())
        )


@dataclass
class KnowledgeBase:
    """A knowledge base: documents to search, or the rows of a table.

    Args:
        name: Its name in the console.
        documents: Its documents.
        rows: Rows of a table, column → value; `rag_options.structured_filter` narrows them.
        pipeline_id: Its id in `rag_options.pipeline_ids`; made of the name when not given.
        workspace: Its workspace, the first part of the id of each chunk.
    """

    name: str
    documents: Sequence[Document] = ()
    rows: Sequence[Mapping[str, Any]] = ()
    pipeline_id: str = ""
    workspace: str = "llm-emulator"

    def __post_init__(self) -> None:
        if not self.pipeline_id:
            self.pipeline_id = _digest(self.name)[:10]

    @classmethod
    def from_folder(cls, folder: str | Path, *, name: str | None = None, pipeline_id: str = "") -> Self:
        """Read all Markdown and text files of a folder, each one document named by its title."""
        paths = sorted(p for p in Path(folder).rglob("*") if p.suffix in {".md", ".txt"})
        documents = [_document_from_file(path) for path in paths]
        return cls(name or Path(folder).name, documents, pipeline_id=pipeline_id)

    @cached_property
    def chunks(self) -> list[Chunk]:
        """All chunks, in the order of the documents."""
        place = f"{self.workspace}_{self.pipeline_id}"
        of_documents = [c for d in self.documents for c in _chunks_of_document(d, place)]
        return of_documents + _chunks_of_rows(self.name, self.rows, place)

    @cached_property
    def _index(self) -> bm25s.BM25:
        index = bm25s.BM25(method="lucene")
        index.index([words(c.content) for c in self.chunks], show_progress=False)
        return index

    def scores(self, query: str) -> list[tuple[Chunk, float]]:
        """Every chunk with its score for the query, between 0 (no word of it) and 1."""
        asked = words(query)
        if not self.chunks or not asked:
            return []
        raw = (float(score) for score in self._index.get_scores(asked))
        return [(c, r / (r + _HALF_SCORE)) for c, r in zip(self.chunks, raw, strict=True)]


def search(
    knowledge_bases: Iterable[KnowledgeBase], query: str, narrowing: Narrowing, *, limit: int
) -> tuple[Hit, ...]:
    """Find the best chunks of all knowledge bases, best first, numbered from 1."""
    found = [
        (chunk, score)
        for knowledge_base in knowledge_bases
        for chunk, score in knowledge_base.scores(query)
        if score > 0 and narrowing.lets_pass(chunk)
    ]
    found.sort(key=lambda pair: -pair[1])
    return tuple(Hit(c, score, n) for n, (c, score) in enumerate(found[:limit], start=1))


def _document_from_file(path: Path) -> Document:
    text = path.read_text(encoding="utf-8")
    heading = _HEADING.search(text)
    return Document(heading.group(1).strip() if heading else path.stem, text)


def _chunks_of_document(document: Document, place: str) -> list[Chunk]:
    extra = "".join(f'{key}:["{value}"]\n' for key, value in document.metadata.items())
    return [
        Chunk(
            chunk_id=f"{place}_{document.file_id}_0_{number}",
            content=f"【文档名】:{document.name}\n【标题】:{title}\n{extra}【正文】:{body}\n",
            body=body,
            title=title,
            name=document.name,
            data_id=document.file_id,
            document=document,
        )
        for number, (title, body) in enumerate(_sections(document))
    ]


def _sections(document: Document) -> Iterable[tuple[str, str]]:
    """Title and text of each section; one that is too long is cut between its paragraphs."""
    parts = _HEADING.split(document.text)
    headed = [(document.name, parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]
    for title, text in headed:
        piece = ""
        for paragraph in re.split(r"\n\s*\n", text.strip()):
            if piece and len(piece) + len(paragraph) > _CHUNK_LENGTH:
                yield title.strip(), piece
                piece = ""
            piece = f"{piece}\n{paragraph}".strip()
        if piece:
            yield title.strip(), piece


def _chunks_of_rows(name: str, rows: Sequence[Mapping[str, Any]], place: str) -> list[Chunk]:
    table_id = f"table_{_digest(name)[:32]}_{10_000_000 + len(name)}"
    chunks = []
    for number, row in enumerate(rows):
        body = "\n".join(f"{column}:{value}" for column, value in row.items())
        chunks.append(Chunk(f"{place}_{table_id}_{number}", body, body, "", name, table_id, row=row))
    return chunks
