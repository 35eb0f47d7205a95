"""Applications as tools of another agent."""

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

QUESTION = "什么是滞报金？"
NAMES = {"name": "customs", "description": "Explains terms of the customs."}
Make = "Callable[..., BailianAppTool]"


@pytest.fixture
def make_tool(bailian: BailianEmulator) -> Make:
    """Return a function that makes tools connected to the emulator."""

    def make(app_id: str = bailian.app_id, **fields: Any) -> BailianAppTool:
        connection = {"base_url": bailian.base_url, "api_key": bailian.api_key}
        if "model" not in fields:
            fields = connection | {"app_id": app_id} | fields
        return BailianAppTool(**NAMES | fields)

    return make


def call(query: str = QUESTION, name: str = "customs", **args: Any) -> dict[str, Any]:
    return {"name": name, "args": {"query": query} | args, "id": query, "type": "tool_call"}


@pytest.mark.usefixtures("connected_environment")
class _Standard:
    @property
    def tool_constructor(self) -> type[BaseTool]:
        return BailianAppTool

    @property
    def tool_constructor_params(self) -> dict[str, Any]:
        return NAMES | {"variables": {"city": (str, "城市")}}

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"query": QUESTION, "city": "杭州"}


class TestUnit(_Standard, ToolsUnitTests):
    """What LangChain expects of any tool, without a request."""

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        variables = {"DASHSCOPE_API_KEY": "key", "BAILIAN_APP_ID": "app"}
        return variables, NAMES, NAMES


class TestIntegration(_Standard, ToolsIntegrationTests):
    """What LangChain expects of any tool, with real requests over loopback."""


async def test_the_answer_is_read_and_the_message_is_the_artifact(make_tool: Make) -> None:
    tool = make_tool(has_thoughts=True)

    for message in (tool.invoke(call()), await tool.ainvoke(call())):
        assert isinstance(message, ToolMessage)
        assert isinstance(message.artifact, AIMessage)
        assert message.content == message.artifact.text
        assert message.artifact.additional_kwargs["doc_references"]
        assert message.artifact.usage_metadata


def test_arguments_are_declared_with_types_and_descriptions(make_tool: Make) -> None:
    tool = make_tool(variables={"city": (str, "城市"), "days": int, "unit": (str, "C")}, workflow=True)

    schema = tool.tool_call_schema.model_json_schema()

    assert set(schema["properties"]) == {"query", "city", "days", "unit"}
    assert schema["properties"]["city"]["description"] == "城市"
    assert schema["properties"]["days"]["type"] == "integer"
    assert schema["properties"]["query"]["description"]


@pytest.mark.parametrize("workflow", [True, False])
def test_variables_reach_the_application(
    make_tool: Make,
    make_model: Callable[..., BailianAppChatModel],
    bailian: BailianEmulator,
    workflow: bool,
) -> None:
    known = {"lang": "zh"} if workflow else {"user_prompt_params": {"lang": "zh"}}
    tool = make_tool(
        model=make_model(biz_params=BizParams(**known, user_defined_tokens={"t": "secret"})),
        variables={"city": (str, "城市")},
        workflow=workflow,
    )

    tool.invoke({"query": QUESTION, "city": "杭州"})

    sent = bailian.requests[-1].body["input"]["biz_params"]
    assert (sent if workflow else sent["user_prompt_params"]).items() >= {
        "lang": "zh",
        "city": "杭州",
    }.items()
    assert sent["user_defined_tokens"] == {"t": {"user_token": "[removed]"}}
    assert "secret" not in repr(tool)


def test_what_the_calling_model_can_mend_it_is_shown(make_tool: Make, bailian: BailianEmulator) -> None:
    tool = make_tool(variables={"days": (int, "天数")})
    blocked = App("blocked", error=ErrorReply.of("DataInspectionFailed"))

    empty = tool.invoke(call(" ", days=1))
    wrong = tool.invoke(call(days="many"))
    refused = make_tool(bailian.add_app(blocked)).invoke(call())

    assert [m.status for m in (empty, wrong, refused)] == ["error"] * 3
    assert "the question has no text" in empty.content
    assert "`days`" in wrong.content
    assert "inappropriate content" in refused.content
    with pytest.raises(ToolException):
        make_tool(handle_tool_error=False).invoke({"query": " "})


async def test_what_it_cannot_mend_is_raised(make_tool: Make, bailian: BailianEmulator) -> None:
    busy = bailian.add_app(App("busy", error=ErrorReply.of("Throttling.AllocationQuota")))

    with pytest.raises(BailianAuthenticationError):
        make_tool(api_key="wrong").invoke(call())
    with pytest.raises(BailianRateLimitError):
        await make_tool(busy, max_retries=0).ainvoke(call())


def test_wrong_arguments_of_the_constructor_are_errors(make_tool: Make) -> None:
    with pytest.raises(ValidationError, match="did you mean `rag_options`"):
        make_tool(rag_option={})
    with pytest.raises(ValidationError, match="cannot be called 'query'"):
        make_tool(variables={"query": str})


