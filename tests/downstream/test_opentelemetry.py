"""Tests of what instrumentation for OpenTelemetry records."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry.instrumentation.langchain import LangchainInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langchain_bailian_app.emulator import Reply
from tests.call_styles import all_call_styles, invoke

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_bailian_app import BailianAppChatModel
    from tests.call_styles import CallStyle

    MakeModel = Callable[..., BailianAppChatModel]

USAGE = [
    {"model_id": "router", "input_tokens": 50, "output_tokens": 5},
    {"model_id": "writer", "input_tokens": 100, "output_tokens": 20},
    {"model_id": "checker", "input_tokens": 200, "output_tokens": 1},
]


@pytest.fixture(
    scope="module", params=[LangchainInstrumentor, LangChainInstrumentor], ids=["otel", "openinference"]
)
def instrumented(request: pytest.FixtureRequest) -> Iterator[InMemorySpanExporter]:
    """Instrument LangChain once: OpenTelemetry's instrumentation cannot be undone completely."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = request.param()
    instrumentor.instrument(tracer_provider=provider)
    yield exporter
    instrumentor.uninstrument()


@pytest.fixture
def exporter(instrumented: InMemorySpanExporter) -> InMemorySpanExporter:
    """Return an exporter without spans."""
    instrumented.clear()
    return instrumented


def model_attributes(exporter: InMemorySpanExporter) -> dict[str, Any]:
    """Return the attributes of the only span, under the names of OpenTelemetry."""
    (span,) = exporter.get_finished_spans()
    attributes = dict(span.attributes or {})
    openinference_names = {
        "llm.model_name": "gen_ai.response.model",
        "llm.token_count.prompt": "gen_ai.usage.input_tokens",
        "llm.token_count.completion": "gen_ai.usage.output_tokens",
        "llm.finish_reason": "gen_ai.response.finish_reasons",
    }
    return attributes | {
        name: attributes[key] for key, name in openinference_names.items() if key in attributes
    }


@all_call_styles
async def test_a_span_has_the_model_its_tokens_and_the_finish_reason(
    make_scripted_model: MakeModel, exporter: InMemorySpanExporter, call_style: CallStyle
) -> None:
    await call_style(make_scripted_model(Reply("滞报金是……", usage=USAGE), app_model="asked"))

    attributes = model_attributes(exporter)
    # LangChain has no `llm_output` for a stream, so the name is the one that is known before the call.
    is_stream = "stream" in call_style.__name__
    assert attributes["gen_ai.response.model"] == ("asked" if is_stream else "writer")
    assert attributes.get("gen_ai.request.model", "asked") == "asked"
    assert attributes["gen_ai.usage.input_tokens"] == 350
    assert attributes["gen_ai.usage.output_tokens"] == 26
    assert attributes["gen_ai.response.finish_reasons"] in {"stop", ("stop",)}


@all_call_styles
async def test_without_a_model_the_application_is_named(
    make_scripted_model: MakeModel, exporter: InMemorySpanExporter, call_style: CallStyle
) -> None:
    model = make_scripted_model(Reply("答案", usage=[]))
    await call_style(model)

    assert model_attributes(exporter)["gen_ai.response.model"] == model.app_id


@pytest.mark.parametrize("empty", ["input_tokens", "output_tokens"])
async def test_a_model_without_tokens_is_recorded(
    make_scripted_model: MakeModel, exporter: InMemorySpanExporter, empty: str
) -> None:
    usage = USAGE[1] | {empty: 0}
    await invoke(make_scripted_model(Reply("答案", usage=[usage])))

    attributes = model_attributes(exporter)
    assert attributes["gen_ai.response.model"] == "writer"
    for name in ("input_tokens", "output_tokens"):
        assert attributes[f"gen_ai.usage.{name}"] == usage[name]


@all_call_styles
async def test_a_span_has_the_versions(
    make_scripted_model: MakeModel, exporter: InMemorySpanExporter, call_style: CallStyle
) -> None:
    await call_style(make_scripted_model("答案"))

    attributes = model_attributes(exporter)
    versions = attributes.get("traceloop.association.properties.lc_versions")
    if versions is None:  # OpenInference
        versions = json.dumps(json.loads(attributes["metadata"])["lc_versions"])
    assert json.loads(versions) == {
        name: version(name) for name in ("langchain-core", "langchain", "langchain-bailian-app")
    }
