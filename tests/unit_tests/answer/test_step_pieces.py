"""Tests for steps that arrive in pieces: as increments or as growing snapshots.

The pieces are made from complete entries, so the expected result is what the complete entries give. No
capture shows either form.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_bailian_app._answer.events import ReasoningDelta, StepCall, StepResult, TextDelta
from langchain_bailian_app._answer.frames import Frame
from langchain_bailian_app._answer.steps import StepEvent, StepReader
from tests.fixtures import (
    assemble,
    encode_sse,
    frame_body,
    make_chunks,
    merge_chunks,
    parse_frames,
    split_at,
)

Entry = dict[str, Any]
MakeFrames = Callable[[list[list[Entry]]], Iterator[list[Entry]]]

NAMES: Entry = {"action_type": "mcp", "action": "find", "action_name": "查询"}
CALL: Entry = NAMES | {"arguments": '{"茶": "龙井", "n": [1, 2]}'}
DONE: Entry = CALL | {"observation": '[{"产地": "杭州"}, 2]'}


def read_frames(frames: list[list[Entry]]) -> list[StepEvent]:
    """Return the events of all frames."""
    reader = StepReader()
    events: list[StepEvent] = []
    for frame in frames:
        reader.next_frame()
        events += [event for entry in frame for event in reader.feed(entry)]
    return events + reader.end()


def make_increments(steps: list[list[Entry]]) -> Iterator[list[Entry]]:
    """Yield frames that contain only the next piece; `steps` has the pieces of each step."""
    for pieces in steps:
        for piece in pieces:
            yield [piece]


def make_padded_increments(steps: list[list[Entry]]) -> Iterator[list[Entry]]:
    """Yield frames with all steps so far, in which finished steps have empty values."""
    for number, pieces in enumerate(steps):
        finished = [dict.fromkeys(done[0], "") | NAMES for done in steps[:number]]
        for piece in pieces:
            yield [*finished, piece]


def make_snapshots(steps: list[list[Entry]]) -> Iterator[list[Entry]]:
    """Yield frames with all steps so far, in which the last step grows."""
    finished: list[Entry] = []
    for pieces in steps:
        snapshot = dict.fromkeys(DONE, "")
        for piece in pieces:
            snapshot = {name: text + piece.get(name, "") for name, text in snapshot.items()} | NAMES
            yield [*finished, snapshot]
        finished.append(snapshot)


FORMS = [make_increments, make_padded_increments, make_snapshots]
all_forms = pytest.mark.parametrize("make_frames", FORMS, ids=lambda form: form.__name__)


def split_entry(entry: Entry, arguments: list[str], observation: list[str]) -> list[Entry]:
    """Return the pieces of an entry."""
    return [NAMES | {"arguments": piece} for piece in arguments if piece] + [
        NAMES | {"observation": piece} for piece in observation if piece
    ]


def characters(entry: Entry) -> list[Entry]:
    return split_entry(entry, list(entry["arguments"]), list(entry.get("observation", "")))


@all_forms
def test_a_step_in_pieces_is_one_step(make_frames: MakeFrames) -> None:
    call, result = read_frames(list(make_frames([characters(DONE)])))

    assert call == StepCall("bailian_0", "查询", {"茶": "龙井", "n": [1, 2]}, None)
    assert result == StepResult("bailian_0", DONE)


@all_forms
def test_the_call_is_reported_as_soon_as_its_arguments_are_complete(make_frames: MakeFrames) -> None:
    frames = list(make_frames([characters(DONE)]))
    reader = StepReader()
    counts = []
    for (entry,) in frames:
        reader.next_frame()
        counts.append(len(reader.feed(entry)))

    assert [number for number, count in enumerate(counts, 1) if count] == [
        len(DONE["arguments"]),
        len(frames),
    ]


@all_forms
def test_repeated_calls_with_equal_arguments_are_separate_steps(make_frames: MakeFrames) -> None:
    other = CALL | {"observation": '{"产地": "苏州"}'}
    steps = [DONE, other, DONE]

    events = read_frames(list(make_frames([characters(entry) for entry in steps])))

    assert [event.entry for event in events if isinstance(event, StepResult)] == steps
    assert [event.id for event in events if isinstance(event, StepCall)] == [
        "bailian_0",
        "bailian_1",
        "bailian_2",
    ]


def test_parallel_calls_of_one_tool_are_told_apart_by_their_position() -> None:
    frames = [
        [NAMES | {"arguments": '{"n"'}, NAMES | {"arguments": '{"n"'}],
        [NAMES | {"arguments": ": 1}"}, NAMES | {"arguments": ": 2}"}],
        [NAMES | {"arguments": "", "observation": '{"r"'}, NAMES | {"observation": "[2"}],
        [NAMES | {"observation": ": 1}"}, NAMES | {"observation": "]"}],
    ]

    events = read_frames(frames)

    assert [event.args for event in events if isinstance(event, StepCall)] == [{"n": 1}, {"n": 2}]
    assert [
        (event.call_id, event.entry["observation"]) for event in events if isinstance(event, StepResult)
    ] == [("bailian_0", '{"r": 1}'), ("bailian_1", "[2]")]


def test_results_of_calls_at_one_position_arrive_in_the_order_of_the_calls() -> None:
    frames = [
        *([NAMES | {"arguments": text}] for text in ('{"n": ', "1}", '{"n": 2}')),
        *([NAMES | {"observation": text}] for text in ("[1", "]", "[2]")),
    ]

    results = [event for event in read_frames(frames) if isinstance(event, StepResult)]

    assert [(event.entry["arguments"], event.entry["observation"]) for event in results] == [
        ('{"n": 1}', "[1]"),
        ('{"n": 2}', "[2]"),
    ]


@pytest.mark.parametrize("observations", [["[1", ", 2", "]"], ["[1", "[1, 2", "[1, 2]"]])
def test_each_field_has_its_own_form(observations: list[str]) -> None:
    """The arguments are whole in each frame, although the observation arrives in pieces."""
    frames = [[CALL | {"observation": text}] for text in ("", *observations, "")]

    assert [event for event in read_frames(frames) if isinstance(event, StepResult)] == [
        StepResult("bailian_0", CALL | {"observation": "[1, 2]"})
    ]


def test_the_streamed_input_is_a_form_of_the_arguments() -> None:
    frames = [
        *([NAMES | {"action_input_stream": text}] for text in ('{"茶"', ': "龙', '井"}')),
        [NAMES | {"action_input_stream": "", "action_input": {"茶": "龙井"}}],
        [NAMES | {"observation": "[1]"}],
    ]

    call, result = read_frames(frames)

    assert isinstance(call, StepCall)
    assert call.args == {"茶": "龙井"}
    assert isinstance(result, StepResult)
    assert result.entry["action_input_stream"] == '{"茶": "龙井"}'


def test_an_empty_object_is_a_placeholder_while_the_streamed_input_grows() -> None:
    frames = [
        [NAMES | {"arguments": "{}", "action_input_stream": text}] for text in ('{"n"', '{"n": 1}')
    ]

    assert [event.args for event in read_frames(frames) if isinstance(event, StepCall)] == [{"n": 1}]


@pytest.mark.parametrize("pieces", [["今天", "晴，", "有风"], ["[信息] ", "没有", "结果"], ["{", "}x"]])
@pytest.mark.parametrize("make_frames", [make_increments, make_padded_increments])
def test_an_observation_that_is_not_json_is_joined(make_frames: MakeFrames, pieces: list[str]) -> None:
    frames = list(make_frames([split_entry(CALL, [CALL["arguments"]], pieces)]))

    result = read_frames(frames)[-1]

    assert result == StepResult("bailian_0", CALL | {"observation": "".join(pieces)})


def test_a_value_that_stays_the_same_is_not_joined() -> None:
    frames = [[NAMES | {"action_input": "茶", "observation": "晴"}]] * 5

    assert read_frames(frames)[1:] == [StepResult("bailian_0", frames[0][0])]


def test_an_entry_without_any_name_or_value_is_not_part_of_a_named_step() -> None:
    events = read_frames([[CALL], [{"response": "好"}]])

    assert [event.name for event in events if isinstance(event, StepCall)] == ["查询", "step"]


def test_a_truncated_observation_that_frames_repeat_is_one_result() -> None:
    step = CALL | {"observation": '[{"content": "龙井产于'}
    frames = [Frame(text=text, thoughts=[dict(step)]) for text in ("", "茶", "馆", "。")]
    deltas, answer = assemble([*frames, Frame(finish_reason="stop")])

    assert [type(delta) for delta in deltas] == [StepCall, *[TextDelta] * 3, StepResult]
    assert answer.thoughts == [step]


def test_pieces_without_a_name_belong_to_the_step_at_their_position() -> None:
    frames = [[NAMES | {"arguments": '{"n"'}], [{"arguments": ": 1}"}], [{"observation": "[1]"}]]

    call, result = read_frames(frames)

    assert isinstance(call, StepCall)
    assert (call.name, call.args) == ("查询", {"n": 1})
    assert result == StepResult("bailian_0", NAMES | {"arguments": '{"n": 1}', "observation": "[1]"})


@pytest.mark.parametrize(
    "boundary",
    [
        pytest.param({"thoughts": [NAMES | {"observation": "晴"}]}, id="its observation"),
        pytest.param({"thoughts": [{"action": "rag", "arguments": "{}"}]}, id="another step"),
        pytest.param({"text": "好的"}, id="the answer"),
    ],
)
def test_a_call_with_incomplete_arguments_comes_when_something_else_follows(boundary: Any) -> None:
    frames = [
        Frame(thoughts=[NAMES | {"arguments": '{"n'}]),
        Frame(**boundary),
        Frame(finish_reason="stop"),
    ]
    deltas, _ = assemble(frames)

    assert deltas[0] == StepCall("bailian_0", "查询", {"input": '{"n'}, None)


def test_a_call_whose_arguments_arrive_beside_text_is_awaited() -> None:
    frames = [
        Frame(text="我来查", thoughts=[NAMES | {"arguments": '{"n'}]),
        Frame(thoughts=[NAMES | {"arguments": '": 1}'}]),
        Frame(text="。", finish_reason="stop"),
    ]

    calls = [delta for delta in assemble(frames)[0] if isinstance(delta, StepCall)]

    assert [call.args for call in calls] == [{"n": 1}]


def test_text_and_reasoning_follow_the_result_before_them() -> None:
    step, think = CALL | {"observation": "晴"}, {"action_type": "reasoning", "thought": "想"}

    for frames in (
        [Frame(thoughts=[step]), Frame(thoughts=[think])],
        [Frame(thoughts=[step]), Frame(thoughts=[step, think])],
        [Frame(thoughts=[step]), Frame(text="茶")],
        [Frame(text="茶", thoughts=[step])],
        [Frame(text="绿"), Frame(thoughts=[step]), Frame(text="茶")],
    ):
        deltas, _ = assemble([*frames, Frame(finish_reason="stop")])

        assert [type(delta) for delta in deltas[-3:-1]] == [StepCall, StepResult]
        assert isinstance(deltas[-1], TextDelta | ReasoningDelta)


THINK: Entry = {"action_type": "reasoning", "thought": "想"}
PLAIN_CALL = NAMES | {"action_input": "杭州"}


@pytest.mark.parametrize(
    ("frames", "steps"),
    [
        pytest.param(
            [[PLAIN_CALL], [NAMES | {"action_input": "苏州", "observation": "雨"}]],
            [PLAIN_CALL, NAMES | {"action_input": "苏州", "observation": "雨"}],
            id="arguments beside an observation",
        ),
        pytest.param(
            [[PLAIN_CALL | {"arguments": {}}], [NAMES | {"arguments": "{}", "action_input": "苏州"}]],
            [PLAIN_CALL | {"arguments": {}}, NAMES | {"arguments": "{}", "action_input": "苏州"}],
            id="arguments beside a placeholder",
        ),
        *(
            pytest.param(
                [[NAMES | empty | {"observation": text}] for text in ("晴", "雨")],
                [NAMES | empty | {"observation": text} for text in ("晴", "雨")],
                id=f"no arguments: {empty}",
            )
            for empty in ({"arguments": {}}, {"arguments": "{}"}, {"action_input": []})
        ),
        pytest.param(
            [[CALL | {"observation": "晴"}], [NAMES | {"arguments": {}, "observation": "雨"}]],
            [CALL | {"observation": "晴"}, NAMES | {"arguments": {}, "observation": "雨"}],
            id="no arguments, after a call with arguments",
        ),
        pytest.param(
            [
                *([NAMES | {"arguments": text}] for text in ('{"n"', ": 1}")),
                [NAMES | {"observation": "[1]"}],
                *([NAMES | {"arguments": text}] for text in ('{"n"', '{"m": 1}')),
            ],
            [
                NAMES | {"arguments": '{"n": 1}', "observation": "[1]"},
                NAMES | {"arguments": '{"n"'},
                NAMES | {"arguments": '{"m": 1}'},
            ],
            id="JSON that cannot continue the JSON before it",
        ),
    ],
)
def test_whole_entries_are_not_joined(frames: list[list[Entry]], steps: list[Entry]) -> None:
    events = read_frames(frames)

    results = {event.call_id: event.entry for event in events if isinstance(event, StepResult)}
    assert [results[f"bailian_{number}"] for number in range(len(results))] == steps


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([[CALL], [THINK], [NAMES | {"observation": "今天"}], [THINK]], id="between"),
        pytest.param([[CALL, THINK], [NAMES | {"observation": "今天"}, THINK]], id="beside"),
        pytest.param(
            [
                [NAMES | {"arguments": CALL["arguments"][:9]}, THINK],
                [THINK],
                [NAMES | {"arguments": CALL["arguments"][9:]}, THINK],
                [NAMES | {"observation": "今天"}],
                [THINK],
            ],
            id="between the pieces of the arguments",
        ),
    ],
)
def test_reasoning_between_the_pieces_of_a_step_does_not_divide_it(frames: list[list[Entry]]) -> None:
    frames = [*frames, [NAMES | {"observation": "有风"}], [THINK]]
    deltas, answer = assemble([*(Frame(thoughts=thoughts) for thoughts in frames), Frame(text="茶")])

    assert answer.steps == [
        StepCall("bailian_0", "查询", {"茶": "龙井", "n": [1, 2]}, None),
        StepResult("bailian_0", CALL | {"observation": "今天有风"}),
    ]
    assert answer.reasoning == "想" * sum(THINK in thoughts for thoughts in frames)
    assert isinstance(deltas[-1], TextDelta)


@pytest.mark.parametrize("text", ["", "茶"])
def test_text_beside_the_pieces_of_an_observation_does_not_divide_it(text: str) -> None:
    pieces = [NAMES | {"observation": piece} for piece in ("今天", "有风")]
    _, answer = assemble(
        [
            Frame(thoughts=[CALL]),
            *(Frame(text=text, thoughts=[piece]) for piece in pieces),
            Frame(text="馆", finish_reason="stop"),
        ]
    )

    assert answer.thoughts == [CALL | {"observation": "今天有风"}]


@pytest.mark.parametrize("between", [[], [THINK]])
def test_a_call_with_a_longer_observation_is_the_same_call(between: list[Entry]) -> None:
    frames = [[CALL | {"observation": "今天"}, THINK], between, [CALL | {"observation": "今天晴"}]]
    _, answer = assemble([*(Frame(thoughts=thoughts) for thoughts in frames), Frame(text="茶")])

    assert len(answer.thoughts) == 1
    # A result that has been reported cannot be changed.
    assert answer.thoughts == [CALL | {"observation": "今天" if between else "今天晴"}]


@pytest.mark.parametrize(
    ("pieces", "last", "observation"),
    [
        (["小", "雨"], CALL | {"observation": "小雨"}, "小雨"),
        (["小", "雨"], NAMES | {"observation": "小雨"}, "小雨"),
        (["雨"], CALL | {"observation": "雨"}, "雨"),
        (["雨"], NAMES | {"observation": "雨"}, "雨"),
        (["哈", "哈"], CALL | {"observation": "哈哈"}, "哈哈"),
        (["哈", "哈"], NAMES | {"observation": ""}, "哈哈"),
        (["晴", "，有"], NAMES | {"observation": "风"}, "晴，有风"),
    ],
)
def test_a_last_frame_may_repeat_a_short_observation(
    pieces: list[str], last: Entry, observation: str
) -> None:
    frames = [
        *([NAMES | {"arguments": piece}] for piece in ("[1", "]")),
        *([NAMES | {"observation": piece}] for piece in ("小", "风")),  # show the form
        [CALL],
        *([NAMES | {"observation": piece}] for piece in pieces),
    ]
    _, answer = assemble(
        [
            *(Frame(thoughts=thoughts) for thoughts in frames),
            Frame(thoughts=[last], finish_reason="stop"),
        ]
    )

    assert [entry["observation"] for entry in answer.thoughts] == ["小风", observation]


def test_a_step_that_moves_before_its_call_is_reported_is_the_same_step() -> None:
    search = {"action": "rag", "observation": "[1]"}
    done = PLAIN_CALL | {"observation": "雨"}
    for frames in (
        [[PLAIN_CALL], [search, PLAIN_CALL], [search, {"action": "x"}, done]],
        [[PLAIN_CALL], [{}, done]],
        [[search, PLAIN_CALL], [done]],
    ):
        results = [event for event in read_frames(frames) if isinstance(event, StepResult)]

        assert [event.entry for event in results if "action_input" in event.entry] == [done]


def test_a_step_in_pieces_that_moves_when_it_is_whole_is_the_same_step() -> None:
    search = {"action": "rag", "observation": "[1]"}
    frames = [
        *([NAMES | {"arguments": text}] for text in ('{"n"', ": 1}")),
        [search, NAMES | {"arguments": '{"n": 1}'}],
        [search, NAMES | {"arguments": '{"n": 1}', "observation": "[2]"}],
    ]

    calls = [event.id for event in read_frames(frames) if isinstance(event, StepCall)]

    assert calls == ["bailian_0", "bailian_1"]


def test_a_whole_entry_may_have_its_arguments_in_another_field() -> None:
    frames = [
        [NAMES | {"action_input_stream": '{"n": 1}'}],
        [NAMES | {"observation": "[1]"}],
        [NAMES | {"arguments": '{"n": 1}', "action_input": {"n": 1}, "observation": "[1]"}],
    ]

    assert [type(event) for event in read_frames(frames)] == [StepCall, StepResult]


def test_reasoning_in_a_step_may_follow_its_result() -> None:
    texts = ["先", "先想", "先想，再查", "再答"]
    frames = [[DONE | {"reasoning_content": text}] for text in texts]
    deltas, answer = assemble([*(Frame(thoughts=frame) for frame in frames), Frame(text="茶")])

    assert answer.reasoning == "先想，再查再答"
    assert [type(delta) for delta in deltas].count(StepResult) == 1


def test_equal_increments_in_a_row_are_not_a_repeated_frame() -> None:
    texts = ['{"n": "', "a", "a", "a", '"}']
    bodies = [frame_body(thoughts=[NAMES | {"arguments": text}]) for text in texts]

    deltas, _ = assemble(parse_frames(encode_sse(*bodies, frame_body("茶", "stop"))))

    assert deltas[0] == StepCall("bailian_0", "查询", {"n": "aaa"}, None)


def test_a_surrogate_pair_that_is_split_between_pieces_is_joined() -> None:
    bodies = [
        json.dumps(frame_body(thoughts=[NAMES | {"arguments": '{"茶": "\ud83c'}])),
        json.dumps(frame_body(thoughts=[NAMES | {"arguments": '\udf75"}'}])),
        json.dumps(frame_body("茶", "stop")),
    ]
    deltas, answer = assemble(parse_frames(encode_sse(*bodies)))

    assert deltas[0] == StepCall("bailian_0", "查询", {"茶": "🍵"}, None)
    assert answer.thoughts[0]["arguments"] == '{"茶": "🍵"}'


def test_a_step_of_an_interrupted_answer_has_no_invented_success() -> None:
    complete = assemble([Frame(thoughts=[CALL]), Frame(text="茶", finish_reason="stop")])[1]
    interrupted = assemble([Frame(thoughts=[CALL | {"observation": '{"r"'}]), Frame(text="茶")])[1]

    assert [step.status for step in complete.steps if isinstance(step, StepResult)] == ["success"]
    assert [step.status for step in interrupted.steps if isinstance(step, StepResult)] == ["error"]


def test_fields_of_all_pieces_are_kept() -> None:
    frames = [
        [NAMES | {"arguments": '{"n"', "index": 2, "server": "茶馆"}],
        [NAMES | {"arguments": ": 1}", "cost": 3}],
        [NAMES | {"observation": "[1]", "cost": 5}],
    ]

    result = read_frames(frames)[-1]

    assert isinstance(result, StepResult)
    assert result.entry == NAMES | {
        "arguments": '{"n": 1}',
        "observation": "[1]",
        "index": 2,
        "server": "茶馆",
        "cost": 5,
    }


def test_reasoning_in_a_step_is_reasoning() -> None:
    frames = [
        [CALL | {"reasoning_content": "先查"}],
        [CALL | {"reasoning_content": "先查产地"}],
        [CALL | {"reasoning_content": "先查产地", "observation": "[1]"}],
    ]
    deltas, answer = assemble([*(Frame(thoughts=frame) for frame in frames), Frame(text="茶")])

    assert answer.reasoning == "先查产地"
    assert answer.thoughts == frames[-1]
    assert [type(delta) for delta in deltas].count(StepCall) == 1


KEYS, VALUES = (
    st.sampled_from(["茶", "n", "\\", '"']),
    st.sampled_from([1, -2.5, "龙井", "]{", None, True]),
)
JSON_VALUES = st.recursive(
    VALUES,
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text("xy", max_size=2), children)
    ),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(KEYS, JSON_VALUES, max_size=3).map(json.dumps)
# The first character is unique. `哈`, `哈哈` are both increments and snapshots.
TEXTS = st.text("晴雨 风,\n", min_size=1, max_size=12).map("今".__add__)
OBSERVATIONS = (
    st.dictionaries(KEYS, JSON_VALUES, max_size=3).map(lambda value: json.dumps(value, indent=1))
    | TEXTS
)


@st.composite
def steps_in_pieces(draw: st.DrawFn) -> tuple[list[Entry], list[list[Entry]]]:
    """Return complete entries, and the pieces of each."""
    entries, pieces = [], []
    for _ in range(draw(st.integers(1, 4))):
        entry = NAMES | {"arguments": draw(ARGUMENTS), "observation": draw(OBSERVATIONS)}
        cuts = [
            draw(st.lists(st.integers(0, len(entry[name])), max_size=8))
            for name in ("arguments", "observation")
        ]
        entries.append(entry)
        pieces.append(
            split_entry(
                entry,
                split_at(entry["arguments"], cuts[0]),
                split_at(entry["observation"], cuts[1]),
            )
        )
    return entries, pieces


@pytest.mark.slow
@given(steps_in_pieces(), st.sampled_from(FORMS))
def test_pieces_of_any_size_give_the_complete_steps(
    steps: tuple[list[Entry], list[list[Entry]]], make_frames: MakeFrames
) -> None:
    entries, pieces = steps
    frames = [Frame(thoughts=thoughts) for thoughts in make_frames(pieces)]
    deltas, answer = assemble([*frames, Frame(text="茶", finish_reason="stop")])

    results = {step.call_id: step.entry for step in answer.steps if isinstance(step, StepResult)}
    assert [results[f"bailian_{number}"] for number in range(len(results))] == entries
    assert [step.args for step in answer.steps if isinstance(step, StepCall)] == [
        json.loads(entry["arguments"]) for entry in entries
    ]
    merged = merge_chunks(make_chunks(deltas, answer))
    assert merged.additional_kwargs["thoughts"] == answer.thoughts
