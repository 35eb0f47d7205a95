"""Tests that callback handlers get each token once, with its chunk, in every call style."""

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


class TokenRecorder(BaseCallbackHandler):
    """Handler that records tokens and their chunks."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.chunks: list[ChatGenerationChunk] = []

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **_: Any) -> None:
        self.tokens.append(token)
        self.chunks.append(chunk)


class AsyncTokenRecorder(AsyncCallbackHandler):
    """Handler that records tokens and their chunks."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.chunks: list[ChatGenerationChunk] = []

    async def on_llm_new_token(self, token: Any, *, chunk: Any = None, **_: Any) -> None:
        self.tokens.append(token)
        self.chunks.append(chunk)


def check_tokens(recorder: TokenRecorder | AsyncTokenRecorder, text: str) -> None:
    messages = [chunk.message for chunk in recorder.chunks]

    assert all(isinstance(message, AIMessageChunk) for message in messages)
    assert "".join(recorder.tokens) == text
    assert reduce(operator.add, messages).text == text
    assert len(messages) > 10
    assert [message.chunk_position for message in messages].count("last") == 1


def test_invoke_passes_tokens_to_a_handler(make_model: Callable[..., BailianAppChatModel]) -> None:
    recorder = TokenRecorder()
    message = make_model().invoke(QUESTION, {"callbacks": [recorder]})

    check_tokens(recorder, message.text)


async def test_ainvoke_passes_tokens_to_a_handler(
    make_model: Callable[..., BailianAppChatModel],
) -> None:
    recorder = AsyncTokenRecorder()
    message = await make_model().ainvoke(QUESTION, {"callbacks": [recorder]})

    check_tokens(recorder, message.text)


def test_invoke_with_and_without_a_handler_gives_the_same_message(
    make_model: Callable[..., BailianAppChatModel],
) -> None:
    model = make_model(enable_thinking=True)
    fields = ("content", "additional_kwargs", "usage_metadata")
    message_without_handler = model.invoke(QUESTION)
    message_with_handler = model.invoke(QUESTION, {"callbacks": [TokenRecorder()]})

    assert [getattr(message_with_handler, name) for name in fields] == [
        getattr(message_without_handler, name) for name in fields
    ]
    assert type(message_with_handler) is type(message_without_handler)


def test_stream_passes_each_chunk_once(make_model: Callable[..., BailianAppChatModel]) -> None:
    recorder = TokenRecorder()
    chunks = list(make_model().stream(QUESTION, {"callbacks": [recorder]}))

    check_tokens(recorder, "".join(chunk.text for chunk in chunks))
    assert [chunk.message for chunk in recorder.chunks] == chunks


async def test_astream_passes_each_chunk_once(make_model: Callable[..., BailianAppChatModel]) -> None:
    recorder = AsyncTokenRecorder()
    chunks = [chunk async for chunk in make_model().astream(QUESTION, {"callbacks": [recorder]})]

    check_tokens(recorder, "".join(chunk.text for chunk in chunks))
    assert [chunk.message for chunk in recorder.chunks] == chunks


async def test_events_v2_contain_the_answer_in_chunks(
    make_model: Callable[..., BailianAppChatModel],
) -> None:
    events = [event async for event in make_model().astream_events(QUESTION, version="v2")]
    chunks = [event["data"]["chunk"] for event in events if event["event"] == "on_chat_model_stream"]

    assert len(chunks) > 10
    assert reduce(operator.add, chunks).text == events[-1]["data"]["output"].text


def test_events_v3_contain_text_and_reasoning(make_model: Callable[..., BailianAppChatModel]) -> None:
    recorder = TokenRecorder()
    stream = make_model(enable_thinking=True).stream_events(
        QUESTION, {"callbacks": [recorder]}, version="v3"
    )
    text, reasoning = "".join(stream.text), "".join(stream.reasoning)

    assert text == stream.output.text == "".join(recorder.tokens)
    assert reasoning
    assert stream.output.tool_calls == []


async def test_langgraph_streams_the_answer_in_messages_mode(
    make_model: Callable[..., BailianAppChatModel],
) -> None:
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


def test_a_call_without_streaming_passes_its_text_once(
    make_model: Callable[..., BailianAppChatModel],
) -> None:
    recorder = TokenRecorder()
    message = make_model(streaming=False).invoke(QUESTION, {"callbacks": [recorder]})

    assert "".join(recorder.tokens) == message.text


@pytest.mark.parametrize("streaming", [None, True])
def test_streaming_true_passes_no_token_twice(
    make_model: Callable[..., BailianAppChatModel], *, streaming: bool | None
) -> None:
    recorder = TokenRecorder()
    message = make_model(streaming=streaming).invoke(QUESTION, {"callbacks": [recorder]})

    check_tokens(recorder, message.text)
