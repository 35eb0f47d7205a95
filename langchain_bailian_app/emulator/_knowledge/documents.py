"""Documents and the chunks made of them, and of the rows of tables. Only data.

A chunk carries everything the wire tells of it; how it becomes JSON is in `thoughts` and `retrieval`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_bailian_app.emulator._knowledge.chunking import Passage, passages


def digest(text: str) -> str:
    """Hexadecimal digits that are always the same for the same text."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Document:
    """A document of a knowledge base.

    Args:
        name: Its name, as citations show it.
        text: Its text, in Markdown: every heading begins a chunk, and images go with their chunk.
        file_id: `file_…`; made of the name when it is not given.
        metadata: What `rag_options.metadata_filter` compares; a value may be a list.
        tags: What `rag_options.tags` compares.
        pages: The text of each page, where pages are known; `text` is then made of them.
    """

    name: str
    text: str = ""
    file_id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    pages: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.file_id:
            self.file_id = file_id_of(self.name)
        if self.pages:
            self.text = "\n\n".join(self.pages)


@dataclass(frozen=True)
class Chunk:
    """A piece of a document, or a row of a table.

    Attributes:
        chunk_id: `{workspace}_{pipeline}_{data_id}_…`.
        content: What is searched and sent: the body, under a header that names its document.
        body: The text itself.
        title: The heading above it; none for a row.
        name: The name of its document or table.
        data_id: The id of its document or table.
        document: Its document.
        row: Its row, column → value.
        hier_title: The heading with those above it.
        images: Addresses of its images.
        page_number: Its pages, from 1, where they are known.
    """

    chunk_id: str
    content: str
    body: str
    title: str
    name: str
    data_id: str
    document: Document | None = None
    row: Mapping[str, Any] | None = None
    hier_title: str = ""
    images: tuple[str, ...] = ()
    page_number: tuple[int, ...] = ()


def file_id_of(name: str) -> str:
    """An id for a document, made of a name."""
    return f"file_{digest(name)[:32]}_{10_000_000 + len(name)}"


def chunks_of_document(document: Document, place: str) -> list[Chunk]:
    """Cut a document; `place` begins the id of each chunk."""
    cut = passages(document.name, document.pages or [document.text])
    extra = "".join(f"{key}:{_listed(value)}\n" for key, value in document.metadata.items())
    return [
        _chunk(document, passage, f"{place}_{document.file_id}_0_{number}", extra)
        for number, passage in enumerate(cut)
    ]


def chunks_of_rows(name: str, rows: Iterable[Mapping[str, Any]], place: str) -> list[Chunk]:
    """Make a chunk of each row of a table; `place` begins its id."""
    table_id = f"table_{digest(name)[:32]}_{10_000_000 + len(name)}"
    chunks = []
    for number, row in enumerate(rows):
        body = "\n".join(f"{column}:{value}" for column, value in row.items())
        chunks.append(Chunk(f"{place}_{table_id}_{number}", body, body, "", name, table_id, row=row))
    return chunks


def _chunk(document: Document, passage: Passage, chunk_id: str, extra: str) -> Chunk:
    head = f"【文档名】:{document.name}\n【标题】:{passage.title}\n{extra}"
    return Chunk(
        chunk_id=chunk_id,
        content=f"{head}【正文】:{passage.body}\n",
        body=passage.body,
        title=passage.title,
        name=document.name,
        data_id=document.file_id,
        document=document,
        hier_title=passage.hier_title,
        images=passage.images,
        page_number=(passage.page,) if document.pages else (),
    )


def _listed(value: object) -> str:
    values = value if isinstance(value, (list, tuple)) else [value]
    return json.dumps([str(item) for item in values], ensure_ascii=False, separators=(",", ":"))
