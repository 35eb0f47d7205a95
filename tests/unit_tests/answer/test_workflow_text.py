"""Tests for the new text of a node, and for merging it with `text`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_bailian_app._answer.workflow_text import (
    NodeTextReader,
    SharedStreamMode,
    WorkflowTextMerger,
)


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        pytest.param(["春", "春眠"], "春春眠", id="once may be chance"),
        pytest.param(["春", "春眠", "春眠不"], "春眠不", id="the same text twice"),
        pytest.param(
            ["春眠不觉晓处处", "春眠不觉晓处处闻"], "春眠不觉晓处处" * 2 + "闻", id="a few words"
        ),
        pytest.param(["春眠不觉晓处处闻", "春眠不觉晓处处闻啼"], "春眠不觉晓处处闻啼", id="a phrase"),
        pytest.param(["春", "春", "春眠"], "春春春眠", id="a repetition is not evidence"),
        pytest.param(["春", "春眠", "晓"], "春春眠晓", id="not a continuation"),
    ],
)
def test_text_is_cumulative_where_its_growth_cannot_be_chance(pieces: list[str], text: str) -> None:
    reader = NodeTextReader(SharedStreamMode())
    emitted = ""
    for piece in pieces:
        reader.add_unclassified(piece)
        emitted += reader.take_new()

    reader.end()

    assert emitted + reader.take_new() == str(reader) == text
    assert reader.length == len(text)


@given(st.lists(st.text("春眠不觉晓", max_size=4), max_size=6), st.booleans(), st.data())
def test_text_of_nodes_and_output_is_emitted_once(
    pieces: list[str], prefers_output_text: bool, data: st.DataObject
) -> None:
    full_text = "".join(pieces)
    merger = WorkflowTextMerger(prefers_output_text=prefers_output_text)
    emitted = [merger.feed(piece, "") for piece in pieces]
    end = data.draw(st.integers(0, len(full_text)))

    emitted += [merger.feed("", full_text[:end]), merger.feed("", full_text[end:], last=True)]

    assert "".join(emitted) == full_text
    assert merger.final_text is None
