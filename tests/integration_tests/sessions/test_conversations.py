"""Tests that every answer in a cloud session depends on exactly the given messages.

The application of these tests answers with a digest of all the text it receives. The answer therefore
shows whether it received the same text as with the same messages and `history="messages"`.
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
from tests.fixtures import merge_chunks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from langchain_core.runnables import RunnableConfig

    from langchain_bailian_app import BailianAppChatModel
    from tests.clock import Clock

    MakeModel = Callable[..., BailianAppChatModel]
    CallStyle = Callable[[Any, list[BaseMessage], RunnableConfig], Any]

HOUR = 3600.0
STOP = "完"
ONE, TWO, THREE = HumanMessage("一"), HumanMessage("二"), HumanMessage("三")
SYSTEM = SystemMessage("简短。")
IN_THREAD: RunnableConfig = {"configurable": {"thread_id": "t"}}

warnings_allowed = pytest.mark.filterwarnings(
    "ignore::langchain_bailian_app.sessions.BailianSessionWarning"
)


# -- the application and its questions -------------------------------------------------------------


class EchoDigestApp:
    """Application that answers with a digest of all text it receives, in order, and records the text.

    The system text counts as the beginning of the first question. Markers in the cloud's copy of the
    answers do not count.
    """

    def __init__(self, *, brief: bool = False) -> None:
        self.received_texts: list[tuple[str, ...]] = []
        self._brief = brief

    def __call__(self, turn: Turn) -> Reply:
        texts = [text for answered in turn.history for text in answered] + [turn.prompt]
        texts[0] = turn.system + texts[0]
        normalized_texts = tuple(re.sub(r"\s|<ref>\[\d+]</ref>", "", text) for text in texts)
        self.received_texts.append(normalized_texts)
        digest = hashlib.sha256(repr(normalized_texts).encode()).hexdigest()
        number = f"第{len(turn.history) + 1}答"
        pieces = [number, digest[:6], "<ref>[1]</ref>", digest[6:12], "，", STOP, "。"]
        text = "".join(pieces)
        return Reply(text, pieces=[text] if self._brief else pieces)


@pytest.fixture
def bailian(clock: Clock) -> Iterator[BailianEmulator]:
    """Run an emulator for one test, because the tests change its settings."""
    with BailianEmulator(seed_apps=False, clock=clock) as emulator:
        emulator.add_app(App("digest", app_id="digest", answer=EchoDigestApp()))
        yield emulator


@pytest.fixture
def app(bailian: BailianEmulator) -> App:
    return bailian.apps["digest"]


@pytest.fixture
def make_digest_model(make_model: MakeModel) -> MakeModel:
    """Return a function that creates models of the digest application, each with a separate store."""

    def make(app_id: str = "digest", **fields: Any) -> BailianAppChatModel:
        values = {"history": "session", "session_store": InMemorySessionStore()} | fields
        return make_model(app_id, **values)

    return make


@pytest.fixture
def model(make_digest_model: MakeModel) -> BailianAppChatModel:
    return make_digest_model()


def answer_transcript(model: BailianAppChatModel, messages: Sequence[BaseMessage]) -> str:
    """Return the answer to the messages sent without a session."""
    return model.invoke(list(messages), history="messages").text


def check_answer(
    model: BailianAppChatModel, messages: Sequence[BaseMessage], **kwargs: Any
) -> AIMessage:
    """Call the model and check that its answer depends on exactly the messages."""
    answer = model.invoke(list(messages), **kwargs)
    assert answer.text == answer_transcript(model, messages)
    return answer


def converse(
    model: BailianAppChatModel, *questions: str, after: Sequence[BaseMessage] = ()
) -> list[BaseMessage]:
    """Return a conversation of the questions and their answers."""
    messages = list(after)
    for question in questions:
        messages.append(HumanMessage(question))
        messages.append(model.invoke(messages))
    return messages


def request_inputs(bailian: BailianEmulator, since: int = 0) -> list[dict[str, Any]]:
    """Return the input of the requests, optionally from an index on."""
    return [request.body["input"] for request in bailian.requests[since:]]


def get_session_id(answer: BaseMessage) -> str:
    return str(answer.response_metadata["session_id"])


def age_messages(messages: Sequence[BaseMessage], seconds: float) -> list[BaseMessage]:
    """Return the messages with the timestamps of their answers moved back."""
    changed = []
    for message in messages:
        metadata = message.response_metadata
        if "session_at" in metadata:
            metadata = metadata | {"session_at": metadata["session_at"] - seconds}
        changed.append(message.model_copy(update={"response_metadata": metadata}))
    return changed


# -- every call style ------------------------------------------------------------------------------


def build_graph(
    model: Any, node_config: RunnableConfig | None = None, checkpointer: InMemorySaver | None = None
) -> Any:
    """Return a graph of one node that calls the model, optionally with a separate config."""
    graph = StateGraph(MessagesState)
    graph.add_node("ask", lambda state: {"messages": [model.invoke(state["messages"], node_config)]})
    graph.add_edge(START, "ask")
    return graph.compile(checkpointer=checkpointer)


def invoke_in_graph(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> BaseMessage:
    return build_graph(model).invoke({"messages": messages}, config)["messages"][-1]


def invoke_in_graph_with_own_config(
    model: Any, messages: list[BaseMessage], config: RunnableConfig
) -> BaseMessage:
    outer: RunnableConfig = {"configurable": {"thread_id": "of the graph"}}
    return build_graph(model, config).invoke({"messages": messages}, outer)["messages"][-1]


async def ainvoke_in_graph(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> Any:
    async def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    return (await graph.compile().ainvoke({"messages": messages}, config))["messages"][-1]


def invoke_in_lambda(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> BaseMessage:
    return RunnableLambda(lambda _: model.invoke(messages)).invoke("?", config)


def invoke_in_lambda_with_own_config(
    model: Any, messages: list[BaseMessage], config: RunnableConfig
) -> BaseMessage:
    outer: RunnableConfig = {"configurable": {"thread_id": "of the lambda"}}
    return RunnableLambda(lambda _: model.invoke(messages, config)).invoke("?", outer)


def invoke_chain(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> BaseMessage:
    prompt = ChatPromptTemplate([MessagesPlaceholder("messages")])
    return (prompt | model).invoke({"messages": messages}, config)


def stream_chain(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> BaseMessage:
    return merge_chunks(list((RunnableLambda(lambda x: x) | model).stream(messages, config)))


def invoke_in_batch(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> BaseMessage:
    other_configs = [{"configurable": {"thread_id": str(uuid4())}} for _ in range(2)]
    return model.batch(
        [[HumanMessage("别的")], messages, [HumanMessage("还有")]],
        [other_configs[0], config, other_configs[1]],
    )[1]


async def astream_merged(
    model: Any, messages: list[BaseMessage], config: RunnableConfig
) -> BaseMessage:
    return merge_chunks([chunk async for chunk in model.astream(messages, config)])


async def astream_events_v2(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> Any:
    events = [event async for event in model.astream_events(messages, config, version="v2")]
    return events[-1]["data"]["output"]


async def astream_events_v3(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> Any:
    return await (await model.astream_events(messages, config, version="v3")).output


async def abatch_one(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> Any:
    return (await model.abatch([messages], [config]))[0]


def invoke_agent(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> BaseMessage:
    return create_agent(model, tools=[]).invoke({"messages": messages}, config)["messages"][-1]


def stream_agent(model: Any, messages: list[BaseMessage], config: RunnableConfig) -> Any:
    agent = create_agent(model, tools=[])
    states = agent.stream({"messages": messages}, config, stream_mode=["messages", "values"])
    return [state for mode, state in states if mode == "values"][-1]["messages"][-1]


CALL_STYLES: dict[str, CallStyle] = {
    "invoke": lambda model, messages, config: model.invoke(messages, config),
    "ainvoke": lambda model, messages, config: model.ainvoke(messages, config),
    "batch": invoke_in_batch,
    "abatch": abatch_one,
    "with_config": lambda model, messages, config: model.with_config(config).invoke(messages),
    "bind": lambda model, messages, config: model.bind(temperature=0.5).invoke(messages, config),
    "chain": invoke_chain,
    "streamed chain": stream_chain,
    "lambda": invoke_in_lambda,
    "lambda with own config": invoke_in_lambda_with_own_config,
    "graph": invoke_in_graph,
    "async graph": ainvoke_in_graph,
    "graph with own config": invoke_in_graph_with_own_config,
    "agent": invoke_agent,
    "streamed agent": stream_agent,
    "stream": lambda model, messages, config: merge_chunks(list(model.stream(messages, config))),
    "astream": astream_merged,
    "events v2": astream_events_v2,
    "events v3": lambda m, messages, config: m.stream_events(messages, config, version="v3").output,
    "async events v3": astream_events_v3,
    "streaming=False": lambda m, messages, config: m.invoke(messages, config, streaming=False),
    "output v1": lambda model, messages, config: model.model_copy(
        update={"output_version": "v1"}
    ).invoke(messages, config),
}


async def call_model(
    call_style: str, model: Any, messages: list[BaseMessage], config: RunnableConfig
) -> AIMessage:
    answer = CALL_STYLES[call_style](model, messages, config)
    if inspect.isawaitable(answer):
        answer = await answer
    assert isinstance(answer, AIMessage)
    return answer


def check_second_turn(
    bailian: BailianEmulator, messages: list[BaseMessage], second: AIMessage, history: str
) -> None:
    session_id = get_session_id(messages[1])
    expected = {"prompt": "二", "session_id": session_id}
    session_inputs = [
        request_input for request_input in request_inputs(bailian) if request_input.get("session_id")
    ]

    assert session_inputs == [expected]
    assert [r.prompt for r in bailian.session(session_id)] == ["一", "二"]
    assert get_session_id(second) == session_id
    assert second.response_metadata["history"] == history


@pytest.mark.slow
@pytest.mark.parametrize("call_style", CALL_STYLES)
async def test_only_the_second_question_is_sent_to_the_session(
    bailian: BailianEmulator, model: BailianAppChatModel, call_style: str
) -> None:
    first = await call_model(call_style, model, [ONE], IN_THREAD)
    messages = [ONE, first, TWO]
    second = await call_model(call_style, model, messages, IN_THREAD)

    check_second_turn(bailian, messages, second, "session")
    assert first.response_metadata["session_turn"] == 1
    assert second.response_metadata["session_turn"] == 2
    assert second.text == answer_transcript(model, messages)


@pytest.mark.slow
@pytest.mark.parametrize("call_style", CALL_STYLES)
async def test_a_thread_needs_no_messages_but_the_new_one(
    bailian: BailianEmulator, make_digest_model: MakeModel, call_style: str
) -> None:
    model = make_digest_model(history="thread")
    first = await call_model(call_style, model, [ONE], IN_THREAD)
    second = await call_model(call_style, model, [TWO], IN_THREAD)

    check_second_turn(bailian, [ONE, first, TWO], second, "thread")
    assert second.text == answer_transcript(model, [ONE, first, TWO])
    assert "session_digest" not in second.response_metadata


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:2 messages of this call are not sent:UserWarning")
@pytest.mark.parametrize("use_async", [False, True])
@pytest.mark.parametrize("kwargs", [{"history": "session"}, {"history": "thread", "session_key": "k"}])
async def test_generate_uses_messages_and_keywords(
    bailian: BailianEmulator,
    make_digest_model: MakeModel,
    kwargs: dict[str, Any],
    *,
    use_async: bool,
) -> None:
    model = make_digest_model(history="messages")

    async def generate(messages: list[BaseMessage]) -> BaseMessage:
        if use_async:
            result = await model.agenerate([messages], **kwargs)
        else:
            result = model.generate([messages], **kwargs)
        return result.generations[0][0].message

    first = await generate([ONE])
    messages = [ONE, first, TWO]
    second = await generate(messages)

    assert isinstance(second, AIMessage)
    check_second_turn(bailian, messages, second, kwargs["history"])
    assert second.text == answer_transcript(model, messages)


def test_generate_never_reads_the_config_around_it(
    bailian: BailianEmulator, make_digest_model: MakeModel
) -> None:
    config: RunnableConfig = {"configurable": {"bailian_session_id": "theirs", "thread_id": "t"}}
    model, threaded = make_digest_model(), make_digest_model(history="thread")
    RunnableLambda(lambda _: model.generate([[ONE]]).generations[0][0].text).invoke("?", config)

    assert request_inputs(bailian) == [{"prompt": "一"}]
    with pytest.raises(ValueError, match="session_key"):
        RunnableLambda(lambda _: threaded.generate([[ONE]])).invoke("?", config)


@pytest.mark.parametrize("by", ["keyword", "bind", "field"])
def test_history_is_chosen_by_keyword_bind_or_field(
    bailian: BailianEmulator, make_digest_model: MakeModel, by: str
) -> None:
    model: Any = make_digest_model(history="session" if by == "field" else "messages")
    kwargs = {"history": "session"} if by == "keyword" else {}
    if by == "bind":
        model = model.bind(history="session")
    first = model.invoke([ONE], **kwargs)
    second = model.invoke([ONE, first, TWO], **kwargs)

    check_second_turn(bailian, [ONE, first, TWO], second, "session")


@pytest.mark.filterwarnings("ignore::langchain_core._api.deprecation.LangChainDeprecationWarning")
@pytest.mark.filterwarnings("ignore:2 messages of this call are not sent:UserWarning")
@pytest.mark.parametrize("history", ["session", "thread"])
def test_a_runnable_with_message_history_keeps_its_own_session_id(
    bailian: BailianEmulator, make_digest_model: MakeModel, history: str
) -> None:
    chat_history = InMemoryChatMessageHistory()
    model = make_digest_model(history=history)
    runnable = RunnableWithMessageHistory(model, lambda _: chat_history)
    config: RunnableConfig = {"configurable": {"session_id": "theirs", "thread_id": "t"}}
    for question in (ONE, TWO, THREE):
        runnable.invoke([question], config)

    session_id = get_session_id(chat_history.messages[1])
    assert request_inputs(bailian) == [
        {"prompt": "一"},
        {"prompt": "二", "session_id": session_id},
        {"prompt": "三", "session_id": session_id},
    ]
    assert chat_history.messages[-1].text == answer_transcript(model, chat_history.messages[:-1])


def test_models_without_a_store_share_one(
    bailian: BailianEmulator, make_digest_model: MakeModel
) -> None:
    messages = converse(make_digest_model(session_store=None), "一")
    second = make_digest_model(session_store=None).invoke([*messages, TWO])

    check_second_turn(bailian, [*messages, TWO], second, "session")


class TwoConversations(TypedDict):
    question: str
    left: list[BaseMessage]
    right: list[BaseMessage]


def test_two_nodes_of_one_thread_have_separate_sessions(
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

    stored = [[r.prompt for r in rounds] for rounds in bailian.sessions().values()]
    assert sorted(stored) == [[f"{side}: {q}" for q in "一二三"] for side in ("left", "right")]
    for side in ("left", "right"):
        assert state[side][-1].text == answer_transcript(model, state[side][:-1])


# -- forks -----------------------------------------------------------------------------------------


def edit_message(message: BaseMessage, text: str) -> BaseMessage:
    """Return an edited copy with the same id, as `PIIMiddleware` does."""
    return message.model_copy(update={"content": text})


def trim_conversation(messages: list[BaseMessage]) -> list[BaseMessage]:
    return trim_messages(messages, max_tokens=3, token_counter=len, start_on="human")


# The next messages, given a conversation of a system message and three turns.
FORKS: dict[str, Callable[[list[BaseMessage]], list[BaseMessage]]] = {
    "continued": lambda messages: [*messages, HumanMessage("四")],
    "from the first turn": lambda messages: [*messages[:3], HumanMessage("四")],
    "from the second turn": lambda messages: [*messages[:5], HumanMessage("四")],
    "from nothing": lambda messages: [*messages[:1], HumanMessage("四")],
    "regenerated": lambda messages: messages[:-1],
    "first regenerated": lambda messages: messages[:2],
    "last question edited": lambda messages: [
        *messages[:-2],
        edit_message(messages[-2], "参"),
    ],
    "first question edited": lambda messages: [
        *messages[:1],
        edit_message(messages[1], "壹"),
        *messages[2:],
        TWO,
    ],
    "first answer edited": lambda messages: [
        *messages[:2],
        edit_message(messages[2], "答"),
        *messages[3:],
        TWO,
    ],
    "last answer edited": lambda messages: [
        *messages[:-1],
        edit_message(messages[-1], "答"),
        TWO,
    ],
    "answer's form changed": lambda messages: [
        *messages[:-1],
        messages[-1].model_copy(update={"content": [{"type": "text", "text": messages[-1].text}]}),
        TWO,
    ],
    "system message changed": lambda messages: [SystemMessage("详细。"), *messages[1:], TWO],
    "system message left out": lambda messages: [*messages[1:], TWO],
    "another system message": lambda messages: [*messages, SystemMessage("用英文。"), TWO],
    "trimmed": lambda messages: trim_conversation([*messages, TWO]),
    "middle left out": lambda messages: [*messages[:1], *messages[3:], TWO],
    "summarized": lambda messages: [SystemMessage("摘要：一、二。"), *messages[-2:], TWO],
    "summarized in a question": lambda messages: [
        HumanMessage("摘要"),
        AIMessage("好"),
        *messages[-2:],
        TWO,
    ],
    "two questions": lambda messages: [*messages, TWO, THREE],
    "answer of somebody else": lambda messages: [*messages, TWO, AIMessage("别人的"), THREE],
    "answers swapped": lambda messages: [
        *messages[:2],
        messages[4],
        messages[3],
        messages[2],
        *messages[5:],
        TWO,
    ],
}


@pytest.mark.slow
@warnings_allowed
@pytest.mark.parametrize("fork", FORKS)
def test_a_fork_and_its_original_depend_on_their_own_messages(
    bailian: BailianEmulator, model: BailianAppChatModel, fork: str
) -> None:
    conversation = converse(model, "一", "二", "三", after=[SYSTEM])
    branch = FORKS[fork](conversation)
    branch.append(check_answer(model, branch))
    conversation = [
        *conversation,
        HumanMessage("五"),
        check_answer(model, [*conversation, HumanMessage("五")]),
    ]
    check_answer(model, [*branch, HumanMessage("六")])
    check_answer(model, [*conversation, HumanMessage("七")])


@warnings_allowed
def test_a_fork_takes_nothing_from_its_original(
    bailian: BailianEmulator, model: BailianAppChatModel
) -> None:
    conversation = converse(model, "一", "二")
    fork = converse(model, "叉", after=conversation[:2])
    last = converse(model, "三", after=conversation)[-1]

    assert fork[-1].response_metadata["history"] == "replayed"
    assert [r.prompt for r in bailian.session(get_session_id(last))] == ["一", "二", "三"]


@warnings_allowed
@pytest.mark.parametrize("scope", ["app", "host", "workspace"])
def test_a_call_in_another_scope_sends_all_messages(
    bailian: BailianEmulator, make_digest_model: MakeModel, app: App, scope: str
) -> None:
    store = InMemorySessionStore(trust_unknown=True)
    model = make_digest_model(session_store=store)
    with BailianEmulator(api_key="sk-other") as other_bailian:
        other_bailian.add_app(App("digest", app_id="digest", answer=app.answer))
        bailian.add_app(App("other", app_id="other", answer=app.answer))
        other_model = {
            "app": lambda: make_digest_model("other", session_store=store),
            "host": lambda: make_digest_model(
                session_store=store, base_url=other_bailian.base_url, api_key=other_bailian.api_key
            ),
            "workspace": lambda: make_digest_model(session_store=store, workspace="ws"),
        }[scope]()
        conversation = converse(model, "一", "二")
        since = len(bailian.requests)
        conversation += [THREE, check_answer(other_model, [*conversation, THREE])]
        assert not any(
            "session_id" in request_input for request_input in request_inputs(bailian, since)
        )
        assert not any("session_id" in request_input for request_input in request_inputs(other_bailian))
        check_answer(model, [*conversation, HumanMessage("四")])


@pytest.mark.slow
@warnings_allowed
@pytest.mark.parametrize("use_async", [False, True])
async def test_one_of_a_batch_of_continuations_uses_the_session_and_all_answers_are_correct(
    bailian: BailianEmulator, model: BailianAppChatModel, app: App, *, use_async: bool
) -> None:
    conversation = converse(model, "一")
    app.pace = 0.002
    batch = [[*conversation, HumanMessage(str(number))] for number in range(10)]
    answers = await model.abatch(batch) if use_async else model.batch(batch)

    assert sum("session_id" in request_input for request_input in request_inputs(bailian)) == 1
    assert [a.text for a in answers] == [answer_transcript(model, messages) for messages in batch]
    histories = sorted(answer.response_metadata["history"] for answer in answers)
    assert histories == ["replayed"] * 9 + ["session"]
    for messages, answer in zip(batch, answers, strict=True):
        check_answer(model, [*messages, answer, HumanMessage("又")])


@warnings_allowed
def test_time_travel_in_a_graph_depends_on_the_target_state(
    bailian: BailianEmulator, model: BailianAppChatModel
) -> None:
    graph = build_graph(model, checkpointer=InMemorySaver())

    def run(graph_input: Any, config: RunnableConfig) -> None:
        messages = graph.invoke(graph_input, config)["messages"]
        assert messages[-1].text == answer_transcript(model, messages[:-1])

    for question in "一二三":
        run({"messages": [HumanMessage(question)]}, IN_THREAD)
    assert sum("session_id" in request_input for request_input in request_inputs(bailian)) == 2

    past = list(graph.get_state_history(IN_THREAD))
    assert {len(state.values.get("messages", [])) for state in past} >= {2, 4, 6}
    for state in past:
        if state.next == ("ask",):
            run(None, state.config)  # from the same checkpoint again: regenerate
        if len(state.values.get("messages", [])) in {2, 4, 6}:
            run({"messages": [HumanMessage("另一")]}, state.config)  # another branch
    run({"messages": [HumanMessage("最后")]}, IN_THREAD)

    # An edit of an earlier question, with the same id.
    question = past[0].values["messages"][0]
    changed = graph.update_state(past[0].config, {"messages": [edit_message(question, "壹")]})
    run({"messages": [HumanMessage("改后")]}, changed)


# -- interruptions ---------------------------------------------------------------------------------


def interrupt_by_break(model: BailianAppChatModel, messages: list[BaseMessage], app: App) -> None:
    for _ in model.stream(messages):
        break


def interrupt_by_close(model: BailianAppChatModel, messages: list[BaseMessage], app: App) -> None:
    chunks = model.stream(messages)
    next(chunks)
    next(chunks)
    chunks.close()


async def interrupt_by_async_break(
    model: BailianAppChatModel, messages: list[BaseMessage], app: App
) -> None:
    async for _ in model.astream(messages):
        break


async def interrupt_by_aclose(
    model: BailianAppChatModel, messages: list[BaseMessage], app: App
) -> None:
    chunks = model.astream(messages)
    await anext(chunks)
    await chunks.aclose()


def interrupt_by_stop(model: BailianAppChatModel, messages: list[BaseMessage], app: App) -> None:
    assert STOP not in model.invoke(messages, stop=[STOP]).text


def interrupt_by_stop_in_stream(
    model: BailianAppChatModel, messages: list[BaseMessage], app: App
) -> None:
    assert STOP not in merge_chunks(list(model.stream(messages, stop=[STOP]))).text


def interrupt_by_timeout(model: BailianAppChatModel, messages: list[BaseMessage], app: App) -> None:
    app.stall_after = 3
    with pytest.raises(BailianTimeoutError):
        model.model_copy(update={"total_timeout": 0.3}).invoke(messages)
    app.stall_after = None


async def interrupt_by_async_timeout(
    model: BailianAppChatModel, messages: list[BaseMessage], app: App
) -> None:
    app.stall_after = 3
    with pytest.raises(BailianTimeoutError):
        await model.model_copy(update={"total_timeout": 0.3}).ainvoke(messages)
    app.stall_after = None


async def interrupt_by_cancellation(
    model: BailianAppChatModel, messages: list[BaseMessage], app: App
) -> None:
    app.stall_after = 3
    digest_app = app.answer
    assert isinstance(digest_app, EchoDigestApp)
    started, loop = asyncio.Event(), asyncio.get_running_loop()

    def answer_and_signal(turn: Turn) -> Reply:
        loop.call_soon_threadsafe(started.set)
        return digest_app(turn)

    app.answer = answer_and_signal
    task = asyncio.create_task(model.ainvoke(messages))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    app.stall_after, app.answer = None, digest_app


def interrupt_by_fault(name: str) -> Callable[..., None]:
    def interrupt_call(model: BailianAppChatModel, messages: list[BaseMessage], app: App) -> None:
        app.faults = Faults.always(name)
        with pytest.raises(BailianError) as caught:
            model.invoke(messages)
        assert not caught.value.is_retryable
        app.faults = None

    return interrupt_call


def interrupt_by_stream_error(
    model: BailianAppChatModel, messages: list[BaseMessage], app: App
) -> None:
    app.error = ErrorReply.of("Throttling.RateQuota", times=1, in_stream_after=2)
    with pytest.raises(BailianRateLimitError):
        model.invoke(messages)


def interrupt_by_failing_consumer(
    model: BailianAppChatModel, messages: list[BaseMessage], app: App
) -> None:
    def consume_and_fail(chunks: Iterator[Any]) -> Iterator[Any]:
        next(chunks)
        message = "the caller's own mistake"
        raise RuntimeError(message)
        yield

    with pytest.raises(RuntimeError):
        list(consume_and_fail(model.stream(messages)))


INTERRUPTIONS: dict[
    str, Callable[[BailianAppChatModel, list[BaseMessage], App], Awaitable[None] | None]
] = {
    "break": interrupt_by_break,
    "async break": interrupt_by_async_break,
    "close": interrupt_by_close,
    "aclose": interrupt_by_aclose,
    "stop": interrupt_by_stop,
    "stop in a stream": interrupt_by_stop_in_stream,
    "timeout": interrupt_by_timeout,
    "async timeout": interrupt_by_async_timeout,
    "cancellation": interrupt_by_cancellation,
    "error in the stream": interrupt_by_stream_error,
    "caller's error": interrupt_by_failing_consumer,
} | {
    fault: interrupt_by_fault(fault)
    for fault in (
        "cut-mid-frame",
        "end-mid-frame",
        "no-finish-reason",
        "reset",
        "error-frame",
        "html-502",
    )
}


async def interrupt(
    interruption: str, model: BailianAppChatModel, messages: list[BaseMessage], bailian: BailianEmulator
) -> None:
    """Call the model, interrupt the answer, and wait until the service has detected it."""
    app = bailian.apps["digest"]
    app.pace = 0.003
    result = INTERRUPTIONS[interruption](model, messages, app)
    if result is not None:
        await result
        await asyncio.sleep(0)
    assert await asyncio.to_thread(bailian.requests[-1].wait, 2)
    app.pace = None


@pytest.mark.slow
@pytest.mark.parametrize("keep", [False, True], ids=["dropped", "kept"])
@pytest.mark.parametrize("question", ["二", "另"])
@pytest.mark.parametrize("interruption", INTERRUPTIONS)
async def test_after_an_interrupted_answer_the_next_call_sends_all_messages(
    bailian: BailianEmulator,
    model: BailianAppChatModel,
    interruption: str,
    question: str,
    *,
    keep: bool,
) -> None:
    bailian.keep_aborted = keep
    conversation = converse(model, "一")
    await interrupt(interruption, model, [*conversation, TWO], bailian)
    assert request_inputs(bailian)[-1] == {
        "prompt": "二",
        "session_id": get_session_id(conversation[-1]),
    }
    assert not keep or len(bailian.session(get_session_id(conversation[-1]))) == 2

    messages = [*conversation, HumanMessage(question)]
    with pytest.warns(BailianSessionWarning) as caught:
        answer = check_answer(model, messages)
    assert len(caught) == 1
    assert answer.response_metadata["history"] == "replayed"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_answer(model, [*messages, answer, THREE])


@pytest.mark.slow
@pytest.mark.parametrize("keep", [False, True], ids=["dropped", "kept"])
@pytest.mark.parametrize("interruption", INTERRUPTIONS)
async def test_after_an_interrupted_first_answer_a_session_starts(
    bailian: BailianEmulator, model: BailianAppChatModel, interruption: str, *, keep: bool
) -> None:
    bailian.keep_aborted = keep
    await interrupt(interruption, model, [ONE], bailian)
    conversation = converse(model, "一")
    answer = check_answer(model, [*conversation, TWO])

    assert answer.response_metadata["session_turn"] == 2


@pytest.mark.parametrize("keep", [False, True], ids=["dropped", "kept"])
def test_an_answer_cut_by_stop_may_be_followed_by_further_messages(
    bailian: BailianEmulator, model: BailianAppChatModel, *, keep: bool
) -> None:
    bailian.keep_aborted = keep
    conversation = converse(model, "一")
    cut_answer = model.invoke([*conversation, TWO], stop=[STOP])
    assert "session_digest" not in cut_answer.response_metadata
    since = len(bailian.requests)
    check_answer(model, [*conversation, TWO, cut_answer, THREE])

    assert "messages" in request_inputs(bailian)[since]


def test_a_stop_sequence_that_does_not_occur_interrupts_nothing(
    bailian: BailianEmulator, model: BailianAppChatModel
) -> None:
    conversation = converse(model, "一")
    second = model.invoke([*conversation, TWO], stop=["从来不说"])
    third = check_answer(model, [*conversation, TWO, second, THREE])

    assert third.response_metadata["session_turn"] == 3


def test_a_partial_answer_is_not_continued(
    bailian: BailianEmulator, model: BailianAppChatModel, app: App
) -> None:
    conversation = converse(model, "一")
    app.faults = Faults.always("end-mid-frame")
    with pytest.raises(BailianError) as caught:
        model.invoke([*conversation, TWO])
    app.faults = None
    partial = caught.value.partial
    assert partial is not None
    check_answer(model, [*conversation, TWO, partial, THREE])


KILLED_PROCESS_SCRIPT = """
import json, sys, time
from langchain_core.messages import HumanMessage, messages_to_dict
from langchain_bailian_app import BailianAppChatModel

