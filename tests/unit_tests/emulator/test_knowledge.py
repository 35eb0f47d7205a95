"""Knowledge bases of the emulator: how files become documents, and documents chunks."""

import sys
from pathlib import Path

import docx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from langchain_bailian_app.emulator import App, Document, KnowledgeBase
from langchain_bailian_app.emulator._knowledge.chunking import LONGEST_BODY
from langchain_bailian_app.emulator._knowledge.documents import Chunk

ANY_TEXT = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("。.\n  #`ab字"), max_size=900
)
PLAIN_TEXT = st.lists(
    st.text("ab字。.! \n\t", max_size=300) | st.text("x", min_size=390, max_size=900), max_size=5
).map("".join)


def chunks_of(text: str = "", *, pages: list[str] | None = None, name: str = "书") -> list[Chunk]:
    return KnowledgeBase("库", [Document(name, text, pages=pages or [])]).chunks


def squeezed(text: str) -> str:
    return "".join(text.split())


def pdf_of(*pages: str) -> bytes:
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
        place = f"/Parent 2 0 R /MediaBox [0 0 612 792] /Resources {fonts}"
        objects += [
            f"<< /Type /Page {place} /Contents {5 + 2 * number} 0 R >>",
            f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        ]
    body = "%PDF-1.4\n"
    offsets = []
    for number, written in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{written}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    end = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n"
    return f"{body}{end}startxref\n{len(body)}\n%%EOF\n".encode()


