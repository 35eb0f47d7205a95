"""Tests of what Langfuse shows of a call."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from langfuse import Langfuse
from langfuse.langchain import CallbackHandler
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langchain_bailian_app.emulator import Reply
from tests.call_styles import all_call_styles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_bailian_app import BailianAppChatModel
    from tests.call_styles import CallStyle

    MakeModel = Callable[..., BailianAppChatModel]

USAGE = [
    {"model_id": "writer", "input_tokens": 100, "output_tokens": 20},
    {"model_id": "checker", "input_tokens": 200, "output_tokens": 1},
]


@pytest.fixture(scope="module")
def client() -> Iterator[tuple[Langfuse, InMemorySpanExporter]]:
    """Configure Langfuse, which keeps one client for each key; the spans go to memory."""
    exporter = InMemorySpanExporter()
    client = Langfuse(
        public_key="pk-test",
        secret_key="sk-test",
        base_url="http://127.0.0.1:9",
        tracer_provider=TracerProvider(),
        span_exporter=exporter,
    )
    yield client, exporter
    client.shutdown()


@all_call_styles
async def test_langfuse_shows_the_model_and_its_usage(
    make_scripted_model: MakeModel,
    client: tuple[Langfuse, InMemorySpanExporter],
    call_style: CallStyle,
) -> None:
    langfuse, exporter = client
    exporter.clear()
    model = make_scripted_model(Reply("滞报金是……", usage=USAGE))
    await call_style(model, config={"callbacks": [CallbackHandler(public_key="pk-test")]})
    langfuse.flush()

    (span,) = exporter.get_finished_spans()
    attributes: dict[str, Any] = dict(span.attributes or {})
    is_stream = "stream" in call_style.__name__
    assert attributes["langfuse.observation.model.name"] == (model.app_id if is_stream else "writer")
    usage = json.loads(attributes["langfuse.observation.usage_details"])
    assert usage["input"] == 300
    assert usage["output"] == 21
