"""Tests for the assembly of frames into deltas and an answer."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_bailian_app._answer.answer import Answer
from langchain_bailian_app._answer.assembler import AnswerAssembler
from langchain_bailian_app._answer.citations import MarkerMode
from langchain_bailian_app._answer.events import (
    Delta,
    NodeEvent,
    ReasoningDelta,
    StepCall,
    StepResult,
    TextDelta,
    ToolCall,
)
from langchain_bailian_app._answer.frames import Frame
from langchain_bailian_app._answer.tool_calls import ToolCallParser
from tests.fixtures import (
    ANSWER_RECORDINGS,
    assemble,
    encode_sse,
    frame_body,
    join_text,
    make_chunks,
    parse_answer,
    parse_frames,
    read_recording,
    split_at,
    text_frames,
)


def reasoning_thought(text: str, **fields: str) -> dict[str, Any]:
    return {"action_type": "reasoning", "thought": text, "response": text} | fields


# -- text and reasoning ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("incremental.sse", "茶馆上午九点开门，晚上十点关门。"),
        ("cumulative.sse", "茶馆上午九点开门，晚上十点关门。"),
        ("incremental-last-frame-has-text.sse", "一楼卖茶，二楼喝茶。欢迎"),
        ("markers-split.sse", "绿茶不发酵，红茶全发酵。黑茶后发酵。"),
        ("reasoning-then-text.sse", "八十五度。"),
        ("steps-observed-later.sse", "今天二十一度。"),
        ("line-separators-in-text.sse", "第一行\u2028第二行\u0085第三行\u2029"),
        ("surrogate-pair-split.sse", "请用茶🍵，再来😀。"),
        ("surrogate-half-alone.sse", "坏\ufffd字尾\ufffd"),
        ("workflow-message-format.sse", "先温杯，再投茶。"),
        ("workflow-two-models.sse", "龙井，碧螺春。请点单"),
        ("finish-reason-length.sse", "太长的回答"),
        ("finish-reason-null-and-absent.sse", "空与无"),
        ("nulls-and-unknown-fields.sse", "花茶香"),
        ("bom-crlf-comments-and-split-data.sse", "冷水泡茶"),
        ("whole-answer.json", "白茶微发酵。"),
        ("smallest-answer.json", "茶"),
        ("printed-object.json", "普洱"),
        ("output-null.json", ""),
        ("ends-without-finish-reason.sse", "说到一半就停"),
    ],
)
def test_an_answer_has_the_text_of_its_deltas(name: str, text: str) -> None:
    deltas, answer = assemble(parse_frames(read_recording(name)))

    assert text == answer.text
    assert text == join_text(deltas)


def test_a_frame_emits_its_increment_at_once() -> None:
    assembler = AnswerAssembler()
    frames = parse_frames(read_recording("incremental.sse"))

    assert [join_text(assembler.feed(frame)) for frame in frames[:4]] == [
        "茶馆",
        "上午",
        "九点",
        "开门",
    ]


def test_reasoning_is_emitted_once_and_empty_entries_add_nothing() -> None:
    deltas, answer = assemble(parse_frames(read_recording("reasoning-then-text.sse")))

    assert [*map(ReasoningDelta, ["客人", "问的是", "水温", "。"])] == deltas[:4]
    assert [*map(TextDelta, ["八十", "五度", "。"])] == deltas[4:]
    assert (answer.reasoning, answer.thoughts) == ("客人问的是水温。", [])


@pytest.mark.parametrize(
    "entry",
    [
        {"thought": "想", "response": "想"},
        {"thought": "想"},
        {"thought": "", "response": "想"},
        {"thought": None, "response": "想"},
    ],
)
def test_reasoning_is_read_from_thought_or_response(entry: dict[str, Any]) -> None:
    body = frame_body("茶", "stop", thoughts=[{"action_type": "reasoning"} | entry])

    assert parse_answer(encode_sse(body)).reasoning == "想"


def test_cumulative_reasoning_is_emitted_once() -> None:
    texts = ["先想水温", "先想水温，再想茶", "先想水温，再想茶叶。"]
    bodies = [frame_body(thoughts=[reasoning_thought(text)]) for text in texts]

    assert texts[-1] == parse_answer(encode_sse(*bodies, frame_body("茶", "stop"))).reasoning


@pytest.mark.parametrize(
    ("usage", "text"),
    [
        pytest.param({"models": [{"output_tokens": 1}]}, "茶", id="nothing was generated"),
        pytest.param({"models": []}, "茶茶", id="empty"),
        pytest.param({}, "茶茶", id="no usage"),
        pytest.param(None, "茶茶", id="none"),
    ],
)
def test_an_equal_text_is_a_repetition_if_usage_shows_that_nothing_was_generated(
    usage: Any, text: str
) -> None:
    answer_frames = [Frame(text="茶", usage=usage)] * 2
    reasoning_frames = [Frame(thoughts=[reasoning_thought("茶")], usage=usage)] * 2

    assert assemble([*answer_frames, Frame(finish_reason="stop")])[1].text == text
    assert assemble([*reasoning_frames, Frame(finish_reason="stop")])[1].reasoning == text


def test_a_last_frame_that_repeats_everything_adds_nothing() -> None:
    pieces = ["春眠不觉晓，", "处处闻啼鸟。"]
    full_text = "".join(pieces)
    bodies = [*(frame_body(piece, thoughts=[reasoning_thought(piece)]) for piece in pieces)]

    answer = parse_answer(
        encode_sse(*bodies, frame_body(full_text, "stop", thoughts=[reasoning_thought(full_text)]))
    )

    assert (answer.text, answer.reasoning) == (full_text, full_text)


def test_the_entries_of_reasoning_in_one_frame_are_joined() -> None:
    assert (
        parse_answer(
            encode_sse(frame_body(thoughts=[reasoning_thought("先想"), reasoning_thought("再想")]))
        ).reasoning
        == "先想再想"
    )


def test_ambiguous_reasoning_at_the_end_is_not_lost() -> None:
    deltas, answer = assemble([Frame(thoughts=[reasoning_thought(text)]) for text in ("嗯", "嗯嗯")])

    assert deltas == [ReasoningDelta("嗯"), ReasoningDelta("嗯嗯")]
    assert answer.reasoning == "嗯嗯嗯"


def test_a_frame_without_reasoning_does_not_decide_the_mode() -> None:
    texts = ["先", "先想", "", "先想水温"]
    bodies = [frame_body(thoughts=[reasoning_thought(text)] if text else []) for text in texts]

    assert parse_answer(encode_sse(*bodies, frame_body("茶", "stop"))).reasoning == "先想水温"


def test_ambiguous_reasoning_is_emitted_with_a_last_frame_that_has_text() -> None:
    bodies = [frame_body(thoughts=[reasoning_thought(text)]) for text in ("嗯", "嗯嗯")]

    assert parse_answer(encode_sse(*bodies, frame_body("茶", "stop"))).reasoning == "嗯嗯嗯"


def test_ambiguous_reasoning_is_emitted_before_the_text_that_follows_it() -> None:
    frames = [
        Frame(thoughts=[reasoning_thought("嗯")]),
        Frame(thoughts=[reasoning_thought("嗯嗯")]),
        Frame(text="茶", thoughts=[reasoning_thought("")]),
        Frame(text="馆", finish_reason="stop"),
    ]
    deltas, _ = assemble(frames)

    assert [ReasoningDelta("嗯"), ReasoningDelta("嗯嗯"), TextDelta("茶"), TextDelta("馆")] == deltas


def test_surrogate_halves_in_reasoning_are_joined() -> None:
    frames = [Frame(thoughts=[reasoning_thought(half)]) for half in ("茶\ud83c", "\udf75")]

    assert assemble(frames)[1].reasoning == "茶🍵"


# -- the end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("incremental.sse", "stop"),
        ("finish-reason-length.sse", "length"),
        ("finish-reason-null-and-absent.sse", "stop"),
        ("ends-without-finish-reason.sse", None),
        ("output-null.json", None),
        ("smallest-answer.json", "stop"),
    ],
)
def test_only_a_finish_reason_makes_an_answer_complete(name: str, expected: str | None) -> None:
    assert expected == parse_answer(read_recording(name)).finish_reason


def test_a_missing_finish_reason_may_be_accepted() -> None:
    assembler = AnswerAssembler()
    for frame in parse_frames(read_recording("ends-without-finish-reason.sse")):
        assembler.feed(frame)
    assert assembler.build_answer().finish_reason is None

    assembler.end(accept_missing_stop=True)

    assert (assembler.build_answer().finish_reason, assembler.build_answer().text) == (
        "unknown",
        "说到一半就停",
    )


def test_accepting_a_missing_finish_reason_does_not_change_another_one() -> None:
    assembler = AnswerAssembler()
    assembler.feed(Frame(text="茶", finish_reason="length"))
    assembler.end(accept_missing_stop=True)

    assert assembler.build_answer().finish_reason == "length"


def test_ambiguous_text_at_the_end_is_not_lost() -> None:
    assembler = AnswerAssembler(stop=["END"])
    emitted = [join_text(assembler.feed(Frame(text=text))) for text in ("哈", "哈哈<re", "")]

    assert emitted == ["哈", "", ""]
    assert join_text(assembler.end()) == "哈哈<re"


def test_frames_after_the_end_do_not_change_the_answer() -> None:
    assembler = AnswerAssembler()
    assembler.feed(Frame(text="茶", finish_reason="stop"))

    assert assembler.feed(Frame(text="馆", session_id="other")) == []
    assert assembler.end() == []
    assert Answer(text="茶", order=["text"], finish_reason="stop") == assembler.build_answer()


# -- stop sequences ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markers", "stop", "expected"),
    [
        ("strip", "茶红", "绿"),
        ("strip", "茶<ref>", "绿茶红茶。"),
        ("bracket", "[2]", "绿茶[1]红茶"),
        ("bracket", "茶红", "绿茶[1]红茶[2]。"),
        ("keep", "</ref>红", "绿茶<ref>[1]"),
        ("strip", "。", "绿茶红茶"),
        ("strip", "咖啡", "绿茶红茶。"),
    ],
)
def test_stop_is_matched_on_the_emitted_text_wherever_it_is_cut(
    markers: MarkerMode, stop: str, expected: str
) -> None:
    text = "绿茶<ref>[1]</ref>红茶<ref>[2]</ref>。"
    for size in range(1, len(text) + 1):
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        deltas, answer = assemble(text_frames(["", *pieces]), markers=markers, stop=[stop])

        assert (expected, expected) == (answer.text, join_text(deltas))


def test_a_stop_sequence_ends_the_answer() -> None:
    assembler = AnswerAssembler(stop=["馆"])
    assembler.feed(Frame(text="茶"))
    assert not assembler.stopped

    assembler.feed(Frame(text="馆开门", session_id="s"))

    assert assembler.stopped
    assert (
        assembler.build_answer().text,
        assembler.build_answer().finish_reason,
        assembler.build_answer().session_id,
    ) == ("茶", "stop", "s")


def test_a_stop_sequence_in_text_held_back_at_the_end_is_found() -> None:
    assembler = AnswerAssembler(stop=["bc", "abcd"])
    emitted = join_text(assembler.feed(Frame(text="xabc")))
    emitted += join_text(assembler.end())

    assert emitted == "xa"
    assert assembler.stopped
    assert assembler.build_answer().finish_reason == "stop"


def test_a_marker_after_the_cut_cites_nothing() -> None:
    references = [{"index_id": "1"}, {"index_id": "2"}]
    body = frame_body("绿茶<ref>[1]</ref>。红茶<ref>[2]</ref>", "stop", doc_references=references)

    answer = parse_answer(encode_sse(body), stop=["红"])

    assert [citation["extras"]["reference_index"] for citation in answer.citations] == [1]


def test_references_are_not_reported_missing_after_a_stop_sequence() -> None:
    frames = [Frame(text="绿茶<ref>[1]</ref>，红茶")]

    assert not assemble(frames, stop=["红"])[1].references_missing


# -- steps -------------------------------------------------------------------------------------------


def test_reasoning_and_steps_come_in_the_order_of_the_frames() -> None:
    deltas, answer = assemble(parse_frames(read_recording("step-between-reasoning.sse")))

    assert [StepCall, StepResult, ReasoningDelta, ReasoningDelta, TextDelta, TextDelta] == [
        type(delta) for delta in deltas
    ]
    assert answer.order == ["call:bailian_0", "result:bailian_0", "reasoning", "text"]


def test_steps_before_and_after_reasoning_in_one_frame_keep_their_order() -> None:
    first, second = {"action": "a", "observation": "1"}, {"action": "b", "observation": "2"}
    (frame,) = parse_frames(
        encode_sse(frame_body("茶", "stop", thoughts=[first, reasoning_thought("想"), second]))
    )
    deltas, _ = assemble([frame])

    kinds = [StepCall, StepResult, ReasoningDelta, StepCall, StepResult, TextDelta]
    assert kinds == [type(delta) for delta in deltas]


def test_empty_hits_are_reported_before_the_answer_begins() -> None:
    deltas, _ = assemble(parse_frames(read_recording("markers-without-references.sse")))

    assert [StepCall, StepResult, TextDelta] == [type(delta) for delta in deltas]


def test_hits_that_come_after_the_answer_has_begun_are_awaited() -> None:
    step = {"action": "rag", "action_name": "检索"}
    frames = [
        Frame(text="茶"),
        Frame(text="馆", thoughts=[step | {"observation": "[]"}]),
        Frame(thoughts=[step | {"observation": "[1]"}], finish_reason="stop"),
    ]

    assert [entry["observation"] for entry in assemble(frames)[1].thoughts] == ["[1]"]


def test_a_second_reply_repeats_no_steps_and_has_its_own_node_keys() -> None:
    step = {"action": "rag", "observation": "[1]"}
    first = AnswerAssembler()
    first_deltas = first.feed(Frame(thoughts=[step], workflow_message={"node_id": "n"}))
    second = AnswerAssembler(previous=first)
    second_deltas = second.feed(Frame(thoughts=[step], workflow_message={"node_id": "n"}))

    assert [type(delta) for delta in first_deltas] == [StepCall, StepResult, NodeEvent]
    assert [type(delta) for delta in second_deltas] == [NodeEvent]
    assert [node.key for node in first.build_answer().nodes] == ["n:1"]
    assert [node.key for node in second.build_answer().nodes] == ["again:n:1"]


def test_a_node_beside_repeated_steps_is_reported() -> None:
    steps = [{"action": "rag", "observation": "[1]"}]
    frames = [
        Frame(thoughts=steps),
        Frame(thoughts=list(steps), workflow_message={"node_id": "n"}, finish_reason="stop"),
    ]

    assert [event.value for event in assemble(frames)[1].nodes] == [{"node_id": "n"}]


# -- calls to the caller's tools ---------------------------------------------------------------------

CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
UNKNOWN_CALL = '<tool_call>{"name": "mul", "arguments": {}}</tool_call>'


def assemble_with_tool(*pieces: str, **kwargs: Any) -> tuple[list[Delta], Answer]:
    """Return the deltas of a stream and its answer, with a tool `add`."""
    assembler = AnswerAssembler(tool_call_parser=ToolCallParser(["add"]), **kwargs)
    deltas = [delta for piece in pieces for delta in assembler.feed(Frame(text=piece))]
    deltas += assembler.end()
    return deltas, assembler.build_answer()


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        pytest.param(["一", CALL, "二"], ["一", "add", "二"], id="apart"),
        pytest.param([f"一{CALL}二"], ["一", "add", "二"], id="in one frame"),
        pytest.param(["一", "，", CALL[:30], CALL[30:]], ["一", "，", "add"], id="cut"),
        pytest.param(["一", CALL.removesuffix("</tool_call>")], ["一", "add"], id="not closed"),
        pytest.param([f"一{UNKNOWN_CALL}二"], ["一", "二"], id="of another tool"),
        pytest.param([f"一<ref>[1{CALL}"], ["一", "<ref>[1", "add"], id="after no marker"),
        pytest.param(["一", "二<tool_c"], ["一", "二", "<tool_c"], id="an incomplete tag"),
        pytest.param(["一", "一二", "<tool_c"], ["一", "一二", "<tool_c"], id="behind doubt"),
        pytest.param(["一", "一<tool_c"], ["一", "一", "<tool_c"], id="in doubt"),
    ],
)
def test_tool_calls_keep_their_position_in_the_text(pieces: list[str], expected: list[str]) -> None:
    deltas, answer = assemble_with_tool(*pieces)

    parts = [delta.name if isinstance(delta, ToolCall) else join_text([delta]) for delta in deltas]
    assert parts == expected
    assert answer.text == join_text(deltas)


def test_a_call_with_a_problem_is_in_the_answer_but_not_streamed() -> None:
    deltas, answer = assemble_with_tool(UNKNOWN_CALL + CALL)

    assert [call.name for call in answer.tool_calls] == ["mul", "add"]
    assert deltas == answer.tool_calls[1:]


def test_a_call_after_a_stop_sequence_is_dropped() -> None:
    deltas, answer = assemble_with_tool(f"一{CALL}二三{CALL}", stop=["三"])

    assert [call.name for call in answer.tool_calls] == ["add"]
    assert deltas == [TextDelta("一"), *answer.tool_calls, TextDelta("二")]


# -- metadata ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("markers-split.sse", False),
        ("markers-without-references.sse", True),
        ("step-between-reasoning.sse", False),  # it searched, and cites nothing
        ("incremental.sse", False),
        ("whole-answer.json", False),
    ],
)
def test_citations_without_references_are_detected(name: str, expected: bool) -> None:
    assert expected is parse_answer(read_recording(name)).references_missing


def test_the_latest_references_and_usage_are_kept() -> None:
    frames = parse_frames(read_recording("markers-split.sse"))
    answer = parse_answer(read_recording("markers-split.sse"))

    assert frames[-1].doc_references == answer.doc_references
    assert frames[-1].usage == answer.usage


def test_references_stay_when_a_later_frame_has_none() -> None:
    bodies = [
        frame_body("茶", doc_references=[{"index_id": "1"}]),
        frame_body("馆"),
        frame_body("", "stop"),
    ]

    assert parse_answer(encode_sse(*bodies)).doc_references == [{"index_id": "1"}]


def test_unknown_fields_are_kept_with_their_newest_value() -> None:
    answer = parse_answer(read_recording("nulls-and-unknown-fields.sse"))

    assert answer.extra == {"trace": {"hop": 2}, "output": {"mood": "calm", "tier": 2}}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([None, None], None),
        ([False, False], False),
        ([None, False], False),
        ([False, None], False),
        ([False, True], True),
        ([True, False], True),
        ([True, None], True),
    ],
)
def test_an_answer_is_rejected_if_any_frame_says_so(
    values: list[bool | None], expected: bool | None
) -> None:
    first, last = values
    bodies = [frame_body("茶", reject_status=first), frame_body("", "stop", reject_status=last)]

    answer = parse_answer(encode_sse(*bodies))

    assert (answer.reject_status, answer.extra) == (expected, {})


def test_unknown_fields_of_all_frames_are_merged() -> None:
    bodies = [
        frame_body("茶", mood="calm") | {"trace": 1},
        frame_body("馆", tier=2) | {"span": 2},
        frame_body("", "stop"),
    ]

    extra = {"trace": 1, "span": 2, "output": {"mood": "calm", "tier": 2}}
    assert parse_answer(encode_sse(*bodies)).extra == extra


def test_ids_are_kept_where_a_frame_lacks_them() -> None:
    answer = parse_answer(read_recording("nulls-and-unknown-fields.sse"))

    assert (answer.session_id, answer.request_id) == ("session-tea", "request-tea")


# -- properties --------------------------------------------------------------------------------------


@given(st.data(), st.sampled_from(ANSWER_RECORDINGS), st.sampled_from(["strip", "bracket", "keep"]))
def test_an_answer_does_not_depend_on_how_its_bytes_are_cut(
    data: st.DataObject, name: str, markers: MarkerMode
) -> None:
    stream = read_recording(name)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))

    expected = assemble(parse_frames(stream), markers=markers)
    assert expected == assemble(parse_frames(stream, cuts), markers=markers)


PARTS = st.sampled_from(
    ["<ref>[1]</ref>", "<ref>[2]</ref>", "<ref>", "茶", "。", "\u2028", "\u0085", "🍵", "哈", "1. "]
)


@given(
    st.lists(PARTS, max_size=10).map("".join),
    st.sampled_from(["strip", "bracket", "keep"]),
    st.lists(st.sampled_from(["茶", "。哈", "[2]", "ref"]), max_size=2),
    st.data(),
)
def test_an_answer_does_not_depend_on_how_its_text_is_cut_into_frames(
    text: str, markers: MarkerMode, stop: list[str], data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8, unique=True))
    references = [{"index_id": "1", "title": "一"}, {"index_id": "2", "title": "二"}]

    def assemble_pieces(pieces: list[str]) -> tuple[str, list[dict[str, Any]], str | None]:
        # No other frame begins with the first text, so the stream is known to be incremental.
        frames = text_frames(["答", *pieces])
        frames[0].doc_references = references
        answer = assemble(frames, markers=markers, stop=stop)[1]
        return answer.text, answer.citations, answer.finish_reason

    assert assemble_pieces([text]) == assemble_pieces(split_at(text, cuts))


THOUGHTS = st.fixed_dictionaries(
    {},
    optional={
        "action_type": st.sampled_from(["reasoning", "agentRag", "api", None, 1]),
        "action": st.sampled_from(["rag", "", None]),
        "thought": st.sampled_from(["想", "", None, 1]),
        "observation": st.sampled_from(["", "[]", "[1]", None, {}, [{"content": "x"}], 1]),
        "arguments": st.sampled_from(["{}", "{", {"a": [1]}, None, "\ud83d"]),
        "index": st.integers(0, 2),
    },
)
OUTPUTS = st.fixed_dictionaries(
    {},
    optional={
        "text": st.sampled_from(["茶", "茶馆", "<ref>[1]</ref>", "", None, 7]),
        "thoughts": st.lists(THOUGHTS, max_size=3),
        "doc_references": st.lists(
            st.fixed_dictionaries({}, optional={"index_id": st.just("1"), "text": st.none()})
        ),
        "finish_reason": st.sampled_from(["null", None, "stop"]),
        "new": st.integers(0, 2),
    },
)
USAGES = st.sampled_from(
    [
        {},
        None,
        {"models": None},
        {"models": [{"input_tokens": 1}]},
        {"models": [None, {}]},
        {"output_tokens": 2},
    ]
)


@given(st.lists(st.tuples(OUTPUTS, USAGES), max_size=5))
def test_nulls_and_malformed_fields_are_tolerated(bodies: list[tuple[Any, Any]]) -> None:
    texts = [json.dumps({"output": output, "usage": usage}) for output, usage in bodies]
    deltas, answer = assemble(parse_frames(encode_sse(*texts)))

    chunks = make_chunks(deltas, answer)

    assert answer.text == "".join(chunk.text for chunk in chunks)
    assert len(answer.thoughts) == sum(isinstance(delta, StepCall) for delta in deltas)


def test_every_step_has_one_call_and_then_one_result() -> None:
    for name in ANSWER_RECORDINGS:
        deltas: list[Delta] = assemble(parse_frames(read_recording(name)))[0]
        calls = [delta.id for delta in deltas if isinstance(delta, StepCall)]
        results = [delta.call_id for delta in deltas if isinstance(delta, StepResult)]

        assert sorted(set(calls)) == sorted(calls) == sorted(results)
