"""Lists that every frame repeats: read as if each frame were parsed whole, but not parsed."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_bailian_app._answer.repeated_fields import Snapshots

LONG = "海关" * 1500
REFERENCES = [{"index_id": "1", "text": f'【正文】"{LONG}\\]'}, {"index_id": "2", "images": []}]
STEPS = [{"action": "rag", "observation": json.dumps([{"content": LONG}])}]
# Each of them may mislead a search for the bytes of a list.
HARMLESS = [
    "好",
    LONG,
    '"doc_references":[1]',
    json.dumps({"doc_references": REFERENCES}),
    '\\"thoughts\\":[',
]


def body(text: Any = "好", **output: Any) -> bytes:
    whole = {"output": {"text": text, **output}, "usage": {}, "request_id": "r"}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


frames = st.lists(
    st.builds(
        body,
        st.sampled_from(HARMLESS),
        doc_references=st.sampled_from([REFERENCES, REFERENCES[:1], [], None, "x", 0]),
        thoughts=st.sampled_from([STEPS, [*STEPS, {"action_type": "reasoning"}], [], None]),
        more=st.sampled_from([None, {"doc_references": REFERENCES}, [STEPS], LONG]),
    ),
    max_size=8,
)


@given(frames)
def test_every_frame_is_what_its_bytes_say(several: list[bytes]) -> None:
    snapshots = Snapshots()

    assert [snapshots.loads(data) for data in several] == [json.loads(data) for data in several]


@pytest.mark.parametrize("name", ["doc_references", "thoughts"])
def test_a_list_that_comes_again_is_the_same_object(name: str) -> None:
    snapshots = Snapshots()
    several = [snapshots.loads(body(str(n), **{name: REFERENCES})) for n in range(4)]

    assert several[1]["output"][name] is not several[0]["output"][name]
    assert several[3]["output"][name] is several[2]["output"][name]
    assert [frame["output"]["text"] for frame in several] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("indent", [None, 1], ids=["in a line", "indented"])
def test_spaces_between_are_no_obstacle(indent: int | None) -> None:
    snapshots = Snapshots()
    data = json.dumps({"output": {"thoughts": STEPS}}, indent=indent).encode()
    several = [snapshots.loads(data) for _ in range(4)]

    assert several == [json.loads(data)] * 4
    assert several[3]["output"]["thoughts"] is several[2]["output"]["thoughts"]


@pytest.mark.parametrize("data", [b"[%b]" % (b"1," * 4000 + b"1"), b'{"output":%b1}' % (b" " * 5000)])
def test_other_shapes_are_passed_on(data: bytes) -> None:
    snapshots = Snapshots()

    assert snapshots.loads(data) == json.loads(data)


@pytest.mark.parametrize("value", [LONG, {"text": LONG}, 5, True])
def test_what_stands_in_the_place_of_a_list_is_read_each_time(value: Any) -> None:
    snapshots = Snapshots()
    several = [body(LONG, thoughts=value, more=[1])] * 4

    assert [snapshots.loads(data) for data in several] == [json.loads(data) for data in several]


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"output": {"more": {"thoughts": STEPS}}},
        {"thoughts": STEPS, "output": None},
        {"thoughts": STEPS},
    ],
)
def test_a_known_list_in_another_place_stays_there(elsewhere: dict[str, Any]) -> None:
    snapshots = Snapshots()
    for _ in range(3):
        snapshots.loads(body(thoughts=STEPS))

    assert (
        snapshots.loads(json.dumps(elsewhere, ensure_ascii=False, separators=(",", ":")).encode())
        == elsewhere
    )


def test_garbage_is_a_value_error_also_behind_a_known_list() -> None:
    snapshots = Snapshots()
    for _ in range(3):
        snapshots.loads(body(doc_references=REFERENCES))
    with pytest.raises(ValueError):  # noqa: PT011  # its text is the parser's
        snapshots.loads(body(doc_references=REFERENCES)[:-1])


def test_known_lists_cost_a_fraction_of_parsing_them() -> None:
    many = [{"index_id": str(number), "text": LONG} for number in range(40)]
    data = body(doc_references=many, thoughts=[{"observation": json.dumps(many)}])
    snapshots = Snapshots()
    seconds = []
    for _ in range(20):
        start = time.process_time()
        snapshots.loads(data)
        seconds.append(time.process_time() - start)

    assert min(seconds[5:]) < min(seconds[:2]) / 2