def test_fields_lie_over_those_of_the_model(
    make_model: Callable[..., BailianAppChatModel], make_tool: Make, bailian: BailianEmulator
) -> None:
    model = make_model(memory_id="m", enable_web_search=True)

    make_tool(model=model, memory_id="n").invoke({"query": QUESTION})

    assert bailian.requests[-1].body["input"]["memory_id"] == "n"
    assert bailian.requests[-1].body["parameters"]["enable_web_search"] is True
    assert model.memory_id == "m"


async def test_progress_is_seen_in_events(make_tool: Make) -> None:
    tool = make_tool(has_thoughts=True)
    custom, streamed = [], 0
    async for event in tool.astream_events({"query": QUESTION}, version="v2"):
        if event["event"] == "on_custom_event":
            assert event["name"] == PROGRESS
            custom.append(event["data"])
        streamed += event["event"] == "on_chat_model_stream"

    assert streamed > 3
    assert {data["tool"] for data in custom} == {"customs"}
    assert [data["block"]["type"] for data in custom][:3] == [
        "server_tool_call",
        "server_tool_result",
        "text",
    ]


class Outer(GenericFakeChatModel):
    """A model that calls tools as scripted."""

    def bind_tools(self, *_: Any, **__: Any) -> Any:
        return self


def graph_of(*tools: BaseTool, answers: list[AIMessage], **compiled: Any) -> Any:
    """Return a graph of an agent that uses these tools."""
    model = Outer(messages=iter(answers))

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
    return graph.compile(**compiled)


def asks(*calls: dict[str, Any]) -> AIMessage:
    return AIMessage("", tool_calls=[{**c, "id": f"{c['id']}{n}"} for n, c in enumerate(calls)])


@pytest.fixture
def counter(bailian: BailianEmulator) -> str:
    """Add an application that says which of its questions this is."""
    app = App("counts", answer=lambda turn: f"{turn.prompt}是第{len(turn.history) + 1}问")
    return bailian.add_app(app)


async def test_two_applications_are_asked_at_the_same_time(make_tool: Make, counter: str) -> None:
    tools = [make_tool(counter, name="one"), make_tool(counter, name="two")]
    graph = graph_of(
        *tools,
        answers=[asks(call("甲", "one"), call("乙", "two"), call("丙", "one")), AIMessage("好。")],
    )

    result = await graph.ainvoke({"messages": [HumanMessage("问")]})

    said = [m.content for m in result["messages"] if isinstance(m, ToolMessage)]
    assert said == ["甲是第1问", "乙是第1问", "丙是第1问"]


def test_with_a_store_a_thread_has_a_session_for_each_tool(
    make_tool: Make, bailian: BailianEmulator, counter: str
) -> None:
    store = InMemorySessionStore()
    tools = [make_tool(counter, name=name, session_store=store) for name in ("one", "two")]
    answers = [
        *(asks(call("甲", "one")), AIMessage("好。")),
        *(asks(call("乙", "two")), AIMessage("好。")),
        *(asks(call("丙", "one")), AIMessage("好。")),
    ]
    graph = graph_of(*tools, answers=answers, checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "t", "bailian_session_id": "outer"}}
    for question in ("一", "二", "三"):
        result = graph.invoke({"messages": [HumanMessage(question)]}, thread)

    said = [m.content for m in result["messages"] if isinstance(m, ToolMessage)]
    assert said == ["甲是第1问", "乙是第1问", "丙是第2问"]
    asked = [r.body["input"] for r in bailian.requests if r.app_id == counter]
    assert all(sent.get("session_id") != "outer" for sent in asked)


def test_without_a_thread_or_a_store_each_call_stands_alone(make_tool: Make, counter: str) -> None:
    stored = make_tool(counter, session_store=InMemorySessionStore())
    alone = make_tool(counter)
    thread: Any = {"configurable": {"thread_id": "t"}}

    assert [stored.invoke({"query": "甲"}) for _ in range(2)] == ["甲是第1问"] * 2
    assert [alone.invoke({"query": "甲"}, thread) for _ in range(2)] == ["甲是第1问"] * 2


def test_a_second_call_at_the_same_time_has_a_session_of_its_own(
    make_tool: Make, bailian: BailianEmulator, counter: str
) -> None:
    bailian.apps[counter].pace = 0.01
    tool = make_tool(counter, session_store=InMemorySessionStore())
    graph = graph_of(tool, answers=[asks(call("甲"), call("乙")), AIMessage("好。")])

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = graph.invoke({"messages": [HumanMessage("问")]}, {"configurable": {"thread_id": "t"}})

    said = {m.content for m in result["messages"] if isinstance(m, ToolMessage)}
    assert said == {"甲是第1问", "乙是第1问"}
    assert any(issubclass(warning.category, BailianSessionWarning) for warning in caught)


async def test_a_hundred_calls_of_twenty_threads_never_mix(
    make_tool: Make, bailian: BailianEmulator
) -> None:
    app = App("knows", answer=lambda turn: ",".join([r.prompt for r in turn.history] + [turn.prompt]))
    tool = make_tool(bailian.add_app(app), session_store=InMemorySessionStore())

    async def talk(thread: int) -> None:
        config: Any = {"configurable": {"thread_id": thread}}
        for turn in range(5):
            said = await tool.ainvoke({"query": f"{thread}-{turn}"}, config)
            assert said == ",".join(f"{thread}-{n}" for n in range(turn + 1))

    await asyncio.gather(*(talk(thread) for thread in range(20)))
