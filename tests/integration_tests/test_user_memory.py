"""Memories of users in chat models, agents, retrievers and tools."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_bailian_app import BailianAppChatModel, BizParams
from langchain_bailian_app.emulator import App, BailianEmulator, ErrorReply
from langchain_bailian_app.errors import BailianAuthenticationError
from langchain_bailian_app.memory import (
    BailianMemoryLibrary,
    BailianMemoryMiddleware,
    BailianMemoryRetriever,
    BailianUserMemory,
    RunnableWithBailianMemory,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.runnables import Runnable

XIAOMING, XIAOHONG = ({"configurable": {"user_id": name}} for name in ("xiaoming", "xiaohong"))
CALL_STYLES = ["invoke", "ainvoke", "stream", "astream"]
QUESTION = "我喜欢什么？"
call_styles = pytest.mark.parametrize("call_style", CALL_STYLES)


@pytest.fixture(scope="module")
def own_bailian() -> Iterator[BailianEmulator]:
    with BailianEmulator() as emulator:
        yield emulator


@pytest.fixture
def memory(own_bailian: BailianEmulator) -> BailianUserMemory:
    own_bailian.reset()
    library = BailianMemoryLibrary(
        base_url=own_bailian.base_url, api_key=own_bailian.api_key, max_retries=0
    )
    return BailianUserMemory(library)


@pytest.fixture
def model(own_bailian: BailianEmulator) -> BailianAppChatModel:
    """Return a model of an application that repeats its system message and its variables."""

    def answer(turn: Any) -> str:
        return f"{turn.system}|{turn.biz_params.get('user_prompt_params')}|{turn.prompt}"

    app_id = own_bailian.add_app(App("echo", answer=answer))
    return BailianAppChatModel(
        app_id=app_id, base_url=own_bailian.base_url, api_key=own_bailian.api_key, max_retries=0
    )


async def call(runnable: Runnable[Any, Any], style: str, value: Any, config: Any, **kwargs: Any) -> str:
    match style:
        case "invoke":
            return str(runnable.invoke(value, config, **kwargs).text)
        case "ainvoke":
            return str((await runnable.ainvoke(value, config, **kwargs)).text)
        case "stream":
            return "".join(chunk.text for chunk in runnable.stream(value, config, **kwargs))
        case _:
            return "".join([chunk.text async for chunk in runnable.astream(value, config, **kwargs)])


def teach(memory: BailianUserMemory) -> None:
    memory.remember("xiaoming", "我喜欢爬山。", "记住了。")
    memory.remember("xiaohong", "我喜欢画画。", "记住了。")
    assert memory.flush(10)


# -- chat models --------------------------------------------------------------------------------------


@call_styles
async def test_facts_of_the_user_are_a_system_message(
    memory: BailianUserMemory, model: BailianAppChatModel, call_style: str
) -> None:
    teach(memory)
    assistant = RunnableWithBailianMemory(model, memory)

    ours = await call(assistant, call_style, QUESTION, XIAOMING)
    theirs = await call(assistant, call_style, [HumanMessage(QUESTION)], XIAOHONG)

    assert "爬山" in ours.partition("|")[0]
    assert "画画" not in ours
    assert "画画" in theirs
    assert "爬山" not in theirs


@call_styles
async def test_facts_are_a_prompt_variable_beside_the_others(
    memory: BailianUserMemory, model: BailianAppChatModel, call_style: str
) -> None:
    teach(memory)
    model = model.model_copy(update={"biz_params": BizParams(user_prompt_params={"city": "杭州"})})
    assistant = RunnableWithBailianMemory(model, memory, variable="memories")

    ours = await call(assistant, call_style, QUESTION, XIAOMING)
    given = await call(
        assistant, call_style, QUESTION, XIAOMING, biz_params={"user_prompt_params": {"day": "周一"}}
    )
    unknown = await call(assistant, call_style, QUESTION, {"configurable": {"user_id": "new"}})

    assert ours.startswith("|{'city': '杭州', 'memories': '以下")
    assert "爬山" in ours
    assert given.startswith("|{'day': '周一', 'memories': '以下")
    assert unknown.startswith("|{'city': '杭州', 'memories': ''}")
    assert model.biz_params is not None
    assert model.biz_params.user_prompt_params == {"city": "杭州"}


@call_styles
async def test_a_turn_is_stored_after_the_answer(
    memory: BailianUserMemory, model: BailianAppChatModel, call_style: str
) -> None:
    assistant = RunnableWithBailianMemory(model, memory)
    await call(assistant, call_style, "我喜欢爬山。", XIAOMING)
    assert await memory.aflush(10)

    assert memory.recall("xiaoming", QUESTION) == ["用户喜欢爬山。"]
    assert memory.recall("xiaohong", QUESTION) == []


@call_styles
async def test_an_answer_that_breaks_off_is_not_stored(
    memory: BailianUserMemory, own_bailian: BailianEmulator, call_style: str
) -> None:
    error = ErrorReply.of("InternalError", in_stream_after=2)
    app_id = own_bailian.add_app(App("broken", answer="好" * 50, error=error))
    model = BailianAppChatModel(
        app_id=app_id, base_url=own_bailian.base_url, api_key=own_bailian.api_key, max_retries=0
    )

    with pytest.raises(Exception, match="InternalError"):
        await call(RunnableWithBailianMemory(model, memory), call_style, "我喜欢爬山。", XIAOMING)
    assert memory.flush(10)
    assert memory.recall("xiaoming", QUESTION) == []


@call_styles
@pytest.mark.parametrize("config", [None, {"configurable": {}}, {"configurable": {"user_id": " "}}])
async def test_a_missing_user_is_an_error_before_anything_is_sent(
    memory: BailianUserMemory,
    model: BailianAppChatModel,
    own_bailian: BailianEmulator,
    call_style: str,
    config: Any,
) -> None:
    with pytest.raises(ValueError, match="invalid `user_id`"):
        await call(RunnableWithBailianMemory(model, memory), call_style, QUESTION, config)
    assert not own_bailian.requests


@call_styles
async def test_a_failing_memory_is_logged_and_does_not_cost_the_answer(
    model: BailianAppChatModel,
    own_bailian: BailianEmulator,
    call_style: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    library = BailianMemoryLibrary(base_url=own_bailian.base_url, api_key="wrong", max_retries=0)
    memory = BailianUserMemory(library)

    assert (
        await call(RunnableWithBailianMemory(model, memory), call_style, "你好", XIAOMING)
    ).endswith("你好")
    assert memory.flush(10)
    assert "memories could not be recalled" in caplog.text
    assert "a memory was not stored" in caplog.text


# -- agents -------------------------------------------------------------------------------------------


class RecordingModel(FakeListChatModel):
    """Model that records the messages of each call."""

    calls: list[Any] = []  # noqa: RUF012  # pydantic copies it

    def _call(self, messages: Any, *args: Any, **kwargs: Any) -> str:
        self.calls.append(messages)
        return super()._call(messages, *args, **kwargs)


class Context(NamedTuple):
    user_id: Any


@pytest.mark.parametrize("use_async", [False, True])
@pytest.mark.parametrize("source", ["configurable", "dict context", "object context"])
async def test_an_agent_recalls_and_remembers_its_user(
    memory: BailianUserMemory, source: str, use_async: bool
) -> None:
    teach(memory)
    model = RecordingModel(responses=["你喜欢爬山。"])
    agent: Any = create_agent(
        model, tools=[], system_prompt="简短。", middleware=[BailianMemoryMiddleware(memory)]
    )
    options: dict[str, Any] = {"config": XIAOHONG}
    if source != "configurable":
        options["context"] = (
            {"user_id": "xiaoming"} if source.startswith("dict") else Context("xiaoming")
        )
    else:
        options["config"] = XIAOMING
    value = {"messages": [HumanMessage("我喜欢什么？我还喜欢游泳。")]}
    result = await agent.ainvoke(value, **options) if use_async else agent.invoke(value, **options)

    system, _ = model.calls[-1]
    assert system.text.startswith("简短。\n\n")
    assert "爬山" in system.text
    assert "画画" not in system.text
    assert [type(message) for message in result["messages"]] == [HumanMessage, AIMessage]
    assert "bailian_facts" not in result
    assert memory.flush(10)
    assert "我还喜欢游泳。" in "".join(memory.recall("xiaoming", "游泳"))


def test_an_agent_without_a_user_is_an_error(memory: BailianUserMemory) -> None:
    agent: Any = create_agent(
        FakeListChatModel(responses=["好"]), tools=[], middleware=[BailianMemoryMiddleware(memory)]
    )
    with pytest.raises(ValueError, match="invalid `user_id`"):
        agent.invoke({"messages": [HumanMessage("好")]})
    with pytest.raises(ValueError, match="invalid `user_id`"):
        agent.invoke({"messages": [HumanMessage("好")]}, context={"user_id": ""})


def test_a_user_without_facts_changes_nothing(memory: BailianUserMemory) -> None:
    model = RecordingModel(responses=["好"])
    agent: Any = create_agent(model, tools=[], middleware=[BailianMemoryMiddleware(memory)])
    agent.invoke({"messages": [HumanMessage("你好")]}, XIAOMING)

    assert [message.text for message in model.calls[-1]] == ["你好"]


# -- retriever and tool -------------------------------------------------------------------------------


async def test_memories_are_documents_of_their_user(memory: BailianUserMemory) -> None:
    teach(memory)
    retriever = BailianMemoryRetriever(library=memory.library, k=3)
    documents = retriever.invoke(QUESTION, XIAOMING)

    assert [document.page_content for document in documents] == ["用户喜欢爬山。"]
    assert documents[0].id
    assert documents[0].metadata["score"] > 0
    assert await retriever.ainvoke(QUESTION, XIAOMING) == documents
    assert retriever.invoke(QUESTION, user_id="xiaohong")[0].page_content == "用户喜欢画画。"
    assert await (retriever | len).ainvoke(QUESTION, XIAOMING) == 1  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="invalid `user_id`"):
        retriever.invoke(QUESTION)


def test_the_options_of_a_search_are_sent(
    memory: BailianUserMemory, own_bailian: BailianEmulator
) -> None:
    retriever = BailianMemoryRetriever(library=memory.library, k=3, min_score=0.5)
    retriever.invoke(QUESTION, XIAOMING)

    body = own_bailian.requests[-1].body
    assert (body["user_id"], body["top_k"], body["min_score"]) == ("xiaoming", 3, 0.5)


def test_failures_of_the_retriever_are_errors(own_bailian: BailianEmulator) -> None:
    library = BailianMemoryLibrary(base_url=own_bailian.base_url, api_key="wrong")
    with pytest.raises(BailianAuthenticationError):
        BailianMemoryRetriever(library=library).invoke(QUESTION, XIAOMING)


async def test_the_tool_uses_the_user_of_the_config(memory: BailianUserMemory) -> None:
    teach(memory)
    tool = BailianMemoryRetriever(library=memory.library).create_tool()
    call_of_tool = {"name": tool.name, "args": {"query": QUESTION}, "id": "1", "type": "tool_call"}
    message = tool.invoke(call_of_tool, XIAOMING)

    assert isinstance(message, ToolMessage)
    assert message.text == "- 用户喜欢爬山。"
    assert message.artifact[0].page_content == "用户喜欢爬山。"
    assert await tool.ainvoke({"query": QUESTION}, XIAOHONG) == "- 用户喜欢画画。"
    assert set(tool.args) == {"query"}
    assert (
        tool.invoke({"query": QUESTION}, {"configurable": {"user_id": "new"}}) == "No memories found."
    )
    with pytest.raises(ValueError, match="invalid `user_id`"):
        tool.invoke({"query": QUESTION, "user_id": "xiaohong"})


# -- storing in the background ------------------------------------------------------------------------


def test_storing_does_not_delay_the_caller(
    memory: BailianUserMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_released = threading.Event()
    stored: list[str] = []

    def submit(user_id: str, messages: Any, **_: Any) -> None:
        assert is_released.wait(10)
        stored.append(f"{user_id}: {messages[0].text}")

    monkeypatch.setattr(
        BailianMemoryLibrary, "submit", lambda _, *args, **kwargs: submit(*args, **kwargs)
    )
    memory.remember("xiaoming", "一", "")
    memory.remember("xiaoming", "二", "好")
    memory.remember("xiaoming", " ", "好")  # nothing to store

    assert not memory.flush(0.05)
    is_released.set()
    assert memory.flush(10)
    assert stored == ["xiaoming: 一", "xiaoming: 二"]


@pytest.mark.parametrize("user_id", ["", "  ", None, "x" * 65, 7])
def test_an_invalid_user_is_an_error_in_the_caller(memory: BailianUserMemory, user_id: Any) -> None:
    for method in (memory.recall, memory.remember):
        with pytest.raises(ValueError, match="invalid `user_id`"):
            method(user_id, "?", "!") if method == memory.remember else method(user_id, "?")


@pytest.mark.slow
@pytest.mark.parametrize("at_exit", [False, True])
def test_the_end_of_a_process_waits_for_its_turns(own_bailian: BailianEmulator, at_exit: bool) -> None:
    own_bailian.reset()
    script = textwrap.dedent(
        """
        import atexit, sys
        from langchain_bailian_app.memory import BailianMemoryLibrary, BailianUserMemory

        memory = BailianUserMemory(BailianMemoryLibrary(base_url=sys.argv[1], api_key=sys.argv[2]))
        remember = lambda: memory.remember("xiaoming", "我喜欢爬山。", "好")
        atexit.register(remember) if sys.argv[3] == "True" else remember()
        """
    )
    subprocess.run(
        [sys.executable, "-c", script, own_bailian.base_url, own_bailian.api_key, str(at_exit)],
        check=True,
        timeout=60,
    )

    assert [request.path for request in own_bailian.requests] == ["/api/v2/apps/memory/add-async"]
