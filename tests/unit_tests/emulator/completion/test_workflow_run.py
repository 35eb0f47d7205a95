"""Execution of the nodes of the emulator's workflows."""

from dataclasses import replace
from typing import Any

import pytest

from langchain_bailian_app.emulator import App, Node, Reply, Round, Turn
from langchain_bailian_app.emulator._completion.workflow_run import WorkflowRun, run_workflow
from langchain_bailian_app.emulator._http.errors import RequestRefused

TURN = Turn("去哪玩？", biz_params={"city": "杭州"})


def run_nodes(*nodes: Node, turn: Turn = TURN, **fields: Any) -> WorkflowRun:
    return run_workflow(App("w", kind="workflow", nodes=nodes, **fields), turn)


def get_results(workflow_run: WorkflowRun) -> list[str]:
    return [node_run.output.result for node_run in workflow_run.node_runs]


def test_a_node_sees_variables_and_results_by_name_and_by_id() -> None:
    workflow_run = run_nodes(
        Node("开始", "Start"),
        Node("甲", text="${city}"),
        Node("乙", text="${甲}${LLM_2}${丙}"),
        Node("结束", "End", text="${乙}！"),
    )

    assert get_results(workflow_run) == ["", "杭州", "杭州杭州${丙}", "杭州杭州${丙}！"]
    assert workflow_run.text == "杭州杭州${丙}！"


def test_parallel_nodes_do_not_see_each_other_and_take_turns() -> None:
    workflow_run = run_nodes(
        Node("甲", text="一二三四五六七八九十一二三四五"),
        Node("乙", text="[${甲}]abcdefghijklmnopqrs", parallel=True),
        Node("结束", "End", text="${甲}"),
    )

    assert get_results(workflow_run)[1].startswith("[${甲}]")
    first, second = workflow_run.node_runs[:2]
    order = [event.run for event in workflow_run.events if event.run in (first, second)]
    assert order[:6] == [first, second] * 3


def test_a_workflow_without_nodes_echoes_the_prompt() -> None:
    workflow_run = run_nodes()

    assert [node_run.node.type for node_run in workflow_run.node_runs] == ["Start", "LLM", "End"]
    assert "你说的是：「去哪玩？」" in workflow_run.text
    assert workflow_run.node_runs[2].repeated_run is workflow_run.node_runs[1]


def test_an_end_node_without_a_text_repeats_the_last_llm_node_or_the_node_before_it() -> None:
    after_llm = run_nodes(Node("甲", text="一"), Node("先说", "Output", text="二"), Node("结束", "End"))
    after_script = run_nodes(Node("甲", "Script", text="三"), Node("结束", "End"))

    assert (after_llm.text, after_script.text) == ("一", "三")
    assert after_llm.node_runs[2].repeated_run is after_llm.node_runs[0]
    assert after_script.node_runs[1].repeated_run is None
    assert run_nodes(Node("结束", "End")).text == ""


def test_nodes_see_the_history_only_if_they_ask_for_it() -> None:
    turn = replace(TURN, history=(Round("我叫小明", "你好"),), system="要有礼貌")
    history = (
        '[{"role": "system", "content": "要有礼貌"}, {"role": "user", "content": "我叫小明"}, '
        '{"role": "assistant", "content": "你好"}]'
    )

    assert "我叫小明" not in run_nodes(turn=turn).text
    assert run_nodes(Node("甲", text="${historyList}"), turn=turn).text == history
    assert run_nodes(Node("甲", text=lambda turn: turn.history[0].prompt), turn=turn).text == "我叫小明"
    assert run_nodes(turn=turn, answer=lambda turn: turn.history[0].answer).text == "你好"


def test_an_llm_node_without_a_text_uses_the_answer_and_reasoning_of_its_app() -> None:
    reply = Reply("答", reasoning="想", finish_reason="length", pieces=["答", ""])

    without_thinking = run_nodes(answer=lambda _: reply)
    with_thinking = run_nodes(answer=lambda _: reply, turn=replace(TURN, thinking=True))

    assert without_thinking.node_runs[1].output == ("答", "")
    assert with_thinking.node_runs[1].output == ("答", "想")
    assert with_thinking.finish_reason == "length"
    assert run_nodes(answer="固定").text == "固定"


@pytest.mark.parametrize(
    ("thinking", "enabled", "reasoning_text"),
    [
        ("off", False, "想杭州"),
        ("on", True, "想杭州"),
        ("hybrid", True, "想杭州"),
        ("hybrid", False, ""),
    ],
)
def test_reasoning_of_a_node_can_be_switched_in_a_hybrid_app_only(
    thinking: Any, enabled: bool, reasoning_text: str
) -> None:
    turn = replace(TURN, thinking=enabled)

    workflow_run = run_nodes(Node("甲", text="答", reasoning="想${city}"), turn=turn, thinking=thinking)

    assert workflow_run.node_runs[0].output == ("答", reasoning_text)


@pytest.mark.parametrize("status", ["failed", "paused"])
def test_a_workflow_ends_where_a_node_does_not_succeed(status: Any) -> None:
    workflow_run = run_nodes(
        Node("甲", text="一"), Node("乙", "Plugin", status=status), Node("结束", "End")
    )

    assert [node_run.node.name for node_run in workflow_run.node_runs] == ["甲", "乙"]
    assert workflow_run.stopped_early
    assert workflow_run.text == ""


def test_the_text_of_a_workflow_without_an_end_is_that_of_its_last_node() -> None:
    assert run_nodes(Node("甲", text="一"), Node("乙", "Output", text="二")).text == "二"


def test_final_text_overrides_the_text_of_the_end_node() -> None:
    workflow_run = run_nodes(Node("甲", text="一"), Node("结束", "End"), final_text="一二三")

    assert workflow_run.text == "一二三"
    assert get_results(workflow_run) == ["一", "一"]


@pytest.mark.parametrize("script", [lambda _: 1 / 0, lambda _: None])
def test_a_failing_script_becomes_an_error_reply(script: Any) -> None:
    with pytest.raises(RequestRefused, match="AppProcessFailed"):
        run_nodes(Node("甲", text=script))
