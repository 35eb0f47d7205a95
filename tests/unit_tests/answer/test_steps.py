"""Tests for steps, each of which is reported once although frames repeat it or send it in pieces."""

import json
from typing import Any

import pytest

from langchain_bailian_app._answer.events import ReasoningDelta, StepCall, StepResult, TextDelta
from langchain_bailian_app._answer.steps import StepEvent, StepReader
from tests.fixtures import assemble, encode_sse, frame_body, parse_frames, read_recording

Entry = dict[str, Any]

SEARCH: Entry = {
    "action_type": "agentRag",
    "action": "rag",
    "action_name": "知识检索",
    "arguments": "{}",
}
PLUGIN: Entry = {"action_type": "api", "action": "weather", "action_name": "天气"}
CALL: Entry = PLUGIN | {"arguments": '{"city": "杭州"}'}
SUNNY, RAINY = '{"sky": "晴"}', '{"sky": "雨"}'


def report_frames(*frames: list[Entry], flush_at: int | None = None) -> list[list[str]]:
    """Return the events of each frame, and the events at the end of the stream."""
    reader = StepReader()
    reports = []
    for index, frame in enumerate(frames):
        reader.next_frame()
        events = [event for entry in frame for event in reader.feed(entry)]
        if index == flush_at:
            events += reader.report_before_text(is_first=True)
        reports.append(list(map(format_event, events)))
    return [*reports, list(map(format_event, reader.end()))]


def format_event(event: StepEvent) -> str:
    if isinstance(event, StepCall):
        return f"call {event.id}"
    if isinstance(event, ReasoningDelta):
        return f"reasoning {event.text}"
    return f"result {event.call_id} {event.entry.get('observation')!r}"


def read_call(entry: Entry) -> StepCall:
    """Return the call of a step that arrives in one frame."""
    reader = StepReader()
    (call,) = [event for event in reader.feed(entry) + reader.end() if isinstance(event, StepCall)]
    return call


def test_a_step_that_frames_repeat_is_reported_once() -> None:
    done = CALL | {"observation": SUNNY}

    assert report_frames([done], [done], [done]) == [
        ["call bailian_0", f"result bailian_0 {SUNNY!r}"],
        [],
        [],
        [],
    ]


@pytest.mark.parametrize("empty", [{}, {"observation": ""}, {"observation": None}])
def test_the_call_comes_with_its_arguments_and_the_result_with_its_observation(empty: Entry) -> None:
    frames = [[CALL | empty], [CALL | empty], [CALL | {"observation": SUNNY}], [CALL | empty]]

    result = f"result bailian_0 {SUNNY!r}"
    assert report_frames(*frames) == [["call bailian_0"], [], [result], [], []]


def test_a_call_without_arguments_comes_with_its_observation() -> None:
    assert report_frames([PLUGIN], [PLUGIN | {"observation": SUNNY}]) == [
        [],
        ["call bailian_0", f"result bailian_0 {SUNNY!r}"],
        [],
    ]


def test_a_step_that_never_gets_an_observation_is_reported_at_the_end() -> None:
    assert report_frames([CALL], [PLUGIN | {"action": "x"}]) == [
        ["call bailian_0"],
        [],
        ["result bailian_0 None", "call bailian_1", "result bailian_1 None"],
    ]


@pytest.mark.parametrize("empty", ["[]", []])
def test_an_empty_list_of_hits_may_be_filled_in_until_the_answer_begins(empty: Any) -> None:
    nothing, something = SEARCH | {"observation": empty}, SEARCH | {"observation": "[1]"}

    assert report_frames([nothing], [something]) == [["call bailian_0"], ["result bailian_0 '[1]'"], []]
    expected = [["call bailian_0"], [f"result bailian_0 {empty!r}"], [], []]
    assert expected == report_frames([nothing], [nothing], [nothing], flush_at=1)


def test_a_step_without_an_observation_has_no_result_when_the_answer_begins() -> None:
    expected = [["call bailian_0"], [f"result bailian_0 {SUNNY!r}"], []]

    assert expected == report_frames([PLUGIN], [PLUGIN | {"observation": SUNNY}], flush_at=0)


def test_equal_calls_in_one_frame_are_two_steps() -> None:
    one, two = CALL | {"observation": SUNNY}, CALL | {"observation": RAINY}

    assert report_frames([CALL, CALL], [one, two], [one, two]) == [
        ["call bailian_0", "call bailian_1"],
        [f"result bailian_0 {SUNNY!r}", f"result bailian_1 {RAINY!r}"],
        [],
        [],
    ]


def test_equal_calls_with_equal_observations_in_one_frame_are_two_steps() -> None:
    done = CALL | {"observation": SUNNY}
    first = [f"{event} bailian_{n}" for n in (0, 1) for event in ("call", "result")]
    reports = report_frames([done, done], [done, done])

    assert [event.removesuffix(f" {SUNNY!r}") for event in reports[0]] == first
    assert reports[1:] == [[], []]


@pytest.mark.parametrize(("one", "two"), [(SUNNY, RAINY), ("晴", "雨"), (1, 2), ("1", 1)])
def test_an_equal_call_with_another_observation_is_another_step(one: Any, two: Any) -> None:
    reports = report_frames([CALL | {"observation": one}], [CALL | {"observation": two}])

    assert sorted(event for report in reports for event in report) == [
        "call bailian_0",
        "call bailian_1",
        f"result bailian_0 {one!r}",
        f"result bailian_1 {two!r}",
    ]


