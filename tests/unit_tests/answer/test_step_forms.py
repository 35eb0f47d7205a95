"""Random steps in each form in which frames may contain them: the steps come out as they went in.

Where a form cannot be recognized, no step is generated: see `steps` below.
"""

from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from langchain_bailian_app._answer.events import StepCall, StepResult
from langchain_bailian_app._answer.frames import Frame
from langchain_bailian_app._answer.wire_json import parse_nested
from tests.fixtures import assemble, make_chunks, merge_chunks, split_at

Entry = dict[str, Any]

STREAMED = {"arguments", "action_input_stream", "observation"}

# Equal arguments are likely, so calls are repeated.
ARGUMENTS = ['{"茶": "龙井", "n": [1, {}]}', '{"n": 1}', "杭州", "苏州茶馆"]
# Each text begins with its own character: `哈` and `哈哈` are both increments and snapshots.
FIRST_CHARACTERS = "甲乙丙丁"
TEXTS = st.text("晴雨 ,[{", max_size=12)
JSON_TEXTS = st.sampled_from(['{"r": [1, "x"]}', '[{"产地": "杭州"}, 2]', '{"isError": true}'])


@st.composite
def steps(draw: st.DrawFn) -> list[Entry]:
    """Return complete entries.

    Without a field for arguments, the observations of two calls look like increments of one, so such
    a tool is called once.
    """
    entries = []
    arguments = st.sampled_from([*ARGUMENTS, draw(st.sampled_from(["{}", {}]))])
    fields = draw(st.sampled_from([["arguments"], ["action_input_stream", "arguments"]]))
    for number in range(draw(st.integers(1, len(FIRST_CHARACTERS)))):
        observation = draw(TEXTS.map(FIRST_CHARACTERS[number].__add__) | JSON_TEXTS)
        has_arguments = draw(st.booleans()) or draw(st.booleans())
        name = draw(st.sampled_from(["find", "weather"])) if has_arguments else f"now{number}"
        entry: Entry = {"action_type": "mcp", "action": name, "action_name": name}
        if has_arguments:
            entry |= dict.fromkeys(fields, draw(arguments))
        entry["observation"] = observation
        entries.append(entry)
    return entries


@dataclass
class Form:
    """The form in which frames contain steps."""

    kind: str
    list_kind: str
    reasoning: str
    repeats_at_end: bool


FORMS = st.builds(
    Form,
    st.sampled_from(["whole", "increments", "snapshots"]),
    st.sampled_from(["current step", "all steps", "parallel steps"]),
    st.sampled_from(["none", "between", "beside"]),
    st.booleans(),
)


def split_step(entry: Entry, form: Form, draw: st.DrawFn) -> list[Entry]:
    """Return the entry in successive frames."""
    names = {name: entry[name] for name in ("action_type", "action", "action_name")}
    values = {name: value for name, value in entry.items() if name not in names}
    if form.kind == "whole":
        call = names | values | {"observation": ""}
        return [call, entry] if draw(st.booleans()) else [entry]
    frames: list[Entry] = []
    so_far = dict.fromkeys(values, "")
    for name, value in values.items():
        pieces = [value]
        if isinstance(value, str):
            pieces = split_at(value, draw(st.lists(st.integers(0, len(value)), max_size=6)))
        for piece in filter(lambda piece: piece not in ("", None), pieces):
            so_far[name] = so_far[name] + piece if so_far[name] else piece
            frames.append(names | ({name: piece} if form.kind == "increments" else so_far))
    return frames


def list_steps(entries: list[Entry], form: Form, draw: st.DrawFn) -> list[list[Entry]]:
    """Return the steps of each frame."""
    rows: list[list[Entry]] = []
    pieces = [split_step(entry, form, draw) for entry in entries]
    fillers = entries
    if form.kind == "increments":
        fillers = [entry | dict.fromkeys(entry.keys() & STREAMED, "") for entry in entries]
    if form.list_kind == "parallel steps":
        return [
            [piece or filler for piece, filler in zip(row, fillers, strict=True)]
            for row in zip_longest(*pieces)
        ]
    for number, step in enumerate(pieces):
        finished = fillers[:number] if form.list_kind == "all steps" else []
        rows += [[*finished, piece] for piece in step]
    return rows


def render(entries: list[Entry], form: Form, draw: st.DrawFn) -> list[Frame]:
    """Return the frames of an answer with these steps."""
    frames: list[Frame] = []
    for row in list_steps(entries, form, draw):
        think = {"action_type": "reasoning", "thought": f"想{len(frames)}，"}
        frames.append(Frame(thoughts=[*row, think] if form.reasoning == "beside" else row))
        # Text that has not grown before, or whose step has no arguments, looks whole.
        is_piece = form.kind == "increments" and all("arguments" in entry for entry in entries)
        is_whole = all(entry in entries for entry in row)
        if form.reasoning == "between" and (is_piece or is_whole) and draw(st.booleans()):
            frames.append(Frame(thoughts=[think]))
    whole = [dict(entry) for entry in entries] if form.repeats_at_end else []
    if draw(st.booleans()):
        return [*frames, Frame(text="茶"), Frame(thoughts=whole, finish_reason="stop")]
    return [*frames, Frame(text="茶", thoughts=whole, finish_reason="stop")]


@pytest.mark.slow
@given(st.data(), steps(), FORMS)
def test_steps_come_out_as_they_went_in(data: Any, entries: list[Entry], form: Form) -> None:
    event(form.kind)
    if form.kind != "increments" and form.list_kind == "current step":
        # An entry that equals an earlier one repeats it.
        entries = [entry for number, entry in enumerate(entries) if entry not in entries[:number]]
    frames = render(entries, form, data.draw)
    deltas, answer = assemble(frames)

    calls = {delta.id: delta for delta in deltas if isinstance(delta, StepCall)}
    results = {delta.call_id: delta.entry for delta in deltas if isinstance(delta, StepResult)}
    assert [results[call_id] for call_id in sorted(results)] == entries
    for call_id, entry in zip(sorted(calls), entries, strict=True):
        arguments = parse_nested(entry.get("arguments", {}))
        is_object = isinstance(arguments, dict)
        assert calls[call_id].args == (arguments if is_object else {"input": arguments})
    merged = merge_chunks(make_chunks(deltas, answer))
    assert merged.additional_kwargs["thoughts"] == answer.thoughts
    thoughts = [thought.get("thought", "") for frame in frames for thought in frame.thoughts or ()]
    assert answer.reasoning == "".join(thoughts)
