"""How the emulator runs workflows: templates, variables, order, and what remains without a server."""

from dataclasses import replace
from typing import Any

import pytest

from langchain_bailian_app.emulator import App, Node, Reply, Round, Turn
from langchain_bailian_app.emulator._apps.nodes import placed, stages
from langchain_bailian_app.emulator._completion.workflow_frames import (
    Mode,
    WorkflowComposition,
    mode_of,
)
from langchain_bailian_app.emulator._completion.workflow_run import Course, run_workflow
from langchain_bailian_app.emulator._completion.workflow_variables import check_variables, filled
from langchain_bailian_app.emulator._http.errors import RequestRefused

TURN = Turn("去哪玩？", biz_params={"city": "杭州"})


def run(*nodes: Node, turn: Turn = TURN, **fields: Any) -> Course:
    return run_workflow(App("w", kind="workflow", nodes=nodes, **fields), turn)


def results(course: Course) -> list[str]:
    return [run.said.result for run in course.runs]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("去${city}", "去杭州"),
        ("${ city }${city}", "杭州杭州"),
        ("${days}天", "3天"),
        ("${yes}", "true"),
        ("${tags}", '["山", 1]'),
        ("${file}", '{"url": "http://x/y.pdf"}'),
        ("${sys.query}", "问"),
        ("${nobody} ${", "${nobody} ${"),
    ],
)
def test_a_template_shows_texts_as_they_are_and_all_else_as_json(template: str, text: str) -> None:
    values = {
        "city": "杭州",
        "days": 3,
        "yes": True,
        "tags": ["山", 1],
        "file": {"url": "http://x/y.pdf"},
        "sys.query": "问",
    }

    assert filled(template, values) == text


def test_what_is_filled_in_is_no_template() -> None:
    assert filled("${a}", {"a": "${b}", "b": "c"}) == "${b}"


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        (str, "x", True),
        (str, "", True),
        (str, 1, False),
        (str, None, False),
        (int, 1, True),
        (int, True, False),
        (int, 1.5, False),
        (float, 1.5, True),
        (float, 1, True),
        (float, True, False),
        (float, "1", False),
        (bool, False, True),
        (bool, 0, False),
        (list, [{"url": "u"}], True),
        (list, {"url": "u"}, False),
        (dict, {"url": "u"}, True),
    ],
)
def test_variables_have_the_types_of_the_wire(kind: type, value: object, fits: bool) -> None:
    if fits:
        check_variables({"v": kind}, {"v": value})
    else:
        with pytest.raises(RequestRefused, match=r"InvalidParameter: .*\bv\b"):
            check_variables({"v": kind}, {"v": value})


def test_a_missing_variable_is_named_and_an_undeclared_one_is_fine() -> None:
    check_variables({}, {"other": 1})
    with pytest.raises(RequestRefused, match="Required variable city is missing"):
        check_variables({"city": str}, {"other": 1})


def test_nodes_are_numbered_by_their_place_unless_they_have_an_id() -> None:
    nodes = [Node("a", "Start"), Node("b", node_id="LLM_x"), Node("c"), Node("d", "End")]

    assert [node_id for _, node_id in placed(nodes)] == ["Start_1", "LLM_x", "LLM_3", "End_4"]


def test_parallel_nodes_share_a_stage() -> None:
    nodes = [Node("a", parallel=True), Node("b", parallel=True), Node("c"), Node("d", parallel=True)]

    assert [[node.name for node, _ in stage] for stage in stages(nodes)] == [["a", "b"], ["c", "d"]]


def test_a_node_sees_variables_and_results_by_name_and_by_id() -> None:
    course = run(
        Node("开始", "Start"),
        Node("甲", text="${city}"),
        Node("乙", text="${甲}${LLM_2}${丙}"),
        Node("结束", "End", text="${乙}！"),
    )

    assert results(course) == ["", "杭州", "杭州杭州${丙}", "杭州杭州${丙}！"]
    assert course.text == "杭州杭州${丙}！"


def test_parallel_nodes_do_not_see_each_other_and_take_turns() -> None:
    course = run(
        Node("甲", text="一二三四五六七八九十一二三四五"),
        Node("乙", text="[${甲}]abcdefghijklmnopqrs", parallel=True),
        Node("结束", "End", text="${甲}"),
    )

    assert results(course)[1].startswith("[${甲}]")
    first, second = course.runs[:2]
    order = [step.run for step in course.steps if step.run in (first, second)]
    assert order[:6] == [first, second] * 3


def test_without_nodes_a_workflow_echoes() -> None:
    course = run()

    assert [run.node.type for run in course.runs] == ["Start", "LLM", "End"]
    assert "你说的是：「去哪玩？」" in course.text
    assert course.runs[2].repeated is course.runs[1]


def test_an_end_node_without_a_text_repeats_the_last_model_or_what_came_before() -> None:
    spoken = run(Node("甲", text="一"), Node("先说", "Output", text="二"), Node("结束", "End"))
    computed = run(Node("甲", "Script", text="三"), Node("结束", "End"))

    assert (spoken.text, computed.text) == ("一", "三")
    assert spoken.runs[2].repeated is spoken.runs[0]
    assert computed.runs[1].repeated is None
    assert run(Node("结束", "End")).text == ""


