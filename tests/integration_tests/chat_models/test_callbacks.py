"""Tokens reach callback handlers once each, with their chunk, however the model is called."""

from __future__ import annotations

import operator
from functools import reduce
from typing import TYPE_CHECKING, Any, TypedDict

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import AIMessageChunk
from langgraph.graph import END, START, StateGraph

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.outputs import ChatGenerationChunk

    from langchain_bailian_app import BailianAppChatModel

QUESTION = "什么是滞报金？"


class Listener(BaseCallbackHandler):
    """Notes what comes."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.chunks: list[ChatGenerationChunk] = []

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **_: Any) -> None:
        self.tokens.append(token)
        self.chunks.append(chunk)


class AsyncListener(AsyncCallbackHandler):
    """Notes what comes."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.chunks: list[ChatGenerationChunk] = []

    async def on_llm_new_token(self, token: Any, *, chunk: Any = None, **_: Any) -> None:
        self.tokens.append(token)
        self.chunks.append(chunk)


def check(listener: Listener | AsyncListener, text: str) -> None:
    messages = [chunk.message for chunk in listener.chunks]

    assert all(isinstance(message, AIMessageChunk) for message in messages)
    assert "".join(listener.tokens) == text
    assert reduce(operator.add, messages).text == text
    assert len(messages) > 10
    assert [message.chunk_position for message in messages].count("last") == 1


def test_invoke_tells_tokens_to_a_handler(make_model: Callable[..., BailianAppChatModel]) -> None:
    listener = Listener()
    message = make_model().invoke(QUESTION, {"callbacks": [listener]})

    check(listener, message.text)


async def test_ainvoke_tells_tokens_to_a_handler(
    make_model: Callable[..., BailianAppChatModel],
) -> None:
    listener = AsyncListener()
    message = await make_model().ainvoke(QUESTION, {"callbacks": [listener]})

    check(listener, message.text)


def test_invoke_with_and_without_a_handler_gives_the_same_message(
    make_model: Callable[..., BailianAppChatModel],
) -> None:
    model = make_model(enable_thinking=True)
    fields = ("content", "additional_kwargs", "usage_metadata")
    silent = model.invoke(QUESTION)
    told = model.invoke(QUESTION, {"callbacks": [Listener()]})

    assert [getattr(told, name) for name in fields] == [getattr(silent, name) for name in fields]
    assert type(told) is type(silent)


def test_stream_tells_each_chunk_once(make_model: Callable[..., BailianAppChatModel]) -> None:
    listener = Listener()
    chunks = list(make_model().stream(QUESTION, {"callbacks": [listener]}))

    check(listener, "".join(chunk.text for chunk in chunks))
    assert [chunk.message for chunk in listener.chunks] == chunks


async def test_astream_tells_each_chunk_once(make_model: Callable[..., BailianAppChatModel]) -> None:
    listener = AsyncListener()
    chunks = [chunk async for chunk in make_model().astream(QUESTION, {"callbacks": [listener]})]

    check(listener, "".join(chunk.text for chunk in chunks))
    assert [chunk.message for chunk in listener.chunks] == chunks


async def test_event_streams_v2(make_model: Callable[..., BailianAppChatModel]) -> None:
    events = [event async for event in make_model().astream_events(QUESTION, version="v2")]
    chunks = [event["data"]["chunk"] for event in events if event["event"] == "on_chat_model_stream"]

    assert len(chunks) > 10
    assert reduce(operator.add, chunks).text == events[-1]["data"]["output"].text


def test_event_streams_v3(make_model: Callable[..., BailianAppChatModel]) -> None:
    listener = Listener()
    stream = make_model(enable_thinking=True).stream_events(
        QUESTION, {"callbacks": [listener]}, version="v3"
    )
    text, reasoning = "".join(stream.text), "".join(stream.reasoning)

    assert text == stream.output.text == "".join(listener.tokens)
    assert reasoning
    assert stream.output.tool_calls == []


async def test_messages_mode_of_langgraph(make_model: Callable[..., BailianAppChatModel]) -> None:
    class State(TypedDict):
        answer: str

    model = make_model()

    async def ask(_: State) -> State:
        return {"answer": (await model.ainvoke(QUESTION)).text}

    graph = StateGraph(State)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    chunks = []
    answer = ""
    async for mode, data in graph.compile().astream({"answer": ""}, stream_mode=["messages", "values"]):
        if mode == "messages":
            chunks.append(data[0])
        else:
            answer = data["answer"]

    assert len(chunks) > 10
    assert "".join(chunk.text for chunk in chunks) == answer
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_plain_post_tells_its_one_answer(make_model: Callable[..., BailianAppChatModel]) -> None:
    listener = Listener()
    message = make_model(streaming=False).invoke(QUESTION, {"callbacks": [listener]})

    assert "".join(listener.tokens) == message.text


@pytest.mark.parametrize("streaming", [None, True])
def test_streaming_true_tells_no_token_twice(
    make_model: Callable[..., BailianAppChatModel], *, streaming: bool | None
) -> None:
    listener = Listener()
    message = make_model(streaming=streaming).invoke(QUESTION, {"callbacks": [listener]})

    check(listener, message.text)
