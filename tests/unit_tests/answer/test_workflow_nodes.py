"""Workflows: the answer once, and each node when it begins and when it is done."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_bailian_app._answer.assembler import Answer, AnswerReader
from langchain_bailian_app._answer.frames import Frame
from langchain_bailian_app._answer.workflow_text import NodeText, WorkflowTextMerger, Verdict
from langchain_bailian_app.chat_models._content_blocks import content_blocks
from langchain_bailian_app.chat_models._messages import message_from_answer
from tests.fixtures import frames_of, recording, reply, shown, sse


def read(data: bytes, answer_node: str | None = None) -> Answer:
    reader = AnswerReader(answer_node=answer_node)
    deltas = [delta for frame in frames_of(data) for delta in reader.feed(frame)]
    deltas += reader.end()
    answer = reader.answer()
    assert shown(deltas) == answer.text
    return answer


def events(answer: Answer) -> list[tuple[str, Any, Any]]:
    """Return name, status and output of each event."""
    return [(e.value.get("name"), e.value.get("status"), e.value.get("output")) for e in answer.nodes]


def node(content: Any = "", **more: Any) -> dict[str, Any]:
    """Return the body of a frame about one node."""
    message = {"node_id": "n", "node_type": "End", "message": {"content": content}} | more
    body = reply(workflow_message=message)
    del body["output"]["text"]
    return body


def thought(result: str, status: str = "success", **more: Any) -> dict[str, Any]:
    """Return the entry of `thoughts` for a node."""
    value = {"nodeId": "x", "nodeStatus": status, "nodeResult": json.dumps({"result": result})}
    return {"response": json.dumps(value | more)}


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
    answer = read(recording(name), answer_node)

    assert (answer.text, answer.reasoning, answer.final_text) == (text, reasoning, final_text)


def test_nodes_are_told_when_they_begin_and_when_they_are_done() -> None:
    assert events(read(recording("workflow-full-thoughts.sse"))) == [
        ("开始", "success", None),
        ("LLM_a", "executing", None),
        ("写诗", "success", "春眠不觉晓"),
        ("LLM_b", "executing", None),
        ("写信", "success", "见字如面"),
        ("结束", "success", "见字如面"),
    ]


def test_parallel_nodes_are_kept_apart() -> None:
    assert events(read(recording("workflow-parallel.sse")))[1:5] == [
        ("写诗", "executing", None),
        ("写信", "executing", None),
        ("写信", "success", "见字如面"),
        ("写诗", "success", "春眠不觉晓"),
    ]


def test_a_node_is_a_block_with_stable_keys() -> None:
    message = message_from_answer(read(recording("workflow-message-format-plus.sse")), "app", {})
    blocks = [block for block in content_blocks(message) if block["type"] == "non_standard"]

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


def test_inputs_and_unknown_fields_are_opened_and_kept() -> None:
    start, *_ = read(recording("workflow-full-thoughts.sse")).nodes
    failed = read(recording("workflow-failed.sse")).nodes[1]
    paused = read(recording("workflow-paused.sse")).nodes[1]

    assert start.value["nodeParams"] == {"city": "杭州"}
    assert failed.value["output"] == {"error": "超时"}
    assert failed.value["parent_node_id"] == "Group_1"
    assert paused.value["interaction"] == {"type": "input", "fields": ["人数"]}
    assert (paused.value["status"], paused.value["output"]) == ("paused", "要几人的行程？")


@pytest.mark.parametrize(
    ("told", "read_as"), [(True, True), ("true", True), ("False", False), ("?", "?")]
)
def test_completed_is_a_boolean_also_as_text(told: Any, read_as: Any) -> None:
    (event,) = read(sse(node("茶", node_is_completed=told), reply("茶", "stop"))).nodes

    assert event.value["completed"] == read_as


def test_what_is_meant_for_the_user_is_not_opened() -> None:
    answer = read(sse(node('{"result": 5}'), reply('{"result": 5}', "stop")))

    assert (answer.text, answer.final_text) == ('{"result": 5}', None)


def test_an_output_node_speaks_too() -> None:
    data = sse(
        node("先说，", node_type="FlowOutput"),
        node("再说。", node_id="e"),
        reply("先说，再说。", "stop"),
    )

    assert read(data).text == "先说，再说。"


def test_text_that_came_before_the_nodes_is_the_answer() -> None:
    """An agent-format stream with thoughts tells the End node besides."""
    end = thought("见", nodeType="End")
    data = sse(reply("春，"), reply("见", "stop", thoughts=[end]))

    assert read(data).text == "春，见"


def test_text_beside_the_nodes_adds_nothing() -> None:
    data = sse(node("春眠"), reply("春"), reply("眠"), node("不觉晓"), reply("不觉晓", "stop"))

    answer = read(data)

    assert (answer.text, answer.final_text) == ("春眠不觉晓", None)


def test_a_final_text_that_is_shorter_is_kept_aside() -> None:
    answer = read(sse(node("春眠不觉晓"), reply("春眠", "stop")))

    assert (answer.text, answer.final_text) == ("春眠不觉晓", "春眠")


def test_a_node_that_is_named_late_is_not_lost() -> None:
    first = node('{"result": "春"}', node_type="LLM", node_id="x")
    named = node('{"result": "眠"}', node_type="LLM", node_id="x", node_name="写诗")

    assert read(sse(first, named, reply("春眠", "stop")), "写诗").text == "春眠"


def test_a_cumulative_server_says_nothing_twice() -> None:
    texts = ("春眠不觉晓，处处闻", "春眠不觉晓，处处闻啼鸟", "春眠不觉晓，处处闻啼鸟。夜来")
    thoughts = [*(thought(text, "executing") for text in texts), thought(texts[-1]), thought(texts[-1])]
    frames = [reply(thoughts=[entry]) for entry in thoughts]

    answer = read(sse(*frames, reply("。", "stop")), "x")

    assert answer.nodes[-1].value["output"] == texts[-1]


def test_a_stream_that_is_cut_tells_what_its_nodes_have_said() -> None:
    data = sse(node("春", node_status="executing"), node("眠", node_status="executing"))

    assert events(read(data)) == [(None, "executing", None), (None, "executing", "春眠")]


def test_reasoning_of_several_nodes_is_set_apart() -> None:
    def thinking(name: str, reasoning: str) -> dict[str, Any]:
        content = f'{{"result": "", "reasoningContent": "{reasoning}"}}'
        return node(content, node_type="LLM", node_id=name)

    frames = [thinking("a", "想甲。"), thinking("a", "再想。"), thinking("b", "想乙。")]

    assert read(sse(*frames, reply("好", "stop"))).reasoning == "想甲。再想。\n\n想乙。"


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
def test_odd_nodes_stop_no_answer(message: dict[str, Any]) -> None:
    answer = read(sse(reply(workflow_message=message), reply("好", "stop")))

    assert answer.text == "好"
    assert message_from_answer(answer, "app", {}).content_blocks


@given(st.lists(st.text("春眠不觉晓", max_size=4), max_size=6), st.data())
def test_nodes_and_text_together_are_said_once(pieces: list[str], data: st.DataObject) -> None:
    whole = "".join(pieces)
    one = WorkflowTextMerger(tail_is_enough=False)
    told = [one.feed(piece, "") for piece in pieces]
    end = data.draw(st.integers(0, len(whole)))

    told += [one.feed("", whole[:end]), one.feed("", whole[end:])]

    assert "".join(told) == whole
    assert one.other_text is None


def texts(*results: str, **more: Any) -> bytes:
    """Return a stream in which an End node says these, one a frame."""
    frames = [reply(thoughts=[thought(r, "executing", nodeType="End", **more)]) for r in results]
    return sse(*frames, reply("".join(results), "stop"))


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
def test_increments_are_never_mistaken(results: tuple[str, ...]) -> None:
    answer = read(texts(*results))

    assert (answer.text, answer.final_text) == ("".join(results), None)


@pytest.mark.parametrize("pieces", [("见", "[1]", "信"), ("{}", "[]", '{"a": 1}')])
def test_text_of_a_model_that_looks_like_json_is_text(pieces: tuple[str, ...]) -> None:
    frames = [node(piece, node_type="LLM", node_id="l") for piece in pieces]

    assert read(sse(*frames, reply("".join(pieces), "stop")), "LLM").text == "".join(pieces)


def test_nodes_that_are_done_say_nothing_more() -> None:
    done = reply(thoughts=[thought("好的", nodeType="End")])

    assert read(sse(done, done, done, reply("好的", "stop"))).text == "好的"


def test_parallel_nodes_of_a_cumulative_server_are_read_alike() -> None:
    def frame(first: str, second: str) -> dict[str, Any]:
        return reply(thoughts=[thought(first, "executing"), thought(second, "executing", nodeId="y")])

    answer = read(
        sse(
            frame("春", "见"),
            frame("春", "见字"),
            frame("春眠", "见字如"),
            frame("春眠不", "见字如面"),
            reply("", "stop"),
        )
    )

    assert [e.value.get("output") for e in answer.nodes[2:]] == ["春眠不", "见字如面"]


def test_text_that_is_ahead_of_its_node_is_not_said_twice() -> None:
    def both(text: str, content: str) -> dict[str, Any]:
        return reply(
            text, workflow_message={"node_id": "n", "node_type": "End", "message": {"content": content}}
        )

    frames = [both("西湖醋鱼，龙井", "西湖醋鱼，"), both("虾仁，东坡肉", "龙井虾仁，东坡肉")]
    answer = read(sse(*frames, reply("", "stop")))

    assert (answer.text, answer.final_text) == ("西湖醋鱼，龙井虾仁，东坡肉", None)


def test_a_node_that_is_told_in_two_places_is_heard_once() -> None:
    frames = []
    for piece in ("春眠", "不觉晓"):
        frames.append(node(piece, node_id="x"))
        frames[-1]["output"]["thoughts"] = [thought(piece, "executing")]

    assert read(sse(*frames, reply("春眠不觉晓", "stop"))).text == "春眠不觉晓"


def test_an_end_that_speaks_in_the_last_frame_only_is_heard_after_the_output_nodes() -> None:
    answer = read(sse(node("先说。", node_type="Output"), reply("这是答案。", "stop")))

    assert (answer.text, answer.final_text) == ("先说。这是答案。", None)


def test_a_final_text_without_what_output_nodes_have_said_is_no_other_text() -> None:
    data = sse(node("先说。", node_type="Output"), node("答案。", node_id="e"), reply("答案。", "stop"))

    answer = read(data)

    assert (answer.text, answer.final_text) == ("先说。答案。", None)


def test_a_plugin_that_answers_like_a_node_is_a_step() -> None:
    entry = {"action_type": "api", "observation": "见", "response": '{"nodeId": "n1"}'}

    answer = read(sse(reply("好", "stop", thoughts=[entry])))

    assert answer.thoughts == [entry]
    assert answer.nodes == []


def test_deep_json_stays_text() -> None:
    deep = '{"a": ' * 300 + "1" + "}" * 300
    answer = read(sse(reply("好", "stop", thoughts=[thought("", extra=deep)])))

    assert answer.nodes[0].value["extra"] == deep
    assert message_from_answer(answer, "app", {}).model_dump_json()


def test_the_final_text_has_no_markers_either() -> None:
    assert read(sse(node("春"), reply("夏<ref>[1]</ref>", "stop"))).final_text == "夏"


def test_a_final_text_behind_a_stop_sequence_is_not_known() -> None:
    frame = Frame(text="夏", workflow_message={"node_type": "End", "message": "春眠"})
    reader = AnswerReader(stop=["眠"])
    reader.feed(frame)

    assert (reader.answer().text, reader.answer().final_text) == ("春", None)


def test_a_workflow_message_of_another_shape_is_kept() -> None:
    answer = read(sse(reply("好", "stop", workflow_message=["x"])))

    assert answer.extra == {"output": {"workflow_message": ["x"]}}


def test_the_tail_of_what_a_named_node_has_said_is_another_text() -> None:
    frames = [node("先", node_type="LLM", node_id="a"), node("后", node_type="LLM", node_id="b")]

    answer = read(sse(*frames, reply("后", "stop")), "LLM")

    assert (answer.text, answer.final_text) == ("先后", "后")


def outputs(data: bytes) -> list[Any]:
    return [event.value.get("output") for event in read(data).nodes]


@pytest.mark.parametrize("text", ['{"a": 1}', "[1, 2]"])
def test_only_the_message_of_a_node_for_other_nodes_is_opened_as_its_output(text: str) -> None:
    """What the user reads is text, and what `thoughts` call the result is opened already."""
    model = node(text[:3], node_type="LLM"), node(text[3:], node_type="LLM", node_status="success")

    assert outputs(sse(*model, reply("好", "stop")))[-1] == json.loads(text)
    assert outputs(sse(node(text), reply(text, "stop"))) == [text]
    assert outputs(sse(reply("好", "stop", thoughts=[thought(text)]))) == [text]


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
def test_a_result_has_text_and_reasoning_and_whatever_else(
    entry: dict[str, Any], output: Any, reasoning: str | None
) -> None:
    response = json.dumps({"nodeId": "x", "nodeStatus": "success"} | entry)

    (event,) = read(sse(reply("好", "stop", thoughts=[{"response": response}]))).nodes

    assert (event.value.get("output"), event.value.get("reasoning")) == (output, reasoning)


def test_what_a_node_has_besides_text_is_gathered() -> None:
    frames = [node(content, node_type="LLM") for content in ('{"result": "", "a": 1}', '{"result": 2}')]

    assert outputs(sse(*frames, reply("好", "stop")))[-1] == {"a": 1, "result": 2}


def test_an_entry_without_a_result_takes_none_back() -> None:
    entries = [{"nodeResult": "[1]"}, {"nodeStatus": "success"}]
    frames = [
        reply(thoughts=[{"response": json.dumps({"nodeId": "x", "nodeStatus": "executing"} | entry)}])
        for entry in entries
    ]

    assert outputs(sse(*frames, reply("好", "stop"))) == [None, [1]]


def test_names_and_types_are_not_opened() -> None:
    (event,) = read(sse(node("茶", node_name="[1]", other="[1]"), reply("茶", "stop"))).nodes

    assert (event.value["name"], event.value["other"]) == ("[1]", [1])


@pytest.mark.parametrize(
    ("states", "told"),
    [
        pytest.param([("春", "executing"), ("", "executing")], [None, "春"], id="broken off"),
        pytest.param([("", "executing"), ("", "executing")], [None], id="has said nothing"),
        pytest.param([("春", "success"), ("", "success")], ["春"], id="has said all"),
        pytest.param([("春", "success"), ("眠", "success")], ["春", "春眠"], id="goes on when done"),
        pytest.param([("春", "executing"), ("眠", "success")], [None, "春眠"], id="done"),
    ],
)
def test_a_node_is_told_anew_only_if_there_is_more_to_tell(
    states: list[tuple[str, str]], told: list[str | None]
) -> None:
    frames = [node(text, node_type="LLM", node_status=status) for text, status in states]

    assert outputs(sse(*frames, reply("好", "stop"))) == told


def test_a_node_that_is_completed_is_told_anew() -> None:
    frames = [node("", node_is_completed=completed) for completed in (False, False, True)]

    told = read(sse(*frames, reply("茶", "stop"))).nodes

    assert [event.value["completed"] for event in told] == [False, True]


def test_the_last_frame_tells_a_node_once_with_all_that_it_has_said() -> None:
    begun, done = thought("春", "executing"), thought("春眠")  # increments, but that may be doubted

    data = sse(reply(thoughts=[begun]), reply("好", "stop", thoughts=[done]))

    assert outputs(data) == [None, "春春眠"]


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
def test_a_thought_that_responds_with_a_node_and_does_nothing_else_is_one(
    entry: dict[str, Any], is_node: bool, name: str
) -> None:
    answer = read(sse(reply("好", "stop", thoughts=[entry | {"response": {name: "x"}}])))

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
def test_nodes_are_told_apart_by_the_best_that_they_have(
    first: dict[str, Any], second: dict[str, Any], key: str
) -> None:
    frames = [
        reply(workflow_message=entry | {"message": {"content": "茶"}}) for entry in (first, second)
    ]

    nodes = read(sse(*frames, reply("好", "stop"))).nodes

    assert [event.value.get("output") for event in nodes] == ["茶", "茶"]
    assert nodes[0].key == key


@pytest.mark.parametrize(("levels", "opened"), [(50, True), (51, False)])
def test_json_text_is_opened_down_to_fifty_levels(levels: int, opened: bool) -> None:
    text = "[" * levels + "]" * levels
    (event,) = read(sse(reply("好", "stop", thoughts=[thought("", extra=text)]))).nodes

    assert event.value["extra"] == (json.loads(text) if opened else text)


def test_text_that_is_frames_ahead_of_its_node_is_not_said_twice() -> None:
    data = sse(node("春"), reply("春眠"), reply("不觉"), node("眠不觉晓"), reply("晓", "stop"))

    assert read(data).text == "春眠不觉晓"


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        pytest.param(["春", "春眠"], "春春眠", id="once may be chance"),
        pytest.param(["春", "春眠", "春眠不"], "春眠不", id="twice is none"),
        pytest.param(
            ["春眠不觉晓处处", "春眠不觉晓处处闻"], "春眠不觉晓处处" * 2 + "闻", id="a few words"
        ),
        pytest.param(["春眠不觉晓处处闻", "春眠不觉晓处处闻啼"], "春眠不觉晓处处闻啼", id="a phrase"),
        pytest.param(["春", "春", "春眠"], "春春春眠", id="standing still is no evidence"),
        pytest.param(["春", "春眠", "晓"], "春春眠晓", id="it does not go on"),
    ],
)
def test_text_is_taken_for_cumulative_where_its_growth_cannot_be_chance(
    pieces: list[str], text: str
) -> None:
    node_text = NodeText(Verdict())
    told = ""
    for piece in pieces:
        node_text.take(piece)
        told += node_text.new()

    node_text.end()

    assert told + node_text.new() == str(node_text) == text
    assert node_text.length == len(text)
