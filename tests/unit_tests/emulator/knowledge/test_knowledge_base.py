"""Search in the emulator's knowledge bases."""

from langchain_bailian_app.emulator import KnowledgeBase


def test_chunks_without_a_word_are_not_found() -> None:
    ((_, score),) = KnowledgeBase("库", rows=[{"!": "?"}]).scores("你好")

    assert score == 0
