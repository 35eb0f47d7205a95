"""Files on disk become documents: Markdown, plain text, Word, PDF.

The only module that opens files. The readers of Word and PDF are imported when such a file is met.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from langchain_bailian_app.emulator._knowledge.chunking import first_heading
from langchain_bailian_app.emulator._knowledge.documents import Document, file_id_of


def documents_in(folder: Path) -> list[Document]:
    """Read all files of known kinds under a folder, in the order of their paths.

    Raises:
        ValueError: The folder is none, or one of its files cannot be read.
        ModuleNotFoundError: A Word or PDF file is met without the package that reads it.
    """
    if not folder.is_dir():
        msg = f"{folder} is no folder."
        raise ValueError(msg)
    documents: list[Document] = []
    for path in sorted(p for p in folder.rglob("*") if _is_readable(p)):
        document = document_from_file(path)
        if document.file_id in {other.file_id for other in documents}:
            # Two files of the same name in different folders are two documents.
            document.file_id = file_id_of(path.relative_to(folder).as_posix())
        documents.append(document)
    return documents


def document_from_file(path: Path) -> Document:
    """Read one file.

    Raises:
        ValueError: It cannot be read.
        ModuleNotFoundError: It takes a package that is missing.
    """
    return _READERS[path.suffix.lower()](path)


def can_read(name: str) -> bool:
    """Whether a file of this name is of a known kind."""
    return Path(name).suffix.lower() in _READERS


def _is_readable(path: Path) -> bool:
    # Word keeps a file `~$name.docx`, which is no document, beside each one it has open.
    return can_read(path.name) and path.is_file() and not path.name.startswith("~$")


def _unreadable(path: Path, why: object) -> NoReturn:
    msg = f"{path} cannot be read: {why}"
    raise ValueError(msg)


def _missing(path: Path, package: str) -> str:
    return f'{path} cannot be read without {package}: pip install "langchain-bailian-app[emulator]"'


def _from_text(path: Path) -> Document:
    text = _decoded(path).replace("\r\n", "\n").replace("\r", "\n")
    return Document(first_heading(text) or path.stem, text)


def _decoded(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as exc:
        _unreadable(path, exc)
    # Chinese text that is not UTF-8 is nearly always of the family of GB 18030.
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    _unreadable(path, "it is neither UTF-8 nor GB 18030.")


def _from_pdf(path: Path) -> Document:
    try:
        import pypdf  # noqa: PLC0415 - only those who have such files need it
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError(_missing(path, "pypdf")) from exc
    try:
        pages = [page.extract_text() for page in pypdf.PdfReader(path).pages]
    except Exception as exc:  # noqa: BLE001 - a broken file raises anything, down to TypeError
        _unreadable(path, repr(exc))
    if not any(page.strip() for page in pages):
        _unreadable(path, "it has no text. Are its pages pictures?")
    return Document(path.stem, pages=pages)


def _from_docx(path: Path) -> Document:
    try:
        from langchain_bailian_app.emulator._knowledge.docx import markdown_of  # noqa: PLC0415 - as above
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError(_missing(path, "python-docx")) from exc
    try:
        text = markdown_of(path)
    except Exception as exc:  # noqa: BLE001 - a broken file raises anything, down to KeyError
        _unreadable(path, repr(exc))
    return Document(path.stem, text)


_READERS: Mapping[str, Callable[[Path], Document]] = MappingProxyType(
    {".md": _from_text, ".txt": _from_text, ".docx": _from_docx, ".pdf": _from_pdf}
)
