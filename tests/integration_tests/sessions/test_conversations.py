"""Conversations in the cloud: every answer depends on exactly the messages given.

The application of these tests answers with a digest of all that it sees, so that one look at the answer
tells whether it saw what it sees of the same messages with `history="messages"`.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import re
import signal
import socket
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypedDict
from uuid import uuid4

import httpx
import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.globals import set_llm_cache
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    messages_from_dict,
    messages_to_dict,
    trim_messages,
)
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.history import RunnableWithMessageHistory
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from langchain_bailian_app.emulator import App, BailianEmulator, ErrorReply, Faults, Reply, Turn
from langchain_bailian_app.errors import (
    BailianConnectionError,
    BailianError,
    BailianRateLimitError,
    BailianSessionError,
    BailianTimeoutError,
)
from langchain_bailian_app.sessions import BailianSessionWarning, InMemorySessionStore
from tests.fixtures import merged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from langchain_core.runnables import RunnableConfig

    from langchain_bailian_app import BailianAppChatModel
    from tests.clock import Clock

    Way = Callable[[Any, list[BaseMessage], RunnableConfig], Any]

HOUR = 3600.0
STOP = "完"
ONE, TWO, THREE = HumanMessage("一"), HumanMessage("二"), HumanMessage("三")
RULES = SystemMessage("简短。")
IN_THREAD: RunnableConfig = {"configurable": {"thread_id": "t"}}

warnings_allowed = pytest.mark.filterwarnings(
    "ignore::langchain_bailian_app.sessions.BailianSessionWarning"
)


# -- the application, and what is asked of it ------------------------------------------------------


class Witness:
    """Answers with a digest of all texts that it sees, in their order, and remembers them.

    A system text counts where it stands in front of the first prompt too; markers in the cloud's own
    answers do not count.
    """

    def __init__(self, *, brief: bool = False) -> None:
        self.seen: list[tuple[str, ...]] = []
        self._brief = brief

    def __call__(self, turn: Turn) -> Reply:
        texts = [text for answered in turn.history for text in answered] + [turn.prompt]
        texts[0] = turn.system + texts[0]
        seen = tuple(re.sub(r"\s|<ref>\[\d+]</ref>", "", text) for text in texts)
        self.seen.append(seen)
        digest = hashlib.sha256(repr(seen).encode()).hexdigest()
        number = f"第{len(turn.history) + 1}答"
        pieces = [number, digest[:6], "<ref>[1]</ref>", digest[6:12], "，", STOP, "。"]
        text = "".join(pieces)
        return Reply(text, pieces=[text] if self._brief else pieces)


@pytest.fixture
def bailian(clock: Clock) -> Iterator[BailianEmulator]:
    """Run an emulator for one test: its switches are turned."""
    with BailianEmulator(seed_apps=False, clock=clock) as emulator:
        emulator.add_app(App("witness", app_id="witness", answer=Witness()))
        yield emulator


@pytest.fixture
def app(bailian: BailianEmulator) -> App:
    return bailian.apps["witness"]


@pytest.fixture
def make(make_model: Callable[..., BailianAppChatModel]) -> Callable[..., BailianAppChatModel]:
    """Return a function that makes models of the witness, with a store of their own."""

    def make(app_id: str = "witness", **fields: Any) -> BailianAppChatModel:
        given = {"history": "session", "session_store": InMemorySessionStore()} | fields
        return make_model(app_id, **given)

    return make


@pytest.fixture
def model(make: Callable[..., BailianAppChatModel]) -> BailianAppChatModel:
    return make()


def alone(model: BailianAppChatModel, messages: Sequence[BaseMessage]) -> str:
    """Return the answer that depends on nothing but the messages."""
    return model.invoke(list(messages), history="messages").text


def check(model: BailianAppChatModel, messages: Sequence[BaseMessage], **keywords: Any) -> AIMessage:
    """Ask, and hold that the answer is that of the messages."""
    answer = model.invoke(list(messages), **keywords)
    assert answer.text == alone(model, messages)
    return answer


def converse(
    model: BailianAppChatModel, *questions: str, after: Sequence[BaseMessage] = ()
) -> list[BaseMessage]:
    """Return a conversation of these questions and their answers."""
    messages = list(after)
    for question in questions:
        messages.append(HumanMessage(question))
        messages.append(model.invoke(messages))
    return messages


def inputs(bailian: BailianEmulator, since: int = 0) -> list[dict[str, Any]]:
    """Return what was asked in the requests so far, or since one of them."""
    return [request.body["input"] for request in bailian.requests[since:]]


def session_of(answer: BaseMessage) -> str:
    return str(answer.response_metadata["session_id"])


def aged(messages: Sequence[BaseMessage], seconds: float) -> list[BaseMessage]:
    """Return messages whose answers came this much earlier."""
    changed = []
    for message in messages:
        metadata = message.response_metadata
        if "session_at" in metadata:
            metadata = metadata | {"session_at": metadata["session_at"] - seconds}
        changed.append(message.model_copy(update={"response_metadata": metadata}))
    return changed


# -- every way of calling --------------------------------------------------------------------------


def graph_of(
    model: Any, own: RunnableConfig | None = None, checkpointer: InMemorySaver | None = None
) -> Any:
    """Return a graph of one node that asks the model, maybe with a config of its own."""
    graph = StateGraph(MessagesState)
    graph.add_node("ask", lambda state: {"messages": [model.invoke(state["messages"], own)]})
    graph.add_edge(START, "ask")
    return graph.compile(checkpointer=checkpointer)


def in_graph(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> BaseMessage:
    return graph_of(model).invoke({"messages": messages}, config)["messages"][-1]


def in_graph_with_own_config(
    model: Any, messages: list[BaseMessage], config: RunnableConfig
) -> BaseMessage:
    outer: RunnableConfig = {"configurable": {"thread_id": "of the graph"}}
    return graph_of(model, config).invoke({"messages": messages}, outer)["messages"][-1]


async def in_async_graph(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> Any:
    async def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    return (await graph.compile().ainvoke({"messages": messages}, config))["messages"][-1]


def in_lambda(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> BaseMessage:
    return RunnableLambda(lambda _: model.invoke(messages)).invoke("?", config)


def in_lambda_with_own_config(
    model: Any, messages: list[BaseMessage], config: RunnableConfig
) -> BaseMessage:
    outer: RunnableConfig = {"configurable": {"thread_id": "of the lambda"}}
    return RunnableLambda(lambda _: model.invoke(messages, config)).invoke("?", outer)


def in_chain(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> BaseMessage:
    prompt = ChatPromptTemplate([MessagesPlaceholder("messages")])
    return (prompt | model).invoke({"messages": messages}, config)


def in_streamed_chain(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> BaseMessage:
    return merged(list((RunnableLambda(lambda x: x) | model).stream(messages, config)))


def in_batch(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> BaseMessage:
    others = [{"configurable": {"thread_id": str(uuid4())}} for _ in range(2)]
    return model.batch(
        [[HumanMessage("别的")], messages, [HumanMessage("还有")]], [others[0], config, others[1]]
    )[1]


async def astreamed(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> BaseMessage:
    return merged([chunk async for chunk in model.astream(messages, config)])


async def events_v2(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> Any:
    events = [event async for event in model.astream_events(messages, config, version="v2")]
    return events[-1]["data"]["output"]


async def events_v3(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> Any:
    return await (await model.astream_events(messages, config, version="v3")).output


async def abatched(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> Any:
    return (await model.abatch([messages], [config]))[0]


def by_agent(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> BaseMessage:
    return create_agent(model, tools=[]).invoke({"messages": messages}, config)["messages"][-1]


def by_streamed_agent(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> Any:
    agent = create_agent(model, tools=[])
    states = agent.stream({"messages": messages}, config, stream_mode=["messages", "values"])
    return [state for mode, state in states if mode == "values"][-1]["messages"][-1]


WAYS: dict[str, Way] = {
    "invoke": lambda model, messages, config: model.invoke(messages, config),
    "ainvoke": lambda model, messages, config: model.ainvoke(messages, config),
    "batch": in_batch,
    "abatch": abatched,
    "with_config": lambda model, messages, config: model.with_config(config).invoke(messages),
    "bind": lambda model, messages, config: model.bind(temperature=0.5).invoke(messages, config),
    "chain": in_chain,
    "streamed chain": in_streamed_chain,
    "lambda": in_lambda,
    "lambda with own config": in_lambda_with_own_config,
    "graph": in_graph,
    "async graph": in_async_graph,
    "graph with own config": in_graph_with_own_config,
    "agent": by_agent,
    "streamed agent": by_streamed_agent,
    "stream": lambda model, messages, config: merged(list(model.stream(messages, config))),
    "astream": astreamed,
    "events v2": events_v2,
    "events v3": lambda m, messages, config: m.stream_events(messages, config, version="v3").output,
    "async events v3": events_v3,
    "streaming=False": lambda m, messages, config: m.invoke(messages, config, streaming=False),
    "output v1": lambda model, messages, config: model.model_copy(
        update={"output_version": "v1"}
    ).invoke(messages, config),
}


async def asked(way: str, model: Any, messages: list[BaseMessage], config: RunnableConfig) -> AIMessage:
    answer = WAYS[way](model, messages, config)
    if inspect.isawaitable(answer):
        answer = await answer
    assert isinstance(answer, AIMessage)
    return answer


def check_second_turn(
    bailian: BailianEmulator, messages: list[BaseMessage], second: AIMessage, keeper: str
) -> None:
    session_id = session_of(messages[1])
    alone_in_session = {"prompt": "二", "session_id": session_id}
    named = [given for given in inputs(bailian) if given.get("session_id")]

    assert named == [alone_in_session]
    assert [r.prompt for r in bailian.session(session_id)] == ["一", "二"]
    assert session_of(second) == session_id
    assert second.response_metadata["history"] == keeper


@pytest.mark.parametrize("way", WAYS)
async def test_the_second_question_goes_alone_into_the_session(
    bailian: BailianEmulator, model: BailianAppChatModel, way: str
) -> None:
    first = await asked(way, model, [ONE], IN_THREAD)
    messages = [ONE, first, TWO]
    second = await asked(way, model, messages, IN_THREAD)

    check_second_turn(bailian, messages, second, "session")
    assert first.response_metadata["session_turn"] == 1
    assert second.response_metadata["session_turn"] == 2
    assert second.text == alone(model, messages)


@pytest.mark.parametrize("way", WAYS)
async def test_a_thread_needs_no_messages_but_the_new_one(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel], way: str
) -> None:
    model = make(history="thread")
    first = await asked(way, model, [ONE], IN_THREAD)
    second = await asked(way, model, [TWO], IN_THREAD)

    check_second_turn(bailian, [ONE, first, TWO], second, "thread")
    assert second.text == alone(model, [ONE, first, TWO])
    assert "session_digest" not in second.response_metadata


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    "keywords", [{"history": "session"}, {"history": "thread", "session_key": "k"}]
)
async def test_generate_uses_messages_and_keywords(
    bailian: BailianEmulator,
    make: Callable[..., BailianAppChatModel],
    keywords: dict[str, Any],
    *,
    asynchronous: bool,
) -> None:
    model = make(history="messages")

    async def generated(messages: list[BaseMessage]) -> BaseMessage:
        if asynchronous:
            result = await model.agenerate([messages], **keywords)
        else:
            result = model.generate([messages], **keywords)
        return result.generations[0][0].message

    first = await generated([ONE])
    messages = [ONE, first, TWO]
    second = await generated(messages)

    assert isinstance(second, AIMessage)
    check_second_turn(bailian, messages, second, keywords["history"])
    assert second.text == alone(model, messages)


def test_generate_never_reads_the_config_around_it(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel]
) -> None:
    config: RunnableConfig = {"configurable": {"bailian_session_id": "theirs", "thread_id": "t"}}
    model, threaded = make(), make(history="thread")
    RunnableLambda(lambda _: model.generate([[ONE]]).generations[0][0].text).invoke("?", config)

    assert inputs(bailian) == [{"prompt": "一"}]
    with pytest.raises(ValueError, match="session_key"):
        RunnableLambda(lambda _: threaded.generate([[ONE]])).invoke("?", config)


@pytest.mark.parametrize("by", ["keyword", "bind", "field"])
def test_history_is_chosen_by_keyword_bind_or_field(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel], by: str
) -> None:
    model: Any = make(history="session" if by == "field" else "messages")
    keywords = {"history": "session"} if by == "keyword" else {}
    if by == "bind":
        model = model.bind(history="session")
    first = model.invoke([ONE], **keywords)
    second = model.invoke([ONE, first, TWO], **keywords)

    check_second_turn(bailian, [ONE, first, TWO], second, "session")


@pytest.mark.filterwarnings("ignore::langchain_core._api.deprecation.LangChainDeprecationWarning")
@pytest.mark.parametrize("history", ["session", "thread"])
def test_a_runnable_with_message_history_keeps_its_own_session_id(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel], history: str
) -> None:
    kept = InMemoryChatMessageHistory()
    model = make(history=history)
    runnable = RunnableWithMessageHistory(model, lambda _: kept)
    config: RunnableConfig = {"configurable": {"session_id": "theirs", "thread_id": "t"}}
    for question in (ONE, TWO, THREE):
        runnable.invoke([question], config)

    session_id = session_of(kept.messages[1])
    assert inputs(bailian) == [
        {"prompt": "一"},
        {"prompt": "二", "session_id": session_id},
        {"prompt": "三", "session_id": session_id},
    ]
    assert kept.messages[-1].text == alone(model, kept.messages[:-1])


def test_models_without_a_store_share_one(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel]
) -> None:
    messages = converse(make(session_store=None), "一")
    second = make(session_store=None).invoke([*messages, TWO])

    check_second_turn(bailian, [*messages, TWO], second, "session")


class TwoConversations(TypedDict):
    question: str
    left: list[BaseMessage]
    right: list[BaseMessage]


def test_two_nodes_of_one_thread_never_see_each_other(
    bailian: BailianEmulator, model: BailianAppChatModel
) -> None:
    def ask(side: str, state: TwoConversations) -> dict[str, Any]:
        messages = [*state.get(side, []), HumanMessage(f"{side}: {state['question']}")]
        return {side: [*messages, model.invoke(messages)]}

    graph = StateGraph(TwoConversations)
    graph.add_node("ask left", lambda state: ask("left", state))
    graph.add_node("ask right", lambda state: ask("right", state))
    graph.add_edge(START, "ask left")
    graph.add_edge(START, "ask right")
    compiled = graph.compile(checkpointer=InMemorySaver())
    state: dict[str, Any] = {}
    for question in "一二三":
        state = compiled.invoke({"question": question}, IN_THREAD)

    held = [[r.prompt for r in rounds] for rounds in bailian.sessions().values()]
    assert sorted(held) == [[f"{side}: {q}" for q in "一二三"] for side in ("left", "right")]
    for side in ("left", "right"):
        assert state[side][-1].text == alone(model, state[side][:-1])


# -- forks -----------------------------------------------------------------------------------------


def edited(message: BaseMessage, text: str) -> BaseMessage:
    """Return a message as `PIIMiddleware` leaves it: a copy under the same id."""
    return message.model_copy(update={"content": text})


def trimmed(messages: list[BaseMessage]) -> list[BaseMessage]:
    return trim_messages(messages, max_tokens=3, token_counter=len, start_on="human")


# What is asked next, given a conversation of a system message and three turns.
FORKS: dict[str, Callable[[list[BaseMessage]], list[BaseMessage]]] = {
    "continued": lambda said: [*said, HumanMessage("四")],
    "from the first turn": lambda said: [*said[:3], HumanMessage("四")],
    "from the second turn": lambda said: [*said[:5], HumanMessage("四")],
    "from nothing": lambda said: [*said[:1], HumanMessage("四")],
    "regenerated": lambda said: said[:-1],
    "first regenerated": lambda said: said[:2],
    "last question edited": lambda said: [*said[:-2], edited(said[-2], "参")],
    "first question edited": lambda said: [*said[:1], edited(said[1], "壹"), *said[2:], TWO],
    "first answer edited": lambda said: [*said[:2], edited(said[2], "答"), *said[3:], TWO],
    "last answer edited": lambda said: [*said[:-1], edited(said[-1], "答"), TWO],
    "answer's form changed": lambda said: [
        *said[:-1],
        said[-1].model_copy(update={"content": [{"type": "text", "text": said[-1].text}]}),
        TWO,
    ],
    "system message changed": lambda said: [SystemMessage("详细。"), *said[1:], TWO],
    "system message left out": lambda said: [*said[1:], TWO],
    "another system message": lambda said: [*said, SystemMessage("用英文。"), TWO],
    "trimmed": lambda said: trimmed([*said, TWO]),
    "middle left out": lambda said: [*said[:1], *said[3:], TWO],
    "summarised": lambda said: [SystemMessage("摘要：一、二。"), *said[-2:], TWO],
    "summarised in a question": lambda said: [HumanMessage("摘要"), AIMessage("好"), *said[-2:], TWO],
    "two questions": lambda said: [*said, TWO, THREE],
    "answer of somebody else": lambda said: [*said, TWO, AIMessage("别人的"), THREE],
    "answers swapped": lambda said: [*said[:2], said[4], said[3], said[2], *said[5:], TWO],
}


@warnings_allowed
@pytest.mark.parametrize("fork", FORKS)
def test_a_fork_depends_on_its_messages_and_so_does_the_line_it_left(
    bailian: BailianEmulator, model: BailianAppChatModel, fork: str
) -> None:
    said = converse(model, "一", "二", "三", after=[RULES])
    line = FORKS[fork](said)
    line.append(check(model, line))
    said = [*said, HumanMessage("五"), check(model, [*said, HumanMessage("五")])]
    check(model, [*line, HumanMessage("六")])
    check(model, [*said, HumanMessage("七")])


@warnings_allowed
def test_a_fork_takes_nothing_from_the_line_it_left(
    bailian: BailianEmulator, model: BailianAppChatModel
) -> None:
    said = converse(model, "一", "二")
    fork = converse(model, "叉", after=said[:2])
    last = converse(model, "三", after=said)[-1]

    assert fork[-1].response_metadata["history"] == "replayed"
    assert [r.prompt for r in bailian.session(session_of(last))] == ["一", "二", "三"]


@warnings_allowed
@pytest.mark.parametrize("place", ["app", "host", "workspace"])
def test_another_place_is_told_everything(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel], app: App, place: str
) -> None:
    store = InMemorySessionStore(trust_unknown=True)
    here = make(session_store=store)
    with BailianEmulator(api_key="sk-other") as other:
        other.add_app(App("witness", app_id="witness", answer=app.answer))
        bailian.add_app(App("other", app_id="other", answer=app.answer))
        there = {
            "app": lambda: make("other", session_store=store),
            "host": lambda: make(session_store=store, base_url=other.base_url, api_key=other.api_key),
            "workspace": lambda: make(session_store=store, workspace="ws"),
        }[place]()
        said = converse(here, "一", "二")
        since = len(bailian.requests)
        said += [THREE, check(there, [*said, THREE])]
        assert not any("session_id" in given for given in inputs(bailian, since))
        assert not any("session_id" in given for given in inputs(other))
        check(here, [*said, HumanMessage("四")])


@warnings_allowed
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_of_a_batch_of_continuations_one_continues_and_all_are_right(
    bailian: BailianEmulator, model: BailianAppChatModel, app: App, *, asynchronous: bool
) -> None:
    said = converse(model, "一")
    app.pace = 0.002
    batch = [[*said, HumanMessage(str(number))] for number in range(10)]
    answers = await model.abatch(batch) if asynchronous else model.batch(batch)

    assert sum("session_id" in given for given in inputs(bailian)) == 1
    assert [a.text for a in answers] == [alone(model, messages) for messages in batch]
    keepers = sorted(answer.response_metadata["history"] for answer in answers)
    assert keepers == ["replayed"] * 9 + ["session"]
    for messages, answer in zip(batch, answers, strict=True):
        check(model, [*messages, answer, HumanMessage("又")])


@warnings_allowed
def test_time_travel_in_a_graph_depends_on_the_state_travelled_to(
    bailian: BailianEmulator, model: BailianAppChatModel
) -> None:
    graph = graph_of(model, checkpointer=InMemorySaver())

    def run(given: Any, config: RunnableConfig) -> None:
        messages = graph.invoke(given, config)["messages"]
        assert messages[-1].text == alone(model, messages[:-1])

    for question in "一二三":
        run({"messages": [HumanMessage(question)]}, IN_THREAD)
    assert sum("session_id" in given for given in inputs(bailian)) == 2

    past = list(graph.get_state_history(IN_THREAD))
    assert {len(state.values.get("messages", [])) for state in past} >= {2, 4, 6}
    for state in past:
        if state.next == ("ask",):
            run(None, state.config)  # again from there: regenerate
        if len(state.values.get("messages", [])) in {2, 4, 6}:
            run({"messages": [HumanMessage("另一")]}, state.config)  # another branch
    run({"messages": [HumanMessage("最后")]}, IN_THREAD)

    # An edit of an earlier question, under its id.
    question = past[0].values["messages"][0]
    changed = graph.update_state(past[0].config, {"messages": [edited(question, "壹")]})
    run({"messages": [HumanMessage("改后")]}, changed)


# -- broken off ------------------------------------------------------------------------------------


def broken_by_break(model: BailianAppChatModel, messages: list[BaseMessage], app: App) -> None:
    for _ in model.stream(messages):
        break


def broken_by_close(model: BailianAppChatModel, messages: list[BaseMessage], app: App) -> None:
    chunks = model.stream(messages)
    next(chunks)
    next(chunks)
    chunks.close()


async def broken_by_async_break(
    model: BailianAppChatModel, messages: list[BaseMessage], app: App
) -> None:
    async for _ in model.astream(messages):
        break


async def broken_by_aclose(model: BailianAppChatModel, messages: list[BaseMessage], app: App) -> None:
    chunks = model.astream(messages)
    await anext(chunks)
    await chunks.aclose()


def broken_by_stop(model: BailianAppChatModel, messages: list[BaseMessage], app: App) -> None:
    assert STOP not in model.invoke(messages, stop=[STOP]).text


def broken_by_stop_in_stream(model: BailianAppChatModel, messages: list[BaseMessage], app: App) -> None:
    assert STOP not in merged(list(model.stream(messages, stop=[STOP]))).text


def broken_by_timeout(model: BailianAppChatModel, messages: list[BaseMessage], app: App) -> None:
    app.stall_after = 3
    with pytest.raises(BailianTimeoutError):
        model.model_copy(update={"total_timeout": 0.3}).invoke(messages)
    app.stall_after = None


async def broken_by_async_timeout(
    model: BailianAppChatModel, messages: list[BaseMessage], app: App
) -> None:
    app.stall_after = 3
    with pytest.raises(BailianTimeoutError):
        await model.model_copy(update={"total_timeout": 0.3}).ainvoke(messages)
    app.stall_after = None


async def broken_by_cancellation(
    model: BailianAppChatModel, messages: list[BaseMessage], app: App
) -> None:
    app.stall_after = 3
    witness = app.answer
    assert isinstance(witness, Witness)
    begun, loop = asyncio.Event(), asyncio.get_running_loop()

    def begins(turn: Turn) -> Reply:
        loop.call_soon_threadsafe(begun.set)
        return witness(turn)

    app.answer = begins
    task = asyncio.create_task(model.ainvoke(messages))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    app.stall_after, app.answer = None, witness


def broken_by_a_fault(name: str) -> Callable[..., None]:
    def breaks(model: BailianAppChatModel, messages: list[BaseMessage], app: App) -> None:
        app.faults = Faults.always(name)
        with pytest.raises(BailianError) as caught:
            model.invoke(messages)
        assert not caught.value.is_retryable
        app.faults = None

    return breaks


def broken_by_an_error_in_the_stream(
    model: BailianAppChatModel, messages: list[BaseMessage], app: App
) -> None:
    app.error = ErrorReply.of("Throttling.RateQuota", times=1, in_stream_after=2)
    with pytest.raises(BailianRateLimitError):
        model.invoke(messages)


def broken_by_a_failing_handler(
    model: BailianAppChatModel, messages: list[BaseMessage], app: App
) -> None:
    def fails(chunks: Iterator[Any]) -> Iterator[Any]:
        next(chunks)
        message = "the caller's own mistake"
        raise RuntimeError(message)
        yield

    with pytest.raises(RuntimeError):
        list(fails(model.stream(messages)))


BREAKS: dict[str, Callable[[BailianAppChatModel, list[BaseMessage], App], Awaitable[None] | None]] = {
    "break": broken_by_break,
    "async break": broken_by_async_break,
    "close": broken_by_close,
    "aclose": broken_by_aclose,
    "stop": broken_by_stop,
    "stop in a stream": broken_by_stop_in_stream,
    "timeout": broken_by_timeout,
    "async timeout": broken_by_async_timeout,
    "cancellation": broken_by_cancellation,
    "error in the stream": broken_by_an_error_in_the_stream,
    "caller's error": broken_by_a_failing_handler,
} | {
    fault: broken_by_a_fault(fault)
    for fault in (
        "cut-mid-frame",
        "end-mid-frame",
        "no-finish-reason",
        "reset",
        "error-frame",
        "html-502",
    )
}


async def break_off(
    how: str, model: BailianAppChatModel, messages: list[BaseMessage], bailian: BailianEmulator
) -> None:
    """Ask, break the answer off, and wait until the service has noticed."""
    app = bailian.apps["witness"]
    app.pace = 0.003
    broken = BREAKS[how](model, messages, app)
    if broken is not None:
        await broken
        await asyncio.sleep(0)
    assert await asyncio.to_thread(bailian.requests[-1].wait, 2)
    app.pace = None


@pytest.mark.parametrize("keep", [False, True], ids=["dropped", "kept"])
@pytest.mark.parametrize("question", ["二", "另"])
@pytest.mark.parametrize("how", BREAKS)
async def test_after_an_answer_that_broke_off_the_next_is_told_all(
    bailian: BailianEmulator, model: BailianAppChatModel, how: str, question: str, *, keep: bool
) -> None:
    bailian.keep_aborted = keep
    said = converse(model, "一")
    await break_off(how, model, [*said, TWO], bailian)
    assert inputs(bailian)[-1] == {"prompt": "二", "session_id": session_of(said[-1])}
    assert not keep or len(bailian.session(session_of(said[-1]))) == 2

    messages = [*said, HumanMessage(question)]
    with pytest.warns(BailianSessionWarning) as caught:
        answer = check(model, messages)
    assert len(caught) == 1
    assert answer.response_metadata["history"] == "replayed"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(model, [*messages, answer, THREE])


@pytest.mark.parametrize("keep", [False, True], ids=["dropped", "kept"])
@pytest.mark.parametrize("how", BREAKS)
async def test_after_a_first_answer_that_broke_off_a_session_begins(
    bailian: BailianEmulator, model: BailianAppChatModel, how: str, *, keep: bool
) -> None:
    bailian.keep_aborted = keep
    await break_off(how, model, [ONE], bailian)
    said = converse(model, "一")
    answer = check(model, [*said, TWO])

    assert answer.response_metadata["session_turn"] == 2


@pytest.mark.parametrize("keep", [False, True], ids=["dropped", "kept"])
def test_an_answer_cut_by_stop_may_stay_in_the_messages(
    bailian: BailianEmulator, model: BailianAppChatModel, *, keep: bool
) -> None:
    bailian.keep_aborted = keep
    said = converse(model, "一")
    cut = model.invoke([*said, TWO], stop=[STOP])
    assert "session_digest" not in cut.response_metadata
    since = len(bailian.requests)
    check(model, [*said, TWO, cut, THREE])

    assert "messages" in inputs(bailian)[since]


def test_a_stop_text_that_does_not_come_breaks_nothing_off(
    bailian: BailianEmulator, model: BailianAppChatModel
) -> None:
    said = converse(model, "一")
    second = model.invoke([*said, TWO], stop=["从来不说"])
    third = check(model, [*said, TWO, second, THREE])

    assert third.response_metadata["session_turn"] == 3


def test_a_partial_answer_is_not_continued(
    bailian: BailianEmulator, model: BailianAppChatModel, app: App
) -> None:
    said = converse(model, "一")
    app.faults = Faults.always("end-mid-frame")
    with pytest.raises(BailianError) as caught:
        model.invoke([*said, TWO])
    app.faults = None
    partial = caught.value.partial
    assert partial is not None
    check(model, [*said, TWO, partial, THREE])


KILLED = """
import json, sys, time
from langchain_core.messages import HumanMessage, messages_to_dict
from langchain_bailian_app import BailianAppChatModel

