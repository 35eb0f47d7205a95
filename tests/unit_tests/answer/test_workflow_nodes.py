"""Tests for workflows: the answer without duplicates, and the events of each node."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app._answer.assembler import AnswerAssembler
from langchain_bailian_app._answer.frames import Frame
from langchain_bailian_app.chat_models._content_blocks import content_blocks_from_message
from langchain_bailian_app.chat_models._messages import message_from_answer
from tests.fixtures import encode_sse, frame_body, join_text, parse_frames, read_recording

if TYPE_CHECKING:
    from langchain_bailian_app._answer.answer import Answer


def read_answer(data: bytes, answer_node: str | None = None) -> Answer:
    assembler = AnswerAssembler(answer_node=answer_node)
    deltas = [delta for frame in parse_frames(data) for delta in assembler.feed(frame)]
    deltas += assembler.end()
    answer = assembler.build_answer()
    assert join_text(deltas) == answer.text
    return answer


def summarize_events(answer: Answer) -> list[tuple[str, Any, Any]]:
    """Return the name, status and output of each event."""
    return [(e.value.get("name"), e.value.get("status"), e.value.get("output")) for e in answer.nodes]


def node_body(content: Any = "", **fields: Any) -> dict[str, Any]:
    """Return the body of a frame about one node."""
    message = {"node_id": "n", "node_type": "End", "message": {"content": content}} | fields
    body = frame_body(workflow_message=message)
    del body["output"]["text"]
    return body


def node_thought(result: str, status: str = "success", **fields: Any) -> dict[str, Any]:
    """Return the entry of `thoughts` for a node."""
    value = {"nodeId": "x", "nodeStatus": status, "nodeResult": json.dumps({"result": result})}
    return {"response": json.dumps(value | fields)}


@pytest.mark.parametrize(
    ("name", "answer_node", "text", "reasoning", "final_text"),
    [
        ("workflow-message-format.sse", None, "先温杯，再投茶。", "", None),
        ("workflow-message-format-plus.sse", None, "春眠不觉晓", "先想韵脚。再写。", None),
        ("workflow-message-format-plus.sse", "LLM_a", "春眠不觉晓", "先想韵脚。再写。", None),
        ("workflow-message-format-plus.sse", "写诗", "春眠不觉晓", "先想韵脚。再写。", None),
        ("workflow-message-format-plus.sse", "LLM", "春眠不觉晓", "先想韵脚。再写。", None),
        ("workflow-message-format-plus.sse", "nowhere", "春眠不觉晓", "", None),
        ("workflow-full-thoughts.sse", None, "见字如面", "想韵脚。", None),
        ("workflow-full-thoughts.sse", "写信", "见字如面", "", None),
        ("workflow-full-thoughts.sse", "LLM_a", "春眠不觉晓", "想韵脚。", "见字如面"),
        ("workflow-agent-format.sse", None, "春眠不觉晓，见字如面", "", None),
        ("workflow-without-mode.sse", None, "见字如面", "", None),
        ("workflow-two-models.sse", None, "龙井，碧螺春。请点单", "", None),
        ("workflow-parallel.sse", None, "春眠不觉晓/见字如面", "", None),
        ("workflow-parallel.sse", "LLM_a", "春眠不觉晓/见字如面", "", None),
        ("workflow-parallel.sse", "LLM_b", "见字如面", "", "春眠不觉晓/见字如面"),
        ("workflow-paused.sse", None, "", "", None),
        ("workflow-failed.sse", None, "没有查到天气。", "", None),
        ("workflow-longer-final.sse", None, "春眠不觉晓", "", None),
        ("workflow-whole.json", None, "见字如面", "想韵脚。", None),
        ("workflow-whole.json", "写诗", "春眠不觉晓", "想韵脚。", "见字如面"),
    ],
)
def test_a_workflow_answers_once(
    name: str, answer_node: str | None, text: str, reasoning: str, final_text: str | None
) -> None:
    answer = read_answer(read_recording(name), answer_node)

    assert (answer.text, answer.reasoning, answer.final_text) == (text, reasoning, final_text)


def test_nodes_are_reported_when_they_start_and_when_they_finish() -> None:
    assert summarize_events(read_answer(read_recording("workflow-full-thoughts.sse"))) == [
        ("开始", "success", None),
        ("LLM_a", "executing", None),
        ("写诗", "success", "春眠不觉晓"),
        ("LLM_b", "executing", None),
        ("写信", "success", "见字如面"),
        ("结束", "success", "见字如面"),
    ]


def test_parallel_nodes_are_kept_apart() -> None:
    assert summarize_events(read_answer(read_recording("workflow-parallel.sse")))[1:5] == [
        ("写诗", "executing", None),
        ("写信", "executing", None),
        ("写信", "success", "见字如面"),
        ("写诗", "success", "春眠不觉晓"),
    ]


def test_a_node_is_a_block_with_stable_keys() -> None:
    message = message_from_answer(
        read_answer(read_recording("workflow-message-format-plus.sse")), "app", {}
    )
    blocks = [
        block for block in content_blocks_from_message(message) if block["type"] == "non_standard"
    ]

    assert blocks[2] == {
        "type": "non_standard",
        "value": {
            "node_id": "LLM_a",
            "name": "写诗",
            "type": "LLM",
            "status": "success",
            "sequence": 5,
            "exec_time": "1167ms",
            "completed": True,
            "output": "春眠不觉晓",
            "reasoning": "先想韵脚。再写。",
        },
        "index": "lc_node:LLM_a:2",
    }


def test_inputs_and_unknown_fields_are_parsed_and_kept() -> None:
    start, *_ = read_answer(read_recording("workflow-full-thoughts.sse")).nodes
    failed = read_answer(read_recording("workflow-failed.sse")).nodes[1]
    paused = read_answer(read_recording("workflow-paused.sse")).nodes[1]

    assert start.value["nodeParams"] == {"city": "杭州"}
    assert failed.value["output"] == {"error": "超时"}
    assert failed.value["parent_node_id"] == "Group_1"
    assert paused.value["interaction"] == {"type": "input", "fields": ["人数"]}
    assert (paused.value["status"], paused.value["output"]) == ("paused", "要几人的行程？")


@pytest.mark.parametrize(
    ("value", "expected"), [(True, True), ("true", True), ("False", False), ("?", "?")]
)
def test_completed_is_read_as_a_boolean_from_text_too(value: Any, expected: Any) -> None:
    (event,) = read_answer(
        encode_sse(node_body("茶", node_is_completed=value), frame_body("茶", "stop"))
    ).nodes

    assert event.value["completed"] == expected


def test_text_for_the_user_is_not_parsed_as_json() -> None:
    answer = read_answer(encode_sse(node_body('{"result": 5}'), frame_body('{"result": 5}', "stop")))

    assert (answer.text, answer.final_text) == ('{"result": 5}', None)


OUTPUT_NODE = node_body("先说，", node_type="Output", node_id="o", node_name="分类")


@pytest.mark.parametrize(
    ("answer_node", "end_texts", "last_text", "text", "final_text"),
    [
        pytest.param(None, ["再", "说。"], "再说。", "再说。", None, id="the End node is the answer"),
        pytest.param(None, [], "再说。", "再说。", None, id="the End node only in the last frame"),
        pytest.param(None, ["再"], "再说。", "再说。", None, id="the last frame adds the rest"),
        pytest.param(None, ["再说。"], "", "再说。", None, id="no final text"),
        pytest.param(None, [], "", "", None, id="no text of the End node"),
        pytest.param(None, [], "先说，", "先说，", None, id="the output node is the answer"),
        pytest.param(None, [], "先说，再说。", "先说，再说。", None, id="begins with the output node"),
        pytest.param(None, ["再说。"], "先说，再说。", "再说。", "先说，再说。", id="too late for it"),
        pytest.param(None, ["再说。"], "另说。", "再说。", "另说。", id="another final text"),
        pytest.param("分类", ["再说。"], "再说。", "先说，", "再说。", id="named, another answer"),
        pytest.param(
            "分类", ["再说。"], "先说，再说。", "先说，再说。", None, id="named, and a prefix"
        ),
        pytest.param("Output", ["再说。"], "先说，", "先说，", None, id="named by its type"),
    ],
)
def test_an_output_node_is_text_only_if_named_or_if_the_final_text_begins_with_it(
    answer_node: str | None, end_texts: list[str], last_text: str, text: str, final_text: str | None
) -> None:
    end_frames = [node_body(piece, node_id="e") for piece in end_texts]

    answer = read_answer(
        encode_sse(OUTPUT_NODE, *end_frames, frame_body(last_text, "stop")), answer_node
    )

    assert (answer.text, answer.final_text) == (text, final_text)
    assert answer.nodes[0].value["output"] == "先说，"


@pytest.mark.parametrize("node_type", ["Output", "FlowOutput", "output"])
def test_a_workflow_that_returns_json_answers_with_the_json_of_its_end_node(node_type: str) -> None:
    data = encode_sse(
        node_body('["茶"]', node_type=node_type, node_id="o"),
        node_body('{"kind"', node_id="e"),
        node_body(': "绿茶"}', node_id="e"),
        frame_body('{"kind": "绿茶"}', "stop"),
    )

    answer = read_answer(data)

    assert (answer.text, answer.final_text) == ('{"kind": "绿茶"}', None)
    assert answer.nodes[0].value["output"] == '["茶"]'


def test_the_final_text_decides_what_an_end_node_in_the_same_frame_says() -> None:
    """In `full_thoughts`, the last frame contains both."""
    end = node_thought("绿茶", nodeType="End")
    data = encode_sse(frame_body('{"result": "绿茶"}', "stop", thoughts=[end]))

    answer = read_answer(data)

    assert (answer.text, answer.final_text) == ('{"result": "绿茶"}', None)


def test_text_of_the_end_node_is_kept_if_the_last_frame_contradicts_what_was_streamed() -> None:
    thoughts = [node_thought(text, "executing", nodeType="End") for text in ("春", "眠")]
    frames = [frame_body(thoughts=[entry]) for entry in thoughts]
    last = frame_body("夏夜", "stop", thoughts=[node_thought("不觉晓", nodeType="End")])

    answer = read_answer(encode_sse(*frames, last))

    assert (answer.text, answer.final_text) == ("春眠不觉晓", "夏夜")


def test_the_final_text_decides_how_ambiguous_increments_are_read() -> None:
    thoughts = [node_thought(text, "executing", nodeType="End") for text in ("哈", "哈哈")]
    frames = [frame_body(thoughts=[entry]) for entry in thoughts]

    answer = read_answer(encode_sse(*frames, frame_body("哈哈", "stop")))

    assert (answer.text, answer.final_text) == ("哈哈", None)


def test_text_that_came_before_the_nodes_is_the_answer() -> None:
    """An agent-format stream with thoughts also contains the End node."""
    end = node_thought("见", nodeType="End")
    data = encode_sse(frame_body("春，"), frame_body("见", "stop", thoughts=[end]))

    assert read_answer(data).text == "春，见"


def test_text_that_repeats_the_nodes_adds_nothing() -> None:
    data = encode_sse(
        node_body("春眠"),
        frame_body("春"),
        frame_body("眠"),
        node_body("不觉晓"),
        frame_body("不觉晓", "stop"),
    )

    answer = read_answer(data)

    assert (answer.text, answer.final_text) == ("春眠不觉晓", None)


def test_a_shorter_final_text_is_kept_separately() -> None:
    answer = read_answer(encode_sse(node_body("春眠不觉晓"), frame_body("春眠", "stop")))

    assert (answer.text, answer.final_text) == ("春眠不觉晓", "春眠")


def test_a_node_that_is_named_late_is_not_lost() -> None:
    first = node_body('{"result": "春"}', node_type="LLM", node_id="x")
    named = node_body('{"result": "眠"}', node_type="LLM", node_id="x", node_name="写诗")

    assert read_answer(encode_sse(first, named, frame_body("春眠", "stop")), "写诗").text == "春眠"


def test_cumulative_node_text_is_not_repeated() -> None:
    end_node_stream = ("春眠不觉晓，处处闻", "春眠不觉晓，处处闻啼鸟", "春眠不觉晓，处处闻啼鸟。夜来")
    thoughts = [
        *(node_thought(text, "executing") for text in end_node_stream),
        node_thought(end_node_stream[-1]),
        node_thought(end_node_stream[-1]),
    ]
    frames = [frame_body(thoughts=[entry]) for entry in thoughts]

    answer = read_answer(encode_sse(*frames, frame_body("。", "stop")), "x")

    assert answer.nodes[-1].value["output"] == end_node_stream[-1]


def test_a_truncated_stream_reports_the_text_of_its_nodes() -> None:
    data = encode_sse(
        node_body("春", node_status="executing"), node_body("眠", node_status="executing")
    )

    assert summarize_events(read_answer(data)) == [
        (None, "executing", None),
        (None, "executing", "春眠"),
    ]


def test_reasoning_of_several_nodes_is_separated() -> None:
    def thinking(name: str, reasoning: str) -> dict[str, Any]:
        content = f'{{"result": "", "reasoningContent": "{reasoning}"}}'
        return node_body(content, node_type="LLM", node_id=name)

    frames = [thinking("a", "想甲。"), thinking("a", "再想。"), thinking("b", "想乙。")]

    assert (
        read_answer(encode_sse(*frames, frame_body("好", "stop"))).reasoning == "想甲。再想。\n\n想乙。"
    )


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"node_id": None},
        {"node_id": 7, "message": None},
        {"message": {"content": None}},
        {"message": {"content": ["x", 1]}},
        {"message": "直接"},
        {"node_id": "x", "nodeResult": 5},
        {"node_id": "x", "nodeResult": "{", "reasoningContent": 5},
        {"node_id": "x", "nodeResult": '{"result": {"a": "{\\"b\\": 1}"}}'},
        {"node_id": "x", "node_is_completed": 1, "index": 3},
    ],
)
def test_malformed_nodes_are_tolerated(message: dict[str, Any]) -> None:
    answer = read_answer(encode_sse(frame_body(workflow_message=message), frame_body("好", "stop")))

    assert answer.text == "好"
    assert message_from_answer(answer, "app", {}).content_blocks


def end_node_stream(*results: str, **fields: Any) -> bytes:
    """Return a stream in which an End node has these results, one in each frame."""
    frames = [
        frame_body(thoughts=[node_thought(r, "executing", nodeType="End", **fields)]) for r in results
    ]
    return encode_sse(*frames, frame_body("".join(results), "stop"))


@pytest.mark.parametrize(
    "results",
    [
        ("见", "[1]", "信"),
        ("{}", "[]"),
        ('{"a": 1}', "[2]"),
        ("1", "1.", " 第一"),
        ("哈", "哈哈", "哈"),
        ("哈", "哈", "哈哈"),
        ("\n", "\n", "好"),
    ],
)
def test_increments_are_never_mistaken_for_repetitions(results: tuple[str, ...]) -> None:
    answer = read_answer(end_node_stream(*results))

    assert (answer.text, answer.final_text) == ("".join(results), None)


@pytest.mark.parametrize("pieces", [("见", "[1]", "信"), ("{}", "[]", '{"a": 1}')])
def test_text_of_a_model_that_looks_like_json_is_text(pieces: tuple[str, ...]) -> None:
    frames = [node_body(piece, node_type="LLM", node_id="l") for piece in pieces]

    assert read_answer(encode_sse(*frames, frame_body("".join(pieces), "stop")), "LLM").text == "".join(
        pieces
    )


def test_finished_nodes_add_nothing_more() -> None:
    done = frame_body(thoughts=[node_thought("好的", nodeType="End")])

    assert read_answer(encode_sse(done, done, done, frame_body("好的", "stop"))).text == "好的"


def test_parallel_nodes_of_a_cumulative_server_share_one_mode() -> None:
    def frame(first: str, second: str) -> dict[str, Any]:
        return frame_body(
            thoughts=[node_thought(first, "executing"), node_thought(second, "executing", nodeId="y")]
        )

    answer = read_answer(
        encode_sse(
            frame("春", "见"),
            frame("春", "见字"),
            frame("春眠", "见字如"),
            frame("春眠不", "见字如面"),
            frame_body("", "stop"),
        )
    )

    assert [e.value.get("output") for e in answer.nodes[2:]] == ["春眠不", "见字如面"]


def test_text_ahead_of_its_node_is_not_repeated() -> None:
    def frame_with_text(text: str, content: str) -> dict[str, Any]:
        return frame_body(
            text, workflow_message={"node_id": "n", "node_type": "End", "message": {"content": content}}
        )

    frames = [
        frame_with_text("西湖醋鱼，龙井", "西湖醋鱼，"),
        frame_with_text("虾仁，东坡肉", "龙井虾仁，东坡肉"),
    ]
    answer = read_answer(encode_sse(*frames, frame_body("", "stop")))

    assert (answer.text, answer.final_text) == ("西湖醋鱼，龙井虾仁，东坡肉", None)


def test_a_node_reported_in_two_fields_is_read_once() -> None:
    frames = []
    for piece in ("春眠", "不觉晓"):
        frames.append(node_body(piece, node_id="x"))
        frames[-1]["output"]["thoughts"] = [node_thought(piece, "executing")]

    assert read_answer(encode_sse(*frames, frame_body("春眠不觉晓", "stop"))).text == "春眠不觉晓"


def test_a_plugin_that_answers_like_a_node_is_a_step() -> None:
    entry = {"action_type": "api", "observation": "见", "response": '{"nodeId": "n1"}'}

    answer = read_answer(encode_sse(frame_body("好", "stop", thoughts=[entry])))

    assert answer.thoughts == [entry]
    assert answer.nodes == []


def test_deep_json_stays_text() -> None:
    deep = '{"a": ' * 300 + "1" + "}" * 300
    answer = read_answer(encode_sse(frame_body("好", "stop", thoughts=[node_thought("", extra=deep)])))

    assert answer.nodes[0].value["extra"] == deep
    assert message_from_answer(answer, "app", {}).model_dump_json()


def test_markers_are_removed_from_the_final_text_too() -> None:
    assert (
        read_answer(encode_sse(node_body("春"), frame_body("夏<ref>[1]</ref>", "stop"))).final_text
        == "夏"
    )


def test_the_final_text_is_unknown_after_a_stop_sequence() -> None:
    frame = Frame(text="夏", workflow_message={"node_type": "End", "message": "春眠"})
    assembler = AnswerAssembler(stop=["眠"])
    assembler.feed(frame)

    assert (assembler.build_answer().text, assembler.build_answer().final_text) == ("春", None)


def test_a_workflow_message_of_unexpected_type_is_kept() -> None:
    answer = read_answer(encode_sse(frame_body("好", "stop", workflow_message=["x"])))

    assert answer.extra == {"output": {"workflow_message": ["x"]}}


def test_a_suffix_of_the_text_of_a_named_node_is_a_different_final_text() -> None:
    frames = [
        node_body("先", node_type="LLM", node_id="a"),
        node_body("后", node_type="LLM", node_id="b"),
    ]

    answer = read_answer(encode_sse(*frames, frame_body("后", "stop")), "LLM")

    assert (answer.text, answer.final_text) == ("先后", "后")


def node_outputs(data: bytes) -> list[Any]:
    return [event.value.get("output") for event in read_answer(data).nodes]


@pytest.mark.parametrize("text", ['{"a": 1}', "[1, 2]"])
def test_only_messages_of_inner_nodes_are_parsed_as_output(text: str) -> None:
    """Text for the user is not parsed, and a result in `thoughts` is parsed already."""
    model = (
        node_body(text[:3], node_type="LLM"),
        node_body(text[3:], node_type="LLM", node_status="success"),
    )

    assert node_outputs(encode_sse(*model, frame_body("好", "stop")))[-1] == json.loads(text)
    assert node_outputs(encode_sse(node_body(text), frame_body(text, "stop"))) == [text]
    assert node_outputs(encode_sse(frame_body("好", "stop", thoughts=[node_thought(text)]))) == [text]


@pytest.mark.parametrize(
    ("entry", "output", "reasoning"),
    [
        ({"nodeResult": "见"}, "见", None),
        ({"node_result": "见"}, "见", None),
        ({"nodeResult": '{"result": "见"}', "reasoningContent": "想"}, "见", "想"),
        ({"nodeResult": '{"result": "见", "reasoningContent": "想"}'}, "见", "想"),
        ({"nodeResult": '{"result": "见", "reasoningContent": 5}'}, "见", None),
        ({"nodeResult": '{"result": "见", "error": "超时"}'}, {"result": "见", "error": "超时"}, None),
        ({"nodeResult": '{"result": {"a": 1}, "b": 2}'}, {"result": {"a": 1}, "b": 2}, None),
        ({"nodeResult": '{"b": "[2]"}'}, {"b": [2]}, None),
        ({"nodeResult": "[1, 2]"}, [1, 2], None),
        ({"reasoningContent": "想"}, None, "想"),
    ],
)
def test_a_result_may_have_text_reasoning_and_other_fields(
    entry: dict[str, Any], output: Any, reasoning: str | None
) -> None:
    response = json.dumps({"nodeId": "x", "nodeStatus": "success"} | entry)

    (event,) = read_answer(
        encode_sse(frame_body("好", "stop", thoughts=[{"response": response}]))
    ).nodes

    assert (event.value.get("output"), event.value.get("reasoning")) == (output, reasoning)


def test_non_text_results_of_a_node_are_merged() -> None:
    frames = [
        node_body(content, node_type="LLM") for content in ('{"result": "", "a": 1}', '{"result": 2}')
    ]

    assert node_outputs(encode_sse(*frames, frame_body("好", "stop")))[-1] == {"a": 1, "result": 2}


def test_an_entry_without_a_result_does_not_erase_it() -> None:
    entries = [{"nodeResult": "[1]"}, {"nodeStatus": "success"}]
    frames = [
        frame_body(
            thoughts=[{"response": json.dumps({"nodeId": "x", "nodeStatus": "executing"} | entry)}]
        )
        for entry in entries
    ]

    assert node_outputs(encode_sse(*frames, frame_body("好", "stop"))) == [None, [1]]


def test_names_and_types_are_not_parsed() -> None:
    (event,) = read_answer(
        encode_sse(node_body("茶", node_name="[1]", other="[1]"), frame_body("茶", "stop"))
    ).nodes

    assert (event.value["name"], event.value["other"]) == ("[1]", [1])


@pytest.mark.parametrize(
    ("states", "reported"),
    [
        pytest.param([("春", "executing"), ("", "executing")], [None, "春"], id="broken off"),
        pytest.param([("", "executing"), ("", "executing")], [None], id="no output yet"),
        pytest.param([("春", "success"), ("", "success")], ["春"], id="complete output"),
        pytest.param([("春", "success"), ("眠", "success")], ["春", "春眠"], id="output after success"),
        pytest.param([("春", "executing"), ("眠", "success")], [None, "春眠"], id="done"),
    ],
)
def test_a_node_is_reported_again_only_if_there_is_more_to_report(
    states: list[tuple[str, str]], reported: list[str | None]
) -> None:
    frames = [node_body(text, node_type="LLM", node_status=status) for text, status in states]

    assert node_outputs(encode_sse(*frames, frame_body("好", "stop"))) == reported


def test_a_node_is_reported_again_when_completed() -> None:
    frames = [node_body("", node_is_completed=completed) for completed in (False, False, True)]

    nodes = read_answer(encode_sse(*frames, frame_body("茶", "stop"))).nodes

    assert [event.value["completed"] for event in nodes] == [False, True]


def test_the_last_frame_reports_a_node_once_with_all_its_text() -> None:
    first_entry, last_entry = (
        node_thought("春", "executing"),
        node_thought("春眠"),
    )  # increments, although ambiguous

    data = encode_sse(
        frame_body(thoughts=[first_entry]), frame_body("好", "stop", thoughts=[last_entry])
    )

    assert node_outputs(data) == [None, "春春眠"]


@pytest.mark.parametrize(
    ("entry", "is_node"),
    [
        ({}, True),
        ({"action_type": "", "observation": None}, True),
        ({"action_type": "api"}, False),
        ({"action": "rag"}, False),
        ({"observation": "晴"}, False),
    ],
)
@pytest.mark.parametrize("name", ["nodeId", "nodeName", "node_id"])
def test_a_thought_without_an_action_whose_response_is_a_node_is_a_node(
    entry: dict[str, Any], is_node: bool, name: str
) -> None:
    answer = read_answer(
        encode_sse(frame_body("好", "stop", thoughts=[entry | {"response": {name: "x"}}]))
    )

    assert (len(answer.nodes), len(answer.thoughts)) == ((1, 0) if is_node else (0, 1))


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        ({"node_id": "a", "node_name": "x"}, {"node_id": "b", "node_name": "x"}, "a:1"),
        ({"nodeId": "a", "nodeType": "LLM"}, {"nodeId": "b", "nodeType": "LLM"}, "a:1"),
        ({"node_name": "a", "node_type": "LLM"}, {"node_name": "b", "node_type": "LLM"}, "a:1"),
        ({"nodeName": "a", "nodeType": "LLM"}, {"nodeName": "b", "nodeType": "LLM"}, "a:1"),
        ({"node_type": "LLM"}, {"node_type": "API"}, "LLM:1"),
        ({"nodeType": "LLM"}, {"nodeType": "API"}, "LLM:1"),
        ({}, {"node_type": "API"}, "node:1"),
    ],
)
def test_nodes_are_distinguished_by_id_then_name_then_type(
    first: dict[str, Any], second: dict[str, Any], key: str
) -> None:
    frames = [
        frame_body(workflow_message=entry | {"message": {"content": "茶"}}) for entry in (first, second)
    ]

    nodes = read_answer(encode_sse(*frames, frame_body("好", "stop"))).nodes

    assert [event.value.get("output") for event in nodes] == ["茶", "茶"]
    assert nodes[0].key == key


@pytest.mark.parametrize(("levels", "is_parsed"), [(50, True), (51, False)])
def test_json_text_is_parsed_down_to_fifty_levels(levels: int, is_parsed: bool) -> None:
    text = "[" * levels + "]" * levels
    (event,) = read_answer(
        encode_sse(frame_body("好", "stop", thoughts=[node_thought("", extra=text)]))
    ).nodes

    assert event.value["extra"] == (json.loads(text) if is_parsed else text)


def test_text_several_frames_ahead_of_its_node_is_not_repeated() -> None:
    data = encode_sse(
        node_body("春"),
        frame_body("春眠"),
        frame_body("不觉"),
        node_body("眠不觉晓"),
        frame_body("晓", "stop"),
    )

    assert read_answer(data).text == "春眠不觉晓"
