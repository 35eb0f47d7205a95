"""Tests of applications as workers, and as the supervisor, of langgraph-supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langgraph.graph import MessagesState
from langgraph.managed import RemainingSteps  # noqa: TC002  # LangGraph resolves annotations
from langgraph_supervisor import create_supervisor
from pydantic import BaseModel

from langchain_bailian_app.errors import BailianError
from tests.downstream.graphs import CALL_STYLES, call_text, run_graph

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

    MakeModel = Callable[..., BailianAppChatModel]

# langgraph-supervisor uses LangGraph's `create_react_agent`.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

QUESTION = "什么是滞报金？"
LIMIT: Any = {"recursion_limit": 30}


def build_graph(
    make_scripted_model: MakeModel, *answers: str, worker_model: Any = None, **options: Any
) -> Any:
    """Return a graph of a supervisor with these answers and two workers."""
    supervisor = make_scripted_model(*answers, tool_calling="prompt")
    workers = [
        create_agent(worker_model or make_scripted_model("罚款。"), tools=[], name="customs"),
        create_agent(make_scripted_model("我只懂手机。"), tools=[], name="phones"),
    ]
    return create_supervisor(workers, model=supervisor, **options).compile()


@pytest.mark.parametrize("call_style", CALL_STYLES)
@pytest.mark.parametrize(
    "options",
    [{}, {"output_mode": "full_history"}, {"include_agent_name": "inline"}],
    ids=["default", "full history", "names"],
)
async def test_workers_without_tool_calling_answer_the_question(
    bailian: BailianEmulator, make_scripted_model: MakeModel, call_style: str, options: dict[str, Any]
) -> None:
    graph = build_graph(
        make_scripted_model,
        call_text("transfer_to_phones"),
        call_text("transfer_to_customs"),
        "海关说：罚款。",
        **options,
    )
    bailian.reset()
    state = await run_graph(graph, call_style, QUESTION, config=LIMIT)

    assert state["messages"][-1].text == "海关说：罚款。"
    _, phones, _, customs, _ = bailian.requests
    assert phones.body["input"] == {"prompt": QUESTION}
    assert customs.body["input"]["messages"] == [
        {"role": "assistant", "content": "我只懂手机。"},
        {"role": "user", "content": QUESTION},
    ]


@pytest.mark.parametrize("call_style", CALL_STYLES)
async def test_a_worker_without_handoff_messages_answers_the_question(
    bailian: BailianEmulator, make_scripted_model: MakeModel, call_style: str
) -> None:
    graph = build_graph(
        make_scripted_model,
        call_text("transfer_to_phones"),
        call_text("transfer_to_customs"),
        "好。",
        add_handoff_messages=False,
        add_handoff_back_messages=False,
    )
    bailian.reset()
    await run_graph(graph, call_style, "你好", QUESTION, config=LIMIT)

    customs = bailian.requests[3].body["input"]["messages"]
    assert [turn["content"] for turn in customs] == ["你好", "我只懂手机。", QUESTION]


async def test_a_worker_uses_its_bound_settings(
    bailian: BailianEmulator, make_scripted_model: MakeModel
) -> None:
    worker = make_scripted_model("罚款。").bind(memory_id="m")
    graph = build_graph(
        make_scripted_model, call_text("transfer_to_customs"), "好。", worker_model=worker
    )
    bailian.reset()
    await run_graph(graph, "invoke", QUESTION, config=LIMIT)

    assert bailian.requests[1].body["input"] == {"prompt": QUESTION, "memory_id": "m"}


class Fine(BaseModel):
    """A fine."""

    amount: int


class State(MessagesState):
    """The state of the graph."""

    remaining_steps: RemainingSteps
    structured_response: Fine


@pytest.mark.parametrize("call_style", CALL_STYLES)
async def test_a_supervisor_with_bound_settings_returns_an_object(
    bailian: BailianEmulator, make_scripted_model: MakeModel, call_style: str
) -> None:
    """LangGraph takes the model out of the binding for the object."""
    supervisor = make_scripted_model(
        call_text("transfer_to_customs"), "五元。", '{"amount": 5}', tool_calling="prompt"
    ).bind(memory_id="m")
    worker = create_agent(make_scripted_model("罚款。"), tools=[], name="customs")
    graph = create_supervisor(
        [worker], model=supervisor, response_format=Fine, state_schema=State
    ).compile()
    bailian.reset()
    state = await run_graph(graph, call_style, QUESTION, config=LIMIT)

    assert state["structured_response"] == Fine(amount=5)
    memory_ids = [request.body["input"].get("memory_id") for request in bailian.requests]
    assert memory_ids == ["m", None, "m", "m"]
    last_turn = bailian.requests[-1].body["input"]["messages"][-1]
    assert last_turn["content"].startswith(QUESTION)


async def test_a_worker_that_gets_prose_instead_of_an_object_stops_the_graph(
    make_scripted_model: MakeModel,
) -> None:
    worker = create_agent(
        make_scripted_model("五元。", tool_calling="prompt"),
        tools=[],
        name="customs",
        response_format=Fine,
    )
    supervisor = make_scripted_model(call_text("transfer_to_customs"), "好。", tool_calling="prompt")
    graph = create_supervisor([worker], model=supervisor).compile()
    with pytest.raises(BailianError, match="missing tool call"):
        await run_graph(graph, "ainvoke", QUESTION, config=LIMIT)
