"""Tests of applications as tools of another agent."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import ToolException
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from pydantic import ValidationError

from langchain_bailian_app import BailianAppTool, BailianSessionWarning, BizParams, InMemorySessionStore
from langchain_bailian_app.emulator import App, ErrorReply
from langchain_bailian_app.errors import BailianAuthenticationError, BailianRateLimitError
from langchain_bailian_app.tools import PROGRESS

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.tools import BaseTool

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

    MakeTool = Callable[..., BailianAppTool]

QUESTION = "什么是滞报金？"
NAMES = {"name": "customs", "description": "Explains terms of the customs."}


@pytest.fixture
def make_tool(bailian: BailianEmulator) -> MakeTool:
    """Return a function that makes tools connected to the emulator."""

    def make(app_id: str = bailian.app_id, **fields: Any) -> BailianAppTool:
        connection = {"base_url": bailian.base_url, "api_key": bailian.api_key}
        if "model" not in fields:
            fields = connection | {"app_id": app_id} | fields
        return BailianAppTool(**NAMES | fields)

    return make


def tool_call(query: str = QUESTION, name: str = "customs", **args: Any) -> dict[str, Any]:
    return {"name": name, "args": {"query": query} | args, "id": query, "type": "tool_call"}


@pytest.mark.usefixtures("connected_environment")
class _StandardParams:
    @property
    def tool_constructor(self) -> type[BaseTool]:
        return BailianAppTool

    @property
    def tool_constructor_params(self) -> dict[str, Any]:
        return NAMES | {"variables": {"city": (str, "城市")}}

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"query": QUESTION, "city": "杭州"}


class TestUnit(_StandardParams, ToolsUnitTests):
    """LangChain's standard tests for tools, without requests."""

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        variables = {"DASHSCOPE_API_KEY": "key", "BAILIAN_APP_ID": "app"}
        return variables, NAMES, NAMES


class TestIntegration(_StandardParams, ToolsIntegrationTests):
    """LangChain's standard tests for tools, with real requests over loopback."""


async def test_the_content_is_the_answer_and_the_artifact_is_the_message(make_tool: MakeTool) -> None:
    tool = make_tool(has_thoughts=True)

    for message in (tool.invoke(tool_call()), await tool.ainvoke(tool_call())):
        assert isinstance(message, ToolMessage)
        assert isinstance(message.artifact, AIMessage)
        assert message.content == message.artifact.text
        assert message.artifact.additional_kwargs["doc_references"]
        assert message.artifact.usage_metadata


def test_arguments_are_declared_with_types_and_descriptions(make_tool: MakeTool) -> None:
    tool = make_tool(variables={"city": (str, "城市"), "days": int, "unit": (str, "C")}, workflow=True)

    schema = tool.tool_call_schema.model_json_schema()

    assert set(schema["properties"]) == {"query", "city", "days", "unit"}
    assert schema["properties"]["city"]["description"] == "城市"
    assert schema["properties"]["days"]["type"] == "integer"
    assert schema["properties"]["query"]["description"]


@pytest.mark.parametrize("workflow", [True, False])
def test_variables_reach_the_application(
    make_tool: MakeTool,
    make_model: Callable[..., BailianAppChatModel],
    bailian: BailianEmulator,
    workflow: bool,
) -> None:
    biz_params = {"lang": "zh"} if workflow else {"user_prompt_params": {"lang": "zh"}}
    tool = make_tool(
        model=make_model(biz_params=BizParams(**biz_params, user_defined_tokens={"t": "secret"})),
        variables={"city": (str, "城市")},
        workflow=workflow,
    )

    tool.invoke({"query": QUESTION, "city": "杭州"})

    sent_params = bailian.requests[-1].body["input"]["biz_params"]
    assert (sent_params if workflow else sent_params["user_prompt_params"]).items() >= {
        "lang": "zh",
        "city": "杭州",
    }.items()
    assert sent_params["user_defined_tokens"] == {"t": {"user_token": "[removed]"}}
    assert "secret" not in repr(tool)


def test_errors_that_the_calling_model_can_fix_are_shown_to_it(
    make_tool: MakeTool, bailian: BailianEmulator
) -> None:
    tool = make_tool(variables={"days": (int, "天数")})
    blocked_app = App("blocked", error=ErrorReply.of("DataInspectionFailed"))

    empty_query = tool.invoke(tool_call(" ", days=1))
    wrong_argument = tool.invoke(tool_call(days="many"))
    refused = make_tool(bailian.add_app(blocked_app)).invoke(tool_call())

    assert [m.status for m in (empty_query, wrong_argument, refused)] == ["error"] * 3
    assert "the question has no text" in empty_query.content
    assert "`days`" in wrong_argument.content
    assert "inappropriate content" in refused.content
    with pytest.raises(ToolException):
        make_tool(handle_tool_error=False).invoke({"query": " "})


