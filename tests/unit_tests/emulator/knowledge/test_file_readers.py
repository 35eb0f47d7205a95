"""Conversion of files to documents of the emulator."""

import sys
from pathlib import Path

import docx
import pytest

from langchain_bailian_app.emulator import Document, KnowledgeBase


def build_pdf(*pages: str) -> bytes:
    """A small PDF with a line of text on each page."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        content = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
        fonts = "<< /Font << /F1 3 0 R >> >>"
        page_attributes = f"/Parent 2 0 R /MediaBox [0 0 612 792] /Resources {fonts}"
        objects += [
            f"<< /Type /Page {page_attributes} /Contents {5 + 2 * number} 0 R >>",
            f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        ]
    body = "%PDF-1.4\n"
    offsets = []
    for number, pdf_object in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{pdf_object}\nendobj\n"
    xref_entries = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = (
        f"xref\n0 {size}\n0000000000 65535 f \n{xref_entries}trailer\n<< /Size {size} /Root 1 0 R >>\n"
    )
    return f"{body}{trailer}startxref\n{len(body)}\n%%EOF\n".encode()


def test_text_files_are_decoded_as_utf8_or_gb18030(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes("\ufeff# 标题\r\n内容".encode())
    (tmp_path / "b.txt").write_bytes("国标编码的文字".encode("gb18030"))
    (tmp_path / "c.TXT").write_text("# not the first line\n", encoding="utf-8")
    (tmp_path / "d.csv").write_text("x", encoding="utf-8")
    (tmp_path / "e.md").mkdir()

    documents = KnowledgeBase.from_folder(tmp_path).documents

    assert [d.name for d in documents] == ["标题", "b", "not the first line"]
    assert documents[0].text == "# 标题\n内容"
    assert documents[1].text == "国标编码的文字"


def test_word_files_keep_headings_and_tables(tmp_path: Path) -> None:
    word_document = docx.Document()
    word_document.add_heading("手册", level=0)
    word_document.add_paragraph("前言。")
    word_document.add_heading("价格\n表", level=1)
    table = word_document.add_table(rows=3, cols=2)
    for cell, text in zip(
        (cell for row in table.rows for cell in row.cells), ["#", "价格", "小满", "1099"], strict=False
    ):
        cell.text = text
    table.cell(2, 0).merge(table.cell(2, 1)).text = "含税"
    table.cell(1, 1).add_table(rows=1, cols=1).cell(0, 0).text = "人民币"
    word_document.add_paragraph("# no heading of this document, but kept")
    word_document.save(str(tmp_path / "价目.docx"))
    (tmp_path / "~$价目.docx").write_bytes(b"lock")

    base = KnowledgeBase.from_folder(tmp_path)

    assert [document.name for document in base.documents] == ["价目"]
    first, second, *_ = base.chunks
    assert (first.hier_title, first.body) == ("手册", "前言。")
    assert second.hier_title == "手册 > 价格 表"
    assert second.body == "| # | 价格 |\n| 小满 | 1099 | 人民币 | |\n| 含税 |"
    assert "but kept" in base.chunks[-1].body


def test_chunks_of_a_pdf_have_page_numbers(tmp_path: Path) -> None:
    (tmp_path / "guide.pdf").write_bytes(build_pdf("The first page.", "The second page."))

    base = KnowledgeBase.from_folder(tmp_path)

    assert [d.name for d in base.documents] == ["guide"]
    assert [(c.body, c.page_number) for c in base.chunks] == [
        ("The first page.", (1,)),
        ("The second page.", (2,)),
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bad.md", b"\xff\xfe#\xff"),
        ("bad.pdf", b"no pdf"),
        ("cut.pdf", build_pdf("x")[:200]),
        ("picture.pdf", build_pdf("")),
        ("bad.docx", b"no zip"),
    ],
)
def test_an_unreadable_file_is_named_in_the_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ValueError, match=name):
        KnowledgeBase.from_folder(tmp_path)


def test_a_missing_folder_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"invalid `folder`: .*missing"):
        KnowledgeBase.from_folder(tmp_path / "missing")


@pytest.mark.parametrize(
    ("name", "package", "module"), [("a.pdf", "pypdf", "pypdf"), ("a.docx", "python-docx", "docx")]
)
def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str, module: str
) -> None:
    (tmp_path / name).write_bytes(b"")
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "langchain_bailian_app.emulator._knowledge.docx", raising=False)

    with pytest.raises(ModuleNotFoundError, match=rf"{package}.*langchain-bailian-app\[documents\]"):
        KnowledgeBase.from_folder(tmp_path)


def test_two_files_with_the_same_name_are_two_documents(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.md").write_text("# 同名\n文", encoding="utf-8")

    base = KnowledgeBase.from_folder(tmp_path)

    assert [d.name for d in base.documents] == ["同名", "同名"]
    assert base.documents[0].file_id == Document("同名").file_id
    assert len({chunk.chunk_id for chunk in base.chunks}) == 2


def test_links_out_of_the_folder_are_skipped_with_a_warning(tmp_path: Path) -> None:
    folder, secret = tmp_path / "docs", tmp_path / "secret.md"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.md").write_text("# A\n文", encoding="utf-8")
    secret.write_text("# 秘密\n文", encoding="utf-8")
    (folder / "inside.md").symlink_to(folder / "sub" / "a.md")
    (folder / "outside.md").symlink_to(secret)
    (folder / "parent").symlink_to(tmp_path)

    with pytest.warns(UserWarning, match=r"skipped .*outside\.md, a link") as warnings:
        base = KnowledgeBase.from_folder(folder)

    assert {document.name for document in base.documents} == {"A"}
    assert {warning.filename for warning in warnings} == {__file__}
