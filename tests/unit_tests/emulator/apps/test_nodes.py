"""Nodes of the emulator's workflows."""

from langchain_bailian_app.emulator import Node
from langchain_bailian_app.emulator._apps.nodes import group_by_stage, number_nodes


def test_nodes_are_numbered_by_position_unless_they_have_an_id() -> None:
    nodes = [Node("a", "Start"), Node("b", node_id="LLM_x"), Node("c"), Node("d", "End")]

    assert [node_id for _, node_id in number_nodes(nodes)] == ["Start_1", "LLM_x", "LLM_3", "End_4"]


def test_parallel_nodes_share_a_stage() -> None:
    nodes = [Node("a", parallel=True), Node("b", parallel=True), Node("c"), Node("d", parallel=True)]

    assert [[node.name for node, _ in stage] for stage in group_by_stage(nodes)] == [
        ["a", "b"],
        ["c", "d"],
    ]