async def test_errors_that_it_cannot_fix_are_raised(
    make_tool: MakeTool, bailian: BailianEmulator
) -> None:
    busy = bailian.add_app(App("busy", error=ErrorReply.of("Throttling.AllocationQuota")))

    with pytest.raises(BailianAuthenticationError):
        make_tool(api_key="wrong").invoke(tool_call())
    with pytest.raises(BailianRateLimitError):
        await make_tool(busy, max_retries=0).ainvoke(tool_call())


def test_wrong_arguments_of_the_constructor_are_errors(make_tool: MakeTool) -> None:
    with pytest.raises(ValidationError, match="did you mean `rag_options`"):
        make_tool(rag_option={})
    with pytest.raises(ValidationError, match="invalid variable name 'query'"):
        make_tool(variables={"query": str})


def test_fields_override_those_of_the_model(
    make_model: Callable[..., BailianAppChatModel], make_tool: MakeTool, bailian: BailianEmulator
) -> None:
    model = make_model(memory_id="m", enable_web_search=True)

    make_tool(model=model, memory_id="n").invoke({"query": QUESTION})

    assert bailian.requests[-1].body["input"]["memory_id"] == "n"
    assert bailian.requests[-1].body["parameters"]["enable_web_search"] is True
    assert model.memory_id == "m"


async def test_progress_is_reported_in_events(make_tool: MakeTool) -> None:
    tool = make_tool(has_thoughts=True)
    custom_data, stream_event_count = [], 0
    async for event in tool.astream_events({"query": QUESTION}, version="v2"):
        if event["event"] == "on_custom_event":
            assert event["name"] == PROGRESS
            custom_data.append(event["data"])
        stream_event_count += event["event"] == "on_chat_model_stream"

    assert stream_event_count > 3
    assert {data["tool"] for data in custom_data} == {"customs"}
    assert [data["block"]["type"] for data in custom_data][:3] == [
        "server_tool_call",
        "server_tool_result",
        "text",
    ]


class ScriptedModel(GenericFakeChatModel):
    """A model that calls tools as scripted."""

    def bind_tools(self, *_: Any, **__: Any) -> Any:
        return self


def build_graph(*tools: BaseTool, answers: list[AIMessage], **compile_options: Any) -> Any:
    """Return a graph of an agent that uses these tools."""
    model = ScriptedModel(messages=iter(answers))

    def agent(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("agent", agent)
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "agent")
    graph.add_conditional_edges(
        "agent", lambda state: "tools" if state["messages"][-1].tool_calls else "__end__"
    )
    graph.add_edge("tools", "agent")
    return graph.compile(**compile_options)


def message_with_calls(*calls: dict[str, Any]) -> AIMessage:
    return AIMessage("", tool_calls=[{**c, "id": f"{c['id']}{n}"} for n, c in enumerate(calls)])


@pytest.fixture
def counting_app(bailian: BailianEmulator) -> str:
    """Add an application that answers with the number of the question in its session."""
    app = App("counts", answer=lambda turn: f"{turn.prompt}是第{len(turn.history) + 1}问")
    return bailian.add_app(app)


async def test_two_applications_are_called_concurrently(make_tool: MakeTool, counting_app: str) -> None:
    tools = [make_tool(counting_app, name="one"), make_tool(counting_app, name="two")]
    graph = build_graph(
        *tools,
        answers=[
            message_with_calls(tool_call("甲", "one"), tool_call("乙", "two"), tool_call("丙", "one")),
            AIMessage("好。"),
        ],
    )

    result = await graph.ainvoke({"messages": [HumanMessage("问")]})

    contents = [m.content for m in result["messages"] if isinstance(m, ToolMessage)]
    assert contents == ["甲是第1问", "乙是第1问", "丙是第1问"]


def test_with_a_store_a_thread_has_a_session_for_each_tool(
    make_tool: MakeTool, bailian: BailianEmulator, counting_app: str
) -> None:
    store = InMemorySessionStore()
    tools = [make_tool(counting_app, name=name, session_store=store) for name in ("one", "two")]
    answers = [
        *(message_with_calls(tool_call("甲", "one")), AIMessage("好。")),
        *(message_with_calls(tool_call("乙", "two")), AIMessage("好。")),
        *(message_with_calls(tool_call("丙", "one")), AIMessage("好。")),
    ]
    graph = build_graph(*tools, answers=answers, checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "t", "bailian_session_id": "outer"}}
    for question in ("一", "二", "三"):
        result = graph.invoke({"messages": [HumanMessage(question)]}, thread)

    contents = [m.content for m in result["messages"] if isinstance(m, ToolMessage)]
    assert contents == ["甲是第1问", "乙是第1问", "丙是第2问"]
    inputs = [r.body["input"] for r in bailian.requests if r.app_id == counting_app]
    assert all(request_input.get("session_id") != "outer" for request_input in inputs)


