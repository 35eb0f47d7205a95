"""Tests for the cache of repeated lists, whose result equals that of full parsing."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_bailian_app._answer.repeated_field_cache import RepeatedFieldCache

LONG = "海关" * 1500
REFERENCES = [{"index_id": "1", "text": f'【正文】"{LONG}\\]'}, {"index_id": "2", "images": []}]
STEPS = [{"action": "rag", "observation": json.dumps([{"content": LONG}])}]
# Each of these may mislead a search for the bytes of a list.
MISLEADING_TEXTS = [
    "好",
    LONG,
    '"doc_references":[1]',
    json.dumps({"doc_references": REFERENCES}),
    '\\"thoughts\\":[',
]


def body(text: Any = "好", **output: Any) -> bytes:
    document = {"output": {"text": text, **output}, "usage": {}, "request_id": "r"}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


FRAME_BODIES = st.lists(
    st.builds(
        body,
        st.sampled_from(MISLEADING_TEXTS),
        doc_references=st.sampled_from([REFERENCES, REFERENCES[:1], [], None, "x", 0]),
        thoughts=st.sampled_from([STEPS, [*STEPS, {"action_type": "reasoning"}], [], None]),
        more=st.sampled_from([None, {"doc_references": REFERENCES}, [STEPS], LONG]),
    ),
    max_size=8,
)


@given(FRAME_BODIES)
def test_every_frame_equals_its_parsed_bytes(bodies: list[bytes]) -> None:
    cache = RepeatedFieldCache()

    assert [cache.loads(data) for data in bodies] == [json.loads(data) for data in bodies]


@pytest.mark.parametrize("name", ["doc_references", "thoughts"])
def test_a_repeated_list_is_the_same_object(name: str) -> None:
    cache = RepeatedFieldCache()
    parsed = [cache.loads(body(str(n), **{name: REFERENCES})) for n in range(4)]

    assert parsed[1]["output"][name] is not parsed[0]["output"][name]
    assert parsed[3]["output"][name] is parsed[2]["output"][name]
    assert [frame["output"]["text"] for frame in parsed] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("indent", [None, 1], ids=["in a line", "indented"])
def test_whitespace_does_not_prevent_caching(indent: int | None) -> None:
    cache = RepeatedFieldCache()
    data = json.dumps({"output": {"thoughts": STEPS}}, indent=indent).encode()
    parsed = [cache.loads(data) for _ in range(4)]

    assert parsed == [json.loads(data)] * 4
    assert parsed[3]["output"]["thoughts"] is parsed[2]["output"]["thoughts"]


@pytest.mark.parametrize("data", [b"[%b]" % (b"1," * 4000 + b"1"), b'{"output":%b1}' % (b" " * 5000)])
def test_other_documents_are_parsed_as_usual(data: bytes) -> None:
    cache = RepeatedFieldCache()

    assert cache.loads(data) == json.loads(data)


@pytest.mark.parametrize("value", [LONG, {"text": LONG}, 5, True])
def test_a_value_that_is_not_a_list_is_parsed_each_time(value: Any) -> None:
    cache = RepeatedFieldCache()
    bodies = [body(LONG, thoughts=value, more=[1])] * 4

    assert [cache.loads(data) for data in bodies] == [json.loads(data) for data in bodies]


@pytest.mark.parametrize(
    "document",
    [
        {"output": {"more": {"thoughts": STEPS}}},
        {"thoughts": STEPS, "output": None},
        {"thoughts": STEPS},
    ],
)
def test_a_cached_list_in_another_position_stays_there(document: dict[str, Any]) -> None:
    cache = RepeatedFieldCache()
    for _ in range(3):
        cache.loads(body(thoughts=STEPS))

    assert (
        cache.loads(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())
        == document
    )


def test_invalid_json_after_a_cached_list_is_a_value_error() -> None:
    cache = RepeatedFieldCache()
    for _ in range(3):
        cache.loads(body(doc_references=REFERENCES))
    with pytest.raises(ValueError):  # noqa: PT011  # the message comes from the parser
        cache.loads(body(doc_references=REFERENCES)[:-1])


def test_cached_lists_cost_a_fraction_of_parsing_them() -> None:
    references = [{"index_id": str(number), "text": LONG} for number in range(40)]
    data = body(doc_references=references, thoughts=[{"observation": json.dumps(references)}])
    cache = RepeatedFieldCache()
    seconds = []
    for _ in range(20):
        start = time.process_time()
        cache.loads(data)
        seconds.append(time.process_time() - start)

    assert min(seconds[5:]) < min(seconds[:2]) / 2
