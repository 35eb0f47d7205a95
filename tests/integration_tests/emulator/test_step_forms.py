"""Tests of the emulator's switches for the form of steps and the field of the reasoning."""

import itertools
from typing import Any

import pytest

from langchain_bailian_app.emulator import App, BailianEmulator, Reply
from tests.integration_tests.emulator.test_completion import call_app, parse_frames

STEP = {
    "action_type": "mcp",
    "action": "find",
    "action_name": "查询",
    "arguments": '{"茶": "龙井", "n": 1}',
    "action_input_stream": '{"茶": "龙井", "n": 1}',
    "observation": '{"content": [{"type": "text", "text": "杭州"}]}',
    "index": 7,
}
TELEPORT = {"action_type": "teleport", "beam": {"up": True}}
STREAMED = ("arguments", "action_input_stream", "observation")


def read_thoughts(bailian: BailianEmulator, **fields: Any) -> list[list[dict[str, Any]]]:
    """Return the thoughts of each frame that has any."""
    reply = Reply("好。", reasoning="想一想。", steps=[STEP, TELEPORT, STEP])
    app_id = bailian.add_app(App("finder", answer=lambda _: reply, **fields))
    response = call_app(
        bailian, "?", app_id=app_id, sse=True, has_thoughts=True, incremental_output=True
    )
    frames = [frame["output"] for frame in parse_frames(response)]
    assert "".join(frame["text"] for frame in frames) == "好。"
    return [frame["thoughts"] for frame in frames if "thoughts" in frame]


@pytest.mark.parametrize("repeat_steps", [False, True])
def test_increments_of_a_step_join_to_the_step(bailian: BailianEmulator, repeat_steps: bool) -> None:
    frames = read_thoughts(bailian, step_form="increments", repeat_steps=repeat_steps)

    numbers = [number for number, (*_, entry) in enumerate(frames) if entry == TELEPORT]
    pieces = [frame[0] for frame in frames[: numbers[0]]]
    assert len(pieces) > 5
    assert {name: "".join(piece.get(name, "") for piece in pieces) for name in STREAMED} == {
        name: STEP[name] for name in STREAMED
    }
    assert [piece.get("index") for piece in pieces] == [7] + [None] * (len(pieces) - 1)
    assert not any(piece.get("arguments") and piece.get("observation") for piece in pieces)
    last_pieces = frames[numbers[0] + 1 :]
    finished = [STEP | dict.fromkeys(STREAMED, ""), TELEPORT]
    assert [frame[:-1] for frame in last_pieces[:5]] == [finished if repeat_steps else []] * 5


def test_growing_steps_repeat_their_beginning_and_the_finished_steps(bailian: BailianEmulator) -> None:
    frames = read_thoughts(bailian, step_form="growing")

    for name in STREAMED:
        values = [frame[0][name] for frame in frames]
        assert all(new.startswith(old) for old, new in itertools.pairwise(values))
        assert values[0] != values[-1] == STEP[name]
    assert frames[-1] == [STEP, TELEPORT, STEP]


@pytest.mark.parametrize("sse", [True, False])
@pytest.mark.parametrize("field", ["thought", "response", "reasoning_content"])
def test_reasoning_is_in_one_field(bailian: BailianEmulator, field: Any, sse: bool) -> None:
    reply = Reply("好。", reasoning="想。", steps=[])
    app = App("thinker", answer=lambda _: reply, thinking="on", reasoning_field=field)
    response = call_app(bailian, "?", app_id=bailian.add_app(app), sse=sse, has_thoughts=True)
    body = parse_frames(response)[0] if sse else response.json()

    (entry,) = body["output"]["thoughts"]
    texts = {name: text for name, text in entry.items() if text and not name.startswith("action")}
    assert texts == ({"thought": "想。", "response": "想。"} if field == "thought" else {field: "想。"})


@pytest.mark.parametrize("field", ["step_form", "reasoning_field"])
def test_unknown_forms_are_rejected(field: str) -> None:
    with pytest.raises(ValueError, match=f"invalid `{field}`: expected one of .*, got 'x'"):
        App("a", **{field: "x"})
