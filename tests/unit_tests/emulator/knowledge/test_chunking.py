"""Chunking of the emulator's documents."""

from hypothesis import example, given
from hypothesis import strategies as st

from langchain_bailian_app.emulator import Document, KnowledgeBase
from langchain_bailian_app.emulator._knowledge.chunking import MAX_BODY_CHARS
from langchain_bailian_app.emulator._knowledge.documents import Chunk

ANY_TEXT = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("。.\n  #`ab字"), max_size=900
)
PLAIN_TEXT = st.lists(
    st.text("ab字。.! \n\t", max_size=300) | st.text("x", min_size=390, max_size=900), max_size=5
).map("".join)


def chunk_text(text: str = "", *, pages: list[str] | None = None, name: str = "书") -> list[Chunk]:
    return KnowledgeBase("库", [Document(name, text, pages=pages or [])]).chunks


def strip_whitespace(text: str) -> str:
    return "".join(text.split())


@given(PLAIN_TEXT)
def test_no_text_is_lost_and_no_chunk_is_too_long(text: str) -> None:
    bodies = [chunk.body for chunk in chunk_text(text)]

    assert strip_whitespace("".join(bodies)) == strip_whitespace(text)
    assert all(0 < len(body) <= MAX_BODY_CHARS + 1 for body in bodies)
    # A word is not split.
    words = [word for word in text.split() if word.isalpha() and len(word) < MAX_BODY_CHARS // 2]
    assert all(any(word in body for body in bodies) for word in words)


@given(ANY_TEXT)
@example("# 甲\n# 甲\n## 乙\n```\n# no heading\n```\n# 丙")
@example("#\n# \n#x\n \x85# y")
def test_no_character_is_lost_between_titles_and_bodies(text: str) -> None:
    chunks = chunk_text(text)

    all_text = strip_whitespace("".join(chunk.hier_title + chunk.body for chunk in chunks))
    assert set(strip_whitespace(text)) <= set(all_text)
    lines = [line for line in text.split("\n") if not line.startswith("#") and line.strip()]
    bodies = strip_whitespace("".join(chunk.body for chunk in chunks))
    position = 0
    for line in lines:
        position = bodies.index(strip_whitespace(line), position) + len(strip_whitespace(line))


@given(st.lists(st.sampled_from(["一。", " ", "\n\n", "x" * 399, "![图](u{})"]), max_size=12))
def test_each_image_belongs_to_one_chunk_in_order(parts: list[str]) -> None:
    numbered_parts = [part.format(n) for n, part in enumerate(parts)]

    chunks = chunk_text("# 图\n" + "".join(numbered_parts))

    urls = [part[5:-1] for part in numbered_parts if part.startswith("!")]
    assert [url for chunk in chunks for url in chunk.images] == urls
    text = "".join(part for part in numbered_parts if not part.startswith("!"))
    assert strip_whitespace("".join(chunk.body for chunk in chunks)) == strip_whitespace(
        text
    ) or not strip_whitespace(text)


def test_long_paragraphs_are_split_at_sentence_ends() -> None:
    sentences = [f"{'字' * 120}{n}。" for n in range(7)]

    bodies = [chunk.body for chunk in chunk_text("".join(sentences))]

    assert bodies == ["".join(sentences[:3]), "".join(sentences[3:6]), sentences[6]]


def test_long_sections_are_split_between_paragraphs() -> None:
    text = "# 书\n\n" + "\n\n".join("字" * 150 for _ in range(5))

    chunks = KnowledgeBase("长", [Document("书", text)]).chunks

    assert [len(chunk.body) for chunk in chunks] == [301, 301, 150]
    assert {chunk.title for chunk in chunks} == {"书"}


def test_english_is_split_between_sentences_and_never_in_a_number() -> None:
    sentence = f"Version 3.14 is {'very ' * 30}new."

    bodies = [chunk.body for chunk in chunk_text(" ".join([sentence] * 5))]

    assert bodies == [f"{sentence} {sentence}", f"{sentence} {sentence}", sentence]


def test_a_sentence_without_end_is_split_between_words_if_it_has_any() -> None:
    word_bodies = [chunk.body for chunk in chunk_text("word " * 150)]
    character_bodies = [chunk.body for chunk in chunk_text("字" * 1000)]

    assert {word for body in word_bodies for word in body.split()} == {"word"}
    assert len(word_bodies) == 2
    assert [len(body) for body in character_bodies] == [400, 400, 200]


def test_lines_of_a_long_table_stay_whole() -> None:
    rows = [f"| 型号{n} | {'好' * 60} |" for n in range(12)]

    chunks = chunk_text("\n".join(rows))

    assert len(chunks) > 1
    assert [row for chunk in chunks for row in chunk.body.split("\n")] == rows


def test_headings_begin_chunks_and_include_their_parents() -> None:
    text = "开头\n# 一\n## 二\n乙\n### 三\n丙\n## 四\n丁"

    chunks = chunk_text(text)

    assert [(c.title, c.hier_title, c.body) for c in chunks] == [
        ("书", "书", "开头"),
        ("二", "一 > 二", "乙"),
        ("三", "一 > 二 > 三", "丙"),
        ("四", "一 > 四", "丁"),
    ]


def test_a_heading_without_text_is_a_chunk_of_its_own() -> None:
    chunks = chunk_text("# 一\n# 一\n正文\n# 二")

    assert [(c.title, c.body) for c in chunks] == [("一", "一"), ("一", "正文"), ("二", "二")]


def test_comments_in_fenced_code_are_not_headings() -> None:
    (chunk,) = chunk_text("# 安装\n```sh\n# first\npip install x\n```\n完")

    assert chunk.title == "安装"
    assert "# first\npip" in chunk.body


def test_images_are_removed_from_the_text() -> None:
    url = "https://x.oss/a_(1).png?Expires=1&Signature=a%2Fb"
    text = f'# 图 ![标](t.png)\n前![甲]({url})后。![乙](<b.png> "说明")\n\n# 只有图\n![](c.png)'

    first, second = chunk_text(text)

    assert first.title == "图"
    assert first.body == "前后。"
    assert first.images == ("t.png", url, "b.png")
    assert (second.title, second.body, second.images) == ("只有图", "只有图", ("c.png",))
    assert "![" not in first.content + second.content


def test_pages_begin_chunks_and_keep_the_heading() -> None:
    chunks = chunk_text(pages=["# 一\n甲", " ", "乙\n# 二", "丙"])

    assert [(c.title, c.body, c.page_number) for c in chunks] == [
        ("一", "甲", (1,)),
        ("一", "乙", (3,)),
        ("二", "丙", (4,)),
    ]
    assert chunk_text("# 一\n甲")[0].page_number == ()
