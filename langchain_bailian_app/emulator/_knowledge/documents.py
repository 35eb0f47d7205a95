"""Documents and the chunks made of them, and of the rows of tables. Only data.

A chunk carries everything the wire tells of it; `_completion` and `_retrieve` make JSON of it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_bailian_app.emulator._knowledge.chunking import Passage, split_into_passages


def compute_hex_digest(text: str) -> str:
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
            self.file_id = make_file_id(self.name)
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


def make_file_id(name: str) -> str:
    """An id for a document, made of a name."""
    return f"file_{compute_hex_digest(name)[:32]}_{10_000_000 + len(name)}"


def chunk_document(document: Document, id_prefix: str) -> list[Chunk]:
    """Cut a document; `id_prefix` begins the id of each chunk."""
    passages = split_into_passages(document.name, document.pages or [document.text])
    metadata_lines = "".join(
        f"{key}:{_dump_as_list(value)}\n" for key, value in document.metadata.items()
    )
    return [
        _build_chunk(document, passage, f"{id_prefix}_{document.file_id}_0_{number}", metadata_lines)
        for number, passage in enumerate(passages)
    ]


def chunk_rows(name: str, rows: Iterable[Mapping[str, Any]], id_prefix: str) -> list[Chunk]:
    """Make a chunk of each row of a table; `id_prefix` begins its id."""
    table_id = f"table_{compute_hex_digest(name)[:32]}_{10_000_000 + len(name)}"
    chunks = []
    for number, row in enumerate(rows):
        body = "\n".join(f"{column}:{value}" for column, value in row.items())
        chunks.append(
            Chunk(f"{id_prefix}_{table_id}_{number}", body, body, "", name, table_id, row=row)
        )
    return chunks


def _build_chunk(document: Document, passage: Passage, chunk_id: str, metadata_lines: str) -> Chunk:
    header = f"【文档名】:{document.name}\n【标题】:{passage.title}\n{metadata_lines}"
    return Chunk(
        chunk_id=chunk_id,
        content=f"{header}【正文】:{passage.body}\n",
        body=passage.body,
        title=passage.title,
        name=document.name,
        data_id=document.file_id,
        document=document,
        hier_title=passage.hier_title,
        images=passage.images,
        page_number=(passage.page,) if document.pages else (),
    )


def _dump_as_list(value: object) -> str:
    values = value if isinstance(value, (list, tuple)) else [value]
    return json.dumps([str(item) for item in values], ensure_ascii=False, separators=(",", ":"))