base_url, api_key = sys.argv[1:]
model = BailianAppChatModel(
    app_id="witness", base_url=base_url, api_key=api_key, history="session"
)
messages = [HumanMessage("一")]
messages.append(model.invoke(messages))
print(json.dumps(messages_to_dict(messages)), flush=True)
for _ in model.stream([*messages, HumanMessage("二")]):
    print("answering", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("keep", [False, True], ids=["dropped", "kept"])
def test_after_a_process_was_killed_another_goes_on(
    bailian: BailianEmulator, model: BailianAppChatModel, app: App, *, keep: bool
) -> None:
    bailian.keep_aborted = keep
    app.pace = 0.02
    command = [sys.executable, "-c", KILLED, bailian.base_url, bailian.api_key]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = messages_from_dict(json.loads(process.stdout.readline()))
        assert process.stdout.readline() == b"answering\n"
        process.send_signal(signal.SIGKILL)
    assert bailian.requests[-1].wait(2)
    app.pace = None
    assert "session_id" in inputs(bailian)[-1]

    for question in ("二", "另"):
        with pytest.warns(BailianSessionWarning) as caught:
            check(model, [*said, HumanMessage(question)])
        assert len(caught) == 1


# -- recovery before the first token ---------------------------------------------------------------


def streamed(model: BailianAppChatModel, messages: list[BaseMessage]) -> AIMessage:
    return merged(list(model.stream(messages)))


def invoked(model: BailianAppChatModel, messages: list[BaseMessage]) -> AIMessage:
    return model.invoke(messages)


def posted(model: BailianAppChatModel, messages: list[BaseMessage]) -> AIMessage:
    return model.invoke(messages, streaming=False)


def ainvoked(model: BailianAppChatModel, messages: list[BaseMessage]) -> AIMessage:
    return asyncio.run(model.ainvoke(messages))


def astreamed_in_a_loop(model: BailianAppChatModel, messages: list[BaseMessage]) -> AIMessage:
    async def run() -> AIMessage:
        return merged([chunk async for chunk in model.astream(messages)])

    return asyncio.run(run())


ASKING = [streamed, invoked, posted, ainvoked, astreamed_in_a_loop]


def forget(bailian: BailianEmulator, clock: Clock) -> None:
    bailian.reset()


def let_expire(bailian: BailianEmulator, clock: Clock) -> None:
    clock.now += HOUR


def refuse_in_the_stream(bailian: BailianEmulator, clock: Clock) -> None:
    bailian.apps["witness"].error = ErrorReply.of(
        "InvalidParameter", message="The session has expired.", times=1, in_stream_after=0
    )


def check_recovered(
    bailian: BailianEmulator,
    model: BailianAppChatModel,
    ask: Callable[..., AIMessage],
    messages: list[BaseMessage],
    posts: int,
) -> None:
    """Hold that there is one replay, one warning, and nothing of another answer."""
    since = len(bailian.requests)
    with pytest.warns(BailianSessionWarning) as caught:
        answer = ask(model, messages)

    assert len(caught) == 1
    told = inputs(bailian, since)
    assert len(told) == posts
    assert ["messages" in given for given in told] == [False] * (posts - 1) + [True]
    assert answer.text == alone(model, messages)
    assert answer.response_metadata["history"] == "replayed"
    assert "session_digest" not in answer.response_metadata

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        since = len(bailian.requests)
        messages = [*messages, answer, HumanMessage("然后")]
        after = ask(model, messages)
    assert ["messages" in given for given in inputs(bailian, since)] == [True]
    assert after.text == alone(model, messages)
    assert after.response_metadata["history"] == "replayed"


@pytest.mark.parametrize("ask", ASKING)
@pytest.mark.parametrize("switch", ["error", "new"])
@pytest.mark.parametrize("lose", [forget, let_expire])
def test_a_session_that_the_service_does_not_know_is_told_anew(
    bailian: BailianEmulator,
    model: BailianAppChatModel,
    clock: Clock,
    ask: Callable[..., AIMessage],
    switch: Any,
    lose: Callable[..., None],
) -> None:
    said = converse(model, "一", "二")
    bailian.unknown_session = switch
    lose(bailian, clock)

    check_recovered(bailian, model, ask, [*said, THREE], posts=2)


@pytest.mark.parametrize("ask", ASKING)
def test_a_session_refused_in_the_stream_is_told_anew(
    bailian: BailianEmulator, model: BailianAppChatModel, clock: Clock, ask: Callable[..., AIMessage]
) -> None:
    said = converse(model, "一")
    refuse_in_the_stream(bailian, clock)

    check_recovered(bailian, model, ask, [*said, TWO], posts=2)


def test_a_session_refused_after_the_first_token_is_an_error(
    bailian: BailianEmulator, model: BailianAppChatModel, app: App
) -> None:
    said = converse(model, "一")
    app.error = ErrorReply.of(
        "InvalidParameter", message="The session has expired.", times=1, in_stream_after=2
    )
    since = len(bailian.requests)
    with pytest.raises(BailianSessionError):
        streamed(model, [*said, TWO])
    assert len(inputs(bailian, since)) == 1

    check_recovered(bailian, model, streamed, [*said, TWO], posts=1)


def test_nothing_of_the_wrong_answer_is_shown(
    bailian: BailianEmulator, model: BailianAppChatModel, app: App
) -> None:
    said = converse(model, "一", "二")
    witness = app.answer
    bailian.reset()
    shown: list[str] = []
    with pytest.warns(BailianSessionWarning):
        shown.extend(chunk.text for chunk in model.stream([*said, THREE]))

    assert isinstance(witness, Witness)
    wrong, right = witness.seen[-2:]
    assert wrong == ("三",)
    assert right == ("一", said[1].text, "二", said[3].text, "三")
    assert "".join(shown).startswith("第3答")
    assert bailian.requests[0].wait(1)


def test_the_stream_of_another_session_is_hung_up(
    bailian: BailianEmulator, model: BailianAppChatModel, app: App
) -> None:
    said = converse(model, "一")
    bailian.reset()
    app.pace = 0.01
    with pytest.warns(BailianSessionWarning):
        streamed(model, [*said, TWO])
    wrong = bailian.requests[0]

    assert wrong.wait(1)
    assert not wrong.finished


def test_of_a_plain_post_the_warning_says_that_the_first_has_run(
    bailian: BailianEmulator, model: BailianAppChatModel
) -> None:
    said = converse(model, "一")
    bailian.reset()
    with pytest.warns(BailianSessionWarning, match="the first request has run"):
        posted(model, [*said, TWO])


@pytest.mark.parametrize("ask", [streamed, ainvoked])
@pytest.mark.parametrize("switch", ["error", "new", "oldest"])
def test_after_fifty_turns_all_is_told_beforehand(
    bailian: BailianEmulator,
    model: BailianAppChatModel,
    switch: Any,
    ask: Callable[..., AIMessage],
) -> None:
    bailian.full_session = switch
    said = converse(model, *map(str, range(50)))
    assert said[-1].response_metadata["session_turn"] == 50
    assert len(bailian.session(session_of(said[-1]))) == 50

    check_recovered(bailian, model, ask, [*said, TWO], posts=1)


@pytest.mark.parametrize("switch", ["error", "new", "same"])
@pytest.mark.parametrize("minutes", [55, 59, 61, 600])
def test_after_fiftyfive_idle_minutes_all_is_told_beforehand(
    bailian: BailianEmulator, model: BailianAppChatModel, clock: Clock, switch: Any, minutes: int
) -> None:
    bailian.unknown_session = switch
    said = aged(converse(model, "一"), minutes * 60)
    clock.now += minutes * 60

    check_recovered(bailian, model, streamed, [*said, TWO], posts=1)


@pytest.mark.parametrize("switch", ["error", "new", "same"])
def test_before_fiftyfive_idle_minutes_the_session_goes_on(
    bailian: BailianEmulator, model: BailianAppChatModel, clock: Clock, switch: Any
) -> None:
    bailian.unknown_session = switch
    said = converse(model, "一")
    for question in "二三四":
        clock.now += 54 * 60
        said = aged(said, 54 * 60)
        said = [*said, HumanMessage(question), check(model, [*said, HumanMessage(question)])]

    assert said[-1].response_metadata["session_turn"] == 4


# -- refusals --------------------------------------------------------------------------------------


def refused_at_the_door(model: BailianAppChatModel, messages: list[BaseMessage], app: App) -> None:
    app.error = ErrorReply.of("Throttling.RateQuota", times=1)
    with pytest.raises(BailianRateLimitError):
        model.invoke(messages)


def unavailable_at_the_door(model: BailianAppChatModel, messages: list[BaseMessage], app: App) -> None:
    app.error = ErrorReply.of("ModelUnavailable", times=1)
    with pytest.raises(BailianError):
        streamed(model, messages)


def never_connected(model: BailianAppChatModel, messages: list[BaseMessage], app: App) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with httpx.Client(proxy=address) as client, pytest.raises(BailianConnectionError):
        model.model_copy(update={"http_client": client}).invoke(messages)


@pytest.mark.parametrize("refuse", [refused_at_the_door, unavailable_at_the_door, never_connected])
def test_a_request_that_did_not_run_leaves_the_session_free(
    bailian: BailianEmulator,
    make: Callable[..., BailianAppChatModel],
    app: App,
    refuse: Callable[..., None],
) -> None:
    model = make(max_retries=0)
    said = converse(model, "一")
    for question in (TWO, THREE):
        messages = [*said, question]
        refuse(model, messages, app)
        said = [*messages, check(model, messages)]

    assert said[-1].response_metadata["session_turn"] == 3


def test_a_refusal_that_is_overcome_is_not_noticed(
    bailian: BailianEmulator, model: BailianAppChatModel, app: App
) -> None:
    said = converse(model, "一")
    app.error = ErrorReply.of("Throttling.RateQuota", times=1, headers={"Retry-After": "0"})
    answer = check(model, [*said, TWO])

    assert answer.response_metadata["session_turn"] == 2


@pytest.mark.parametrize("code", ["InternalError", "InvalidParameter", "DataInspectionFailed"])
def test_any_other_refusal_leaves_it_in_doubt(
    bailian: BailianEmulator, model: BailianAppChatModel, app: App, code: str
) -> None:
    said = converse(model, "一")
    app.error = ErrorReply.of(code, times=1)
    with pytest.raises(BailianError):
        model.invoke([*said, TWO])

    check_recovered(bailian, model, invoked, [*said, TWO], posts=1)


def test_a_replay_refused_at_the_door_is_not_said_to_be_without_effect(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel], app: App
) -> None:
    model = make(max_retries=0, streaming=False)
    said = converse(model, "一")
    bailian.reset()
    witness = app.answer
    assert witness is not None

    def runs_once(turn: Turn) -> Any:
        app.error = ErrorReply.of("Throttling.RateQuota", times=1)
        return witness(turn)

    app.answer = runs_once
    with pytest.warns(BailianSessionWarning), pytest.raises(BailianRateLimitError) as caught:
        model.invoke([*said, TWO])

    assert not caught.value.is_retryable


