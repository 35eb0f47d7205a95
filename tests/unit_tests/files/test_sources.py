"""Files that can be uploaded: paths, named bytes and binary file objects."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app._transport.file_storage import local_files_from_sources
from langchain_bailian_app.files import BailianFiles
from langchain_bailian_app.options._session_files import LocalFile

if TYPE_CHECKING:
    from pathlib import Path

NOTE = LocalFile("note.md", 2, data=b"ab")


def named(buffer: io.BytesIO, name: Any) -> io.BytesIO:
    buffer.name = name  # type: ignore[misc]
    return buffer


@pytest.mark.parametrize(
    "source",
    [
        ("note.md", b"ab"),
        ("folder/note.md", bytearray(b"ab")),
        [("note.md", memoryview(b"ab"))],
        named(io.BytesIO(b"ab"), "/tmp/note.md"),  # noqa: S108  # no file is opened
    ],
)
def test_bytes_with_a_name_are_a_file(source: Any) -> None:
    assert local_files_from_sources(source) == [NOTE]


def test_an_open_file_is_read_from_its_position(tmp_path: Path) -> None:
    path = tmp_path / "note.md"
    path.write_bytes(b"xab")
    with path.open("rb") as file:
        file.read(1)

        assert local_files_from_sources([file, path]) == [NOTE, LocalFile("note.md", 3, path)]


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        (b"ab", r'type bytes: .*`\("report.pdf", data\)`'),
        ([bytearray(b"ab")], "type bytearray"),
        (io.BytesIO(b"ab"), r"BytesIO: it has no name; pass a pair"),
        (named(io.BytesIO(b"ab"), 3), "it has no name"),
        (io.StringIO("ab"), "it is open as text"),
        ([None], "type NoneType"),
        ([("a.md", "text")], "type tuple"),
    ],
)
def test_anything_else_is_rejected_with_advice(source: Any, advice: str) -> None:
    with pytest.raises(TypeError, match=advice):
        local_files_from_sources(source)


def test_an_open_text_file_is_not_taken_for_a_list_of_names(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("a.md\nb.md\n", "utf-8")
    with path.open(encoding="utf-8") as file, pytest.raises(TypeError, match="mode 'rb'"):
        local_files_from_sources(file)


@pytest.mark.parametrize("source", [("a.exe", b"x"), ("a.md", b""), "a\0.md"])
def test_files_that_the_service_rejects_are_named(source: Any) -> None:
    with pytest.raises(ValueError, match="nothing was uploaded: a"):
        local_files_from_sources(source)


def test_the_folder_of_a_record_is_created(tmp_path: Path) -> None:
    record = tmp_path / "new" / "deep" / "record.jsonl"
    BailianFiles(api_key="k", workspace="ws", record=record)

    assert record.exists()


def test_a_record_that_cannot_be_written_is_rejected_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    for record in (tmp_path, tmp_path / "file" / "record"):
        with pytest.raises(ValueError, match="invalid `record`: expected a file that can be written"):
            BailianFiles(api_key="k", workspace="ws", record=record)