@given(PLAIN_TEXT)
def test_no_text_is_lost_and_no_chunk_is_too_long(text: str) -> None:
    bodies = [chunk.body for chunk in chunks_of(text)]

    assert squeezed("".join(bodies)) == squeezed(text)
    assert all(0 < len(body) <= LONGEST_BODY + 1 for body in bodies)
    # A word stays whole.
    words = [run for run in text.split() if run.isalpha() and len(run) < LONGEST_BODY // 2]
    assert all(any(word in body for body in bodies) for word in words)


@given(ANY_TEXT)
@example("# 甲\n# 甲\n## 乙\n```\n# no heading\n```\n# 丙")
@example("#\n# \n#x\n \x85# y")
def test_no_character_is_lost_between_titles_and_bodies(text: str) -> None:
    chunks = chunks_of(text)

    said = squeezed("".join(chunk.hier_title + chunk.body for chunk in chunks))
    assert set(squeezed(text)) <= set(said)
    lines = [line for line in text.split("\n") if not line.startswith("#") and line.strip()]
    bodies = squeezed("".join(chunk.body for chunk in chunks))
    place = 0
    for line in lines:
        place = bodies.index(squeezed(line), place) + len(squeezed(line))


@given(st.lists(st.sampled_from(["一。", " ", "\n\n", "x" * 399, "![图](u{})"]), max_size=12))
def test_each_image_goes_with_one_chunk_in_order(parts: list[str]) -> None:
    numbered = [part.format(n) for n, part in enumerate(parts)]

    chunks = chunks_of("# 图\n" + "".join(numbered))

    urls = [part[5:-1] for part in numbered if part.startswith("!")]
    assert [url for chunk in chunks for url in chunk.images] == urls
    text = "".join(part for part in numbered if not part.startswith("!"))
    assert squeezed("".join(chunk.body for chunk in chunks)) == squeezed(text) or not squeezed(text)


def test_long_paragraphs_are_cut_at_sentence_ends() -> None:
    sentences = [f"{'字' * 120}{n}。" for n in range(7)]

    bodies = [chunk.body for chunk in chunks_of("".join(sentences))]

    assert bodies == ["".join(sentences[:3]), "".join(sentences[3:6]), sentences[6]]


def test_english_is_cut_between_sentences_and_never_in_a_number() -> None:
    sentence = f"Version 3.14 is {'very ' * 30}new."

    bodies = [chunk.body for chunk in chunks_of(" ".join([sentence] * 5))]

    assert bodies == [f"{sentence} {sentence}", f"{sentence} {sentence}", sentence]


def test_a_sentence_without_end_is_cut_between_words_else_anywhere() -> None:
    words = [chunk.body for chunk in chunks_of("word " * 150)]
    characters = [chunk.body for chunk in chunks_of("字" * 1000)]

    assert {word for body in words for word in body.split()} == {"word"}
    assert len(words) == 2
    assert [len(body) for body in characters] == [400, 400, 200]


def test_lines_of_a_long_table_stay_whole() -> None:
    rows = [f"| 型号{n} | {'好' * 60} |" for n in range(12)]

    chunks = chunks_of("\n".join(rows))

    assert len(chunks) > 1
    assert [row for chunk in chunks for row in chunk.body.split("\n")] == rows


def test_headings_begin_chunks_and_know_those_above_them() -> None:
    text = "开头\n# 一\n## 二\n乙\n### 三\n丙\n## 四\n丁"

    chunks = chunks_of(text)

    assert [(c.title, c.hier_title, c.body) for c in chunks] == [
        ("书", "书", "开头"),
        ("二", "一 > 二", "乙"),
        ("三", "一 > 二 > 三", "丙"),
        ("四", "一 > 四", "丁"),
    ]


def test_a_heading_without_text_is_a_text_itself() -> None:
    chunks = chunks_of("# 一\n# 一\n正文\n# 二")

    assert [(c.title, c.body) for c in chunks] == [("一", "一"), ("一", "正文"), ("二", "二")]


def test_comments_in_fenced_code_are_no_headings() -> None:
    (chunk,) = chunks_of("# 安装\n```sh\n# first\npip install x\n```\n完")

    assert chunk.title == "安装"
    assert "# first\npip" in chunk.body


def test_images_leave_the_text() -> None:
    url = "https://x.oss/a_(1).png?Expires=1&Signature=a%2Fb"
    text = f'# 图 ![标](t.png)\n前![甲]({url})后。![乙](<b.png> "说明")\n\n# 只有图\n![](c.png)'

    first, second = chunks_of(text)

    assert first.title == "图"
    assert first.body == "前后。"
    assert first.images == ("t.png", url, "b.png")
    assert (second.title, second.body, second.images) == ("只有图", "只有图", ("c.png",))
    assert "![" not in first.content + second.content


def test_pages_begin_chunks_and_keep_the_heading() -> None:
    chunks = chunks_of(pages=["# 一\n甲", " ", "乙\n# 二", "丙"])

    assert [(c.title, c.body, c.page_number) for c in chunks] == [
        ("一", "甲", (1,)),
        ("一", "乙", (3,)),
        ("二", "丙", (4,)),
    ]
    assert chunks_of("# 一\n甲")[0].page_number == ()


def test_metadata_stands_in_the_header_of_each_chunk() -> None:
    document = Document("书", "文", metadata={"类型": "电子书", "年": 2024, "作者": ["甲", "乙"]})

    (chunk,) = KnowledgeBase("库", [document]).chunks

    assert '类型:["电子书"]\n年:["2024"]\n作者:["甲","乙"]\n【正文】' in chunk.content


def test_chunks_without_a_word_are_not_found() -> None:
    assert KnowledgeBase("库", rows=[{"!": "?"}]).scores("你好") == []


def test_texts_are_read_in_the_encodings_that_occur(tmp_path: Path) -> None:
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
    word = docx.Document()
    word.add_heading("手册", level=0)
    word.add_paragraph("前言。")
    word.add_heading("价格\n表", level=1)
    table = word.add_table(rows=3, cols=2)
    for cell, text in zip(
        (cell for row in table.rows for cell in row.cells), ["#", "价格", "小满", "1099"], strict=False
    ):
        cell.text = text
    table.cell(2, 0).merge(table.cell(2, 1)).text = "含税"
    table.cell(1, 1).add_table(rows=1, cols=1).cell(0, 0).text = "人民币"
    word.add_paragraph("# no heading of this document, but kept")
    word.save(str(tmp_path / "价目.docx"))
    (tmp_path / "~$价目.docx").write_bytes(b"lock")

    base = KnowledgeBase.from_folder(tmp_path)

    assert [document.name for document in base.documents] == ["价目"]
    first, second, *_ = base.chunks
    assert (first.hier_title, first.body) == ("手册", "前言。")
    assert second.hier_title == "手册 > 价格 表"
    assert second.body == "| # | 价格 |\n| 小满 | 1099 | 人民币 | |\n| 含税 |"
    assert "but kept" in base.chunks[-1].body


def test_pdfs_know_their_pages(tmp_path: Path) -> None:
    (tmp_path / "guide.pdf").write_bytes(pdf_of("The first page.", "The second page."))

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
        ("cut.pdf", pdf_of("x")[:200]),
        ("picture.pdf", pdf_of("")),
        ("bad.docx", b"no zip"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ValueError, match=name):
        KnowledgeBase.from_folder(tmp_path)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="missing is no folder"):
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

    with pytest.raises(ModuleNotFoundError, match=rf"{package}.*langchain-bailian-app\[emulator\]"):
        KnowledgeBase.from_folder(tmp_path)


def test_two_files_of_one_name_are_two_documents(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.md").write_text("# 同名\n文", encoding="utf-8")

    base = KnowledgeBase.from_folder(tmp_path)

    assert [d.name for d in base.documents] == ["同名", "同名"]
    assert base.documents[0].file_id == Document("同名").file_id
    assert len({chunk.chunk_id for chunk in base.chunks}) == 2


def test_thoughts_cannot_be_sent_always_and_never() -> None:
    with pytest.raises(ValueError, match="never_thoughts"):
        App("x", always_thoughts=True, never_thoughts=True)