# -- the cache -------------------------------------------------------------------------------------


@pytest.fixture
def llm_cache() -> Iterator[None]:
    set_llm_cache(InMemoryCache())
    yield
    set_llm_cache(None)


BY_HAND: RunnableConfig = {"configurable": {"bailian_session_id": "s1"}}


@pytest.mark.usefixtures("llm_cache")
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("cache", [True, None, InMemoryCache()], ids=["global", "default", "own"])
@pytest.mark.parametrize(
    ("fields", "config", "keywords", "calls"),
    [
        ({"history": "messages"}, {}, {}, 1),
        ({"history": "messages"}, IN_THREAD, {}, 1),
        ({"history": "session"}, {}, {"history": "messages"}, 1),
        ({"history": "session"}, {}, {}, 3),
        ({"history": "messages"}, {}, {"history": "session"}, 3),
        ({"history": "messages", "session_id": "s1"}, {}, {}, 3),
        ({"history": "messages"}, {}, {"session_id": "s1"}, 3),
        ({"history": "messages"}, BY_HAND, {}, 3),
        ({"history": "thread"}, IN_THREAD, {}, 3),
        ({"history": "messages"}, {}, {"history": "thread", "session_key": "k"}, 3),
    ],
)
async def test_the_cache_never_answers_for_a_session(
    bailian: BailianEmulator,
    make: Callable[..., BailianAppChatModel],
    fields: dict[str, Any],
    config: RunnableConfig,
    keywords: dict[str, Any],
    calls: int,
    cache: Any,
    *,
    asynchronous: bool,
) -> None:
    bailian.unknown_session = "same"
    model = make(cache=cache, workspace=f"ws{asynchronous}-{calls}", **fields)
    for _ in range(3):
        if asynchronous:
            await model.ainvoke([ONE], config, **keywords)
        else:
            model.invoke([ONE], config, **keywords)

    assert len(bailian.requests) == calls


