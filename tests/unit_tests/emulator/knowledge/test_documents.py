"""Tests of the emulator's documents and their chunks."""

from langchain_bailian_app.emulator import Document, KnowledgeBase


def test_metadata_is_in_the_header_of_each_chunk() -> None:
    document = Document("书", "文", metadata={"类型": "电子书", "年": 2024, "作者": ["甲", "乙"]})

    (chunk,) = KnowledgeBase("库", [document]).chunks

    assert '类型:["电子书"]\n年:["2024"]\n作者:["甲","乙"]\n【正文】' in chunk.content
