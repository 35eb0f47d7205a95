"""What the replies of a knowledge base hold; its requests are in `test_fields`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from langchain_bailian_app._answer.frames import Frame
from langchain_bailian_app._answer.passages import Passage
from langchain_bailian_app.retrievers._queries import id_from_reply, passages_from_reply

NODES = [{"node": {"text": "茶", "id_": "chunk"}, "score": 0.5}]
PASSAGE = Passage(text="茶", chunk_id="chunk", score=0.5)


@pytest.mark.parametrize(
    ("extra", "found"),
    [({"id": "kb"}, "kb"), ({"id": 5}, "5"), ({"id": ""}, None), ({"id": None}, None), ({}, None)],
)
def test_an_id_is_read_from_a_reply_that_names_one(extra: dict[str, Any], found: str | None) -> None:
    assert id_from_reply(Frame(extra=extra)) == found


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        ({"nodes": NODES}, [PASSAGE]),
        ({"nodes": json.dumps(NODES)}, [PASSAGE]),
        ({"data": {"nodes": NODES}}, [PASSAGE]),
        ({"nodes": NODES, "data": {"nodes": []}}, [PASSAGE]),
        ({"nodes": []}, []),
        ({"nodes": None}, []),
        ({"nodes": "none"}, None),
        ({"nodes": {}}, None),
        ({"data": {"total": 1}}, None),
        ({"data": "none"}, None),
        ({}, None),
    ],
)
def test_nothing_found_is_told_from_a_reply_that_does_not_say(
    extra: dict[str, Any], found: list[Passage] | None
) -> None:
    assert passages_from_reply(Frame(extra=extra)) == found