@pytest.mark.usefixtures("llm_cache")
def test_generate_with_a_session_is_not_cached_either(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel]
) -> None:
    model = make(history="messages", cache=True)
    for keywords in ({"session_id": "s1"}, {"session_id": "s1"}, {}, {}, {"history": "session"}):
        model.generate([[ONE]], **keywords)

    assert len(bailian.requests) == 4


# -- many at once ----------------------------------------------------------------------------------

CONVERSATIONS, TURNS = 200, 10


def question_of(number: int, turn: int) -> str:
    return f"{number:03}.{turn:02}"


@pytest.fixture
def brief(bailian: BailianEmulator, make: Callable[..., BailianAppChatModel]) -> BailianAppChatModel:
    """Return a model of an application that answers at once, in one frame."""
    return make(bailian.add_app(App("brief", app_id="brief", answer=Witness(brief=True))))


def check_every_conversation(bailian: BailianEmulator, said: list[list[BaseMessage]]) -> None:
    """Hold that each session has the turns of its conversation, each once, and no other's."""
    assert len(bailian.requests) == CONVERSATIONS * TURNS
    held = {key: [tuple(r) for r in rounds] for key, rounds in bailian.sessions().items()}
    assert len(held) == CONVERSATIONS
    for number, messages in enumerate(said):
        questions = [question_of(number, turn) for turn in range(TURNS)]
        rounds = held[session_of(messages[-1])]
        assert [prompt for prompt, _ in rounds] == questions
        assert [m.text for m in messages[::2]] == questions
        answers = [re.sub(r"<ref>\[1]</ref>", "", answer) for _, answer in rounds]
        assert answers == [m.text for m in messages[1::2]]
    first = [r.size for r in bailian.requests if "session_id" not in r.body["input"]]
    later = [r.size for r in bailian.requests if "session_id" in r.body["input"]]
    assert len(first) == CONVERSATIONS
    assert len(set(later)) == 1  # the last turn sends no more than the second


