"""Tests of the unmodified official SDK against the emulator, to verify the emulator's protocol."""

from collections.abc import Iterator
from typing import Any

import dashscope
import pytest
from dashscope.v2.errors import DashScopeError, RateLimitError

from langchain_bailian_app.emulator import BailianEmulator, ErrorReply

QUESTION = "什么是滞报金？"
# The return type of the SDK depends on `stream`, which its annotations do not express.
CALL_APPLICATION: Any = dashscope.Application.call


@pytest.fixture
def bailian(monkeypatch: pytest.MonkeyPatch) -> Iterator[BailianEmulator]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with BailianEmulator() as emulator:
        yield emulator
    # The first generation of the SDK shares one session for the whole process.
    dashscope.close_shared_sync_session()


@pytest.fixture
def client(bailian: BailianEmulator) -> Iterator[Any]:
    with dashscope.Client(api_key=bailian.api_key, base_url=bailian.base_url, max_retries=0) as client:
        yield client


def test_an_application_is_called_through_the_sdk(bailian: BailianEmulator) -> None:
    response = CALL_APPLICATION(
        app_id=bailian.app_id,
        prompt=QUESTION,
        api_key=bailian.api_key,
        base_address=bailian.base_url,
        has_thoughts=True,
    )

    assert response.status_code == 200
    assert "滞报金" in response.output.text
    assert response.output.finish_reason == "stop"
    assert response.output.doc_references[0].index_id == "1"
    assert response.output.thoughts[0].action_name == "知识检索"
    assert response.usage.models[0].model_id == "qwen-plus"
    assert response.request_id


@pytest.mark.parametrize("incremental", [True, False, None])
def test_an_application_call_streams_through_the_sdk(
    bailian: BailianEmulator, incremental: bool | None
) -> None:
    responses = list(
        CALL_APPLICATION(
            app_id=bailian.app_id,
            prompt=QUESTION,
            api_key=bailian.api_key,
            base_address=bailian.base_url,
            stream=True,
            incremental_output=incremental,
        )
    )

    texts = [response.output.text for response in responses]
    assert len(texts) > 20
    assert responses[-1].output.finish_reason == "stop"
    full_text = "".join(texts) if incremental else texts[-1]
    assert "滞报金" in full_text
    assert "<ref>[1]</ref>" in full_text


def test_an_application_call_continues_a_session(bailian: BailianEmulator) -> None:
    def call(prompt: str, session_id: str | None = None) -> Any:
        return CALL_APPLICATION(
            app_id="c0ffee00000000000000000000000003",
            prompt=prompt,
            session_id=session_id,
            api_key=bailian.api_key,
            base_address=bailian.base_url,
        )

    first = call("我叫小明。")
    second = call("我叫什么？", first.output.session_id)

    assert second.output.session_id == first.output.session_id
    assert "你叫小明。" in second.output.text


def test_an_application_call_with_a_wrong_key_is_refused(bailian: BailianEmulator) -> None:
    response = CALL_APPLICATION(
        app_id=bailian.app_id, prompt="x", api_key="sk-wrong", base_address=bailian.base_url
    )

    assert response.status_code == 401
    # The reply has no content type, so the SDK does not read its code.
    assert "InvalidApiKey" in response.message


def test_the_client_returns_a_completion(bailian: BailianEmulator, client: Any) -> None:
    completion = client.apps.completions.create(
        app_id=bailian.app_id,
        prompt=QUESTION,
        has_thoughts=True,
        parameters={"enable_thinking": True},
    )

    assert "滞报金" in completion.text
    assert completion.finish_reason == "stop"
    assert completion.doc_references[0].index_id == "1"
    assert [thought.action for thought in completion.thoughts] == ["rag", "reasoning"]
    assert completion.usage.models[0].output_tokens > 0
    assert len(completion.session_id) == 32


def test_the_client_streams_completions(bailian: BailianEmulator, client: Any) -> None:
    stream = client.apps.completions.create(
        app_id=bailian.app_id, prompt=QUESTION, stream=True, incremental_output=True
    )

    completions = list(stream)

    assert len(completions) > 20
    assert "滞报金" in "".join(completion.text for completion in completions)
    assert completions[-1].finish_reason == "stop"


def test_the_client_raises_errors_of_the_service(bailian: BailianEmulator, client: Any) -> None:
    create = client.apps.completions.create
    app = bailian.apps[bailian.app_id]
    app.error = ErrorReply.of("Throttling.RateQuota")
    with pytest.raises(RateLimitError):
        create(app_id=bailian.app_id, prompt="x")
    app.error = ErrorReply.of("InvalidParameter", in_stream_after=2)
    stream = create(app_id=bailian.app_id, prompt="x", stream=True)
    with pytest.raises(DashScopeError, match="invalid parameter"):
        list(stream)

    assert bailian.requests[-1].wait()
    assert bailian.requests[-1].frames_sent == 3


async def test_the_async_client_returns_and_streams_completions(bailian: BailianEmulator) -> None:
    async with dashscope.AsyncClient(
        api_key=bailian.api_key, base_url=bailian.base_url, max_retries=0
    ) as client:
        create: Any = client.apps.completions.create
        completion = await create(app_id=bailian.app_id, prompt=QUESTION)
        stream = await create(
            app_id=bailian.app_id, prompt=QUESTION, stream=True, incremental_output=True
        )
        texts = [event.text async for event in stream]

    assert "".join(texts) == completion.text
    assert "滞报金" in completion.text
