"""Tests of agents that ag-ui-langgraph streams to a browser, for example to CopilotKit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from ag_ui.core.types import RunAgentInput, UserMessage
from ag_ui_langgraph import LangGraphAgent
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app import BailianAppChatModel

    MakeModel = Callable[..., BailianAppChatModel]

# ag-ui-langgraph uses a deprecated method of LangGraph.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def call_text(a: int, b: int) -> str:
    return f'<tool_call>{{"name": "add", "arguments": {{"a": {a}, "b": {b}}}}}</tool_call>'


async def collect_events(model: Any) -> list[Any]:
    """Run an agent and return its events."""
    graph = create_agent(model, tools=[add], checkpointer=InMemorySaver())
    agent = LangGraphAgent(name="agent", graph=graph)
    question = RunAgentInput(
        thread_id="t",
        run_id="r",
        state={},
        messages=[UserMessage(id="1", role="user", content="一加二？")],
        tools=[],
        context=[],
        forwarded_props={},
    )
    return [event async for event in agent.run(question)]


@pytest.mark.parametrize("text", ["", "我来算。"])
@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("bound", [{}, {"memory_id": "m"}])
async def test_the_arguments_of_each_call_are_streamed(
    make_scripted_model: MakeModel, text: str, version: str, bound: dict[str, str]
) -> None:
    model = make_scripted_model(
        f"{text}{call_text(1, 2)}{call_text(3, 4)}",
        "得三和七。",
        tool_calling="prompt",
        output_version=version,
    ).bind(**bound)
    events = await collect_events(model)
    names = {e.tool_call_id: e.tool_call_name for e in events if e.type == "TOOL_CALL_START"}
    arguments: dict[str, str] = {}
    for event in events:
        if event.type == "TOOL_CALL_ARGS":
            arguments[event.tool_call_id] = arguments.get(event.tool_call_id, "") + event.delta
    ended = [event.tool_call_id for event in events if event.type == "TOOL_CALL_END"]
    texts = [event.delta for event in events if event.type == "TEXT_MESSAGE_CONTENT"]

    assert list(names.values()) == ["add", "add"]
    assert [json.loads(value) for value in arguments.values()] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert list(names) == list(arguments) == ended
    assert "".join(texts) == f"{text}得三和七。"
    assert not [event for event in events if event.type == "RUN_ERROR"]