def test_without_a_thread_or_a_store_each_call_is_independent(
    make_tool: MakeTool, counting_app: str
) -> None:
    with_store = make_tool(counting_app, session_store=InMemorySessionStore())
    without_store = make_tool(counting_app)
    thread: Any = {"configurable": {"thread_id": "t"}}

    assert [with_store.invoke({"query": "甲"}) for _ in range(2)] == ["甲是第1问"] * 2
    assert [without_store.invoke({"query": "甲"}, thread) for _ in range(2)] == ["甲是第1问"] * 2


def test_a_concurrent_second_call_has_its_own_session(
    make_tool: MakeTool, bailian: BailianEmulator, counting_app: str
) -> None:
    bailian.apps[counting_app].pace = 0.01
    tool = make_tool(counting_app, session_store=InMemorySessionStore())
    graph = build_graph(
        tool, answers=[message_with_calls(tool_call("甲"), tool_call("乙")), AIMessage("好。")]
    )

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = graph.invoke({"messages": [HumanMessage("问")]}, {"configurable": {"thread_id": "t"}})

    contents = {m.content for m in result["messages"] if isinstance(m, ToolMessage)}
    assert contents == {"甲是第1问", "乙是第1问"}
    assert any(issubclass(warning.category, BailianSessionWarning) for warning in caught)


@pytest.mark.slow
async def test_a_hundred_calls_in_twenty_threads_each_see_their_own_history(
    make_tool: MakeTool, bailian: BailianEmulator
) -> None:
    app = App("knows", answer=lambda turn: ",".join([r.prompt for r in turn.history] + [turn.prompt]))
    tool = make_tool(bailian.add_app(app), session_store=InMemorySessionStore())

    async def run_thread(thread: int) -> None:
        config: Any = {"configurable": {"thread_id": thread}}
        for turn in range(5):
            content = await tool.ainvoke({"query": f"{thread}-{turn}"}, config)
            assert content == ",".join(f"{thread}-{n}" for n in range(turn + 1))

    await asyncio.gather(*(run_thread(thread) for thread in range(20)))


# -- calls without a config ---------------------------------------------------------------------------


async def call_directly(tool: BailianAppTool, call_style: str, **args: Any) -> Any:
    """Call the implementation of a tool as other frameworks do: without a config."""
    return tool._run(**args) if call_style == "_run" else await tool._arun(**args)


@pytest.mark.parametrize("call_style", ["_run", "_arun"])
async def test_other_frameworks_call_a_tool_without_a_config(
    make_tool: MakeTool, bailian: BailianEmulator, call_style: str
) -> None:
    tool = make_tool(variables={"city": (str, "城市")}, session_store=InMemorySessionStore())
    content, artifact = await call_directly(tool, call_style, query=QUESTION, city="杭州")

    assert content == artifact.text
    assert "滞报金" in content
    assert bailian.requests[-1].body["input"]["biz_params"]["user_prompt_params"] == {"city": "杭州"}


@pytest.mark.parametrize("call_style", ["_run", "_arun"])
async def test_a_direct_call_inside_a_graph_belongs_to_its_thread(
    make_tool: MakeTool, counting_app: str, call_style: str
) -> None:
    tool = make_tool(counting_app, session_store=InMemorySessionStore())

    async def ask(state: MessagesState) -> dict[str, Any]:
        content, _ = await call_directly(tool, call_style, query="?")
        return {"messages": [AIMessage(content)]}

    graph = StateGraph(MessagesState).add_node(ask).add_edge(START, "ask").compile(InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    answers = [(await graph.ainvoke({"messages": []}, config))["messages"][-1].text for _ in range(2)]

    assert answers == ["?是第1问", "?是第2问"]


@pytest.mark.parametrize("call_style", ["_run", "_arun", "invoke", "ainvoke"])
async def test_a_tool_without_an_artifact_returns_the_text(
    make_tool: MakeTool, call_style: str
) -> None:
    tool = make_tool(response_format="content")
    match call_style:
        case "invoke":
            message = tool.invoke(tool_call())
        case "ainvoke":
            message = await tool.ainvoke(tool_call())
        case _:
            message = ToolMessage(
                await call_directly(tool, call_style, query=QUESTION), tool_call_id=""
            )

    assert isinstance(message.content, str)
    assert message.content.startswith(make_tool().invoke({"query": QUESTION})[:20])
    assert message.artifact is None
