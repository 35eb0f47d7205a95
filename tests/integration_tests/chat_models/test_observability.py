"""Tests of observability: progress in event streams, and traces for debugging."""

from __future__ import annotations

import copy
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.tracers import BaseTracer
from pydantic import BaseModel

from langchain_bailian_app.emulator import App, ErrorReply, Node, Reply
from langchain_bailian_app.errors import BailianRateLimitError
from tests.call_styles import collect_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.outputs import LLMResult
    from langchain_core.tracers import Run

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

    MakeModel = Callable[..., BailianAppChatModel]

QUESTION = "什么是滞报金？"


class Tracer(BaseTracer):
    """Tracer that keeps the runs that LangSmith would receive."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.runs.append(run)


@pytest.fixture
def workflow(bailian: BailianEmulator) -> str:
    nodes = [Node("开始", "Start"), Node("写诗", text="春眠不觉晓。"), Node("结束", "End")]
    return bailian.add_app(App("poet", kind="workflow", nodes=nodes))


async def test_events_v2_contain_steps(make_model: MakeModel) -> None:
    block_types = []
    async for event in make_model().astream_events(QUESTION, version="v2", has_thoughts=True):
        if event["event"] == "on_chat_model_stream":
            chunk = event["data"]["chunk"]
            block_types += [block["type"] for block in chunk.content_blocks]

    assert block_types[:2] == ["server_tool_call", "server_tool_result"]
    assert block_types.count("text") > 3


async def test_events_v2_contain_nodes(make_model: MakeModel, workflow: str) -> None:
    node_states = []
    model = make_model(workflow, answer_node="写诗")
    async for event in model.astream_events("写", version="v2"):
        if event["event"] == "on_chat_model_stream":
            nodes = event["data"]["chunk"].additional_kwargs.get("nodes", [])
            node_states += [(node["name"], node["status"]) for node in nodes]

    assert node_states == [
        ("开始", "success"),
        ("写诗", "executing"),
        ("写诗", "success"),
        ("结束", "success"),
    ]


@pytest.mark.parametrize("kind", ["server_tool_call", "server_tool_result", "non_standard"])
def test_events_v3_contain_steps_and_nodes(make_model: MakeModel, workflow: str, kind: str) -> None:
    model = make_model(workflow, answer_node="写诗") if kind == "non_standard" else make_model()
    events = list(model.stream_events(QUESTION, version="v3", has_thoughts=True))

    finished = [e["content"]["type"] for e in events if e["event"] == "content-block-finish"]
    assert kind in finished
    assert finished.index(kind) < len(finished) - 1


@pytest.mark.parametrize("call_style", ["invoke", "stream", "ainvoke"])
async def test_a_trace_contains_the_application_and_its_usage(
    make_model: MakeModel, bailian: BailianEmulator, call_style: str
) -> None:
    tracer = Tracer()
    model = make_model().with_config(callbacks=[tracer])
    if call_style == "ainvoke":
        await model.ainvoke(QUESTION)
    else:
        list(getattr(model, call_style)(QUESTION))

    (run,) = tracer.runs
    metadata = run.extra["metadata"]
    message = run.outputs["generations"][0][0]["message"]["kwargs"]
    assert metadata["ls_provider"] == "bailian"
    assert metadata["ls_model_name"] == bailian.app_id
    assert message["usage_metadata"]["total_tokens"] > 0
    assert message["response_metadata"]["request_id"]
    assert message["response_metadata"]["app_id"] == bailian.app_id


async def test_a_trace_of_a_failure_has_the_response(
    make_model: MakeModel, bailian: BailianEmulator
) -> None:
    tracer = Tracer()
    app_id = bailian.add_app(App("busy", error=ErrorReply.of("Throttling.RateQuota")))
    model = make_model(app_id, max_retries=0)

    with pytest.raises(BailianRateLimitError) as caught:
        await model.ainvoke(QUESTION, {"callbacks": [tracer]})

    (run,) = tracer.runs
    assert "Throttling.RateQuota" in run.error
    assert caught.value.request_id
    assert caught.value.response.status_code == 429
    assert caught.value.response.json()["code"] == "Throttling.RateQuota"


async def test_a_retriever_is_traced_as_one(make_model: MakeModel, bailian: BailianEmulator) -> None:
    from langchain_bailian_app import BailianRetriever  # noqa: PLC0415  # only this test needs it

    tracer = Tracer()
    retriever = BailianRetriever(model=make_model(), k=1)

    await retriever.ainvoke(QUESTION, {"callbacks": [tracer]})

    (run,) = tracer.runs
    assert run.run_type == "retriever"
    assert run.extra["metadata"]["ls_vector_store_provider"] == "bailian"
    assert "滞报金" in run.outputs["documents"][0].page_content


# -- what tracers read --------------------------------------------------------------------------------


CALL_STYLES = pytest.mark.parametrize("call_style", ["invoke", "ainvoke", "stream", "astream"])


class TokenListener(BaseCallbackHandler):
    """Handler for which `invoke` streams internally."""

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        pass


class ResultKeeper(BaseCallbackHandler):
    """Handler that keeps the results of models."""

    def __init__(self) -> None:
        self.results: list[LLMResult] = []

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        self.results.append(response)


def usage_of(**models: tuple[int, int]) -> list[dict[str, Any]]:
    return [
        {"model_id": name, "input_tokens": count[0], "output_tokens": count[1]}
        for name, count in models.items()
    ]


@pytest.fixture
def three_models(make_scripted_model: MakeModel) -> BailianAppChatModel:
    """Return a model of an application in which the second of three models writes the answer."""
    usage = usage_of(router=(50, 5), writer=(100, 20), checker=(200, 1))
    return make_scripted_model(Reply("滞报金是……", usage=usage))


@CALL_STYLES
async def test_a_trace_contains_the_versions_of_all_packages(
    make_model: MakeModel, call_style: str
) -> None:
    tracer = Tracer()
    await collect_message(make_model(), call_style, QUESTION, {"callbacks": [tracer]})

    assert tracer.runs[0].extra["metadata"]["lc_versions"] == {
        name: version(name) for name in ("langchain-core", "langchain", "langchain-bailian-app")
    }


@pytest.mark.parametrize("change", [copy.copy, copy.deepcopy, BaseModel.model_copy])
def test_copies_keep_the_versions(make_model: MakeModel, change: Callable[..., Any]) -> None:
    model = make_model(metadata={"team": "客服"})

    assert change(model).metadata == model.metadata
    assert model.metadata["team"] == "客服"
    assert len(model.metadata["lc_versions"]) == 3


@pytest.mark.parametrize("listeners", [[], [TokenListener()]], ids=["", "with a token listener"])
@CALL_STYLES
async def test_a_result_names_the_model_that_wrote_most(
    three_models: BailianAppChatModel, call_style: str, listeners: list[BaseCallbackHandler]
) -> None:
    keeper = ResultKeeper()
    message = await collect_message(
        three_models, call_style, QUESTION, {"callbacks": [keeper, *listeners]}
    )

    (result,) = keeper.results
    generation = result.generations[0][0]
    token_usage = {"prompt_tokens": 350, "completion_tokens": 26, "total_tokens": 376}
    assert generation.generation_info == {"finish_reason": "stop", "model_name": "writer"}
    if "stream" in call_style:
        assert result.llm_output is None  # LangChain has none for a stream
    else:
        assert result.llm_output == {"model_name": "writer", "token_usage": token_usage}
    for metadata in (message.response_metadata, generation.message.response_metadata):
        assert metadata["model_name"] == "writer"
        assert metadata["finish_reason"] == "stop"
        assert metadata["token_usage"] == token_usage


async def test_all_ways_of_calling_give_the_same_message(three_models: BailianAppChatModel) -> None:
    configs = [{}, {"callbacks": [TokenListener()]}]
    messages = [
        await collect_message(three_models, call_style, QUESTION, config)
        for call_style in ("invoke", "ainvoke", "stream", "astream")
        for config in configs
    ]
    messages.append(three_models.stream_events(QUESTION, version="v3").output)

    volatile = {"request_id", "session_id", "session_key", "output_version"}
    for message in messages:
        message.id = None
        for key in volatile & message.response_metadata.keys():
            del message.response_metadata[key]
    for message in messages[:-1]:
        assert message == messages[0]
    assert messages[-1].response_metadata == messages[0].response_metadata


@pytest.mark.parametrize("call_style", ["generate", "agenerate"])
async def test_several_results_are_combined(three_models: BailianAppChatModel, call_style: str) -> None:
    batch = [[HumanMessage(QUESTION)]] * 2
    result = (
        three_models.generate(batch)
        if call_style == "generate"
        else await three_models.agenerate(batch)
    )

    token_usage = {"prompt_tokens": 700, "completion_tokens": 52, "total_tokens": 752}
    assert result.llm_output == {"model_name": "writer", "token_usage": token_usage}


def test_cached_results_have_no_usage(three_models: BailianAppChatModel) -> None:
    model = three_models.model_copy(update={"cache": InMemoryCache()})
    model.generate([[HumanMessage(QUESTION)]])

    assert model.generate([[HumanMessage(QUESTION)]]).llm_output == {}


@pytest.mark.parametrize(
    ("fields", "options", "expected"),
    [
        ({}, {}, None),
        ({"app_model": "qwen-plus"}, {}, "qwen-plus"),
        ({"app_model": "qwen-plus"}, {"app_model": "qwen-max"}, "qwen-max"),
    ],
)
@pytest.mark.parametrize("usage", [[], None], ids=["no usage", "usage of the emulator"])
def test_a_call_names_the_model_before_it_is_known(
    make_scripted_model: MakeModel,
    fields: dict[str, Any],
    options: dict[str, Any],
    expected: str | None,
    usage: list[Any] | None,
) -> None:
    tracer = Tracer()
    model = make_scripted_model(Reply("答案", usage=usage), **fields)
    message = model.invoke(QUESTION, {"callbacks": [tracer]}, **options)

    expected = expected or model.app_id
    (run,) = tracer.runs
    assert run.extra["invocation_params"]["model"] == expected
    assert run.extra["invocation_params"]["app_id"] == model.app_id
    assert run.extra["metadata"]["ls_model_name"] == expected
    if usage == []:
        assert message.response_metadata["model_name"] == expected
        assert message.usage_metadata is None
        assert "token_usage" not in message.response_metadata


@pytest.mark.parametrize(
    ("text", "references", "hinted"),
    [
        ("你好！", [], False),
        ("根据文档，是关税<ref>[1]</ref>。", [], True),
        ("根据文档，是关税<ref>[1]</ref>。", None, False),
    ],
    ids=["no markers", "markers without references", "markers with references"],
)
@CALL_STYLES
async def test_only_markers_without_references_are_reported(
    bailian: BailianEmulator,
    make_model: MakeModel,
    caplog: pytest.LogCaptureFixture,
    call_style: str,
    text: str,
    references: list[Any] | None,
    hinted: bool,
) -> None:
    knowledge_bases = bailian.apps[bailian.app_id].knowledge_bases
    reply = Reply(text, references=references)
    app = App("searches", answer=lambda _: reply, knowledge_bases=knowledge_bases)
    app_id = bailian.add_app(app)
    model = make_model(app_id, has_thoughts=True)
    message = await collect_message(model, call_style, QUESTION)

    assert message.additional_kwargs["thoughts"]  # it did search
    assert ("展示回答来源" in caplog.text) == hinted
