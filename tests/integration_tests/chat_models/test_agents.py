"""Tests of applications as models of agents, nodes of graphs, and members of multi-agent systems."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware, SummarizationMiddleware
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from langchain_bailian_app import BailianAppTool, BailianSessionWarning, InMemorySessionStore
from langchain_bailian_app.emulator import App
from langchain_bailian_app.errors import BailianError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.runnables import RunnableConfig

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator, Turn

    MakeModel = Callable[..., BailianAppChatModel]

THREAD: RunnableConfig = {"configurable": {"thread_id": "t"}}


def tool_call_text(name: str, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def divide(a: int, b: int) -> float:
    """Divide two numbers."""
    if b == 0:
        message = "b must not be 0"
        raise ToolException(message)
    return a / b


@tool
def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"{city}：晴"


divide.handle_tool_error = True
TOOLS = [add, divide, weather]


def sent_messages(bailian: BailianEmulator, index: int = -1) -> list[dict[str, str]]:
    """Return the messages of a request."""
    return bailian.requests[index].body["input"]["messages"]


def agent_input(*questions: str) -> dict[str, Any]:
    return {"messages": [HumanMessage(question) for question in questions]}


# -- tool calling by prompting -----------------------------------------------------------------------

STEPS = [
    tool_call_text("add", a=1, b=2),
    tool_call_text("divide", a=3, b=0),  # the tool returns an error
    tool_call_text("multiply", a=3, b=2),  # unknown tool: retried
    tool_call_text("divide", a=3, b=2) + tool_call_text("weather", city="杭州"),
    '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": }}\n</tool_call>',  # invalid JSON: retried
    tool_call_text("add", a=1, b=1),
    "得 1.5，杭州晴。",
]


async def run_agent(agent: Any, call_style: str, question: dict[str, Any]) -> dict[str, Any]:
    """Run an agent or a graph in a call style and return its last state."""
    config: RunnableConfig = {"recursion_limit": 30}
    if call_style == "invoke":
        return agent.invoke(question, config)
    if call_style == "ainvoke":
        return await agent.ainvoke(question, config)
    if call_style == "stream":
        return list(agent.stream(question, config, stream_mode="values"))[-1]
    return [part async for part in agent.astream(question, config, stream_mode="values")][-1]


@pytest.mark.parametrize("call_style", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_tool_loop_recovers_from_every_mistake_and_ends(
    bailian: BailianEmulator, make_scripted_model: MakeModel, call_style: str
) -> None:
    agent = create_agent(make_scripted_model(*STEPS, tool_calling="prompt"), tools=TOOLS)
    state = await run_agent(agent, call_style, agent_input("算一下，再看看天气"))

    messages = state["messages"]
    results = [(m.name, m.content, m.status) for m in messages if isinstance(m, ToolMessage)]
    assert results == [
        ("add", "3", "success"),
        ("divide", "b must not be 0", "error"),
        ("divide", "1.5", "success"),
        ("weather", "杭州：晴", "success"),
        ("add", "2", "success"),
    ]
    assert messages[-1].content == "得 1.5，杭州晴。"
    assert not any(m.invalid_tool_calls for m in messages if isinstance(m, AIMessage))
    assert len(bailian.requests) == len(STEPS)
    roles = [turn["role"] for turn in sent_messages(bailian)]
    assert roles == ["system", "user", *["assistant", "user"] * 4]


async def test_tokens_and_calls_stream_out_of_the_loop(make_scripted_model: MakeModel) -> None:
    model = make_scripted_model(
        "我来算。" + tool_call_text("add", a=1, b=2), "得三。", tool_calling="prompt"
    )
    agent = create_agent(model, tools=TOOLS)
    text, calls = "", []
    async for message, _ in agent.astream(agent_input("一加二"), stream_mode="messages"):
        if isinstance(message, AIMessageChunk):
            text += message.text
            calls += message.tool_call_chunks

    assert text == "我来算。得三。"
    assert [(call["name"], call["args"]) for call in calls] == [("add", ""), (None, '{"a": 1, "b": 2}')]


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    degrees: int


def test_an_agent_answers_with_an_object(make_scripted_model: MakeModel) -> None:
    model = make_scripted_model(
        "还不知道", tool_call_text("Weather", city="杭州", degrees=21), tool_calling="prompt"
    )
    state = create_agent(model, tools=[], response_format=Weather).invoke(agent_input("天气？"))

    assert state["structured_response"] == Weather(city="杭州", degrees=21)


@pytest.mark.parametrize("call_style", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("tools", [[], TOOLS], ids=["no tools", "tools"])
async def test_an_agent_that_gets_prose_instead_of_an_object_stops(
    bailian: BailianEmulator, make_scripted_model: MakeModel, tools: list[Any], call_style: str
) -> None:
    model = make_scripted_model("杭州，二十一度。", tool_calling="prompt")
    agent = create_agent(model, tools=tools, response_format=Weather)
    with pytest.raises(BailianError, match=r"missing tool call: .*`with_structured_output`") as caught:
        await run_agent(agent, call_style, agent_input("天气？"))

    assert caught.value.is_retryable is False
    assert caught.value.partial is not None
    assert caught.value.partial.text == "杭州，二十一度。\n\n杭州，二十一度。"
    assert len(bailian.requests) == 2


def test_an_invalid_object_is_corrected_by_the_agent(make_scripted_model: MakeModel) -> None:
    invalid_call = tool_call_text("Weather", city="杭州", degrees="warm")
    model = make_scripted_model(
        invalid_call, tool_call_text("Weather", city="杭州", degrees=21), tool_calling="prompt"
    )
    state = create_agent(model, tools=TOOLS, response_format=Weather).invoke(agent_input("天气？"))

    assert state["structured_response"] == Weather(city="杭州", degrees=21)


@pytest.mark.parametrize("kwargs", [{"tools": TOOLS}, {"tools": [], "response_format": Weather}])
def test_without_tool_calling_the_error_names_the_alternatives(
    make_scripted_model: MakeModel, kwargs: dict[str, Any]
) -> None:
    with pytest.raises(NotImplementedError, match='`BailianAppTool`, or set `tool_calling="prompt"`'):
        create_agent(make_scripted_model("三"), **kwargs).invoke(agent_input("天气？"))


@pytest.mark.slow
def test_a_provider_strategy_is_rejected_with_advice(make_scripted_model: MakeModel) -> None:
    agent = create_agent(
        make_scripted_model("三", tool_calling="prompt"), response_format=ProviderStrategy(Weather)
    )
    with pytest.raises(NotImplementedError, match="in an agent, use `ToolStrategy`"):
        agent.invoke(agent_input("天气？"))


def test_a_human_may_edit_a_call(make_scripted_model: MakeModel) -> None:
    model = make_scripted_model(tool_call_text("add", a=1, b=2), "得三十。", tool_calling="prompt")
    approval = HumanInTheLoopMiddleware(interrupt_on={"add": True})
    agent = create_agent(model, tools=TOOLS, middleware=[approval], checkpointer=InMemorySaver())
    assert agent.invoke(agent_input("一加二"), THREAD)["__interrupt__"]

    edit = {"type": "edit", "edited_action": {"name": "add", "args": {"a": 10, "b": 20}}}
    state = agent.invoke(Command(resume={"decisions": [edit]}), THREAD)

    *_, result, answer = state["messages"]
    assert result.content.endswith("30")
    assert answer.content == "得三十。"


# -- the model of an agent, without tools ------------------------------------------------------------


def test_a_checkpointer_continues_the_session_of_the_thread(
    bailian: BailianEmulator, make_model: MakeModel
) -> None:
    agent = create_agent(make_model(history="session"), tools=[], checkpointer=InMemorySaver())
    bailian.reset()
    first = agent.invoke(agent_input("什么是滞报金？"), THREAD)["messages"][-1]
    agent.invoke(agent_input("什么是转关？"), THREAD)

    inputs = [request.body["input"] for request in bailian.requests]
    assert [sorted(body) for body in inputs] == [["prompt"], ["prompt", "session_id"]]
    assert inputs[1]["session_id"] == first.response_metadata["session_id"]


def test_time_travel_sends_the_messages_of_that_checkpoint(
    bailian: BailianEmulator, make_model: MakeModel
) -> None:
    agent = create_agent(make_model(history="session"), tools=[], checkpointer=InMemorySaver())
    agent.invoke(agent_input("什么是滞报金？"), THREAD)
    checkpoint_config = agent.get_state(THREAD).config
    agent.invoke(agent_input("什么是转关？"), THREAD)
    bailian.reset()
    with pytest.warns(BailianSessionWarning, match="newer turns"):
        agent.invoke(agent_input("什么是原产地？"), checkpoint_config)

    assert [turn["content"] for turn in sent_messages(bailian) if turn["role"] == "user"] == [
        "什么是滞报金？",
        "什么是原产地？",
    ]


class Conversation(MessagesState):
    """Messages and the name of the active agent."""

    speaker: str


def test_an_interrupted_graph_resumes_where_it_stopped(
    bailian: BailianEmulator, make_model: MakeModel
) -> None:
    model = make_model(history="session")

    def draft(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    def review(_: MessagesState) -> dict[str, Any]:
        return {"messages": [HumanMessage(interrupt("more?"))]}

    graph = StateGraph(MessagesState)
    graph.add_sequence([draft, review, ("revise", draft)])
    graph.add_edge(START, "draft")
    runnable = graph.compile(checkpointer=InMemorySaver())
    bailian.reset()
    runnable.invoke(agent_input("什么是滞报金？"), THREAD)
    assert len(bailian.requests) == 1
    state = runnable.invoke(Command(resume="什么是转关？"), THREAD)

    assert len(bailian.requests) == 2  # the first question is not sent again
    assert "session_id" in bailian.requests[1].body["input"]
    assert [m.type for m in state["messages"]] == ["human", "ai", "human", "ai"]


async def test_a_sub_graph_streams_through_the_outer_one(make_model: MakeModel) -> None:
    inner = create_agent(make_model(), tools=[], name="customs")
    graph = StateGraph(MessagesState)
    graph.add_node("customs", inner)
    graph.add_edge(START, "customs")
    outer = graph.compile(checkpointer=InMemorySaver())
    text = ""
    stream = outer.astream(
        agent_input("什么是滞报金？"), THREAD, stream_mode="messages", subgraphs=True
    )
    async for _, (message, _) in stream:
        text += message.text if isinstance(message, AIMessageChunk) else ""

    assert text == outer.get_state(THREAD).values["messages"][-1].content


# -- two applications --------------------------------------------------------------------------------


@pytest.fixture
def app_ids_by_name(bailian: BailianEmulator) -> Iterator[dict[str, str]]:
    """Add two applications with different answers; return their ids by name."""

    def answer_as(name: str) -> Callable[[Turn], str]:
        return lambda turn: f"{name}：第{len(turn.history) + 1}问「{turn.prompt}」"

    ids = {name: bailian.add_app(App(name, answer=answer_as(name))) for name in ("海关", "手机")}
    bailian.reset()
    yield ids
    for app_id in ids.values():
        del bailian.apps[app_id]


def test_a_supervisor_asks_two_applications_which_each_keep_their_own_history(
    bailian: BailianEmulator, app_ids_by_name: dict[str, str], make_scripted_model: MakeModel
) -> None:
    connection = {"api_key": bailian.api_key, "base_url": bailian.base_url}
    store = InMemorySessionStore()
    tools = [
        BailianAppTool(
            app_id=app_id, name=f"expert_{number}", description=name, session_store=store, **connection
        )
        for number, (name, app_id) in enumerate(app_ids_by_name.items())
    ]
    supervisor = make_scripted_model(
        tool_call_text("expert_0", query="滞报金") + tool_call_text("expert_1", query="电池"),
        tool_call_text("expert_0", query="转关"),
        "两位都说了。",
        tool_call_text("expert_1", query="屏幕"),
        "好了。",
        tool_calling="prompt",
    )
    agent = create_agent(supervisor, tools=tools, checkpointer=InMemorySaver())
    agent.invoke(agent_input("问问他们"), THREAD)
    messages = agent.invoke(agent_input("再问问"), THREAD)["messages"]

    assert [m.content for m in messages if isinstance(m, ToolMessage)] == [
        "海关：第1问「滞报金」",
        "手机：第1问「电池」",
        "海关：第2问「转关」",
        "手机：第2问「屏幕」",
    ]


def make_handoff_tool(name: str) -> Any:
    @tool(f"hand_over_to_{name}")
    def handoff(tool_call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        """Hand the conversation over to the other expert."""
        result = ToolMessage("done", tool_call_id=tool_call_id)
        update = {"messages": [result], "speaker": name}
        return Command(goto=name, graph=Command.PARENT, update=update)

    return handoff


def test_a_swarm_of_two_applications_hands_the_conversation_over(
    bailian: BailianEmulator, make_scripted_model: MakeModel
) -> None:
    customs = make_scripted_model(tool_call_text("hand_over_to_phones"), tool_calling="prompt")
    phones = make_scripted_model("电池是 5000 毫安时。", "屏幕是六寸。", tool_calling="prompt")
    graph = StateGraph(Conversation)
    for name, peer, model in (("customs", "phones", customs), ("phones", "customs", phones)):
        agent = create_agent(model, tools=[make_handoff_tool(peer)], name=name)
        graph.add_node(name, agent, destinations=(peer, END))
    graph.add_conditional_edges(START, lambda state: state.get("speaker") or "customs")
    swarm = graph.compile(checkpointer=InMemorySaver())
    bailian.reset()
    first = swarm.invoke(agent_input("手机的电池多大？"), THREAD)
    second = swarm.invoke(agent_input("屏幕呢？"), THREAD)

    assert first["messages"][-1].content == "电池是 5000 毫安时。"
    assert (second["speaker"], second["messages"][-1].content) == ("phones", "屏幕是六寸。")
    assert [request.app_id for request in bailian.requests] == [
        customs.app_id,
        phones.app_id,
        phones.app_id,
    ]


def test_nodes_of_two_applications_answer_from_one_transcript(
    bailian: BailianEmulator, app_ids_by_name: dict[str, str], make_model: MakeModel
) -> None:
    """The answer of one application is an ordinary message for the other; each has its own session."""
    models = {name: make_model(app_id, history="session") for name, app_id in app_ids_by_name.items()}

    def node(name: str) -> Callable[[MessagesState], dict[str, Any]]:
        return lambda state: {
            "messages": [models[name].invoke(state["messages"]), HumanMessage("还有？")]
        }

    graph = StateGraph(MessagesState)
    graph.add_sequence([(name, node(name)) for name in app_ids_by_name])
    graph.add_edge(START, "海关")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BailianSessionWarning)
        graph.compile().invoke(agent_input("你好"))

    first, second = (request.body["input"] for request in bailian.requests)
    assert first == {"prompt": "你好"}
    assert [turn["content"] for turn in second["messages"]] == ["你好", "海关：第1问「你好」", "还有？"]


# -- handoffs between agents -------------------------------------------------------------------------


def handoff(tool_name: str, agent: str, *, marked: bool) -> list[Any]:
    """Return the messages that a handoff tool adds: langgraph-supervisor marks the result."""
    call = {"name": tool_name, "args": {}, "id": f"call to {agent}", "type": "tool_call"}
    metadata = {"__handoff_destination": agent} if marked else {}
    text = f"Successfully transferred to {agent}"
    return [
        AIMessage("", tool_calls=[call], name="supervisor"),
        ToolMessage(text, tool_call_id=call["id"], name=tool_name, response_metadata=metadata),
    ]


def handoff_back(agent: str) -> list[Any]:
    """Return the messages that langgraph-supervisor adds after the answer of an agent."""
    name, metadata = "transfer_back_to_supervisor", {"__is_handoff_back": True}
    call = {"name": name, "args": {}, "id": f"call from {agent}", "type": "tool_call"}
    return [
        AIMessage(
            "Transferring back to supervisor",
            tool_calls=[call],
            name=agent,
            response_metadata=metadata,
        ),
        ToolMessage(
            "Successfully transferred back to supervisor",
            tool_call_id=call["id"],
            name=name,
            response_metadata=metadata,
        ),
    ]


# What langgraph-supervisor and langgraph-swarm pass to a worker: after the question, and after the
# answer of another worker.
WORKER_MESSAGES: dict[str, tuple[list[Any], list[str]]] = {
    "supervisor": (handoff("transfer_to_customs", "customs", marked=True), []),
    "swarm": (handoff("transfer_to_customs", "customs", marked=False), []),
    "second worker": (
        [
            *handoff("transfer_to_phones", "phones", marked=True),
            AIMessage("我只懂手机。", name="phones"),
            *handoff_back("phones"),
            *handoff("transfer_to_customs", "customs", marked=True),
        ],
        ["我只懂手机。"],
    ),
    "without handoff messages": ([AIMessage("我只懂手机。", name="phones")], ["我只懂手机。"]),
}


@pytest.mark.parametrize("call_style", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("tool_calling", [None, "prompt"])
@pytest.mark.parametrize("history", ["messages", "session", "thread"])
@pytest.mark.parametrize(("messages", "answers"), WORKER_MESSAGES.values(), ids=WORKER_MESSAGES)
async def test_a_worker_without_tools_answers_the_question_and_not_the_handoff(
    bailian: BailianEmulator,
    make_scripted_model: MakeModel,
    messages: list[Any],
    answers: list[str],
    history: str,
    tool_calling: str | None,
    call_style: str,
) -> None:
    model = make_scripted_model(
        "罚款。",
        tool_calling=tool_calling,
        history=history,
        session_key="k",
        session_store=InMemorySessionStore(),
    )
    worker = create_agent(model, tools=[], name="customs")
    question = {"messages": [HumanMessage("什么是滞报金？"), *messages]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a thread does not get the other answers
        state = await run_agent(worker, call_style, question)

    assert state["messages"][-1].text == "罚款。"
    (request,) = bailian.requests
    if answers and history != "thread":
        turns = request.body["input"]["messages"]
        assert [turn["content"] for turn in turns] == [*answers, "什么是滞报金？"]
        assert [turn["role"] for turn in turns] == [*["assistant"] * len(answers), "user"]
    else:
        assert request.body["input"] == {"prompt": "什么是滞报金？"}
    assert "ransfer" not in json.dumps(request.body)


async def test_a_worker_continues_its_session_after_handoffs(
    bailian: BailianEmulator, make_scripted_model: MakeModel
) -> None:
    model = make_scripted_model("罚款。", history="session", session_store=InMemorySessionStore())
    to_customs = handoff("transfer_to_customs", "customs", marked=True)
    messages = [HumanMessage("什么是滞报金？"), *to_customs]
    messages += [model.invoke(messages), *handoff_back("customs")]
    messages += [HumanMessage("多少？"), *to_customs]
    await model.ainvoke(messages)

    first, second = (request.body["input"] for request in bailian.requests)
    assert first == {"prompt": "什么是滞报金？"}
    assert (second["prompt"], "session_id" in second) == ("多少？", True)


@pytest.mark.parametrize("call_style", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_worker_reads_the_tool_results_of_other_agents(
    bailian: BailianEmulator, make_scripted_model: MakeModel, call_style: str
) -> None:
    call = {"name": "weather", "args": {"city": "杭州"}, "id": "w", "type": "tool_call"}
    messages = [
        AIMessage("我看看。", tool_calls=[call], name="weather_agent"),
        ToolMessage("晴", tool_call_id="w", name="weather"),
        *handoff("transfer_to_customs", "customs", marked=False),
    ]
    worker = create_agent(make_scripted_model("不能。"), tools=[], name="customs")
    await run_agent(worker, call_style, {"messages": [HumanMessage("能晒茶吗？"), *messages]})

    assert sent_messages(bailian) == [
        {"role": "assistant", "content": "我看看。"},
        {"role": "assistant", "content": '工具 weather({"city": "杭州"}) 的结果：\n晴'},
        {"role": "user", "content": "能晒茶吗？"},
    ]


@pytest.mark.parametrize("keywords", [{"session_id": "s"}, {"history": "thread", "session_key": "k"}])
def test_a_session_gets_no_new_results_but_may_follow_older_ones(
    bailian: BailianEmulator, make_scripted_model: MakeModel, keywords: dict[str, str]
) -> None:
    model = make_scripted_model("好。", session_store=InMemorySessionStore())
    messages = [HumanMessage("一"), ToolMessage("晴", tool_call_id="w", name="weather")]
    with pytest.raises(
        ValueError, match=r"cannot send a ToolMessage to a session.*: pass all messages"
    ):
        model.invoke(messages, **keywords)
    assert not bailian.requests
    with pytest.warns(UserWarning, match="not sent"):
        model.invoke(
            [*messages, AIMessage("晴。"), HumanMessage("二")], history="thread", session_key="k"
        )
    assert bailian.requests[-1].body["input"] == {"prompt": "二"}


def test_messages_of_agents_without_a_question_are_an_error(make_scripted_model: MakeModel) -> None:
    messages = handoff("transfer_to_customs", "customs", marked=True)
    with pytest.raises(ValueError, match=r"missing human message: .* add a human message"):
        make_scripted_model("好。").invoke(messages)


@pytest.mark.parametrize("call_style", ["invoke", "ainvoke"])
async def test_middleware_shortens_a_history_that_exceeds_the_profile(
    make_scripted_model: MakeModel, bailian: BailianEmulator, call_style: str
) -> None:
    model = make_scripted_model("摘要", "答案", profile={"max_input_tokens": 200})
    shortens = SummarizationMiddleware(model, trigger=("fraction", 0.5), keep=("messages", 1))
    agent = create_agent(model, tools=[], middleware=[shortens])
    messages = {"messages": [HumanMessage("很长的问题" * 100), AIMessage("好"), HumanMessage("短？")]}
    state = agent.invoke(messages) if call_style == "invoke" else await agent.ainvoke(messages)

    assert state["messages"][-1].text == "答案"
    assert len(bailian.requests) == 2
    assert "很长的问题" in str(bailian.requests[0].body["input"])
    assert "很长的问题" not in str(bailian.requests[1].body["input"])
    assert "摘要" in str(bailian.requests[1].body["input"])


def test_a_profile_without_a_limit_is_rejected_by_the_middleware(make_model: MakeModel) -> None:
    with pytest.raises(ValueError, match="profile"):
        SummarizationMiddleware(make_model(), trigger=("fraction", 0.5))
