"""Readers for document files: Markdown, plain text, Word and PDF.

Other modules read document files only through this one. The packages for Word and PDF are in the
`documents` extra; they are imported when they are first needed.
"""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from langchain_bailian_app.emulator._knowledge.chunking import find_first_heading
from langchain_bailian_app.emulator._knowledge.documents import Document, make_file_id


def read_folder(folder: Path) -> list[Document]:
    """Read all files of supported types under a folder, in the order of their paths.

    Links that lead out of the folder are skipped, with a warning.

    Raises:
        ValueError: The path is not a folder, or one of its files cannot be read.
        ModuleNotFoundError: The package for a Word or PDF file is not installed.
    """
    if not folder.is_dir():
        message = f"invalid `folder`: expected an existing folder, got {folder}"
        raise ValueError(message)
    documents: list[Document] = []
    root = folder.resolve()
    for path in sorted(p for p in folder.rglob("*") if _is_readable(p)):
        if not path.resolve().is_relative_to(root):
            message = f"skipped {path}, a link that leads out of the folder: copy the file instead"
            warnings.warn(message, stacklevel=3)
            continue
        document = document_from_file(path)
        if document.file_id in {earlier.file_id for earlier in documents}:
            # Files with the same name in different folders are different documents.
            document.file_id = make_file_id(path.relative_to(folder).as_posix())
        documents.append(document)
    return documents


def document_from_file(path: Path, *, shown_path: str | None = None) -> Document:
    """Read one file.

    Args:
        path: The file; its suffix determines the reader.
        shown_path: Path or name that errors mention, and that the document is named after if it has no
            heading. Default: `path`.

    Raises:
        ValueError: The file cannot be read.
        ModuleNotFoundError: The package for its type is not installed.
    """
    return _READERS[path.suffix.lower()](path, Path(shown_path or path))


def can_read(name: str) -> bool:
    """Return whether a file with this name has a supported type."""
    return Path(name).suffix.lower() in _READERS


def _is_readable(path: Path) -> bool:
    # Word creates a lock file `~$name.docx` next to each open document.
    return can_read(path.name) and path.is_file() and not path.name.startswith("~$")


def _raise_unreadable(shown_path: Path, reason: object) -> NoReturn:
    message = f"cannot read {shown_path}: {reason}"
    raise ValueError(message)


def _format_missing_package(shown_path: Path, package: str) -> str:
    return (
        f"missing package {package}, required to read {shown_path}: "
        "pip install 'langchain-bailian-app[documents]'"
    )


def _read_text_file(path: Path, shown_path: Path) -> Document:
    text = _decode_file(path, shown_path).replace("\r\n", "\n").replace("\r", "\n")
    return Document(find_first_heading(text) or shown_path.stem, text)


def _decode_file(path: Path, shown_path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as exc:
        _raise_unreadable(shown_path, exc)
    # Chinese text that is not UTF-8 is nearly always GB 18030 or one of its subsets.
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    _raise_unreadable(shown_path, "the encoding is neither UTF-8 nor GB 18030")


def _read_pdf(path: Path, shown_path: Path) -> Document:
    try:
        import pypdf  # noqa: PLC0415 - only needed to read PDF files
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError(_format_missing_package(shown_path, "pypdf"), name=exc.name) from exc
    try:
        pages = [page.extract_text() for page in pypdf.PdfReader(path).pages]
    except Exception as exc:  # noqa: BLE001 - a broken file raises anything, down to TypeError
        _raise_unreadable(shown_path, repr(exc))
    if not any(page.strip() for page in pages):
        _raise_unreadable(shown_path, "no text found; the pages may be images")
    return Document(shown_path.stem, pages=pages)


def _read_docx(path: Path, shown_path: Path) -> Document:
    try:
        from langchain_bailian_app.emulator._knowledge.docx import convert_to_markdown  # noqa: PLC0415 - as above
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError(
            _format_missing_package(shown_path, "python-docx"), name=exc.name
        ) from exc
    try:
        text = convert_to_markdown(path)
    except Exception as exc:  # noqa: BLE001 - a broken file raises anything, down to KeyError
        _raise_unreadable(shown_path, repr(exc))
    return Document(shown_path.stem, text)


_READERS: Mapping[str, Callable[[Path, Path], Document]] = MappingProxyType(
    {".md": _read_text_file, ".txt": _read_text_file, ".docx": _read_docx, ".pdf": _read_pdf}
)
