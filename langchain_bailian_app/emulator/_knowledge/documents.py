"""Documents, and the chunks that documents and table rows are split into.

Pure data. A chunk contains all the data that replies need; `_completion` and `_retrieve` render it as
JSON.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_bailian_app.emulator._knowledge.chunking import Passage, split_into_passages


def compute_hex_digest(text: str) -> str:
    """Return a hexadecimal digest of a string, the same in every run."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Clip:
    """A part of a video or an audio file in a document.

    Args:
        text: The words in it; empty for a clip without words.
        description: Description of the scene.
        start_ms: Start of the clip, in milliseconds.
        end_ms: End of the clip, in milliseconds.
        video_url: URL of the video.
        audio_url: URL of the audio.
        speakers: Names of the speakers.
    """

    text: str = ""
    description: str = ""
    start_ms: int = 0
    end_ms: int = 0
    video_url: str = ""
    audio_url: str = ""
    speakers: Sequence[str] = ()


@dataclass
class Document:
    """A document of a knowledge base.

    Args:
        name: Name of the document, as shown in citations.
        text: Text in Markdown. Every heading starts a chunk; images are listed with their chunk.
        file_id: Id of the document, `file_…`; derived from `name` if empty.
        metadata: Fields that `rag_options.metadata_filter` compares; a value may be a list.
        tags: Tags that `rag_options.tags` compares.
        pages: Text of each page, if the document has pages; `text` is then the joined pages.
        clips: Clips of a video or an audio file; each is a chunk.
    """

    name: str
    text: str = ""
    file_id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    pages: Sequence[str] = ()
    clips: Sequence[Clip] = ()

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
        content: Text that is searched and returned: a header, then `body`. The header contains the name
            and the metadata of the document, and the title. A row has no header.
        body: Text without the header.
        title: Heading above the chunk; empty for a row.
        name: Name of the document or table.
        data_id: Id of the document or table.
        document: The document; None for a row.
        row: The row, column → value; None for a piece of a document.
        hier_title: The heading, preceded by its parent headings; empty for a row.
        images: URLs of the images in the chunk.
        page_number: Page numbers, from 1; empty if the document has no pages.
        clip: The clip, if the chunk is one.
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
    clip: Clip | None = None


def make_file_id(name: str) -> str:
    """Return a document id derived from a name."""
    return f"file_{compute_hex_digest(name)[:32]}_{10_000_000 + len(name)}"


def chunk_document(document: Document, id_prefix: str) -> list[Chunk]:
    """Split a document into chunks; their ids start with `id_prefix`."""
    passages = split_into_passages(document.name, document.pages or [document.text])
    metadata_lines = "".join(
        f"{key}:{_dump_as_list(value)}\n" for key, value in document.metadata.items()
    )
    prefix = f"{id_prefix}_{document.file_id}"
    chunks = [
        _build_chunk(document, passage, f"{prefix}_0_{number}", metadata_lines)
        for number, passage in enumerate(passages)
    ]
    return chunks + [
        _build_clip_chunk(document, clip, f"{prefix}_1_{number}")
        for number, clip in enumerate(document.clips)
    ]


def _build_clip_chunk(document: Document, clip: Clip, chunk_id: str) -> Chunk:
    title = f"{clip.start_ms // 1000}秒-{clip.end_ms // 1000}秒"
    content = f"【文档名】:{document.name}\n【标题】:{title}\n【正文】:{clip.text}\n{clip.description}"
    return Chunk(
        chunk_id, content, clip.text, title, document.name, document.file_id, document, clip=clip
    )


def chunk_rows(name: str, rows: Iterable[Mapping[str, Any]], id_prefix: str) -> list[Chunk]:
    """Return a chunk for each row of a table; their ids start with `id_prefix`."""
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
