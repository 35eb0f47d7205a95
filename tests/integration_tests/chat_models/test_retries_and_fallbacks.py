"""Tests of LangChain's retries and fallbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware

from langchain_bailian_app.emulator import App, ErrorReply, Faults
from langchain_bailian_app.errors import (
    BailianError,
    BailianPermissionError,
    BailianRateLimitError,
    BailianServerError,
    BailianStreamError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

    MakeModel = Callable[..., BailianAppChatModel]


@pytest.mark.parametrize(
    ("app", "error", "posts"),
    [
        (App("busy", error=ErrorReply.of("Throttling", times=2)), None, 3),
        (App("busy", error=ErrorReply.of("Throttling")), BailianRateLimitError, 3),
        (App("broken", error=ErrorReply.of("AppProcessFailed")), BailianServerError, 1),
        (App("cut", faults=Faults.always("cut-mid-frame")), BailianStreamError, 1),
        (App("shut", error=ErrorReply.of("App.AccessDenied")), BailianPermissionError, 1),
    ],
    ids=["throttled twice", "throttled", "failed", "cut", "denied"],
)
def test_the_middleware_of_langchain_retries_only_calls_that_did_not_run(
    bailian: BailianEmulator,
    make_model: MakeModel,
    app: App,
    error: type[BailianError] | None,
    posts: int,
) -> None:
    retries = ModelRetryMiddleware(max_retries=2, on_failure="error", initial_delay=0.01, jitter=False)
    model = make_model(bailian.add_app(app), max_retries=0)
    agent = create_agent(model, tools=[], middleware=[retries])
    question = {"messages": [{"role": "user", "content": "?"}]}
    before = len(bailian.requests)
    if error is None:
        assert agent.invoke(question)["messages"][-1].text
    else:
        with pytest.raises(error):
            agent.invoke(question)

    assert len(bailian.requests) - before == posts


def test_retries_of_other_errors_can_be_requested(
    bailian: BailianEmulator, make_model: MakeModel
) -> None:
    app = App("cut now and then", faults=Faults({"cut-mid-frame": 0.5}, seed=3))
    model = make_model(bailian.add_app(app)).with_retry(
        retry_if_exception_type=(BailianStreamError,),
        stop_after_attempt=20,
        wait_exponential_jitter=False,
    )

    assert all(model.invoke("?").text for _ in range(10))


def test_fallbacks_answer_instead(bailian: BailianEmulator, make_model: MakeModel) -> None:
    broken = make_model(bailian.add_app(App("broken", error=ErrorReply.of("AppProcessFailed"))))
    other = make_model(bailian.add_app(App("other", answer=lambda _: "我来回答")))

    assert broken.with_fallbacks([other]).invoke("?").text == "我来回答"
