"""Tools with which an agent starts background runs and collects their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import ToolMessage

from langchain_bailian_app import BailianAppChatModel, errors
from langchain_bailian_app.emulator import App, BailianEmulator, ErrorReply, Turn
from langchain_bailian_app.runs import create_run_tools
from tests.integration_tests.runs.call_styles import both_styles

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeModel = Callable[..., BailianAppChatModel]


async def invoke(style: str, tool: Any, **args: Any) -> ToolMessage:
    tool_call = {"name": tool.name, "args": args, "id": "1", "type": "tool_call"}
    message = tool.invoke(tool_call) if style == "sync" else await tool.ainvoke(tool_call)
    assert isinstance(message, ToolMessage)
    return message


async def start(style: str, tool: Any) -> str:
    message = await invoke(style, tool, query="几点？")
    assert message.status == "success"
    return message.text.split()[2].removesuffix(".")


def make_tools(model: BailianAppChatModel, **options: Any) -> tuple[Any, Any]:
    start_tool, collect_tool = create_run_tools(model, name="report", description="Writes.", **options)
    return start_tool, collect_tool


@both_styles
async def test_a_run_is_started_and_collected(style: str, make_run_model: MakeModel) -> None:
    start_tool, collect_tool = make_tools(make_run_model(lambda turn: f"答：{turn.prompt}"))
    run_id = await start(style, start_tool)
    message = await invoke(style, collect_tool, run_id=run_id)

    assert message.text == "答：几点？"
    assert message.artifact.response_metadata["run_id"] == run_id


@both_styles
async def test_a_run_that_goes_on_is_reported(style: str, make_run_model: MakeModel) -> None:
    start_tool, collect_tool = make_tools(make_run_model(app={"pace": 60.0}), wait_seconds=0.1)
    message = await invoke(style, collect_tool, run_id=await start(style, start_tool))

    assert message.text == "The run is still running. Call collect_report again later."
    assert message.artifact is None


@both_styles
async def test_what_the_calling_model_can_handle_is_returned_to_it(
    style: str, make_run_model: MakeModel, bailian: BailianEmulator
) -> None:
    failing = make_run_model(app={"error": ErrorReply.of("AppProcessFailed", message="boom")})
    start_tool, collect_tool = make_tools(failing)
    failed = await invoke(style, collect_tool, run_id=await start(style, start_tool))
    unknown = await invoke(style, collect_tool, run_id="unknown")
    invalid = await invoke(style, collect_tool, run_id="a/b")
    empty = await invoke(style, start_tool, query=" ")

    messages = [failed, unknown, invalid, empty]
    assert {message.status for message in messages} == {"error"}
    for message, text in zip(messages, ["boom", "not found", "run_id", "missing text"], strict=True):
        assert text in message.text


@both_styles
async def test_other_errors_are_raised(style: str, make_run_model: MakeModel) -> None:
    start_tool, collect_tool = make_tools(make_run_model(api_key="wrong"))
    with pytest.raises(errors.BailianAuthenticationError):
        await invoke(style, start_tool, query="?")
    with pytest.raises(errors.BailianAuthenticationError):
        await invoke(style, collect_tool, run_id="run")


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ("app", "^invalid `model`: expected a BailianAppChatModel"),
        (BailianAppChatModel(app_id="app", memory_id="m"), "^unsupported `memory_id`"),
        (BailianAppChatModel(app_id="app", memory_ids={"u": "m"}), "^unsupported `memory_ids`"),
    ],
)
def test_a_model_that_cannot_start_runs_is_rejected(model: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        make_tools(model)


@both_styles
async def test_an_invalid_session_is_not_for_the_calling_model(
    style: str, make_run_model: MakeModel, bailian: BailianEmulator
) -> None:
    error = ErrorReply.of("InvalidParameter", message="The session has expired.")
    start_tool, _ = make_tools(make_run_model(app={"error": error}))
    with pytest.raises(errors.BailianSessionError):
        await invoke(style, start_tool, query="?")


def test_the_calling_model_sees_the_descriptions(make_run_model: MakeModel) -> None:
    start_tool, collect_tool = make_tools(make_run_model())

    assert (start_tool.name, collect_tool.name) == ("start_report", "collect_report")
    assert start_tool.description.startswith("Writes. Starts this in the background")
    assert set(start_tool.args) == {"query"}
    assert "include all context" in start_tool.args["query"]["description"]
    assert set(collect_tool.args) == {"run_id"}


@both_styles
async def test_an_agent_starts_runs_and_collects_them_in_a_later_step(
    style: str, make_run_model: MakeModel, bailian: BailianEmulator
) -> None:
    tools = list(make_tools(make_run_model(lambda turn: f"答：{turn.prompt}")))

    def decide(turn: Turn) -> str:
        started = [part.split(".")[0] for part in turn.prompt.split("Started run ")[1:]]
        if "答：" in turn.prompt:
            return "完成。"
        if started:
            calls = [("collect_report", f'{{"run_id": "{run_id}"}}') for run_id in started]
        else:
            calls = [("start_report", f'{{"query": "{query}"}}') for query in "甲乙"]
        return "\n".join(
            f'<tool_call>{{"name": "{name}", "arguments": {args}}}</tool_call>' for name, args in calls
        )

    agent_app = bailian.add_app(App("agent", answer=decide))
    model = make_run_model(tool_calling="prompt", app_id=agent_app)
    agent = create_agent(model, tools=tools)
    state = {"messages": [("human", "写两份报告")]}
    result = agent.invoke(state) if style == "sync" else await agent.ainvoke(state)

    collected = [m for m in result["messages"] if isinstance(m, ToolMessage) and m.artifact]
    assert sorted(message.text for message in collected) == ["答：乙", "答：甲"]
    assert result["messages"][-1].text == "完成。"
