"""Tests of the warnings about messages that are not sent, and about memories that users share."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from langchain_bailian_app import BailianAppChatModel, BailianAppTool, BailianRetriever
from langchain_bailian_app.emulator import App, BailianEmulator
from langchain_bailian_app.sessions import InMemorySessionStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.runnables import RunnableConfig

    MakeModel = Callable[..., BailianAppChatModel]

IN_THREAD: RunnableConfig = {"configurable": {"thread_id": "t"}}
IN_SESSION: RunnableConfig = {"configurable": {"bailian_session_id": "mine"}}
SYSTEM, ONE, TWO, THREE = (
    SystemMessage("简短。"),
    HumanMessage("一"),
    HumanMessage("二"),
    HumanMessage("三"),
)
ANSWER = AIMessage("答。")
EARLIER = [SYSTEM, ONE, ANSWER]
UNSENT = "not sent to application"
SHARED = "recalled long-term memories"


async def invoke(model: Any, messages: Any, config: RunnableConfig | None, **kwargs: Any) -> AIMessage:
    return model.invoke(messages, config, **kwargs)


async def ainvoke(model: Any, messages: Any, config: RunnableConfig | None, **kwargs: Any) -> AIMessage:
    return await model.ainvoke(messages, config, **kwargs)


async def stream(model: Any, messages: Any, config: RunnableConfig | None, **kwargs: Any) -> AIMessage:
    return reduce(add, list(model.stream(messages, config, **kwargs)))


async def astream(model: Any, messages: Any, config: RunnableConfig | None, **kwargs: Any) -> AIMessage:
    return reduce(add, [chunk async for chunk in model.astream(messages, config, **kwargs)])


CALL_STYLES = pytest.mark.parametrize("call", [invoke, ainvoke, stream, astream])


@pytest.fixture(scope="module")
def bailian() -> Iterator[BailianEmulator]:
    with BailianEmulator(
        seed_apps=False, unknown_session="same", now=lambda: datetime(2025, 3, 16, tzinfo=UTC)
    ) as emulator:
        emulator.add_app(App("plain", app_id="plain", answer=lambda turn: f"好：{turn.prompt}"))
        emulator.add_app(App("memory", app_id="memory", long_term_memory=True))
        yield emulator


@pytest.fixture(autouse=True)
def clean_emulator(bailian: BailianEmulator) -> None:
    bailian.reset()


@pytest.fixture
def make_model(bailian: BailianEmulator) -> Callable[..., BailianAppChatModel]:
    def make(app_id: str = "plain", **fields: Any) -> BailianAppChatModel:
        values = {"session_store": InMemorySessionStore()} | fields
        return BailianAppChatModel(
            app_id=app_id, base_url=bailian.base_url, api_key=bailian.api_key, **values
        )

    return make


@pytest.fixture
def recorded_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Record all warnings, also repeated ones, instead of raising them as errors."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def texts(recorded: list[warnings.WarningMessage]) -> list[str]:
    return [str(warning.message) for warning in recorded]


# -- messages that are not sent --------------------------------------------------------------------


@CALL_STYLES
@pytest.mark.parametrize(
    ("config", "fields", "advice"),
    [
        (IN_THREAD, {"history": "thread"}, "set `history='session'` or `history='messages'`"),
        (None, {"history": "thread", "session_key": "k"}, "set `history='session'`"),
        (None, {"session_id": "mine"}, "omit the session id"),
        (IN_SESSION, {}, "omit the session id"),
        (IN_SESSION, {"history": "session"}, "omit the session id"),
    ],
    ids=["thread", "key", "session id", "configurable", "with history='session'"],
)
async def test_earlier_messages_that_are_not_sent_are_reported_once(
    bailian: BailianEmulator,
    make_model: MakeModel,
    recorded_warnings: list[warnings.WarningMessage],
    call: Any,
    config: RunnableConfig | None,
    fields: dict[str, Any],
    advice: str,
) -> None:
    model = make_model(**fields)
    first = await call(model, [*EARLIER, TWO], config)
    second = await call(model, [*EARLIER, TWO, first, THREE], config)

    (text,) = texts(recorded_warnings)
    assert text.startswith("3 messages of this call are not sent to application plain: with `")
    assert "pass only the new message" in text
    assert advice in text
    assert call is ainvoke or recorded_warnings[0].filename == __file__  # it runs in another task
    assert recorded_warnings[0].category is UserWarning
    assert second.text == "好：三"
    assert [request.body["input"]["prompt"] for request in bailian.requests] == ["二", "三"]


@pytest.mark.parametrize(
    ("messages", "count"),
    [
        ([ONE, ANSWER, TWO], 2),
        ([ANSWER, TWO], 1),
        ([ONE, ANSWER, SYSTEM, TWO], 3),  # the system message is not sent either
        ([ONE, AIMessage(""), TWO], 1),  # there is nothing to send in an answer without text
        ([HumanMessage([{"type": "image", "url": "https://x.example/1.png"}]), ANSWER, TWO], 2),
    ],
)
def test_the_warning_counts_all_messages_that_are_not_sent(
    make_model: MakeModel, messages: list[BaseMessage], count: int
) -> None:
    with pytest.warns(UserWarning, match=f"^{count} messages? of this call (is|are) {UNSENT}"):
        make_model().invoke(messages, session_id="mine")


@CALL_STYLES
@pytest.mark.parametrize(
    ("messages", "config", "fields"),
    [
        ([SYSTEM, ONE], IN_THREAD, {"history": "thread"}),
        ([ONE], IN_THREAD, {"history": "thread"}),
        ([AIMessage(""), ONE], IN_THREAD, {"history": "thread"}),
        ([SYSTEM, ONE], IN_SESSION, {}),
        ([*EARLIER, TWO], IN_THREAD, {"history": "messages"}),
        ([*EARLIER, TWO], IN_THREAD, {"history": "session"}),
        ([*EARLIER, TWO], None, {"session_key": "k"}),
    ],
)
async def test_calls_that_send_all_messages_show_no_warning(
    make_model: MakeModel,
    call: Any,
    messages: list[BaseMessage],
    config: RunnableConfig | None,
    fields: dict[str, Any],
) -> None:
    model = make_model(**fields)
    for _ in range(2):
        assert (await call(model, messages, config)).text  # a warning would be an error


@pytest.mark.parametrize("use_agent", [False, True])
@pytest.mark.parametrize("use_async", [False, True])
async def test_a_graph_that_passes_all_messages_works_with_one_warning(
    bailian: BailianEmulator,
    make_model: MakeModel,
    recorded_warnings: list[warnings.WarningMessage],
    *,
    use_async: bool,
    use_agent: bool,
) -> None:
    model = make_model(history="thread")
    if use_agent:
        graph: Any = create_agent(model, tools=[], checkpointer=InMemorySaver())
    else:
        builder = StateGraph(MessagesState)
        builder.add_node("ask", lambda state: {"messages": [model.invoke(state["messages"])]})
        builder.add_edge(START, "ask")
        graph = builder.compile(checkpointer=InMemorySaver())
    for question in ("一", "二", "三", "四"):
        inputs = {"messages": [HumanMessage(question)]}
        if use_async:
            state = await graph.ainvoke(inputs, IN_THREAD)
        else:
            state = graph.invoke(inputs, IN_THREAD)

    assert state["messages"][-1].text == "好：四"
    assert [request.body["input"]["prompt"] for request in bailian.requests] == list("一二三四")
    assert [text[:30] for text in texts(recorded_warnings)] == ["2 messages of this call are no"]


def test_each_model_shows_the_warning_once_and_its_shallow_copies_share_it(
    make_model: MakeModel, recorded_warnings: list[warnings.WarningMessage]
) -> None:
    first, second = make_model(session_id="mine"), make_model(session_id="mine", cache=InMemoryCache())
    for model in (first, first, second, second):  # a model with a cache is copied for each call
        model.invoke([ONE, ANSWER, TWO])
    for shallow_copy in (copy.copy(first), first.model_copy(update={"session_id": "other"})):
        shallow_copy.invoke([ONE, ANSWER, TWO])
    assert len(recorded_warnings) == 2

    for bound in (first.bind(temperature=0.5), first.with_config(tags=["t"]), first.with_retry()):
        bound.invoke([ONE, ANSWER, TWO])
    assert len(recorded_warnings) == 2

    copy.deepcopy(first).invoke([ONE, ANSWER, TWO])
    assert len(recorded_warnings) == 3


def test_a_batch_in_threads_shows_the_warning_once(
    make_model: MakeModel, recorded_warnings: list[warnings.WarningMessage]
) -> None:
    model = make_model()
    with ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(model.invoke, [ONE, ANSWER, TWO], session_id=f"s{number}")
            for number in range(24)
        ]
        assert [future.result().text for future in calls] == ["好：二"] * 24

    assert len(recorded_warnings) == 1


def test_a_warning_changes_neither_the_fields_nor_the_equality_nor_the_pickle_of_a_model(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, bailian: BailianEmulator
) -> None:
    model, store = make_model(), make_model().session_store
    assert make_model(session_store=store) == make_model(session_store=store)
    model.invoke([ONE])
    before = dict(vars(model)), model.model_dump_json(), repr(model)
    with pytest.warns(UserWarning, match=UNSENT):
        model.invoke([ONE, ANSWER, TWO], session_id="mine")

    assert (dict(vars(model)), model.model_dump_json(), repr(model)) == before
    assert model == copy.copy(model)
    monkeypatch.setenv("DASHSCOPE_API_KEY", bailian.api_key)
    with pytest.warns(UserWarning, match=UNSENT):  # it is another process that loads a pickle
        pickle.loads(pickle.dumps(model)).invoke([ONE, ANSWER, TWO], session_id="mine")  # noqa: S301


@pytest.mark.parametrize("fields", [{"history": "thread", "session_key": "k"}, {"session_id": "mine"}])
def test_a_warning_that_is_an_error_stops_the_call_before_a_session_is_claimed(
    bailian: BailianEmulator, make_model: MakeModel, fields: dict[str, Any]
) -> None:
    model = make_model(**fields)
    with pytest.raises(UserWarning, match=UNSENT):
        model.invoke([ONE, ANSWER, TWO])

    assert bailian.requests == []
    assert model.invoke([ONE, ANSWER, TWO]).text == "好：二"


def test_messages_that_cannot_be_sent_are_an_error_without_the_warning(make_model: MakeModel) -> None:
    with pytest.raises(ValueError, match="exactly one new human message"):
        make_model().invoke([*EARLIER, TWO, THREE], session_id="mine")


def test_a_warning_points_at_the_line_that_calls_the_model(
    make_model: MakeModel, recorded_warnings: list[warnings.WarningMessage]
) -> None:
    frame = inspect.currentframe()
    assert frame is not None
    line = frame.f_lineno + 1
    make_model().invoke([ONE, ANSWER, TWO], session_id="mine")
    with ThreadPoolExecutor(1) as pool:  # the pool calls the model
        pool.submit(make_model().invoke, [ONE, ANSWER, TWO], session_id="mine").result()

    assert (recorded_warnings[0].filename, recorded_warnings[0].lineno) == (__file__, line)
    assert recorded_warnings[1].filename.endswith("_shown_warnings.py")


# -- memories that users share ---------------------------------------------------------------------


def remember(make_model: MakeModel, **kwargs: Any) -> None:
    """Store a fact in the default memory of the application, or in another memory."""
    make_model("memory").invoke("我叫小明。", **kwargs)


@CALL_STYLES
@pytest.mark.parametrize(
    ("config", "fields"),
    [
        (IN_THREAD, {"history": "thread"}),
        (IN_THREAD, {}),
        (IN_THREAD, {"history": "session"}),
        (None, {"history": "thread", "session_key": "k"}),
        (None, {"session_key": "k"}),
        (None, {"session_id": "mine"}),
        (IN_SESSION, {}),
    ],
    ids=["thread", "messages", "session", "key", "key without a thread", "session id", "configurable"],
)
async def test_recalled_memories_that_all_users_share_are_reported_once(
    make_model: MakeModel,
    recorded_warnings: list[warnings.WarningMessage],
    call: Any,
    config: RunnableConfig | None,
    fields: dict[str, Any],
) -> None:
    remember(make_model)
    model = make_model("memory", has_thoughts=True, **fields)
    answers = [await call(model, [HumanMessage("我叫什么？")], config) for _ in range(3)]

    assert all(answer.response_metadata["memories"] for answer in answers)
    (text,) = texts(recorded_warnings)
    assert text.startswith(f"application memory {SHARED} in a call without `memory_id`")
    assert "`memory_ids`" in text
    assert "小明" not in text
    assert call is ainvoke or recorded_warnings[0].filename == __file__  # it runs in another task


@CALL_STYLES
@pytest.mark.parametrize(
    ("config", "fields"),
    [
        (IN_THREAD, {"history": "thread", "memory_id": "mine"}),
        (
            {"configurable": {"thread_id": "t", "user_id": "1"}},
            {"history": "thread", "memory_ids": {"1": "mine"}},
        ),
        (IN_SESSION, {"memory_id": "mine"}),
        (IN_SESSION, {"extra_input": {"memory_id": "mine"}}),
        (None, {}),
        (IN_THREAD, {"history": "thread", "has_thoughts": False}),  # the memories are not visible
    ],
)
async def test_memories_of_one_user_show_no_warning(
    make_model: MakeModel, call: Any, config: RunnableConfig | None, fields: dict[str, Any]
) -> None:
    remember(make_model)
    remember(make_model, memory_id="mine")
    model = make_model("memory", **{"has_thoughts": True} | fields)
    answer = await call(model, [HumanMessage("我叫什么？")], config)  # a warning would be an error

    assert bool(answer.response_metadata.get("memories")) == (model.has_thoughts is True)


def test_an_application_that_recalls_nothing_shows_no_warning(make_model: MakeModel) -> None:
    model = make_model("memory", has_thoughts=True, history="thread")

    assert model.invoke("我叫什么？", IN_THREAD).text


def test_a_memory_id_in_a_call_prevents_the_warning_for_that_call_only(make_model: MakeModel) -> None:
    remember(make_model)
    remember(make_model, memory_id="mine")
    model = make_model("memory", has_thoughts=True, history="thread")
    model.invoke("我叫什么？", IN_THREAD, memory_id="mine")
    with pytest.warns(UserWarning, match=SHARED) as caught:
        model.invoke("我叫什么？", IN_THREAD)

    assert len(caught) == 1


def test_both_warnings_are_shown_for_one_call(
    make_model: MakeModel, recorded_warnings: list[warnings.WarningMessage]
) -> None:
    remember(make_model)
    model = make_model("memory", has_thoughts=True, session_id="mine")
    for _ in range(2):
        model.invoke([ONE, ANSWER, HumanMessage("我叫什么？")])

    assert [UNSENT in text for text in texts(recorded_warnings)] == [True, False]


def test_a_tool_with_threads_reports_shared_memories_and_a_retriever_does_not(
    make_model: MakeModel, recorded_warnings: list[warnings.WarningMessage]
) -> None:
    remember(make_model)
    model = make_model("memory", has_thoughts=True, session_id="mine")
    retriever = BailianRetriever(model=model, wait_for_answer=True)
    retriever.invoke("我叫什么？")
    assert recorded_warnings == []

    tool = BailianAppTool(
        model=make_model("memory", has_thoughts=True),
        name="a",
        description="a",
        session_store=InMemorySessionStore(),
    )
    for _ in range(2):
        tool.invoke({"query": "我叫什么？"}, IN_THREAD)
    assert [SHARED in text for text in texts(recorded_warnings)] == [True]