@pytest.mark.no_cover
async def test_two_hundred_conversations_on_one_loop(
    bailian: BailianEmulator, brief: BailianAppChatModel
) -> None:
    async def converse_alone(number: int) -> list[BaseMessage]:
        messages: list[BaseMessage] = []
        for turn in range(TURNS):
            messages.append(HumanMessage(question_of(number, turn)))
            messages.append(await brief.ainvoke(messages))
        return messages

    said = await asyncio.gather(*map(converse_alone, range(CONVERSATIONS)))

    check_every_conversation(bailian, said)


@pytest.mark.no_cover
def test_two_hundred_conversations_in_threads(
    bailian: BailianEmulator, brief: BailianAppChatModel
) -> None:
    def converse_alone(number: int) -> list[BaseMessage]:
        return converse(brief, *(question_of(number, turn) for turn in range(TURNS)))

    with ThreadPoolExecutor(CONVERSATIONS) as pool:
        said = list(pool.map(converse_alone, range(CONVERSATIONS)))

    check_every_conversation(bailian, said)


# -- other processes -------------------------------------------------------------------------------


def in_json(messages: list[BaseMessage]) -> list[BaseMessage]:
    return messages_from_dict(json.loads(json.dumps(messages_to_dict(messages))))


@pytest.mark.parametrize("trust", [False, True])
def test_a_serialised_history_goes_on_in_a_fresh_process(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel], *, trust: bool
) -> None:
    said = in_json(converse(make(), "一", "二", after=[RULES]))
    model = make(session_store=InMemorySessionStore(trust_unknown=trust))
    if not trust:
        check_recovered(bailian, model, streamed, [*said, THREE], posts=1)
        return
    since = len(bailian.requests)
    said = in_json([*said, THREE, check(model, [*said, THREE])])
    said = [*said, HumanMessage("四"), check(model, [*said, HumanMessage("四")])]

    sent = inputs(bailian, since)
    assert [given.get("prompt") for given in sent if "session_id" in given] == ["三", "四"]
    assert said[-1].response_metadata["session_turn"] == 4


