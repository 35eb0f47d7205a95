"""Tests of the LLM and retriever for LlamaIndex, alone and in its engines, agents and workflows."""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import pickle
import sys
import time
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from langchain_core.documents import Document
from langchain_core.exceptions import OutputParserException
from llama_index.core import Settings
from llama_index.core.agent.workflow import AgentStream, AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.generic_utils import messages_to_history_str
from llama_index.core.base.llms.types import ThinkingBlock, ToolCallBlock
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.chat_engine import ContextChatEngine, SimpleChatEngine
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.llms import (
    LLM,
    AudioBlock,
    ChatMessage,
    DocumentBlock,
    ImageBlock,
    TextBlock,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.memory import ChatMemoryBuffer, Memory
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
from llama_index.core.tools import FunctionTool, QueryEngineTool
from llama_index.core.types import PydanticProgramMode
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step
from pydantic import BaseModel, Field, ValidationError, field_validator

from langchain_bailian_app import (
    BailianAppChatModel,
    BailianRetriever,
    BizParams,
    InMemorySessionStore,
    RagOptions,
)
from langchain_bailian_app.emulator import App, ErrorReply
from langchain_bailian_app.errors import BailianRateLimitError, BailianStreamError
from langchain_bailian_app.llama_index import BailianAppLLM, BailianAppRetriever
from langchain_bailian_app.llama_index._retriever import _node_from_document

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from langchain_bailian_app.emulator import BailianEmulator

    MakeModel = Callable[..., BailianAppChatModel]

QUESTION = "什么是滞报金？"
MESSAGES = [ChatMessage(QUESTION)]
# LlamaIndex's workflows access all their attributes, including deprecated ones of pydantic.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")

CHAT_METHODS = ["chat", "achat", "stream_chat", "astream_chat"]
COMPLETION_METHODS = ["complete", "acomplete", "stream_complete", "astream_complete"]


@pytest.fixture
def llm(bailian: BailianEmulator) -> BailianAppLLM:
    """Return an LLM for the emulator's agent, which has a knowledge base."""
    return BailianAppLLM(app_id=bailian.app_id, base_url=bailian.base_url, api_key=bailian.api_key)


@pytest.fixture
def retriever(llm: BailianAppLLM) -> BailianAppRetriever:
    """Return a retriever for the same agent."""
    return BailianAppRetriever(model=llm.model)


async def collect_responses(llm: BailianAppLLM, method: str, request: Any, **kwargs: Any) -> list[Any]:
    """Return the responses of a call; a call that does not stream has only one."""
    answer = getattr(llm, method)(request, **kwargs)
    if method.startswith("a"):
        answer = await answer
        return [part async for part in answer] if "stream" in method else [answer]
    return list(answer) if "stream" in method else [answer]


def request_input(bailian: BailianEmulator, index: int = -1) -> dict[str, Any]:
    """Return the input of a request."""
    return bailian.requests[index].body["input"]


def tool_call_text(name: str, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


# -- calls -------------------------------------------------------------------------------------------


def test_it_is_a_llama_index_llm(llm: BailianAppLLM) -> None:
    assert isinstance(llm, BaseLLM | LLM | FunctionCallingLLM)
    assert llm.class_name() == "BailianAppLLM"
    assert llm.metadata.model_name == llm.model.app_id
    assert llm.metadata.is_chat_model
    assert not llm.metadata.is_function_calling_model
    assert BailianAppLLM(model=llm.model, tool_calling="prompt").metadata.is_function_calling_model
    assert BailianAppLLM(model=llm.model, context_window=9, max_tokens=5).metadata.num_output == 5


@pytest.mark.parametrize("method", [*CHAT_METHODS, *COMPLETION_METHODS])
async def test_every_method_gives_the_same_answer(
    llm: BailianAppLLM, method: str, bailian: BailianEmulator
) -> None:
    expected = llm.model.invoke(QUESTION, has_thoughts=True)
    request = QUESTION if "complete" in method else MESSAGES
    responses = await collect_responses(llm, method, request, has_thoughts=True)

    last = responses[-1]
    text = last.text if "complete" in method else last.message.content
    assert text == expected.text
    assert str(last).endswith(text)
    if "stream" in method:
        assert len(responses) > 5
        assert "".join(part.delta for part in responses) == text
    answer_fields = {**expected.additional_kwargs, **expected.response_metadata}
    varying_keys = {"request_id", "session_id"}
    assert last.raw.keys() == answer_fields.keys() | {"usage"}
    assert {k: last.raw[k] for k in answer_fields.keys() - varying_keys - {"model_usage"}} == {
        k: answer_fields[k] for k in answer_fields.keys() - varying_keys - {"model_usage"}
    }
    assert last.raw["citations"][0]["title"].startswith("滞报金")
    assert last.raw["usage"]["total_tokens"] == last.additional_kwargs["total_tokens"] > 0
    assert request_input(bailian) == {"prompt": QUESTION}


@pytest.mark.parametrize("method", ["stream_chat", "astream_chat"])
async def test_a_streamed_message_grows_by_its_deltas(llm: BailianAppLLM, method: str) -> None:
    text, reasoning = "", ""
    for part in await collect_responses(llm, method, MESSAGES, enable_thinking=True):
        text += part.delta
        reasoning += part.additional_kwargs["thinking_delta"] or ""
        blocks = {type(block): block for block in part.message.blocks}
        assert blocks[TextBlock].text == text
        assert ThinkingBlock not in blocks or blocks[ThinkingBlock].content == reasoning

    assert text.startswith("（本地模拟器）滞报金是")
    assert reasoning.startswith("用户的问题是")
    assert list(blocks) == [ThinkingBlock, TextBlock]
    assert part.raw["finish_reason"] == "stop"
    assert part.raw["reasoning_content"] == reasoning


async def test_async_methods_use_no_threads(llm: BailianAppLLM, retriever: BailianAppRetriever) -> None:
    class NoThreads(Executor):
        def submit(self, *args: Any, **kwargs: Any) -> NoReturn:
            pytest.fail("a thread was requested")

    loop = asyncio.get_running_loop()
    loop._default_executor = NoThreads()  # type: ignore[attr-defined]  # the setter rejects other executors
    try:
        for method in ("achat", "astream_chat"):
            assert (await collect_responses(llm, method, MESSAGES))[-1].message.content
        for method in ("acomplete", "astream_complete"):
            assert (await collect_responses(llm, method, QUESTION))[-1].text
        assert await retriever.aretrieve(QUESTION)
    finally:
        loop._default_executor = None  # type: ignore[attr-defined]


def test_keywords_of_a_call_are_those_of_the_chat_model(
    llm: BailianAppLLM, bailian: BailianEmulator
) -> None:
    llm.chat(MESSAGES, memory_id="m", biz_params={"user_prompt_params": {"city": "杭州"}}, stop=["。"])

    assert request_input(bailian)["memory_id"] == "m"
    assert request_input(bailian)["biz_params"] == {"user_prompt_params": {"city": "杭州"}}
    with pytest.raises(TypeError, match="did you mean `memory_id`"):
        llm.complete(QUESTION, memoryid="m")
    with pytest.raises(ValueError, match="unknown field `memoryid`; did you mean `memory_id`"):
        BailianAppLLM(model=llm.model, memoryid="m")
    with pytest.raises(ValueError, match="pass `app_id` to select an application"):
        BailianAppLLM(model="qwen-max")  # type: ignore[arg-type]


def test_all_roles_are_sent(llm: BailianAppLLM, bailian: BailianEmulator) -> None:
    roles_and_texts = [
        ("developer", "短。"),
        ("user", "一"),
        ("chatbot", "二"),
        ("model", "三"),
        ("user", "四"),
    ]
    llm.chat([ChatMessage(role=role, content=text) for role, text in roles_and_texts])

    turns = [(turn["role"], turn["content"]) for turn in request_input(bailian)["messages"]]
    assert turns == [
        ("system", "短。"),
        ("user", "一"),
        ("assistant", "二"),
        ("assistant", "三"),
        ("user", "四"),
    ]


def test_images_and_documents_are_sent_and_unsupported_blocks_are_named(
    llm: BailianAppLLM, bailian: BailianEmulator
) -> None:
    data = base64.b64encode(b"\x89PNG\r\n\x1a\n")
    blocks = [
        TextBlock(text="图里"),
        ImageBlock(url="https://pictures.example/1.png"),
        ImageBlock(image=data),
        DocumentBlock(data=b"%PDF-1.7", document_mimetype="application/pdf"),
        TextBlock(text="是什么？"),
    ]
    llm.chat([ChatMessage(blocks=blocks)])

    assert request_input(bailian)["prompt"] == "图里\n是什么？"
    assert request_input(bailian)["image_list"] == [
        "https://pictures.example/1.png",
        f"data:image/png;base64,{data.decode()}",
    ]
    assert request_input(bailian)["file_list"][0].startswith("data:application/pdf;base64,")
    audio = AudioBlock(audio=b"RIFF", format="wav")
    with pytest.raises(ValueError, match="content block of type 'audio'"):
        llm.chat([ChatMessage(blocks=[TextBlock(text="?"), audio])])


@pytest.mark.parametrize("method", [*CHAT_METHODS, *COMPLETION_METHODS])
async def test_errors_are_those_of_the_package(
    llm: BailianAppLLM, bailian: BailianEmulator, method: str
) -> None:
    request = QUESTION if "complete" in method else MESSAGES
    cut_app = bailian.add_app(App("cut", answer="很长的回答。" * 9, cut_after=3))
    throttled_app = bailian.add_app(App("full", error=ErrorReply.of("Throttling")))
    with pytest.raises(BailianStreamError) as caught:
        await collect_responses(BailianAppLLM(model=llm.model, app_id=cut_app), method, request)
    with pytest.raises(BailianRateLimitError):
        await collect_responses(
            BailianAppLLM(model=llm.model, app_id=throttled_app, max_retries=0), method, request
        )

    assert caught.value.partial is not None
    assert caught.value.partial.text


async def test_a_stream_that_is_not_read_to_the_end_closes_its_connection(
    llm: BailianAppLLM, bailian: BailianEmulator
) -> None:
    slow_app = bailian.add_app(App("slow", answer="慢慢地说。" * 100, pace=0.02))
    slow_llm = BailianAppLLM(model=llm.model, app_id=slow_app)
    for _ in slow_llm.stream_chat(MESSAGES):
        break
    first, stopped_at = bailian.requests[-1], time.monotonic()
    async for _ in await slow_llm.astream_chat(MESSAGES):
        break
    await asyncio.sleep(0.1)

    for request in (first, bailian.requests[-1]):
        assert request.wait(1)
        assert not request.finished
    assert first.closed_at is not None
    assert first.closed_at - stopped_at < 0.1


# -- instrumentation ---------------------------------------------------------------------------------


class Events(BaseEventHandler):
    """Handler that records the representations of events, as a logging handler would."""

    representations: list[str] = Field(default_factory=list)
    names: list[str] = Field(default_factory=list)

    def handle(self, event: Any, **kwargs: Any) -> None:
        self.names.append(event.class_name())
        self.representations += [repr(event), repr(event.model_dump())]


class Spans(SimpleSpanHandler):
    """Handler that records the ids and arguments of spans."""

    representations: list[str] = Field(default_factory=list)
    ids: list[str] = Field(default_factory=list)

    def new_span(self, id_: str, bound_args: Any, **kwargs: Any) -> Any:
        self.ids.append(id_.partition("-")[0])
        self.representations.append(repr(bound_args))
        return super().new_span(id_=id_, bound_args=bound_args, **kwargs)


@pytest.fixture
def listeners() -> Iterator[tuple[Events, Spans]]:
    """Register handlers for all events and spans of LlamaIndex."""
    root, events, spans = get_dispatcher(), Events(), Spans()
    root.add_event_handler(events)
    root.add_span_handler(spans)
    yield events, spans
    root.event_handlers.remove(events)
    root.span_handlers.remove(spans)


@pytest.mark.parametrize("method", [*CHAT_METHODS, *COMPLETION_METHODS])
async def test_each_call_has_its_events_and_one_span_and_they_show_no_secret(
    llm: BailianAppLLM, listeners: tuple[Events, Spans], method: str, bailian: BailianEmulator
) -> None:
    secrets = {
        "biz_params": {"user_defined_tokens": {"tool": "planted-token"}},
        "image_list": ["https://pictures.example/1.png?Signature=planted-signature"],
    }
    await collect_responses(llm, method, QUESTION if "complete" in method else MESSAGES, **secrets)
    events, spans = listeners

    kind = "LLMCompletion" if "complete" in method else "LLMChat"
    assert events.names[0] == f"{kind}StartEvent"
    assert events.names[-1] == f"{kind}EndEvent"
    assert (f"{kind}InProgressEvent" in events.names) == ("stream" in method)
    assert spans.ids == [f"BailianAppLLM.{method}"]
    traced = "".join(events.representations + spans.representations)
    assert QUESTION in traced
    assert "planted" not in traced
    assert bailian.api_key not in traced
    assert request_input(bailian)["image_list"] == secrets["image_list"]


def test_tokens_are_counted_as_the_service_counts_them(llm: BailianAppLLM) -> None:
    counter = TokenCountingHandler(tokenizer=str.split)
    counted = llm.model_copy(update={"callback_manager": CallbackManager([counter])})
    usage = counted.chat(MESSAGES).raw["usage"]

    assert counter.prompt_llm_token_count == usage["input_tokens"]
    assert counter.completion_llm_token_count == usage["output_tokens"]


# -- conversations -----------------------------------------------------------------------------------


@pytest.fixture
async def memory() -> AsyncIterator[Memory]:
    """Return LlamaIndex's newer memory, which stores messages in a database."""
    memory = Memory.from_defaults()
    await memory.aget()  # opens the database
    yield memory
    await memory.sql_store._async_engine.dispose()


async def ask_engine(engine: SimpleChatEngine, method: str, question: str) -> str:
    """Ask an engine a question and return its complete answer."""
    answer = getattr(engine, method)(question)
    answer = await answer if method.startswith("a") else answer
    if method == "stream_chat":
        return "".join(answer.response_gen)
    if method == "astream_chat":
        return "".join([delta async for delta in answer.async_response_gen()])
    return str(answer)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", [*CHAT_METHODS, "achat with a database", "astream_chat with a database"]
)
async def test_a_session_is_continued_through_an_engine_and_its_memory(
    llm: BailianAppLLM, bailian: BailianEmulator, memory: Memory, method: str
) -> None:
    method, _, database = method.partition(" with ")
    engine = SimpleChatEngine.from_defaults(
        llm=BailianAppLLM(model=llm.model, history="session", has_thoughts=True),
        memory=memory if database else ChatMemoryBuffer.from_defaults(),
        system_prompt="回答要短。",
    )
    for question in ("什么是滞报金？", "它怎么计算？", "谁来交？"):
        assert await ask_engine(engine, method, question)
    first, *others = (request_input(bailian, number) for number in (-3, -2, -1))

    assert first == {"prompt": "回答要短。\n\n什么是滞报金？"}
    assert [other.keys() for other in others] == [{"prompt", "session_id"}] * 2
    assert others[-1]["prompt"] == "谁来交？"


def test_an_edited_conversation_is_sent_in_full(llm: BailianAppLLM, bailian: BailianEmulator) -> None:
    session = BailianAppLLM(model=llm.model, history="session")
    answer = session.chat(MESSAGES).message
    stored = ChatMessage.model_validate_json(answer.model_dump_json())
    edited = ChatMessage(role="assistant", content="别的", additional_kwargs=stored.additional_kwargs)
    session.chat([*MESSAGES, edited, ChatMessage("它怎么计算？")])
    assert "messages" in request_input(bailian)

    session.chat([*MESSAGES, stored, ChatMessage("它怎么计算？")])
    assert (
        request_input(bailian)["session_id"]
        == stored.additional_kwargs["bailian_session"]["session_id"]
    )


def test_without_a_session_messages_have_no_additional_kwargs(llm: BailianAppLLM) -> None:
    message = llm.chat(MESSAGES, has_thoughts=True).message

    assert message.additional_kwargs == {}
    assert message.blocks == [TextBlock(text=message.content)]


def test_threads_and_explicit_session_ids_continue_a_session(
    llm: BailianAppLLM, bailian: BailianEmulator
) -> None:
    thread = BailianAppLLM(
        model=llm.model, history="thread", session_key="1", session_store=InMemorySessionStore()
    )
    session_id = thread.complete("我叫小明。").raw["session_id"]
    thread.complete("我叫什么？")
    assert request_input(bailian) == {"prompt": "我叫什么？", "session_id": session_id}

    llm.chat(MESSAGES, session_id=session_id)
    assert request_input(bailian) == {"prompt": QUESTION, "session_id": session_id}


# -- objects -----------------------------------------------------------------------------------------


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    degrees: int

    @field_validator("degrees")
    @classmethod
    def _possible(cls, value: int) -> int:
        if value > 100:
            message = "too hot"
            raise ValueError(message)
        return value


PROMPT = PromptTemplate("{city}天气怎么样？")
VALID_JSON = '{"city": "杭州", "degrees": 21}'
INVALID_JSON = '{"city": "杭州", "degrees": 210}'


@pytest.mark.parametrize("method", ["structured_predict", "astructured_predict"])
async def test_an_object_that_fails_validation_is_requested_once_more(
    make_scripted_model: MakeModel,
    bailian: BailianEmulator,
    method: str,
    listeners: tuple[Events, Spans],
) -> None:
    llm = BailianAppLLM(
        model=make_scripted_model(INVALID_JSON, VALID_JSON), system_prompt="你是气象员。"
    )
    secret = {"biz_params": {"user_defined_tokens": {"tool": "planted-token"}}}
    prediction = getattr(llm, method)(Weather, PROMPT, llm_kwargs=secret, city="杭州")
    prediction = await prediction if method.startswith("a") else prediction

    assert prediction == Weather(city="杭州", degrees=21)
    assert len(bailian.requests) == 2
    assert request_input(bailian, 0)["messages"][0] == {"role": "system", "content": "你是气象员。"}
    assert "tool" in request_input(bailian, 0)["biz_params"]["user_defined_tokens"]
    events, spans = listeners
    assert events.names == ["LLMStructuredPredictStartEvent", "LLMStructuredPredictEndEvent"]
    assert spans.ids == [f"BailianAppLLM.{method}"]
    assert "planted" not in "".join(events.representations + spans.representations)


@pytest.mark.parametrize("method", ["stream_structured_predict", "astream_structured_predict"])
async def test_a_streamed_object_grows_and_is_validated_at_the_end(
    make_scripted_model: MakeModel, method: str, listeners: tuple[Events, Spans]
) -> None:
    async def collect_parts(llm: BailianAppLLM) -> list[BaseModel]:
        secret = {"biz_params": {"user_defined_tokens": {"tool": "planted-token"}}}
        stream = getattr(llm, method)(Weather, PROMPT, secret, city="杭州")
        if method.startswith("a"):
            return [part async for part in await stream]
        return list(stream)

    parts = await collect_parts(BailianAppLLM(model=make_scripted_model(VALID_JSON)))
    assert parts[-1] == Weather(city="杭州", degrees=21)
    assert len(parts) > 1
    assert not isinstance(parts[0], Weather)
    with pytest.raises(ValidationError, match="too hot"):
        await collect_parts(BailianAppLLM(model=make_scripted_model(INVALID_JSON)))
    events, spans = listeners
    assert spans.ids == [f"BailianAppLLM.{method}"] * 2
    assert "planted" not in "".join(events.representations + spans.representations)


async def test_a_structured_llm_answers_with_objects(make_scripted_model: MakeModel) -> None:
    llm = BailianAppLLM(model=make_scripted_model(VALID_JSON)).as_structured_llm(Weather)
    weather = Weather(city="杭州", degrees=21)

    assert llm.chat([ChatMessage("天气？")]).raw == weather
    assert (await llm.acomplete("天气？")).raw == weather
    with pytest.raises(OutputParserException):
        BailianAppLLM(model=make_scripted_model("不知道")).as_structured_llm(Weather).complete("天气？")


def test_variables_of_a_prompt_may_have_any_name(
    make_scripted_model: MakeModel, bailian: BailianEmulator
) -> None:
    prompt = PromptTemplate("天气在 {file_list} 里。")
    BailianAppLLM(model=make_scripted_model(VALID_JSON)).structured_predict(
        Weather, prompt, file_list="天气.txt"
    )

    assert request_input(bailian)["prompt"].startswith("天气在 天气.txt 里。")


@pytest.mark.parametrize("mode", [PydanticProgramMode.FUNCTION, PydanticProgramMode.LLM])
async def test_other_program_modes_are_left_to_llama_index(
    make_scripted_model: MakeModel, bailian: BailianEmulator, mode: Any
) -> None:
    answer = tool_call_text("Weather", city="杭州", degrees=21)
    answer = answer if mode is PydanticProgramMode.FUNCTION else VALID_JSON
    llm = BailianAppLLM(
        model=make_scripted_model(answer), tool_calling="prompt", pydantic_program_mode=mode
    )
    weather = Weather(city="杭州", degrees=21)

    secret = {"biz_params": {"user_defined_tokens": {"tool": "planted-token"}}}
    assert llm.structured_predict(Weather, PROMPT, secret, city="杭州") == weather
    assert "tool" in request_input(bailian)["biz_params"]["user_defined_tokens"]
    assert await llm.astructured_predict(Weather, PROMPT, city="杭州") == weather
    if mode is PydanticProgramMode.FUNCTION:  # in the other mode, old versions do not stream
        assert list(llm.stream_structured_predict(Weather, PROMPT, city="杭州"))[-1] == weather
        stream = await llm.astream_structured_predict(Weather, PROMPT, city="杭州")
        assert [part async for part in stream][-1] == weather


# -- tools and agents --------------------------------------------------------------------------------


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


ADD = FunctionTool.from_defaults(add)


@pytest.mark.parametrize("method", CHAT_METHODS)
async def test_tools_are_described_in_the_prompt_and_their_calls_are_parsed(
    make_scripted_model: MakeModel, bailian: BailianEmulator, method: str
) -> None:
    llm = BailianAppLLM(
        model=make_scripted_model("我来算。" + tool_call_text("add", a=1, b=2), tool_calling="prompt")
    )
    response = getattr(llm, f"{method}_with_tools")([ADD], "一加二？", tool_required=True)
    response = await response if method.startswith("a") else response
    if method == "stream_chat":
        response = list(response)[-1]
    elif method == "astream_chat":
        response = [part async for part in response][-1]
    [call] = llm.get_tool_calls_from_response(response)

    assert (call.tool_name, call.tool_kwargs) == ("add", {"a": 1, "b": 2})
    assert call.tool_id
    assert response.message.content == "我来算。"
    [system, question] = request_input(bailian)["messages"]
    assert '"name": "add"' in system["content"]
    assert "必须调用函数" in system["content"]
    assert "一次只能调用一个函数" in system["content"]
    assert question["content"] == "一加二？"


def test_calls_and_results_are_sent_in_later_requests(
    make_scripted_model: MakeModel, bailian: BailianEmulator
) -> None:
    llm = BailianAppLLM(model=make_scripted_model("三。"), tool_calling="prompt")
    calls = [ToolCallBlock(tool_call_id="1", tool_name="add", tool_kwargs='{"a": 1, "b": 2}')]
    result = {"tool_call_id": "1"}
    history = [
        ChatMessage("一加二？"),
        ChatMessage(role="assistant", blocks=calls),
        ChatMessage(role="tool", content="3", additional_kwargs=result),
    ]
    response = llm.chat_with_tools([ADD], chat_history=history)

    turns = [turn["content"] for turn in request_input(bailian)["messages"]]
    assert turns[2] == tool_call_text("add", a=1, b=2)
    assert turns[3] == '<tool_response>\n{"name": "add", "content": "3"}\n</tool_response>'
    with pytest.raises(ValueError, match="no tool call in the answer: '三。'"):
        llm.get_tool_calls_from_response(response)


def test_an_invalid_call_is_kept_and_sent_as_not_run(
    make_scripted_model: MakeModel, bailian: BailianEmulator
) -> None:
    llm = BailianAppLLM(
        model=make_scripted_model(tool_call_text("multiply", a=1)), tool_calling="prompt"
    )
    broken = llm.chat_with_tools([ADD], "一乘二？").message
    assert broken.additional_kwargs["invalid_tool_calls"][0]["name"] == "multiply"

    # An invalid call from another model.
    invalid_call = ToolCallBlock(tool_call_id="2", tool_name="add", tool_kwargs='{"a": ')
    history = [ChatMessage("一乘二？"), broken, ChatMessage(role="assistant", blocks=[invalid_call])]
    llm.chat_with_tools([ADD], "那么？", chat_history=history)
    request_text = json.dumps(request_input(bailian)["messages"], ensure_ascii=False)
    assert request_text.count("not run") == 2


def test_without_tool_calling_tools_are_refused(llm: BailianAppLLM) -> None:
    with pytest.raises(NotImplementedError, match="runs its own tools"):
        llm.chat_with_tools([ADD], "一加二？")


def test_predict_and_call_runs_the_tool(make_scripted_model: MakeModel) -> None:
    llm = BailianAppLLM(
        model=make_scripted_model(tool_call_text("add", a=1, b=2)), tool_calling="prompt"
    )

    assert str(llm.predict_and_call([ADD], "一加二？")) == "3"


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_function_agent_runs_tools(
    make_scripted_model: MakeModel, bailian: BailianEmulator, streaming: bool
) -> None:
    llm = BailianAppLLM(
        model=make_scripted_model("我来算。" + tool_call_text("add", a=1, b=2), "得三。"),
        tool_calling="prompt",
    )
    agent = FunctionAgent(tools=[ADD], llm=llm, system_prompt="你会算术。", streaming=streaming)
    handler = agent.run("一加二？")
    deltas = [event.delta async for event in handler.stream_events() if type(event) is AgentStream]
    output = await handler

    assert output.response.content == "得三。"
    assert output.tool_calls[0].tool_output.raw_output == 3
    assert "".join(deltas) == ("我来算。得三。" if streaming else "")
    assert output.raw["finish_reason"] == "stop"
    assert request_input(bailian)["messages"][-1]["content"].startswith("<tool_response>")


@pytest.mark.filterwarnings("ignore:is_running called from within a step")  # called by the agent
async def test_a_react_agent_needs_no_tool_calling(make_scripted_model: MakeModel) -> None:
    steps = (
        'Thought: I need a tool.\nAction: add\nAction Input: {"a": 1, "b": 2}',
        "Thought: I can answer.\nAnswer: 得三。",
    )
    workflow = AgentWorkflow.from_tools_or_functions(
        [add], llm=BailianAppLLM(model=make_scripted_model(*steps))
    )
    [agent] = workflow.agents.values()
    output = await workflow.run("一加二？")

    assert type(agent) is ReActAgent
    assert output.response.content == "得三。"


# -- retrieval ---------------------------------------------------------------------------------------


async def test_nodes_are_the_documents_of_the_retriever(
    retriever: BailianAppRetriever, llm: BailianAppLLM
) -> None:
    documents = BailianRetriever(model=llm.model).invoke(QUESTION)
    nodes = retriever.retrieve(QUESTION)

    assert isinstance(retriever, BaseRetriever)
    assert documents
    assert await retriever.aretrieve(QUESTION) == nodes
    for node, document in zip(nodes, documents, strict=True):
        assert node.node_id == document.id
        assert node.score == document.metadata["score"]
        assert node.text == document.page_content
        assert node.metadata == {
            name: value
            for name, value in document.metadata.items()
            if name not in ("score", "reference_index")
        }
        assert node.node.ref_doc_id == document.metadata["doc_id"]
        llm_content = node.node.get_content("llm")
        assert "title: 滞报金" in llm_content
        assert not any(
            name in llm_content for name in ("score", "doc_id", "pipeline_id", "reference_index")
        )


async def test_a_knowledge_base_is_searched_directly(bailian: BailianEmulator) -> None:
    direct = BailianAppRetriever(
        BailianRetriever(
            pipeline_id="customs001", base_url=bailian.base_url, api_key=bailian.api_key, k=1
        )
    )
    [node] = direct.retrieve(QUESTION)

    assert await direct.aretrieve(QUESTION) == [node]
    assert bailian.requests[-1].path.endswith("/indices/pipeline/customs001/retrieve")
    assert node.text.startswith("滞报金是")
    with pytest.raises(ValueError, match=r"`retriever` together with fields \(k\)"):
        BailianAppRetriever(direct.retriever, k=2)
    with pytest.raises(ValueError, match="expected a non-blank string"):
        direct.retrieve(" ")


async def test_a_query_engine_answers_from_nodes(
    retriever: BailianAppRetriever, make_scripted_model: MakeModel, bailian: BailianEmulator
) -> None:
    llm = BailianAppLLM(model=make_scripted_model("按日征收。"))
    engine = RetrieverQueryEngine.from_args(retriever, llm=llm)
    for answer in (engine.query(QUESTION), await engine.aquery(QUESTION)):
        assert str(answer) == "按日征收。"
        assert answer.source_nodes[0].metadata["title"].startswith("滞报金")
        assert "由海关按日征收的款项" in json.dumps(request_input(bailian), ensure_ascii=False)
    streaming = RetrieverQueryEngine.from_args(retriever, llm=llm, streaming=True)

    assert "".join(streaming.query(QUESTION).response_gen) == "按日征收。"


async def test_a_chat_engine_answers_with_context(
    retriever: BailianAppRetriever, make_scripted_model: MakeModel, bailian: BailianEmulator
) -> None:
    engine = ContextChatEngine.from_defaults(
        retriever,
        llm=BailianAppLLM(model=make_scripted_model("按日征收。")),
        memory=ChatMemoryBuffer.from_defaults(),
    )
    answer = await engine.achat(QUESTION)

    assert str(answer) == "按日征收。"
    assert answer.source_nodes
    assert request_input(bailian)["messages"][0]["role"] == "system"


async def test_an_application_is_a_step_of_a_workflow(
    retriever: BailianAppRetriever, make_scripted_model: MakeModel
) -> None:
    class Retrieved(Event):
        passages: list[str]

    class Explain(Workflow):
        @step
        async def search(self, ctx: Context, ev: StartEvent) -> Retrieved:
            return Retrieved(passages=[node.text for node in await retriever.aretrieve(ev.question)])

        @step
        async def answer(self, ctx: Context, ev: Retrieved) -> StopEvent:
            llm = BailianAppLLM(model=make_scripted_model("按日征收。"))
            return StopEvent((await llm.acomplete("\n".join(ev.passages))).text)

    assert await Explain(timeout=10).run(question=QUESTION) == "按日征收。"


async def test_a_query_engine_is_a_tool_of_an_agent(
    retriever: BailianAppRetriever, make_scripted_model: MakeModel
) -> None:
    model = make_scripted_model(
        tool_call_text("customs", input="滞报金"), "按日征收。", "由海关征收。", tool_calling="prompt"
    )
    llm = BailianAppLLM(model=model)
    engine = RetrieverQueryEngine.from_args(retriever, llm=llm)
    tool = QueryEngineTool.from_defaults(engine, name="customs", description="Customs terms.")
    output = await FunctionAgent(tools=[tool], llm=llm).run(QUESTION)

    assert output.response.content == "由海关征收。"
    assert output.tool_calls[0].tool_output.content == "按日征收。"


# -- as an object ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("connected_environment")
def test_a_dump_has_no_secret_and_can_be_loaded(llm: BailianAppLLM, bailian: BailianEmulator) -> None:
    planted = BailianAppLLM(
        model=llm.model,
        api_key="planted-key",
        memory_id="m",
        rag_options=RagOptions(tags=["2025"]),
        timeout=7,
        context_window=99,
        system_prompt="短。",
        image_list=["https://pictures.example/1.png?Signature=planted"],
        biz_params=BizParams(city="杭州", user_defined_tokens={"tool": "planted-token"}),
    )
    for representation in (planted.to_json(), str(planted.to_dict()), repr(planted)):
        assert "planted" not in representation
    loaded = BailianAppLLM.from_json(planted.to_json())

    assert loaded.model.api_key.get_secret_value() == bailian.api_key
    assert (loaded.model.app_id, loaded.model.memory_id) == (llm.model.app_id, "m")
    assert (loaded.model.timeout, loaded.context_window, loaded.system_prompt) == (7, 99, "短。")
    assert loaded.model.rag_options == RagOptions(tags=["2025"])
    assert loaded.model.biz_params == BizParams(city="杭州")
    assert loaded.to_dict() == planted.to_dict()


@pytest.mark.usefixtures("connected_environment")
def test_a_pickle_has_no_secret_and_answers(llm: BailianAppLLM) -> None:
    planted = BailianAppLLM(model=llm.model, api_key="planted-key")
    data = pickle.dumps(planted)

    assert b"planted" not in data
    assert pickle.loads(data).complete(QUESTION).text  # noqa: S301
    tokens = BizParams(user_defined_tokens={"tool": "t"})
    with pytest.raises(TypeError, match="cannot pickle `user_defined_tokens`"):
        pickle.dumps(BailianAppLLM(model=llm.model, biz_params=tokens))


def test_it_can_be_the_model_of_the_settings(llm: BailianAppLLM) -> None:
    Settings.llm = llm
    try:
        assert Settings.llm is llm
    finally:
        Settings._llm = None


def test_field_errors_do_not_show_the_values(llm: BailianAppLLM) -> None:
    with pytest.raises(ValidationError) as caught:
        BailianAppLLM(model=llm.model, api_key="planted-key", timeout=-1)

    assert "timeout" in str(caught.value)
    assert "planted" not in str(caught.value)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("langchain_bailian_app.llama_index")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "llama_index", None)

    with pytest.raises(ImportError, match=r"pip install 'langchain-bailian-app\[llama-index\]'"):
        importlib.import_module("langchain_bailian_app.llama_index")


