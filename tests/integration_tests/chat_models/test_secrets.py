"""Tests that a planted API key and planted tokens are sent to the service and appear nowhere else."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumpd
from langchain_core.messages import HumanMessage
from langchain_core.tracers import BaseTracer
from pydantic import ValidationError

from langchain_bailian_app import BailianAppChatModel, BizParams
from langchain_bailian_app.emulator import BailianEmulator, ErrorReply
from langchain_bailian_app.emulator._apps.app import App
from langchain_bailian_app.errors import BailianError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.tracers import Run

KEY = "sk-planted-key"
TOKEN = "planted-token"
SIGNATURE = "Signature=planted-signature"
PLANTED = ("planted-key", TOKEN, "planted-signature")
TOKENS = {"user_defined_tokens": {"tool": {"user_token": TOKEN}}}
IMAGE = f"https://pictures.example/1.png?{SIGNATURE}"


class CallbackRecorder(BaseCallbackHandler):
    """Callback handler that records everything it receives."""

    def __init__(self) -> None:
        self.records: list[str] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.records.append(repr((serialized, messages, kwargs)))

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.records.append(repr((token, kwargs)))

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.records.append(repr((response, kwargs)))

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        self.records.append(repr((error, str(error), kwargs)))


class Tracer(BaseTracer):
    """Tracer that keeps the runs that LangSmith's tracer would send."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[str] = []

    def _persist_run(self, run: Run) -> None:
        self.records.append(repr(run.model_dump() if hasattr(run, "model_dump") else vars(run)))


@pytest.fixture
def bailian() -> Iterator[BailianEmulator]:
    with BailianEmulator(api_key=KEY) as emulator:
        yield emulator


def assert_no_secret(*values: object) -> None:
    """Check that the values contain no planted secret."""
    text = "\n".join(str(value) for value in values)
    for secret in PLANTED:
        assert secret not in text


def check_last_request(bailian: BailianEmulator) -> None:
    """Check that the latest request was accepted, and that its record contains no secret."""
    assert bailian.requests[-1].status == 200
    assert "[removed]" in repr(bailian.requests[-1])
    assert_no_secret(repr(vars(bailian.requests[-1])))


async def call_in_every_style(model: Any, **keywords: Any) -> None:
    recorder, tracer = CallbackRecorder(), Tracer()
    config: Any = {"callbacks": [recorder, tracer]}
    model.invoke("?", config, **keywords)
    list(model.stream("?", config, **keywords))
    model.batch(["?"], config, **keywords)
    await model.ainvoke("?", config, **keywords)
    [_ async for _ in model.astream("?", config, **keywords)]
    events = [event async for event in model.astream_events("?", config, version="v2", **keywords)]
    assert recorder.records
    assert tracer.records
    assert_no_secret(*recorder.records, *tracer.records, *map(repr, events))


@pytest.mark.slow
async def test_secrets_of_the_constructor_are_not_exposed(
    bailian: BailianEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    model = BailianAppChatModel(
        app_id=bailian.app_id,
        base_url=bailian.base_url,
        api_key=KEY,
        biz_params=TOKENS,
        image_list=[IMAGE],
    )
    await call_in_every_style(model)

    assert bailian.requests[-1].body["input"]["image_list"] == [IMAGE]
    assert_no_secret(
        caplog.text,
        repr(model),
        str(model),
        model.asdict(),
        model.model_dump(),
        model.model_dump_json(),
    )
    assert_no_secret(
        json.dumps(dumpd(model)), repr(model.bind(stop=["x"])), repr(model.with_config(tags=["t"]))
    )
    assert_no_secret(repr(vars(model)["biz_params"]))
    assert_no_secret(model._get_llm_string(), model._serialized)


@pytest.mark.slow
async def test_secrets_of_a_call_and_bound_secrets_are_not_exposed(
    bailian: BailianEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    model = BailianAppChatModel(app_id=bailian.app_id, base_url=bailian.base_url, api_key=KEY)
    await call_in_every_style(model, biz_params=TOKENS)
    check_last_request(bailian)
    await call_in_every_style(model.bind(biz_params=TOKENS))
    check_last_request(bailian)
    recorder = CallbackRecorder()
    model.generate([[HumanMessage("?")]], callbacks=[recorder], biz_params=TOKENS, image_list=[IMAGE])

    assert_no_secret(caplog.text, repr(model.bind(biz_params=TOKENS)), *recorder.records)


def test_errors_expose_no_secrets(bailian: BailianEmulator) -> None:
    app_id = bailian.add_app(App("broken", error=ErrorReply.of("AppProcessFailed")))
    for base_url in (bailian.base_url, "http://127.0.0.1:9/api/v1"):
        model = BailianAppChatModel(
            app_id=app_id, base_url=base_url, api_key=KEY, biz_params=TOKENS, max_retries=0
        )
        with pytest.raises(BailianError) as caught:
            model.invoke("?")
        error = caught.value
        assert_no_secret(
            repr(error), str(error), vars(error), "".join(traceback.format_exception(error))
        )
        assert not any(secret.encode() in pickle.dumps(error) for secret in PLANTED)


def test_validation_errors_expose_no_secrets() -> None:
    invalid_fields: list[dict[str, Any]] = [
        {"biz_params": {"user_defined_tokens": {"tool": {"user_token": [TOKEN]}}}},
        {"biz_params": {**TOKENS, "user_prompt_params": 1}},
        {"api_key": [KEY]},
        {"unknown": KEY},
    ]
    for fields in invalid_fields:
        with pytest.raises(ValidationError) as caught:
            BailianAppChatModel(app_id="a", **fields)
        assert_no_secret(str(caught.value), repr(caught.value))
    with pytest.raises(ValidationError) as caught:
        BizParams(user_defined_tokens={"tool": {"user_token": [TOKEN]}})
    assert_no_secret(str(caught.value))
    with pytest.raises(ValidationError) as caught:
        BailianAppChatModel(app_id="a", api_key=KEY).invoke(
            "?", biz_params={"user_defined_tokens": TOKEN}
        )
    assert_no_secret(str(caught.value), "".join(traceback.format_exception(caught.value)))