@warnings_allowed
@pytest.mark.parametrize("trust", [False, True])
def test_a_checkpointed_thread_goes_on_in_a_fresh_process(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel], *, trust: bool
) -> None:
    saver = InMemorySaver()
    for question, continued in [("一", False), ("二", trust), ("三", trust)]:
        model = make(session_store=InMemorySessionStore(trust_unknown=trust))
        graph = graph_of(model, checkpointer=saver)
        messages = graph.invoke({"messages": [HumanMessage(question)]}, IN_THREAD)["messages"]

        assert ("session_id" in inputs(bailian)[-1]) == continued
        assert messages[-1].text == alone(model, messages[:-1])


def test_trust_notices_what_happened_here(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel]
) -> None:
    model = make(session_store=InMemorySessionStore(trust_unknown=True))
    said = converse(make(), "一")
    broken_by_close(model, [*said, TWO], bailian.apps["witness"])
    with pytest.warns(BailianSessionWarning):
        said = [*said, THREE, check(model, [*said, THREE])]
    check(model, [*said, TWO])


# -- threads ---------------------------------------------------------------------------------------


def test_a_thread_needs_a_store_and_a_key(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel]
) -> None:
    for model, config, text in [
        (make(history="thread", session_store=None), IN_THREAD, "session_store"),
        (make(history="thread"), None, "session_key"),
    ]:
        with pytest.raises(ValueError, match=text):
            model.invoke([ONE], config)

    assert bailian.requests == []