# -- fusion, and prompts made of messages -------------------------------------------------------------


def test_fusion_counts_a_passage_of_several_queries_once(
    retriever: BailianAppRetriever, llm: BailianAppLLM
) -> None:
    queries = [QUESTION, "滞报金按什么计收？"]
    found = [retriever.retrieve(query) for query in queries]
    scores = [{node.node_id: node.score for node in nodes} for nodes in found]
    shared = scores[0].keys() & scores[1].keys()
    assert any(scores[0][node_id] != scores[1][node_id] for node_id in shared)

    fusion = QueryFusionRetriever(
        [retriever],
        llm=llm,
        num_queries=1,
        mode=FUSION_MODES.RECIPROCAL_RANK,
        similarity_top_k=20,
        use_async=False,
    )
    results = {(query, 0): nodes for query, nodes in zip(queries, found, strict=True)}
    fused = fusion._reciprocal_rerank_fusion(results)

    assert len(fused) == len(scores[0].keys() | scores[1].keys())


def test_signed_urls_do_not_change_a_node() -> None:
    def make_node(signature: str) -> Any:
        metadata = {"title": "图", "images": [f"https://x.test/a.png?{signature}"], "score": 0.5}
        return _node_from_document(Document("文", id="c-1", metadata=metadata)).node

    first, second = make_node("a"), make_node("b")

    assert first.hash == second.hash
    assert first.metadata != second.metadata
    assert "score" not in first.metadata


def test_prompts_made_of_messages_do_not_show_the_session(llm: BailianAppLLM) -> None:
    session_llm = BailianAppLLM(model=llm.model, history="session")
    message = session_llm.chat(MESSAGES).message
    state = message.additional_kwargs["bailian_session"]

    prompt = messages_to_history_str([*MESSAGES, message])
    assert state["session_id"]
    assert state["session_id"] not in prompt
    assert json.loads(message.model_dump_json())["additional_kwargs"]["bailian_session"] == dict(state)
