"""Tests of structured output: requests, retries and results."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypedDict

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_tests.integration_tests import ChatModelIntegrationTests
from pydantic import BaseModel

from langchain_bailian_app import InMemorySessionStore
from langchain_bailian_app.emulator import ErrorReply, Reply
from langchain_bailian_app.errors import BailianError

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.runnables import RunnableConfig

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

    MakeModel = Callable[..., BailianAppChatModel]


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    degrees: int


class WeatherDict(TypedDict):
    """The weather of a city."""

    city: Annotated[str, ..., "the city"]
    degrees: Annotated[int, ..., "the temperature"]


WEATHER = {"city": "杭州", "degrees": 21}
TEXT = json.dumps(WEATHER, ensure_ascii=False)
VALID_ANSWER = f"好的：\n```json\n{TEXT}\n```"
INVALID_ANSWER = '{"city": "杭州", "degrees": "warm"}'
QUESTION = "杭州天气怎么样？"
CALL_STYLES = ("invoke", "ainvoke", "stream", "astream")


def sent_inputs(bailian: BailianEmulator) -> list[dict[str, Any]]:
    return [request.body["input"] for request in bailian.requests]


async def last_output(call_style: str, model: Any, config: RunnableConfig | None = None) -> Any:
    """Call the model in a call style and return its last output."""
    if call_style == "invoke":
        return model.invoke(QUESTION, config)
    if call_style == "ainvoke":
        return await model.ainvoke(QUESTION, config)
    if call_style == "stream":
        return list(model.stream(QUESTION, config))[-1]
    return [part async for part in model.astream(QUESTION, config)][-1]


class RunRecorder(BaseCallbackHandler):
    """Callback handler that records runs and their parents."""

    def __init__(self) -> None:
        self.chains: list[Any] = []
        self.outputs: list[Any] = []
        self.parents: list[Any] = []
        self.options: list[Any] = []

    def on_chain_start(self, *args: Any, run_id: Any, **kwargs: Any) -> None:
        self.chains.append((run_id, kwargs.get("name")))

    def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
        self.outputs.append(outputs)

    def on_chat_model_start(self, *args: Any, parent_run_id: Any = None, **kwargs: Any) -> None:
        self.parents.append(parent_run_id)
        self.options.append(kwargs["options"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "result"),
    [
        (Weather, Weather(**WEATHER)),
        (WeatherDict, WEATHER),
        (Weather.model_json_schema(), WEATHER),
    ],
)
@pytest.mark.parametrize("method", ["json_schema", "prompt", "json_mode"])
async def test_every_kind_of_schema_works_in_every_call_style(
    make_scripted_model: MakeModel, schema: Any, result: Any, method: Any
) -> None:
    model = make_scripted_model(VALID_ANSWER).with_structured_output(schema, method=method)

    assert model.invoke(QUESTION) == result
    assert await model.ainvoke([("human", QUESTION)]) == result
    assert model.batch([QUESTION] * 3) == [result] * 3
    assert await model.abatch([[HumanMessage(QUESTION)]] * 3) == [result] * 3
    assert list(model.stream(QUESTION))[-1] == result
    assert [part async for part in model.astream(QUESTION)][-1] == result


def test_only_the_last_question_contains_the_schema(
    bailian: BailianEmulator, make_scripted_model: MakeModel
) -> None:
    model = make_scripted_model(VALID_ANSWER).with_structured_output(Weather)
    model.invoke(QUESTION)
    messages = [
        SystemMessage("rules"),
        HumanMessage("first"),
        AIMessage("yes"),
        HumanMessage("and Hangzhou?"),
    ]
    model.invoke(messages)

    first, second = sent_inputs(bailian)
    assert first["prompt"].startswith(f"{QUESTION}\n\n请只用 JSON 回答")
    assert [message["content"] for message in second["messages"][:3]] == ["rules", "first", "yes"]
    assert second["messages"][3]["content"].startswith("and Hangzhou?\n\nAnswer with JSON only")
    for text in (first["prompt"], second["messages"][3]["content"]):
        assert json.loads(text.rpartition("\n\n")[2]) == Weather.model_json_schema()
    assert messages[3].content == "and Hangzhou?"


def test_attachments_are_sent_with_the_second_call_too(
    bailian: BailianEmulator, make_scripted_model: MakeModel
) -> None:
    url = "https://example.com/a.png"
    question = HumanMessage([{"type": "text", "text": "Where is it?"}, {"type": "image", "url": url}])
    make_scripted_model(INVALID_ANSWER, VALID_ANSWER).with_structured_output(Weather).invoke([question])

    assert [body["image_list"] for body in sent_inputs(bailian)] == [[url], [url]]


async def test_an_invalid_answer_is_retried_once(
    bailian: BailianEmulator, make_scripted_model: MakeModel
) -> None:
    for schema, error in (
        (Weather, "`degrees`: Input should be a valid integer"),
        (WeatherDict, "`degrees` must be of type integer, not string"),
    ):
        for call_style in CALL_STYLES:
            output = await last_output(
                call_style,
                make_scripted_model(INVALID_ANSWER, VALID_ANSWER).with_structured_output(schema),
            )

            first, second = sent_inputs(bailian)
            question, answer, retry = second["messages"]
            assert dict(output) == WEATHER
            assert question == {"role": "user", "content": first["prompt"]}
            assert answer == {"role": "assistant", "content": INVALID_ANSWER}
            assert retry["role"] == "user"
            assert retry["content"].startswith(f"上面的回答不符合要求：{error}")


async def test_a_second_invalid_answer_is_an_error_with_that_answer(
    bailian: BailianEmulator, make_scripted_model: MakeModel
) -> None:
    for call_style in CALL_STYLES:
        model = make_scripted_model(INVALID_ANSWER, "I cannot.").with_structured_output(Weather)
        with pytest.raises(OutputParserException, match="it contains no JSON") as caught:
            await last_output(call_style, model)

        assert caught.value.llm_output == "I cannot."
        assert len(bailian.requests) == 2


def test_an_empty_answer_is_retried_once(
    bailian: BailianEmulator, make_scripted_model: MakeModel
) -> None:
    assert (
        make_scripted_model("", VALID_ANSWER).with_structured_output(WeatherDict).invoke(QUESTION)
        == WEATHER
    )
    assert [message["role"] for message in sent_inputs(bailian)[1]["messages"]] == ["user", "user"]


async def test_include_raw_returns_the_parsed_message(make_scripted_model: MakeModel) -> None:
    model = make_scripted_model(INVALID_ANSWER, VALID_ANSWER).with_structured_output(
        Weather, include_raw=True
    )
    result: Any = model.invoke(QUESTION)

    assert isinstance(result["raw"], AIMessage)
    assert result["raw"].text == VALID_ANSWER
    assert result["raw"].usage_metadata
    assert result["parsed"] == Weather(**WEATHER)
    assert result["parsing_error"] is None

    model = make_scripted_model(INVALID_ANSWER, "{}").with_structured_output(Weather, include_raw=True)
    for result in (await model.ainvoke(QUESTION), list(model.stream(QUESTION))[-1]):
        assert result["raw"].text == "{}"
        assert result["parsed"] is None
        assert isinstance(result["parsing_error"], OutputParserException)
        assert result["parsing_error"].llm_output == "{}"


async def test_a_stream_shows_the_object_as_it_grows(make_scripted_model: MakeModel) -> None:
    pieces = ["好的：", '{"ci', 'ty": "杭', '州", "deg', 'rees": 2', "1}", "。"]
    answer = Reply("".join(pieces), pieces=pieces)
    parts = [{}, {"city": "杭"}, {"city": "杭州"}, {"city": "杭州", "degrees": 2}, WEATHER]

    plain = make_scripted_model(answer).with_structured_output(WeatherDict)
    assert list(plain.stream(QUESTION)) == parts
    assert [part async for part in plain.astream(QUESTION)] == parts

    instances = make_scripted_model(answer).with_structured_output(Weather)
    assert list(instances.stream(QUESTION)) == [Weather(city="杭州", degrees=2), Weather(**WEATHER)]

    raw = make_scripted_model(answer).with_structured_output(WeatherDict, include_raw=True)
    outputs: list[Any] = list(raw.stream(QUESTION))
    assert [part["parsed"] for part in outputs] == [*parts, WEATHER]
    assert [part["raw"].text for part in outputs][:2] == ['好的：{"ci', '好的：{"city": "杭']
    assert outputs[-1]["raw"].response_metadata["finish_reason"] == "stop"
    assert [part async for part in raw.astream(QUESTION)][-1]["parsed"] == WEATHER


def test_an_invalid_stream_ends_with_the_retried_object(make_scripted_model: MakeModel) -> None:
    parts = list(
        make_scripted_model(INVALID_ANSWER, VALID_ANSWER)
        .with_structured_output(WeatherDict)
        .stream(QUESTION)
    )

    assert str(parts[-2]["degrees"]).startswith("w")
    assert parts[-1] == WEATHER


async def test_leaving_a_stream_closes_the_connection(
    bailian: BailianEmulator, make_scripted_model: MakeModel
) -> None:
    model = make_scripted_model(VALID_ANSWER + "慢慢地说。" * 100)
    bailian.apps[model.app_id].pace = 0.02
    structured = model.with_structured_output(WeatherDict)
    for part in structured.stream(QUESTION):
        assert part == {}
        break
    async for part in structured.astream(QUESTION):
        assert part == {}
        break
    await asyncio.sleep(0.1)

    for request in bailian.requests:
        assert request.wait(1)
        assert not request.finished


@pytest.mark.parametrize("history", ["session", "thread"])
async def test_structured_output_uses_no_session(
    bailian: BailianEmulator, make_scripted_model: MakeModel, history: str
) -> None:
    config: RunnableConfig = {"configurable": {"bailian_session_id": "s", "thread_id": "t"}}
    model = make_scripted_model(
        INVALID_ANSWER,
        VALID_ANSWER,
        history=history,
        session_store=InMemorySessionStore(),
        session_id="mine",
    )
    structured = model.with_structured_output(WeatherDict, include_raw=True)
    nested = RunnableLambda(structured.invoke)
    for result in (
        structured.invoke(QUESTION, config),
        await structured.ainvoke(QUESTION, config),
        list(structured.stream(QUESTION, config))[-1],
        nested.invoke(QUESTION, config),
    ):
        assert result["parsed"] == WEATHER
        assert result["raw"].response_metadata["history"] == "messages"
        assert "session_digest" not in result["raw"].response_metadata

    assert all("session_id" not in body for body in sent_inputs(bailian))
    # The service creates a session for each request without one, but the model never uses it.
    assert len(bailian.sessions()) == len(bailian.requests)
    assert (model.history, model.session_id) == (history, "mine")


def test_a_turn_of_a_conversation_may_be_structured(
    bailian: BailianEmulator, make_scripted_model: MakeModel
) -> None:
    model = make_scripted_model("first", VALID_ANSWER, "third", history="session")
    first = model.invoke(QUESTION)
    messages = [HumanMessage(QUESTION), first, HumanMessage("?")]

    assert model.with_structured_output(WeatherDict).invoke(messages) == WEATHER
    assert model.invoke(messages).text == "third"
    assert sent_inputs(bailian)[2]["session_id"] == first.response_metadata["session_id"]
    assert len(bailian.session(first.response_metadata["session_id"])) == 2


def test_markers_and_stop_leave_the_json_intact(make_scripted_model: MakeModel) -> None:
    answer = '{"city": "杭州<ref>[1]</ref>", "degrees": 21}'
    model = make_scripted_model(answer, stop=["21"], citation_markers="keep").with_structured_output(
        WeatherDict
    )

    assert model.invoke(QUESTION) == WEATHER


def test_keywords_reach_every_call(bailian: BailianEmulator, make_scripted_model: MakeModel) -> None:
    model = make_scripted_model(INVALID_ANSWER, VALID_ANSWER).with_structured_output(
        Weather, memory_id="m", strict=True, biz_params={"user_defined_tokens": {"t": "secret"}}
    )
    model.invoke(QUESTION, temperature=0.5)

    assert [body["memory_id"] for body in sent_inputs(bailian)] == ["m", "m"]
    assert [request.body["parameters"]["temperature"] for request in bailian.requests] == [0.5, 0.5]
    assert "secret" not in repr(model)


@pytest.mark.parametrize("name", ["history", "session_id", "session_key", "stop", "citation_markers"])
def test_forced_options_are_rejected_as_keywords(make_scripted_model: MakeModel, name: str) -> None:
    model = make_scripted_model(VALID_ANSWER)
    with pytest.raises(TypeError, match=f"cannot use `{name}`"):
        model.with_structured_output(Weather, **{name: "thread"})
    with pytest.raises(TypeError, match=f"cannot use `{name}`"):
        model.with_structured_output(Weather).invoke(QUESTION, **{name: "thread"})
    model.with_structured_output(Weather).invoke(QUESTION, **{name: None})


def test_invalid_arguments_are_rejected_immediately(make_scripted_model: MakeModel) -> None:
    model = make_scripted_model(VALID_ANSWER)
    with pytest.raises(TypeError, match="did you mean `memory_id`"):
        model.with_structured_output(Weather, memory="m")
    with pytest.raises(ValueError, match=r"expected one of 'json_schema'.*got 'magic'"):
        model.with_structured_output(Weather, method="magic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="missing `schema`"):
        model.with_structured_output(None)
    with pytest.raises(ValueError, match="a pydantic class"):
        model.with_structured_output(int)


def test_in_json_mode_any_object_will_do(
    bailian: BailianEmulator, make_scripted_model: MakeModel
) -> None:
    model = make_scripted_model('[1]: {"a": 1}').with_structured_output(method="json_mode")

    assert model.invoke(QUESTION) == {"a": 1}
    assert sent_inputs(bailian)[0]["prompt"].endswith(
        "请只用一个 JSON 对象回答，不要代码块，也不要其他文字。"
    )


async def test_structured_output_works_in_a_chain(make_scripted_model: MakeModel) -> None:
    prompt = ChatPromptTemplate.from_messages([("system", "rules"), ("human", "{city}?")])
    chain = (
        prompt
        | make_scripted_model(VALID_ANSWER).with_structured_output(Weather)
        | (lambda weather: weather.degrees)
    )

    assert chain.invoke({"city": "杭州"}) == 21
    assert await chain.ainvoke({"city": "杭州"}) == 21
    assert list(chain.stream({"city": "杭州"})) == [21]


def test_fallbacks_and_retries_wrap_structured_output(
    bailian: BailianEmulator, make_scripted_model: MakeModel
) -> None:
    valid_model = make_scripted_model(VALID_ANSWER).with_structured_output(WeatherDict)
    invalid_model = make_scripted_model(INVALID_ANSWER).with_structured_output(WeatherDict)
    assert invalid_model.with_fallbacks([valid_model]).invoke(QUESTION) == WEATHER

    third = make_scripted_model(INVALID_ANSWER, INVALID_ANSWER, VALID_ANSWER).with_structured_output(
        WeatherDict
    )
    retried = third.with_retry(
        retry_if_exception_type=(OutputParserException,), wait_exponential_jitter=False
    )
    assert retried.invoke(QUESTION) == WEATHER
    assert len(bailian.requests) == 3


def test_errors_of_the_service_are_not_wrapped(
    bailian: BailianEmulator, make_scripted_model: MakeModel
) -> None:
    model = make_scripted_model(VALID_ANSWER)
    bailian.apps[model.app_id].error = ErrorReply(400, "DataInspectionFailed", "no")

    with pytest.raises(BailianError):
        model.with_structured_output(Weather, include_raw=True).invoke(QUESTION)


async def test_traces_show_one_run_with_both_calls_and_the_schema(
    make_scripted_model: MakeModel,
) -> None:
    for call_style in CALL_STYLES:
        recorder = RunRecorder()
        model = make_scripted_model(INVALID_ANSWER, VALID_ANSWER).with_structured_output(WeatherDict)
        await last_output(call_style, model, {"callbacks": [recorder]})

        ((run_id, name),) = recorder.chains
        assert name == "StructuredOutput"
        assert recorder.parents == [run_id, run_id]
        assert recorder.outputs == [WEATHER]
        for options in recorder.options:
            assert options["ls_structured_output_format"] == {
                "kwargs": {"method": "json_schema"},
                "schema": convert_to_json_schema(WeatherDict),
            }


async def test_events_contain_tokens_and_objects(make_scripted_model: MakeModel) -> None:
    model = make_scripted_model(VALID_ANSWER).with_structured_output(WeatherDict)
    events = [event async for event in model.astream_events(QUESTION, version="v2")]

    assert any(event["event"] == "on_chat_model_stream" for event in events)
    assert events[-1]["event"] == "on_chain_end"
    assert events[-1]["data"]["output"] == WEATHER


class TestStandard:
    """LangChain's standard tests of structured output."""

    has_structured_output = True
    supports_json_mode = True
    structured_output_kwargs: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def model(self, make_scripted_model: MakeModel) -> BailianAppChatModel:
        return make_scripted_model('{"setup": "Why do cats purr?", "punchline": "They are on."}')

    test_structured_output = ChatModelIntegrationTests.test_structured_output
    test_structured_output_async = ChatModelIntegrationTests.test_structured_output_async
    test_structured_output_pydantic_2_v1 = (
        ChatModelIntegrationTests.test_structured_output_pydantic_2_v1
    )
    test_structured_output_optional_param = (
        ChatModelIntegrationTests.test_structured_output_optional_param
    )
    test_json_mode = ChatModelIntegrationTests.test_json_mode
