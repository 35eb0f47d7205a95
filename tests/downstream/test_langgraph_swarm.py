"""Tests of applications as members of langgraph-swarm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph_swarm import create_handoff_tool, create_swarm

from langchain_bailian_app import InMemorySessionStore
from tests.downstream.graphs import CALL_STYLES, call_text, run_graph

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

    MakeModel = Callable[..., BailianAppChatModel]

QUESTION = "能晒茶吗？"
THREAD: Any = {"configurable": {"thread_id": "t"}}


@tool
def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"{city}：晴"


def build_swarm(customs_model: Any, weather_model: Any, tool_name: str | None = None) -> Any:
    """Return a swarm that starts with the weather; the application for customs has no tools."""
    to_customs = create_handoff_tool(agent_name="customs", name=tool_name)
    agents: list[Any] = [
        create_agent(weather_model, tools=[weather, to_customs], name="weather"),
        create_agent(customs_model, tools=[], name="customs"),
    ]
    return create_swarm(agents, default_active_agent="weather").compile(checkpointer=InMemorySaver())


@pytest.mark.parametrize("call_style", CALL_STYLES)
@pytest.mark.parametrize("tool_calling", [None, "prompt"])
@pytest.mark.parametrize("tool_name", [None, "ask_customs"])
async def test_a_member_without_tools_answers_the_question(
    bailian: BailianEmulator,
    make_scripted_model: MakeModel,
    call_style: str,
    tool_calling: str | None,
    tool_name: str | None,
) -> None:
    weather_model = make_scripted_model(
        call_text("weather", '{"city": "杭州"}'),
        call_text(tool_name or "transfer_to_customs"),
        tool_calling="prompt",
    )
    customs_model = make_scripted_model("可以。", "不客气。", tool_calling=tool_calling)
    graph = build_swarm(customs_model, weather_model, tool_name)
    bailian.reset()
    first = await run_graph(graph, call_style, QUESTION, config=THREAD)
    second = await run_graph(graph, call_style, "谢谢", config=THREAD)

    assert (first["active_agent"], first["messages"][-1].text) == ("customs", "可以。")
    assert second["messages"][-1].text == "不客气。"
    result = {"role": "assistant", "content": '工具 weather({"city": "杭州"}) 的结果：\n杭州：晴'}
    question = {"role": "user", "content": QUESTION}
    customs = [request.body["input"]["messages"] for request in bailian.requests[2:]]
    assert customs == [
        [result, question],
        [
            question,
            result,
            {"role": "assistant", "content": "可以。"},
            {"role": "user", "content": "谢谢"},
        ],
    ]


@pytest.mark.parametrize("call_style", CALL_STYLES)
async def test_a_member_with_a_thread_of_its_own_gets_only_the_questions(
    bailian: BailianEmulator, make_scripted_model: MakeModel, call_style: str
) -> None:
    weather_model = make_scripted_model(call_text("transfer_to_customs"), tool_calling="prompt")
    customs_model = make_scripted_model(
        "可以。", "不客气。", history="thread", session_store=InMemorySessionStore()
    )
    graph = build_swarm(customs_model, weather_model)
    bailian.reset()
    await run_graph(graph, call_style, QUESTION, config=THREAD)
    with pytest.warns(UserWarning, match="not sent"):
        state = await run_graph(graph, call_style, "谢谢", config=THREAD)

    assert [m.text for m in state["messages"] if isinstance(m, AIMessage) and m.text] == [
        "可以。",
        "不客气。",
    ]
    first, second = (request.body["input"] for request in bailian.requests[1:])
    assert first == {"prompt": QUESTION}
    assert (second["prompt"], "session_id" in second) == ("谢谢", True)