def test_a_step_keeps_its_identity_if_its_position_changes() -> None:
    search, done = SEARCH | {"observation": "[1]"}, CALL | {"observation": SUNNY}

    assert report_frames([CALL], [search, CALL], [search, done], [done]) == [
        ["call bailian_0"],
        ["call bailian_1", "result bailian_1 '[1]'"],
        [f"result bailian_0 {SUNNY!r}"],
        [],
        [],
    ]


@pytest.mark.parametrize(
    ("second", "is_another"), [({"b": 2, "a": 1}, False), ({"a": 1, "b": 3}, True), (["a", "b"], True)]
)
def test_observations_that_are_objects_are_compared_by_value(second: Any, is_another: bool) -> None:
    frames = [[PLUGIN | {"observation": observation}] for observation in ({"a": 1, "b": 2}, second)]

    assert bool(report_frames(*frames)[1]) == is_another


@pytest.mark.parametrize(
    "change",
    [
        {"action": "x"},
        {"action_name": "x"},
        {"arguments": '{"city": "苏州"}'},
        {"action_input": {"a": 1}, "arguments": None},
    ],
)
def test_another_action_name_or_argument_is_another_step(change: Entry) -> None:
    call = CALL | {"action_input": {"a": 2}}

    assert report_frames([call], [call | change])[:2] == [["call bailian_0"], ["call bailian_1"]]


@pytest.mark.parametrize("empty", [{}, {"thought": "", "action": None}, {"observation": []}])
def test_an_empty_entry_is_not_a_step(empty: Entry) -> None:
    assert report_frames([empty]) == [[], []]


@pytest.mark.parametrize(
    ("arguments", "args"),
    [
        pytest.param({"arguments": '{"city": "杭州"}'}, {"city": "杭州"}, id="arguments"),
        pytest.param({"arguments": {"city": "杭州"}}, {"city": "杭州"}, id="arguments, an object"),
        pytest.param(
            {"action_input": {"city": "杭州"}}, {"city": "杭州"}, id="action_input, an object"
        ),
        pytest.param(
            {"action_input": '{"city": "杭州"}'}, {"city": "杭州"}, id="action_input, a string"
        ),
        pytest.param(
            {"action_input_stream": '{"city": "杭州"}'}, {"city": "杭州"}, id="streamed input"
        ),
        pytest.param({"action_input": "杭州"}, {"input": "杭州"}, id="no JSON"),
        pytest.param({"action_input": "[1, 2]"}, {"input": [1, 2]}, id="a list"),
        pytest.param({"arguments": "{}", "action_input_stream": "{}"}, {}, id="empty"),
        pytest.param({"arguments": None, "action_input": None}, {}, id="null"),
        pytest.param(
            {"arguments": "", "action_input": {"city": "杭州"}},
            {"city": "杭州"},
            id="one of them empty",
        ),
        pytest.param({}, {}, id="absent"),
    ],
)
def test_arguments_are_read_from_either_field_in_either_type(arguments: Entry, args: Entry) -> None:
    assert read_call(PLUGIN | arguments) == StepCall("bailian_0", "天气", args, "plugin")


@pytest.mark.parametrize("arguments", ["\ud83d", "a\ud83d", {"a": "\ud83d"}, '{"a": "\ud83d"}'])
def test_a_lone_surrogate_in_the_arguments_is_tolerated(arguments: Any) -> None:
    body = frame_body(
        "茶", "stop", thoughts=[PLUGIN | {"arguments": arguments, "observation": "\ud83d"}]
    )
    deltas, _ = assemble(parse_frames(encode_sse(json.dumps(body))))

    assert [StepCall, StepResult, TextDelta] == [type(delta) for delta in deltas]


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ({"action_name": "天气", "action": "weather", "action_type": "api"}, "天气"),
        ({"action_name": "", "action": "weather", "action_type": "api"}, "weather"),
        ({"action_name": None, "action_type": "teleport"}, "teleport"),
        ({"response": "{}"}, "step"),
    ],
)
def test_a_step_has_the_best_available_name(entry: Entry, name: str) -> None:
    assert read_call(entry).name == name


def test_entries_of_any_kind_are_kept_verbatim() -> None:
    frames = parse_frames(read_recording("steps-observed-later.sse"))
    _, answer = assemble(frames)
    memory, plugin, unknown = frames[-1].thoughts

    assert unknown == {"action_type": "teleport", "index": 3, "beam": {"up": True}}
    assert [memory, plugin, unknown] == answer.thoughts


def test_steps_and_results_are_kept_in_order_of_appearance() -> None:
    _, answer = assemble(parse_frames(read_recording("steps-observed-later.sse")))

    assert [format_event(step) for step in answer.steps] == [
        "call bailian_0",
        """result bailian_0 '["[2025-1-2] 客人喝淡茶。"]'""",
        "call bailian_1",
        """result bailian_1 '{"temperature":21}'""",
        "call bailian_2",
        "result bailian_2 None",
    ]


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ({"action_type": "agentRag"}, "retrieval"),
        ({"action": "rag"}, "retrieval"),
        ({"action_type": "api", "action": "memory", "action_name": "长期记忆检索"}, "memory"),
        ({"action_type": "api", "action_name": "plugin"}, "plugin"),
        ({"action_type": "mcp", "action": "amap"}, None),
        ({"response": "{}"}, None),
    ],
)
def test_steps_have_a_known_kind_or_none(entry: Entry, kind: str | None) -> None:
    assert read_call(entry).kind == kind
