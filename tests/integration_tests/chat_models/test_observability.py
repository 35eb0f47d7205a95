"""Tests of observability: progress in event streams, and traces for debugging."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_core.tracers import BaseTracer

from langchain_bailian_app.emulator import App, ErrorReply, Node
from langchain_bailian_app.errors import BailianRateLimitError

if TYPE_CHECKING:
    from collections.abc import Callable

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