base_url, api_key = sys.argv[1:]
model = BailianAppChatModel(
    app_id="digest", base_url=base_url, api_key=api_key, history="session"
)
messages = [HumanMessage("一")]
messages.append(model.invoke(messages))
print(json.dumps(messages_to_dict(messages)), flush=True)
for _ in model.stream([*messages, HumanMessage("二")]):
    print("answering", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize("keep", [False, True], ids=["dropped", "kept"])
def test_after_a_process_was_killed_another_continues(
    bailian: BailianEmulator, model: BailianAppChatModel, app: App, *, keep: bool
) -> None:
    bailian.keep_aborted = keep
    app.pace = 0.02
    command = [sys.executable, "-c", KILLED_PROCESS_SCRIPT, bailian.base_url, bailian.api_key]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        conversation = messages_from_dict(json.loads(process.stdout.readline()))
        assert process.stdout.readline() == b"answering\n"
        process.send_signal(signal.SIGKILL)
    assert bailian.requests[-1].wait(2)
    app.pace = None
    assert "session_id" in request_inputs(bailian)[-1]

    for question in ("二", "另"):
        with pytest.warns(BailianSessionWarning) as caught:
            check_answer(model, [*conversation, HumanMessage(question)])
        assert len(caught) == 1


# -- recovery before the first token ---------------------------------------------------------------


def stream_merged(model: BailianAppChatModel, messages: list[BaseMessage]) -> AIMessage:
    return merge_chunks(list(model.stream(messages)))


def invoke(model: BailianAppChatModel, messages: list[BaseMessage]) -> AIMessage:
    return model.invoke(messages)


def post(model: BailianAppChatModel, messages: list[BaseMessage]) -> AIMessage:
    return model.invoke(messages, streaming=False)


def ainvoke(model: BailianAppChatModel, messages: list[BaseMessage]) -> AIMessage:
    return asyncio.run(model.ainvoke(messages))


def astream_in_new_loop(model: BailianAppChatModel, messages: list[BaseMessage]) -> AIMessage:
    async def run() -> AIMessage:
        return merge_chunks([chunk async for chunk in model.astream(messages)])

    return asyncio.run(run())


DIRECT_CALL_STYLES = [stream_merged, invoke, post, ainvoke, astream_in_new_loop]


def reset_sessions(bailian: BailianEmulator, clock: Clock) -> None:
    bailian.reset()


def expire_sessions(bailian: BailianEmulator, clock: Clock) -> None:
    clock.now += HOUR


def reject_in_stream(bailian: BailianEmulator, clock: Clock) -> None:
    bailian.apps["digest"].error = ErrorReply.of(
        "InvalidParameter", message="The session has expired.", times=1, in_stream_after=0
    )


def check_recovered(
    bailian: BailianEmulator,
    model: BailianAppChatModel,
    call_style: Callable[..., AIMessage],
    messages: list[BaseMessage],
    request_count: int,
) -> None:
    """Check that there is one replay and one warning, and that the answer is that of the replay."""
    since = len(bailian.requests)
    with pytest.warns(BailianSessionWarning) as caught:
        answer = call_style(model, messages)

    assert len(caught) == 1
    sent = request_inputs(bailian, since)
    assert len(sent) == request_count
    assert ["messages" in request_input for request_input in sent] == [False] * (request_count - 1) + [
        True
    ]
    assert answer.text == answer_transcript(model, messages)
    assert answer.response_metadata["history"] == "replayed"
    assert "session_digest" not in answer.response_metadata

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        since = len(bailian.requests)
        messages = [*messages, answer, HumanMessage("然后")]
        next_answer = call_style(model, messages)
    assert ["messages" in request_input for request_input in request_inputs(bailian, since)] == [True]
    assert next_answer.text == answer_transcript(model, messages)
    assert next_answer.response_metadata["history"] == "replayed"


@pytest.mark.slow
@pytest.mark.parametrize("call_style", DIRECT_CALL_STYLES)
@pytest.mark.parametrize("switch", ["error", "new"])
@pytest.mark.parametrize("lose_sessions", [reset_sessions, expire_sessions])
def test_a_session_that_the_service_does_not_know_is_replayed(
    bailian: BailianEmulator,
    model: BailianAppChatModel,
    clock: Clock,
    call_style: Callable[..., AIMessage],
    switch: Any,
    lose_sessions: Callable[..., None],
) -> None:
    conversation = converse(model, "一", "二")
    bailian.unknown_session = switch
    lose_sessions(bailian, clock)

    check_recovered(bailian, model, call_style, [*conversation, THREE], request_count=2)


@pytest.mark.parametrize("call_style", DIRECT_CALL_STYLES)
def test_a_session_rejected_in_the_stream_is_replayed(
    bailian: BailianEmulator,
    model: BailianAppChatModel,
    clock: Clock,
    call_style: Callable[..., AIMessage],
) -> None:
    conversation = converse(model, "一")
    reject_in_stream(bailian, clock)

    check_recovered(bailian, model, call_style, [*conversation, TWO], request_count=2)


def test_a_session_rejected_after_the_first_token_is_an_error(
    bailian: BailianEmulator, model: BailianAppChatModel, app: App
) -> None:
    conversation = converse(model, "一")
    app.error = ErrorReply.of(
        "InvalidParameter", message="The session has expired.", times=1, in_stream_after=2
    )
    since = len(bailian.requests)
    with pytest.raises(BailianSessionError):
        stream_merged(model, [*conversation, TWO])
    assert len(request_inputs(bailian, since)) == 1

    check_recovered(bailian, model, stream_merged, [*conversation, TWO], request_count=1)


def test_nothing_of_the_wrong_answer_is_shown(
    bailian: BailianEmulator, model: BailianAppChatModel, app: App
) -> None:
    conversation = converse(model, "一", "二")
    digest_app = app.answer
    bailian.reset()
    texts: list[str] = []
    with pytest.warns(BailianSessionWarning):
        texts.extend(chunk.text for chunk in model.stream([*conversation, THREE]))

    assert isinstance(digest_app, EchoDigestApp)
    wrong, right = digest_app.received_texts[-2:]
    assert wrong == ("三",)
    assert right == ("一", conversation[1].text, "二", conversation[3].text, "三")
    assert "".join(texts).startswith("第3答")
    assert bailian.requests[0].wait(1)


def test_the_stream_of_another_session_is_closed(
    bailian: BailianEmulator, model: BailianAppChatModel, app: App
) -> None:
    conversation = converse(model, "一")
    bailian.reset()
    app.pace = 0.01
    with pytest.warns(BailianSessionWarning):
        stream_merged(model, [*conversation, TWO])
    wrong = bailian.requests[0]

    assert wrong.wait(1)
    assert not wrong.finished


def test_the_warning_about_a_plain_post_mentions_that_the_request_has_run(
    bailian: BailianEmulator, model: BailianAppChatModel
) -> None:
    conversation = converse(model, "一")
    bailian.reset()
    with pytest.warns(BailianSessionWarning, match="the first request ran"):
        post(model, [*conversation, TWO])


@pytest.mark.slow
@pytest.mark.parametrize("call_style", [stream_merged, ainvoke])
@pytest.mark.parametrize("switch", ["error", "new", "oldest"])
def test_after_fifty_turns_all_messages_are_sent_without_trying_the_session(
    bailian: BailianEmulator,
    model: BailianAppChatModel,
    switch: Any,
    call_style: Callable[..., AIMessage],
) -> None:
    bailian.full_session = switch
    conversation = converse(model, *map(str, range(50)))
    assert conversation[-1].response_metadata["session_turn"] == 50
    assert len(bailian.session(get_session_id(conversation[-1]))) == 50

    check_recovered(bailian, model, call_style, [*conversation, TWO], request_count=1)


@pytest.mark.parametrize("switch", ["error", "new", "same"])
@pytest.mark.parametrize("minutes", [55, 59, 61, 600])
def test_after_fiftyfive_idle_minutes_all_messages_are_sent_without_trying_the_session(
    bailian: BailianEmulator, model: BailianAppChatModel, clock: Clock, switch: Any, minutes: int
) -> None:
    bailian.unknown_session = switch
    conversation = age_messages(converse(model, "一"), minutes * 60)
    clock.now += minutes * 60

    check_recovered(bailian, model, stream_merged, [*conversation, TWO], request_count=1)


@pytest.mark.parametrize("switch", ["error", "new", "same"])
def test_before_fiftyfive_idle_minutes_the_session_continues(
    bailian: BailianEmulator, model: BailianAppChatModel, clock: Clock, switch: Any
) -> None:
    bailian.unknown_session = switch
    conversation = converse(model, "一")
    for question in "二三四":
        clock.now += 54 * 60
        conversation = age_messages(conversation, 54 * 60)
        conversation = [
            *conversation,
            HumanMessage(question),
            check_answer(model, [*conversation, HumanMessage(question)]),
        ]

    assert conversation[-1].response_metadata["session_turn"] == 4


# -- refusals --------------------------------------------------------------------------------------


def reject_with_throttling(model: BailianAppChatModel, messages: list[BaseMessage], app: App) -> None:
    app.error = ErrorReply.of("Throttling.RateQuota", times=1)
    with pytest.raises(BailianRateLimitError):
        model.invoke(messages)


def reject_as_unavailable(model: BailianAppChatModel, messages: list[BaseMessage], app: App) -> None:
    app.error = ErrorReply.of("ModelUnavailable", times=1)
    with pytest.raises(BailianError):
        stream_merged(model, messages)


def fail_to_connect(model: BailianAppChatModel, messages: list[BaseMessage], app: App) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with httpx.Client(proxy=address) as client, pytest.raises(BailianConnectionError):
        model.model_copy(update={"http_client": client}).invoke(messages)


@pytest.mark.parametrize("reject", [reject_with_throttling, reject_as_unavailable, fail_to_connect])
def test_a_request_that_did_not_run_leaves_the_session_free(
    bailian: BailianEmulator,
    make_digest_model: MakeModel,
    app: App,
    reject: Callable[..., None],
) -> None:
    model = make_digest_model(max_retries=0)
    conversation = converse(model, "一")
    for question in (TWO, THREE):
        messages = [*conversation, question]
        reject(model, messages, app)
        conversation = [*messages, check_answer(model, messages)]

    assert conversation[-1].response_metadata["session_turn"] == 3


def test_a_rejection_followed_by_a_successful_retry_does_not_affect_the_session(
    bailian: BailianEmulator, model: BailianAppChatModel, app: App
) -> None:
    conversation = converse(model, "一")
    app.error = ErrorReply.of("Throttling.RateQuota", times=1, headers={"Retry-After": "0"})
    answer = check_answer(model, [*conversation, TWO])

    assert answer.response_metadata["session_turn"] == 2


@pytest.mark.parametrize("code", ["InternalError", "InvalidParameter", "DataInspectionFailed"])
def test_any_other_rejection_leaves_the_session_in_doubt(
    bailian: BailianEmulator, model: BailianAppChatModel, app: App, code: str
) -> None:
    conversation = converse(model, "一")
    app.error = ErrorReply.of(code, times=1)
    with pytest.raises(BailianError):
        model.invoke([*conversation, TWO])

    check_recovered(bailian, model, invoke, [*conversation, TWO], request_count=1)


def test_a_rejected_replay_is_not_retryable(
    bailian: BailianEmulator, make_digest_model: MakeModel, app: App
) -> None:
    model = make_digest_model(max_retries=0, streaming=False)
    conversation = converse(model, "一")
    bailian.reset()
    digest_app = app.answer
    assert digest_app is not None

    def runs_once(turn: Turn) -> Any:
        app.error = ErrorReply.of("Throttling.RateQuota", times=1)
        return digest_app(turn)

    app.answer = runs_once
    with pytest.warns(BailianSessionWarning), pytest.raises(BailianRateLimitError) as caught:
        model.invoke([*conversation, TWO])

    assert not caught.value.is_retryable


# -- the cache -------------------------------------------------------------------------------------


@pytest.fixture
def llm_cache() -> Iterator[None]:
    set_llm_cache(InMemoryCache())
    yield
    set_llm_cache(None)


EXPLICIT_SESSION: RunnableConfig = {"configurable": {"bailian_session_id": "s1"}}


@pytest.mark.slow
@pytest.mark.usefixtures("llm_cache")
@pytest.mark.parametrize("use_async", [False, True])
@pytest.mark.parametrize("cache", [True, None, InMemoryCache()], ids=["global", "default", "own"])
@pytest.mark.parametrize(
    ("fields", "config", "kwargs", "calls"),
    [
        ({"history": "messages"}, {}, {}, 1),
        ({"history": "messages"}, IN_THREAD, {}, 1),
        ({"history": "session"}, {}, {"history": "messages"}, 1),
        ({"history": "session"}, {}, {}, 3),
        ({"history": "messages"}, {}, {"history": "session"}, 3),
        ({"history": "messages", "session_id": "s1"}, {}, {}, 3),
        ({"history": "messages"}, {}, {"session_id": "s1"}, 3),
        ({"history": "messages"}, EXPLICIT_SESSION, {}, 3),
        ({"history": "thread"}, IN_THREAD, {}, 3),
        ({"history": "messages"}, {}, {"history": "thread", "session_key": "k"}, 3),
    ],
)
async def test_the_cache_never_answers_for_a_session(
    bailian: BailianEmulator,
    make_digest_model: MakeModel,
    fields: dict[str, Any],
    config: RunnableConfig,
    kwargs: dict[str, Any],
    calls: int,
    cache: Any,
    *,
    use_async: bool,
) -> None:
    bailian.unknown_session = "same"
    model = make_digest_model(cache=cache, workspace=f"ws{use_async}-{calls}", **fields)
    for _ in range(3):
        if use_async:
            await model.ainvoke([ONE], config, **kwargs)
        else:
            model.invoke([ONE], config, **kwargs)

    assert len(bailian.requests) == calls


@pytest.mark.usefixtures("llm_cache")
def test_generate_with_a_session_is_not_cached_either(
    bailian: BailianEmulator, make_digest_model: MakeModel
) -> None:
    model = make_digest_model(history="messages", cache=True)
    for kwargs in ({"session_id": "s1"}, {"session_id": "s1"}, {}, {}, {"history": "session"}):
        model.generate([[ONE]], **kwargs)

    assert len(bailian.requests) == 4


# -- many at once ----------------------------------------------------------------------------------

CONVERSATIONS, TURNS = 200, 10


def question_text(number: int, turn: int) -> str:
    return f"{number:03}.{turn:02}"


@pytest.fixture
def brief_model(bailian: BailianEmulator, make_digest_model: MakeModel) -> BailianAppChatModel:
    """Return a model of an application that answers immediately, in one frame."""
    return make_digest_model(
        bailian.add_app(App("brief", app_id="brief", answer=EchoDigestApp(brief=True)))
    )


def check_every_conversation(bailian: BailianEmulator, conversations: list[list[BaseMessage]]) -> None:
    """Check that each session has exactly the turns of its conversation, each once."""
    assert len(bailian.requests) == CONVERSATIONS * TURNS
    stored = {key: [tuple(r) for r in rounds] for key, rounds in bailian.sessions().items()}
    assert len(stored) == CONVERSATIONS
    for number, messages in enumerate(conversations):
        questions = [question_text(number, turn) for turn in range(TURNS)]
        rounds = stored[get_session_id(messages[-1])]
        assert [prompt for prompt, _ in rounds] == questions
        assert [m.text for m in messages[::2]] == questions
        answers = [re.sub(r"<ref>\[1]</ref>", "", answer) for _, answer in rounds]
        assert answers == [m.text for m in messages[1::2]]
    first = [r.size for r in bailian.requests if "session_id" not in r.body["input"]]
    later = [r.size for r in bailian.requests if "session_id" in r.body["input"]]
    assert len(first) == CONVERSATIONS
    assert len(set(later)) == 1  # the last turn sends no more than the second


@pytest.mark.slow
@pytest.mark.no_cover
async def test_two_hundred_conversations_on_one_loop(
    bailian: BailianEmulator, brief_model: BailianAppChatModel
) -> None:
    async def run_conversation(number: int) -> list[BaseMessage]:
        messages: list[BaseMessage] = []
        for turn in range(TURNS):
            messages.append(HumanMessage(question_text(number, turn)))
            messages.append(await brief_model.ainvoke(messages))
        return messages

    conversations = await asyncio.gather(*map(run_conversation, range(CONVERSATIONS)))

    check_every_conversation(bailian, conversations)


@pytest.mark.slow
@pytest.mark.no_cover
def test_two_hundred_conversations_in_threads(
    bailian: BailianEmulator, brief_model: BailianAppChatModel
) -> None:
    def run_conversation(number: int) -> list[BaseMessage]:
        return converse(brief_model, *(question_text(number, turn) for turn in range(TURNS)))

    with ThreadPoolExecutor(CONVERSATIONS) as pool:
        conversations = list(pool.map(run_conversation, range(CONVERSATIONS)))

    check_every_conversation(bailian, conversations)


# -- other processes -------------------------------------------------------------------------------


def roundtrip_json(messages: list[BaseMessage]) -> list[BaseMessage]:
    return messages_from_dict(json.loads(json.dumps(messages_to_dict(messages))))


@pytest.mark.parametrize("trust", [False, True])
def test_a_serialised_history_continues_in_a_new_process(
    bailian: BailianEmulator, make_digest_model: MakeModel, *, trust: bool
) -> None:
    conversation = roundtrip_json(converse(make_digest_model(), "一", "二", after=[SYSTEM]))
    model = make_digest_model(session_store=InMemorySessionStore(trust_unknown=trust))
    if not trust:
        check_recovered(bailian, model, stream_merged, [*conversation, THREE], request_count=1)
        return
    since = len(bailian.requests)
    conversation = roundtrip_json([*conversation, THREE, check_answer(model, [*conversation, THREE])])
    conversation = [
        *conversation,
        HumanMessage("四"),
        check_answer(model, [*conversation, HumanMessage("四")]),
    ]

    sent = request_inputs(bailian, since)
    assert [request_input.get("prompt") for request_input in sent if "session_id" in request_input] == [
        "三",
        "四",
    ]
    assert conversation[-1].response_metadata["session_turn"] == 4


@warnings_allowed
@pytest.mark.parametrize("trust", [False, True])
def test_a_checkpointed_thread_continues_in_a_new_process(
    bailian: BailianEmulator, make_digest_model: MakeModel, *, trust: bool
) -> None:
    saver = InMemorySaver()
    for question, continued in [("一", False), ("二", trust), ("三", trust)]:
        model = make_digest_model(session_store=InMemorySessionStore(trust_unknown=trust))
        graph = build_graph(model, checkpointer=saver)
        messages = graph.invoke({"messages": [HumanMessage(question)]}, IN_THREAD)["messages"]

        assert ("session_id" in request_inputs(bailian)[-1]) == continued
        assert messages[-1].text == answer_transcript(model, messages[:-1])


def test_trust_does_not_cover_interruptions_in_this_process(
    bailian: BailianEmulator, make_digest_model: MakeModel
) -> None:
    model = make_digest_model(session_store=InMemorySessionStore(trust_unknown=True))
    conversation = converse(make_digest_model(), "一")
    interrupt_by_close(model, [*conversation, TWO], bailian.apps["digest"])
    with pytest.warns(BailianSessionWarning):
        conversation = [*conversation, THREE, check_answer(model, [*conversation, THREE])]
    check_answer(model, [*conversation, TWO])


# -- threads ---------------------------------------------------------------------------------------


def test_a_thread_needs_a_store_and_a_key(
    bailian: BailianEmulator, make_digest_model: MakeModel
) -> None:
    for model, config, text in [
        (make_digest_model(history="thread", session_store=None), IN_THREAD, "session_store"),
        (make_digest_model(history="thread"), None, "session_key"),
    ]:
        with pytest.raises(ValueError, match=text):
            model.invoke([ONE], config)

    assert bailian.requests == []


def test_a_keyword_takes_precedence_over_the_thread_of_the_config(
    bailian: BailianEmulator, make_digest_model: MakeModel
) -> None:
    model = make_digest_model(history="thread")
    first = model.invoke([ONE], IN_THREAD)
    model.invoke([TWO], IN_THREAD, session_key="other")
    model.invoke([THREE], session_key="t")

    assert [r.prompt for r in bailian.session(get_session_id(first))] == ["一", "三"]


def test_applications_do_not_share_threads(
    bailian: BailianEmulator, make_digest_model: MakeModel, app: App
) -> None:
    store = InMemorySessionStore()
    bailian.add_app(App("other", app_id="other", answer=app.answer))
    for app_id in ("digest", "other", "digest", "other"):
        make_digest_model(app_id, history="thread", session_store=store).invoke([ONE], IN_THREAD)

    assert [len(rounds) for rounds in bailian.sessions().values()] == [2, 2]


def test_a_concurrent_call_of_a_thread_is_not_stored(
    bailian: BailianEmulator, make_digest_model: MakeModel, app: App
) -> None:
    model = make_digest_model(history="thread")
    first = model.invoke([ONE], IN_THREAD)
    app.pace = 0.01
    chunks = model.stream([TWO], IN_THREAD)
    next(chunks)
    other_chunks = model.stream([THREE], IN_THREAD)
    with pytest.warns(BailianSessionWarning, match="starts a new session"):
        first_chunk = next(other_chunks)
    for _ in chunks:
        pass
    second = merge_chunks([first_chunk, *other_chunks])  # ends last, but is not stored
    model.invoke([HumanMessage("四")], IN_THREAD)

    assert get_session_id(second) != get_session_id(first)
    assert [r.prompt for r in bailian.session(get_session_id(second))] == ["三"]
    assert [r.prompt for r in bailian.session(get_session_id(first))] == ["一", "二", "四"]


@pytest.mark.parametrize("switch", ["error", "new"])
@pytest.mark.parametrize("call_style", ["invoke", "stream", "ainvoke"])
def test_a_thread_whose_session_is_gone_warns_that_it_restarts(
    bailian: BailianEmulator, make_digest_model: MakeModel, switch: Any, call_style: str
) -> None:
    model = make_digest_model(history="thread")
    model.invoke([ONE], IN_THREAD)
    bailian.unknown_session = switch
    bailian.reset()
    with pytest.warns(BailianSessionWarning) as caught:
        answer: AIMessage = {
            "invoke": lambda: model.invoke([TWO], IN_THREAD),
            "stream": lambda: merge_chunks(list(model.stream([TWO], IN_THREAD))),
            "ainvoke": lambda: asyncio.run(model.ainvoke([TWO], IN_THREAD)),
        }[call_style]()

    assert len(caught) == 1
    assert answer.response_metadata["session_restarted"] is True
    assert answer.text == answer_transcript(model, [TWO])
    third = model.invoke([THREE], IN_THREAD)
    assert "session_restarted" not in third.response_metadata
    assert [r.prompt for r in bailian.session(get_session_id(answer))] == ["二", "三"]


def test_a_thread_that_was_idle_for_an_hour_warns_that_it_restarts(
    bailian: BailianEmulator, make_digest_model: MakeModel, clock: Clock
) -> None:
    model = make_digest_model(history="thread", session_store=InMemorySessionStore(clock=clock))
    model.invoke([ONE], IN_THREAD)
    clock.now += HOUR
    with pytest.warns(BailianSessionWarning):
        answer = model.invoke([TWO], IN_THREAD)

    assert answer.response_metadata["session_restarted"] is True


@pytest.mark.parametrize("switch", ["error", "new"])
def test_a_thread_of_fifty_turns_restarts(
    bailian: BailianEmulator, make_digest_model: MakeModel, switch: Any
) -> None:
    model = make_digest_model(history="thread")
    bailian.full_session = switch
    for number in range(50):
        model.invoke([HumanMessage(str(number))], IN_THREAD)
    with pytest.warns(BailianSessionWarning):
        answer = model.invoke([ONE], IN_THREAD)

    assert answer.response_metadata["session_restarted"] is True
    assert answer.text == answer_transcript(model, [ONE])


async def test_a_thread_continues_after_an_asynchronous_break(
    bailian: BailianEmulator, make_digest_model: MakeModel, app: App
) -> None:
    model = make_digest_model(history="thread")
    first = await model.ainvoke([ONE], IN_THREAD)
    app.pace = 0.01
    async for _ in model.astream([TWO], IN_THREAD):
        break
    await asyncio.sleep(0.1)  # the event loop closes the stream shortly afterwards
    third = await model.ainvoke([THREE], IN_THREAD)

    assert get_session_id(third) == get_session_id(first)


@pytest.mark.parametrize("thread_id", [1, "uuid"])
def test_a_thread_id_need_not_be_a_string(
    bailian: BailianEmulator, make_digest_model: MakeModel, thread_id: Any
) -> None:
    if thread_id == "uuid":
        thread_id = uuid4()
    model = make_digest_model(history="thread")
    for question in (ONE, TWO):
        model.invoke([question], {"configurable": {"thread_id": thread_id}})

    assert [len(rounds) for rounds in bailian.sessions().values()] == [2]


# -- regressions -----------------------------------------------------------------------------------


def test_a_falsy_store_is_used(
    make_digest_model: MakeModel,
) -> None:
    class CountingStore(InMemorySessionStore):
        def __len__(self) -> int:
            return len(self._entries)

    store = CountingStore()
    converse(make_digest_model(session_store=store), "一")

    assert len(store) == 1


def test_an_earlier_image_is_seen_as_with_messages(
    bailian: BailianEmulator, make_digest_model: MakeModel
) -> None:
    bailian.add_app(App("eyes", app_id="eyes", answer=lambda turn: f"看到{turn.images}"))
    model = make_digest_model("eyes")
    picture = HumanMessage(["看图", {"type": "image", "url": "https://pictures.example/1.png"}])
    messages = [picture, model.invoke([picture]), TWO]
    answers = [model.invoke(messages, history=history).text for history in ("session", "messages")]

    assert answers == ["看到('https://pictures.example/1.png',)"] * 2