def test_nodes_know_the_rounds_before_by_name_only() -> None:
    turn = replace(TURN, history=(Round("我叫小明", "你好"),), system="要有礼貌")
    history = (
        '[{"role": "system", "content": "要有礼貌"}, {"role": "user", "content": "我叫小明"}, '
        '{"role": "assistant", "content": "你好"}]'
    )

    assert "我叫小明" not in run(turn=turn).text
    assert run(Node("甲", text="${historyList}"), turn=turn).text == history
    assert run(Node("甲", text=lambda turn: turn.history[0].prompt), turn=turn).text == "我叫小明"
    assert run(turn=turn, answer=lambda turn: turn.history[0].answer).text == "你好"


def test_an_llm_node_without_a_text_says_and_thinks_what_its_app_does() -> None:
    reply = Reply("答", reasoning="想", finish_reason="length", pieces=["答", ""])

    quiet = run(answer=lambda _: reply)
    loud = run(answer=lambda _: reply, turn=replace(TURN, thinking=True))

    assert quiet.runs[1].said == ("答", "")
    assert loud.runs[1].said == ("答", "想")
    assert loud.finish_reason == "length"
    assert run(answer="固定").text == "固定"


@pytest.mark.parametrize(
    ("thinking", "asked", "thought"),
    [
        ("off", False, "想杭州"),
        ("on", True, "想杭州"),
        ("hybrid", True, "想杭州"),
        ("hybrid", False, ""),
    ],
)
def test_reasoning_of_a_node_can_be_switched_in_a_hybrid_app_only(
    thinking: Any, asked: bool, thought: str
) -> None:
    turn = replace(TURN, thinking=asked)

    course = run(Node("甲", text="答", reasoning="想${city}"), turn=turn, thinking=thinking)

    assert course.runs[0].said == ("答", thought)


@pytest.mark.parametrize("status", ["failed", "paused"])
def test_a_workflow_ends_where_a_node_does_not_succeed(status: Any) -> None:
    course = run(Node("甲", text="一"), Node("乙", "Plugin", status=status), Node("结束", "End"))

    assert [run.node.name for run in course.runs] == ["甲", "乙"]
    assert course.stopped
    assert course.text == ""


def test_the_text_of_a_workflow_without_an_end_is_that_of_its_last_node() -> None:
    assert run(Node("甲", text="一"), Node("乙", "Output", text="二")).text == "二"


def test_the_final_text_may_be_another() -> None:
    course = run(Node("甲", text="一"), Node("结束", "End"), final_text="一二三")

    assert course.text == "一二三"
    assert results(course) == ["一", "一"]


@pytest.mark.parametrize("fails", [lambda _: 1 / 0, lambda _: None])
def test_a_failing_script_is_a_refusal(fails: Any) -> None:
    with pytest.raises(RequestRefused, match="AppProcessFailed"):
        run(Node("甲", text=fails))


def test_wrong_apps_are_refused_when_they_are_made() -> None:
    wrong: Any = 1
    with pytest.raises(TypeError, match="`text` of a node"):
        Node("甲", text=wrong)
    with pytest.raises(TypeError, match="`reasoning` of a node"):
        Node("甲", reasoning=wrong)
    with pytest.raises(ValueError, match="same id"):
        App("w", kind="workflow", nodes=[Node("甲", node_id="x"), Node("乙", node_id="x")])
    with pytest.raises(ValueError, match="belong to"):
        App("a", nodes=[Node("甲")])
    with pytest.raises(ValueError, match="belong to"):
        App("a", variables={"city": str})
    with pytest.raises(TypeError, match="'city' is a class"):
        App("w", kind="workflow", variables={"city": wrong})


@pytest.mark.parametrize(
    ("given", "shows_thoughts", "mode"),
    [
        (None, True, "full_thoughts"),
        (None, False, None),
        ("full_thoughts", True, "full_thoughts"),
        ("full_thoughts", False, None),
        ("agent_format", True, "agent_format"),
        ("message_format", False, "message_format"),
    ],
)
def test_thoughts_are_the_mode_of_those_who_name_none(
    given: str | None, shows_thoughts: bool, mode: str | None
) -> None:
    assert mode_of(given, shows_thoughts=shows_thoughts) == mode


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(RequestRefused, match="flow_stream_mode must be one of full_thoughts"):
        mode_of("fast", shows_thoughts=True)


@pytest.mark.parametrize("incremental", [True, False])
@pytest.mark.parametrize(
    "mode", [None, "full_thoughts", "agent_format", "message_format", "message_format_plus"]
)
def test_frames_carry_the_text_bit_by_bit(mode: Mode | None, incremental: bool) -> None:
    course = run(
        Node("甲", text="一二三四五六七八九十", returns=False),
        Node("结束", "End", text="《${甲}》，再见，再见"),
    )
    composition = WorkflowComposition(
        request_id="r",
        session_id="s",
        course=course,
        mode=mode,
        shows_thoughts=False,
        incremental=incremental,
        completed_as_text=False,
        end_repeats=False,
    )

    texts = [composition.text_after(n) for n in range(composition.frame_count + 1)]

    assert texts[0] == ""
    assert texts[-1] == course.text
    assert all(course.text.startswith(text) for text in texts)
    assert texts == sorted(texts, key=len)
    assert len(list(composition.stream())) == composition.frame_count