def test_a_keyword_names_the_thread_before_the_config(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel]
) -> None:
    model = make(history="thread")
    first = model.invoke([ONE], IN_THREAD)
    model.invoke([TWO], IN_THREAD, session_key="other")
    model.invoke([THREE], session_key="t")

    assert [r.prompt for r in bailian.session(session_of(first))] == ["一", "三"]


def test_threads_of_applications_are_their_own(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel], app: App
) -> None:
    store = InMemorySessionStore()
    bailian.add_app(App("other", app_id="other", answer=app.answer))
    for app_id in ("witness", "other", "witness", "other"):
        make(app_id, history="thread", session_store=store).invoke([ONE], IN_THREAD)

    assert [len(rounds) for rounds in bailian.sessions().values()] == [2, 2]


def test_a_second_call_of_a_thread_at_once_is_not_stored(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel], app: App
) -> None:
    model = make(history="thread")
    first = model.invoke([ONE], IN_THREAD)
    app.pace = 0.01
    chunks = model.stream([TWO], IN_THREAD)
    next(chunks)
    others = model.stream([THREE], IN_THREAD)
    with pytest.warns(BailianSessionWarning, match="stands alone"):
        begun = next(others)
    for _ in chunks:
        pass
    second = merged([begun, *others])  # ends last, and is not remembered all the same
    model.invoke([HumanMessage("四")], IN_THREAD)

    assert session_of(second) != session_of(first)
    assert [r.prompt for r in bailian.session(session_of(second))] == ["三"]
    assert [r.prompt for r in bailian.session(session_of(first))] == ["一", "二", "四"]


