"""A planted key and planted tokens reach the wire and are found nowhere else."""

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


class Spy(BaseCallbackHandler):
    """Writes down everything that callbacks are told."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.seen.append(repr((serialized, messages, kwargs)))

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.seen.append(repr((token, kwargs)))

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.seen.append(repr((response, kwargs)))

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        self.seen.append(repr((error, str(error), kwargs)))


class Tracer(BaseTracer):
    """Keeps runs as LangSmith's tracer would send them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def _persist_run(self, run: Run) -> None:
        self.seen.append(repr(run.model_dump() if hasattr(run, "model_dump") else vars(run)))


@pytest.fixture
def service() -> Iterator[BailianEmulator]:
    with BailianEmulator(api_key=KEY) as emulator:
        yield emulator


def show(*things: object) -> None:
    """Check that nothing planted is shown."""
    shown = "\n".join(str(thing) for thing in things)
    for secret in PLANTED:
        assert secret not in shown


def sent(service: BailianEmulator) -> None:
    """Check that the newest request was accepted, and that its record hides what it carried."""
    assert service.requests[-1].status == 200
    assert "[removed]" in repr(service.requests[-1])
    show(repr(vars(service.requests[-1])))


async def call_every_way(model: Any, **keywords: Any) -> None:
    spy, tracer = Spy(), Tracer()
    config: Any = {"callbacks": [spy, tracer]}
    model.invoke("?", config, **keywords)
    list(model.stream("?", config, **keywords))
    model.batch(["?"], config, **keywords)
    await model.ainvoke("?", config, **keywords)
    [_ async for _ in model.astream("?", config, **keywords)]
    events = [event async for event in model.astream_events("?", config, version="v2", **keywords)]
    assert spy.seen
    assert tracer.seen
    show(*spy.seen, *tracer.seen, *map(repr, events))


async def test_in_the_constructor(service: BailianEmulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    model = BailianAppChatModel(
        app_id=service.app_id,
        base_url=service.base_url,
        api_key=KEY,
        biz_params=TOKENS,
        image_list=[IMAGE],
    )
    await call_every_way(model)

    assert service.requests[-1].body["input"]["image_list"] == [IMAGE]
    show(
        caplog.text,
        repr(model),
        str(model),
        model.asdict(),
        model.model_dump(),
        model.model_dump_json(),
    )
    show(json.dumps(dumpd(model)), repr(model.bind(stop=["x"])), repr(model.with_config(tags=["t"])))
    show(repr(vars(model)["biz_params"]))
    show(model._get_llm_string(), model._serialized)


async def test_in_a_call_and_bound(service: BailianEmulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    model = BailianAppChatModel(app_id=service.app_id, base_url=service.base_url, api_key=KEY)
    await call_every_way(model, biz_params=TOKENS)
    sent(service)
    await call_every_way(model.bind(biz_params=TOKENS))
    sent(service)
    spy = Spy()
    model.generate([[HumanMessage("?")]], callbacks=[spy], biz_params=TOKENS, image_list=[IMAGE])

    show(caplog.text, repr(model.bind(biz_params=TOKENS)), *spy.seen)


def test_in_errors(service: BailianEmulator) -> None:
    app_id = service.add_app(App("broken", error=ErrorReply.of("AppProcessFailed")))
    for base_url in (service.base_url, "http://127.0.0.1:9/api/v1"):
        model = BailianAppChatModel(
            app_id=app_id, base_url=base_url, api_key=KEY, biz_params=TOKENS, max_retries=0
        )
        with pytest.raises(BailianError) as caught:
            model.invoke("?")
        error = caught.value
        show(repr(error), str(error), vars(error), "".join(traceback.format_exception(error)))
        assert not any(secret.encode() in pickle.dumps(error) for secret in PLANTED)


def test_in_validation_errors() -> None:
    wrong: list[dict[str, Any]] = [
        {"biz_params": {"user_defined_tokens": {"tool": {"user_token": [TOKEN]}}}},
        {"biz_params": {**TOKENS, "user_prompt_params": 1}},
        {"api_key": [KEY]},
        {"unknown": KEY},
    ]
    for fields in wrong:
        with pytest.raises(ValidationError) as caught:
            BailianAppChatModel(app_id="a", **fields)
        show(str(caught.value), repr(caught.value))
    with pytest.raises(ValidationError) as caught:
        BizParams(user_defined_tokens={"tool": {"user_token": [TOKEN]}})
    show(str(caught.value))
    with pytest.raises(ValidationError) as caught:
        BailianAppChatModel(app_id="a", api_key=KEY).invoke(
            "?", biz_params={"user_defined_tokens": TOKEN}
        )
    show(str(caught.value), "".join(traceback.format_exception(caught.value)))