@pytest.mark.parametrize("switch", ["error", "new"])
@pytest.mark.parametrize("ask", ["invoke", "stream", "ainvoke"])
def test_a_thread_whose_session_is_gone_says_that_it_begins_anew(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel], switch: Any, ask: str
) -> None:
    model = make(history="thread")
    model.invoke([ONE], IN_THREAD)
    bailian.unknown_session = switch
    bailian.reset()
    with pytest.warns(BailianSessionWarning) as caught:
        answer: AIMessage = {
            "invoke": lambda: model.invoke([TWO], IN_THREAD),
            "stream": lambda: merged(list(model.stream([TWO], IN_THREAD))),
            "ainvoke": lambda: asyncio.run(model.ainvoke([TWO], IN_THREAD)),
        }[ask]()

    assert len(caught) == 1
    assert answer.response_metadata["session_restarted"] is True
    assert answer.text == alone(model, [TWO])
    third = model.invoke([THREE], IN_THREAD)
    assert "session_restarted" not in third.response_metadata
    assert [r.prompt for r in bailian.session(session_of(answer))] == ["二", "三"]


def test_a_thread_that_was_idle_for_an_hour_says_that_it_begins_anew(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel], clock: Clock
) -> None:
    model = make(history="thread", session_store=InMemorySessionStore(clock=clock))
    model.invoke([ONE], IN_THREAD)
    clock.now += HOUR
    with pytest.warns(BailianSessionWarning):
        answer = model.invoke([TWO], IN_THREAD)

    assert answer.response_metadata["session_restarted"] is True


@pytest.mark.parametrize("switch", ["error", "new"])
def test_a_thread_of_fifty_turns_begins_anew(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel], switch: Any
) -> None:
    model = make(history="thread")
    bailian.full_session = switch
    for number in range(50):
        model.invoke([HumanMessage(str(number))], IN_THREAD)
    with pytest.warns(BailianSessionWarning):
        answer = model.invoke([ONE], IN_THREAD)

    assert answer.response_metadata["session_restarted"] is True
    assert answer.text == alone(model, [ONE])


async def test_a_thread_goes_on_after_an_asynchronous_break(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel], app: App
) -> None:
    model = make(history="thread")
    first = await model.ainvoke([ONE], IN_THREAD)
    app.pace = 0.01
    async for _ in model.astream([TWO], IN_THREAD):
        break
    await asyncio.sleep(0.1)  # the loop closes what was left, soon but not at once
    third = await model.ainvoke([THREE], IN_THREAD)

    assert session_of(third) == session_of(first)


@pytest.mark.parametrize("thread_id", [1, "uuid"])
def test_a_thread_id_need_not_be_a_string(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel], thread_id: Any
) -> None:
    if thread_id == "uuid":
        thread_id = uuid4()
    model = make(history="thread")
    for question in (ONE, TWO):
        model.invoke([question], {"configurable": {"thread_id": thread_id}})

    assert [len(rounds) for rounds in bailian.sessions().values()] == [2]


# -- what else was found ---------------------------------------------------------------------------


def test_a_store_that_is_false_is_a_store_all_the_same(
    make: Callable[..., BailianAppChatModel],
) -> None:
    class Counting(InMemorySessionStore):
        def __len__(self) -> int:
            return len(self._entries)

    store = Counting()
    converse(make(session_store=store), "一")

    assert len(store) == 1


def test_an_earlier_image_is_seen_as_with_messages(
    bailian: BailianEmulator, make: Callable[..., BailianAppChatModel]
) -> None:
    bailian.add_app(App("eyes", app_id="eyes", answer=lambda turn: f"看到{turn.images}"))
    model = make("eyes")
    picture = HumanMessage(["看图", {"type": "image", "url": "https://pictures.example/1.png"}])
    messages = [picture, model.invoke([picture]), TWO]
    answers = [model.invoke(messages, history=way).text for way in ("session", "messages")]

    assert answers == ["看到('https://pictures.example/1.png',)"] * 2
